//! What this member wrote last, so that the same is not written twice (DCS-06, DCS-33, DCS-34).

use crate::cluster::{Cluster, Status, compact_json};
use crate::types::Lsn;
use serde_json::{Map, Value};

/// Agents from this version on read `status`; older ones need `optime/leader`.
const STATUS_SINCE: [u32; 3] = [2, 1, 0];

/// Values known to stand in the store. Forgotten as soon as a write of them fails.
#[derive(Debug, Default)]
pub struct Written {
    member: Option<(u64, String)>,
    status: Option<Status>,
    optime: Option<Lsn>,
    failsafe: Option<String>,
    has_old_members: bool,
}

impl Written {
    /// Takes over what a fresh view shows.
    pub fn loaded(&mut self, cluster: &Cluster, name: &str) {
        if !cluster.member(name).is_some_and(|m| m.own_session) {
            self.member = None;
        }
        self.status = Some(cluster.status.clone());
        self.has_old_members = cluster.min_version().is_some_and(|v| v.as_slice() < STATUS_SINCE.as_slice());
        let failsafe = cluster
            .failsafe
            .as_ref()
            .map(|map| compact_json(&Value::Object(map.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect())));
        if failsafe != self.failsafe {
            self.failsafe = None;
        }
    }

    /// Whether the member key stands so, bound to this session.
    #[must_use]
    pub fn has_member(&self, session: u64, value: &str) -> bool {
        self.member.as_ref().is_some_and(|(s, v)| *s == session && v == value)
    }

    /// The member key was written; `None`: perhaps.
    pub fn member(&mut self, written: Option<(u64, String)>) {
        self.member = written;
    }

    /// What `status` must become; `None`: it stands so already.
    #[must_use]
    pub fn status_to_write(&self, update: &Status) -> Option<Status> {
        let whole = self.status.as_ref().map_or_else(|| update.clone(), |last| update.over(last));
        (self.status.as_ref().map(Status::to_json) != Some(whole.to_json())).then_some(whole)
    }

    /// `status` was written; `None`: perhaps.
    pub fn status(&mut self, written: Option<Status>) {
        self.status = written;
    }

    /// What `optime/leader` must become for the sake of old members; `None`: nothing to write.
    #[must_use]
    pub fn optime_to_write(&self, update: &Status) -> Option<Lsn> {
        update.optime.filter(|lsn| self.has_old_members && self.optime != Some(*lsn))
    }

    /// `optime/leader` was written; `None`: perhaps.
    pub fn optime(&mut self, written: Option<Lsn>) {
        self.optime = written;
    }

    /// What `failsafe` must become; `None`: it stands so already.
    #[must_use]
    pub fn failsafe_to_write(&self, map: &Map<String, Value>) -> Option<String> {
        let value = compact_json(&Value::Object(map.clone()));
        (self.failsafe.as_ref() != Some(&value)).then_some(value)
    }

    /// `failsafe` was written; `None`: perhaps.
    pub fn failsafe(&mut self, written: Option<String>) {
        self.failsafe = written;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Keys, RawKey, Revision};

    fn view(entries: &[(&str, &str)]) -> Cluster {
        let keys = Keys::new("s", "c");
        let entries: Vec<_> = entries.iter().map(|(n, v)| (keys.key(n), *v)).collect();
        Cluster::from_keys(
            &keys,
            entries.iter().map(|(key, value)| RawKey {
                key,
                value: value.as_bytes(),
                revision: Revision(1),
                own_session: true,
            }),
        )
    }

    #[test]
    fn the_same_status_is_not_written_twice_and_parts_not_mentioned_stay() {
        let mut written = Written::default();
        let update = Status { optime: Some(Lsn(5)), ..Status::default() };
        assert_eq!(written.status_to_write(&update), Some(update.clone()));
        written.loaded(&view(&[("status", r#"{"optime":5,"slots":{"a":1}}"#)]), "me");
        assert_eq!(written.status_to_write(&update), None);
        let next = Status { optime: Some(Lsn(6)), ..Status::default() };
        assert_eq!(
            written.status_to_write(&next).map(|s| s.to_json()).as_deref(),
            Some(r#"{"optime":6,"slots":{"a":1}}"#)
        );
        written.status(None);
        assert!(written.status_to_write(&update).is_some());
    }

    #[test]
    fn old_members_get_their_own_key() {
        let mut written = Written::default();
        let update = Status { optime: Some(Lsn(5)), ..Status::default() };
        written.loaded(&view(&[("members/a", r#"{"version":"2.1.0"}"#)]), "me");
        assert_eq!(written.optime_to_write(&update), None);
        written.loaded(&view(&[("members/a", r#"{"version":"2.0.9"}"#)]), "me");
        assert_eq!(written.optime_to_write(&update), Some(Lsn(5)));
        written.optime(Some(Lsn(5)));
        assert_eq!(written.optime_to_write(&update), None);
    }

    #[test]
    fn the_member_key_is_written_again_for_another_session_or_when_it_is_gone() {
        let mut written = Written::default();
        written.member(Some((7, "{}".into())));
        assert!(written.has_member(7, "{}") && !written.has_member(8, "{}") && !written.has_member(7, "{x"));
        written.loaded(&view(&[("members/me", "{}")]), "me");
        assert!(written.has_member(7, "{}"));
        written.loaded(&view(&[]), "me");
        assert!(!written.has_member(7, "{}"));
    }
}
