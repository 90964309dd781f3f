//! What the REST API may ask of the agent, over messages: usable from the API's own threads.

use super::config_store::ReloadLocal;
use super::coordinator::ReadJournal;
use super::dcs_session::{ReadStore, StoreWrite, WriteStore};
use super::messages::{Ask, AskStatus, HearPrimary};
use super::peers::{AskPeers, POLL_PATIENCE};
use crate::api::{Gateway, Snapshot, Verdict};
use crate::clock::Clock;
use crate::cluster::{Cluster, FailsafeCall, NodeStatus, PeerStatus, Revision};
use crate::config::Global;
use crate::dcs::{DcsError, FailoverRequest};
use crate::ha::{Answer, AnswerKind, Request};
use actix::Recipient;
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// An actor has its budget, and a little more for the way there and back.
const SLACK: Duration = Duration::from_millis(200);
/// How long a restart may take beyond its own patience: the shutdown before it, above all.
const RESTART_SLACK: Duration = Duration::from_secs(1800);

/// The coordinator answers a call between two steps; the caller has 2 s.
const HEAR_PATIENCE: Duration = Duration::from_millis(1500);

/// Whom the gateway asks. Replaced whole when actors are built anew.
#[derive(Clone)]
pub struct Lines {
    /// Monitor.
    pub status: Recipient<AskStatus>,
    /// DCS session: reads.
    pub read: Recipient<ReadStore>,
    /// DCS session: writes.
    pub write: Recipient<WriteStore>,
    /// Coordinator: requests.
    pub ask: Recipient<Ask>,
    /// Coordinator: calls of a primary without a store.
    pub hear: Recipient<HearPrimary>,
    /// Coordinator: the journal.
    pub journal: Recipient<ReadJournal>,
    /// Peers.
    pub peers: Recipient<AskPeers>,
    /// Config store.
    pub reload: Recipient<ReloadLocal>,
}

/// The gateway.
pub struct RestGateway {
    clock: Clock,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    lines: watch::Receiver<Lines>,
}

impl RestGateway {
    /// A gateway that reads these snapshots and asks over these lines.
    #[must_use]
    pub fn new(clock: Clock, snapshots: watch::Receiver<Arc<Snapshot>>, lines: watch::Receiver<Lines>) -> Self {
        Self { clock, snapshots, lines }
    }

    /// The recorded cycles as JSON lines, oldest first; empty when the coordinator does not answer in 2 s.
    pub async fn journal(&self) -> Vec<Arc<str>> {
        let (answer, lines) = oneshot::channel();
        self.lines().journal.do_send(ReadJournal { answer });
        within(Duration::from_secs(2), lines).await.unwrap_or_default()
    }

    fn lines(&self) -> Lines {
        self.lines.borrow().clone()
    }

    fn global(&self) -> Global {
        self.snapshots.borrow().settings.global.clone()
    }

    async fn write(&self, write: StoreWrite) -> Result<(), DcsError> {
        let budget = self.global().retry_timeout;
        let (answer, result) = oneshot::channel();
        self.lines().write.do_send(WriteStore { write, budget, answer });
        within(budget + SLACK, result).await.unwrap_or_else(|| Err(silent_store()))
    }
}

/// `None`: no answer came in time, or whoever should have answered is gone.
async fn within<T>(patience: Duration, answer: oneshot::Receiver<T>) -> Option<T> {
    tokio::time::timeout(patience, answer).await.ok().and_then(Result::ok)
}

fn silent_store() -> DcsError {
    DcsError::Unknown("no answer from the store in time".to_owned())
}

/// How long a client waits for its request at most.
fn patience(request: &Request, global: &Global) -> Duration {
    let cycle = global.loop_wait + global.retry_timeout * 2;
    match request {
        Request::Restart { timeout, .. } => {
            timeout.unwrap_or(global.primary_start_timeout).saturating_add(RESTART_SLACK)
        }
        Request::CancelRestart | Request::Reinitialize { .. } | Request::Wake => cycle * 2,
    }
}

#[async_trait]
impl Gateway for RestGateway {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    async fn live_status(&self, max_age: Duration, patience: Duration) -> Option<Arc<NodeStatus>> {
        self.snapshot().server.facts.postmaster?;
        let (answer, status) = oneshot::channel();
        self.lines().status.do_send(AskStatus { max_age, patience, answer });
        match within(patience + SLACK, status).await {
            Some(status) => status,
            // The monitor itself is silent: what the last cycle saw is the last that is known.
            None => self.snapshot().status.as_ref().map(|(status, _)| status.clone()),
        }
    }

    async fn load_cluster(&self) -> Result<Arc<Cluster>, DcsError> {
        let budget = self.global().retry_timeout;
        let (answer, result) = oneshot::channel();
        self.lines().read.do_send(ReadStore { budget, answer });
        within(budget + SLACK, result).await.unwrap_or_else(|| Err(silent_store()))
    }

    async fn request(&self, request: Request) -> Answer {
        let patience = patience(&request, &self.global());
        let (answer, settled) = oneshot::channel();
        self.lines().ask.do_send(Ask { request, answer });
        within(patience, settled).await.unwrap_or_else(|| Answer {
            kind: AnswerKind::NotDone,
            text: "the agent did not answer in time".to_owned(),
        })
    }

    async fn poll_peers(&self, members: Vec<(String, String)>) -> Vec<PeerStatus> {
        let silent = members.iter().map(|(name, _)| PeerStatus::unreachable(name)).collect();
        let (answer, statuses) = oneshot::channel();
        self.lines().peers.do_send(AskPeers { members, answer });
        within(POLL_PATIENCE + SLACK, statuses).await.unwrap_or(silent)
    }

    async fn hear_primary(&self, call: FailsafeCall) -> Verdict {
        let (answer, verdict) = oneshot::channel();
        self.lines().hear.do_send(HearPrimary { call, answer });
        let silent = || Verdict::Refused("the agent did not answer in time".to_owned());
        within(HEAR_PATIENCE, verdict).await.unwrap_or_else(silent)
    }

    async fn write_failover(&self, request: FailoverRequest, expect: Option<Revision>) -> Result<(), DcsError> {
        self.write(StoreWrite::Failover(request, expect)).await
    }

    async fn write_config(&self, data: Map<String, Value>, expect: Option<Revision>) -> Result<(), DcsError> {
        self.write(StoreWrite::Config(data, expect)).await
    }

    fn reload(&self) {
        self.lines().reload.do_send(ReloadLocal);
    }
}
