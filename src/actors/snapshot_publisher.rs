//! Publishes the agent's state as immutable snapshots: what the REST API reads.

use crate::api::Snapshot;
use crate::cluster::{Cluster, DataDir, NodeStatus, PgState, Readiness, Role, ServerFacts};
use crate::config::Settings;
use crate::ha::memory::ScheduledRestart;
use crate::ha::{ServerReport, WatchdogReport};
use crate::types::{Mono, Timeline, Wall};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Log lines that wait to be written, and lines lost.
pub type LogQueue = Arc<dyn Fn() -> (usize, u64) + Send + Sync>;

/// The newest state and the channel it goes out through.
pub struct SnapshotPublisher {
    state: Snapshot,
    channel: watch::Sender<Arc<Snapshot>>,
    log_queue: LogQueue,
}

impl SnapshotPublisher {
    /// A publisher and the end that readers clone. Until the first report the server counts as stopped.
    #[must_use]
    pub fn new(settings: Arc<Settings>, now: Mono, log_queue: LogQueue) -> (Self, watch::Receiver<Arc<Snapshot>>) {
        let state = Snapshot {
            settings,
            cluster: None,
            dcs_last_seen: None,
            lease_until: None,
            server: nothing_known(now),
            status: None,
            replica_timeline: None,
            scheduled_restart: None,
            cycle_started: now,
            watchdog_failed: false,
            failsafe_until: None,
            log_queue: log_queue(),
        };
        let (channel, receiver) = watch::channel(Arc::new(state.clone()));
        (Self { state, channel, log_queue }, receiver)
    }

    /// Sends the state as it is now.
    pub fn publish(&mut self) {
        self.state.log_queue = (self.log_queue)();
        self.channel.send_replace(Arc::new(self.state.clone()));
    }

    /// The leader key is ours until then; goes out at once.
    pub fn lease(&mut self, until: Option<Mono>) {
        if self.state.lease_until != until {
            self.state.lease_until = until;
            self.publish();
        }
    }

    /// Fail-safe mode is active until then. Goes out with what follows.
    pub fn failsafe(&mut self, until: Option<Mono>) {
        self.state.failsafe_until = until;
    }

    /// The role that is published.
    #[must_use]
    pub fn role(&self) -> Role {
        self.state.server.role
    }

    /// Who held the leader lock when the store was last read, if that was not longer ago than `age`.
    #[must_use]
    pub fn leader(&self, age: Duration, now: Mono) -> Option<String> {
        let (cluster, _) = self.state.cluster.as_ref().filter(|(_, at)| now.since(*at) < age)?;
        cluster.leader_name().map(|name| name.as_str().to_owned())
    }

    /// A cycle begins; goes out at once, so that a cycle that hangs is seen.
    pub fn cycle_started(&mut self, now: Mono) {
        self.state.cycle_started = now;
        self.publish();
    }

    /// The store was read.
    pub fn cluster(&mut self, cluster: Arc<Cluster>, now: Mono, wall: Wall) {
        self.state.cluster = Some((cluster, now));
        self.state.dcs_last_seen = Some(wall);
    }

    /// The server was looked at.
    pub fn server(&mut self, report: ServerReport) {
        self.state.server = report;
    }

    /// The server answered, or did not.
    pub fn status(&mut self, status: Option<NodeStatus>, now: Mono) {
        self.state.status = status.map(|s| (Arc::new(s), now));
    }

    /// The state of the watchdog.
    pub fn watchdog(&mut self, report: WatchdogReport) {
        self.state.watchdog_failed = report.required && !report.healthy;
    }

    /// The timeline of a standby, which outlives its WAL receiver.
    pub fn replica_timeline(&mut self, timeline: Option<Timeline>) {
        self.state.replica_timeline = timeline;
    }

    /// What was remembered about a later restart.
    pub fn scheduled_restart(&mut self, restart: Option<ScheduledRestart>) {
        self.state.scheduled_restart = restart;
    }

    /// Other settings are in force; goes out at once.
    pub fn settings(&mut self, settings: Arc<Settings>) {
        self.state.settings = settings;
        self.publish();
    }

    /// When the present or last cycle started.
    #[must_use]
    pub fn last_start(&self) -> Mono {
        self.state.cycle_started
    }
}

/// What is said of the server before its first report.
fn nothing_known(now: Mono) -> ServerReport {
    ServerReport {
        state: PgState::Stopped,
        state_since: now,
        role: Role::Uninitialized,
        facts: ServerFacts {
            at: now,
            data_dir: DataDir::Empty,
            postmaster: None,
            control: None,
            recovery_files: false,
            backup_label: false,
        },
        readiness: Readiness::Unknown,
        version: None,
        pending_restart: indexmap::IndexMap::new(),
        job: None,
        ended: Vec::new(),
        pg_rewind_works: false,
        no_clients: false,
    }
}
