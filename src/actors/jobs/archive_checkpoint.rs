//! The last segment of a stopped server goes to the archive.

use super::JobContext;
use crate::ha::JobResult;
use crate::postgres::PgError;

/// Archives the segment with the shutdown checkpoint. Never beside a living server, which would write on in it.
pub(super) async fn run(context: &JobContext) -> Result<JobResult, PgError> {
    context.server.look().await;
    if context.server.postmaster().is_some() {
        return Err(PgError::Program("a server runs: its last segment is not archived".to_owned()));
    }
    let step = context.control().archive_checkpoint(context.cancel.clone());
    context.program("archiving of the shutdown checkpoint", step).await??;
    Ok(JobResult::Done)
}
