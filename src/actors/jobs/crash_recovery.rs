//! Crash recovery in single-user mode, before a rewind.

use super::JobContext;
use crate::ha::JobResult;
use crate::postgres::PgError;

/// Brings a crashed data directory to a clean shutdown. Never beside a living server.
pub(super) async fn run(context: &JobContext) -> Result<JobResult, PgError> {
    context.server.look().await;
    if context.server.postmaster().is_some() {
        return Err(PgError::Program("a server runs: no crash recovery in single-user mode".to_owned()));
    }
    let step = context.control().crash_recovery(context.cancel.clone());
    let end = context.program("crash recovery in single-user mode", step).await?;
    context.server.look().await;
    end.map(|()| JobResult::Done)
}
