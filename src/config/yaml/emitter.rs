//! `yaml.safe_dump(value, default_flow_style=False, allow_unicode=True, width=200)`, byte for byte: what
//! `patronictl show-config`, `edit-config` and `list -f yaml` print.

use super::analysis::{Analysis, analyze, is_break};
use super::scalar::{self, Kind};
use crate::config::python::float_repr;
use serde_json::{Map, Value};

const WIDTH: usize = 200;
const INDENT: usize = 2;
/// Longer keys are written with a question mark.
const SIMPLE_KEY_LENGTH: usize = 128;

/// The value as block style YAML; `sort_keys` as PyYAML does by default, else in order.
#[must_use]
pub fn dump(value: &Value, sort_keys: bool) -> String {
    let mut emitter = Emitter {
        out: String::new(),
        sort_keys,
        indent: None,
        column: 0,
        whitespace: true,
        indention: true,
        open_ended: false,
    };
    emitter.node(value, Place::Root);
    emitter.write_indent();
    if emitter.open_ended {
        emitter.indicator("...", true, false, false);
        emitter.write_indent();
    }
    emitter.out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Item,
    Key,
    Value,
}

struct Emitter {
    out: String,
    sort_keys: bool,
    indent: Option<usize>,
    column: usize,
    /// The last character was white space.
    whitespace: bool,
    /// Only indentation and indicators stand on the line so far.
    indention: bool,
    /// A plain text at the root needs an end mark.
    open_ended: bool,
}

impl Emitter {
    fn node(&mut self, value: &Value, place: Place) {
        match value {
            Value::Null => self.plain("null", place),
            Value::Bool(flag) => self.plain(if *flag { "true" } else { "false" }, place),
            Value::Number(number) => self.plain(&number_text(number), place),
            Value::String(text) => self.string(text, place),
            Value::Array(items) if items.is_empty() => self.empty_collection("[", "]"),
            Value::Object(map) if map.is_empty() => self.empty_collection("{", "}"),
            Value::Array(items) => self.sequence(items, place),
            Value::Object(map) => self.mapping(map),
        }
    }

    fn empty_collection(&mut self, open: &str, close: &str) {
        self.indicator(open, true, true, false);
        self.indicator(close, false, false, false);
    }

    fn sequence(&mut self, items: &[Value], place: Place) {
        let outer = self.indent;
        let indentless = place == Place::Value && !self.indention;
        self.increase_indent(indentless);
        for item in items {
            self.write_indent();
            self.indicator("-", true, false, true);
            self.node(item, Place::Item);
        }
        self.indent = outer;
    }

    fn mapping(&mut self, map: &Map<String, Value>) {
        let outer = self.indent;
        self.increase_indent(false);
        let mut entries: Vec<(&String, &Value)> = map.iter().collect();
        if self.sort_keys {
            entries.sort_by_key(|(key, _)| *key);
        }
        for (key, value) in entries {
            self.write_indent();
            let analysis = analyze(key);
            if key.chars().count() < SIMPLE_KEY_LENGTH && !analysis.empty && !analysis.multiline {
                self.string(key, Place::Key);
                self.indicator(":", false, false, false);
            } else {
                self.indicator("?", true, false, true);
                self.string(key, Place::Value);
                self.write_indent();
                self.indicator(":", true, false, true);
            }
            self.node(value, Place::Value);
        }
        self.indent = outer;
    }

    fn string(&mut self, text: &str, place: Place) {
        let analysis = analyze(text);
        let key = place == Place::Key;
        // Lines that a text goes on in are one level deeper.
        let outer = self.indent;
        self.indent = Some(outer.unwrap_or(0) + INDENT);
        match style(text, analysis, key) {
            Style::Plain => self.plain(text, place),
            Style::SingleQuoted => self.single_quoted(text, !key),
            Style::DoubleQuoted => self.double_quoted(text, !key),
        }
        self.indent = outer;
    }

    fn increase_indent(&mut self, indentless: bool) {
        self.indent = Some(match self.indent {
            None => 0,
            Some(indent) if indentless => indent,
            Some(indent) => indent + INDENT,
        });
    }

    fn indicator(&mut self, text: &str, need_whitespace: bool, whitespace: bool, indention: bool) {
        if !self.whitespace && need_whitespace {
            self.text(" ");
        }
        self.text(text);
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
        self.open_ended = false;
    }

    fn write_indent(&mut self) {
        let indent = self.indent.unwrap_or(0);
        if !self.indention || self.column > indent || (self.column == indent && !self.whitespace) {
            self.line_break('\n');
        }
        if self.column < indent {
            self.whitespace = true;
            let blanks = " ".repeat(indent - self.column);
            self.text(&blanks);
        }
    }

    fn line_break(&mut self, character: char) {
        self.whitespace = true;
        self.indention = true;
        self.column = 0;
        self.out.push(character);
    }

    fn text(&mut self, text: &str) {
        self.column += text.chars().count();
        self.out.push_str(text);
    }

    /// A text without quotes and line breaks; long ones are folded at single spaces.
    fn plain(&mut self, text: &str, place: Place) {
        self.open_ended = place == Place::Root;
        if text.is_empty() {
            return;
        }
        if !self.whitespace {
            self.text(" ");
        }
        self.whitespace = false;
        self.indention = false;
        for run in runs(text) {
            if run == " " && self.column > WIDTH && place != Place::Key {
                self.write_indent();
                self.whitespace = false;
                self.indention = false;
            } else {
                self.text(run);
            }
        }
    }

    fn single_quoted(&mut self, text: &str, split: bool) {
        self.indicator("'", true, false, false);
        let end = text.len();
        let mut position = 0;
        for run in runs(text) {
            let first = run.chars().next().unwrap_or(' ');
            let inner = position > 0 && position + run.len() < end;
            position += run.len();
            if run == " " && self.column > WIDTH && split && inner {
                self.write_indent();
            } else if is_break(first) {
                if first == '\n' {
                    self.line_break('\n');
                }
                for character in run.chars() {
                    self.line_break(character);
                }
                self.write_indent();
            } else {
                self.text(&run.replace('\'', "''"));
            }
        }
        self.indicator("'", false, false, false);
    }

    fn double_quoted(&mut self, text: &str, split: bool) {
        self.indicator("\"", true, false, false);
        let characters: Vec<char> = text.chars().collect();
        // `start` is the first character that is not written yet.
        let mut start = 0;
        for end in 0..=characters.len() {
            let character = characters.get(end).copied();
            if character.is_none_or(needs_escape) {
                self.characters(characters.get(start..end).unwrap_or(&[]));
                start = start.max(end);
                if let Some(c) = character {
                    self.text(&escape(c));
                    start = end + 1;
                }
            }
            let inner = end > 0 && end + 1 < characters.len();
            let foldable = character == Some(' ') || start >= end;
            let pending = end.saturating_sub(start);
            // PyYAML counts a character just escaped as minus one pending.
            let ahead = start.saturating_sub(end);
            if inner && foldable && split && self.column + pending > WIDTH + ahead {
                self.characters(characters.get(start..end).unwrap_or(&[]));
                self.text("\\");
                start = start.max(end);
                self.write_indent();
                self.whitespace = false;
                self.indention = false;
                if characters.get(start) == Some(&' ') {
                    self.text("\\");
                }
            }
        }
        self.indicator("\"", false, false, false);
    }

    fn characters(&mut self, characters: &[char]) {
        self.column += characters.len();
        self.out.extend(characters);
    }
}

enum Style {
    Plain,
    SingleQuoted,
    DoubleQuoted,
}

fn style(text: &str, analysis: Analysis, key: bool) -> Style {
    let plain_is_text = matches!(scalar::kind(text), Kind::Str);
    if plain_is_text && analysis.plain && !(key && (analysis.empty || analysis.multiline)) {
        Style::Plain
    } else if analysis.single_quoted && !(key && analysis.multiline) {
        Style::SingleQuoted
    } else {
        Style::DoubleQuoted
    }
}

/// The text cut into runs of spaces, runs of line breaks and runs of other characters.
fn runs(text: &str) -> impl Iterator<Item = &str> {
    let class = |c: char| if c == ' ' { 0 } else { 1 + u8::from(is_break(c)) };
    let mut rest = text;
    std::iter::from_fn(move || {
        let first = class(rest.chars().next()?);
        let length = rest.find(|c| class(c) != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(run)
    })
}

fn needs_escape(c: char) -> bool {
    matches!(c, '"' | '\\' | '\u{85}' | '\u{2028}' | '\u{2029}' | '\u{feff}')
        || !matches!(c, ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
}

fn escape(c: char) -> String {
    let letter = match c {
        '\0' => '0',
        '\u{7}' => 'a',
        '\u{8}' => 'b',
        '\t' => 't',
        '\n' => 'n',
        '\u{b}' => 'v',
        '\u{c}' => 'f',
        '\r' => 'r',
        '\u{1b}' => 'e',
        '"' => '"',
        '\\' => '\\',
        '\u{85}' => 'N',
        '\u{a0}' => '_',
        '\u{2028}' => 'L',
        '\u{2029}' => 'P',
        _ => {
            let code = u32::from(c);
            return match code {
                0..=0xff => format!("\\x{code:02X}"),
                0x100..=0xffff => format!("\\u{code:04X}"),
                _ => format!("\\U{code:08X}"),
            };
        }
    };
    format!("\\{letter}")
}

fn number_text(number: &serde_json::Number) -> String {
    let float = if number.is_f64() { number.as_f64() } else { None };
    let Some(float) = float else { return number.to_string() };
    let text = float_repr(float);
    // YAML 1.1 wants a point in a float: Python's 1e+17 becomes 1.0e+17.
    if text.contains('.') { text } else { text.replacen('e', ".0e", 1) }
}
