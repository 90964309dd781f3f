//! Tables with borders of `+`, `-` and `|`, the title in the upper one.

/// How a column stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Draws a table. Cells may have several lines; then every row is underlined.
#[must_use]
pub fn draw(title: &str, columns: &[(&str, Align)], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = columns.iter().enumerate().map(|(i, (name, _))| width(name, rows, i)).collect();
    let rule: String = widths.iter().map(|w| format!("+{}", "-".repeat(w + 2))).chain(["+".to_owned()]).collect();
    let underline_all = rows.iter().flatten().any(|cell| cell.contains('\n'));
    let mut lines = vec![with_title(&rule, title)];
    let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    add_row(&mut lines, &names, columns, &widths);
    lines.push(rule.clone());
    for (index, row) in rows.iter().enumerate() {
        add_row(&mut lines, row, columns, &widths);
        if underline_all && index + 1 < rows.len() {
            lines.push(rule.clone());
        }
    }
    lines.push(rule);
    lines.join("\n")
}

fn width(name: &str, rows: &[Vec<String>], column: usize) -> usize {
    let cells = rows.iter().filter_map(|row| row.get(column)).flat_map(|cell| cell.split('\n'));
    cells.chain([name]).map(|line| line.chars().count()).max().unwrap_or(0)
}

/// The upper border, its beginning replaced by the title; both corners stay.
fn with_title(rule: &str, title: &str) -> String {
    let title: String = title.chars().take(rule.len().saturating_sub(2)).collect();
    let rest: String = rule.chars().skip(1 + title.chars().count()).collect();
    format!("+{title}{rest}")
}

fn add_row(lines: &mut Vec<String>, row: &[String], columns: &[(&str, Align)], widths: &[usize]) {
    let cells: Vec<Vec<&str>> = row.iter().map(|cell| cell.split('\n').collect()).collect();
    let height = cells.iter().map(Vec::len).max().unwrap_or(1);
    for level in 0..height {
        let mut line = String::from("|");
        for ((cell, (_, align)), width) in cells.iter().zip(columns).zip(widths) {
            let text = cell.get(level).copied().unwrap_or_default();
            line += &match align {
                Align::Left => format!(" {text:<width$} |"),
                Align::Right => format!(" {text:>width$} |"),
            };
        }
        lines.push(line);
    }
}
