//! What can go wrong between a member and the store, on demand.

use std::sync::Arc;
use std::time::Duration;

/// The request that is about to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Verb {
    Load,
    TouchMember,
    AcquireLeader,
    RenewLeader,
    ReleaseLeader,
    Initialize,
    CancelInitialize,
    WriteConfig,
    WriteFailover,
    WriteStatus,
    WriteHistory,
    WriteSync,
    DeleteSync,
    WriteFailsafe,
    DeleteCluster,
    Close,
}

/// What gets lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// Nothing.
    #[default]
    None,
    /// The connection is refused: an error at once, surely not done.
    Connection,
    /// The request: never done, and the member waits out its budget.
    Request,
    /// The answer: done, but the member waits out its budget and does not know.
    Reply,
}

/// The fate of one request. A request that is delayed beyond its budget is still carried out when it arrives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Time until the request arrives.
    pub request: Duration,
    /// Time until the answer arrives.
    pub reply: Duration,
    /// What gets lost.
    pub loss: Loss,
}

/// Decides the fate of each request of each member, from a seed if the caller likes.
pub type Faults = Arc<dyn Fn(&str, Verb) -> Fate + Send + Sync>;
