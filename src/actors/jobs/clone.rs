//! A copy of another member.

use super::data_dir::REMOVE_PATIENCE;
use super::launch::{Launch, launch};
use super::{JobContext, bounded};
use crate::cluster::{DataDir, PgState, Role, Upstream};
use crate::ha::{JobPhase, JobResult};
use crate::postgres::{PgError, StartAs};
use tracing::error;

/// Copies into an empty data directory and starts as a standby. What a failed or cancelled copy left is removed. Data that
/// has appeared since the rules saw none (a volume that was mounted late) is left alone.
pub(super) async fn run(
    context: &JobContext,
    source: Option<&Upstream>,
    upstream: Option<Box<Upstream>>,
    basebackup_only: bool,
) -> Result<JobResult, PgError> {
    if let DataDir::Present(_) = context.server.look().await.data_dir {
        return Err(PgError::Program("the data directory is not empty: it is not copied over".to_owned()));
    }
    replace(context, source, upstream, basebackup_only).await
}

/// Wipes the data directory, copies, and starts as a standby.
pub(super) async fn replace(
    context: &JobContext,
    source: Option<&Upstream>,
    upstream: Option<Box<Upstream>>,
    basebackup_only: bool,
) -> Result<JobResult, PgError> {
    let server = &context.server;
    let facts = server.look().await;
    if server.postmaster().is_some() {
        return Err(PgError::Program("a server runs in the data directory: it is not wiped".to_owned()));
    }
    if let DataDir::Inaccessible(reason) = facts.data_dir {
        return Err(PgError::File(reason));
    }
    server.set_state(PgState::CreatingReplica);
    server.set_role(Role::Uninitialized);
    if facts.data_dir != DataDir::Empty {
        let removal = context.control().remove_data();
        bounded(REMOVE_PATIENCE, "removal of the data directory", removal).await?;
    }
    context.phase(JobPhase::Copying);
    let cancel = context.cancel.clone();
    let copy = context.control().create_replica(source, basebackup_only, cancel);
    let end = match context.program("copy of another member", copy).await {
        Ok(end) => end,
        Err(error) => Err(error),
    };
    server.set_state(PgState::Stopped);
    if let Err(error) = end.and_then(|()| context.check_cancelled()) {
        if error != PgError::Cancelled {
            error!("failed to create a replica: {error}");
        }
        context.clean_up_data().await;
        return Err(error);
    }
    server.look().await;
    let plan = Launch {
        start: StartAs::Standby { upstream },
        write_recovery: true,
        role: Some(Role::Replica),
        state: PgState::Starting,
        patience: context.start_patience(None),
    };
    launch(context, plan).await
}
