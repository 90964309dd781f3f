//! What clients were told to be committed: by the rules of `synchronous_standby_names`, as PostgreSQL has them. In a
//! synchronous mode all of it must be on whoever is promoted later.

use super::wal::{BranchId, Position};
use super::world::Inner;
use patroni::ha::sync::names::{self, Listed};
use patroni::types::{Lsn, Mono};
use std::time::Duration;

/// What a connection carries in a step; less where it matters how long a standby takes to catch up.
const CARRIED: u64 = 256 * 1024;
const CARRIED_SLOWLY: u64 = 96 * 1024;
/// Clients that wait for standbys write no more than this beside each other.
pub const IN_FLIGHT: u64 = 100 * 1024;
/// An agent that has just come back needs a cycle to find out that its server has no lease.
const LOOK_AROUND: Duration = Duration::from_secs(30);

/// What the cluster has promised.
#[derive(Default)]
pub struct Promise {
    /// Connections are slow.
    pub slow: bool,
    /// A synchronous mode is in force.
    pub kept: bool,
    /// It is the one with a quorum.
    pub quorum: bool,
    /// How often a client was told that its commits are safe.
    pub given: u64,
    /// The newest commit that a client was told to be safe.
    last: Option<Position>,
    /// The branch that the newest promotion began.
    newest: Option<BranchId>,
}

impl Promise {
    /// From now on it is kept.
    pub fn begin(&mut self, quorum: bool) {
        (self.kept, self.quorum) = (true, quorum);
    }

    /// No synchronous mode is in force any more: what was acknowledged may be lost.
    pub fn end(&mut self) {
        (self.kept, self.last) = (false, None);
    }
}

impl Inner {
    /// What has come of the source's log in this step: now and then nothing.
    pub(super) fn arrived(&mut self, node: usize, end: Position) -> Position {
        let Some(mine) = self.nodes[node].server.end() else { return end };
        if self.rng.u32(0..4) == 0 {
            return mine;
        }
        let most = Lsn(mine.lsn.0 + if self.promise.slow { CARRIED_SLOWLY } else { CARRIED });
        if end.lsn <= most { end } else { self.wal.along(end, most) }
    }

    /// Standbys that stream from this server: node and position.
    fn standbys(&self, node: usize, now: Mono) -> Vec<(usize, Lsn)> {
        let streams = |n: &usize| *n != node && self.streams_from(*n, now) == Some(node);
        let others = (0..self.nodes.len()).filter(streams);
        others.filter_map(|n| Some((n, self.nodes[n].server.end()?.lsn))).collect()
    }

    fn list(&self, node: usize) -> (Listed, bool) {
        let text = self.nodes[node].server.data.as_ref().map_or("", |d| d.sync_names.as_str());
        (names::parse(text).unwrap_or_default(), text.starts_with("ANY"))
    }

    fn is_listed(&self, listed: &Listed, node: usize) -> bool {
        listed.star || listed.names.contains(&self.nodes[node].name)
    }

    /// `sync_state` of a standby, as `pg_stat_replication` shows it.
    pub(super) fn sync_state(&self, node: usize, standby: usize, now: Mono) -> &'static str {
        let (listed, any) = self.list(node);
        if !self.is_listed(&listed, standby) {
            return "async";
        }
        let before = self.standbys(node, now).into_iter().filter(|(n, _)| *n < standby && self.is_listed(&listed, *n));
        match any {
            true => "quorum",
            false if before.count() < listed.num => "sync",
            false => "potential",
        }
    }

    /// Up to where the standbys have confirmed what this primary wrote.
    fn confirmed(&self, node: usize, now: Mono) -> Option<Lsn> {
        let end = self.nodes[node].server.end()?.lsn;
        let (listed, any) = self.list(node);
        if listed.num == 0 {
            return Some(end);
        }
        let standbys = self.standbys(node, now);
        let mut positions: Vec<Lsn> =
            standbys.into_iter().filter(|(n, _)| self.is_listed(&listed, *n)).map(|(_, lsn)| lsn).collect();
        if any {
            positions.sort_unstable_by_key(|lsn| std::cmp::Reverse(*lsn));
        }
        let waited_for = positions.get(..listed.num)?;
        waited_for.iter().min().map(|lsn| (*lsn).min(end))
    }

    /// With a quorum a standby may confirm what an old primary writes after it has told the new one how far it is: only
    /// the end of the old primary's lease stands against that, and only its agent sees to it.
    fn is_fenced(&self, node: usize, now: Mono) -> bool {
        let it = &self.nodes[node];
        self.has_lease(node, now) || it.agent && now.since(it.agent_since) > LOOK_AROUND
    }

    /// Clients of this server hear of what has been confirmed.
    pub(super) fn acknowledge(&mut self, node: usize, now: Mono) {
        if !self.nodes[node].server.writable(now) {
            return;
        }
        let Some((end, confirmed)) = self.nodes[node].server.end().zip(self.confirmed(node, now)) else { return };
        if let Some(process) = self.process(node) {
            process.in_flight = process.in_flight.min(end.lsn.0 - confirmed.0);
        }
        if !self.promise.kept || self.promise.quorum && !self.is_fenced(node, now) {
            return;
        }
        let at = self.wal.along(end, confirmed);
        self.promise.given += 1;
        if let Some(newest) = self.promise.newest
            && !self.wal.contains(Position { branch: newest, lsn: Lsn(u64::MAX) }, at)
        {
            let name = self.name(node);
            self.violate(now, format!("{name} acknowledges a commit that is lost already: {at:?}"));
            return;
        }
        if self.promise.last.is_none_or(|last| self.wal.contains(at, last)) {
            self.promise.last = Some(at);
        }
    }

    /// Whoever is promoted has what was acknowledged.
    pub(super) fn judge_promotion(&mut self, node: usize, at: Position, branch: BranchId, now: Mono) {
        self.promise.newest = Some(branch);
        if let Some(last) = self.promise.last
            && !self.wal.contains(at, last)
        {
            let name = self.name(node);
            self.violate(now, format!("acknowledged commits are lost: {name} is promoted at {at:?} without {last:?}"));
            self.promise.last = None;
        }
    }
}
