//! pg_rewind.

use super::JobContext;
use super::shutdown::{Shutdown, shut_down};
use crate::cluster::{StopMode, Upstream};
use crate::ha::JobResult;
use crate::postgres::{PgError, RewindEnd};
use tracing::warn;

/// Stops the server if it runs and rewinds its data directory to the leader.
pub(super) async fn run(context: &JobContext, leader: &Upstream) -> Result<JobResult, PgError> {
    let stop = Shutdown { mode: StopMode::Fast, checkpoint: false, timeout: None, within_restart: false };
    if let Err(error) = shut_down(context, stop).await {
        warn!("Can not run pg_rewind because postgres is still running");
        return Err(error);
    }
    let end = context.program("pg_rewind", context.control().rewind(leader, context.cancel.clone())).await?;
    context.server.look().await;
    Ok(match end {
        RewindEnd::Done => JobResult::Done,
        RewindEnd::TryAgain(reason) => JobResult::TryAgain(reason),
        RewindEnd::Failed(_) if context.check_cancelled().is_err() => JobResult::Cancelled,
        RewindEnd::Failed(reason) => JobResult::Failed(reason),
    })
}
