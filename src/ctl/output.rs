//! Rows in the form that was asked for: table, TSV, JSON or YAML.

use super::table::{self, Align};
use crate::cluster::json_text;
use crate::config::{python, yaml};
use clap::ValueEnum;
use serde_json::{Map, Value};

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum Format {
    Pretty,
    Tsv,
    Json,
    #[value(alias = "yml")]
    Yaml,
    /// Of the command `topology` only.
    #[value(skip)]
    Topology,
}

impl Format {
    /// Whether people read it: then there are a title and notes.
    #[must_use]
    pub fn is_table(self) -> bool {
        matches!(self, Self::Pretty | Self::Topology)
    }
}

/// Columns and values.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// Title of the table; empty for none.
    pub title: String,
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Columns whose values stand at the right.
    pub right: &'static [&'static str],
    /// Values.
    pub rows: Vec<Vec<Value>>,
}

impl Rows {
    /// The text, without a closing line break. In a titled table the first column (the cluster's name) stands in the
    /// title alone.
    #[must_use]
    pub fn render(&self, format: Format) -> String {
        match format {
            Format::Json => json_text(&self.objects()),
            Format::Yaml => yaml::dump(&Value::Array(self.objects()), true),
            Format::Tsv => {
                let head = self.columns.join("\t");
                let rows = self.rows.iter().map(|row| self.texts(row, format).join("\t"));
                std::iter::once(head).chain(rows).collect::<Vec<_>>().join("\n")
            }
            Format::Pretty | Format::Topology => {
                let skip = usize::from(!self.title.is_empty());
                let align = |name: &&'static str| if self.right.contains(name) { Align::Right } else { Align::Left };
                let columns: Vec<_> = self.columns.iter().skip(skip).map(|name| (*name, align(name))).collect();
                let cells = |row: &Vec<Value>| self.texts(row, format).into_iter().skip(skip).collect();
                let rows: Vec<Vec<String>> = self.rows.iter().map(cells).collect();
                table::draw(&self.title, &columns, &rows)
            }
        }
    }

    fn objects(&self) -> Vec<Value> {
        let object = |row: &Vec<Value>| {
            let pairs = self.columns.iter().zip(row);
            // Of a cluster only what is there is listed.
            let shown = pairs.filter(|(_, v)| self.title.is_empty() || v.as_str() != Some(""));
            Value::Object(shown.map(|(k, v)| ((*k).to_owned(), v.clone())).collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }

    fn texts(&self, row: &[Value], format: Format) -> Vec<String> {
        let text = |value: &Value| match value {
            Value::String(s) => s.clone(),
            Value::Object(map) if format == Format::Pretty => {
                yaml::dump(&Value::Object(map.clone()), true).trim().to_owned()
            }
            Value::Object(_) | Value::Array(_) => flow(value),
            Value::Null => "None".to_owned(),
            other => python::text(other),
        };
        row.iter().map(text).collect()
    }
}

/// YAML in one line.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let mut pairs: Vec<_> = map.iter().collect();
            pairs.sort_by(|a, b| a.0.cmp(b.0));
            let key = |k: &str| flow(&Value::String(k.to_owned()));
            let pairs: Vec<String> = pairs.into_iter().map(|(k, v)| format!("{}: {}", key(k), flow(v))).collect();
            format!("{{{}}}", pairs.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        scalar => {
            let block = yaml::dump(scalar, true);
            let block = block.trim_end_matches("...\n").trim_end();
            match scalar {
                // Within braces these end a plain text.
                Value::String(s) if block == s && s.contains([',', '[', ']', '{', '}', '?']) => format!("'{s}'"),
                _ => block.to_owned(),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn tags_fit_one_line() {
        let tags = json!({"zone": "eu,west", "clonefrom": true, "n": 1, "s": "1", "list": [1, "a"], "empty": ""});
        assert_eq!(flow(&tags), "{clonefrom: true, empty: '', list: [1, a], n: 1, s: '1', zone: 'eu,west'}");
    }
}
