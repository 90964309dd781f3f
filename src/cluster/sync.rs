//! `sync`: who may take over in synchronous mode.

use super::Revision;
use super::json::{self, compact};
use crate::config::python::truth;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// `{"leader":name,"quorum":n,"sync_standby":"a,b"|null}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncState {
    /// Version of the key; `None` when it does not exist.
    pub revision: Option<Revision>,
    /// The primary that wrote it; `None` or empty: synchronous mode is not active.
    pub leader: Option<String>,
    /// Names, sorted.
    pub sync_standby: Vec<String>,
    /// Votes needed besides the candidate's own (quorum mode).
    pub quorum: u32,
}

impl SyncState {
    /// Reads the key (`None`: it does not exist). What cannot be understood is empty but keeps its version.
    #[must_use]
    pub fn parse(revision: Option<Revision>, value: &[u8]) -> Self {
        let empty = Self { revision, ..Self::default() };
        let Ok(Value::Object(fields)) = serde_json::from_slice(value) else { return empty };
        let leader = json::text(fields.get("leader"));
        let quorum = match fields.get("quorum").filter(|v| leader.is_some() && truth(v)) {
            None => 0,
            Some(value) => match json::integer(Some(value)).map(u32::try_from) {
                Some(Ok(quorum)) => quorum,
                _ => return empty,
            },
        };
        let names = json::text(fields.get("sync_standby")).unwrap_or_default();
        let sync_standby = names.split(',').map(str::trim).filter(|n| !n.is_empty()).map(str::to_owned).collect();
        Self { revision, leader, sync_standby, quorum }
    }

    /// The value of the key.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut names = self.sync_standby.clone();
        names.sort();
        let names = Some(names.join(",")).filter(|n| !n.is_empty());
        let mut fields = Map::new();
        fields.insert("leader".to_owned(), Value::from(self.leader.as_deref()));
        fields.insert("quorum".to_owned(), Value::from(self.quorum));
        fields.insert("sync_standby".to_owned(), Value::from(names));
        compact(&Value::Object(fields))
    }

    /// Whether nobody is named as leader: synchronous mode is not active.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leader.as_deref().is_none_or(str::is_empty)
    }

    /// Whether the member is among the standbys, or with `or_leader` the leader. Case does not matter, as in
    /// `synchronous_standby_names`.
    #[must_use]
    pub fn matches(&self, name: &str, or_leader: bool) -> bool {
        let same = |other: &String| other.to_lowercase() == name.to_lowercase();
        !name.is_empty()
            && !self.is_empty()
            && (self.sync_standby.iter().any(same) || or_leader && self.leader_matches(name))
    }

    /// Whether the member is the leader that wrote the key; case does not matter.
    #[must_use]
    pub fn leader_matches(&self, name: &str) -> bool {
        !name.is_empty() && self.leader.as_deref().is_some_and(|leader| leader.to_lowercase() == name.to_lowercase())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SyncState {
        SyncState::parse(Some(Revision(3)), text.as_bytes())
    }

    #[test]
    fn the_key_is_written_and_read_as_python_writes_it() {
        let text = r#"{"leader":"a","quorum":1,"sync_standby":"b,c"}"#;
        assert_eq!(parse(text).to_json(), text);
        assert_eq!(parse(text).sync_standby, ["b", "c"]);
        let unsorted = SyncState { sync_standby: vec!["c".into(), "b".into()], ..parse(text) };
        assert_eq!(unsorted.to_json(), text);
        assert_eq!(SyncState::default().to_json(), r#"{"leader":null,"quorum":0,"sync_standby":null}"#);
    }

    #[test]
    fn odd_forms_are_understood_or_empty() {
        let old = parse(r#"{"leader":"a","sync_standby":" b ,,c"}"#);
        assert_eq!((old.quorum, old.sync_standby.len()), (0, 2));
        assert_eq!(parse(r#"{"quorum":5}"#).quorum, 0);
        for garbage in ["", "{", "[]", "5", r#"{"leader":"a","quorum":"x"}"#, r#"{"leader":5}"#, r#"{"leader":""}"#] {
            let state = parse(garbage);
            assert!(state.is_empty() && !state.matches("a", true), "{garbage}");
            assert_eq!(state.revision, Some(Revision(3)));
        }
    }

    #[test]
    fn names_match_without_regard_to_case() {
        let state = parse(r#"{"leader":"Foo","sync_standby":"Bar"}"#);
        assert!(state.matches("bar", false) && state.matches("fOO", true) && state.leader_matches("foo"));
        assert!(!state.matches("foo", false) && !state.matches("", true) && !state.matches("baz", true));
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes: Vec<u8>) {
            let _ = SyncState::parse(None, &bytes);
        }
    }
}
