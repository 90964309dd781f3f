//! What a decision may ask for, and what may come of it.

use crate::cluster::{
    CallbackEvent, Cluster, FailsafeAnswer, FailsafeCall, History, MemberData, NodeStatus, PeerStatus, Revision, Role,
    SlotPlan, SlotReport, Status, StopMode, SyncNames, SyncState, Upstream, WantedSlot,
};
use crate::types::{Lsn, Mono, SystemId, Timeline};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// Something to do, carried out by an actor. Its outcome comes back as [`Outcome`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    // --- store ---
    /// Read the cluster again. [`Outcome::Cluster`].
    ReloadCluster,
    /// Write my member key (bound to my session; the session skips it when nothing changed).
    TouchMember(Box<MemberData>),
    /// Create the leader key, bound to my session. [`Outcome::Leased`] or [`Outcome::Conflict`].
    AcquireLeader,
    /// Renew my leader key. [`Outcome::Leased`], or [`Outcome::Conflict`] when somebody else holds it or it is gone for good.
    RenewLeader,
    /// Write `status` when it changed.
    WriteStatus(Status),
    /// Delete the leader key if it is mine, after writing this position to `status`.
    ReleaseLeader {
        /// Position for `status.optime`.
        optime: Option<Lsn>,
    },
    /// Create `initialize` if absent: empty for the bootstrap race, or a system identifier. [`Outcome::Conflict`]: it exists.
    Initialize {
        /// `None` writes the empty text.
        system_id: Option<SystemId>,
        /// Only create; otherwise write whatever is there.
        create_only: bool,
    },
    /// Delete `initialize` (a bootstrap failed).
    CancelInitialize,
    /// Write the dynamic configuration.
    WriteConfig {
        /// The whole object.
        data: serde_json::Map<String, serde_json::Value>,
        /// Only if the key has this version still.
        expect: Option<Revision>,
    },
    /// Write `failover`; all `None` writes `{}`.
    WriteFailover {
        /// `leader`.
        leader: Option<String>,
        /// `member`.
        candidate: Option<String>,
        /// `scheduled_at` as it was written.
        scheduled_at: Option<String>,
        /// Only if the key has this version still.
        expect: Option<Revision>,
    },
    /// Write `history`.
    WriteHistory(History),
    /// Write `failsafe` (name to `api_url`) when it changed.
    WriteFailsafe(IndexMap<String, String>),
    /// Write `sync` over the version that the value names (`None`: only if absent). [`Outcome::Written`].
    WriteSync(SyncState),
    /// Delete `sync` if it has this version still.
    DeleteSync(Revision),

    // --- members ---
    /// GET the `api_url` of these members (name, URL) at once, 2 s for all. [`Outcome::Peers`] in the same order.
    PollPeers(Vec<(String, String)>),
    /// POST /failsafe to these members (name, `api_url`) at once: 2 s for a try, two tries. [`Outcome::Failsafe`], with an
    /// answer for each.
    CallFailsafe {
        /// What they are told.
        call: Box<FailsafeCall>,
        /// For how long I may go on when all agree, from the moment before the first is asked.
        ttl: Duration,
        /// Who is asked.
        members: Vec<(String, String)>,
    },

    // --- server, short ---
    /// Start a long job. [`Outcome::JobStarted`], or [`Outcome::Conflict`] when another one runs. An immediate
    /// [`Job::Stop`] never waits: it takes the place of whatever job runs, whose end is reported as
    /// [`JobResult::Cancelled`]. (Where it is refused all the same, the rules cancel the job and ask again.)
    StartJob(Job),
    /// Cancel the running job if it still can be.
    CancelJob,
    /// Set the published role.
    SetRole(Role),
    /// Compare wanted with actual recovery settings. [`Outcome::RecoveryCheck`].
    CheckRecovery {
        /// Whom to follow; `None`: nobody (archive only).
        upstream: Option<Box<Upstream>>,
    },
    /// Write recovery settings and reload (when [`Outcome::RecoveryCheck`] says that this is enough), and set the role.
    ReloadRecovery {
        /// Whom to follow.
        upstream: Option<Box<Upstream>>,
        /// Role from now on.
        role: Role,
    },
    /// CHECKPOINT in the background, after a promotion. Does not count as a job. Outcome at once; it wakes a cycle when
    /// done. Asked for in each cycle until control data shows the timeline: one at a time is run.
    CheckpointAfterPromote,
    /// Resume WAL replay that was paused by a parameter shortage (14+).
    ResumeReplay,
    /// My own timeline by IDENTIFY_SYSTEM on a replication connection to my server. [`Outcome::Timeline`].
    QueryOwnTimeline,
    /// Ask a leader for its place in history: connect as rewind user (in_recovery, read-write) and by replication
    /// (IDENTIFY_SYSTEM, TIMELINE_HISTORY when its timeline is above 1). [`Outcome::LeaderPoint`].
    QueryLeader(Box<Upstream>),
    /// End of the latest checkpoint record in my WAL by pg_waldump. [`Outcome::Lsn`].
    QueryCheckpointEnd {
        /// Timeline to read on.
        timeline: Timeline,
        /// Where the record starts.
        lsn: Lsn,
    },
    /// My server's history file of this timeline, its last line completed with the file's modification time and my name.
    /// [`Outcome::History`].
    ReadHistory(Timeline),
    /// Whether my server archives its WAL. [`Outcome::Archiving`].
    QueryArchiving,
    /// Slots that should be here, and may be dropped otherwise. [`Outcome::Slots`].
    SyncSlots(SlotPlan),
    /// Set `synchronous_standby_names`. [`Outcome::Status`]: what the server says after it has taken the change in (or
    /// did not in two seconds: the status shows it), in a moment at which what a primary has written since is long
    /// enough after the change that its commits have waited for the new list. [`Outcome::Unknown`]: it may come still.
    SetSyncNames(SyncNames),
    /// Write a little WAL, so that standbys have something to confirm.
    ProduceWal,
    /// From now on `hot_standby_feedback` is on whatever the settings say, or no more so (PG-28). Outcome at once; files
    /// are rewritten, and a server that runs reloads them, in the background.
    EnforceFeedback(bool),

    // --- others ---
    /// Run a callback.
    Callback {
        /// Which.
        event: CallbackEvent,
        /// Role argument.
        role: Role,
    },
    /// Activate the watchdog. Ok, or Failed when it is required and cannot be. (It is fed without a command, by every
    /// renewal of the right to lead.)
    WatchdogActivate,
    /// Disable it.
    WatchdogDisable,
}

/// Work that takes long. One at a time; the cycle goes on beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Job {
    /// Start as primary with the present files (after a crash), waiting up to `timeout` for readiness.
    StartPrimary {
        /// Patience.
        timeout: Duration,
    },
    /// Write recovery settings and start (or, when running, restart) as a standby.
    Follow {
        /// Whom to follow; `None`: nobody.
        upstream: Option<Box<Upstream>>,
        /// Role afterwards.
        role: Role,
        /// Patience; `None`: `pg_ctl_timeout`.
        timeout: Option<Duration>,
    },
    /// Stop.
    Stop {
        /// How.
        mode: StopMode,
        /// CHECKPOINT first, so that the shutdown is short.
        checkpoint: bool,
        /// After this: immediate, then SIGKILL to all. `None`: wait.
        timeout: Option<Duration>,
        /// Role from now on (`demoted` for a primary that must step down); `None`: kept.
        role: Option<Role>,
    },
    /// Stop and start in the same role.
    Restart {
        /// Patience for the start; `None`: `pg_ctl_timeout`.
        timeout: Option<Duration>,
    },
    /// `pre_promote`, then promote and wait for production.
    Promote {
        /// How long to wait for "in production".
        wait: Duration,
    },
    /// pg_rewind (with the archive steps around it) from this leader; the server is stopped first.
    Rewind {
        /// The leader.
        upstream: Box<Upstream>,
    },
    /// Crash recovery in single-user mode.
    CrashRecovery,
    /// initdb or the custom method, then the first start.
    Bootstrap,
    /// Users, `post_bootstrap` script, checkpoint.
    PostBootstrap,
    /// Wipe the data directory, copy from `source` by the configured methods, write recovery settings, start following `upstream`.
    Clone {
        /// Whom to copy; `None`: methods without a leader.
        source: Option<Box<Upstream>>,
        /// Whom to follow afterwards.
        upstream: Option<Box<Upstream>>,
        /// pg_basebackup from the leader only, whatever methods are configured.
        basebackup_only: bool,
    },
    /// Stop at once, then as `Clone`.
    Reinitialize {
        /// Whom to copy.
        source: Option<Box<Upstream>>,
        /// Whom to follow afterwards.
        upstream: Option<Box<Upstream>>,
        /// pg_basebackup from the leader only.
        basebackup_only: bool,
    },
    /// Copy the state of these logical slots from the leader, with a restart of this standby in between. Without
    /// anything to copy the server runs on.
    CopySlots {
        /// The leader.
        upstream: Box<Upstream>,
        /// Slots as the configuration has them.
        slots: Vec<WantedSlot>,
    },
    /// After a clean stop: give the segment that ends with the shutdown checkpoint to `archive_command`, so that a server
    /// fed from the archive can replay all of it. That it could not be archived is only logged.
    ArchiveCheckpoint,
    /// A failed bootstrap: stop, move the data directory aside (`<data_dir>.failed`).
    MoveDataAside,
    /// The user's setting asks for it: remove the data directory.
    RemoveData,
}

/// Which [`Job`], without its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum JobKind {
    StartPrimary,
    Follow,
    Stop,
    Restart,
    Promote,
    Rewind,
    CrashRecovery,
    Bootstrap,
    PostBootstrap,
    Clone,
    Reinitialize,
    CopySlots,
    ArchiveCheckpoint,
    MoveDataAside,
    RemoveData,
}

impl JobKind {
    /// Whether a server that runs is stopped on the way to something else, which scripts are told of as of any stop.
    /// (What demotions and the end of the process stop is told of by their own rules, a restart is told of as such.)
    #[must_use]
    pub fn stops_on_its_way(self) -> bool {
        matches!(self, Self::Rewind | Self::Reinitialize | Self::CopySlots)
    }

    /// Whether the server cannot accept writes while this runs, nor because of it.
    #[must_use]
    pub fn makes_no_primary(self) -> bool {
        match self {
            Self::Follow
            | Self::Rewind
            | Self::CrashRecovery
            | Self::Clone
            | Self::Reinitialize
            | Self::CopySlots
            | Self::ArchiveCheckpoint
            | Self::MoveDataAside
            | Self::RemoveData => true,
            Self::StartPrimary | Self::Stop | Self::Restart | Self::Promote | Self::Bootstrap | Self::PostBootstrap => {
                false
            }
        }
    }
}

impl Job {
    /// Which job it is.
    #[must_use]
    pub fn kind(&self) -> JobKind {
        match self {
            Self::StartPrimary { .. } => JobKind::StartPrimary,
            Self::Follow { .. } => JobKind::Follow,
            Self::Stop { .. } => JobKind::Stop,
            Self::Restart { .. } => JobKind::Restart,
            Self::Promote { .. } => JobKind::Promote,
            Self::Rewind { .. } => JobKind::Rewind,
            Self::CrashRecovery => JobKind::CrashRecovery,
            Self::Bootstrap => JobKind::Bootstrap,
            Self::PostBootstrap => JobKind::PostBootstrap,
            Self::Clone { .. } => JobKind::Clone,
            Self::Reinitialize { .. } => JobKind::Reinitialize,
            Self::CopySlots { .. } => JobKind::CopySlots,
            Self::ArchiveCheckpoint => JobKind::ArchiveCheckpoint,
            Self::MoveDataAside => JobKind::MoveDataAside,
            Self::RemoveData => JobKind::RemoveData,
        }
    }
}

/// Names a job of this agent process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub u64);

/// A running job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobReport {
    /// Which.
    pub id: JobId,
    /// What.
    pub job: Job,
    /// How far.
    pub phase: JobPhase,
    /// When it began.
    pub since: Mono,
    /// It was told to cancel.
    pub cancelled: bool,
}

/// How far a job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JobPhase {
    /// Started, or in a step that no rule asks about.
    Working,
    /// Stop: the CHECKPOINT before it.
    Checkpoint,
    /// Stop: the postmaster has the signal.
    Stopping,
    /// Stop: control data says "shut down" but the postmaster lives still (archiving, WAL senders).
    ShutDown {
        /// Location of the shutdown checkpoint.
        checkpoint: Lsn,
        /// What to publish on release: the WAL switch record before it if there is one, else the checkpoint (ha-rules 7).
        release: Lsn,
    },
    /// Promote: the `pre_promote` script runs; may be cancelled.
    PrePromote,
    /// Promote: the signal is given; no way back.
    Promoting,
    /// Start: the postmaster lives and is not ready.
    WaitReady,
    /// Copy of a base backup.
    Copying,
}

/// A job that ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JobEnd {
    /// Which.
    pub id: JobId,
    /// What.
    pub job: Job,
    /// How.
    pub result: JobResult,
    /// When.
    pub at: Mono,
}

/// How a job ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JobResult {
    /// It did what it should.
    Done,
    /// A clean stop: what was last in control data.
    Stopped {
        /// Location of the shutdown checkpoint.
        checkpoint: Lsn,
        /// What to publish on release.
        release: Lsn,
    },
    /// Start or restart: the server lives and is not ready within the patience.
    StillStarting,
    /// It was cancelled.
    Cancelled,
    /// Promote: the `pre_promote` script failed.
    PrePromoteFailed,
    /// It failed: for the log.
    Failed(String),
    /// Rewind: the leader is gone or not fit; try again later.
    TryAgain(String),
}

/// What came of a [`Command`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Refused by a condition: somebody else was first, or holds it.
    Conflict,
    /// The store (or the other side) could not be reached: surely not done.
    Unreachable(String),
    /// No answer in time: perhaps done.
    Unknown(String),
    /// A local step failed: for the log.
    Failed(String),
    /// The leader key is mine until this moment, counted from before the request was sent.
    Leased {
        /// End of the lease.
        until: Mono,
    },
    /// The cluster.
    Cluster(Arc<Cluster>),
    /// The members' answers, in the order asked.
    Peers(Vec<PeerStatus>),
    /// The members' answers to [`Command::CallFailsafe`].
    Failsafe {
        /// If all of them agree, they leave the lead to me until then.
        until: Mono,
        /// Their answers, in the order asked.
        answers: Vec<FailsafeAnswer>,
    },
    /// What [`Command::CheckRecovery`] found.
    RecoveryCheck {
        /// Something differs.
        change: bool,
        /// A reload is not enough.
        restart: bool,
    },
    /// A job runs.
    JobStarted(JobId),
    /// A history.
    History(History),
    /// A timeline.
    Timeline(Timeline),
    /// A position.
    Lsn(Lsn),
    /// What a leader said of itself.
    LeaderPoint {
        /// It accepts writes.
        read_write: bool,
        /// Its timeline.
        timeline: Timeline,
        /// Its position by IDENTIFY_SYSTEM.
        lsn: Lsn,
        /// Its history file, lines of (timeline, switch point), empty on timeline 1.
        history: Vec<(Timeline, Lsn)>,
    },
    /// WAL is archived.
    Archiving(bool),
    /// A key was written and has this version now.
    Written(Revision),
    /// The server's answer to the status query.
    Status(Box<NodeStatus>),
    /// Slots now on my server.
    Slots(SlotReport),
}

impl Outcome {
    /// Whether the store gave no clear answer: neither done nor refused.
    #[must_use]
    pub fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unknown(_))
    }

    /// The right to lead that this outcome gives, and its end: the leader key, or the word of all members while there is
    /// no store. The one place that says so; the fence, the REST API and the rules ask here.
    #[must_use]
    pub fn right_to_lead(&self) -> Option<Mono> {
        match self {
            Self::Leased { until } => Some(*until),
            Self::Failsafe { until, answers } if answers.iter().all(|a| a.accepted) => Some(*until),
            _ => None,
        }
    }
}
