//! From a read configuration to a running agent, and from there to its exit code.

use super::crew::{BuildTransport, Crew, Helpers, Session};
use super::{Guardian, Signal};
use crate::actors::config_store::{ConfigSource, ConfigStore};
use crate::actors::coordinator::{Coordinator, Parts};
use crate::actors::dcs_session::AwaitStore;
use crate::actors::journal::Journal;
use crate::actors::peers::PeerTransport;
use crate::actors::postgres_supervisor::PostgresSupervisor;
use crate::actors::rest_gateway::RestGateway;
use crate::actors::rest_server::{RestServer, StartRest};
use crate::actors::snapshot_publisher::{LogQueue, SnapshotPublisher};
use crate::clock::Clock;
use crate::cluster::Cluster;
use crate::config::Settings;
use crate::dcs::Dcs;
use crate::fencing::Fencing;
use crate::fencing::watchdog::{WatchdogLine, WatchdogPlan};
use crate::ha::{Memory, Round, View};
use crate::postgres::PostgresControl;
use actix::{Actor, Addr, Context};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{oneshot, watch};

/// A member of our name that answers within this is alive (DCS-36).
const NAMESAKE_PATIENCE: Duration = Duration::from_secs(3);

/// Builds the client of the store; called on the thread of the session, again after the session broke down.
pub type StoreFactory = Arc<dyn Fn(&Settings) -> Result<Arc<dyn Dcs>, String> + Send + Sync>;

/// Told of each change of the local configuration: for the log.
pub type LocalChange = Box<dyn Fn(&Settings)>;

/// What an agent is built from.
pub struct Blueprint {
    /// Time.
    pub clock: Clock,
    /// The rules.
    pub decide: fn(&View) -> Round,
    /// The layers of the configuration.
    pub config: Box<dyn ConfigSource>,
    /// The server.
    pub control: Rc<dyn PostgresControl>,
    /// The store.
    pub store: StoreFactory,
    /// The way to other members.
    pub transport: BuildTransport,
    /// The REST server.
    pub rest: StartRest,
    /// The fence.
    pub fence: Box<dyn Fencing>,
    /// The journal.
    pub journal: Journal,
    /// Lines that wait in the log.
    pub log_queue: LogQueue,
    /// Told of changes of the local configuration.
    pub local_change: LocalChange,
}

/// Why an agent could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A signal handler could not be set.
    #[error("signals cannot be handled: {0}")]
    Signals(#[from] std::io::Error),
    /// The client of the store could not be built.
    #[error("{0}")]
    Store(String),
    /// Another agent of this name runs (DCS-36).
    #[error("Can't start; there is already a node named '{0}' running")]
    NameTaken(String),
    /// A watchdog is required, and there is none of that kind.
    #[error("{0}")]
    Watchdog(String),
    /// The REST API could not be started.
    #[error("{0}")]
    Rest(String),
    /// The guardian ended without an exit code.
    #[error("the guardian has broken down")]
    Guardian,
}

/// Runs an agent until it ends, and returns its exit code. Must be called within an actix system.
///
/// # Errors
/// It could not be started; PostgreSQL was not touched.
pub async fn run(mut blueprint: Blueprint) -> Result<i32, StartError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let starting = async {
        let settings = blueprint.config.settings();
        let session = Session::build(blueprint.store.clone(), settings.clone()).await.map_err(StartError::Store)?;
        let cluster = first_cluster(&session, &settings).await?;
        ensure_unique_name((blueprint.transport)(&settings).as_ref(), &cluster, &settings.name).await?;
        Ok::<_, StartError>((session, cluster))
    };
    let (session, cluster) = tokio::select! {
        started = starting => started?,
        _ = terminate.recv() => return Ok(0),
        _ = interrupt.recv() => return Ok(0),
    };
    let unsaved = first_dynamic(blueprint.config.as_mut(), &cluster);
    let (guardian, mut ended) = assemble(blueprint, session, unsaved)?;
    loop {
        tokio::select! {
            code = &mut ended => return code.map_err(|_| StartError::Guardian),
            _ = terminate.recv() => guardian.do_send(Signal::Stop),
            _ = interrupt.recv() => guardian.do_send(Signal::Stop),
            _ = hangup.recv() => guardian.do_send(Signal::Reload),
        }
    }
}

/// Waits until the store can be read, however long it takes (DCS-08).
async fn first_cluster(session: &Session, settings: &Settings) -> Result<Arc<Cluster>, StartError> {
    let (answer, cluster) = oneshot::channel();
    session.address.do_send(AwaitStore { budget: settings.global.retry_timeout, answer });
    cluster.await.map_err(|_| StartError::Store("the session in the store has broken down".to_owned()))
}

/// Whatever answers under the address of a member of our name is taken for a living one.
async fn ensure_unique_name(transport: &dyn PeerTransport, cluster: &Cluster, name: &str) -> Result<(), StartError> {
    let Some(api_url) = cluster.member(name).and_then(|m| m.data.api_url.as_deref()) else { return Ok(()) };
    let base = api_url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let liveness = format!("{base}/liveness");
    let asked = transport.get(&liveness, NAMESAKE_PATIENCE);
    match tokio::time::timeout(NAMESAKE_PATIENCE, asked).await {
        Ok(Ok(_)) => Err(StartError::NameTaken(name.to_owned())),
        Ok(Err(_)) | Err(_) => Ok(()),
    }
}

/// The dynamic configuration to begin with: the store's, else the cache's, else `bootstrap.dcs`. Whether it is new to
/// the cache.
fn first_dynamic(config: &mut dyn ConfigSource, cluster: &Cluster) -> bool {
    let settings = config.settings();
    let data = match &cluster.config {
        Some(stored) if !stored.data.is_empty() => &stored.data,
        _ if !config.dynamic().is_empty() => return false,
        _ => match &settings.bootstrap {
            Some(bootstrap) => &bootstrap.dcs,
            None => return false,
        },
    };
    config.set_dynamic(data).unwrap_or_else(|error| {
        tracing::error!(target: "patroni.config", "Exception when setting dynamic_configuration: {error}");
        false
    })
}

/// Builds all actors and connects them. PostgreSQL is looked for, and the first cycle begins, when this returns.
fn assemble(
    blueprint: Blueprint,
    session: Session,
    unsaved: bool,
) -> Result<(Addr<Guardian>, oneshot::Receiver<i32>), StartError> {
    let Blueprint { clock, decide, config, control, store, transport, rest, fence, journal, log_queue, local_change } =
        blueprint;
    let (settings, dynamic) = (config.settings(), config.dynamic());
    let watchdog = WatchdogLine::start(WatchdogPlan::new(&settings), clock.clone()).map_err(StartError::Watchdog)?;
    session.address.do_send(crate::actors::messages::SettingsChanged(settings.clone()));
    let (publisher, snapshots) = SnapshotPublisher::new(settings.clone(), clock.mono(), log_queue);
    let (coordinator_context, guardian_context) = (Context::<Coordinator>::new(), Context::<Guardian>::new());
    let (coordinator, guardian) =
        (actix::AsyncContext::address(&coordinator_context), actix::AsyncContext::address(&guardian_context));
    let config = ConfigStore::new(config, unsaved).start();
    let wake = coordinator.clone().recipient();
    let supervisor = PostgresSupervisor::new(control.clone(), clock.clone(), settings.clone(), wake)
        .watched_by(coordinator.clone().recipient())
        .start();
    let peers = transport(&settings);
    let helpers = Helpers::build(&control, &clock, &settings, watchdog.clone(), peers, &coordinator, &supervisor);
    let (lines, line_ends) = watch::channel(Crew::rest_lines(&session.address, &helpers, &coordinator, &config));
    let gateway = Arc::new(RestGateway::new(clock.clone(), snapshots.clone(), line_ends));
    let rest = RestServer::new(rest, gateway, settings.clone()).map_err(StartError::Rest)?.start();
    let parts = Parts {
        clock: clock.clone(),
        decide,
        partners: Crew::partners(&session.address, &supervisor, &helpers, &config),
        fence,
        publisher,
        journal,
        guardian: guardian.clone().recipient(),
        settings,
        dynamic,
        memory: Memory::default(),
    };
    coordinator_context.run(Coordinator::new(parts));
    let crew = Crew {
        clock: clock.clone(),
        snapshots,
        control,
        store,
        transport,
        coordinator,
        supervisor,
        config,
        rest,
        guardian: guardian.clone(),
        session,
        helpers,
        watchdog,
        lines,
        rebuilding: false,
    };
    crew.connect();
    let (end, ended) = oneshot::channel();
    guardian_context.run(Guardian::new(clock, crew, local_change, end));
    Ok((guardian, ended))
}
