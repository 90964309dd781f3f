//! Changing the dynamic configuration by a patch (API-21), and comparing it.

use serde_json::{Map, Value};

/// Applies `patch` to `config`: null removes a key, objects are merged, anything else replaces. Returns whether
/// something changed; values that read the same (`5` and `"5"`) do not count.
pub fn apply(config: &mut Map<String, Value>, patch: &Map<String, Value>) -> bool {
    let mut changed = false;
    for (name, value) in patch {
        changed |= match (config.get_mut(name), value) {
            (_, Value::Null) => config.shift_remove(name).is_some_and(|old| !old.is_null()),
            (Some(Value::Object(old)), Value::Object(new)) => apply(old, new),
            (Some(old), new) if reads_the_same(old, new) => false,
            _ => {
                config.insert(name.clone(), value.clone());
                true
            }
        };
    }
    changed
}

/// Whether two configurations say the same, value by value as text.
#[must_use]
pub fn same(a: &Map<String, Value>, b: &Map<String, Value>) -> bool {
    a.len() == b.len()
        && a.iter().all(|(name, value)| match (value, b.get(name)) {
            (Value::Object(a), Some(Value::Object(b))) => same(a, b),
            (Value::Object(_), _) => false,
            (value, Some(other)) => reads_the_same(value, other),
            (_, None) => false,
        })
}

fn reads_the_same(a: &Value, b: &Value) -> bool {
    match (scalar_text(a), scalar_text(b)) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// How Python prints a scalar: booleans have a capital letter, which a text may equal.
fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("None".to_owned()),
        Value::Bool(true) => Some("True".to_owned()),
        Value::Bool(false) => Some("False".to_owned()),
        Value::Number(n) => Some(n.to_string()),
        Value::String(s) => Some(s.clone()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn patches_remove_merge_and_replace() {
        for (before, patch, after, changed) in [
            (json!({"a": 1}), json!({"a": null}), json!({}), true),
            (json!({"a": 1}), json!({"b": null}), json!({"a": 1}), false),
            (json!({"a": null}), json!({"a": null}), json!({}), false),
            (json!({"a": 1}), json!({"a": "1"}), json!({"a": 1}), false),
            (json!({"a": true}), json!({"a": "True"}), json!({"a": true}), false),
            (json!({"a": true}), json!({"a": "true"}), json!({"a": "true"}), true),
            (json!({"a": {"b": 1, "c": 2}}), json!({"a": {"b": null, "d": 3}}), json!({"a": {"c": 2, "d": 3}}), true),
            (json!({"a": 1}), json!({"a": {"b": 1}}), json!({"a": {"b": 1}}), true),
            (json!({"a": {"b": 1}}), json!({"a": 1}), json!({"a": 1}), true),
            (json!({"a": [1]}), json!({"a": [1]}), json!({"a": [1]}), false),
            (json!({"a": [1]}), json!({"a": ["1"]}), json!({"a": ["1"]}), true),
        ] {
            let mut config = before.as_object().cloned().unwrap();
            assert_eq!(apply(&mut config, patch.as_object().unwrap()), changed, "{before} {patch}");
            assert_eq!(Value::Object(config), after);
        }
    }

    #[test]
    fn order_survives_a_removal() {
        let mut config = json!({"a": 1, "b": 2, "c": 3}).as_object().cloned().unwrap();
        assert!(apply(&mut config, json!({"a": null}).as_object().unwrap()));
        assert_eq!(config.keys().collect::<Vec<_>>(), ["b", "c"]);
    }

    #[test]
    fn configurations_are_compared_loosely() {
        let same = |a: Value, b: Value| super::same(a.as_object().unwrap(), b.as_object().unwrap());
        assert!(same(json!({"a": 5, "b": {"c": true}}), json!({"b": {"c": true}, "a": "5"})));
        assert!(!same(json!({"a": null}), json!({})));
        assert!(!same(json!({"a": {}}), json!({"a": null})));
    }
}
