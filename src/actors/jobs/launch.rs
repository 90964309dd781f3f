//! Start of a postmaster and the wait until it is ready.

use super::{JobContext, STEP_PATIENCE};
use crate::actors::server::{PROBE_PATIENCE, bounded};
use crate::cluster::{PgState, Postmaster, Readiness, Role, StopMode};
use crate::ha::{JobPhase, JobResult};
use crate::postgres::{PgError, StartAs};
use std::time::Duration;
use tokio::time::timeout;
use tracing::{error, warn};

/// The first pause between two probes; later ones grow to [`SLOWEST_PROBE`].
const FIRST_PROBE: Duration = Duration::from_millis(10);
const SLOWEST_PROBE: Duration = Duration::from_millis(250);
/// Patience for the end of a postmaster whose start was cancelled.
const TERMINATE_PATIENCE: Duration = Duration::from_secs(10);

/// How to start.
pub(super) struct Launch {
    /// With which recovery settings.
    pub start: StartAs,
    /// Write the settings for the next start; otherwise only bring the files up to date.
    pub write_recovery: bool,
    /// Role from now on; `None`: what the files say.
    pub role: Option<Role>,
    /// State while it starts.
    pub state: PgState,
    /// How long to wait until it is ready.
    pub patience: Duration,
}

enum Wait {
    Ready,
    Exited,
    Patience,
    Cancelled,
}

/// Writes the files, starts the postmaster and waits. A server that lives and is not ready in time is left alone.
pub(super) async fn launch(context: &JobContext, plan: Launch) -> Result<JobResult, PgError> {
    let server = &context.server;
    context.check_cancelled()?;
    if let Some(postmaster) = server.postmaster() {
        error!("Cannot start PostgreSQL because one is already running.");
        server.set_state(plan.state);
        return wait(context, postmaster, plan.patience).await;
    }
    server.set_state(plan.state);
    server.clear_pending_restart();
    match spawn(context, &plan).await {
        Ok(postmaster) => wait(context, postmaster, plan.patience).await,
        Err(error) => {
            if error != PgError::Cancelled {
                error!("could not start PostgreSQL: {error}");
            }
            let cancelled = error == PgError::Cancelled;
            server.set_state(if cancelled { PgState::Stopped } else { PgState::StartFailed });
            Err(error)
        }
    }
}

async fn spawn(context: &JobContext, plan: &Launch) -> Result<Postmaster, PgError> {
    let server = &context.server;
    if let Some(role) = plan.role {
        server.configure_for(role);
    }
    if plan.write_recovery {
        context.step("writing the configuration", context.control().write_config(&plan.start)).await?;
    } else {
        context.step("writing the configuration", context.control().rewrite_config()).await?;
    }
    server.set_started_as(Some(plan.start.clone()));
    let role = match plan.role {
        Some(role) => role,
        None => role_by_files(context).await,
    };
    let postmaster = context.step("start of the postmaster", context.control().launch(&plan.start)).await?;
    server.set_role(role);
    server.set_postmaster(postmaster);
    Ok(postmaster)
}

async fn role_by_files(context: &JobContext) -> Role {
    if context.server.look().await.recovery_files { Role::Replica } else { Role::Primary }
}

async fn wait(context: &JobContext, postmaster: Postmaster, patience: Duration) -> Result<JobResult, PgError> {
    let server = &context.server;
    context.phase(JobPhase::WaitReady);
    let end = tokio::select! {
        biased;
        () = context.control().exited(postmaster) => Wait::Exited,
        () = context.cancelled() => Wait::Cancelled,
        () = ready(context) => Wait::Ready,
        () = tokio::time::sleep(patience) => Wait::Patience,
    };
    match end {
        Wait::Ready => {
            server.set_state(PgState::Running);
            server.look().await;
            server.refresh_pending_restart(Duration::ZERO);
            Ok(JobResult::Done)
        }
        Wait::Exited => {
            error!("postmaster is not running");
            server.postmaster_exited(postmaster);
            server.set_state(PgState::StartFailed);
            Err(PgError::Program("postmaster is not running".to_owned()))
        }
        Wait::Patience => {
            warn!("Timed out waiting for PostgreSQL to start");
            Ok(JobResult::StillStarting)
        }
        Wait::Cancelled => {
            terminate(context, postmaster).await;
            Err(PgError::Cancelled)
        }
    }
}

async fn ready(context: &JobContext) {
    let mut pause = FIRST_PROBE;
    loop {
        let probe = timeout(PROBE_PATIENCE, context.control().readiness()).await;
        let readiness = probe.unwrap_or(Readiness::NoResponse);
        context.server.set_readiness(readiness);
        if readiness == Readiness::Accepting {
            return;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(SLOWEST_PROBE);
    }
}

/// Ends a half-started server: it must not go on as something that nobody wants any more.
async fn terminate(context: &JobContext, postmaster: Postmaster) {
    let server = &context.server;
    let control = context.control();
    let signal = control.signal_stop(postmaster, StopMode::Immediate);
    if let Err(error) = bounded(STEP_PATIENCE, "immediate stop", signal).await {
        warn!("could not stop the starting server: {error}");
    }
    if timeout(TERMINATE_PATIENCE, control.exited(postmaster)).await.is_err() {
        warn!("Sending SIGKILL to Postmaster and its children");
        let kill = control.kill_all(postmaster, TERMINATE_PATIENCE);
        if let Err(error) = bounded(STEP_PATIENCE, "SIGKILL", kill).await {
            warn!("could not kill the starting server: {error}");
            server.set_state(PgState::StopFailed);
            return;
        }
    }
    server.postmaster_exited(postmaster);
    server.set_state(PgState::Stopped);
}
