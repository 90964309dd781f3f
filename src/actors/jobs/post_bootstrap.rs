//! What follows the first start of a new cluster.

use super::launch::Launch;
use super::restart::restart_with;
use super::{CHECKPOINT_PATIENCE, JobContext, bounded};
use crate::cluster::{PgState, Role};
use crate::ha::JobResult;
use crate::postgres::{PgError, StartAs};
use tracing::warn;

/// Users, `post_bootstrap` script, CHECKPOINT; a restart where a custom bootstrap needed other settings.
pub(super) async fn run(context: &JobContext) -> Result<JobResult, PgError> {
    let step = context.control().post_bootstrap(context.cancel.clone());
    let restart = context.program("post_bootstrap", step).await??;
    // What it was started with to recover must not come back with its next start.
    context.server.set_started_as(None);
    if restart {
        let plan = Launch {
            start: StartAs::Primary,
            write_recovery: false,
            role: Some(Role::Primary),
            state: PgState::Starting,
            patience: context.start_patience(None),
        };
        if restart_with(context, plan).await? != JobResult::Done {
            return Err(PgError::TimedOut("the server is not ready after its restart".to_owned()));
        }
    } else {
        let checkpoint = context.control().checkpoint(CHECKPOINT_PATIENCE);
        if let Err(error) = bounded(CHECKPOINT_PATIENCE, "CHECKPOINT", checkpoint).await {
            warn!("Exception during CHECKPOINT: {error}");
        }
    }
    context.server.set_bootstrapping(false);
    Ok(JobResult::Done)
}
