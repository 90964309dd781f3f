//! The house has floors: a module uses what stands below it, never what stands above it or beside it in another pillar.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Each module with those it may use besides itself. The order is the house, from the ground up.
const MAY_USE: &[(&str, &[&str])] = &[
    ("types", &[]),
    ("clock", &["types"]),
    ("sys", &["types", "clock"]),
    ("net", &["types", "clock"]),
    ("config", &["types", "clock", "sys", "net"]),
    ("logging", &["types", "clock", "config"]),
    ("cluster", &["types", "config"]),
    ("ha", &["types", "config", "cluster"]),
    ("dcs", &["types", "clock", "sys", "net", "config", "cluster"]),
    ("postgres", &["types", "clock", "sys", "net", "config", "cluster"]),
    ("fencing", &["types", "clock", "sys", "config", "cluster"]),
    ("api", &["types", "clock", "sys", "net", "config", "logging", "cluster", "ha", "dcs"]),
    (
        "actors",
        &["types", "clock", "sys", "net", "config", "logging", "cluster", "ha", "dcs", "postgres", "fencing", "api"],
    ),
    ("ctl", &["types", "clock", "sys", "net", "config", "logging", "cluster", "ha", "dcs"]),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

/// Tests may stand on any floor, and read what they like.
#[allow(clippy::ptr_arg, reason = "for Vec::retain")]
fn is_no_test(file: &PathBuf) -> bool {
    let text = file.to_string_lossy();
    !text.ends_with("_tests.rs") && !text.contains("/tests/")
}

/// The modules of this crate that a text names with `crate::x` (also in braces: `crate::{a, b::c}`).
fn named(text: &str) -> BTreeSet<String> {
    let mut modules = BTreeSet::new();
    let code: String = text.lines().filter(|l| !l.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    for part in code.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let mut depth = 0;
            let mut word = String::new();
            for c in group.chars() {
                match c {
                    '}' if depth == 0 => break,
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    ',' if depth == 0 => modules.extend(first(&std::mem::take(&mut word))),
                    c if depth == 0 => word.push(c),
                    _ => {}
                }
            }
            modules.extend(first(&word));
        } else {
            modules.extend(first(part));
        }
    }
    modules
}

fn first(path: &str) -> Option<String> {
    let word: String = path.trim_start().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

#[test]
fn no_arrow_runs_up() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let modules: BTreeSet<&str> = MAY_USE.iter().map(|(name, _)| *name).collect();
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_USE {
        let mut files = Vec::new();
        let folder = root.join(module);
        if folder.is_dir() {
            sources(&folder, &mut files);
        } else {
            files.push(root.join(format!("{module}.rs")));
        }
        files.retain(is_no_test);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for used in named(&text) {
                if modules.contains(used.as_str()) && used != *module && !allowed.contains(&used.as_str()) {
                    wrong.push(format!("{} uses {used}", file.strip_prefix(&root).unwrap().display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "arrows that run up:\n{}", wrong.join("\n"));
}

/// Rules are pure: no I/O, no clock, no async, no randomness.
#[test]
fn rules_are_pure() {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ha"), &mut files);
    files.retain(is_no_test);
    assert!(!files.is_empty());
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        for word in [
            "tokio",
            "actix",
            "std::fs",
            "std::net",
            "std::process",
            "std::env",
            "fastrand",
            "async fn",
            "Clock",
            "tracing::",
        ] {
            let used = text.lines().any(|l| !l.trim_start().starts_with("//") && l.contains(word));
            assert!(!used, "{} uses {word}", file.display());
        }
    }
}

#[test]
fn the_reader_of_use_lines_sees_groups() {
    let text = "use crate::{a::b, c::{d, e}, f};\nlet x = crate::g::h();\n// crate::comment";
    let expected: BTreeSet<String> = ["a", "c", "f", "g"].map(String::from).into();
    assert_eq!(named(text), expected);
}
