//! One agent: the real actors of a node over the model's edges, in a task set of their own that can be dropped whole (kill -9).

use super::faulty_dcs::FaultyDcs;
use super::model_config::{ModelConfig, dynamic_for, failsafe, settings};
use super::model_fence::{FenceState, ModelFence};
use super::model_peers::ModelPeers;
use super::model_postgres::ModelPostgres;
use super::world::World;
use actix::{Actor, Addr, AsyncContext, Context, Handler};
use patroni::actors::config_store::{ConfigStore, DataDirSeen, Subscribers};
use patroni::actors::coordinator::{AgentDone, Coordinator, Partners, Parts, StopAgent};
use patroni::actors::dcs_session::{DcsSession, WatchStore};
use patroni::actors::journal::Journal;
use patroni::actors::messages::Ask;
use patroni::actors::peers::Peers;
use patroni::actors::snapshot_publisher::SnapshotPublisher;
use patroni::actors::watchdog::Watchdog;
use patroni::actors::{CallbackRunner, PostgresMonitor, PostgresSupervisor, SlotManager, SyncManager};
use patroni::dcs::Dcs;
use patroni::fencing::watchdog::{Keeper, WatchdogLine, WatchdogPlan, driver};
use patroni::fencing::{Fencing, NoFence};
use patroni::ha::{Memory, Request, Round, View};
use patroni::postgres::PostgresControl;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use tokio::task::{JoinHandle, LocalSet};

/// An agent that runs.
pub struct Agent {
    tasks: JoinHandle<()>,
    coordinator: Rc<RefCell<Option<Addr<Coordinator>>>>,
}

/// What an agent is made of besides the world.
pub struct Build {
    pub world: Arc<World>,
    pub node: usize,
    pub dcs: Arc<dyn Dcs>,
    pub decide: fn(&View) -> Round,
    pub grants_twice: bool,
    pub fence: bool,
    /// The first dynamic configuration is that of a standby cluster.
    pub standby: bool,
}

impl Agent {
    /// Starts the agent.
    pub fn start(build: Build) -> Self {
        let now = build.world.now();
        {
            let mut world = build.world.lock();
            let name = world.name(build.node);
            world.log(now, format!("{name} agent started"));
            world.nodes[build.node].agent = true;
            world.nodes[build.node].fence = FenceState::default();
            world.nodes[build.node].agent_since = now;
        }
        let coordinator = Rc::new(RefCell::new(None));
        let slot = Rc::clone(&coordinator);
        let tasks = LocalSet::new();
        tasks.spawn_local(async move {
            *slot.borrow_mut() = Some(wire(&build));
        });
        Self { tasks: actix::spawn(tasks), coordinator }
    }

    /// SIGTERM.
    pub fn stop(&self) {
        if let Some(coordinator) = &*self.coordinator.borrow() {
            coordinator.do_send(StopAgent);
        }
    }

    /// POST /reinitialize.
    pub fn reinitialise(&self) {
        if let Some(coordinator) = &*self.coordinator.borrow() {
            let (answer, _) = tokio::sync::oneshot::channel();
            coordinator.do_send(Ask { request: Request::Reinitialize { force: true, from_leader: true }, answer });
        }
    }

    /// kill -9.
    pub fn kill(self) {
        self.tasks.abort();
    }
}

/// Hears of the end of the agent, and of nothing else.
struct Guardian {
    world: Arc<World>,
    node: usize,
}

impl Actor for Guardian {
    type Context = Context<Self>;
}

impl Handler<AgentDone> for Guardian {
    type Result = ();

    fn handle(&mut self, message: AgentDone, _: &mut Self::Context) {
        let now = self.world.now();
        let mut world = self.world.lock();
        let name = world.name(self.node);
        world.log(now, format!("{name} agent ends: {} {}", message.0.code, message.0.reason));
        world.nodes[self.node].agent = false;
    }
}

impl Handler<DataDirSeen> for Guardian {
    type Result = ();

    /// The model has no cache file.
    fn handle(&mut self, _: DataDirSeen, _: &mut Self::Context) {}
}

fn wire(build: &Build) -> Addr<Coordinator> {
    let (world, node) = (Arc::clone(&build.world), build.node);
    let clock = world.clock.clone();
    let name = world.lock().name(node);
    let first = if world.lock().failsafe.on { failsafe() } else { dynamic_for(build.standby) };
    let settings = settings(&name, node, first);
    let control: Rc<dyn PostgresControl> = Rc::new(ModelPostgres { world: Arc::clone(&world), node });
    let dcs =
        FaultyDcs { inner: Arc::clone(&build.dcs), world: Arc::clone(&world), node, grants_twice: build.grants_twice };
    let session = DcsSession::new(Arc::new(dcs)).start();
    let guardian = Guardian { world: Arc::clone(&world), node }.start();
    let source = ModelConfig::new(Arc::clone(&settings));
    let dynamic = source.dynamic_now();
    let config = ConfigStore::new(Box::new(source), false).start();
    let log_queue = Arc::new(|| (0, 0));
    let (publisher, snapshots) = SnapshotPublisher::new(Arc::clone(&settings), clock.mono(), log_queue);
    world.lock().nodes[node].snapshot = Some(snapshots);
    let decide = build.decide;
    let fence: Box<dyn Fencing> = match build.fence {
        true => Box::new(ModelFence { world: Arc::clone(&world), node }),
        false => Box::new(NoFence),
    };
    let keeper = Keeper::new(WatchdogPlan::new(&settings), driver).unwrap();
    let line = WatchdogLine::inline(keeper, clock.clone());
    Coordinator::create(|context| {
        let me = context.address();
        let wake = me.clone().recipient();
        world.lock().nodes[node].word.hear = Some(me.clone().recipient());
        let supervisor = PostgresSupervisor::new(control.clone(), clock.clone(), settings.clone(), wake)
            .watched_by(me.clone().recipient())
            .start();
        let monitor = PostgresMonitor::new(control.clone(), clock.clone(), supervisor.clone().recipient()).start();
        let peers = Peers::new(clock.clone(), Arc::new(ModelPeers { world: Arc::clone(&world), node })).start();
        config.do_send(Subscribers {
            all: vec![supervisor.clone().recipient()],
            local_only: Vec::new(),
            reread: Vec::new(),
        });
        session.do_send(WatchStore(me.clone().recipient()));
        let watchdog = Watchdog::new(line, clock.clone(), &settings, me.clone().recipient()).start();
        let partners = Partners {
            load: session.clone().recipient(),
            store: session.recipient(),
            observe: supervisor.clone().recipient(),
            server: supervisor.recipient(),
            status: monitor.recipient(),
            slots: SlotManager::new(control.clone()).start().recipient(),
            sync: SyncManager::new(control.clone()).start().recipient(),
            peers: peers.recipient(),
            callbacks: CallbackRunner::new(control).start().recipient(),
            watchdog: watchdog.clone().recipient(),
            watchdog_feed: watchdog.recipient(),
            config: config.clone().recipient(),
            data_dir_seen: guardian.clone().recipient(),
        };
        Coordinator::new(Parts {
            clock,
            decide,
            partners,
            fence,
            publisher,
            journal: Journal::in_memory(),
            guardian: guardian.recipient(),
            settings,
            dynamic,
            memory: Memory::default(),
        })
    })
}
