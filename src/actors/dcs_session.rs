//! The DCS session: owns the store client, runs its verbs within their budgets, and passes its changes on as wake-ups.
//! It renews nothing on its own: a coordinator that hangs must lose the lock.

use super::messages::{ClusterLoaded, Execute, Executed, LoadCluster, SettingsChanged, Wake};
use crate::cluster::{Cluster, Revision, Status};
use crate::dcs::{Dcs, DcsError, FailoverRequest};
use crate::ha::{Command, Outcome};
use crate::types::Lsn;
use actix::{Actor, AsyncContext, Context, Handler, Message, Recipient};
use futures_util::FutureExt;
use serde_json::{Map, Value};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// Pause between two tries to reach the store at start (DCS-08).
const START_PAUSE: Duration = Duration::from_secs(5);
/// Pause after a change, in which further ones coalesce.
const CHANGE_PAUSE: Duration = Duration::from_millis(20);

/// Read the store now, on behalf of the REST API.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct ReadStore {
    /// The answer must come within this.
    pub budget: Duration,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<Arc<Cluster>, DcsError>>,
}

/// A write that the REST API may do by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum StoreWrite {
    /// `failover`; with a revision, only over that version.
    Failover(FailoverRequest, Option<Revision>),
    /// `config`; with a revision, only over that version.
    Config(Map<String, Value>, Option<Revision>),
}

/// Write to the store, on behalf of the REST API.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct WriteStore {
    /// What.
    pub write: StoreWrite,
    /// The answer must come within this.
    pub budget: Duration,
    /// Where the answer goes.
    pub answer: oneshot::Sender<Result<(), DcsError>>,
}

/// Wait until the store can be read (DCS-08); told once, however long it takes.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AwaitStore {
    /// Patience of one try.
    pub budget: Duration,
    /// Where the first cluster goes.
    pub answer: oneshot::Sender<Arc<Cluster>>,
}

/// Pass changes of the store on to this actor from now on.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct WatchStore(pub Recipient<Wake>);

/// The actor.
pub struct DcsSession {
    dcs: Arc<dyn Dcs>,
    watch: Option<actix::SpawnHandle>,
}

impl DcsSession {
    /// A session over a store client. It watches only after [`WatchStore`].
    #[must_use]
    pub fn new(dcs: Arc<dyn Dcs>) -> Self {
        Self { dcs, watch: None }
    }
}

impl Actor for DcsSession {
    type Context = Context<Self>;
}

impl Handler<LoadCluster> for DcsSession {
    type Result = ();

    fn handle(&mut self, msg: LoadCluster, _ctx: &mut Self::Context) {
        let dcs = self.dcs.clone();
        actix::spawn(async move {
            let result = load(dcs.as_ref(), msg.budget).await;
            msg.reply.do_send(ClusterLoaded { ticket: msg.ticket, result });
        });
    }
}

impl Handler<Execute> for DcsSession {
    type Result = ();

    fn handle(&mut self, msg: Execute, _ctx: &mut Self::Context) {
        let dcs = self.dcs.clone();
        actix::spawn(async move {
            let outcome = execute(dcs.as_ref(), msg.command, msg.budget).await;
            msg.reply.do_send(Executed { ticket: msg.ticket, outcome });
        });
    }
}

impl Handler<ReadStore> for DcsSession {
    type Result = ();

    fn handle(&mut self, msg: ReadStore, _ctx: &mut Self::Context) {
        let dcs = self.dcs.clone();
        actix::spawn(async move {
            answer(msg.answer, load(dcs.as_ref(), msg.budget).await);
        });
    }
}

impl Handler<WriteStore> for DcsSession {
    type Result = ();

    fn handle(&mut self, msg: WriteStore, _ctx: &mut Self::Context) {
        let (dcs, budget) = (self.dcs.clone(), msg.budget);
        actix::spawn(async move {
            let result = match &msg.write {
                StoreWrite::Failover(request, expect) => {
                    within(budget, dcs.write_failover(request, *expect, budget)).await
                }
                StoreWrite::Config(data, expect) => within(budget, dcs.write_config(data, *expect, budget)).await,
            };
            answer(msg.answer, result);
        });
    }
}

impl Handler<AwaitStore> for DcsSession {
    type Result = ();

    fn handle(&mut self, msg: AwaitStore, _ctx: &mut Self::Context) {
        let dcs = self.dcs.clone();
        actix::spawn(async move {
            loop {
                match load(dcs.as_ref(), msg.budget).await {
                    Ok(cluster) => return answer(msg.answer, cluster),
                    Err(error) => {
                        tracing::error!("{error}");
                        tracing::warn!(target: "patroni.__main__", "Can not get cluster from dcs");
                    }
                }
                tokio::time::sleep(START_PAUSE).await;
                if msg.answer.is_closed() {
                    return;
                }
            }
        });
    }
}

impl Handler<WatchStore> for DcsSession {
    type Result = ();

    fn handle(&mut self, msg: WatchStore, ctx: &mut Self::Context) {
        let dcs = self.dcs.clone();
        let watching = async move {
            loop {
                dcs.changed().await;
                msg.0.do_send(Wake::Store);
                tokio::time::sleep(CHANGE_PAUSE).await;
            }
        };
        let handle = ctx.spawn(actix::fut::wrap_future(watching));
        if let Some(old) = self.watch.replace(handle) {
            ctx.cancel_future(old);
        }
    }
}

impl Handler<SettingsChanged> for DcsSession {
    type Result = ();

    fn handle(&mut self, msg: SettingsChanged, _ctx: &mut Self::Context) {
        self.dcs.set_ttl(msg.0.global.ttl);
    }
}

async fn load(dcs: &dyn Dcs, budget: Duration) -> Result<Arc<Cluster>, DcsError> {
    within(budget, dcs.load(budget)).await.map(Arc::new)
}

/// The store keeps to its budget and does not panic, by contract; this is for the case that it does not keep to it.
async fn within<T>(budget: Duration, verb: impl Future<Output = Result<T, DcsError>>) -> Result<T, DcsError> {
    let late = || DcsError::Unknown(format!("no answer from the store within {} s", budget.as_secs_f32()));
    match tokio::time::timeout(budget, AssertUnwindSafe(verb).catch_unwind()).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(DcsError::Unknown("the client of the store has broken down".to_owned())),
        Err(_) => Err(late()),
    }
}

/// Carries out a command of a cycle.
async fn execute(dcs: &dyn Dcs, command: Command, budget: Duration) -> Outcome {
    match command {
        Command::ReloadCluster => load(dcs, budget).await.map_or_else(failure, Outcome::Cluster),
        Command::AcquireLeader => lease(within(budget, dcs.acquire_leader(budget)).await),
        Command::RenewLeader => lease(within(budget, dcs.renew_leader(budget)).await),
        Command::TouchMember(data) => plain(within(budget, dcs.touch_member(&data, budget)).await),
        Command::WriteStatus(status) => plain(within(budget, dcs.write_status(&status, budget)).await),
        Command::ReleaseLeader { optime } => release(dcs, optime, budget).await,
        Command::Initialize { system_id, create_only } => {
            plain(within(budget, dcs.initialize(system_id, create_only, budget)).await)
        }
        Command::CancelInitialize => plain(within(budget, dcs.cancel_initialize(budget)).await),
        Command::WriteConfig { data, expect } => plain(within(budget, dcs.write_config(&data, expect, budget)).await),
        Command::WriteFailover { leader, candidate, scheduled_at, expect } => {
            let request = FailoverRequest { leader, candidate, scheduled_at };
            plain(within(budget, dcs.write_failover(&request, expect, budget)).await)
        }
        Command::WriteSync(state) => {
            within(budget, dcs.write_sync(&state, budget)).await.map_or_else(failure, Outcome::Written)
        }
        Command::WriteFailsafe(members) => {
            let map = members.into_iter().map(|(name, url)| (name, url.into())).collect();
            plain(within(budget, dcs.write_failsafe(&map, budget)).await)
        }
        Command::DeleteSync(expect) => plain(within(budget, dcs.delete_sync(expect, budget)).await),
        Command::WriteHistory(history) => plain(within(budget, dcs.write_history(&history, budget)).await),
        other => Outcome::Failed(format!("not a command for the store: {other:?}")),
    }
}

/// The position first, so that whoever takes the lock knows it; without it the lock is released all the same.
async fn release(dcs: &dyn Dcs, optime: Option<Lsn>, budget: Duration) -> Outcome {
    let half = budget / 2;
    if optime.is_some() {
        let status = Status { optime, ..Status::default() };
        if let Err(error) = within(half, dcs.write_status(&status, half)).await {
            tracing::warn!("the last position of the leader could not be written: {error}");
        }
    }
    plain(within(half, dcs.release_leader(half)).await)
}

fn plain(result: Result<(), DcsError>) -> Outcome {
    result.map_or_else(failure, |()| Outcome::Ok)
}

fn lease(result: Result<crate::dcs::Lease, DcsError>) -> Outcome {
    result.map_or_else(failure, |lease| Outcome::Leased { until: lease.until })
}

/// A store that refuses us has surely not done it: for the rules it is out of reach.
fn failure(error: DcsError) -> Outcome {
    match error {
        DcsError::Unreachable(reason) | DcsError::Refused(reason) => Outcome::Unreachable(reason),
        DcsError::Unknown(reason) => Outcome::Unknown(reason),
        DcsError::Conflict(_) => Outcome::Conflict,
    }
}

fn answer<T>(channel: oneshot::Sender<T>, value: T) {
    if channel.send(value).is_err() {
        tracing::debug!("nobody waits for this answer of the store any more");
    }
}

#[cfg(test)]
#[path = "dcs_session_tests.rs"]
mod tests;
