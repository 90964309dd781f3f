//! Which standbys could be synchronous, and which of them are (SYNC-04 to SYNC-06, SYNC-16, SYNC-17).

use super::{NameSet, names};
use crate::cluster::{Cluster, Member, NodeStatus, PgState, ReplicationConnection};
use crate::types::Lsn;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is wanted of the standbys.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// My name.
    pub me: &'a str,
    /// Quorum mode; otherwise by priority.
    pub quorum: bool,
    /// `synchronous_node_count` (1 where the server can do no more).
    pub count: usize,
    /// `maximum_lag_on_syncnode`.
    pub max_lag: Option<u64>,
    /// The server knows `ANY`.
    pub knows_any: bool,
}

/// What the primary's server says at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observed {
    /// How many standbys a commit waits for.
    pub num: usize,
    /// The list; empty when it holds a `*`.
    pub listed: NameSet,
    /// It holds a `*`.
    pub star: bool,
    /// Standbys that have everything from the moment on at which they came into the list.
    pub confirmed: NameSet,
    /// Standbys that should be in the list.
    pub active: NameSet,
}

/// Follows the list of names: a standby that came into it is synchronous only once it has received what was written
/// before the server began to wait for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tracker {
    /// `synchronous_standby_names` as seen last.
    names: String,
    /// Position of the primary when the list was seen to change.
    since: Lsn,
    /// Standbys of the list that have reached it.
    ready: NameSet,
}

/// A standby that could be synchronous.
struct Standby<'a> {
    row: &'a ReplicationConnection,
    lsn: Lsn,
    nofailover: bool,
    priority: i64,
}

impl Tracker {
    /// Takes an answer of the primary in. Also says whether the list has changed, and why it cannot be read.
    pub fn observe(
        &mut self,
        status: &NodeStatus,
        cluster: &Cluster,
        wanted: Wanted<'_>,
    ) -> (Observed, bool, Option<String>) {
        let (listed, error) = match names::parse(&status.synchronous_standby_names) {
            Ok(listed) => (listed, None),
            Err(error) => (names::Listed::default(), Some(error)),
        };
        let changed = self.names != status.synchronous_standby_names;
        if changed {
            self.names.clone_from(&status.synchronous_standby_names);
            self.ready = self.ready.intersection(&listed.names);
            self.since = status.write_lsn;
        }
        let standbys = standbys(status, cluster, wanted.me);
        for standby in &standbys {
            if listed.names.contains(&standby.row.application_name) && self.is_ready(standby, cluster, wanted) {
                self.ready.insert(&standby.row.application_name);
            }
        }
        let (active, confirmed) = self.choose(&standbys, status, wanted);
        let observed = Observed {
            num: listed.num,
            listed: if listed.star { NameSet::default() } else { listed.names },
            star: listed.star,
            confirmed,
            active,
        };
        (observed, changed, error.filter(|_| changed))
    }

    /// By priority a standby that the key names was confirmed before. With a quorum the key names standbys as soon as
    /// one of them is confirmed, so that it says nothing about a single one.
    fn is_ready(&self, standby: &Standby<'_>, cluster: &Cluster, wanted: Wanted<'_>) -> bool {
        let (state, reached) = (standby.row.sync_state.as_str(), standby.lsn >= self.since);
        if wanted.quorum {
            reached && (state == "quorum" || !wanted.knows_any && matches!(state, "sync" | "potential"))
        } else {
            let named =
                cluster.sync.leader_matches(wanted.me) && cluster.sync.matches(&standby.row.application_name, false);
            named || state == "sync" && reached
        }
    }

    fn choose(&self, standbys: &[Standby<'_>], status: &NodeStatus, wanted: Wanted<'_>) -> (NameSet, NameSet) {
        let furthest = match standbys {
            [_, _, ..] => standbys.iter().map(|s| s.lsn).max().unwrap_or_default(),
            _ => status.write_lsn,
        };
        let (mut active, mut confirmed) = (NameSet::default(), NameSet::default());
        let near = |s: &&Standby<'_>| wanted.max_lag.is_none_or(|limit| furthest.ahead_of(s.lsn) <= limit);
        let (usual, reluctant): (Vec<_>, Vec<_>) = standbys.iter().filter(near).partition(|s| !s.nofailover);
        for standby in usual.into_iter().chain(reluctant) {
            let full = active.len() >= wanted.count;
            // A member that cannot lead adds nothing to a quorum of those who can.
            if if wanted.quorum { standby.nofailover && full } else { full } {
                continue;
            }
            let name = &standby.row.application_name;
            active.insert(name);
            if self.ready.contains(name) && (wanted.quorum || standby.row.sync_state == "sync") {
                confirmed.insert(name);
            }
        }
        (active, confirmed)
    }
}

/// Members that stream and may be synchronous, the best first: by `sync_priority`, synchronous ones, position.
fn standbys<'a>(status: &'a NodeStatus, cluster: &'a Cluster, me: &str) -> Vec<Standby<'a>> {
    let fit = |m: &&Member| {
        let runs = m.data.state == Some(PgState::Running);
        runs && !m.data.tags.nosync() && m.name.as_str().to_lowercase() != me.to_lowercase()
    };
    let members: BTreeMap<String, &Member> =
        cluster.members.iter().filter(fit).map(|m| (m.name.as_str().to_lowercase(), m)).collect();
    let position = |row: &ReplicationConnection| match status.synchronous_commit.as_str() {
        "remote_apply" => row.replay_lsn,
        "remote_write" => row.write_lsn,
        _ => row.flush_lsn,
    };
    let rows: BTreeMap<String, (&ReplicationConnection, Lsn)> = status
        .replication
        .iter()
        .filter_map(|row| Some((row.application_name.to_lowercase(), (row, position(row)?))))
        .filter(|(name, _)| members.contains_key(name))
        .collect();
    let mut found: Vec<Standby<'_>> = rows
        .iter()
        .filter_map(|(name, (row, lsn))| {
            let member = members.get(name)?;
            let nofailover = member.data.tags.nofailover();
            let priority = member.data.tags.sync_priority();
            let standby = Standby { row, lsn: *lsn, nofailover, priority };
            (!cascades(&members, &rows, member)).then_some(standby)
        })
        .collect();
    let key = |s: &Standby<'_>| (s.priority, s.row.sync_state.clone(), s.lsn);
    found.sort_by_key(|standby| std::cmp::Reverse(key(standby)));
    found
}

/// Whether the member is to stream from another standby that is there: it is connected to the primary only for now.
fn cascades(
    members: &BTreeMap<String, &Member>,
    rows: &BTreeMap<String, (&ReplicationConnection, Lsn)>,
    member: &Member,
) -> bool {
    let mut at = member;
    // A ring of members that name each other has no end.
    for _ in 0..=members.len() {
        let source = at.data.tags.replicatefrom().and_then(|name| members.get(&name.to_lowercase()));
        let Some(source) = source else { return false };
        if source.data.tags.replicatefrom().is_none() {
            return rows.contains_key(&source.name.as_str().to_lowercase());
        }
        at = source;
    }
    false
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
