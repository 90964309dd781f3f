//! Python's %-style formats: `%(levelname)-8s`.

use super::record::{Attribute, Field};
use crate::config::python;
use serde_json::Value;

/// Patroni's format.
pub(super) const DEFAULT: &str = "%(asctime)s %(levelname)s: %(message)s";

/// A format that was understood.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Format(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Literal(String),
    Field(Attribute, Spec),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
    conversion: char,
}

impl Format {
    /// Reads a format; the error says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(at) = rest.find('%') {
            let (before, after) = rest.split_at_checked(at).unwrap_or((rest, ""));
            literal.push_str(before);
            let after = after.get(1..).unwrap_or("");
            if let Some(next) = after.strip_prefix('%') {
                literal.push('%');
                rest = next;
                continue;
            }
            let (name, spec) = after
                .strip_prefix('(')
                .and_then(|inner| inner.split_once(')'))
                .ok_or_else(|| format!("'%' without '(name)' in \"{text}\""))?;
            let attribute = Attribute::parse(name).ok_or_else(|| format!("unknown field '{name}' in \"{text}\""))?;
            let (spec, next) = Spec::parse(spec).ok_or_else(|| format!("no conversion behind '%({name})'"))?;
            if !literal.is_empty() {
                parts.push(Part::Literal(std::mem::take(&mut literal)));
            }
            parts.push(Part::Field(attribute, spec));
            rest = next;
        }
        if !parts.iter().any(|part| matches!(part, Part::Field(..))) {
            return Err(format!("no field like %(message)s in \"{text}\""));
        }
        literal.push_str(rest);
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        Ok(Self(parts))
    }

    /// The line with the values that `field` gives.
    pub fn write(&self, mut field: impl FnMut(Attribute) -> Field) -> String {
        let mut line = String::new();
        for part in &self.0 {
            match part {
                Part::Literal(text) => line.push_str(text),
                Part::Field(attribute, spec) => line.push_str(&spec.write(&field(*attribute))),
            }
        }
        line
    }

    /// The attributes in order.
    pub fn attributes(&self) -> impl Iterator<Item = Attribute> + '_ {
        self.0.iter().filter_map(|part| match part {
            Part::Field(attribute, _) => Some(*attribute),
            Part::Literal(_) => None,
        })
    }
}

impl Spec {
    /// Flags, width, precision and conversion; and what follows them.
    fn parse(text: &str) -> Option<(Self, &str)> {
        let mut spec = Self::default();
        let mut rest = text;
        while let Some(flag) = rest.chars().next().filter(|c| "-0+ #".contains(*c)) {
            match flag {
                '-' => spec.left = true,
                '0' => spec.zero = true,
                '+' => spec.plus = true,
                ' ' => spec.space = true,
                _ => {}
            }
            rest = rest.get(1..)?;
        }
        let number = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let length = number(rest);
        // A width of more than that is a slip of the pen, and would cost memory with each line.
        spec.width = if length == 0 { 0 } else { rest.get(..length)?.parse().ok().filter(|w| *w <= 1000)? };
        rest = rest.get(length..)?;
        if let Some(after) = rest.strip_prefix('.') {
            let length = number(after);
            spec.precision = Some(after.get(..length)?.parse().ok().filter(|p| *p <= 1000).unwrap_or(0));
            rest = after.get(length..)?;
        }
        spec.conversion = rest.chars().next().filter(|c| "diouxXeEfFgGrsa".contains(*c))?;
        Some((spec, rest.get(1..)?))
    }

    fn write(&self, field: &Field) -> String {
        let (body, numeric) = match (self.conversion, number(field)) {
            ('d' | 'i' | 'u', Some(real)) => (self.signed(format!("{:.0}", real.abs().trunc()), real), true),
            ('x', Some(real)) => (self.signed(format!("{:x}", magnitude(real)), real), true),
            ('X', Some(real)) => (self.signed(format!("{:X}", magnitude(real)), real), true),
            ('o', Some(real)) => (self.signed(format!("{:o}", magnitude(real)), real), true),
            ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Some(real)) => {
                (self.signed(format!("{:.*}", self.precision.unwrap_or(6), real.abs()), real), true)
            }
            ('r' | 'a', _) => (self.cut(python::repr(&field.json())), false),
            _ => (self.cut(field.text()), false),
        };
        self.pad(body, numeric)
    }

    fn signed(&self, digits: String, number: f64) -> String {
        let sign = match () {
            () if number < 0.0 => "-",
            () if self.plus => "+",
            () if self.space => " ",
            () => "",
        };
        format!("{sign}{digits}")
    }

    fn cut(&self, text: String) -> String {
        match self.precision {
            Some(most) => text.chars().take(most).collect(),
            None => text,
        }
    }

    fn pad(&self, text: String, numeric: bool) -> String {
        let missing = self.width.saturating_sub(text.chars().count());
        if missing == 0 {
            text
        } else if self.left {
            text + &" ".repeat(missing)
        } else if self.zero && numeric {
            let digits = text.trim_start_matches(['-', '+', ' ']);
            let sign = text.strip_suffix(digits).unwrap_or("");
            format!("{sign}{}{digits}", "0".repeat(missing))
        } else {
            " ".repeat(missing) + &text
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn number(field: &Field) -> Option<f64> {
    match field {
        Field::Text(_) => None,
        Field::Integer(number) => Some(*number as f64),
        Field::Real(number) => Some(*number),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn magnitude(number: f64) -> u64 {
    number.abs() as u64
}

/// The format of the settings for plain lines, and a warning when it cannot be obeyed.
pub(super) fn plain(format: &Value) -> (Format, Option<String>) {
    let parsed = match format {
        Value::Null => Format::parse(DEFAULT),
        Value::String(text) => Format::parse(text).map_err(|reason| format!("log.format cannot be used: {reason}")),
        other => Err(format!(
            "Expected log format to be a string when log type is plain, but got \"{}\"",
            python::type_name(other)
        )),
    };
    match parsed {
        Ok(format) => (format, None),
        Err(warning) => (Format::parse(DEFAULT).unwrap_or(Format(Vec::new())), Some(warning)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn fields_are_written_by_their_conversion() {
        let field = |attribute| match attribute {
            Attribute::LineNumber => Field::Integer(42),
            Attribute::Milliseconds => Field::Real(7.0),
            Attribute::Created => Field::Real(1.5),
            Attribute::LevelName => Field::Text("INFO".into()),
            _ => Field::Text("it's".into()),
        };
        for (format, wanted) in [
            ("%(levelname)s", "INFO"),
            ("[%(levelname)-8s]", "[INFO    ]"),
            ("[%(levelname)8s]", "[    INFO]"),
            ("%(levelname).1s:", "I:"),
            ("%(lineno)d", "42"),
            ("%(lineno)s", "42"),
            ("%(lineno)05d|%(lineno)+d|%(lineno)-5d|%(lineno)x", "00042|+42|42   |2a"),
            ("%(msecs)03d", "007"),
            ("%(msecs)s", "7.0"),
            ("%(created)f %(created).1f", "1.500000 1.5"),
            ("100%% %(message)s%%", "100% it's%"),
            ("%(message)r", "\"it's\""),
            ("%(levelname)d", "INFO"),
        ] {
            assert_eq!(Format::parse(format).unwrap().write(field), wanted, "{format}");
        }
    }

    #[test]
    fn formats_without_sense_give_the_default_and_a_warning() {
        for format in
            [json!("no field"), json!("%(nothing)s"), json!("%(message)"), json!("50% %(message)s"), json!([1])]
        {
            let (used, warning) = plain(&format);
            assert_eq!(used, Format::parse(DEFAULT).unwrap());
            assert!(warning.is_some(), "{format}");
        }
        let (_, warning) = plain(&json!(["message"]));
        let wanted = "Expected log format to be a string when log type is plain, but got \"list\"";
        assert_eq!(warning.as_deref(), Some(wanted));
    }
}
