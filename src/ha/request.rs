//! What the REST API asks of the agent, and the answers.

use crate::cluster::Role;
use crate::types::{Mono, Wall};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Names a request of this agent process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub u64);

/// A request that waits for its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PendingRequest {
    /// Which.
    pub id: RequestId,
    /// What.
    pub request: Request,
    /// Since when.
    pub at: Mono,
}

/// A request that has passed the checks that need no knowledge of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Restart the server (POST /restart).
    Restart {
        /// When; `None`: now.
        schedule: Option<Wall>,
        /// `schedule` as the client wrote it.
        schedule_text: Option<String>,
        /// Only if the conditions hold.
        filter: RestartFilter,
        /// Patience for the start.
        timeout: Option<Duration>,
        /// The whole body as the client wrote it (for the member key).
        body: serde_json::Map<String, serde_json::Value>,
    },
    /// Forget the scheduled restart (DELETE /restart).
    CancelRestart,
    /// Copy the data directory anew (POST /reinitialize).
    Reinitialize {
        /// Cancel the job that runs.
        force: bool,
        /// pg_basebackup from the leader.
        from_leader: bool,
    },
    /// Look at the failover key now (a switchover was just written).
    Wake,
}

/// Conditions of a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RestartFilter {
    /// Only in this role.
    pub role: Option<Role>,
    /// Only when the server is older than this version (as written).
    pub postgres_version: Option<String>,
    /// Only when a restart is pending.
    pub restart_pending: bool,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// How it ended.
    pub kind: AnswerKind,
    /// Patroni's text.
    pub text: String,
}

/// How a request ended; the REST API gives each its status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AnswerKind {
    /// 200
    Done,
    /// 202
    Scheduled,
    /// 404
    NotFound,
    /// 409
    Conflict,
    /// 503
    NotDone,
}
