//! The agent's state as the REST server sees it: immutable, replaced whole.

use crate::cluster::{Cluster, NodeStatus};
use crate::config::Settings;
use crate::ha::ServerReport;
use crate::ha::memory::ScheduledRestart;
use crate::types::{Mono, Timeline, Wall};
use std::sync::Arc;

/// One state of the agent.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Settings in force.
    pub settings: Arc<Settings>,
    /// The cluster as last read, and when. Valid for `ttl` after that (DCS-05).
    pub cluster: Option<(Arc<Cluster>, Mono)>,
    /// Wall-clock moment of the last successful read of the store.
    pub dcs_last_seen: Option<Wall>,
    /// The leader key is ours until then: `/primary` turns 503 at that moment even if nothing else moves.
    pub lease_until: Option<Mono>,
    /// The server as its supervisor reports it.
    pub server: ServerReport,
    /// The last answer of the server, and when.
    pub status: Option<(Arc<NodeStatus>, Mono)>,
    /// The standby's timeline as it was last known, from its WAL receiver or a replication connection (HA-44).
    pub replica_timeline: Option<Timeline>,
    /// A restart for later.
    pub scheduled_restart: Option<ScheduledRestart>,
    /// Start of the present or last cycle (for /liveness).
    pub cycle_started: Mono,
    /// The watchdog is required and not usable.
    pub watchdog_failed: bool,
    /// Fail-safe mode holds the primary up until then: this one, or one that has called.
    pub failsafe_until: Option<Mono>,
    /// Log lines that wait to be written, and lines lost.
    pub log_queue: (usize, u64),
}
