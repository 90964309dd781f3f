//! What a plain scalar means in YAML 1.1, by PyYAML's rules (they differ from YAML 1.2 and from JSON).

use serde_json::{Number, Value};

/// The type that a plain scalar resolves to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Bool(bool),
    Float,
    Int,
    Merge,
    Null,
    Timestamp,
    /// `=`, which PyYAML resolves to a type of its own.
    DefaultValue,
    Str,
}

/// Resolves a plain scalar.
pub(super) fn kind(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => Kind::Bool(true),
        "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => Kind::Bool(false),
        "<<" => Kind::Merge,
        "=" => Kind::DefaultValue,
        _ if is_float(text) => Kind::Float,
        _ if is_int(text) => Kind::Int,
        _ if is_timestamp(text) => Kind::Timestamp,
        _ => Kind::Str,
    }
}

/// The value of a plain scalar. Timestamps, numbers that JSON cannot hold (`.inf`, 100 digits) and `=` stay text.
pub(super) fn value(text: &str) -> Value {
    let number = match kind(text) {
        Kind::Bool(flag) => return Value::Bool(flag),
        Kind::Null => return Value::Null,
        Kind::Int => int(text),
        Kind::Float => float(text),
        Kind::Merge | Kind::Timestamp | Kind::DefaultValue | Kind::Str => None,
    };
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

/// The number of an integer scalar; `None` when there is none (`0b_`) or it is too large.
pub(super) fn int(text: &str) -> Option<Number> {
    let digits = text.replace('_', "");
    let (negative, digits) = match digits.as_bytes().first()? {
        b'-' => (true, digits.get(1..)?),
        b'+' => (false, digits.get(1..)?),
        _ => (false, digits.as_str()),
    };
    let magnitude = if digits == "0" {
        0
    } else if let Some(binary) = digits.strip_prefix("0b") {
        i128::from_str_radix(binary, 2).ok()?
    } else if let Some(hex) = digits.strip_prefix("0x") {
        i128::from_str_radix(hex, 16).ok()?
    } else if digits.starts_with('0') {
        i128::from_str_radix(digits, 8).ok()?
    } else {
        sexagesimal_int(digits)?
    };
    Number::from_i128(if negative { -magnitude } else { magnitude })
}

fn sexagesimal_int(digits: &str) -> Option<i128> {
    digits.split(':').try_fold(0_i128, |sum, part| sum.checked_mul(60)?.checked_add(part.parse().ok()?))
}

/// The number of a float scalar; `None` for infinities and not-a-number.
pub(super) fn float(text: &str) -> Option<Number> {
    let digits = text.replace('_', "").to_lowercase();
    let (sign, digits) = match digits.as_bytes().first()? {
        b'-' => (-1.0, digits.get(1..)?),
        b'+' => (1.0, digits.get(1..)?),
        _ => (1.0, digits.as_str()),
    };
    if matches!(digits, ".inf" | ".nan") {
        return None;
    }
    let magnitude =
        digits.split(':').try_fold(0.0_f64, |sum, part| Some(sum.mul_add(60.0, part.parse::<f64>().ok()?)))?;
    Number::from_f64(sign * magnitude)
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all(text: &str, test: impl Fn(u8) -> bool) -> bool {
    !text.is_empty() && text.bytes().all(test)
}

fn is_digit_or_underscore(byte: u8) -> bool {
    byte.is_ascii_digit() || byte == b'_'
}

fn starts_with_digit(text: &str) -> bool {
    text.as_bytes().first().is_some_and(u8::is_ascii_digit)
}

fn is_int(text: &str) -> bool {
    let body = unsigned(text);
    if let Some(binary) = body.strip_prefix("0b") {
        return all(binary, |b| matches!(b, b'0' | b'1' | b'_'));
    }
    if let Some(hex) = body.strip_prefix("0x") {
        return all(hex, |b| b.is_ascii_hexdigit() || b == b'_');
    }
    if let Some(octal) = body.strip_prefix('0') {
        return octal.is_empty() || all(octal, |b| matches!(b, b'0'..=b'7' | b'_'));
    }
    let mut parts = body.split(':');
    let first = parts.next().unwrap_or("");
    starts_with_digit(first) && all(first, is_digit_or_underscore) && parts.all(is_minute)
}

/// 0-59, one or two digits: a place of a number with base 60.
fn is_minute(part: &str) -> bool {
    match part.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => matches!(tens, b'0'..=b'5') && ones.is_ascii_digit(),
        _ => false,
    }
}

fn is_float(text: &str) -> bool {
    let body = unsigned(text);
    if matches!(body, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let Some((whole, rest)) = body.split_once('.') else { return false };
    if whole.contains(':') {
        let mut parts = whole.split(':');
        let first = parts.next().unwrap_or("");
        return starts_with_digit(first)
            && all(first, is_digit_or_underscore)
            && parts.all(is_minute)
            && rest.bytes().all(is_digit_or_underscore);
    }
    let fraction = match rest.find(['e', 'E']) {
        None => rest,
        Some(at) => {
            let exponent = rest.get(at + 1..).unwrap_or("");
            let signed = exponent.strip_prefix(['-', '+']);
            if !signed.is_some_and(|digits| all(digits, |b| b.is_ascii_digit())) {
                return false;
            }
            rest.get(..at).unwrap_or("")
        }
    };
    if !fraction.bytes().all(is_digit_or_underscore) {
        return false;
    }
    if whole.is_empty() {
        // `.5` may not have a sign.
        body.len() == text.len() && starts_with_digit(fraction)
    } else {
        starts_with_digit(whole) && all(whole, is_digit_or_underscore)
    }
}

/// `2024-01-02` or a date with a time: text for us, but quoted when a text looks so.
fn is_timestamp(text: &str) -> bool {
    let Some((date, rest)) = split_date(text) else { return false };
    if rest.is_empty() {
        return date.iter().map(|part| part.len()).eq([4, 2, 2]);
    }
    let Some(time) = rest.strip_prefix(['T', 't']).or_else(|| {
        let trimmed = rest.trim_start_matches([' ', '\t']);
        (trimmed.len() < rest.len()).then_some(trimmed)
    }) else {
        return false;
    };
    is_time_with_zone(time)
}

/// Year, month and day digits, and what follows them.
fn split_date(text: &str) -> Option<([&str; 3], &str)> {
    let (year, rest) = text.split_once('-')?;
    let (month, rest) = rest.split_once('-')?;
    let length = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (day, rest) = rest.split_at_checked(length)?;
    let digits = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    (digits(year, 4..=4) && digits(month, 1..=2) && digits(day, 1..=2)).then_some(([year, month, day], rest))
}

fn is_time_with_zone(text: &str) -> bool {
    let digits = |part: &str, lengths: std::ops::RangeInclusive<usize>| {
        lengths.contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit())
    };
    let clock_length = text.bytes().take_while(|b| b.is_ascii_digit() || *b == b':').count();
    let (clock, rest) = text.split_at_checked(clock_length).unwrap_or((text, ""));
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts.as_slice() else { return false };
    if !(digits(hour, 1..=2) && digits(minute, 2..=2) && digits(second, 2..=2)) {
        return false;
    }
    let rest = match rest.strip_prefix('.') {
        Some(fraction) => fraction.trim_start_matches(|c: char| c.is_ascii_digit()),
        None => rest,
    };
    let zone = rest.trim_start_matches([' ', '\t']);
    match zone.strip_prefix(['-', '+']) {
        Some(offset) => match offset.split_once(':') {
            Some((hours, minutes)) => digits(hours, 1..=2) && digits(minutes, 2..=2),
            None => digits(offset, 1..=2),
        },
        None => zone == "Z" || rest.is_empty(),
    }
}
