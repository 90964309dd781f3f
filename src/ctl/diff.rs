//! Two texts compared, as `diff -u` shows it.

use similar::{ChangeTag, TextDiff};

/// The lines of a unified diff with three lines of context; nothing when the texts are equal.
#[must_use]
pub fn unified(before: &str, after: &str) -> Vec<String> {
    let (before, after) = (lines(before), lines(after));
    let diff = TextDiff::from_slices(&before, &after);
    let mut out = Vec::new();
    for group in diff.grouped_ops(3) {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { continue };
        if out.is_empty() {
            out.extend(["--- ".to_owned(), "+++ ".to_owned()]);
        }
        let old = range(first.old_range().start, last.old_range().end);
        let new = range(first.new_range().start, last.new_range().end);
        out.push(format!("@@ -{old} +{new} @@"));
        for change in group.iter().flat_map(|op| diff.iter_changes(op)) {
            let sign = match change.tag() {
                ChangeTag::Equal => ' ',
                ChangeTag::Delete => '-',
                ChangeTag::Insert => '+',
            };
            out.push(format!("{sign}{}", change.value()));
        }
    }
    out
}

/// The same in colours.
#[must_use]
pub fn coloured(lines: &[String]) -> String {
    let colour = |line: &str| match line.get(..1) {
        _ if line.starts_with("---") || line.starts_with("+++") => "33",
        Some("@") => "36",
        Some("-") => "31",
        Some("+") => "32",
        _ => "0",
    };
    lines.iter().map(|line| format!("\x1b[{}m{line}\x1b[0m\n", colour(line))).collect()
}

fn lines(text: &str) -> Vec<&str> {
    text.trim_end_matches('\n').split('\n').collect()
}

fn range(start: usize, end: usize) -> String {
    match end - start {
        1 => format!("{}", start + 1),
        0 => format!("{start},0"),
        length => format!("{},{length}", start + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn differences_are_shown_as_the_original_does() {
        let all: Value = serde_json::from_str(include_str!("../../tests/ctl/golden.json")).unwrap();
        for case in 0..4 {
            let golden = all[format!("diff_{case}")].as_str().unwrap();
            let [before, after, wanted]: [String; 3] = serde_json::from_str(golden).unwrap();
            let text: String = unified(&before, &after).iter().map(|l| format!("{l}\n")).collect();
            assert_eq!(text, wanted);
        }
        assert!(unified("a: 1\n", "a: 1\n").is_empty());
    }
}
