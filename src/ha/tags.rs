//! What a member's tags mean (TAG-*).

use crate::cluster::MemberTags;
use serde_json::Value;

/// Tags that are published only when they say something (TAG-09).
const HIDDEN_WHEN_FALSE: [&str; 5] = ["clonefrom", "nofailover", "noloadbalance", "nosync", "nostream"];

/// Whether the member must never lead: the boolean tag decides, else a priority of zero or less (TAG-01, TAG-02).
#[must_use]
pub fn nofailover(tags: &MemberTags) -> bool {
    match tags.0.get("nofailover") {
        Some(Value::Null) | None => integer(tags, "failover_priority").is_some_and(|p| p <= 0),
        Some(value) => is_true(value),
    }
}

/// Higher wins at equal position; default 1 (TAG-02).
#[must_use]
pub fn failover_priority(tags: &MemberTags) -> i64 {
    if tags.0.get("nofailover").is_some_and(is_true) { 0 } else { integer(tags, "failover_priority").unwrap_or(1) }
}

/// Whether the member prefers to be copied from (TAG-04).
#[must_use]
pub fn clonefrom(tags: &MemberTags) -> bool {
    tags.0.get("clonefrom").is_some_and(is_true)
}

/// Whom the member wants to stream from (TAG-06).
#[must_use]
pub fn replicatefrom(tags: &MemberTags) -> Option<&str> {
    tags.0.get("replicatefrom").and_then(Value::as_str).filter(|name| !name.is_empty())
}

/// Whether the member does not stream at all (TAG-07).
#[must_use]
pub fn nostream(tags: &MemberTags) -> bool {
    match tags.0.get("nostream") {
        Some(Value::String(text)) => matches!(text.to_lowercase().as_str(), "on" | "true" | "yes" | "1"),
        Some(value) => is_true(value),
        None => false,
    }
}

/// The tags as the member key shows them (TAG-09).
#[must_use]
pub fn published(tags: &MemberTags) -> MemberTags {
    let partner = |tag: &str| match tag {
        "nofailover" => tags.0.contains_key("failover_priority"),
        "nosync" => tags.0.contains_key("sync_priority"),
        _ => false,
    };
    let shown =
        |(tag, value): &(&String, &Value)| !HIDDEN_WHEN_FALSE.contains(&tag.as_str()) || is_true(value) || partner(tag);
    MemberTags(tags.0.iter().filter(shown).map(|(tag, value)| (tag.clone(), value.clone())).collect())
}

/// Python's truth of a JSON value: what members written in Python make of it.
fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(yes) => *yes,
        Value::Number(number) => number.as_f64().is_some_and(|n| n != 0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        Value::Object(entries) => !entries.is_empty(),
    }
}

fn integer(tags: &MemberTags, tag: &str) -> Option<i64> {
    match tags.0.get(tag)? {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(json: Value) -> MemberTags {
        MemberTags(json.as_object().cloned().unwrap())
    }

    #[test]
    fn nofailover_and_priority_agree_with_the_original() {
        for (json, never, priority) in [
            (serde_json::json!({}), false, 1),
            (serde_json::json!({"nofailover": true}), true, 0),
            (serde_json::json!({"nofailover": false, "failover_priority": 0}), false, 0),
            (serde_json::json!({"failover_priority": 0}), true, 0),
            (serde_json::json!({"failover_priority": -1}), true, -1),
            (serde_json::json!({"failover_priority": "2"}), false, 2),
            (serde_json::json!({"nofailover": true, "failover_priority": 2}), true, 0),
            (serde_json::json!({"nofailover": null, "failover_priority": 0}), true, 0),
            (serde_json::json!({"failover_priority": "many"}), false, 1),
        ] {
            let tags = tags(json);
            assert_eq!((nofailover(&tags), failover_priority(&tags)), (never, priority), "{tags:?}");
        }
    }

    #[test]
    fn tags_that_say_nothing_are_not_published() {
        let given = tags(serde_json::json!({"clonefrom": false, "nofailover": false, "failover_priority": 2,
            "nosync": false, "noloadbalance": true, "zone": "a"}));
        let shown =
            tags(serde_json::json!({"nofailover": false, "failover_priority": 2, "noloadbalance": true, "zone": "a"}));
        assert_eq!(published(&given), shown);
        assert!(nostream(&tags(serde_json::json!({"nostream": "on"}))));
        assert!(!nostream(&tags(serde_json::json!({"nostream": "off"}))));
        assert_eq!(replicatefrom(&tags(serde_json::json!({"replicatefrom": "b"}))), Some("b"));
    }
}
