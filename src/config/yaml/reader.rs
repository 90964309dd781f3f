//! Parser events to a value: anchors, aliases, merge keys and tags as PyYAML's safe loader treats them.

use super::indentation::Indented;
use super::scalar;
use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span, Tag};
use serde_json::{Map, Value};
use std::collections::HashMap;

/// Nested collections deeper than this are refused.
const MAX_DEPTH: usize = 100;
/// Values that aliases may add up to: an "alias bomb" is refused.
const MAX_ALIASED: usize = 100_000;
/// Lines whose indentation is put right before we give up.
const MAX_REPAIRS: usize = 2_000;
const CORE_TAG: &str = "tag:yaml.org,2002:";

/// A text that is not YAML, or not YAML of plain data.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{source_name}, line {line}, column {column}: {reason}")]
pub struct YamlError {
    /// The file's name, or what the text is.
    pub source_name: String,
    /// Line, from 1.
    pub line: usize,
    /// Column, from 1.
    pub column: usize,
    /// What is wrong.
    pub reason: String,
}

type Refusal = (Marker, String);

/// Reads one document; an empty text is null. Keys that are no texts become the texts that JSON has for them.
///
/// # Errors
/// The text is no YAML, has several documents, tags that are no plain data, or too many aliases.
pub fn load(text: &str, source_name: &str) -> Result<Value, YamlError> {
    let mut refusal = match read(text) {
        Ok(value) => return Ok(value),
        Err(refusal) => refusal,
    };
    let mut indented = Indented::new(text.strip_prefix('\u{feff}').unwrap_or(text));
    for _ in 0..MAX_REPAIRS {
        let (marker, reason) = &refusal;
        if !indented.repair(marker, reason) {
            break;
        }
        match read(&indented.text()) {
            Ok(value) => return Ok(value),
            Err(next) => refusal = next,
        }
    }
    let (marker, reason) = refusal;
    let column = indented.column(&marker) + 1;
    Err(YamlError { source_name: source_name.to_owned(), line: marker.line(), column, reason })
}

fn read(text: &str) -> Result<Value, Refusal> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    refuse_unprintable(text)?;
    let mut loader = Loader::default();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| (*error.marker(), error.info().to_owned()))?;
        if matches!(event, Event::DocumentStart(_)) {
            documents += 1;
            if documents > 1 {
                return Err((span.start, "expected a single document in the stream, but found another one".into()));
            }
        }
        loader.event(event, span)?;
    }
    Ok(loader.root.unwrap_or(Value::Null))
}

fn refuse_unprintable(text: &str) -> Result<(), Refusal> {
    let printable = |c: char| {
        matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}')
            || c >= '\u{10000}'
    };
    let (mut line, mut column) = (1, 0);
    for (index, c) in text.chars().enumerate() {
        if !printable(c) {
            let reason = format!("character U+{:04X} is not allowed", u32::from(c));
            return Err((Marker::new(index, line, column), reason));
        }
        (line, column) = if c == '\n' { (line + 1, 0) } else { (line, column + 1) };
    }
    Ok(())
}

/// A collection that is being read.
enum Open {
    Sequence { anchor: usize, items: Vec<Value> },
    Mapping { anchor: usize, merged: Map<String, Value>, own: Map<String, Value>, key: Option<Key> },
}

enum Key {
    Merge(Marker),
    Plain(String),
}

/// What a finished node is: its value, and whether it is a plain `<<` or `=`, which only a key may be.
struct Node {
    value: Value,
    special: Option<Special>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Special {
    Merge,
    DefaultValue,
}

#[derive(Default)]
struct Loader {
    open: Vec<Open>,
    /// Values of finished anchors with their number of nodes.
    anchors: HashMap<usize, (Value, usize)>,
    aliased: usize,
    root: Option<Value>,
}

impl Loader {
    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Refusal> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                let node = scalar_node(&text, style, tag.as_deref()).map_err(|reason| (span.start, reason))?;
                self.finish(node, anchor, span.start)
            }
            Event::SequenceStart(anchor, tag) => {
                collection_tag(tag.as_deref(), &["seq"]).map_err(|reason| (span.start, reason))?;
                self.start(Open::Sequence { anchor, items: Vec::new() }, span.start)
            }
            Event::MappingStart(anchor, tag) => {
                collection_tag(tag.as_deref(), &["map", "set"]).map_err(|reason| (span.start, reason))?;
                self.start(Open::Mapping { anchor, merged: Map::new(), own: Map::new(), key: None }, span.start)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span.start),
            Event::Alias(anchor) => {
                let value = self.alias(anchor).map_err(|reason| (span.start, reason))?;
                self.finish(Node { value, special: None }, 0, span.start)
            }
        }
    }

    fn start(&mut self, open: Open, at: Marker) -> Result<(), Refusal> {
        if self.open.len() >= MAX_DEPTH {
            return Err((at, format!("more than {MAX_DEPTH} nested collections")));
        }
        self.open.push(open);
        Ok(())
    }

    fn end(&mut self, at: Marker) -> Result<(), Refusal> {
        let (value, anchor) = match self.open.pop() {
            Some(Open::Sequence { anchor, items }) => (Value::Array(items), anchor),
            Some(Open::Mapping { anchor, mut merged, own, .. }) => {
                // Merged keys come first; own ones win but stay at the merged place, as in Python's dictionaries.
                merged.extend(own);
                (Value::Object(merged), anchor)
            }
            None => return Err((at, "end of a collection that was not begun".into())),
        };
        self.finish(Node { value, special: None }, anchor, at)
    }

    fn alias(&mut self, anchor: usize) -> Result<Value, String> {
        let (value, size) = self.anchors.get(&anchor).ok_or("an alias stands inside the node that it refers to")?;
        self.aliased += size;
        if self.aliased > MAX_ALIASED {
            return Err(format!("aliases repeat more than {MAX_ALIASED} values"));
        }
        Ok(value.clone())
    }

    fn finish(&mut self, node: Node, anchor: usize, at: Marker) -> Result<(), Refusal> {
        let is_key = matches!(self.open.last(), Some(Open::Mapping { key: None, .. }));
        if let (Some(special), false) = (node.special, is_key) {
            let tag = if special == Special::Merge { "merge" } else { "value" };
            return Err((at, unknown_tag(&format!("{CORE_TAG}{tag}"))));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.value.clone(), count(&node.value)));
        }
        match self.open.last_mut() {
            None => self.root = Some(node.value),
            Some(Open::Sequence { items, .. }) => items.push(node.value),
            Some(Open::Mapping { merged, own, key, .. }) => match key.take() {
                None => *key = Some(as_key(node, at)?),
                Some(Key::Plain(name)) => {
                    own.insert(name, node.value);
                }
                Some(Key::Merge(place)) => merge(merged, node.value).map_err(|reason| (place, reason))?,
            },
        }
        Ok(())
    }
}

fn count(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(count).sum::<usize>(),
        Value::Object(map) => 1 + map.values().map(count).sum::<usize>(),
        _ => 1,
    }
}

fn as_key(node: Node, at: Marker) -> Result<Key, Refusal> {
    if node.special == Some(Special::Merge) {
        return Ok(Key::Merge(at));
    }
    match node.value {
        Value::String(text) => Ok(Key::Plain(text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(Key::Plain(node.value.to_string())),
        Value::Array(_) | Value::Object(_) => Err((at, "found unhashable key: a key must be a scalar".into())),
    }
}

/// `<<: mapping` or `<<: [mapping, ...]`; of a list the first mapping wins.
fn merge(merged: &mut Map<String, Value>, value: Value) -> Result<(), String> {
    const WANTED: &str = "expected a mapping or list of mappings for merging";
    match value {
        Value::Object(map) => merged.extend(map),
        Value::Array(items) => {
            for item in items.into_iter().rev() {
                let Value::Object(map) = item else { return Err(WANTED.into()) };
                merged.extend(map);
            }
        }
        _ => return Err(WANTED.into()),
    }
    Ok(())
}

fn collection_tag(tag: Option<&Tag>, allowed: &[&str]) -> Result<(), String> {
    let Some(tag) = tag else { return Ok(()) };
    let full = format!("{}{}", tag.handle, tag.suffix);
    let known = full == "!" || full.strip_prefix(CORE_TAG).is_some_and(|name| allowed.contains(&name));
    if known { Ok(()) } else { Err(unknown_tag(&full)) }
}

fn unknown_tag(full: &str) -> String {
    format!("could not determine a constructor for the tag '{full}'")
}

fn scalar_node(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Node, String> {
    let plain = |value| Node { value, special: None };
    let string = || plain(Value::String(text.to_owned()));
    let full = tag.map(|tag| format!("{}{}", tag.handle, tag.suffix)).filter(|full| full != "!");
    let Some(full) = full else {
        // PyYAML resolves whatever has the tag `!`, quoted or not.
        if style != ScalarStyle::Plain && tag.is_none() {
            return Ok(string());
        }
        let special = match scalar::kind(text) {
            scalar::Kind::Merge => Some(Special::Merge),
            scalar::Kind::DefaultValue => Some(Special::DefaultValue),
            _ => None,
        };
        return Ok(Node { value: scalar::value(text), special });
    };
    let wrong = |kind: &str| format!("'{text}' is no {kind}");
    let value = match full.strip_prefix(CORE_TAG) {
        Some("str") | Some("timestamp") => Value::String(text.to_owned()),
        Some("null") => Value::Null,
        Some("bool") => match text.to_lowercase().as_str() {
            "yes" | "true" | "on" => Value::Bool(true),
            "no" | "false" | "off" => Value::Bool(false),
            _ => return Err(wrong("boolean")),
        },
        Some("int") => Value::Number(scalar::int(text).ok_or_else(|| wrong("integer"))?),
        Some("float") => Value::Number(scalar::float(text).ok_or_else(|| wrong("number"))?),
        _ => return Err(unknown_tag(&full)),
    };
    Ok(plain(value))
}
