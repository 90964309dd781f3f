//! Copies of logical slots from the primary.

use super::launch::launch;
use super::restart::present;
use super::shutdown::{Shutdown, shut_down};
use super::{JobContext, STEP_PATIENCE};
use crate::actors::server::bounded;
use crate::cluster::{StopMode, Upstream, WantedSlot};
use crate::ha::JobResult;
use crate::postgres::{PgError, StartAs};
use tracing::error;

/// Reads the slots from the leader, and only if there are any stops the standby, writes them and starts it again.
pub(super) async fn run(context: &JobContext, leader: &Upstream, wanted: &[WantedSlot]) -> Result<JobResult, PgError> {
    let control = context.control();
    let reading = async { Ok(control.read_slots(leader, wanted).await) };
    let copies = context.step("reading logical slots from the primary", reading).await?;
    if copies.is_empty() {
        return Ok(JobResult::Done);
    }
    let plan = present(context, None).await;
    if plan.start == StartAs::Primary {
        return Err(PgError::Program("a primary is not stopped to copy logical slots".to_owned()));
    }
    let stop = Shutdown { mode: StopMode::Fast, checkpoint: false, timeout: None, within_restart: false };
    shut_down(context, stop).await?;
    // A slot that could not be written is tried again: the server starts all the same.
    if let Err(reason) = bounded(STEP_PATIENCE, "writing logical slots", control.write_slots(&copies)).await {
        error!("could not write the logical slots: {reason}");
    }
    launch(context, plan).await
}
