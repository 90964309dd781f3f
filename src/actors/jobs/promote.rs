//! Promotion of a standby.

use super::JobContext;
use crate::cluster::{ControlState, Postmaster, Role};
use crate::ha::{JobPhase, JobResult};
use crate::postgres::PgError;
use std::time::Duration;
use tracing::{info, warn};

/// How often control data is looked at while the server leaves recovery.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Runs `pre_promote`, then promotes, and waits up to `wait` for "in production". When that does not come in time the
/// role stays `promoted`: the server was told and will get there.
pub(super) async fn run(context: &JobContext, wait: Duration) -> Result<JobResult, PgError> {
    let server = &context.server;
    context.phase(JobPhase::PrePromote);
    let allowed = context.program("pre_promote", context.control().pre_promote(context.cancel.clone())).await?;
    if let Err(error) = allowed {
        context.check_cancelled()?;
        warn!("pre_promote script failed: {error}");
        return Ok(JobResult::PrePromoteFailed);
    }
    let Some(postmaster) = server.postmaster() else {
        return Err(PgError::Program("postmaster is not running".to_owned()));
    };
    if context.check_cancelled().is_err() {
        info!("PostgreSQL promote cancelled.");
        return Err(PgError::Cancelled);
    }
    // No way back from here.
    context.phase(JobPhase::Promoting);
    super::bounded(super::STEP_PATIENCE, "promote", context.control().promote()).await?;
    server.set_role(Role::Promoted);
    server.set_started_as(None);
    tokio::select! {
        biased;
        () = context.control().exited(postmaster) => {
            Err(PgError::Program("postmaster ended while it was promoted".to_owned()))
        }
        produced = tokio::time::timeout(wait, in_production(context, postmaster)) => {
            match produced {
                Ok(()) => server.set_role(Role::Primary),
                Err(_) => warn!("the server is not in production {} s after it was promoted", wait.as_secs()),
            }
            Ok(JobResult::Done)
        }
    }
}

async fn in_production(context: &JobContext, postmaster: Postmaster) {
    loop {
        let facts = context.server.look().await;
        let produced = facts.control.is_some_and(|c| c.state == ControlState::InProduction);
        if produced && facts.postmaster == Some(postmaster) {
            return;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
