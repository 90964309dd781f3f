//! A data directory that must go: moved aside after a failed bootstrap, removed when the user's settings say so.

use super::shutdown::{Shutdown, shut_down};
use super::{JobContext, bounded};
use crate::cluster::{Role, StopMode};
use crate::ha::JobResult;
use crate::postgres::PgError;
use std::time::Duration;
use tracing::info;

/// Removing a large data directory takes its time.
pub(super) const REMOVE_PATIENCE: Duration = Duration::from_secs(3600);

/// Stops the server and renames the data directory.
pub(super) async fn move_aside(context: &JobContext) -> Result<JobResult, PgError> {
    stop(context).await?;
    let place = bounded(REMOVE_PATIENCE, "move of the data directory", context.control().move_data_aside()).await?;
    info!("renaming data directory to {}", place.display());
    gone(context).await
}

/// Removes the data directory of a stopped server.
pub(super) async fn remove(context: &JobContext) -> Result<JobResult, PgError> {
    context.server.look().await;
    if context.server.postmaster().is_some() {
        return Err(PgError::Program("a server runs in the data directory: it is not removed".to_owned()));
    }
    bounded(REMOVE_PATIENCE, "removal of the data directory", context.control().remove_data()).await?;
    gone(context).await
}

async fn stop(context: &JobContext) -> Result<(), PgError> {
    let timeout = Some(context.server.settings().global.retry_timeout);
    let stop = Shutdown { mode: StopMode::Immediate, checkpoint: false, timeout, within_restart: false };
    shut_down(context, stop).await.map(|_| ())
}

async fn gone(context: &JobContext) -> Result<JobResult, PgError> {
    context.server.set_role(Role::Uninitialized);
    context.server.set_started_as(None);
    context.server.set_bootstrapping(false);
    context.server.look().await;
    Ok(JobResult::Done)
}
