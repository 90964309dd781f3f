//! Numbers with units as clients write them: `lag=10MB`, `timeout: 2min`.

use serde_json::Value;

/// The unit in which the number is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// Bytes: units B, kB, MB, GB, TB.
    Bytes,
    /// Seconds: units us, ms, s, min, h, d.
    Seconds,
}

impl Base {
    /// Size of a unit in this base, and of the next smaller one to which fractions are rounded.
    fn unit(self, name: &str) -> Option<(f64, Option<f64>)> {
        const BYTES: [(&str, f64); 5] =
            [("TB", 1_099_511_627_776.0), ("GB", 1_073_741_824.0), ("MB", 1_048_576.0), ("kB", 1024.0), ("B", 1.0)];
        const SECONDS: [(&str, f64); 6] =
            [("d", 86_400.0), ("h", 3600.0), ("min", 60.0), ("s", 1.0), ("ms", 1e-3), ("us", 1e-6)];
        let table: &[(&str, f64)] = match self {
            Self::Bytes => &BYTES,
            Self::Seconds => &SECONDS,
        };
        let at = table.iter().position(|(n, _)| *n == name)?;
        Some((table.get(at)?.1, table.get(at + 1).map(|u| u.1)))
    }
}

/// A whole number in the base unit, rounded as PostgreSQL's settings are; `None` for anything that is no such number.
#[must_use]
pub fn parse(text: &str, base: Base) -> Option<i64> {
    let text = text.trim();
    let (value, unit) = split_number(text)?;
    let unit = unit.trim();
    let value = if unit.is_empty() {
        value
    } else {
        let (factor, smaller) = base.unit(unit)?;
        let value = value * factor;
        smaller.map_or(value, |s| (value / s).round_ties_even() * s)
    };
    let rounded = value.round_ties_even();
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    (rounded.is_finite() && rounded.abs() < i64::MAX as f64).then_some(rounded as i64)
}

/// As [`parse`], for a JSON number or text.
#[must_use]
pub fn parse_value(value: &Value, base: Base) -> Option<i64> {
    match value {
        Value::Number(n) => parse(&n.to_string(), base),
        Value::String(s) => parse(s, base),
        _ => None,
    }
}

/// The number at the start (decimal, octal with a leading 0, hexadecimal with 0x, or with fraction and exponent).
#[allow(clippy::cast_precision_loss)]
fn split_number(text: &str) -> Option<(f64, &str)> {
    let unsigned = text.trim_start_matches(['+', '-']);
    if text.len() - unsigned.len() > 1 {
        return None;
    }
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    let span = |s: &str, test: fn(&char) -> bool| s.chars().take_while(test).count();
    if let Some(hex) = unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        let (digits, rest) = hex.split_at(span(hex, char::is_ascii_hexdigit));
        if let Ok(value) = i64::from_str_radix(digits, 16) {
            return Some((sign * value as f64, rest));
        }
    }
    let whole = span(unsigned, char::is_ascii_digit);
    let (digits, rest) = unsigned.split_at(whole);
    if rest.starts_with(['.', 'e', 'E']) {
        let fraction = rest.strip_prefix('.').map_or(0, |f| 1 + span(f, char::is_ascii_digit));
        let mantissa = whole + fraction;
        let tail = unsigned.get(mantissa..)?;
        let exponent = tail.strip_prefix(['e', 'E']).map_or(0, |e| {
            let sign = usize::from(e.starts_with(['+', '-']));
            let digits = e.get(sign..).map_or(0, |d| span(d, char::is_ascii_digit));
            if digits == 0 { 0 } else { 1 + sign + digits }
        });
        let (number, rest) = unsigned.split_at(mantissa + exponent);
        return number.parse::<f64>().ok().map(|v| (sign * v, rest));
    }
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b < b'8');
    let value = if octal { i64::from_str_radix(digits, 8) } else { digits.parse() };
    value.ok().map(|v| (sign * v as f64, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_seconds_are_read() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("1024", Some(1024)),
            (" 10MB ", Some(10 << 20)),
            ("1.5 kB", Some(1536)),
            ("0x10kB", Some(16384)),
            ("010", Some(8)),
            ("1e3", Some(1000)),
            ("-5", Some(-5)),
            ("2TB", Some(2 << 40)),
            ("10mb", None),
            ("x", None),
            ("", None),
            ("--1", None),
            ("1é", None),
            ("99999999999999999999999999", None),
        ] {
            assert_eq!(parse(text, Base::Bytes), bytes, "{text:?}");
        }
        for (text, seconds) in
            [("30", Some(30)), ("2min", Some(120)), ("1500ms", Some(2)), ("1d", Some(86_400)), ("5MB", None)]
        {
            assert_eq!(parse(text, Base::Seconds), seconds, "{text:?}");
        }
        assert_eq!(parse_value(&serde_json::json!(5), Base::Seconds), Some(5));
        assert_eq!(parse_value(&serde_json::json!(null), Base::Seconds), None);
    }
}
