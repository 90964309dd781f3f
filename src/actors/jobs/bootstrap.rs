//! A new cluster: initdb or the custom method, then the first start.

use super::JobContext;
use super::launch::{Launch, launch};
use crate::cluster::{PgState, Role};
use crate::ha::JobResult;
use crate::postgres::{PgError, StartAs};
use tracing::error;

/// Makes the data directory and starts it. What a failed attempt leaves is moved aside by a job of its own.
pub(super) async fn run(context: &JobContext) -> Result<JobResult, PgError> {
    let server = &context.server;
    server.set_bootstrapping(true);
    let custom = server.settings().bootstrap.as_ref().is_some_and(|b| b.method.is_some());
    let (doing, failed) = if custom {
        (PgState::CustomBootstrap, PgState::CustomBootstrapFailed)
    } else {
        (PgState::Initdb, PgState::InitdbFailed)
    };
    server.set_state(doing);
    let start = match make(context, custom).await {
        Ok(start) => start,
        Err(error) => {
            error!("bootstrap failed: {error}");
            server.set_state(failed);
            return Err(error);
        }
    };
    let recovery = matches!(start, StartAs::CustomRecovery { .. } | StartAs::Standby { .. });
    let plan = Launch {
        start,
        write_recovery: true,
        role: Some(if recovery { Role::Replica } else { Role::Primary }),
        state: if custom { PgState::BootstrapStarting } else { PgState::Starting },
        patience: context.start_patience(None),
    };
    launch(context, plan).await
}

async fn make(context: &JobContext, custom: bool) -> Result<StartAs, PgError> {
    let cancel = context.cancel.clone();
    let start = if custom {
        context.program("custom bootstrap", context.control().custom_bootstrap(cancel)).await??
    } else {
        context.program("initdb", context.control().initdb(cancel)).await??;
        StartAs::Primary
    };
    context.server.look().await;
    Ok(start)
}
