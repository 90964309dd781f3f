//! The rules by which tags are understood (TAG-01 to TAG-09).

use super::MemberTags;
use super::json::integer;
use crate::config::python::truth;
use serde_json::Value;

/// Tags that are shown only when they are set.
const SWITCHES: [&str; 5] = ["clonefrom", "nofailover", "noloadbalance", "nosync", "nostream"];

/// A switch and the priority whose value 0 means the same.
const PARTNERS: [(&str, &str); 2] = [("nofailover", "failover_priority"), ("nosync", "sync_priority")];

impl MemberTags {
    /// Whether the member must never become leader: `nofailover` when given, else a `failover_priority` of 0 or less.
    #[must_use]
    pub fn nofailover(&self) -> bool {
        self.switch_or_priority("nofailover", "failover_priority")
    }

    /// Preference among candidates with equal positions: 0 with `nofailover`, 1 when not given.
    #[must_use]
    pub fn failover_priority(&self) -> i64 {
        self.priority("nofailover", "failover_priority")
    }

    /// Whether the member must never be synchronous: `nosync` when given, else a `sync_priority` of 0 or less.
    #[must_use]
    pub fn nosync(&self) -> bool {
        self.switch_or_priority("nosync", "sync_priority")
    }

    /// Preference as synchronous standby: 0 with `nosync`, 1 when not given.
    #[must_use]
    pub fn sync_priority(&self) -> i64 {
        self.priority("nosync", "sync_priority")
    }

    /// Whether load balancers must not use the member.
    #[must_use]
    pub fn noloadbalance(&self) -> bool {
        self.switch("noloadbalance")
    }

    /// Whether the member is a preferred source for copies.
    #[must_use]
    pub fn clonefrom(&self) -> bool {
        self.switch("clonefrom")
    }

    /// Whether the member replays from the archive alone. Unlike its siblings it is read as a PostgreSQL boolean.
    #[must_use]
    pub fn nostream(&self) -> bool {
        let word = match self.0.get("nostream") {
            Some(Value::String(text)) => text.to_lowercase(),
            Some(other) => other.to_string(),
            None => return false,
        };
        matches!(word.as_str(), "on" | "true" | "yes" | "1")
    }

    /// The member from which this one wants to stream.
    #[must_use]
    pub fn replicatefrom(&self) -> Option<&str> {
        self.0.get("replicatefrom").and_then(Value::as_str).filter(|name| !name.is_empty())
    }

    /// The tags as the member key and the REST API show them: switches that are off are left out, unless their
    /// priority is given too (TAG-09).
    #[must_use]
    pub fn published(&self) -> Self {
        let shown = |name: &str, value: &Value| {
            !SWITCHES.contains(&name)
                || truth(value)
                || PARTNERS.iter().any(|(switch, priority)| *switch == name && self.0.contains_key(*priority))
        };
        Self(self.0.iter().filter(|(name, value)| shown(name, value)).map(|(n, v)| (n.clone(), v.clone())).collect())
    }

    fn switch(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(truth)
    }

    fn switch_or_priority(&self, switch: &str, priority: &str) -> bool {
        match self.0.get(switch) {
            None | Some(Value::Null) => integer(self.0.get(priority)).is_some_and(|n| n <= 0),
            Some(value) => truth(value),
        }
    }

    fn priority(&self, switch: &str, priority: &str) -> i64 {
        if self.switch(switch) { 0 } else { integer(self.0.get(priority)).unwrap_or(1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tags(value: Value) -> MemberTags {
        MemberTags(value.as_object().cloned().unwrap_or_default())
    }

    // rows: TAG-01, TAG-02
    #[test]
    fn nofailover_and_priority_agree_by_patronis_rules() {
        // value, nofailover, failover_priority
        for (value, nofailover, priority) in [
            (json!({}), false, 1),
            (json!({"nofailover": true}), true, 0),
            (json!({"nofailover": false}), false, 1),
            (json!({"nofailover": "1"}), true, 0),
            (json!({"nofailover": "true"}), true, 0),
            (json!({"nofailover": ""}), false, 1),
            (json!({"nofailover": null, "failover_priority": 0}), true, 0),
            (json!({"failover_priority": 0}), true, 0),
            (json!({"failover_priority": "-1"}), true, -1),
            (json!({"failover_priority": "2"}), false, 2),
            (json!({"failover_priority": "many"}), false, 1),
            (json!({"nofailover": false, "failover_priority": 0}), false, 0),
            (json!({"nofailover": true, "failover_priority": 5}), true, 0),
        ] {
            let t = tags(value.clone());
            assert_eq!((t.nofailover(), t.failover_priority()), (nofailover, priority), "{value}");
        }
    }

    // rows: TAG-05, TAG-07
    #[test]
    fn the_other_questions() {
        let t = tags(json!({"nosync": true, "noloadbalance": 1, "clonefrom": "yes", "nostream": "on",
            "replicatefrom": "a", "sync_priority": 3}));
        assert!(t.nosync() && t.noloadbalance() && t.clonefrom() && t.nostream());
        assert_eq!((t.sync_priority(), t.replicatefrom()), (0, Some("a")));
        // `nostream` alone is read as a word.
        assert!(!tags(json!({"nostream": "off"})).nostream());
        assert!(tags(json!({"clonefrom": "off"})).clonefrom());
        assert_eq!(tags(json!({"replicatefrom": ""})).replicatefrom(), None);
    }

    // rows: TAG-08, TAG-09
    #[test]
    fn false_switches_are_hidden_unless_their_priority_is_given() {
        let all_off = json!({"clonefrom": false, "nofailover": false, "noloadbalance": false, "nosync": 0,
            "nostream": null, "mine": false, "failover_priority": 1});
        assert_eq!(
            tags(all_off).published(),
            tags(json!({"nofailover": false, "mine": false, "failover_priority": 1}))
        );
        assert_eq!(tags(json!({"nosync": false, "sync_priority": 2})).published().0.len(), 2);
        let texts = tags(json!({"nofailover": "1", "x": "1"}));
        assert_eq!(texts.published(), texts);
    }
}
