//! From the entries of a store to a [`Cluster`]: shared by all stores.

use super::{Cluster, ClusterConfig, Failover, History, Keys, Leader, Member, MemberData, Revision, Status, SyncState};
use crate::types::MemberName;
use indexmap::IndexMap;
use serde_json::Value;

/// One key as the store returned it.
#[derive(Clone, Copy, Debug)]
pub struct RawKey<'a> {
    /// The whole key.
    pub key: &'a str,
    /// Its value.
    pub value: &'a [u8],
    /// Its version.
    pub revision: Revision,
    /// Whether it is bound to this very session or lease of ours.
    pub own_session: bool,
}

impl Cluster {
    /// Builds the view from all entries below the prefix of `keys`. Other entries are passed over, and so are keys that
    /// Patroni does not know.
    #[must_use]
    pub fn from_keys<'a>(keys: &Keys, entries: impl IntoIterator<Item = RawKey<'a>>) -> Self {
        let prefix = keys.prefix();
        let mut cluster = Self::default();
        let mut legacy_optime = None;
        let mut has_status = false;
        for entry in entries {
            let Some(name) = entry.key.strip_prefix(&prefix) else { continue };
            let text = || String::from_utf8_lossy(entry.value).into_owned();
            match name {
                "initialize" => cluster.initialize = Some(text()),
                "config" => cluster.config = Some(config(&entry)),
                "leader" => cluster.leader = Some(leader(&entry)),
                "status" => {
                    has_status = true;
                    cluster.status = Status::parse(entry.value);
                }
                "optime/leader" => legacy_optime = Some(Status::parse(entry.value)),
                "failover" => cluster.failover = Some(Failover::parse(entry.revision, entry.value)),
                "sync" => cluster.sync = SyncState::parse(Some(entry.revision), entry.value),
                "history" => cluster.history = History::parse(entry.value),
                "failsafe" => cluster.failsafe = failsafe(entry.value),
                other => cluster.members.extend(member(other, &entry)),
            }
        }
        if let Some(legacy) = legacy_optime.filter(|_| !has_status) {
            cluster.status = legacy;
        }
        cluster.members.sort_by(|a, b| a.name.cmp(&b.name));
        cluster
    }
}

fn config(entry: &RawKey<'_>) -> ClusterConfig {
    let data = match serde_json::from_slice(entry.value) {
        Ok(Value::Object(data)) => data,
        _ => serde_json::Map::new(),
    };
    ClusterConfig { revision: entry.revision, data }
}

fn leader(entry: &RawKey<'_>) -> Leader {
    let name = MemberName::new(&String::from_utf8_lossy(entry.value));
    Leader { name, own_session: entry.own_session, revision: entry.revision }
}

fn failsafe(value: &[u8]) -> Option<IndexMap<String, String>> {
    match serde_json::from_slice(value) {
        Ok(Value::Object(map)) => {
            Some(map.into_iter().filter_map(|(name, url)| url.as_str().map(|u| (name, u.to_owned()))).collect())
        }
        _ => None,
    }
}

fn member(name: &str, entry: &RawKey<'_>) -> Option<Member> {
    let name = name.strip_prefix("members/").filter(|n| !n.contains('/'))?;
    Some(Member {
        name: MemberName::new(name),
        revision: entry.revision,
        own_session: entry.own_session,
        data: MemberData::parse(entry.value),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Lsn, Timeline};

    fn cluster(entries: &[(&str, &str)]) -> Cluster {
        let keys = Keys::new("service", "demo");
        let entries: Vec<(String, &str)> = entries.iter().map(|(n, v)| (keys.key(n), *v)).collect();
        Cluster::from_keys(
            &keys,
            entries.iter().zip(1..).map(|((key, value), n)| RawKey {
                key,
                value: value.as_bytes(),
                revision: Revision(n),
                own_session: n == 2,
            }),
        )
    }

    #[test]
    fn every_key_finds_its_place() {
        let c = cluster(&[
            ("initialize", "7123456789012345678"),
            ("leader", "b"),
            ("config", r#"{"ttl":30}"#),
            ("status", r#"{"optime":5}"#),
            ("optime/leader", "4"),
            ("failover", "{}"),
            ("sync", r#"{"leader":"b"}"#),
            ("history", r#"[[1,2,"r"]]"#),
            ("failsafe", r#"{"a":"http://a","b":5}"#),
            ("members/b", r#"{"state":"running"}"#),
            ("members/a", "{"),
            ("members/x/y", "{}"),
            ("unknown", "{}"),
        ]);
        assert_eq!(c.system_id().map(|id| id.0), Some(7_123_456_789_012_345_678));
        let leader = c.leader.as_ref().unwrap();
        assert_eq!((leader.name.as_str(), leader.own_session, leader.revision), ("b", true, Revision(2)));
        assert_eq!(c.config.as_ref().unwrap().data.len(), 1);
        assert_eq!((c.last_lsn(), c.timeline()), (Lsn(5), Timeline(2)));
        assert!(c.failover.as_ref().unwrap().is_empty());
        assert_eq!(c.sync.revision, Some(Revision(7)));
        assert_eq!(c.failsafe.as_ref().unwrap().len(), 1);
        assert_eq!(c.members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(c.leader_member().is_some_and(Member::is_running));
    }

    #[test]
    fn the_legacy_position_counts_only_without_status() {
        assert_eq!(cluster(&[("optime/leader", "4")]).last_lsn(), Lsn(4));
        assert_eq!(cluster(&[("optime/leader", "4"), ("status", "{")]).last_lsn(), Lsn(0));
        assert_eq!(cluster(&[("history", "x")]).timeline(), Timeline(0));
        assert_eq!(cluster(&[("history", "[]")]).timeline(), Timeline(1));
    }

    #[test]
    fn garbage_is_absent_or_empty() {
        let c = cluster(&[("config", "[]"), ("failsafe", "7"), ("sync", "x"), ("leader", "")]);
        assert!(c.config.as_ref().unwrap().data.is_empty());
        assert!(c.failsafe.is_none() && c.sync.is_empty() && c.is_unlocked());
        assert!(!c.is_empty() && cluster(&[]).is_empty());
    }

    proptest::proptest! {
        #[test]
        fn no_entries_break_it(entries: Vec<(String, Vec<u8>)>, known in 0..9usize) {
            let keys = Keys::new("service", "demo");
            let names = ["initialize", "config", "leader", "status", "failover", "sync", "history", "failsafe", "members/a"];
            let entries: Vec<(String, Vec<u8>)> = entries.into_iter().map(|(n, v)| (if n.len() > 3 { keys.key(names[known]) } else { keys.key(&n) }, v)).collect();
            let _ = Cluster::from_keys(&keys, entries.iter().map(|(key, value)| RawKey { key, value, revision: Revision(1), own_session: false }));
        }
    }
}
