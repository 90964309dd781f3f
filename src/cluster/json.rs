//! JSON as Python's `json.dumps(value, separators=(',', ':'))` writes it, and reading that survives odd types.

use crate::config::loose::parse_int;
use serde::Serialize;
use serde_json::Value;
use serde_json::ser::{CharEscape, Formatter};
use std::io::{self, Write};

/// Without blanks, and with everything outside printable ASCII escaped: byte for byte what Python members write.
#[must_use]
pub fn compact(value: &Value) -> String {
    let mut text = Vec::new();
    match value.serialize(&mut serde_json::Serializer::with_formatter(&mut text, AsciiOnly)) {
        Ok(()) => String::from_utf8_lossy(&text).into_owned(),
        // Writing a value into memory does not fail; its plain form is right in any case.
        Err(_) => value.to_string(),
    }
}

struct AsciiOnly;

impl Formatter for AsciiOnly {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            if (' '..='~').contains(&c) {
                writer.write_all(&[c as u8])?;
            } else {
                let mut units = [0; 2];
                for unit in c.encode_utf16(&mut units) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

/// A text that is not empty.
pub(super) fn text(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|s| !s.is_empty()).map(str::to_owned)
}

/// A whole number, also when it was written as text or as a fraction. `None` for anything else.
pub(super) fn integer(value: Option<&Value>) -> Option<i64> {
    match value? {
        // Positions are too large for a detour over f64.
        Value::Number(number) if number.is_i64() => number.as_i64(),
        other => parse_int(other, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_escaped_as_python_does() {
        let value = json!({"b": "é😀\u{7f}\"\\/\n\u{1}", "a": [1, null, true, 0.5]});
        assert_eq!(compact(&value), r#"{"b":"\u00e9\ud83d\ude00\u007f\"\\/\n\u0001","a":[1,null,true,0.5]}"#);
    }

    #[test]
    fn numbers_are_found_in_loose_spellings() {
        for (value, number) in [
            (json!(5), Some(5)),
            (json!("5"), Some(5)),
            (json!(" -1 "), Some(-1)),
            (json!("0x10"), Some(16)),
            (json!(2.0), Some(2)),
            (json!("1.0"), Some(1)),
            (json!(true), None),
            (json!("x"), None),
            (json!(""), None),
            (json!("inf"), None),
            (json!("9999999999999999999999"), None),
            (json!([]), None),
        ] {
            assert_eq!(integer(Some(&value)), number, "{value}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_printed_is_ascii_and_reads_the_same(text in ".*") {
            let value = json!({ "k": text });
            let printed = compact(&value);
            proptest::prop_assert!(printed.is_ascii());
            proptest::prop_assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
        }
    }
}
