//! The REST API: routes by group, JSON views, authentication, TLS, metrics. Reads snapshots, asks a [`Gateway`];
//! touches neither PostgreSQL nor the store.

mod access;
mod allowlist;
pub mod call;
mod connections;
pub mod facts;
pub mod health;
mod listen;
pub mod metrics;
pub mod own_metrics;
mod reply;
mod routes;
pub mod server;
pub mod snapshot;
pub mod status;
mod stream;
mod tls;

pub use facts::Facts;
pub use reply::Reply;
pub use server::ServerHandle;
pub use snapshot::Snapshot;

use crate::cluster::{Cluster, FailsafeCall, NodeStatus, PeerStatus, Revision};
use crate::dcs::{DcsError, FailoverRequest};
use crate::ha::{Answer, Request};
use crate::types::Lsn;
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// What handlers may ask of the agent. Implemented over actors' addresses; a fake in tests.
#[async_trait]
pub trait Gateway: Send + Sync {
    /// The newest snapshot; never waits.
    fn snapshot(&self) -> Arc<Snapshot>;

    /// The present moment.
    fn clock(&self) -> &crate::clock::Clock;

    /// The server's status, newer than `max_age` if it answers within `patience`; else the last known.
    /// Concurrent questions share one query. `None`: the server does not answer.
    async fn live_status(&self, max_age: Duration, patience: Duration) -> Option<Arc<NodeStatus>>;

    /// Reads the store now.
    async fn load_cluster(&self) -> Result<Arc<Cluster>, DcsError>;

    /// Hands a request to the coordinator and waits for its answer.
    async fn request(&self, request: Request) -> Answer;

    /// Asks members for their status (2 s for all).
    async fn poll_peers(&self, members: Vec<(String, String)>) -> Vec<PeerStatus>;

    /// A primary without a store asks to be left in the lead.
    async fn hear_primary(&self, call: FailsafeCall) -> Verdict;

    /// Writes `failover`.
    async fn write_failover(&self, request: FailoverRequest, expect: Option<Revision>) -> Result<(), DcsError>;

    /// Writes `config`.
    async fn write_config(&self, data: Map<String, Value>, expect: Option<Revision>) -> Result<(), DcsError>;

    /// Reload of the local configuration (POST /reload, SIGHUP): returns at once.
    fn reload(&self);
}

/// What a member says to a primary without a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is left in the lead; with the position that this member has received or replayed.
    Accepted(Option<Lsn>),
    /// It must not go on, and why.
    Refused(String),
}

/// Why the server cannot be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    /// `restapi.listen` cannot be read, resolved or bound.
    #[error("{0}")]
    Listen(String),
    /// Certificate, key, CA or ciphers cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The server itself failed.
    #[error("REST API: {0}")]
    Server(String),
}

#[cfg(test)]
#[path = "../../tests/api/fixture.rs"]
pub(crate) mod fixture;
