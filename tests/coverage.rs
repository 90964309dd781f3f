//! Which test guards which feature: `tests/coverage.md`, made from the markers in the tests.
//!
//! A marker is a line `// rows: HA-01, HA-02` above a test function (above its attributes); it names rows of `features.tsv`
//! that the test would fail without. `scripts/coverage` writes the page anew.

#![allow(clippy::unwrap_used, reason = "a test may fail")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The areas in which every row needs a test.
const WHOLE: &[&str] = &["HA", "RACE", "BOOT", "REW", "SYNC", "SLOT", "TAG", "STBY", "FSM", "PAUSE", "WD", "CB"];

const HEAD: &str = "# Coverage\n\nEach feature with the tests that fail without it. Written by `scripts/coverage` from the markers in the \
    tests (`// rows: ...`).\n";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") && !path.ends_with("tests/coverage.rs") {
            found.push(path);
        }
    }
}

/// The name of the function that a line declares.
fn function(line: &str) -> Option<&str> {
    let after = line.trim_start().split_once("fn ")?;
    let before = after.0.trim();
    let is_declaration = ["", "async", "pub", "pub async"].contains(&before);
    is_declaration.then(|| after.1.split(['(', '<']).next().unwrap_or_default())
}

/// Row IDs with the tests that claim them, and complaints about markers that cannot be right.
fn markers(text: &str, file: &str, claims: &mut BTreeMap<String, Vec<String>>, wrong: &mut Vec<String>) {
    let mut waiting: Vec<String> = Vec::new();
    let mut is_test = false;
    for line in text.lines() {
        let trimmed = line.trim_start();
        if let Some(rows) = trimmed.strip_prefix("// rows: ") {
            waiting.extend(rows.split(',').map(|row| row.trim().to_owned()));
        } else if trimmed.starts_with("#[") && trimmed.contains("test") {
            is_test = true;
        } else if let Some(name) = function(line) {
            if !waiting.is_empty() && !is_test {
                wrong.push(format!("{file}: the marker above {name} does not stand above a test"));
            }
            for row in waiting.drain(..) {
                claims.entry(row).or_default().push(format!("{file} {name}"));
            }
            is_test = false;
        }
    }
    wrong.extend(waiting.iter().map(|row| format!("{file}: no test follows the marker of {row}")));
}

fn area(row: &str) -> &str {
    row.split('-').next().unwrap_or_default()
}

#[test]
fn every_feature_has_the_tests_that_the_page_names() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("tests"), &mut files);
    files.sort();
    let (mut claims, mut wrong) = (BTreeMap::new(), Vec::new());
    for file in &files {
        let name = file.strip_prefix(root()).unwrap().display().to_string();
        markers(&std::fs::read_to_string(file).unwrap(), &name, &mut claims, &mut wrong);
    }

    let features = std::fs::read_to_string(root().join("tests/features.tsv")).unwrap();
    let mut page = String::from(HEAD);
    let (mut missing, mut current) = (Vec::new(), "");
    for line in features.lines() {
        let (row, title) = line.split_once('\t').unwrap();
        if area(row) != current {
            current = area(row);
            write!(page, "\n## {current}\n\n| row | feature | tests |\n|---|---|---|\n").unwrap();
        }
        let tests = claims.remove(row).unwrap_or_default();
        if tests.is_empty() && WHOLE.contains(&current) {
            missing.push(row);
        }
        let cell = tests.iter().map(|test| format!("`{test}`")).collect::<Vec<_>>().join("<br>");
        writeln!(page, "| {row} | {title} | {cell} |").unwrap();
    }
    wrong.extend(claims.keys().map(|row| format!("{row} is in no row of features.tsv")));

    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(missing.is_empty(), "no test guards {}", missing.join(", "));
    let path = root().join("tests/coverage.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), page, "run scripts/coverage");
}

#[test]
fn a_marker_belongs_to_the_next_test_only() {
    let (mut claims, mut wrong) = (BTreeMap::new(), Vec::new());
    let text = "// rows: HA-01, HA-02\n#[test]\nfn one() {}\n#[tokio::test]\nasync fn two() {}\n// rows: HA-03\nfn no_test() {}\n// rows: HA-04\n";
    markers(text, "f.rs", &mut claims, &mut wrong);
    assert_eq!(claims["HA-01"], ["f.rs one"]);
    assert_eq!(claims["HA-02"], ["f.rs one"]);
    assert_eq!(wrong.len(), 2, "{wrong:?}");
}
