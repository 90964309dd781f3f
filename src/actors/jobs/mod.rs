//! Long work on the server, one file a kind. A job is a future beside the mailbox; it publishes its phase, obeys its
//! flag where there is a way back, and cleans up after itself.

mod archive_checkpoint;
mod bootstrap;
mod clone;
mod copy_slots;
mod crash_recovery;
mod data_dir;
mod follow;
mod launch;
mod post_bootstrap;
mod promote;
mod reinitialize;
mod restart;
mod rewind;
mod shutdown;
mod start_primary;
mod stop;

use super::server::{Server, bounded};
use crate::ha::{Job, JobId, JobPhase, JobResult};
use crate::postgres::{Cancel, PgError, PostgresControl};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tracing::{debug, warn};

/// A step on files, or a signal.
const STEP_PATIENCE: Duration = Duration::from_secs(30);
/// A CHECKPOINT that nobody limits.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(300);
/// What a program gets to end after the flag was raised: SIGTERM, SIGKILL after 10 s, and cleaning up.
const CANCEL_PATIENCE: Duration = Duration::from_secs(30);

/// What a job works with.
struct JobContext {
    server: Rc<Server>,
    cancel: Cancel,
}

/// Starts a job beside the mailbox. `None` when one runs.
pub(super) fn start(server: &Rc<Server>, job: Job) -> Option<JobId> {
    let (id, cancel) = server.begin_job(&job)?;
    debug!("job {} begins: {:?}", id.0, job.kind());
    let server = Rc::clone(server);
    actix::spawn(async move {
        let context = JobContext { server: Rc::clone(&server), cancel };
        let end = tokio::select! {
            biased;
            () = server.job_abandoned.notified() => Err(PgError::Cancelled),
            end = run(&context, job) => end,
        };
        let result = match end {
            Ok(result) => result,
            Err(PgError::Cancelled) => JobResult::Cancelled,
            Err(error) => JobResult::Failed(error.to_string()),
        };
        debug!("job {} ended: {result:?}", id.0);
        server.end_job(result);
    });
    Some(id)
}

async fn run(context: &JobContext, job: Job) -> Result<JobResult, PgError> {
    match job {
        Job::StartPrimary { timeout } => start_primary::run(context, timeout).await,
        Job::Follow { upstream, role, timeout } => follow::run(context, upstream, role, timeout).await,
        Job::Stop { mode, checkpoint, timeout, role } => stop::run(context, mode, checkpoint, timeout, role).await,
        Job::Restart { timeout } => restart::run(context, timeout).await,
        Job::Promote { wait } => promote::run(context, wait).await,
        Job::Rewind { upstream } => rewind::run(context, &upstream).await,
        Job::CrashRecovery => crash_recovery::run(context).await,
        Job::Bootstrap => bootstrap::run(context).await,
        Job::PostBootstrap => post_bootstrap::run(context).await,
        Job::Clone { source, upstream, basebackup_only } => {
            clone::run(context, source.as_deref(), upstream, basebackup_only).await
        }
        Job::Reinitialize { source, upstream, basebackup_only } => {
            reinitialize::run(context, source.as_deref(), upstream, basebackup_only).await
        }
        Job::CopySlots { upstream, slots } => copy_slots::run(context, &upstream, &slots).await,
        Job::ArchiveCheckpoint => archive_checkpoint::run(context).await,
        Job::MoveDataAside => data_dir::move_aside(context).await,
        Job::RemoveData => data_dir::remove(context).await,
    }
}

impl JobContext {
    fn control(&self) -> &dyn PostgresControl {
        &*self.server.control
    }

    /// The patience of a start that names none.
    fn start_patience(&self, timeout: Option<Duration>) -> Duration {
        timeout.unwrap_or_else(|| self.server.settings().postgresql.pg_ctl_timeout)
    }

    fn phase(&self, phase: JobPhase) {
        self.server.set_phase(phase);
    }

    fn check_cancelled(&self) -> Result<(), PgError> {
        if *self.cancel.borrow() { Err(PgError::Cancelled) } else { Ok(()) }
    }

    /// Resolves when the flag is raised, else never.
    async fn cancelled(&self) {
        let mut cancel = self.cancel.clone();
        if cancel.wait_for(|raised| *raised).await.is_err() {
            // The owner of the flag is gone: nobody can raise it any more.
            std::future::pending::<()>().await;
        }
    }

    /// A short step that leaves things whole only when it runs to its end: the flag is looked at before it.
    async fn step<T>(&self, what: &str, step: impl Future<Output = Result<T, PgError>>) -> Result<T, PgError> {
        self.check_cancelled()?;
        bounded(STEP_PATIENCE, what, step).await
    }

    /// A program that looks at the flag itself; it is dropped when it does not end in time after the flag was raised.
    async fn program<T>(&self, what: &str, step: impl Future<Output = T>) -> Result<T, PgError> {
        self.check_cancelled()?;
        let overdue = async {
            self.cancelled().await;
            tokio::time::sleep(CANCEL_PATIENCE).await;
        };
        tokio::select! {
            biased;
            end = step => Ok(end),
            () = overdue => {
                warn!("{what} was cancelled and has not ended within {} s", CANCEL_PATIENCE.as_secs());
                Err(PgError::Cancelled)
            }
        }
    }

    /// Removes what a failed or cancelled copy left behind; a failure is only logged, since the job has failed already.
    async fn clean_up_data(&self) {
        let removed =
            bounded(data_dir::REMOVE_PATIENCE, "removal of the data directory", self.control().remove_data()).await;
        if let Err(error) = removed {
            warn!("could not remove the data directory: {error}");
        }
        self.server.look().await;
    }
}
