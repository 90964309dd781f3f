//! Messages that more than one actor speaks. No handler awaits another actor: a question carries a ticket, and its
//! answer comes back as a message with the same ticket.

pub use crate::api::Verdict;
use crate::cluster::{Cluster, FailsafeCall, NodeStatus};
use crate::config::Settings;
use crate::dcs::DcsError;
use crate::ha::{Answer, Command, Outcome, Request, ServerReport};
use actix::{Message, Recipient};
use std::sync::Arc;
use std::time::Duration;

/// Which question of which cycle; answers of an earlier cycle are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// Number of the cycle.
    pub cycle: u64,
    /// Number of the question within it.
    pub index: usize,
}

/// Carry out a command of a cycle. Goes to the actor that owns what it touches.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Execute {
    /// Comes back with the outcome.
    pub ticket: Ticket,
    /// What.
    pub command: Command,
    /// The outcome must come within this.
    pub budget: Duration,
    /// To whom.
    pub reply: Recipient<Executed>,
}

/// What came of an [`Execute`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Executed {
    /// The question.
    pub ticket: Ticket,
    /// The outcome.
    pub outcome: Outcome,
}

/// Read the store (to the DCS session, at the start of a cycle).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct LoadCluster {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// The answer must come within this.
    pub budget: Duration,
    /// To whom.
    pub reply: Recipient<ClusterLoaded>,
}

/// The answer to [`LoadCluster`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ClusterLoaded {
    /// The question.
    pub ticket: Ticket,
    /// The cluster, or why there is none.
    pub result: Result<Arc<Cluster>, DcsError>,
}

/// Look at the server (to the postgres supervisor, at the start of a cycle). The ended jobs are handed over once.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Observe {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// To whom.
    pub reply: Recipient<Observed>,
}

/// The answer to [`Observe`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct Observed {
    /// The question.
    pub ticket: Ticket,
    /// The report.
    pub report: ServerReport,
}

/// Ask the server for its status (to the postgres monitor). Concurrent questions share one query.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct QueryStatus {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// To whom.
    pub reply: Recipient<StatusAnswered>,
}

/// The answer to [`QueryStatus`].
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct StatusAnswered {
    /// The question.
    pub ticket: Ticket,
    /// `None`: the server does not answer.
    pub status: Option<NodeStatus>,
}

/// The server's state, role or process changed (from the supervisor to the coordinator, for the snapshot: the REST API
/// must not say "running" of a server that has just ended). Without the ended jobs.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ServerMoved(pub Box<ServerReport>);

/// Something happened that a cycle should see now. Wake-ups coalesce.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Message)]
#[rtype(result = "()")]
pub enum Wake {
    /// The store changed.
    Store,
    /// The postmaster ended.
    PostmasterExit,
    /// A job ended or reached another phase.
    Job,
    /// A request came or a file was reloaded.
    Request,
}

/// A request from the REST API (to the coordinator); the answer goes through the channel.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Ask {
    /// What.
    pub request: Request,
    /// Where the answer goes.
    pub answer: tokio::sync::oneshot::Sender<Answer>,
}

/// A primary without a store asks to be left in the lead (from the REST API to the coordinator).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct HearPrimary {
    /// What it says.
    pub call: FailsafeCall,
    /// Where the answer goes.
    pub answer: tokio::sync::oneshot::Sender<Verdict>,
}

/// Ask the server for its status on behalf of the REST API (to the postgres monitor).
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AskStatus {
    /// An answer of this age is new enough.
    pub max_age: Duration,
    /// After this the last known answer is given.
    pub patience: Duration,
    /// Where the answer goes; `None`: the server does not answer.
    pub answer: tokio::sync::oneshot::Sender<Option<Arc<NodeStatus>>>,
}

/// Whether the server answered the last status query (from the postgres monitor to the supervisor, after each).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct StatusSeen {
    /// It did.
    pub answered: bool,
}

/// The local files were read again, whether or not they have changed (to the supervisor): files that they only name, as
/// certificates, may have.
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct LocalReread;

/// The server has another role, in which PostgreSQL has other settings (from the server to its supervisor).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct RoleSettingsChanged;

/// Settings that are in force from now on (to every actor that reads some).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct SettingsChanged(pub Arc<Settings>);
