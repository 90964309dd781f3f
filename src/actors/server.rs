//! What the supervisor knows of its server: shared between the actor and the job that runs, on one thread.

mod job;
mod process;

use super::messages::{RoleSettingsChanged, ServerMoved, Wake};
use crate::clock::Clock;
use crate::cluster::{DataDir, PendingRestart, PgState, Postmaster, Readiness, Role, ServerFacts};
use crate::config::{PgRole, Settings};
use crate::ha::{JobKind, ServerReport};
use crate::postgres::{PgError, PostgresControl, StartAs};
use actix::Recipient;
use std::cell::{Cell, Ref, RefCell, RefMut};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;
use tracing::debug;

/// One look at the server must end within this; later ones wait for a look that hangs instead of starting more.
pub(super) const LOOK_PATIENCE: Duration = Duration::from_secs(2);
/// The same within a job, where nobody waits for the answer.
const JOB_LOOK_PATIENCE: Duration = Duration::from_secs(10);
/// One readiness probe.
pub(super) const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// One short query.
const QUERY_PATIENCE: Duration = Duration::from_secs(10);

/// The server and all that is known of it.
pub(super) struct Server {
    /// The edge to PostgreSQL.
    pub control: Rc<dyn PostgresControl>,
    /// The clock.
    pub clock: Clock,
    wake: Recipient<Wake>,
    watcher: RefCell<Option<Recipient<ServerMoved>>>,
    /// Who brings the files up to date when another role has other settings.
    applier: RefCell<Option<Recipient<RoleSettingsChanged>>>,
    inner: RefCell<Inner>,
    looking: Cell<bool>,
    looked: Notify,
    job_ended: Notify,
    /// Tells the job that runs to end where it stands.
    pub job_abandoned: Notify,
    refreshes: Cell<u64>,
    checkpointing: Cell<bool>,
    watching_start: Cell<bool>,
}

struct Inner {
    settings: Arc<Settings>,
    /// The settings as the edge has them: those of a role.
    given: Arc<Settings>,
    report: ServerReport,
    /// The postmaster that lives as far as we know: its exit is watched.
    known: Option<Postmaster>,
    /// Counts launches and exits: a look that ran across one is out of date.
    changes: u64,
    next_job: u64,
    cancel: Option<watch::Sender<bool>>,
    /// The server answered the last status query.
    answered: bool,
    /// A look has come to its end.
    looked_at: bool,
    /// How the server was started, or told by reload to stream.
    started_as: Option<StartAs>,
    /// A cluster is being bootstrapped: no callbacks (CB-05).
    bootstrapping: bool,
}

impl Server {
    /// Nothing is known yet: the data directory counts as inaccessible until the first look.
    pub fn new(
        control: Rc<dyn PostgresControl>,
        clock: Clock,
        settings: Arc<Settings>,
        wake: Recipient<Wake>,
    ) -> Rc<Self> {
        let at = clock.mono();
        let facts = ServerFacts {
            at,
            data_dir: DataDir::Inaccessible("not looked at yet".to_owned()),
            postmaster: None,
            control: None,
            recovery_files: false,
            backup_label: false,
        };
        let report = ServerReport {
            state: PgState::Stopped,
            state_since: at,
            role: Role::Uninitialized,
            facts,
            readiness: Readiness::Unknown,
            version: None,
            pending_restart: PendingRestart::new(),
            job: None,
            ended: Vec::new(),
            pg_rewind_works: false,
            no_clients: false,
        };
        control.configure(Arc::clone(&settings));
        let inner = Inner {
            given: Arc::clone(&settings),
            settings,
            report,
            known: None,
            changes: 0,
            next_job: 1,
            cancel: None,
            answered: false,
            looked_at: false,
            started_as: None,
            bootstrapping: false,
        };
        Rc::new(Self {
            control,
            clock,
            wake,
            watcher: RefCell::new(None),
            applier: RefCell::new(None),
            inner: RefCell::new(inner),
            looking: Cell::new(false),
            looked: Notify::new(),
            job_ended: Notify::new(),
            job_abandoned: Notify::new(),
            refreshes: Cell::new(0),
            checkpointing: Cell::new(false),
            watching_start: Cell::new(false),
        })
    }

    fn inner(&self) -> Ref<'_, Inner> {
        self.inner.borrow()
    }

    fn inner_mut(&self) -> RefMut<'_, Inner> {
        self.inner.borrow_mut()
    }

    /// Tells the coordinator that something happened.
    pub fn wake(&self, why: Wake) {
        self.wake.do_send(why);
    }

    /// Who is told of every change of state, role and process.
    pub fn watched_by(&self, watcher: Recipient<ServerMoved>) {
        *self.watcher.borrow_mut() = Some(watcher);
    }

    /// Who is told that the settings of the role differ from those of the role before.
    pub fn applied_by(&self, applier: Recipient<RoleSettingsChanged>) {
        *self.applier.borrow_mut() = Some(applier);
    }

    fn moved(&self) {
        if let Some(watcher) = &*self.watcher.borrow() {
            let report = ServerReport { ended: Vec::new(), ..self.inner().report.clone() };
            watcher.do_send(ServerMoved(Box::new(report)));
        }
    }

    // --- what is known ---

    /// The report, with the jobs that ended since the last time.
    pub fn take_report(&self) -> ServerReport {
        let mut inner = self.inner_mut();
        let report = inner.report.clone();
        inner.report.ended.clear();
        report
    }

    /// Whether anything is known of the server at all.
    pub fn was_looked_at(&self) -> bool {
        self.inner().looked_at
    }

    /// The published state.
    pub fn state(&self) -> PgState {
        self.inner().report.state
    }

    /// The published role.
    pub fn role(&self) -> Role {
        self.inner().report.role
    }

    /// The newest facts.
    pub fn facts(&self) -> ServerFacts {
        self.inner().report.facts.clone()
    }

    /// The postmaster that lives as far as we know.
    pub fn postmaster(&self) -> Option<Postmaster> {
        self.inner().known
    }

    /// The job that runs.
    pub fn job(&self) -> Option<JobKind> {
        self.inner().report.job.as_ref().map(|j| j.job.kind())
    }

    /// Settings in force, without what is special to a role.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.inner().settings)
    }

    /// Takes other settings.
    pub fn set_settings(&self, settings: Arc<Settings>) {
        self.inner_mut().settings = settings;
        self.configure_for(self.role());
    }

    /// Gives the edge the settings of this role, for files that are written before the role is published. Whether that
    /// makes a difference to PostgreSQL.
    pub fn configure_for(&self, role: Role) -> bool {
        let (differs, given) = {
            let mut inner = self.inner_mut();
            let given = inner.settings.in_role(settings_role(role));
            let before = std::mem::replace(&mut inner.given, Arc::clone(&given));
            (before.postgresql != given.postgresql, given)
        };
        self.control.configure(given);
        differs
    }

    /// How the server was last started or pointed, when that was done by this process.
    pub fn started_as(&self) -> Option<StartAs> {
        self.inner().started_as.clone()
    }

    /// Remembers how the server is configured to start.
    pub fn set_started_as(&self, start: Option<StartAs>) {
        self.inner_mut().started_as = start;
    }

    /// Whether callbacks are due (not while a cluster is bootstrapped).
    pub fn may_call_back(&self) -> bool {
        !self.inner().bootstrapping
    }

    /// Bootstrap begins or ends.
    pub fn set_bootstrapping(&self, bootstrapping: bool) {
        self.inner_mut().bootstrapping = bootstrapping;
    }

    // --- what changes ---

    /// Publishes a state; the moment of entry moves only when it differs.
    pub fn set_state(&self, state: PgState) {
        let now = self.clock.mono();
        {
            let mut inner = self.inner_mut();
            if inner.report.state == state {
                return;
            }
            debug!("postgres state {} -> {state}", inner.report.state);
            inner.report.state = state;
            inner.report.state_since = now;
        }
        self.moved();
    }

    /// Publishes a role.
    pub fn set_role(&self, role: Role) {
        let before = std::mem::replace(&mut self.inner_mut().report.role, role);
        if before == role {
            return;
        }
        if self.configure_for(role)
            && let Some(applier) = &*self.applier.borrow()
        {
            applier.do_send(RoleSettingsChanged);
        }
        self.moved();
    }

    /// The last readiness probe's answer.
    pub fn set_readiness(&self, readiness: Readiness) {
        self.inner_mut().report.readiness = readiness;
    }

    /// Whether anybody is connected still (while stopping).
    pub fn set_no_clients(&self, none: bool) {
        let before = std::mem::replace(&mut self.inner_mut().report.no_clients, none);
        if none && !before {
            self.wake(Wake::Job);
        }
    }

    /// Whether pg_rewind can be executed.
    pub fn set_pg_rewind_works(&self, works: bool) {
        self.inner_mut().report.pg_rewind_works = works;
    }

    /// Whether the last status query was answered. Then the server has told its version as well.
    pub fn set_answered(&self, answered: bool) {
        let told = self.control.told_version().filter(|_| answered);
        let changed = {
            let mut inner = self.inner_mut();
            inner.answered = answered;
            let changed = told.is_some() && inner.report.version != told;
            inner.report.version = told.or(inner.report.version);
            changed
        };
        if changed {
            self.moved();
        }
    }

    /// Forgets why a restart was pending (a start is one).
    pub fn clear_pending_restart(&self) {
        self.refreshes.set(self.refreshes.get() + 1);
        self.inner_mut().report.pending_restart.clear();
    }

    /// Asks, after `delay`, why a restart is pending (PG-22, PG-25). A newer question replaces an older one.
    pub fn refresh_pending_restart(self: &Rc<Self>, delay: Duration) {
        let number = self.refreshes.get() + 1;
        self.refreshes.set(number);
        let server = Rc::clone(self);
        actix::spawn(async move {
            tokio::time::sleep(delay).await;
            match bounded(QUERY_PATIENCE, "query of pending_restart", server.control.pending_restart()).await {
                Ok(pending) if server.refreshes.get() == number => server.set_pending_restart(pending),
                Ok(_) => {}
                Err(error) => debug!("pending_restart is not known: {error}"),
            }
        });
    }

    /// A restart became pending, or is no longer: the member key should say so now.
    fn set_pending_restart(&self, pending: PendingRestart) {
        let before = std::mem::replace(&mut self.inner_mut().report.pending_restart, pending);
        if before != self.inner().report.pending_restart {
            self.moved();
            self.wake(Wake::Job);
        }
    }

    /// Notes that the CHECKPOINT after a promotion runs; false when one does already.
    pub fn begin_checkpoint(&self) -> bool {
        !self.checkpointing.replace(true)
    }

    /// It ended.
    pub fn end_checkpoint(&self) {
        self.checkpointing.set(false);
    }
}

/// The role whose settings a server of this role has; without data it has none.
fn settings_role(role: Role) -> Option<PgRole> {
    match role {
        Role::Primary | Role::Promoted => Some(PgRole::Primary),
        Role::Replica | Role::Demoted => Some(PgRole::Replica),
        Role::StandbyLeader => Some(PgRole::StandbyLeader),
        Role::Uninitialized => None,
    }
}

/// Gives a step no more than `patience`.
pub(super) async fn bounded<T>(
    patience: Duration,
    what: &str,
    step: impl Future<Output = Result<T, PgError>>,
) -> Result<T, PgError> {
    match timeout(patience, step).await {
        Ok(result) => result,
        Err(_) => Err(PgError::TimedOut(format!("{what} has not ended within {} s", patience.as_secs_f32()))),
    }
}
