//! What one cycle remembers for the next.

use super::rewind::RewindState;
use super::sync::SyncMemory;
use super::{Exit, JobId, JobResult, Outcome, RequestId};
use crate::cluster::{Cluster, FailsafeCall, Postmaster, Role, ScheduledRestartData};
use crate::types::{Lsn, Mono, Timeline, Wall};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// The rules' state between cycles. Only the right to lead, `scheduled_restart` and `bootstrapping` are read elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The leader key is mine until then ("leader flag").
    pub lease_until: Option<Mono>,
    /// The last view that had a leader.
    pub last_led: Option<Arc<Cluster>>,
    /// A restart for later.
    pub scheduled_restart: Option<ScheduledRestart>,
    /// This process bootstraps the cluster.
    pub bootstrapping: bool,
    /// Requests that are answered when a job ends.
    pub waiting: Vec<(JobId, RequestId)>,
    /// The timeline last seen on my server.
    pub last_timeline: Option<Timeline>,
    /// The position last seen on my server.
    pub position: Option<Lsn>,
    /// Since when the race is left alone because of `primary_race_backoff`.
    pub backing_off_since: Option<Mono>,

    /// The present job under the name that log lines give it.
    pub action: Option<(JobId, String)>,
    /// The previous cycle saw the cluster paused.
    pub was_paused: bool,
    /// A server that runs was seen, or a script was told of one, by this process: it is no fresh start any more.
    pub joined: bool,
    /// What scripts are told once the server is up.
    pub start_event: Option<StartEvent>,
    /// Scripts have to be told of the end of this server, which a job ends on its way.
    pub stop_event: Option<StopEvent>,
    /// The promotion of which scripts have been told.
    pub announced_promotion: Option<JobId>,
    /// Divergence from the leader, and the checkpoint after a promotion.
    pub rewind: RewindState,
    /// A start after a failure has been tried; the next cycle without a job looks at what came of it.
    pub recovering: bool,
    /// When crash recovery in single-user mode was tried in this outage.
    pub crash_recovery: Option<Mono>,
    /// A demotion under way.
    pub demotion: Option<Demotion>,
    /// The server was stopped for a switchover within the present pause: it may be rewound and started within it.
    pub switched_over_in_pause: bool,
    /// Patience of the present start, from a restart request.
    pub start_timeout: Option<Duration>,
    /// Starts that failed one after the other.
    pub failed_starts: u32,
    /// Not before this moment is a failed start tried again.
    pub start_not_before: Option<Mono>,
    /// The pre_promote script failed: the key must be given up.
    pub pre_promote_failed: bool,
    /// Until then the race waits for others to come back to the store: set once, when this process first read the store.
    pub members_awaited: Option<Mono>,
    /// No part in the race until then, after a failed pre_promote script.
    pub no_race_until: Option<Mono>,
    /// The bootstrap failed: the data directory is being moved aside.
    pub bootstrap_failed: bool,
    /// post_bootstrap went well: the keys must be written still.
    pub post_bootstrap_done: bool,
    /// A rewind failed and a setting says that the data directory must go.
    pub remove_data: bool,
    /// Wanted slots last seen on my server (name, position, active).
    pub slots: Vec<(String, Option<Lsn>, bool)>,
    /// Slots of members, and when the member was last there (leader only).
    pub retain_slots: IndexMap<String, Mono>,
    /// Logical slots of my server that may be unsafe to use after a promotion.
    pub unproven_slots: Vec<String>,
    /// `hot_standby_feedback` is enforced.
    pub feedback: bool,
    /// The process ends: how far the stop of the server is.
    pub process_end: Option<ProcessEnd>,
    /// Synchronous replication.
    pub sync: SyncMemory,
    /// Fail-safe mode.
    #[serde(default)]
    pub failsafe: FailsafeMemory,
}

/// What fail-safe mode remembers (ha-rules 17).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FailsafeMemory {
    /// The `failsafe` key as last read, with what this member may have written since: all who might lead instead.
    pub members: Option<IndexMap<String, String>>,
    /// All of them leave the lead to me until then, though there is no store.
    pub until: Option<Mono>,
    /// How far they said they were.
    pub positions: IndexMap<String, Lsn>,
    /// What an earlier process of this member may have promised to a caller holds until then at most.
    pub promised_until: Option<Mono>,
}

/// A primary that has called, and for how long it is left in the lead.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailsafeCaller {
    /// What it said.
    pub call: FailsafeCall,
    /// The end of the promise.
    pub until: Mono,
}

impl Memory {
    /// The end of my right to lead, by the leader key or by the word of all members.
    #[must_use]
    pub fn leads_until(&self) -> Option<Mono> {
        self.lease_until.max(self.failsafe.until)
    }

    /// The right to lead as others are told of it (REST API, proxies): none from the moment a demotion is under way. The
    /// one on record ends later, since the fence must not act before its time.
    #[must_use]
    pub fn shown_lease(&self) -> Option<Mono> {
        self.leads_until().filter(|_| self.demotion.is_none())
    }

    /// Until when fail-safe mode is shown to hold this primary up.
    #[must_use]
    pub fn shown_failsafe(&self) -> Option<Mono> {
        self.failsafe.until.filter(|_| self.demotion.is_none())
    }

    /// Takes in an outcome that gives a right to lead.
    pub fn note_right(&mut self, outcome: &Outcome) {
        match (outcome, outcome.right_to_lead()) {
            (Outcome::Failsafe { .. }, Some(until)) => self.failsafe.until = Some(until),
            (_, Some(until)) => self.lease_until = Some(until),
            (_, None) => {}
        }
    }
}

/// A restart for later (HA-35).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduledRestart {
    /// When.
    pub at: Wall,
    /// As shown in the member key.
    pub data: ScheduledRestartData,
}

/// What scripts are told once the server is up (CB-04: a change of role takes the place of start and restart).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StartEvent {
    /// `on_start`.
    Start,
    /// `on_restart`.
    Restart,
    /// `on_role_change`, as soon as the start is over, whether it went well or not.
    RoleChange(Role),
}

/// A server that a job is about to end (CB-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopEvent {
    /// The job.
    pub job: JobId,
    /// The server.
    pub postmaster: Postmaster,
    /// Role until then, for `on_stop`.
    pub role: Role,
}

/// How a primary is taken out of service (ha-rules 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DemoteMode {
    /// The store is silent: fast stop, key left alone, then read-only without upstream.
    Offline,
    /// A failover was asked for: checkpoint, fast stop, key released with its position.
    Graceful,
    /// Unfit to lead: immediate stop, key released.
    Immediate,
    /// The lock is lost: immediate stop, key untouched.
    ImmediateNolock,
    /// The cluster became a standby cluster: fast stop, the checkpoint goes to the archive, the key is kept (or handed
    /// over where nothing is archived), then read-only behind the remote server.
    Cluster,
}

impl DemoteMode {
    /// The name in log lines.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Offline => "offline",
            Self::Graceful => "graceful",
            Self::Immediate => "immediate",
            Self::ImmediateNolock => "immediate-nolock",
            Self::Cluster => "demote-cluster",
        }
    }

    /// Whether the server is stopped without a shutdown checkpoint.
    #[must_use]
    pub fn is_immediate(self) -> bool {
        matches!(self, Self::Immediate | Self::ImmediateNolock)
    }

    /// Whether the leader key is released by this demotion once the server is down.
    #[must_use]
    pub fn releases(self) -> bool {
        matches!(self, Self::Graceful | Self::Immediate)
    }

    /// Whether the leader key is renewed while the server stops.
    #[must_use]
    pub fn keeps_lock(self) -> bool {
        self.releases() || self == Self::Cluster
    }
}

/// The segment with the shutdown checkpoint, on its way to the archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Archiving {
    /// It does not go there.
    #[default]
    Off,
    /// It will, as soon as the server is down.
    Due,
    /// The job has been started.
    Begun(JobId),
}

/// A demotion under way: stop, release, wait for a new leader, start as standby.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demotion {
    /// How.
    pub mode: DemoteMode,
    /// The stop, once it runs.
    pub stop: Option<JobId>,
    /// How it ended.
    pub stopped: Option<JobResult>,
    /// Role before, for `on_stop`.
    pub role: Role,
    /// What becomes of the shutdown checkpoint's segment.
    pub archiving: Archiving,
    /// The leader key has been given up.
    pub released: bool,
    /// Until when a new leader is waited for, once the server is down and the key released.
    pub wait_until: Option<Mono>,
}

/// The end of the process: how far the stop of the server is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessEnd {
    /// How the process must end.
    pub exit: Exit,
    /// The stop, once it runs.
    pub stop: Option<JobId>,
    /// How it ended.
    pub stopped: Option<JobResult>,
    /// A stop has failed: an immediate one follows, once.
    pub escalated: bool,
    /// The leader key has been given up.
    pub released: bool,
}
