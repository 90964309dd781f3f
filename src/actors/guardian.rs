//! The guardian: builds the actors, passes signals on, builds anew what broke and may be built anew, and ends the process
//! where it may not.
//!
//! actix does not start an actor again that panicked, so it is looked whether each still takes messages.

mod crew;
mod start;

pub use start::{Blueprint, LocalChange, StartError, StoreFactory, run};

use super::config_store::ReloadLocal;
use super::coordinator::{AgentDone, StopAgent};
use super::messages::SettingsChanged;
use super::rest_server::StopRest;
use crate::api::Snapshot;
use crate::clock::Clock;
use crate::types::Mono;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use crew::Crew;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// How often it is looked whether everybody is there.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A cycle that has not ended after this never will: each of its waits has a deadline.
const LONGEST_CYCLE: Duration = Duration::from_secs(300);
/// The REST server's end is not waited for longer.
const REST_PATIENCE: Duration = Duration::from_secs(5);
/// Between the end of the lease and the end of a process whose coordinator is lost.
const FENCE_PATIENCE: Duration = Duration::from_secs(10);

/// Exit code after a bug.
const BROKEN: i32 = 1;

/// A signal arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub enum Signal {
    /// SIGTERM or SIGINT.
    Stop,
    /// SIGHUP.
    Reload,
}

/// The actor.
pub struct Guardian {
    clock: Clock,
    crew: Crew,
    local_change: LocalChange,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Told the exit code, once.
    end: Option<oneshot::Sender<i32>>,
    stopping: bool,
    lost: bool,
}

impl Guardian {
    fn new(clock: Clock, crew: Crew, local_change: LocalChange, end: oneshot::Sender<i32>) -> Self {
        let snapshots = crew.snapshots.clone();
        Self { clock, crew, local_change, snapshots, end: Some(end), stopping: false, lost: false }
    }

    fn end(&mut self, code: i32) {
        if let Some(end) = self.end.take()
            && end.send(code).is_err()
        {
            tracing::error!("the process ends already");
        }
    }

    /// Looks whether everybody is there.
    fn look(&mut self, ctx: &mut Context<Self>) {
        if self.lost || self.end.is_none() {
            return;
        }
        let started = self.snapshots.borrow().cycle_started;
        let silence = self.clock.mono().since(started);
        let limit = LONGEST_CYCLE.max(self.snapshots.borrow().settings.global.loop_wait * 3);
        if let Some(name) = self.crew.broken_for_good() {
            self.lose(&format!("{name} has broken down"), ctx);
        } else if silence > limit {
            self.lose(&format!("no HA cycle was begun for {} s", silence.as_secs()), ctx);
        } else {
            self.crew.rebuild(ctx);
        }
    }

    /// Somebody is lost without whom this process must not go on. A primary is left to the fence, which needs this
    /// process until the lease has run out; anything else is left as it is, to be adopted by the next process.
    fn lose(&mut self, reason: &str, ctx: &mut Context<Self>) {
        self.lost = true;
        tracing::error!(target: "patroni.__main__", critical = true, "{reason}: Patroni ends");
        let snapshot = self.snapshots.borrow().clone();
        let wait = fence_needs(&snapshot, self.clock.mono());
        if !wait.is_zero() {
            tracing::error!("The leader lease is not renewed any more; waiting until it has run out");
        }
        ctx.run_later(wait, |act, _ctx| act.end(BROKEN));
    }
}

/// How long the fence may need this process: a server that can write has to be stopped when its lease ends. While it is
/// being demoted no lease is shown, and it lasts no longer than one that is granted now.
fn fence_needs(snapshot: &Snapshot, now: Mono) -> Duration {
    let global = &snapshot.settings.global;
    let facts = &snapshot.server.facts;
    let writes = facts.postmaster.is_some() && !facts.recovery_files;
    match snapshot.lease_until {
        _ if global.pause => Duration::ZERO,
        Some(until) => until.since(now) + FENCE_PATIENCE,
        None if writes => global.ttl + FENCE_PATIENCE,
        None => Duration::ZERO,
    }
}

impl Actor for Guardian {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(LOOK_EVERY, Self::look);
    }
}

impl Handler<Signal> for Guardian {
    type Result = ();

    fn handle(&mut self, msg: Signal, _ctx: &mut Self::Context) {
        match msg {
            Signal::Reload => self.crew.config.do_send(ReloadLocal),
            Signal::Stop if self.stopping => tracing::info!("Patroni is being stopped already"),
            Signal::Stop => {
                self.stopping = true;
                // First of all nobody may take this member for one that serves (HA-40).
                let (done, _gone) = oneshot::channel();
                self.crew.rest.do_send(StopRest { done });
                self.crew.coordinator.do_send(StopAgent);
            }
        }
    }
}

impl Handler<SettingsChanged> for Guardian {
    type Result = ();

    /// The local configuration has changed.
    fn handle(&mut self, msg: SettingsChanged, _ctx: &mut Self::Context) {
        (self.local_change)(&msg.0);
        self.crew.renew_transport(&msg.0);
    }
}

impl Handler<AgentDone> for Guardian {
    type Result = ();

    fn handle(&mut self, msg: AgentDone, ctx: &mut Self::Context) {
        // The member key is not taken back: until it expires it tells that this member is stopped.
        let (done, gone) = oneshot::channel();
        self.crew.rest.do_send(StopRest { done });
        let stopped = async move {
            if tokio::time::timeout(REST_PATIENCE, gone).await.is_err() {
                tracing::warn!("the REST API did not stop in time");
            }
        };
        ctx.spawn(stopped.into_actor(self).map(move |(), act, _ctx| act.end(msg.0.code)));
    }
}
