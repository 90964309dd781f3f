//! Stop and start.

use super::JobContext;
use super::launch::{Launch, launch};
use super::shutdown::{Shutdown, shut_down};
use crate::cluster::{PgState, StopMode};
use crate::ha::JobResult;
use crate::postgres::{PgError, StartAs};
use std::time::Duration;
use tracing::warn;

/// Restarts in the same role.
pub(super) async fn run(context: &JobContext, timeout: Option<Duration>) -> Result<JobResult, PgError> {
    let plan = present(context, timeout).await;
    restart_with(context, plan).await
}

/// A start in the same role. A standby that was started by another process keeps the recovery settings of its files.
pub(super) async fn present(context: &JobContext, timeout: Option<Duration>) -> Launch {
    let server = &context.server;
    let standby = server.look().await.recovery_files;
    let remembered = server.started_as().filter(|s| matches!(s, StartAs::Standby { .. }) == standby);
    let write_recovery = remembered.is_some();
    let present = if standby { StartAs::Standby { upstream: None } } else { StartAs::Primary };
    Launch {
        start: remembered.unwrap_or(present),
        write_recovery,
        role: Some(server.role()),
        state: PgState::Starting,
        patience: context.start_patience(timeout),
    }
}

/// Stops fast (after a CHECKPOINT on a primary, so that the gap is short) and starts by the plan.
pub(super) async fn restart_with(context: &JobContext, plan: Launch) -> Result<JobResult, PgError> {
    let server = &context.server;
    let checkpoint = plan.start == StartAs::Primary;
    let was_running = server.state() == PgState::Running;
    server.set_state(PgState::Restarting);
    let stop = Shutdown { mode: StopMode::Fast, checkpoint, timeout: None, within_restart: true };
    if let Err(error) = shut_down(context, stop).await {
        // Cancelled before the signal: the server runs on as before.
        if error == PgError::Cancelled && server.state() == PgState::Restarting {
            server.set_state(if was_running { PgState::Running } else { PgState::Starting });
        }
        return Err(error);
    }
    let end = launch(context, plan).await;
    if let Err(error) = &end
        && *error != PgError::Cancelled
    {
        warn!("restart failed ({})", server.state());
        server.set_state(PgState::RestartFailed);
    }
    end
}
