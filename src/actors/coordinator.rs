//! The coordinator: owns the view and leads the conversation of a cycle between the rules and the other actors.
//! It holds no rule and no connection: whoever does not answer in time is silent for the rest of the cycle.

mod conduct;
mod cycle;
mod cycle_log;
mod failsafe;
mod handlers;
mod lead;
mod lease_budget;
mod may_write;
mod requests;
mod routing;
mod schedule;

#[cfg(test)]
mod tests;

use crate::actors::config_store::{ApplyDynamic, DataDirSeen};
use crate::actors::journal::Journal;
use crate::actors::messages::{Execute, LoadCluster, Observe, QueryStatus, Ticket};
use crate::actors::snapshot_publisher::SnapshotPublisher;
use crate::actors::watchdog::LeadRenewed;
use crate::clock::Clock;
use crate::cluster::{ClusterConfig, Postmaster};
use crate::config::Settings;
use crate::fencing::Fencing;
use crate::ha::memory::FailsafeCaller;
use crate::ha::{Exit, JobEnd, Memory, Round, View, WatchdogReport};
use crate::types::{Lsn, Mono};
use actix::{Actor, AsyncContext, Context, Message, Recipient, SpawnHandle};
use cycle::OpenCycle;
use requests::Requests;
use schedule::Schedule;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The actors that the coordinator asks. As a message: some of them were built anew.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct Partners {
    /// DCS session: reads of a cycle.
    pub load: Recipient<LoadCluster>,
    /// DCS session: commands.
    pub store: Recipient<Execute>,
    /// Supervisor: reports.
    pub observe: Recipient<Observe>,
    /// Supervisor: commands.
    pub server: Recipient<Execute>,
    /// Monitor.
    pub status: Recipient<QueryStatus>,
    /// Slot manager.
    pub slots: Recipient<Execute>,
    /// Sync-standby manager.
    pub sync: Recipient<Execute>,
    /// Peers.
    pub peers: Recipient<Execute>,
    /// Callbacks.
    pub callbacks: Recipient<Execute>,
    /// Watchdog: commands.
    pub watchdog: Recipient<Execute>,
    /// Watchdog: it is fed by this.
    pub watchdog_feed: Recipient<LeadRenewed>,
    /// Config store: the dynamic configuration that a cycle has read.
    pub config: Recipient<ApplyDynamic>,
    /// Config store: there is a data directory.
    pub data_dir_seen: Recipient<DataDirSeen>,
}

/// What a coordinator is built from.
pub struct Parts {
    /// Time.
    pub clock: Clock,
    /// The rules ([`crate::ha`]'s `decide`).
    pub decide: fn(&View) -> Round,
    /// Whom it asks.
    pub partners: Partners,
    /// The fence.
    pub fence: Box<dyn Fencing>,
    /// Where snapshots go.
    pub publisher: SnapshotPublisher,
    /// Where cycles are recorded.
    pub journal: Journal,
    /// Who is told that the process must end.
    pub guardian: Recipient<AgentDone>,
    /// Settings in force.
    pub settings: Arc<Settings>,
    /// The dynamic configuration in force: from the store, the cache file or `bootstrap.dcs`.
    pub dynamic: Arc<Map<String, Value>>,
    /// What an earlier coordinator of this process remembered.
    pub memory: Memory,
}

/// The agent has to end (SIGTERM, SIGINT): the rules stop PostgreSQL, then [`AgentDone`] follows.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct StopAgent;

/// The rules have come to the end of the process (to the guardian).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct AgentDone(pub Exit);

/// The recorded cycles as JSON lines, oldest first (for `GET /journal` and the like).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReadJournal {
    /// Where they go.
    pub answer: tokio::sync::oneshot::Sender<Vec<Arc<str>>>,
}

/// The actor.
pub struct Coordinator {
    clock: Clock,
    decide: fn(&View) -> Round,
    partners: Partners,
    fence: Box<dyn Fencing>,
    publisher: SnapshotPublisher,
    journal: Journal,
    guardian: Recipient<AgentDone>,
    settings: Arc<Settings>,
    dynamic: Arc<Map<String, Value>>,
    /// The `config` key that the config store has acknowledged, and the one it was given last.
    config_applied: Option<ClusterConfig>,
    config_offered: Option<ClusterConfig>,
    watchdog: WatchdogReport,
    memory: Memory,
    /// Ended jobs of reports that came too late: they are handed over once only.
    ended: Vec<JobEnd>,
    postmaster: Option<Postmaster>,
    /// What the server itself said in this cycle.
    in_recovery: Option<bool>,
    /// The server accepts writes, or may do so soon, and must not without a lease.
    fenced_in: bool,
    /// The last cycle could not read the store.
    store_silent: bool,
    /// The server accepts writes, or may do so soon.
    may_write: bool,
    /// The primary without a store that called last.
    caller: Option<FailsafeCaller>,
    /// Position in the server's last answer.
    position: Option<Lsn>,
    fenced: u64,
    requests: Requests,
    stopping: bool,
    /// [`AgentDone`] was sent; no cycle follows.
    finished: bool,
    number: u64,
    cycle: Option<OpenCycle>,
    /// Deadlines of open questions by ticket index.
    deadlines: BTreeMap<usize, SpawnHandle>,
    schedule: Schedule,
    next: Option<Planned>,
    /// A wake-up that came during the open cycle: when the next may start.
    woken: Option<Mono>,
}

/// The next cycle.
struct Planned {
    at: Mono,
    timer: SpawnHandle,
}

impl Coordinator {
    /// A coordinator that begins its first cycle as soon as it is started.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let now = parts.clock.mono();
        let fenced = parts.fence.fired();
        let watchdog = lead::unseen_watchdog(parts.settings.watchdog.mode);
        Self {
            clock: parts.clock,
            decide: parts.decide,
            partners: parts.partners,
            fence: parts.fence,
            publisher: parts.publisher,
            journal: parts.journal,
            guardian: parts.guardian,
            settings: parts.settings,
            dynamic: parts.dynamic,
            config_applied: None,
            config_offered: None,
            watchdog,
            memory: parts.memory,
            ended: Vec::new(),
            postmaster: None,
            in_recovery: None,
            fenced_in: false,
            store_silent: false,
            may_write: false,
            caller: None,
            position: None,
            fenced,
            requests: Requests::default(),
            stopping: false,
            finished: false,
            number: 0,
            cycle: None,
            deadlines: BTreeMap::new(),
            schedule: Schedule::new(now),
            next: None,
            woken: None,
        }
    }

    /// Whether this is an answer to a question of the open cycle.
    fn is_current(&self, ticket: Ticket) -> bool {
        self.cycle.as_ref().is_some_and(|c| c.number == ticket.cycle)
    }

    /// Plans the next cycle for `at`, unless one is planned before that.
    fn plan(&mut self, at: Mono, woken: bool, ctx: &mut Context<Self>) {
        if self.finished || self.next.as_ref().is_some_and(|n| n.at <= at) {
            return;
        }
        if let Some(planned) = self.next.take() {
            ctx.cancel_future(planned.timer);
        }
        let wait = at.since(self.clock.mono());
        let timer = ctx.run_later(wait, move |act, ctx| {
            act.next = None;
            act.begin(woken, ctx);
        });
        self.next = Some(Planned { at, timer });
    }
}

impl Actor for Coordinator {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Answers come in bursts of one cycle at most; wake-ups coalesce.
        ctx.set_mailbox_capacity(256);
        self.begin(true, ctx);
    }
}
