//! `failover`: a manual failover or switchover that was asked for.

use super::Revision;
use super::json::{compact, text};
use crate::config::python::truth;
use crate::types::Wall;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The request. Legacy text `leader:candidate` is readable too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failover {
    /// Version of the key.
    pub revision: Revision,
    /// Who should step down; absent for a manual failover.
    pub leader: Option<String>,
    /// Who should take over (`member` in the JSON).
    pub candidate: Option<String>,
    /// When.
    pub scheduled_at: Option<Wall>,
    /// `scheduled_at` as it was written, zone and all.
    pub scheduled_text: Option<String>,
}

impl Failover {
    /// Whether it asks for nothing (`{}`, or a time without names): the key is emptied after use, never deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leader.is_none() && self.candidate.is_none()
    }
}

impl Failover {
    /// Reads the key: the JSON object, or the old text `leader:candidate`.
    ///
    /// A request whose time cannot be understood asks for nothing: it must not be carried out at once instead.
    #[must_use]
    pub fn parse(revision: Revision, value: &[u8]) -> Self {
        let fields = match serde_json::from_slice(value) {
            Ok(Value::Object(fields)) => fields,
            Ok(_) => return Self { revision, ..Self::default() },
            Err(_) => return Self::parse_legacy(revision, &String::from_utf8_lossy(value)),
        };
        let scheduled_text = fields.get("scheduled_at").filter(|v| truth(v)).map(|value| match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let scheduled_at = scheduled_text.as_deref().map(|text| text.trim().parse::<Wall>());
        if let Some(Err(_)) = scheduled_at {
            return Self { revision, scheduled_text, ..Self::default() };
        }
        Self {
            revision,
            leader: text(fields.get("leader")),
            candidate: text(fields.get("member")),
            scheduled_at: scheduled_at.and_then(Result::ok),
            scheduled_text,
        }
    }

    fn parse_legacy(revision: Revision, value: &str) -> Self {
        let mut names = value.split(':').map(|name| Some(name.trim().to_owned()).filter(|n| !n.is_empty()));
        let (leader, candidate) = (names.next().flatten(), names.next().flatten());
        Self { revision, leader, candidate, ..Self::default() }
    }

    /// The value of the key for a request; `{}` for none. `scheduled_at` is ISO 8601 with zone.
    #[must_use]
    pub fn to_json(leader: Option<&str>, candidate: Option<&str>, scheduled_at: Option<&str>) -> String {
        let parts = [("leader", leader), ("member", candidate), ("scheduled_at", scheduled_at)];
        let given = parts.into_iter().filter_map(|(name, value)| {
            value.filter(|v| !v.is_empty()).map(|v| (name.to_owned(), Value::String(v.to_owned())))
        });
        compact(&Value::Object(given.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> (Option<String>, Option<String>, Option<String>) {
        let f = Failover::parse(Revision(7), value.as_bytes());
        assert_eq!(f.revision, Revision(7));
        (f.leader, f.candidate, f.scheduled_at.map(|at| at.to_string()))
    }

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn requests_are_read_in_both_forms() {
        assert_eq!(parse(r#"{"leader":"a","member":"b"}"#), (some("a"), some("b"), None));
        assert_eq!(parse(r#"{"member":"b"}"#), (None, some("b"), None));
        assert_eq!(parse("a:b"), (some("a"), some("b"), None));
        assert_eq!(parse(" a : "), (some("a"), None, None));
        assert_eq!(parse("a"), (some("a"), None, None));
        assert_eq!(parse(":b"), (None, some("b"), None));
        for nothing in
            ["", "{}", "null", "5", "[]", r#"{"leader":"","member":5}"#, r#"{"scheduled_at":"2026-01-14T10:09:57Z"}"#]
        {
            assert!(Failover::parse(Revision(0), nothing.as_bytes()).is_empty(), "{nothing}");
        }
    }

    #[test]
    fn times_need_a_zone_and_unreadable_ones_void_the_request() {
        let (leader, _, at) = parse(r#"{"leader":"a","scheduled_at":"2026-01-14T10:09:57.1394+02:00"}"#);
        assert_eq!((leader, at), (some("a"), some("2026-01-14T08:09:57.1394Z")));
        for bad in ["tomorrow", "2026-01-14T10:09:57"] {
            let value = format!(r#"{{"leader":"a","member":"b","scheduled_at":"{bad}"}}"#);
            let f = Failover::parse(Revision(1), value.as_bytes());
            assert!(f.is_empty(), "{bad}");
            assert_eq!(f.scheduled_text.as_deref(), Some(bad));
        }
    }

    #[test]
    fn requests_are_written_as_patroni_does() {
        assert_eq!(
            Failover::to_json(Some("a"), Some("b"), Some("2026-01-14T10:09:57+00:00")),
            r#"{"leader":"a","member":"b","scheduled_at":"2026-01-14T10:09:57+00:00"}"#
        );
        assert_eq!(Failover::to_json(None, Some("b"), None), r#"{"member":"b"}"#);
        assert_eq!(Failover::to_json(None, Some(""), None), "{}");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            let _ = Failover::parse(Revision(0), &bytes);
        }

        #[test]
        fn what_is_written_reads_the_same(leader in "\\PC{0,9}", candidate in "\\PC{0,9}") {
            let written = Failover::to_json(Some(&leader), Some(&candidate), None);
            let read = Failover::parse(Revision(0), written.as_bytes());
            proptest::prop_assert_eq!(read.leader.unwrap_or_default(), leader);
            proptest::prop_assert_eq!(read.candidate.unwrap_or_default(), candidate);
        }
    }
}
