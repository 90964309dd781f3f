//! The postgres supervisor: owns the server of this agent, its state, its role and the one long job that may run on it.
//!
//! No handler waits: what takes time runs beside the mailbox, and its outcome comes back as a message.

use super::messages::{
    Execute, Executed, LocalReread, Observe, Observed, RoleSettingsChanged, ServerMoved, SettingsChanged, StatusSeen,
    Wake,
};
use super::server::{LOOK_PATIENCE, Server, bounded};
use super::server_commands::{AFTER_RELOAD, execute};
use crate::clock::Clock;
use crate::cluster::{CallbackEvent, DataDir, PgState, Role, ServerFacts};
use crate::config::Settings;
use crate::ha::{Command, Outcome};
use crate::postgres::{PgError, PostgresControl};
use actix::{Actor, AsyncContext, Context, Handler, Recipient};
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

/// Rewriting the files, telling the server to reload.
const RELOAD_PATIENCE: Duration = Duration::from_secs(30);
/// What a server found running gets to say whether it is a primary.
const ADOPTION_PATIENCE: Duration = Duration::from_secs(12);

/// The actor. Who observes before the first look has ended gets no answer: nothing may be decided on nothing.
pub struct PostgresSupervisor {
    server: Rc<Server>,
    adopted: watch::Receiver<bool>,
    adoption: Option<watch::Sender<bool>>,
    reloading: Rc<Cell<Reload>>,
    /// The next reload is due even if no file of ours changes.
    reload_anyway: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Reload {
    Idle,
    Running,
    /// Settings changed again while the files were rewritten.
    Again,
}

impl PostgresSupervisor {
    /// A supervisor of the server behind `control`; `wake` is told when a cycle should run.
    #[must_use]
    pub fn new(control: Rc<dyn PostgresControl>, clock: Clock, settings: Arc<Settings>, wake: Recipient<Wake>) -> Self {
        let (adoption, adopted) = watch::channel(false);
        Self {
            server: Server::new(control, clock, settings, wake),
            adopted,
            adoption: Some(adoption),
            reloading: Rc::new(Cell::new(Reload::Idle)),
            reload_anyway: Rc::default(),
        }
    }
}

impl PostgresSupervisor {
    /// Tells `watcher` of every change of the server's state, role and process.
    #[must_use]
    pub fn watched_by(self, watcher: Recipient<ServerMoved>) -> Self {
        self.server.watched_by(watcher);
        self
    }
}

impl Actor for PostgresSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        self.server.applied_by(ctx.address().recipient());
        let Some(adoption) = self.adoption.take() else { return };
        let server = Rc::clone(&self.server);
        actix::spawn(async move {
            adopt(&server).await;
            adoption.send_replace(true);
            learn_rewind(&server).await;
        });
    }
}

impl Handler<Observe> for PostgresSupervisor {
    type Result = ();

    fn handle(&mut self, message: Observe, _: &mut Self::Context) {
        let server = Rc::clone(&self.server);
        let mut adopted = self.adopted.clone();
        actix::spawn(async move {
            let seen = async {
                // An error means that the adoption was given up with its runtime: nothing more is to come.
                if adopted.wait_for(|done| *done).await.is_ok() {
                    server.observe().await;
                }
            };
            if timeout(LOOK_PATIENCE, seen).await.is_err() {
                warn!("no news of the server within {} s", LOOK_PATIENCE.as_secs());
            }
            if server.was_looked_at() {
                message.reply.do_send(Observed { ticket: message.ticket, report: server.take_report() });
            }
        });
    }
}

impl Handler<Execute> for PostgresSupervisor {
    type Result = ();

    fn handle(&mut self, message: Execute, _: &mut Self::Context) {
        if let Command::EnforceFeedback(on) = message.command {
            self.server.control.enforce_feedback(on);
            self.apply_soon();
            return message.reply.do_send(Executed { ticket: message.ticket, outcome: Outcome::Ok });
        }
        let server = Rc::clone(&self.server);
        actix::spawn(async move {
            let outcome = execute(&server, message.command, message.budget).await;
            message.reply.do_send(Executed { ticket: message.ticket, outcome });
        });
    }
}

impl Handler<StatusSeen> for PostgresSupervisor {
    type Result = ();

    fn handle(&mut self, message: StatusSeen, _: &mut Self::Context) {
        self.server.set_answered(message.answered);
    }
}

impl Handler<SettingsChanged> for PostgresSupervisor {
    type Result = ();

    fn handle(&mut self, message: SettingsChanged, _: &mut Self::Context) {
        self.server.set_settings(message.0);
        self.server.excuse_crash();
        self.apply_soon();
    }
}

impl Handler<RoleSettingsChanged> for PostgresSupervisor {
    type Result = ();

    fn handle(&mut self, _: RoleSettingsChanged, _: &mut Self::Context) {
        self.apply_soon();
    }
}

impl Handler<LocalReread> for PostgresSupervisor {
    type Result = ();

    fn handle(&mut self, _: LocalReread, _: &mut Self::Context) {
        self.reload_anyway.set(true);
        self.apply_soon();
    }
}

impl PostgresSupervisor {
    /// Brings the files, and a server that runs, up to date once no job is in the way; one such work at a time.
    fn apply_soon(&self) {
        if self.reloading.get() != Reload::Idle {
            self.reloading.set(Reload::Again);
            return;
        }
        self.reloading.set(Reload::Running);
        let (server, reloading) = (Rc::clone(&self.server), Rc::clone(&self.reloading));
        let anyway = Rc::clone(&self.reload_anyway);
        let mut adopted = self.adopted.clone();
        actix::spawn(async move {
            if adopted.wait_for(|done| *done).await.is_err() {
                return;
            }
            loop {
                // A job may be filling the data directory, and starts with the newest settings anyway.
                server.no_job().await;
                if let Err(error) = apply_settings(&server, anyway.take()).await {
                    warn!("could not apply the changed configuration: {error}");
                }
                if reloading.get() != Reload::Again {
                    break;
                }
                reloading.set(Reload::Running);
            }
            reloading.set(Reload::Idle);
            learn_rewind(&server).await;
        });
    }
}

/// Finds out what is there: nothing, a stopped server, or one that runs and is taken over as it is (PG-03).
async fn adopt(server: &Rc<Server>) {
    let facts = server.look().await;
    let by_files = role_by_files(&facts);
    let Some(_) = server.postmaster() else {
        // A primary that does not run has to ask the cluster before it is one again.
        server.set_role(if by_files == Role::Primary { Role::Demoted } else { by_files });
        return;
    };
    server.set_role(by_files);
    server.probe().await;
    if server.state() != PgState::Running {
        return;
    }
    match bounded(ADOPTION_PATIENCE, "status query", server.control.status()).await {
        Ok(status) => server.set_role(if status.in_recovery { Role::Replica } else { Role::Primary }),
        Err(error) => warn!("the server found running does not tell its role: {error}"),
    }
    // A standby's recovery settings are not known yet: its files are left to the first cycle.
    if server.role() == Role::Primary
        && let Err(error) = apply_settings(server, false).await
    {
        warn!("could not apply the configuration: {error}");
    }
}

fn role_by_files(facts: &ServerFacts) -> Role {
    match facts.data_dir {
        DataDir::Present(_) if facts.control.is_none() => Role::Uninitialized,
        DataDir::Present(_) if facts.recovery_files => Role::Replica,
        DataDir::Present(_) => Role::Primary,
        DataDir::Empty | DataDir::Inaccessible(_) => Role::Uninitialized,
    }
}

/// Rewrites the files of a server that runs, and has it reload them when they changed, or `anyway`.
async fn apply_settings(server: &Rc<Server>, anyway: bool) -> Result<(), PgError> {
    if server.postmaster().is_none() {
        return Ok(());
    }
    let control = &server.control;
    if bounded(RELOAD_PATIENCE, "writing the configuration", control.rewrite_config()).await? || anyway {
        bounded(RELOAD_PATIENCE, "reload", control.reload()).await?;
        if server.may_call_back() {
            control.callback(CallbackEvent::OnReload, server.role());
        }
        server.refresh_pending_restart(AFTER_RELOAD);
    } else {
        info!("No PostgreSQL configuration items changed, nothing to reload.");
        server.refresh_pending_restart(Duration::ZERO);
    }
    Ok(())
}

async fn learn_rewind(server: &Rc<Server>) {
    let wanted = server.settings().global.use_pg_rewind;
    let works = wanted && timeout(RELOAD_PATIENCE, server.control.pg_rewind_works()).await.unwrap_or(false);
    server.set_pg_rewind_works(works);
}
