//! All that a decision may depend on.

use super::memory::FailsafeCaller;
use super::{Command, JobEnd, JobReport, Memory, Outcome, PendingRequest};
use crate::cluster::{Cluster, MemberTags, NodeStatus, PendingRestart, PgState, Readiness, Role, ServerFacts};
use crate::config::Global;
use crate::types::{Mono, PgVersion, Wall};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is known at the start of a cycle, and the outcomes of what this cycle has done so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct View {
    /// Number of the cycle, from 1.
    pub cycle: u64,
    /// The moment of the decision.
    pub now: Mono,
    /// The same for people and schedules.
    pub wall: Wall,
    /// Who I am.
    pub me: Me,
    /// Dynamic settings in force.
    pub global: Global,
    /// The store as read at the start of this cycle. "The store is silent" is not "the lock is lost".
    pub cluster: Result<Arc<Cluster>, StoreFailure>,
    /// My server as its supervisor reports it.
    pub server: ServerReport,
    /// My server's answer to this cycle's query; `None`: no answer (not running, starting, or it failed twice).
    pub status: Option<NodeStatus>,
    /// The watchdog.
    pub watchdog: WatchdogReport,
    /// Requests that are not settled.
    pub requests: Vec<PendingRequest>,
    /// The process was told to end (SIGTERM, SIGINT).
    pub stopping: bool,
    /// The primary without a store that called last (POST /failsafe).
    #[serde(default)]
    pub caller: Option<FailsafeCaller>,
    /// What earlier cycles remembered.
    pub memory: Memory,
    /// What this cycle has done, in order.
    pub done: Vec<(Command, Outcome)>,
}

/// The agent itself: local configuration that rules read.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Me {
    /// Member name.
    pub name: String,
    /// `postgres://host:port/db` of the server.
    pub conn_url: String,
    /// `http[s]://host:port/patroni`.
    pub api_url: String,
    /// Address of a connection pool.
    pub proxy_url: Option<String>,
    /// Tags as configured (contradictions already resolved by `MemberTags`' questions).
    pub tags: MemberTags,
    /// There is a `bootstrap` section.
    pub may_bootstrap: bool,
    /// `bootstrap.dcs` or, later, the dynamic configuration last seen: what a leader writes when `config` is missing.
    pub dynamic_config: serde_json::Map<String, serde_json::Value>,
    /// Some replica creation method works without a leader (`no_leader`).
    pub replica_method_without_leader: bool,
    /// A `pre_promote` script is configured.
    pub has_pre_promote: bool,
    /// The store's name as configured ("etcd3"), for rules that differ by store.
    pub store: String,
}

/// Why the store gave no view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreFailure {
    /// For the log.
    pub reason: String,
}

/// The supervisor's report about the server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerReport {
    /// State that is published.
    pub state: PgState,
    /// Since when.
    pub state_since: Mono,
    /// Role that is published. Kept in memory over crashes of the server.
    pub role: Role,
    /// Data directory, control file, process: looked at when this cycle began.
    pub facts: ServerFacts,
    /// Answer of the last readiness probe.
    pub readiness: Readiness,
    /// Version of the running (or last running) server.
    pub version: Option<PgVersion>,
    /// Why a restart is pending; empty: it is not.
    pub pending_restart: PendingRestart,
    /// The long job that runs.
    pub job: Option<JobReport>,
    /// Jobs that ended since the previous cycle (oldest first).
    pub ended: Vec<JobEnd>,
    /// pg_rewind can be executed.
    pub pg_rewind_works: bool,
    /// Nobody but ourselves is connected any more (safe point of a shutdown) - meaningful while stopping.
    pub no_clients: bool,
}

/// The watchdog's report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchdogReport {
    /// `mode: required`.
    pub required: bool,
    /// The device is open and counting.
    pub active: bool,
    /// It could be activated (or is not required).
    pub healthy: bool,
    /// It has to be activated before this member leads: there is one, or one is required.
    pub wanted: bool,
}
