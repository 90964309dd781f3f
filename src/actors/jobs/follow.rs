//! Start or restart as a standby.

use super::JobContext;
use super::launch::{Launch, launch};
use super::restart::restart_with;
use crate::cluster::{PgState, Role, Upstream};
use crate::ha::JobResult;
use crate::postgres::{PgError, StartAs};
use std::time::Duration;

/// Writes recovery settings and starts, or restarts a server that runs.
pub(super) async fn run(
    context: &JobContext,
    upstream: Option<Box<Upstream>>,
    role: Role,
    timeout: Option<Duration>,
) -> Result<JobResult, PgError> {
    let plan = Launch {
        start: StartAs::Standby { upstream },
        write_recovery: true,
        role: Some(role),
        state: PgState::Starting,
        patience: context.start_patience(timeout),
    };
    context.server.look().await;
    if context.server.postmaster().is_some() { restart_with(context, plan).await } else { launch(context, plan).await }
}
