//! What befalls a cluster: drawn from the seed, begun, and undone.

use super::life::Cluster;
use super::world::StoreFault;
use std::time::Duration;

/// One kind of harm, with those it befalls.
#[derive(Clone, Debug)]
pub enum Fault {
    /// kill -9 of the agent.
    AgentKilled(usize),
    /// SIGTERM to the agent.
    AgentStopped(usize),
    /// kill -9 of the postmaster.
    PostgresKilled(usize),
    /// The machine is switched off.
    NodeLost(usize),
    /// The machine is switched off and comes back with an empty disk.
    DiskReplaced(usize),
    /// A node is cut off from the store.
    StoreCut(usize),
    /// Everybody is.
    StoreDown,
    /// Answers of the store are lost after the request was carried out.
    AnswersLost(usize, u32),
    /// The store is slow for everybody.
    StoreSlow(Duration),
    /// Two members do not reach each other.
    LinkCut(usize, usize),
    /// A member is cut off from the others and from the store.
    Isolated(usize),
    /// Messages between members are slow and lost.
    PeersSlow,
    /// A server is frozen.
    PostgresFrozen(usize),
    /// Files hang.
    DiskDead(usize),
    /// Replication to a member stands still.
    Lagging(usize),
}

impl Fault {
    /// Draws one.
    pub fn draw(rng: &mut fastrand::Rng, nodes: usize, primary: Option<usize>) -> Self {
        let any = rng.usize(0..nodes);
        // Harm to the primary is what matters most.
        let one = primary.filter(|_| rng.bool()).unwrap_or(any);
        let other = (one + rng.usize(1..nodes)) % nodes;
        match rng.u32(0..16) {
            0 | 1 => Self::AgentKilled(one),
            2 => Self::AgentStopped(one),
            3 => Self::PostgresKilled(one),
            4 => Self::NodeLost(one),
            5 => Self::DiskReplaced(any),
            6 => Self::StoreCut(one),
            7 => Self::StoreDown,
            8 => Self::AnswersLost(one, rng.u32(1..4)),
            9 => Self::StoreSlow(Duration::from_millis(rng.u64(100..8000))),
            10 => Self::LinkCut(one, other),
            11 => Self::Isolated(one),
            12 => Self::PeersSlow,
            13 => Self::PostgresFrozen(one),
            14 => Self::DiskDead(one),
            _ => Self::Lagging(any),
        }
    }

    /// Begins.
    pub fn begin(&self, cluster: &Cluster) {
        let world = &cluster.world;
        world.log(format!("fault begins: {self:?}"));
        let now = world.now();
        match *self {
            Self::AgentKilled(node) => cluster.kill_agent(node),
            Self::AgentStopped(node) => cluster.stop_agent(node),
            Self::PostgresKilled(node) => {
                world.lock().end_process(node, now, "kill -9");
            }
            Self::NodeLost(node) | Self::DiskReplaced(node) => {
                cluster.kill_agent(node);
                let mut inner = world.lock();
                inner.end_process(node, now, "power lost");
                inner.nodes[node].off = true;
                if matches!(self, Self::DiskReplaced(_)) {
                    inner.nodes[node].server.data = None;
                }
            }
            Self::StoreCut(node) => world.lock().nodes[node].store.cut = true,
            Self::StoreDown => world.lock().nodes.iter_mut().for_each(|n| n.store.cut = true),
            Self::AnswersLost(node, n) => world.lock().nodes[node].store.lose_one_in = Some(n),
            Self::StoreSlow(slow) => world.lock().nodes.iter_mut().for_each(|n| n.store.slow = slow),
            Self::LinkCut(a, b) => cluster.cut(a, b, true),
            Self::Isolated(node) => {
                world.lock().nodes[node].store.cut = true;
                let others = world.lock().nodes.len();
                (0..others).filter(|o| *o != node).for_each(|o| cluster.cut(node, o, true));
            }
            Self::PeersSlow => world.lock().slow_peers = true,
            Self::PostgresFrozen(node) => {
                let mut inner = world.lock();
                let server = &mut inner.nodes[node].server;
                server.frozen = server.process.is_some();
            }
            Self::DiskDead(node) => world.lock().nodes[node].server.dead_disk = true,
            Self::Lagging(node) => world.lock().nodes[node].server.lagging = true,
        }
        world.changed.notify_waiters();
    }

    /// Ends.
    pub fn end(&self, cluster: &Cluster) {
        let world = &cluster.world;
        world.log(format!("fault ends: {self:?}"));
        match *self {
            Self::AgentKilled(node) | Self::AgentStopped(node) => {
                // What SIGTERM has not brought to its end by now is killed, as a service manager would.
                cluster.kill_agent(node);
                cluster.start_agent(node);
            }
            Self::NodeLost(node) | Self::DiskReplaced(node) => {
                world.lock().nodes[node].off = false;
                cluster.start_agent(node);
            }
            Self::PostgresKilled(_) => {}
            Self::StoreCut(_) | Self::StoreDown | Self::AnswersLost(..) | Self::StoreSlow(_) => {
                world.lock().nodes.iter_mut().for_each(|n| n.store = StoreFault::default());
            }
            Self::LinkCut(a, b) => cluster.cut(a, b, false),
            Self::Isolated(node) => {
                world.lock().nodes[node].store = StoreFault::default();
                let others = world.lock().nodes.len();
                (0..others).filter(|o| *o != node).for_each(|o| cluster.cut(node, o, false));
            }
            Self::PeersSlow => world.lock().slow_peers = false,
            Self::PostgresFrozen(node) => world.lock().nodes[node].server.frozen = false,
            Self::DiskDead(node) => world.lock().nodes[node].server.dead_disk = false,
            Self::Lagging(node) => world.lock().nodes[node].server.lagging = false,
        }
        world.changed.notify_waiters();
    }
}
