//! The fence of one agent, in the world's time: what the thread of `patroni::fencing` does to a model server.

use super::world::World;
use patroni::cluster::Postmaster;
use patroni::fencing::{Fencing, margin};
use patroni::types::Mono;
use std::sync::Arc;
use std::time::Duration;

/// What the fence was told.
#[derive(Clone, Copy, Debug, Default)]
pub struct FenceState {
    pub armed: bool,
    /// When to fire; `None`: no lease was told since it was armed last.
    pub deadline: Option<Mono>,
    pub postmaster: Option<Postmaster>,
    pub fired: u64,
}

impl FenceState {
    /// Whether this postmaster must not live any longer.
    pub fn fires(&self, now: Mono, postmaster: Postmaster) -> bool {
        self.armed && self.postmaster == Some(postmaster) && self.deadline.is_some_and(|at| now >= at)
    }
}

/// The coordinator's handle.
pub struct ModelFence {
    pub world: Arc<World>,
    pub node: usize,
}

impl Fencing for ModelFence {
    fn lease(&self, until: Mono, ttl: Duration) {
        self.world.lock().nodes[self.node].fence.deadline = Some(until - margin(ttl));
    }

    fn server(&self, may_write: bool, postmaster: Option<Postmaster>) {
        let now = self.world.now();
        let fence = &mut self.world.lock().nodes[self.node].fence;
        if may_write && !fence.armed && fence.deadline.is_some_and(|at| at <= now) {
            fence.deadline = None;
        }
        fence.armed = may_write;
        fence.postmaster = postmaster;
    }

    fn fired(&self) -> u64 {
        self.world.lock().nodes[self.node].fence.fired
    }
}
