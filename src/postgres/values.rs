//! Parameter values as PostgreSQL reads them: booleans, numbers with units, and whether two spellings mean the same.

/// `on`/`true`/`yes`/`1` and their opposites, in any case. `None` for anything else.
#[must_use]
pub fn parse_bool(value: &str) -> Option<bool> {
    let is = |words: [&str; 4]| words.iter().any(|w| value.eq_ignore_ascii_case(w));
    if is(["on", "true", "yes", "1"]) {
        Some(true)
    } else if is(["off", "false", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// A unit: its name, and how many of the base unit's smallest (bytes, or microseconds) it is.
type Unit = (&'static str, f64);

const MEMORY: [Unit; 5] =
    [("TB", 1_099_511_627_776.0), ("GB", 1_073_741_824.0), ("MB", 1_048_576.0), ("kB", 1024.0), ("B", 1.0)];
const TIME: [Unit; 6] = [("d", 86_400e6), ("h", 3_600e6), ("min", 60e6), ("s", 1e6), ("ms", 1e3), ("us", 1.0)];

/// The units of one kind, largest first, for a base unit that parameters have ("kB", "ms", ...).
fn units_for(base: &str) -> Option<&'static [Unit]> {
    match base {
        "B" | "kB" | "MB" => Some(&MEMORY),
        "ms" | "s" | "min" => Some(&TIME),
        _ => None,
    }
}

/// A base unit like "8kB" or "ms" as (multiplier, units of its kind, size of the unit).
fn base_unit(text: &str) -> Option<(f64, &'static [Unit], f64)> {
    let (multiplier, unit) = match integer_prefix(text) {
        Some((number, rest)) => (number as f64, rest),
        None => (1.0, text.trim()),
    };
    let units = units_for(unit)?;
    let size = units.iter().find(|(name, _)| *name == unit)?.1;
    if multiplier > 0.0 { Some((multiplier, units, size)) } else { None }
}

/// `value` in `unit`, in base units; rounded to the next smaller unit first, as PostgreSQL does ("4097.5kB").
fn to_base_unit(value: f64, unit: &str, base: &str) -> Option<f64> {
    let (multiplier, units, size) = base_unit(base)?;
    let place = units.iter().position(|(name, _)| *name == unit)?;
    let converted = value * units[place].1 / size / multiplier;
    match units.get(place + 1) {
        Some((_, smaller)) => {
            let step = smaller / size;
            Some(round_half_even(converted / step) * step)
        }
        None => Some(converted),
    }
}

fn round_half_even(value: f64) -> f64 {
    value.round_ties_even()
}

/// The integer at the beginning (hexadecimal with 0x, octal with 0), and the rest.
fn integer_prefix(text: &str) -> Option<(i64, &str)> {
    let text = text.trim();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let run = |t: &str, ok: fn(&u8) -> bool| t.bytes().take_while(ok).count();
    let hex = unsigned.strip_prefix("0x").map(|t| (t, run(t, u8::is_ascii_hexdigit))).filter(|(_, n)| *n > 0);
    let (digits, radix, rest) = if let Some((tail, length)) = hex {
        (&tail[..length], 16, &tail[length..])
    } else if unsigned.starts_with('0') {
        let length = run(unsigned, |b| (b'0'..=b'7').contains(b));
        (&unsigned[..length], 8, &unsigned[length..])
    } else {
        let length = run(unsigned, u8::is_ascii_digit);
        (&unsigned[..length], 10, &unsigned[length..])
    };
    i64::from_str_radix(digits, radix).ok().map(|n| (sign * n, rest))
}

/// The decimal number at the beginning, and the rest.
fn real_prefix(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let digits = |t: &str| t.bytes().take_while(u8::is_ascii_digit).count();
    let signed = usize::from(text.starts_with(['-', '+']));
    let mut end = signed + digits(&text[signed..]);
    let mut found = end > signed;
    if text[end..].starts_with('.') {
        let fraction = digits(&text[end + 1..]);
        if fraction > 0 {
            (end, found) = (end + 1 + fraction, true);
        }
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['-', '+']));
        let exponent = digits(&text[end + 1 + sign..]);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    if found { text[..end].parse().ok().map(|n| (n, &text[end..])) } else { None }
}

/// An integer parameter's value in base units; `None` if it is no number or its unit does not fit.
#[must_use]
pub fn parse_int(value: &str, base: Option<&str>) -> Option<i64> {
    let (number, rest) = match integer_prefix(value) {
        Some((number, rest)) if !rest.starts_with(['.', 'e', 'E']) => (number as f64, rest),
        None if !value.trim().starts_with('.') => return None,
        _ => real_prefix(value)?,
    };
    let unit = rest.trim();
    let number = if unit.is_empty() { number } else { to_base_unit(number, unit, base?)? };
    let rounded = round_half_even(number);
    if rounded.abs() < 9.0e18 { Some(rounded as i64) } else { None }
}

/// A real parameter's value in base units.
#[must_use]
pub fn parse_real(value: &str, base: Option<&str>) -> Option<f64> {
    let (number, rest) = real_prefix(value)?;
    let unit = rest.trim();
    if unit.is_empty() { Some(number) } else { to_base_unit(number, unit, base?) }
}

/// Whether `setting` (a column of pg_settings, in base units) and `wanted` (as somebody wrote it) mean the same, by
/// `vartype` of pg_settings.
#[must_use]
pub fn same_value(vartype: &str, unit: Option<&str>, setting: &str, wanted: &str) -> bool {
    match vartype {
        "bool" => parse_bool(setting).is_some_and(|b| Some(b) == parse_bool(wanted)),
        "integer" => parse_int(setting, None).is_some_and(|n| Some(n) == parse_int(wanted, unit)),
        "real" => parse_real(setting, None).is_some_and(|n| Some(n) == parse_real(wanted, unit)),
        "enum" => setting.to_lowercase() == wanted.to_lowercase(),
        _ => setting == wanted,
    }
}

/// A number in base units as people write it: the largest unit that holds it without loss ("16384" of 8kB: "128MB").
/// Anything else stays as it is.
#[must_use]
pub fn readable(value: &str, vartype: &str, unit: Option<&str>) -> String {
    let number = match vartype {
        "integer" => parse_int(value, None).map(|n| n as f64),
        "real" => parse_real(value, None),
        _ => None,
    };
    let named = number.filter(|n| *n != 0.0).zip(unit).and_then(|(number, unit)| {
        let (multiplier, units, size) = base_unit(unit)?;
        let total = number * multiplier * size;
        let whole = |(_, unit): &&Unit| ((total / unit).round() / (total / unit) - 1.0).abs() <= 1e-8;
        // An integer never needs a unit below its base unit.
        let last = units.iter().position(|(_, s)| vartype == "integer" && *s <= size).unwrap_or(units.len() - 1);
        let (name, unit) = units[..=last].iter().find(whole).or(units.get(last))?;
        Some(format!("{}{name}", total / unit))
    });
    named.unwrap_or_else(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_with_units_are_read_as_postgresql_does() {
        for (text, base, number) in [
            ("1", None, Some(1)),
            (" 0x400 MB ", Some("16384kB"), Some(64)),
            ("1MB", Some("kB"), Some(1024)),
            ("1000 ms", Some("s"), Some(1)),
            ("1TB", Some("GB"), None),
            ("51", None, Some(51)),
            ("nonsense", Some("kB"), None),
            ("nonsense", None, None),
            ("", None, None),
            ("0", None, Some(0)),
            ("-1", Some("8kB"), Some(-1)),
            ("010", None, Some(8)),
            ("6GB", Some("16MB"), Some(384)),
            ("4097.4kB", Some("kB"), Some(4097)),
            ("4097.5kB", Some("kB"), Some(4098)),
            (".5s", Some("ms"), Some(500)),
            ("1e3", None, Some(1000)),
            ("1MB", None, None),
            ("99999999999999999999", None, None),
        ] {
            assert_eq!(parse_int(text, base), number, "{text} {base:?}");
        }
    }

    #[test]
    fn reals_are_read_as_postgresql_does() {
        for (text, base, number) in [
            (" +0.0005 ", None, Some(0.0005)),
            ("0.0005ms", Some("ms"), Some(0.0)),
            ("0.00051ms", Some("ms"), Some(0.001)),
            ("1e-06", None, Some(1e-06)),
            (".", None, None),
            ("e5", None, None),
        ] {
            assert_eq!(parse_real(text, base), number, "{text}");
        }
    }

    #[test]
    fn two_spellings_of_one_value_are_the_same() {
        for (vartype, unit, setting, wanted, same) in [
            ("enum", None, "remote_write", "REMOTE_WRITE", true),
            ("string", None, "remote_write", "REMOTE_WRITE", false),
            ("real", None, "1e-06", "0.000001", true),
            ("integer", Some("MB"), "6GB", "6GB", false),
            ("integer", None, "6GB", "6GB", false),
            ("integer", Some("2MB"), "524288", "1TB", true),
            ("integer", Some("MB"), "1048576", "1TB", true),
            ("integer", Some("kB"), "4098", "4097.5kB", true),
            ("integer", Some("8kB"), "16384", "128MB", true),
            ("bool", None, "on", "TRUE", true),
            ("bool", None, "on", "0", false),
            ("bool", None, "x", "x", false),
        ] {
            assert_eq!(same_value(vartype, unit, setting, wanted), same, "{setting} {wanted}");
        }
    }

    #[test]
    fn numbers_are_shown_in_the_largest_unit_that_fits() {
        for (value, vartype, unit, shown) in [
            ("5", "integer", Some("ms"), "5ms"),
            ("4.2", "real", Some("ms"), "4200us"),
            ("on", "bool", None, "on"),
            ("", "integer", Some("256MB"), ""),
            ("1024", "integer", Some("kB"), "1MB"),
            ("1025", "integer", Some("kB"), "1025kB"),
            ("4", "integer", Some("256MB"), "1GB"),
            ("16384", "integer", Some("8kB"), "128MB"),
            ("1024", "integer", Some("KB"), "1024"),
            ("2.5", "real", Some("ms"), "2500us"),
            ("100", "integer", None, "100"),
            ("0", "integer", Some("kB"), "0"),
        ] {
            assert_eq!(readable(value, vartype, unit), shown, "{value} {unit:?}");
        }
    }
}
