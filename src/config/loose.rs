//! Patroni's loose spellings: `on`, `'1'`, `10s`, `16MB` (CFG-31), as functions and as types for serde.

use super::python;
use serde::de::{Deserialize, Deserializer, Error};
use serde_json::Value;
use std::time::Duration;

/// A boolean: on/off, true/false, yes/no, 1/0 in any case, as text, number or boolean.
#[must_use]
pub fn parse_bool(value: &Value) -> Option<bool> {
    match python::text(value).to_lowercase().as_str() {
        "on" | "true" | "yes" | "1" => Some(true),
        "off" | "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

/// An integer as PostgreSQL's configuration reads it (decimal, `0x`, octal; fractions are rounded half to even). With a
/// unit it is converted to `base_unit` (B, kB, MB, ms, s or min, perhaps with a factor as `16MB`).
#[must_use]
pub fn parse_int(value: &Value, base_unit: Option<&str>) -> Option<i64> {
    let text = python::text(value);
    let text = text.trim();
    let (mut number, mut unit) = match leading_integer(text) {
        Some((integer, rest)) => (Some(integer), rest),
        None => (None, text),
    };
    if unit.starts_with(['.', 'e', 'E']) {
        (number, unit) = leading_real(text).map_or((None, text), |(real, rest)| (Some(real), rest));
    }
    with_unit(number?, unit.trim(), base_unit).and_then(rounded)
}

/// A real number, with units as [`parse_int`].
#[must_use]
pub fn parse_real(value: &Value, base_unit: Option<&str>) -> Option<f64> {
    let text = python::text(value);
    let (number, unit) = leading_real(text.trim())?;
    with_unit(number, unit.trim(), base_unit)
}

fn with_unit(number: f64, unit: &str, base_unit: Option<&str>) -> Option<f64> {
    if unit.is_empty() { Some(number) } else { convert(number, unit, base_unit?) }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
fn rounded(number: f64) -> Option<i64> {
    let rounded = number.round_ties_even();
    (rounded.abs() < i64::MAX as f64).then_some(rounded as i64)
}

#[allow(clippy::cast_precision_loss)]
fn leading_integer(text: &str) -> Option<(f64, &str)> {
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let (digits, radix, test): (&str, u32, fn(char) -> bool) = match body.strip_prefix("0x") {
        Some(hex) if hex.starts_with(|c: char| c.is_ascii_hexdigit()) => (hex, 16, |c| c.is_ascii_hexdigit()),
        _ if body.starts_with('0') => (body, 8, |c| matches!(c, '0'..='7')),
        _ => (body, 10, |c| c.is_ascii_digit()),
    };
    let length = digits.find(|c| !test(c)).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at_checked(length)?;
    let magnitude = i128::from_str_radix(digits, radix).ok()?;
    Some((sign * magnitude as f64, rest))
}

fn leading_real(text: &str) -> Option<(f64, &str)> {
    let bytes = text.as_bytes();
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let sign = usize::from(matches!(bytes.first(), Some(b'-' | b'+')));
    let whole = digits(sign);
    let mut end = sign + whole;
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    } else if whole == 0 {
        return None;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits(end + 1 + sign);
        end += if exponent > 0 { 1 + sign + exponent } else { 0 };
    }
    let (number, rest) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, rest))
}

const MEMORY: [(&str, f64); 5] =
    [("TB", 1_099_511_627_776.0), ("GB", 1_073_741_824.0), ("MB", 1_048_576.0), ("kB", 1024.0), ("B", 1.0)];
const TIME: [(&str, f64); 6] =
    [("d", 86_400_000.0), ("h", 3_600_000.0), ("min", 60_000.0), ("s", 1000.0), ("ms", 1.0), ("us", 0.001)];

/// `number` of `unit` in `base_unit`; rounded to the next smaller unit as PostgreSQL does.
fn convert(number: f64, unit: &str, base_unit: &str) -> Option<f64> {
    let (factor, base) = match leading_integer(base_unit) {
        Some((factor, rest)) => (factor, rest),
        None => (1.0, base_unit),
    };
    let table: &[(&str, f64)] = match base {
        "B" | "kB" | "MB" => &MEMORY,
        "ms" | "s" | "min" => &TIME,
        _ => return None,
    };
    let position = table.iter().position(|(name, _)| *name == unit)?;
    let size = table.get(position)?.1;
    let base_size = table.iter().find(|(name, _)| *name == base)?.1;
    let converted = number * (size / base_size) / factor;
    Some(match table.get(position + 1) {
        Some((_, smaller)) => {
            let step = smaller / base_size;
            (converted / step).round_ties_even() * step
        }
        None => converted,
    })
}

macro_rules! loose_type {
    ($(#[$doc:meta])* $name:ident($inner:ty), $wanted:literal, $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name(pub $inner);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = Value::deserialize(deserializer)?;
                let parse: fn(&Value) -> Option<$inner> = $parse;
                parse(&value).map(Self).ok_or_else(|| {
                    D::Error::custom(format!("{} is not {}", python::repr(&value), $wanted))
                })
            }
        }
    };
}

loose_type!(
    /// A boolean in any of Patroni's spellings.
    Flag(bool),
    "a boolean (on, off, true, false, yes, no, 1, 0)",
    parse_bool
);
loose_type!(
    /// An integer.
    Count(i64),
    "an integer",
    |value| parse_int(value, None)
);
loose_type!(
    /// A number of bytes, with units B, kB, MB, GB, TB.
    Bytes(i64),
    "a number of bytes",
    |value| parse_int(value, Some("B"))
);
loose_type!(
    /// A time that is not negative: seconds, or with units us, ms, s, min, h, d.
    Seconds(Duration),
    "a time in seconds",
    |value| parse_real(value, Some("s")).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
);
loose_type!(
    /// A text; numbers become texts.
    Text(String),
    "a text",
    |value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(_) => Some(python::text(value)),
        _ => None,
    }
);
loose_type!(
    /// A list of texts.
    Lines(Vec<String>),
    "a list of texts",
    |value| match value {
        Value::Array(items) => items
            .iter()
            .map(|item| (!item.is_object() && !item.is_array() && !item.is_null()).then(|| python::text(item)))
            .collect(),
        Value::String(text) => Some(text.lines().map(str::to_owned).collect()),
        _ => None,
    }
);
loose_type!(
    /// Words: a list, or a text with commas.
    Words(Vec<String>),
    "a list of words",
    |value| match value {
        Value::Array(items) => items
            .iter()
            .map(|item| (!item.is_object() && !item.is_array() && !item.is_null()).then(|| python::text(item)))
            .collect(),
        Value::String(text) => {
            Some(text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect())
        }
        _ => None,
    }
);

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn booleans_have_many_spellings() {
        for value in [json!(true), json!("ON"), json!("Yes"), json!(1), json!("1"), json!("true")] {
            assert_eq!(parse_bool(&value), Some(true), "{value}");
        }
        for value in [json!(false), json!("off"), json!("NO"), json!(0), json!("0")] {
            assert_eq!(parse_bool(&value), Some(false), "{value}");
        }
        for value in [json!(null), json!("y"), json!(2), json!(1.0), json!("")] {
            assert_eq!(parse_bool(&value), None, "{value}");
        }
    }

    /// The examples of Patroni's own documentation of these functions.
    #[test]
    fn integers_are_read_with_units() {
        for (text, unit, wanted) in [
            ("1", None, Some(1)),
            (" 0x400 MB ", Some("16384kB"), Some(64)),
            ("1MB", Some("kB"), Some(1024)),
            ("1000 ms", Some("s"), Some(1)),
            ("1TB", Some("GB"), None),
            ("51", None, Some(51)),
            ("nonsense", None, None),
            ("nonsense", Some("kB"), None),
            ("6GB", Some("16MB"), Some(384)),
            ("4097.4kB", Some("kB"), Some(4097)),
            ("4097.5kB", Some("kB"), Some(4098)),
            ("10s", None, None),
            ("10s", Some("s"), Some(10)),
            ("-070", None, Some(-56)),
            ("08", None, None),
            ("0", None, Some(0)),
            ("1e3", None, Some(1000)),
            (".5", None, Some(0)),
            ("1.5", None, Some(2)),
            ("30min", Some("s"), Some(1800)),
            ("1d", Some("s"), Some(86400)),
            ("", None, None),
            ("99999999999999999999999999", None, None),
        ] {
            assert_eq!(parse_int(&json!(text), unit), wanted, "{text:?} in {unit:?}");
        }
        assert_eq!(parse_int(&json!(50), None), Some(50));
        assert_eq!(parse_int(&json!(true), None), None);
        assert_eq!(parse_int(&json!([1]), None), None);
    }

    #[test]
    fn reals_are_read_with_units() {
        assert_eq!(parse_real(&json!(" +0.0005 "), None), Some(0.0005));
        assert_eq!(parse_real(&json!("0.0005ms"), Some("ms")), Some(0.0));
        assert_eq!(parse_real(&json!("0.00051ms"), Some("ms")), Some(0.001));
        assert_eq!(parse_real(&json!("x"), None), None);
    }

    #[test]
    fn loose_types_say_what_they_want() {
        let seconds = |value: Value| serde_json::from_value::<Seconds>(value).map(|s| s.0);
        assert_eq!(seconds(json!("2min")).unwrap(), Duration::from_secs(120));
        assert_eq!(seconds(json!("500ms")).unwrap(), Duration::from_millis(500));
        assert_eq!(seconds(json!(-1)).unwrap_err().to_string(), "-1 is not a time in seconds");
        assert_eq!(serde_json::from_value::<Words>(json!("a, b,,c")).unwrap().0, ["a", "b", "c"]);
        assert_eq!(serde_json::from_value::<Words>(json!(["a", 1])).unwrap().0, ["a", "1"]);
        assert!(serde_json::from_value::<Words>(json!([{}])).is_err());
        assert_eq!(serde_json::from_value::<Bytes>(json!("1MB")).unwrap().0, 1_048_576);
        assert!(serde_json::from_value::<Flag>(json!("maybe")).is_err());
    }
}
