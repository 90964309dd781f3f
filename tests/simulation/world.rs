//! The world outside the agents: servers, network, store faults, leases as they were really granted, and the event log.

use super::model_fence::FenceState;
use super::outage::{Failsafe, Word};
use super::promise::{IN_FLIGHT, Promise};
use super::server::{Process, Server, Source, Stopping};
use super::standby::{REMOTE, Standby};
use super::wal::{Position, WalTree};
use patroni::api::Snapshot;
use patroni::clock::Clock;
use patroni::cluster::{ControlState, StopMode};
use patroni::types::{Lsn, Mono};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Bytes of a checkpoint record.
const CHECKPOINT_RECORD: u64 = 120;
/// Lines that are kept for a failure's report.
const KEPT_LINES: usize = 400;

/// How the store is reached from one node.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StoreFault {
    /// Not at all.
    pub cut: bool,
    /// One in so many answers is lost after the request was carried out.
    pub lose_one_in: Option<u32>,
    /// Each way takes up to this long.
    pub slow: Duration,
}

/// A node: its server, and its agent as far as it can be seen from outside.
pub struct Node {
    pub name: String,
    pub server: Server,
    pub agent: bool,
    /// Switched off: not even a refusal comes back.
    pub off: bool,
    pub snapshot: Option<watch::Receiver<Arc<Snapshot>>>,
    pub store: StoreFault,
    /// The leader key is bound to this node's session until then, by the store's own account.
    pub lease: Option<Mono>,
    /// Since when the server has been writable without a lease, with an agent that could have stopped it.
    pub unleased_since: Option<Mono>,
    pub agent_since: Mono,
    pub fence: FenceState,
    pub word: Word,
}

/// All mutable state.
pub struct Inner {
    pub rng: fastrand::Rng,
    pub wal: WalTree,
    pub nodes: Vec<Node>,
    /// Links between members, both ways: `cut[a][b]`.
    pub cut: Vec<Vec<bool>>,
    /// Messages between members are slow or lost.
    pub slow_peers: bool,
    pub paused: bool,
    pub paused_since: Option<Mono>,
    /// The fault script is at work.
    pub faults: bool,
    /// Where the primary that a switchover asked to step down came to its end, while no fault disturbs it.
    pub switchover_from: Option<usize>,
    pub must_have: Option<Position>,
    pub failsafe: Failsafe,
    pub promise: Promise,
    pub commits: u64,
    pub promotions: u64,
    pub switchovers: u64,
    pub twins: u64,
    pub standby: Standby,
    pub fenced: u64,
    pub violations: Vec<String>,
    next_pid: i32,
    hash: DefaultHasher,
    events: u64,
    lines: VecDeque<String>,
    keep_all: bool,
}

/// The world, shared by all agents of one cluster.
pub struct World {
    pub clock: Clock,
    inner: Mutex<Inner>,
    /// Rings when a process or a fault changed.
    pub changed: Notify,
}

impl World {
    pub fn new(clock: Clock, seed: u64, names: &[&str]) -> Arc<Self> {
        let now = clock.mono();
        let node = |name: &&str| Node {
            name: (*name).to_owned(),
            server: Server::default(),
            agent: false,
            off: false,
            snapshot: None,
            store: StoreFault::default(),
            lease: None,
            unleased_since: None,
            agent_since: now,
            fence: FenceState::default(),
            word: Word::default(),
        };
        let inner = Inner {
            rng: fastrand::Rng::with_seed(seed),
            wal: WalTree::default(),
            nodes: names.iter().map(node).collect(),
            cut: vec![vec![false; names.len()]; names.len()],
            slow_peers: false,
            paused: false,
            paused_since: None,
            faults: false,
            switchover_from: None,
            must_have: None,
            failsafe: Failsafe::default(),
            promise: Promise::default(),
            commits: 0,
            promotions: 0,
            switchovers: 0,
            twins: 0,
            standby: Standby { remote: names.iter().position(|name| *name == REMOTE), ..Standby::default() },
            fenced: 0,
            violations: Vec::new(),
            next_pid: 1000,
            hash: DefaultHasher::new(),
            events: 0,
            lines: VecDeque::new(),
            keep_all: std::env::var_os("PATRONI_SIM_LOG").is_some(),
        };
        Arc::new(Self { clock, inner: Mutex::new(inner), changed: Notify::new() })
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn now(&self) -> Mono {
        self.clock.mono()
    }

    /// Writes an event down.
    pub fn log(&self, text: String) {
        let now = self.now();
        self.lock().log(now, text);
    }

    /// Moves servers and replication on.
    pub fn tick(&self) {
        let now = self.now();
        let mut inner = self.lock();
        let mut changed = false;
        for node in 0..inner.nodes.len() {
            changed |= inner.fence(node, now);
            changed |= inner.move_process(node, now);
        }
        inner.tend_remote(now);
        for node in 0..inner.nodes.len() {
            inner.commit(node, now);
        }
        for node in 0..inner.nodes.len() {
            inner.stream(node, now);
        }
        for node in 0..inner.nodes.len() {
            inner.acknowledge(node, now);
        }
        drop(inner);
        if changed {
            self.changed.notify_waiters();
        }
    }
}

impl Inner {
    pub fn log(&mut self, now: Mono, text: String) {
        let line = format!("{:10.3} {text}", now.0.as_secs_f64() - 86_400.0);
        line.hash(&mut self.hash);
        self.events += 1;
        if self.keep_all {
            println!("{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > KEPT_LINES {
            self.lines.pop_front();
        }
    }

    /// Writes a broken invariant down.
    pub fn violate(&mut self, now: Mono, text: String) {
        self.log(now, format!("VIOLATION {text}"));
        self.violations.push(text);
    }

    /// The event log so far, as one number, and how many events it has.
    pub fn fingerprint(&self) -> (u64, u64) {
        (self.hash.finish(), self.events)
    }

    pub fn last_lines(&self) -> String {
        self.lines.iter().map(|l| format!("{l}\n")).collect()
    }

    pub fn name(&self, node: usize) -> String {
        self.nodes[node].name.clone()
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|n| n.name == name)
    }

    /// A length of time from the seed.
    pub fn span(&mut self, least_ms: u64, most_ms: u64) -> Duration {
        Duration::from_millis(self.rng.u64(least_ms..=most_ms))
    }

    pub fn linked(&self, a: usize, b: usize) -> bool {
        !self.cut[a][b] && !self.nodes[a].off && !self.nodes[b].off
    }

    pub fn next_pid(&mut self) -> i32 {
        self.next_pid += 1;
        self.next_pid
    }

    pub fn has_lease(&self, node: usize, now: Mono) -> bool {
        self.nodes[node].lease.is_some_and(|until| now < until)
    }

    /// The process ends. Whether there was one.
    pub fn end_process(&mut self, node: usize, now: Mono, why: &str) -> bool {
        let there = self.nodes[node].server.process.take().is_some();
        if there {
            self.nodes[node].server.frozen = false;
            let name = self.name(node);
            self.log(now, format!("{name} postgres ended: {why}"));
        }
        there
    }

    /// The fence lives in the agent's process, and works when nothing else of it does.
    fn fence(&mut self, node: usize, now: Mono) -> bool {
        let it = &mut self.nodes[node];
        let Some(process) = it.server.process.as_ref().filter(|_| it.agent) else { return false };
        if !it.fence.fires(now, process.postmaster) {
            return false;
        }
        it.fence.fired += 1;
        // One that is shut down already and archives still, or is frozen, needed no fence to keep it from writing.
        let writable = it.server.writable(now);
        self.fenced += u64::from(writable);
        self.end_process(node, now, if writable { "fence, while it accepted writes" } else { "fence" })
    }

    fn move_process(&mut self, node: usize, now: Mono) -> bool {
        let Some(process) = self.nodes[node].server.process.clone() else { return false };
        if self.nodes[node].server.frozen {
            return false;
        }
        if let Some(stopping) = process.stopping {
            return self.move_stop(node, stopping, now);
        }
        if process.promote_at.is_some_and(|at| now >= at) {
            self.finish_promotion(node, now);
            return true;
        }
        if now >= process.ready_at
            && !process.in_recovery
            && let Some(data) = &mut self.nodes[node].server.data
            && data.control != ControlState::InProduction
        {
            data.control = ControlState::InProduction;
            data.fresh = false;
            let name = self.name(node);
            self.log(now, format!("{name} postgres in production"));
            return true;
        }
        false
    }

    fn move_stop(&mut self, node: usize, stopping: Stopping, now: Mono) -> bool {
        if stopping.mode == StopMode::Fast && !stopping.shut && now >= stopping.shut_at {
            self.shut_down(node, now);
        }
        if now >= stopping.exit_at {
            let how = if stopping.mode == StopMode::Fast { "stopped" } else { "stopped at once" };
            return self.end_process(node, now, how);
        }
        false
    }

    /// The shutdown checkpoint is written, and all who stream have received it.
    fn shut_down(&mut self, node: usize, now: Mono) {
        let timeline = self.nodes[node].server.data.as_ref().map(|d| self.wal.timeline(d.end.branch));
        let server = &mut self.nodes[node].server;
        let (Some(process), Some(data), Some(timeline)) = (&mut server.process, &mut server.data, timeline) else {
            return;
        };
        if let Some(stopping) = &mut process.stopping {
            stopping.shut = true;
        }
        if process.in_recovery {
            data.control = ControlState::ShutDownInRecovery;
            return;
        }
        data.control = ControlState::ShutDown;
        data.checkpoint = data.end.lsn;
        data.checkpoint_timeline = timeline;
        data.end.lsn = Lsn(data.end.lsn.0 + CHECKPOINT_RECORD);
        let end = data.end;
        for other in 0..self.nodes.len() {
            if other != node && self.streams_from(other, now) == Some(node) {
                self.receive(other, end);
            }
        }
        if self.switchover_from == Some(node) && !self.faults {
            self.must_have = Some(end);
        }
        let name = self.name(node);
        self.log(now, format!("{name} shut down at {}", end.lsn));
    }

    fn finish_promotion(&mut self, node: usize, now: Mono) {
        let Some(at) = self.nodes[node].server.end() else { return };
        let branch = self.wal.fork(at);
        if let Some(needed) = self.must_have.take()
            && !self.wal.contains(at, needed)
        {
            let name = self.name(node);
            self.violate(now, format!("switchover went backwards: {name} at {at:?} lacks {needed:?}"));
        }
        self.judge_promotion(node, at, branch, now);
        self.switchover_from = None;
        self.promotions += 1;
        let timeline = self.wal.timeline(branch);
        let server = &mut self.nodes[node].server;
        if let (Some(process), Some(data)) = (&mut server.process, &mut server.data) {
            data.end = Position { branch, lsn: at.lsn };
            data.standby_signal = false;
            data.upstream = None;
            data.control = ControlState::InProduction;
            data.fresh = false;
            process.in_recovery = false;
            process.upstream = None;
            process.streaming = false;
            process.promote_at = None;
        }
        let name = self.name(node);
        self.log(now, format!("{name} promoted to timeline {timeline} at {}", at.lsn));
    }

    fn commit(&mut self, node: usize, now: Mono) {
        if !self.nodes[node].server.writable(now) {
            return;
        }
        let bytes = self.rng.u64(0..4000) * 8;
        let server = &mut self.nodes[node].server;
        if let (Some(data), Some(process)) = (&mut server.data, &mut server.process)
            && process.in_flight < IN_FLIGHT
        {
            data.end.lsn = Lsn(data.end.lsn.0 + bytes);
            data.replayed = data.end.lsn;
            process.in_flight += bytes;
            self.commits += 1;
        }
    }

    /// From which node this one could stream now, and the log would fit.
    pub fn streams_from(&self, node: usize, now: Mono) -> Option<usize> {
        let me = &self.nodes[node];
        let process = me.server.process.as_ref().filter(|p| p.in_recovery && p.stopping.is_none())?;
        if me.server.frozen || me.server.lagging || now < process.started + Duration::from_millis(100) {
            return None;
        }
        let Source { name, slot } = process.upstream.as_ref()?;
        let source = self.find(name).filter(|s| *s != node && self.linked(node, *s))?;
        let server = &self.nodes[source].server;
        // A server that shuts down cleanly serves its standbys to the end.
        let stopping = server.process.as_ref().and_then(|p| p.stopping);
        let serving = server.ready(now) || (!server.frozen && stopping.is_some_and(|s| s.mode == StopMode::Fast));
        let data = server.data.as_ref().filter(|_| serving)?;
        if slot.as_ref().is_some_and(|s| !data.slots.contains_key(s)) {
            return None;
        }
        self.wal.contains(data.end, me.server.end()?).then_some(source)
    }

    fn stream(&mut self, node: usize, now: Mono) {
        let source = self.streams_from(node, now);
        let server = &mut self.nodes[node].server;
        if let Some(process) = &mut server.process {
            process.streaming = source.is_some();
            // What was received a step ago is replayed now.
            if let Some(data) = server.data.as_mut().filter(|_| process.in_recovery && !server.frozen) {
                data.replayed = data.end.lsn;
            }
        }
        if let Some(end) = source.and_then(|s| self.nodes[s].server.end()) {
            let end = self.arrived(node, end);
            self.receive(node, end);
        }
    }

    fn receive(&mut self, node: usize, end: Position) {
        if let Some(data) = &mut self.nodes[node].server.data {
            data.end = end;
        }
    }

    /// Whether any server runs as primary or will be one.
    pub fn process(&mut self, node: usize) -> Option<&mut Process> {
        self.nodes[node].server.process.as_mut()
    }
}
