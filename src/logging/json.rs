//! `type: json` (LOG-02): one JSON object a line, fields in the order of the format, some renamed, static ones added.

use super::format::{DEFAULT, Format};
use super::record::{Attribute, Field};
use crate::config::python;
use serde_json::{Map, Value};

/// Which fields there are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct JsonFormat {
    /// Attribute (`None`: no such attribute, then null) and name in the object.
    fields: Vec<(Option<Attribute>, String)>,
    static_fields: Map<String, Value>,
}

impl JsonFormat {
    /// The format of the settings, and warnings for what cannot be obeyed.
    pub fn new(format: &Value, static_fields: &Map<String, Value>) -> (Self, Vec<String>) {
        let mut warnings = Vec::new();
        let mut fields = match format {
            Value::Null => Vec::new(),
            Value::String(text) => match Format::parse(text) {
                Ok(format) => named(&format),
                Err(reason) => {
                    warnings.push(format!("log.format cannot be used: {reason}"));
                    Vec::new()
                }
            },
            Value::Array(items) => listed(items, &mut warnings),
            other => {
                let kind = python::type_name(other);
                warnings.push(format!("Expected log format to be a string or a list, but got \"{kind}\""));
                Vec::new()
            }
        };
        if fields.is_empty() {
            fields = Format::parse(DEFAULT).map(|format| named(&format)).unwrap_or_default();
        }
        (Self { fields, static_fields: static_fields.clone() }, warnings)
    }

    /// The line. `extra`: other fields of the event.
    pub fn write(&self, mut field: impl FnMut(Attribute) -> Field, extra: &[(String, Value)]) -> String {
        let mut object = Map::new();
        for (attribute, name) in &self.fields {
            object.insert(name.clone(), attribute.map_or(Value::Null, |attribute| field(attribute).json()));
        }
        for (name, value) in self.static_fields.iter().chain(extra.iter().map(|(name, value)| (name, value))) {
            object.insert(name.clone(), value.clone());
        }
        let mut line = String::new();
        write(&Value::Object(object), &mut line);
        line
    }
}

fn named(format: &Format) -> Vec<(Option<Attribute>, String)> {
    format.attributes().map(|attribute| (Some(attribute), name(attribute).to_owned())).collect()
}

fn listed(items: &[Value], warnings: &mut Vec<String>) -> Vec<(Option<Attribute>, String)> {
    let mut fields = Vec::new();
    for item in items {
        match item {
            Value::String(field) => fields.push((Attribute::parse(field), field.clone())),
            Value::Object(renamed) => {
                for (field, new) in renamed {
                    match new {
                        Value::String(new) => fields.push((Attribute::parse(field), new.clone())),
                        other => warnings.push(format!(
                            "Expected renamed log field to be a string, but got \"{}\"",
                            python::type_name(other)
                        )),
                    }
                }
            }
            other => warnings.push(format!(
                "Expected each item of log format to be a string or dictionary, but got \"{}\"",
                python::type_name(other)
            )),
        }
    }
    fields
}

fn name(attribute: Attribute) -> &'static str {
    const NAMES: [&str; 18] = [
        "name",
        "levelno",
        "levelname",
        "pathname",
        "filename",
        "module",
        "lineno",
        "funcName",
        "created",
        "asctime",
        "msecs",
        "relativeCreated",
        "thread",
        "threadName",
        "process",
        "processName",
        "taskName",
        "message",
    ];
    NAMES.into_iter().find(|name| Attribute::parse(name) == Some(attribute)).unwrap_or("message")
}

/// As Python's `json.dumps`: blanks behind colon and comma, ASCII only.
fn write(value: &Value, out: &mut String) {
    match value {
        Value::String(text) => write_text(text, out),
        Value::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Value::Object(map) => {
            out.push('{');
            for (index, (key, item)) in map.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                write_text(key, out);
                out.push_str(": ");
                write(item, out);
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => out.push_str(&value.to_string()),
    }
}

fn write_text(text: &str, out: &mut String) {
    let quoted = Value::String(text.to_owned()).to_string();
    for c in quoted.chars() {
        if c.is_ascii() && c != '\u{7f}' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn line(format: Value, static_fields: Value, extra: &[(String, Value)]) -> (String, Vec<String>) {
        let (format, warnings) = JsonFormat::new(&format, static_fields.as_object().unwrap());
        let field = |attribute| match attribute {
            Attribute::LineNumber => Field::Integer(7),
            Attribute::Message => Field::Text("grüße \"😀\"".into()),
            other => Field::Text(name(other).to_uppercase()),
        };
        (format.write(field, extra), warnings)
    }

    #[test]
    fn fields_stand_in_order_and_may_be_renamed() {
        let message = r#""gr\u00fc\u00dfe \"\ud83d\ude00\"""#;
        for (format, static_fields, wanted) in [
            (
                json!(null),
                json!({}),
                format!(r#"{{"asctime": "ASCTIME", "levelname": "LEVELNAME", "message": {message}}}"#),
            ),
            (json!("%(lineno)d %(message)s"), json!({}), format!(r#"{{"lineno": 7, "message": {message}}}"#)),
            (
                json!(["levelname", {"message": "text", "asctime": "@timestamp"}, "nothing"]),
                json!({"app": "patroni", "n": [1, true]}),
                format!(
                    r#"{{"levelname": "LEVELNAME", "text": {message}, "@timestamp": "ASCTIME", "nothing": null, "app": "patroni", "n": [1, true]}}"#
                ),
            ),
        ] {
            assert_eq!(line(format, static_fields, &[]), (wanted, vec![]));
        }
        let (text, _) = line(json!(["lineno"]), json!({}), &[("rule".into(), json!("R1"))]);
        assert_eq!(text, r#"{"lineno": 7, "rule": "R1"}"#);
    }

    #[test]
    fn what_cannot_be_obeyed_is_named() {
        for (format, warning) in [
            (json!(5), "Expected log format to be a string or a list, but got \"int\""),
            (json!([5]), "Expected each item of log format to be a string or dictionary, but got \"int\""),
            (json!([{"message": null}]), "Expected renamed log field to be a string, but got \"NoneType\""),
        ] {
            let (text, warnings) = line(format, json!({}), &[]);
            assert_eq!(warnings, [warning]);
            assert!(text.starts_with("{\"asctime\""), "{text}");
        }
    }
}
