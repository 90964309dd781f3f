//! Changing and comparing trees the way Patroni's `PATCH /config` and its reload do.

use super::python;
use serde_json::{Map, Value};

/// Writes `changes` over `target`: null removes a key, mappings are merged, anything else replaces. Values whose
/// Python text is equal (1 and '1') count as equal and stay. Returns whether something changed.
pub fn patch(target: &mut Map<String, Value>, changes: &Map<String, Value>) -> bool {
    let mut changed = false;
    for (key, value) in changes {
        let present = target.get_mut(key);
        match (value, present) {
            (Value::Null, _) => changed |= target.shift_remove(key).is_some_and(|old| !old.is_null()),
            (Value::Object(inner), Some(Value::Object(old))) => changed |= patch(old, inner),
            (Value::Object(_), Some(old)) => {
                *old = value.clone();
                changed = true;
            }
            (_, Some(old)) => {
                if python::text(old) != python::text(value) {
                    *old = value.clone();
                    changed = true;
                }
            }
            (_, None) => {
                target.insert(key.clone(), value.clone());
                changed = true;
            }
        }
    }
    changed
}

/// Whether two trees have the same keys and values of the same Python text.
#[must_use]
pub fn same(one: &Map<String, Value>, other: &Map<String, Value>) -> bool {
    one.len() == other.len()
        && one.iter().all(|(key, value)| match (value, other.get(key)) {
            (_, None) => false,
            (Value::Object(value), Some(Value::Object(other))) => same(value, other),
            (Value::Object(_), _) => false,
            (_, Some(other)) => python::text(value) == python::text(other),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn patches_merge_replace_and_remove() {
        for (before, changes, after, changed) in [
            (json!({"a": 1}), json!({"a": "1"}), json!({"a": 1}), false),
            (json!({"a": 1}), json!({"a": 2}), json!({"a": 2}), true),
            (json!({"a": 1, "b": 2}), json!({"a": null}), json!({"b": 2}), true),
            (json!({"b": 2}), json!({"a": null}), json!({"b": 2}), false),
            (json!({"a": {"x": 1, "y": 2}}), json!({"a": {"x": null, "z": 3}}), json!({"a": {"y": 2, "z": 3}}), true),
            (json!({"a": {"x": 1}}), json!({"a": {"x": 1}}), json!({"a": {"x": 1}}), false),
            (json!({"a": 1}), json!({"a": {"x": null}}), json!({"a": {"x": null}}), true),
            (json!({"a": {"x": 1}}), json!({"a": 5}), json!({"a": 5}), true),
            (json!({"a": true}), json!({"a": "True"}), json!({"a": true}), false),
            (json!({"a": [1]}), json!({"a": [1, 2]}), json!({"a": [1, 2]}), true),
        ] {
            let mut target = map(before);
            assert_eq!(patch(&mut target, &map(changes)), changed);
            assert_eq!(Value::Object(target), after);
        }
    }

    #[test]
    fn the_order_of_other_keys_stays_when_one_is_removed() {
        let mut target = map(json!({"a": 1, "b": 2, "c": 3, "d": 4}));
        patch(&mut target, &map(json!({"b": null})));
        assert_eq!(target.keys().collect::<Vec<_>>(), ["a", "c", "d"]);
    }

    #[test]
    fn trees_are_compared_by_python_text() {
        assert!(same(&map(json!({"a": 2, "b": {"c": [3, 4]}})), &map(json!({"b": {"c": [3, 4]}, "a": "2"}))));
        assert!(!same(&map(json!({"a": null})), &map(json!({}))));
        assert!(!same(&map(json!({"a": {}})), &map(json!({"a": null}))));
        assert!(!same(&map(json!({"a": [1]})), &map(json!({"a": [2]}))));
    }
}
