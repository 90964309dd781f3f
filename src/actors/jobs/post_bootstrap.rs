//! What follows the first start of a new cluster.

use super::{CHECKPOINT_PATIENCE, JobContext, bounded};
use crate::ha::JobResult;
use crate::postgres::PgError;
use tracing::warn;

/// Users, `post_bootstrap` script, CHECKPOINT.
pub(super) async fn run(context: &JobContext) -> Result<JobResult, PgError> {
    let step = context.control().post_bootstrap(context.cancel.clone());
    context.program("post_bootstrap", step).await??;
    let checkpoint = context.control().checkpoint(CHECKPOINT_PATIENCE);
    if let Err(error) = bounded(CHECKPOINT_PATIENCE, "CHECKPOINT", checkpoint).await {
        warn!("Exception during CHECKPOINT: {error}");
    }
    context.server.set_bootstrapping(false);
    Ok(JobResult::Done)
}
