//! Stop.

use super::JobContext;
use super::shutdown::{Shutdown, shut_down};
use crate::cluster::{Role, StopMode};
use crate::ha::JobResult;
use crate::postgres::PgError;
use std::time::Duration;

/// Stops the server; the role changes first, so that nothing takes a stopping primary for one.
pub(super) async fn run(
    context: &JobContext,
    mode: StopMode,
    checkpoint: bool,
    timeout: Option<Duration>,
    role: Option<Role>,
) -> Result<JobResult, PgError> {
    if let Some(role) = role {
        context.server.set_role(role);
    }
    let plan = Shutdown { mode, checkpoint, timeout, within_restart: false };
    let point = shut_down(context, plan).await?;
    Ok(point.map_or(JobResult::Done, |p| JobResult::Stopped { checkpoint: p.checkpoint, release: p.release }))
}
