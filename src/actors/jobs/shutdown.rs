//! The stop of a server: CHECKPOINT, hook, signal, watch, and stronger means when its time is over (ha-rules 7).

use super::{CHECKPOINT_PATIENCE, JobContext, STEP_PATIENCE};
use crate::actors::server::{PROBE_PATIENCE, bounded};
use crate::cluster::{PgState, Postmaster, StopMode};
use crate::ha::JobPhase;
use crate::postgres::{PgError, ShutdownPoint};
use std::time::Duration;
use tokio::time::timeout;
use tracing::{info, warn};

/// The first pause between two looks at a server that stops; later ones grow to [`SLOWEST_LOOK`].
const FIRST_LOOK: Duration = Duration::from_millis(20);
const SLOWEST_LOOK: Duration = Duration::from_millis(250);
/// `before_stop` in a stop that is not urgent, and in one that is: then the lock may be lost already.
const HOOK_PATIENCE: Duration = Duration::from_secs(60);
const URGENT_HOOK_PATIENCE: Duration = Duration::from_secs(2);
/// An immediate stop that names no time gets this before SIGKILL.
const IMMEDIATE_PATIENCE: Duration = Duration::from_secs(10);

/// How to stop.
#[derive(Clone, Copy)]
pub(super) struct Shutdown {
    /// The signal.
    pub mode: StopMode,
    /// CHECKPOINT first.
    pub checkpoint: bool,
    /// After this stronger means are taken; `None`: a fast stop waits as long as it takes (or is cancelled).
    pub timeout: Option<Duration>,
    /// A part of a restart: the published state stays.
    pub within_restart: bool,
}

/// Stops the server. Returns where its WAL ends when it was shut down cleanly as a primary.
/// When the flag is raised after the signal, the server goes on stopping unwatched and `Cancelled` is returned.
pub(super) async fn shut_down(context: &JobContext, plan: Shutdown) -> Result<Option<ShutdownPoint>, PgError> {
    let server = &context.server;
    // No look when there is a process to stop: the disk may be dead, and the stop urgent.
    if server.postmaster().is_none() {
        server.look().await;
    }
    let Some(postmaster) = server.postmaster() else {
        server.set_state(PgState::Stopped);
        return Ok(point(context).await);
    };
    let was_running = matches!(server.state(), PgState::Running | PgState::Restarting);
    if plan.checkpoint && was_running {
        checkpoint(context, plan.timeout).await?;
    }
    context.check_cancelled()?;
    if !plan.within_restart {
        server.set_state(PgState::Stopping);
    }
    before_stop(context, plan.mode).await;
    let end = stop(context, postmaster, plan, was_running).await;
    match &end {
        Ok(_) => {
            server.postmaster_exited(postmaster);
            server.set_state(if plan.within_restart { PgState::Restarting } else { PgState::Stopped });
            server.look().await;
        }
        // The exit watch makes this `stopped` when it has come to its end.
        Err(PgError::Cancelled) => server.set_state(PgState::Stopping),
        Err(error) => {
            warn!("pg_ctl stop failed: {error}");
            server.set_state(PgState::StopFailed);
        }
    }
    end?;
    Ok(if plan.mode == StopMode::Fast { point(context).await } else { None })
}

async fn checkpoint(context: &JobContext, limit: Option<Duration>) -> Result<(), PgError> {
    context.phase(JobPhase::Checkpoint);
    let patience = limit.unwrap_or(CHECKPOINT_PATIENCE);
    let run = bounded(patience, "CHECKPOINT", context.control().checkpoint(patience));
    tokio::select! {
        biased;
        end = run => {
            if let Err(error) = end {
                warn!("Exception during CHECKPOINT: {error}");
            }
            Ok(())
        }
        () = context.cancelled() => Err(PgError::Cancelled),
    }
}

async fn before_stop(context: &JobContext, mode: StopMode) {
    let patience = match mode {
        StopMode::Fast => HOOK_PATIENCE,
        StopMode::Immediate => URGENT_HOOK_PATIENCE,
    };
    tokio::select! {
        biased;
        end = timeout(patience, context.control().before_stop()) => {
            if end.is_err() {
                warn!("before_stop script has not ended within {} s", patience.as_secs());
            }
        }
        () = context.cancelled() => info!("before_stop script cancelled"),
    }
}

async fn stop(context: &JobContext, postmaster: Postmaster, plan: Shutdown, was_running: bool) -> Result<(), PgError> {
    context.check_cancelled()?;
    context.phase(JobPhase::Stopping);
    signal(context, postmaster, plan.mode).await?;
    let watched = async {
        tokio::select! {
            biased;
            () = context.control().exited(postmaster) => {}
            () = watch(context, postmaster, plan.mode == StopMode::Fast && was_running) => {}
        }
    };
    let limit = match plan.mode {
        StopMode::Immediate => Some(plan.timeout.unwrap_or(IMMEDIATE_PATIENCE)),
        StopMode::Fast => plan.timeout,
    };
    let over = async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = watched => return Ok(()),
        () = context.cancelled() => return Err(PgError::Cancelled),
        () = over => {}
    }
    warn!("Timeout during postmaster stop, aborting Postgres.");
    if plan.mode == StopMode::Fast {
        if let Err(error) = signal(context, postmaster, StopMode::Immediate).await {
            warn!("could not signal the postmaster: {error}");
        }
        let patience = plan.timeout.unwrap_or(IMMEDIATE_PATIENCE).max(IMMEDIATE_PATIENCE);
        if timeout(patience, context.control().exited(postmaster)).await.is_ok() {
            return Ok(());
        }
    }
    warn!("Sending SIGKILL to Postmaster and its children");
    bounded(STEP_PATIENCE, "SIGKILL", context.control().kill_all(postmaster, IMMEDIATE_PATIENCE)).await
}

/// A signal fails when the process has just ended: that is what was wanted.
async fn signal(context: &JobContext, postmaster: Postmaster, mode: StopMode) -> Result<(), PgError> {
    let sent =
        bounded(STEP_PATIENCE, "signal to the postmaster", context.control().signal_stop(postmaster, mode)).await;
    match sent {
        Err(error) if context.server.postmaster() == Some(postmaster) => Err(error),
        _ => Ok(()),
    }
}

/// Looks on while the server stops, for ever: who is still connected, and whether control data says "shut down" already.
async fn watch(context: &JobContext, postmaster: Postmaster, clean: bool) {
    let mut pause = FIRST_LOOK;
    let mut told = false;
    loop {
        tokio::time::sleep(pause).await;
        let none = timeout(PROBE_PATIENCE, context.control().no_clients(postmaster)).await.unwrap_or(false);
        context.server.set_no_clients(none);
        if clean
            && !told
            && let Some(point) = point(context).await
        {
            told = true;
            context.phase(JobPhase::ShutDown { checkpoint: point.checkpoint, release: point.release });
        }
        pause = (pause * 3 / 2).min(SLOWEST_LOOK);
    }
}

async fn point(context: &JobContext) -> Option<ShutdownPoint> {
    timeout(STEP_PATIENCE, context.control().shutdown_point()).await.ok().flatten()
}
