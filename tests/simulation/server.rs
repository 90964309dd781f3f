//! One model server: its data directory and its process, as state that the world moves on.

use super::wal::Position;
use patroni::cluster::{ControlState, Postmaster, StopMode};
use patroni::types::{Lsn, Mono, SystemId, Timeline};
use std::collections::BTreeMap;

/// Whom a standby streams from, by its files or by its process.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    pub name: String,
    pub slot: Option<String>,
}

/// A data directory.
#[derive(Clone, Debug)]
pub struct Data {
    pub system_id: SystemId,
    /// The end of the log that is on disk.
    pub end: Position,
    /// The end of what has been replayed.
    pub replayed: Lsn,
    pub control: ControlState,
    pub checkpoint: Lsn,
    pub checkpoint_timeline: Timeline,
    pub standby_signal: bool,
    pub upstream: Option<Source>,
    pub slots: BTreeMap<String, Option<Lsn>>,
    /// `synchronous_standby_names` in its files; a reload takes no time.
    pub sync_names: String,
    /// No primary has run on it since initdb.
    pub fresh: bool,
}

/// A stop under way.
#[derive(Clone, Copy, Debug)]
pub struct Stopping {
    pub mode: StopMode,
    /// When control data says "shut down".
    pub shut_at: Mono,
    /// When the postmaster ends.
    pub exit_at: Mono,
    pub shut: bool,
}

/// A process.
#[derive(Clone, Debug)]
pub struct Process {
    pub postmaster: Postmaster,
    pub started: Mono,
    pub ready_at: Mono,
    pub in_recovery: bool,
    pub upstream: Option<Source>,
    pub streaming: bool,
    pub promote_at: Option<Mono>,
    pub stopping: Option<Stopping>,
    /// Bytes of commits whose clients still wait.
    pub in_flight: u64,
}

/// A server.
#[derive(Default)]
pub struct Server {
    pub data: Option<Data>,
    pub process: Option<Process>,
    /// SIGSTOP: nothing moves, nothing answers, only SIGKILL works.
    pub frozen: bool,
    /// Reads and writes of files hang.
    pub dead_disk: bool,
    /// Replication to this server stands still.
    pub lagging: bool,
}

impl Server {
    /// Connections are accepted.
    pub fn ready(&self, now: Mono) -> bool {
        !self.frozen && self.process.as_ref().is_some_and(|p| p.stopping.is_none() && now >= p.ready_at)
    }

    /// Commits are accepted.
    pub fn writable(&self, now: Mono) -> bool {
        self.ready(now) && self.process.as_ref().is_some_and(|p| !p.in_recovery)
    }

    /// Would be writable if it were not frozen.
    pub fn end(&self) -> Option<Position> {
        self.data.as_ref().map(|d| d.end)
    }
}
