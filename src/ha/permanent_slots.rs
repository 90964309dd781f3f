//! Permanent slots as the dynamic configuration names them (SLOT-13 to SLOT-15, SLOT-20).

use crate::cluster::SlotKind;
use crate::config::python::truth;
use serde_json::Value;

/// What a value of `slots` asks for; `None`: nothing that can be made. Nothing at all means physical; without a type
/// database and plugin make it logical.
#[must_use]
pub fn kind(value: &Value) -> Option<SlotKind> {
    if !truth(value) {
        return Some(SlotKind::Physical);
    }
    let fields = value.as_object()?;
    let filled = |key: &str| fields.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let attributes = filled("database").zip(filled("plugin"));
    match (fields.get("type").map(Value::as_str), attributes) {
        (Some(Some("physical")), _) | (None, None) => Some(SlotKind::Physical),
        (Some(Some("logical")) | None, Some((database, plugin))) => {
            Some(SlotKind::Logical { database: database.to_owned(), plugin: plugin.to_owned() })
        }
        _ => None,
    }
}

/// PostgreSQL's rule for the names of slots.
#[must_use]
pub fn is_valid_name(name: &str) -> bool {
    let valid = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    (1..=63).contains(&name.len()) && name.bytes().all(valid)
}

/// Whether `cluster_type` admits this kind of cluster (SLOT-14).
#[must_use]
pub fn fits_cluster(value: &Value, standby_cluster: bool) -> bool {
    let other = if standby_cluster { "primary" } else { "standby" };
    value.get("cluster_type").and_then(Value::as_str) != Some(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    // rows: SLOT-13, SLOT-15
    #[test]
    fn what_a_value_asks_for() {
        let logical = || Some(SlotKind::Logical { database: "d".to_owned(), plugin: "p".to_owned() });
        for (value, expected) in [
            (json!(null), Some(SlotKind::Physical)),
            (json!(0), Some(SlotKind::Physical)),
            (json!({}), Some(SlotKind::Physical)),
            (json!({"type": "physical", "database": "d", "plugin": "p"}), Some(SlotKind::Physical)),
            (json!({"cluster_type": "primary"}), Some(SlotKind::Physical)),
            (json!({"type": "logical", "database": "d", "plugin": "p"}), logical()),
            (json!({"database": "d", "plugin": "p"}), logical()),
            (json!({"type": "logical", "database": "d"}), None),
            (json!({"type": "logical", "database": "", "plugin": "p"}), None),
            (json!({"type": "other"}), None),
            (json!({"type": 1}), None),
            (json!("physical"), None),
            (json!(1), None),
        ] {
            assert_eq!(kind(&value), expected, "{value}");
        }
    }

    // rows: SLOT-14, SLOT-20
    #[test]
    fn names_and_cluster_types() {
        for (name, valid) in [("a_1", true), ("", false), ("A", false), ("a-b", false), (&"x".repeat(64), false)] {
            assert_eq!(is_valid_name(name), valid, "{name}");
        }
        for (value, primary, standby) in [
            (json!({}), true, true),
            (json!(0), true, true),
            (json!({"cluster_type": "primary"}), true, false),
            (json!({"cluster_type": "standby"}), false, true),
        ] {
            assert_eq!((fits_cluster(&value, false), fits_cluster(&value, true)), (primary, standby), "{value}");
        }
    }
}
