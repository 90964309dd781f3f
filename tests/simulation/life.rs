//! The life of one cluster: bootstrap, then episodes of harm, switchovers and pauses, and after each the proof that it is
//! whole again.

use super::checker::{check, twins};
use super::faults::Fault;
use super::model_config::{NO_SYNC, SyncWish};
use super::node::{Agent, Build};
use super::operator::CATCH_UP;
use super::standby::REMOTE;
use super::world::World;
use patroni::clock::Clock;
use patroni::dcs::{Dcs, FailoverRequest};
use patroni::ha::{Round, View};
use patroni::types::Wall;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// Step of the world.
pub(super) const STEP: Duration = Duration::from_millis(200);
/// Three cycles and a ttl; in it lies what servers take meanwhile: a copy or rewind, recovery, starts.
pub(super) const HEAL_BOUND: Duration = Duration::from_secs(3 * 10 + 30);
/// The first bootstrap with two copies.
const BOOTSTRAP_BOUND: Duration = Duration::from_secs(120);
/// After this a member that cannot stream is looked at by the operator.
const TWIN_PATIENCE: Duration = Duration::from_secs(30);
pub const BUDGET: Duration = Duration::from_secs(5);

/// Makes a client of one store: for a member, or for the operator (`None`).
pub type StoreClients = Rc<dyn Fn(Option<&str>) -> Arc<dyn Dcs>>;

/// How a simulation is run.
#[derive(Clone)]
pub struct Options {
    pub seed: u64,
    pub length: Duration,
    pub decide: fn(&View) -> Round,
    pub grants_twice: bool,
    pub fence: bool,
    /// Fail-safe mode is on, and the store is away more often.
    pub failsafe: bool,
    /// Members are broken on purpose: they agree to a primary without a store and forget it at once.
    pub forgets: bool,
    /// Modes of synchronous replication come and go.
    pub synchronous: bool,
    /// There is a remote server, which the cluster follows at times.
    pub standby: StandbyLife,
}

/// Whether a cluster is a standby cluster at times.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum StandbyLife {
    Never,
    /// It begins as a primary one.
    Later,
    /// It begins as one.
    FromBirth,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub violations: Vec<String>,
    pub fingerprint: (u64, u64),
    pub commits: u64,
    pub promotions: u64,
    pub switchovers: u64,
    /// Members that the operator had to reinitialise.
    pub twins: u64,
    /// How often the cluster became a standby cluster or a primary one.
    pub turns: u64,
    /// How often a fence had to end a server that accepted writes.
    pub fenced: u64,
    /// How often a client was told that its commits are safe.
    pub promises: u64,
    pub slowest_heal: Duration,
    pub last_lines: String,
}

/// A cluster under simulation.
pub struct Cluster {
    pub world: Arc<World>,
    agents: RefCell<Vec<Option<Agent>>>,
    clients: StoreClients,
    pub operator: Arc<dyn Dcs>,
    pub options: Options,
    pub sync: Cell<SyncWish>,
    slowest_heal: RefCell<Duration>,
}

/// Runs one cluster on a paused clock of its own. Blocks the thread.
pub fn run(options: Options, clients: impl FnOnce(&Clock) -> StoreClients + 'static) -> Outcome {
    // Other subjects have lives of their own.
    let synchronous = options.synchronous && options.standby == StandbyLife::Never && !options.failsafe;
    let options = Options { synchronous, ..options };
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let _printing =
        std::env::var_os("PATRONI_SIM_LOG").map(|_| tracing::subscriber::set_default(super::trace::Printer));
    actix::System::with_tokio_rt(runtime).block_on(async move {
        let clock = Clock::tokio("2026-01-01T00:00:00Z".parse::<Wall>().unwrap());
        let clients = clients(&clock);
        let names = ["a", "b", "c", REMOTE];
        let count = if options.standby == StandbyLife::Never { 3 } else { 4 };
        let world = World::new(clock, options.seed, &names[..count]);
        world.lock().failsafe.begin(options.failsafe, options.forgets);
        let agents = (0..3).map(|_| None).collect();
        let cluster = Rc::new(Cluster {
            agents: RefCell::new(agents),
            world,
            operator: clients(None),
            clients,
            options,
            sync: Cell::new(NO_SYNC),
            slowest_heal: RefCell::default(),
        });
        cluster.live().await
    })
}

impl Cluster {
    async fn live(self: Rc<Self>) -> Outcome {
        let mover = Rc::clone(&self);
        let steps = actix::spawn(async move {
            loop {
                sleep(STEP).await;
                mover.world.tick();
                check(&mover.world);
            }
        });
        let end = self.world.now() + self.options.length;
        if self.options.standby == StandbyLife::FromBirth {
            let now = self.world.now();
            let mut world = self.world.lock();
            world.standby.section = true;
            world.found_remote(now);
        }
        for node in 0..self.nodes() {
            self.start_agent(node);
            self.wait(0, 3000).await;
        }
        self.heal("bootstrap", BOOTSTRAP_BOUND).await;
        if self.options.synchronous {
            self.world.lock().promise.slow = true;
            self.change_sync().await;
        }
        while self.world.now() < end && self.world.lock().violations.is_empty() {
            self.wait(5_000, 60_000).await;
            self.episode().await;
        }
        steps.abort();
        let world = self.world.lock();
        Outcome {
            violations: world.violations.clone(),
            fingerprint: world.fingerprint(),
            commits: world.commits,
            promotions: world.promotions,
            switchovers: world.switchovers,
            twins: world.twins,
            turns: world.standby.turns,
            fenced: world.fenced,
            promises: world.promise.given,
            slowest_heal: *self.slowest_heal.borrow(),
            last_lines: world.last_lines(),
        }
    }

    async fn episode(&self) {
        if self.options.failsafe && self.world.lock().rng.bool() {
            return self.outage().await;
        }
        let synchronous = self.options.synchronous.then(|| self.world.lock().rng.u32(0..6));
        match synchronous {
            Some(0) => return self.change_sync().await,
            Some(1 | 2) => return self.lose_primary_after_standby().await,
            _ => {}
        }
        let kinds = if self.options.standby == StandbyLife::Never { 10 } else { 14 };
        let kind = self.world.lock().rng.u32(0..kinds);
        match kind {
            10.. => self.turn().await,
            0..=5 => self.harm().await,
            6..=7 => self.switchover().await,
            8 => self.harm_in_switchover().await,
            _ => self.pause().await,
        }
    }

    /// One to three faults at once or after each other.
    async fn harm(&self) {
        self.world.lock().faults = true;
        let mut faults = Vec::new();
        let many = self.world.lock().rng.usize(1..=3);
        for _ in 0..many {
            faults.push(self.draw());
            faults[faults.len() - 1].begin(self);
            self.wait(0, 15_000).await;
        }
        self.wait(1_000, 90_000).await;
        for fault in &faults {
            fault.end(self);
        }
        self.heal("faults", HEAL_BOUND).await;
        self.world.lock().faults = false;
    }

    pub fn draw(&self) -> Fault {
        let primary = self.leader();
        let mut world = self.world.lock();
        let nodes = world.members();
        loop {
            let fault = Fault::draw(&mut world.rng, nodes, primary);
            // The last copy of the data is not thrown away.
            let spared = match fault {
                Fault::DiskReplaced(node) => {
                    let now = self.world.now();
                    let leads = |n: &usize| world.nodes[*n].server.writable(now) && world.has_lease(*n, now);
                    let leader = (0..nodes).find(leads);
                    leader.is_none_or(|l| l == node)
                }
                _ => false,
            };
            if !spared {
                return fault;
            }
        }
    }

    /// Waits until the store knows every member again: its key may have run out in an outage.
    pub(super) async fn members_known(&self) {
        for _ in 0..150 {
            if self.operator.load(BUDGET).await.is_ok_and(|c| c.members.len() == self.nodes()) {
                return;
            }
            sleep(STEP).await;
        }
        let now = self.world.now();
        self.world.lock().violate(now, "a member did not come back to the store".to_owned());
    }

    /// A switchover in a healthy cluster takes place.
    async fn switchover(&self) {
        self.members_known().await;
        self.catch_up().await;
        let Some(leader) = self.ask_for_switchover().await else { return };
        let deadline = self.world.now() + HEAL_BOUND;
        while self.leader().is_none_or(|p| p == leader) && self.world.now() < deadline {
            sleep(STEP).await;
        }
        if self.leader().is_none_or(|p| p == leader) {
            let now = self.world.now();
            let mut world = self.world.lock();
            let name = world.name(leader);
            world.violate(now, format!("a switchover from {name} in a healthy cluster did not take place"));
        }
        self.world.lock().switchovers += 1;
        self.heal("switchover", HEAL_BOUND).await;
        self.world.lock().switchover_from = None;
    }

    async fn ask_for_switchover(&self) -> Option<usize> {
        let leader = self.leader()?;
        let candidates = self.candidates(leader).await;
        let request = {
            let mut world = self.world.lock();
            let named = world.rng.bool() && !candidates.is_empty();
            let candidate = named.then(|| candidates[world.rng.usize(0..candidates.len())].clone());
            world.switchover_from = Some(leader);
            world.must_have = None;
            FailoverRequest { leader: Some(world.name(leader)), candidate, scheduled_at: None }
        };
        self.world.log(format!("switchover asked for: {request:?}"));
        if let Err(error) = self.operator.write_failover(&request, None, BUDGET).await {
            self.world.log(format!("the operator failed: {error}"));
            return None;
        }
        Some(leader)
    }

    async fn harm_in_switchover(&self) {
        self.world.lock().faults = true;
        self.ask_for_switchover().await;
        self.wait(0, 5_000).await;
        let fault = self.draw();
        fault.begin(self);
        self.wait(1_000, 60_000).await;
        fault.end(self);
        self.heal("faults in a switchover", HEAL_BOUND).await;
        let mut world = self.world.lock();
        world.faults = false;
        world.switchover_from = None;
        world.must_have = None;
    }

    /// In pause nobody is promoted, started or stopped, whatever happens.
    async fn pause(&self) {
        self.set_pause(true).await;
        self.wait(40_000, 60_000).await;
        let before = self.world.lock().promotions;
        let node = self.world.lock().rng.usize(0..3);
        let what = self.world.lock().rng.u32(0..4);
        let fault = match what {
            0 => Some(Fault::AgentKilled(node)),
            1 => Some(Fault::AgentStopped(node)),
            2 => Some(Fault::PostgresKilled(node)),
            _ => None,
        };
        if let Some(fault) = &fault {
            fault.begin(self);
            self.wait(1_000, 120_000).await;
            fault.end(self);
        }
        self.wait(1_000, 60_000).await;
        let now = self.world.now();
        if self.world.lock().promotions != before {
            self.world.lock().violate(now, "somebody was promoted in pause".to_owned());
        }
        self.set_pause(false).await;
        self.heal("pause", HEAL_BOUND).await;
    }

    async fn set_pause(&self, pause: bool) {
        let mut data = self.config();
        if pause {
            data.insert("pause".to_owned(), true.into());
        }
        self.world.log(format!("pause: {pause}"));
        let now = self.world.now();
        let result = self.operator.write_config(&data, None, BUDGET).await;
        let mut world = self.world.lock();
        if let Err(error) = result {
            world.violate(now, format!("the operator failed: {error}"));
        }
        world.paused = pause;
        world.paused_since = pause.then_some(now);
        world.nodes.iter_mut().for_each(|n| n.agent_since = now);
    }

    /// Waits until the cluster is whole, with every agent that ended by itself started again.
    pub(super) async fn heal(&self, what: &str, bound: Duration) {
        let bound = if self.options.synchronous { bound + CATCH_UP } else { bound };
        let mut since = self.world.now();
        let mut asked = Vec::new();
        loop {
            self.restart_ended();
            // The operator looks after a while, and then everything has its time again.
            if self.world.now().since(since) > TWIN_PATIENCE {
                for node in twins(&self.world) {
                    if !asked.contains(&node) {
                        asked.push(node);
                        self.reinitialise(node);
                        since = self.world.now();
                    }
                }
            }
            let mut state = self.is_whole();
            if state.is_ok() && self.options.synchronous {
                state = self.sync_settled().await;
            }
            match state {
                Ok(()) => break,
                Err(why) if self.world.now().since(since) > bound => {
                    let now = self.world.now();
                    let text = format!("not healed {} s after {what}: {why}", bound.as_secs());
                    return self.world.lock().violate(now, text);
                }
                Err(_) => sleep(STEP).await,
            }
        }
        let took = self.world.now().since(since);
        self.world.log(format!("whole {:.1} s after {what}", took.as_secs_f64()));
        let mut slowest = self.slowest_heal.borrow_mut();
        *slowest = took.max(*slowest);
        self.settle();
    }

    fn reinitialise(&self, node: usize) {
        self.world.log(format!("operator reinitialises {node}: a timeline has two stories"));
        self.world.lock().twins += 1;
        if let Some(agent) = &self.agents.borrow()[node] {
            agent.reinitialise();
        }
    }

    pub fn restart_ended(&self) {
        for node in 0..self.nodes() {
            let (alive, off) = {
                let world = self.world.lock();
                (world.nodes[node].agent, world.nodes[node].off)
            };
            if !alive && !off {
                self.kill_agent(node);
                self.start_agent(node);
            }
        }
    }

    pub(super) fn nodes(&self) -> usize {
        self.agents.borrow().len()
    }

    /// The writable primary with the key.
    pub(super) fn primary(&self) -> Option<usize> {
        let now = self.world.now();
        let world = self.world.lock();
        (0..world.nodes.len()).find(|n| world.nodes[*n].server.writable(now) && world.has_lease(*n, now))
    }

    pub(super) async fn wait(&self, least_ms: u64, most_ms: u64) {
        let span = self.world.lock().span(least_ms, most_ms);
        sleep(span).await;
    }

    pub fn cut(&self, a: usize, b: usize, cut: bool) {
        let mut world = self.world.lock();
        world.cut[a][b] = cut;
        world.cut[b][a] = cut;
    }

    pub fn start_agent(&self, node: usize) {
        if self.agents.borrow()[node].is_some() {
            return;
        }
        let name = self.world.lock().name(node);
        let build = Build {
            world: Arc::clone(&self.world),
            node,
            dcs: (self.clients)(Some(&name)),
            decide: self.options.decide,
            grants_twice: self.options.grants_twice,
            fence: self.options.fence,
            standby: self.options.standby == StandbyLife::FromBirth,
        };
        self.agents.borrow_mut()[node] = Some(Agent::start(build));
    }

    pub fn kill_agent(&self, node: usize) {
        if let Some(agent) = self.agents.borrow_mut()[node].take() {
            agent.kill();
            let now = self.world.now();
            let mut world = self.world.lock();
            let name = world.name(node);
            world.nodes[node].agent = false;
            world.nodes[node].snapshot = None;
            world.log(now, format!("{name} agent is gone"));
        }
    }

    pub fn stop_agent(&self, node: usize) {
        if let Some(agent) = &self.agents.borrow()[node] {
            self.world.log("SIGTERM".to_owned());
            agent.stop();
        }
    }
}
