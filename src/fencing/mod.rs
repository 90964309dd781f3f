//! Fencing: PostgreSQL must not accept writes once the leader's lease may have ended, whatever the rest of the agent does.

mod fence;
mod kill;
pub mod watchdog;

pub use fence::{Fence, FenceError};

use crate::cluster::Postmaster;
use crate::types::Mono;
use std::time::Duration;

/// What the fence is told by the coordinator. Calls never wait.
pub trait Fencing {
    /// The leader key is ours until `until`; `ttl` is its length, of which a margin is kept.
    fn lease(&self, until: Mono, ttl: Duration);

    /// Whether PostgreSQL may accept writes from now on and must not without a lease (`false` as well in pause), and which
    /// postmaster would have to be stopped, as far as it is known.
    fn server(&self, may_write: bool, postmaster: Option<Postmaster>);

    /// How often it has fired.
    fn fired(&self) -> u64;
}

/// No fence: for a coordinator whose PostgreSQL is a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFence;

impl Fencing for NoFence {
    fn lease(&self, _until: Mono, _ttl: Duration) {}

    fn server(&self, _may_write: bool, _postmaster: Option<Postmaster>) {}

    fn fired(&self) -> u64 {
        0
    }
}

/// What is kept of a lease: the fence fires this long before its end (2 s, or a tenth of a short one).
#[must_use]
pub fn margin(ttl: Duration) -> Duration {
    Duration::from_secs(2).min(ttl / 10)
}
