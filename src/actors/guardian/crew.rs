//! The actors of an agent, and how each is built.

use super::Guardian;
use super::start::StoreFactory;
use crate::actors::callback_runner::CallbackRunner;
use crate::actors::config_store::{ConfigStore, Subscribers};
use crate::actors::coordinator::{Coordinator, Partners};
use crate::actors::dcs_session::{DcsSession, WatchStore};
use crate::actors::peers::{PeerTransport, Peers, UseTransport};
use crate::actors::postgres_monitor::PostgresMonitor;
use crate::actors::postgres_supervisor::PostgresSupervisor;
use crate::actors::rest_gateway::Lines;
use crate::actors::rest_server::RestServer;
use crate::actors::slot_manager::SlotManager;
use crate::actors::sync_manager::SyncManager;
use crate::actors::watchdog::Watchdog;
use crate::api::Snapshot;
use crate::clock::Clock;
use crate::config::Settings;
use crate::fencing::watchdog::WatchdogLine;
use crate::postgres::PostgresControl;
use actix::{Actor, ActorFutureExt, Addr, Arbiter, AsyncContext, Context};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// The store's client must be there within this; it does not have to be connected.
const BUILD_PATIENCE: Duration = Duration::from_secs(30);

/// Builds the way to other members from settings.
pub(super) type BuildTransport = fn(&Settings) -> Arc<dyn PeerTransport>;

/// All actors.
pub(super) struct Crew {
    pub clock: Clock,
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    pub control: Rc<dyn PostgresControl>,
    pub store: StoreFactory,
    pub transport: BuildTransport,
    pub coordinator: Addr<Coordinator>,
    pub supervisor: Addr<PostgresSupervisor>,
    pub config: Addr<ConfigStore>,
    pub rest: Addr<RestServer>,
    pub guardian: Addr<Guardian>,
    pub session: Session,
    pub helpers: Helpers,
    /// The device outlives the actor: nobody else knows whether it is armed.
    pub watchdog: WatchdogLine,
    pub lines: watch::Sender<Lines>,
    /// The session is being built anew.
    pub rebuilding: bool,
}

/// The DCS session and the thread it lives on.
pub(super) struct Session {
    pub address: Addr<DcsSession>,
    arbiter: Arbiter,
}

/// Actors that hold nothing that could not be found out anew.
#[derive(Clone)]
pub(super) struct Helpers {
    monitor: Addr<PostgresMonitor>,
    slots: Addr<SlotManager>,
    sync: Addr<SyncManager>,
    callbacks: Addr<CallbackRunner>,
    peers: Addr<Peers>,
    watchdog: Addr<Watchdog>,
}

impl Helpers {
    pub(super) fn build(
        control: &Rc<dyn PostgresControl>,
        clock: &Clock,
        settings: &Settings,
        watchdog: WatchdogLine,
        transport: Arc<dyn PeerTransport>,
        coordinator: &Addr<Coordinator>,
        supervisor: &Addr<PostgresSupervisor>,
    ) -> Self {
        Self {
            monitor: PostgresMonitor::new(control.clone(), clock.clone(), supervisor.clone().recipient()).start(),
            slots: SlotManager::new(control.clone()).start(),
            sync: SyncManager::new(control.clone()).start(),
            callbacks: CallbackRunner::new(control.clone()).start(),
            peers: Peers::new(clock.clone(), transport).start(),
            watchdog: Watchdog::new(watchdog, clock.clone(), settings, coordinator.clone().recipient()).start(),
        }
    }

    fn all_there(&self) -> bool {
        self.monitor.connected()
            && self.slots.connected()
            && self.sync.connected()
            && self.callbacks.connected()
            && self.peers.connected()
            && self.watchdog.connected()
    }
}

impl Session {
    /// Builds the store's client and its session on a thread of their own.
    pub(super) async fn build(factory: StoreFactory, settings: Arc<Settings>) -> Result<Self, String> {
        let arbiter = Arbiter::new();
        let (answer, built) = oneshot::channel();
        let sent = arbiter.spawn(async move {
            let session = factory(&settings).map(|dcs| DcsSession::new(dcs).start());
            if answer.send(session).is_err() {
                tracing::warn!("the session in the store was built too late");
            }
        });
        if !sent {
            return Err("the thread of the store's session has ended".to_owned());
        }
        let address = tokio::time::timeout(BUILD_PATIENCE, built)
            .await
            .map_err(|_| "the client of the store was not built in time".to_owned())?
            .map_err(|_| "the client of the store could not be built".to_owned())??;
        Ok(Self { address, arbiter })
    }
}

impl Crew {
    fn settings(&self) -> Arc<Settings> {
        self.snapshots.borrow().settings.clone()
    }

    /// Whom the coordinator asks.
    pub(super) fn partners(
        session: &Addr<DcsSession>,
        supervisor: &Addr<PostgresSupervisor>,
        helpers: &Helpers,
        config: &Addr<ConfigStore>,
    ) -> Partners {
        Partners {
            load: session.clone().recipient(),
            store: session.clone().recipient(),
            observe: supervisor.clone().recipient(),
            server: supervisor.clone().recipient(),
            status: helpers.monitor.clone().recipient(),
            slots: helpers.slots.clone().recipient(),
            sync: helpers.sync.clone().recipient(),
            peers: helpers.peers.clone().recipient(),
            callbacks: helpers.callbacks.clone().recipient(),
            watchdog: helpers.watchdog.clone().recipient(),
            watchdog_feed: helpers.watchdog.clone().recipient(),
            config: config.clone().recipient(),
            data_dir_seen: config.clone().recipient(),
        }
    }

    /// Whom the REST API asks.
    pub(super) fn rest_lines(
        session: &Addr<DcsSession>,
        helpers: &Helpers,
        coordinator: &Addr<Coordinator>,
        config: &Addr<ConfigStore>,
    ) -> Lines {
        Lines {
            status: helpers.monitor.clone().recipient(),
            read: session.clone().recipient(),
            write: session.clone().recipient(),
            ask: coordinator.clone().recipient(),
            hear: coordinator.clone().recipient(),
            journal: coordinator.clone().recipient(),
            peers: helpers.peers.clone().recipient(),
            reload: config.clone().recipient(),
        }
    }

    /// Tells everybody whom to talk to, at the start and after something was built anew.
    pub(super) fn connect(&self) {
        let (session, helpers) = (&self.session.address, &self.helpers);
        self.coordinator.do_send(Self::partners(session, &self.supervisor, helpers, &self.config));
        self.lines.send_replace(Self::rest_lines(session, helpers, &self.coordinator, &self.config));
        session.do_send(WatchStore(self.coordinator.clone().recipient()));
        self.config.do_send(Subscribers {
            all: vec![
                session.clone().recipient(),
                self.supervisor.clone().recipient(),
                helpers.watchdog.clone().recipient(),
                self.rest.clone().recipient(),
            ],
            local_only: vec![self.coordinator.clone().recipient(), self.guardian.clone().recipient()],
            reread: vec![self.supervisor.clone().recipient()],
        });
    }

    /// Other certificates for calls to members may have been configured.
    pub(super) fn renew_transport(&self, settings: &Settings) {
        self.helpers.peers.do_send(UseTransport((self.transport)(settings)));
    }

    /// Who has broken down and may not be built anew: they hold what only they know.
    pub(super) fn broken_for_good(&self) -> Option<&'static str> {
        [
            ("the coordinator", self.coordinator.connected()),
            ("the PostgreSQL supervisor", self.supervisor.connected()),
            ("the config store", self.config.connected()),
            ("the REST server's keeper", self.rest.connected()),
        ]
        .into_iter()
        .find_map(|(name, there)| (!there).then_some(name))
    }

    /// Builds anew who has broken down.
    pub(super) fn rebuild(&mut self, ctx: &mut Context<Guardian>) {
        if !self.helpers.all_there() {
            tracing::error!("an actor has broken down; it is built anew");
            let settings = self.settings();
            let transport = (self.transport)(&settings);
            let (coordinator, supervisor) = (&self.coordinator, &self.supervisor);
            let line = self.watchdog.clone();
            self.helpers =
                Helpers::build(&self.control, &self.clock, &settings, line, transport, coordinator, supervisor);
            self.connect();
        }
        if !self.session.address.connected() && !self.rebuilding {
            tracing::error!("the session in the store has broken down; it is built anew");
            self.rebuilding = true;
            let building = Session::build(self.store.clone(), self.settings());
            let building = actix::fut::wrap_future::<_, Guardian>(building);
            ctx.spawn(building.map(|session, act, _ctx| act.crew.rebuilt(session)));
        }
    }

    fn rebuilt(&mut self, session: Result<Session, String>) {
        self.rebuilding = false;
        match session {
            Ok(session) => {
                let old = std::mem::replace(&mut self.session, session);
                old.arbiter.stop();
                self.connect();
            }
            // It is tried again at the next look.
            Err(error) => tracing::error!("the session in the store could not be built anew: {error}"),
        }
    }
}
