//! A new copy in place of the present data directory.

use super::JobContext;
use super::clone;
use super::shutdown::{Shutdown, shut_down};
use crate::cluster::{StopMode, Upstream};
use crate::ha::JobResult;
use crate::postgres::PgError;

/// Stops at once, then copies.
pub(super) async fn run(
    context: &JobContext,
    source: Option<&Upstream>,
    upstream: Option<Box<Upstream>>,
    basebackup_only: bool,
) -> Result<JobResult, PgError> {
    let timeout = Some(context.server.settings().global.retry_timeout);
    let stop = Shutdown { mode: StopMode::Immediate, checkpoint: false, timeout, within_restart: false };
    shut_down(context, stop).await?;
    clone::replace(context, source, upstream, basebackup_only).await
}
