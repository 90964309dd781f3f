//! Start in place after a crash.

use super::JobContext;
use super::launch::{Launch, launch};
use crate::cluster::{PgState, Role};
use crate::ha::JobResult;
use crate::postgres::{PgError, StartAs};
use std::time::Duration;

/// Starts as primary with the present files.
pub(super) async fn run(context: &JobContext, timeout: Duration) -> Result<JobResult, PgError> {
    let plan = Launch {
        start: StartAs::Primary,
        write_recovery: true,
        role: Some(Role::Primary),
        state: PgState::Starting,
        patience: timeout,
    };
    launch(context, plan).await
}
