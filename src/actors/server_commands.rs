//! The short commands of a cycle on the server: each is carried out beside the mailbox, within its budget.

use super::jobs;
use super::messages::Wake;
use super::server::{Server, bounded};
use crate::cluster::{Role, StopMode, Upstream};
use crate::ha::{Command, Job, Outcome};
use crate::postgres::{PgError, StartAs};
use std::rc::Rc;
use std::time::Duration;
use tokio::time::timeout;
use tracing::warn;

/// After a reload the server gets this before it is asked what needs a restart (PG-25).
pub(super) const AFTER_RELOAD: Duration = Duration::from_secs(1);
/// The CHECKPOINT after a promotion: on a busy server it takes as long as `checkpoint_timeout` allows.
const PROMOTION_CHECKPOINT_PATIENCE: Duration = Duration::from_secs(3600);

/// Carries a command out.
pub(super) async fn execute(server: &Rc<Server>, command: Command, budget: Duration) -> Outcome {
    match timeout(budget, dispatch(server, command)).await {
        Ok(outcome) => outcome,
        Err(_) => Outcome::Unknown(format!("no answer from PostgreSQL within {} s", budget.as_secs_f32())),
    }
}

async fn dispatch(server: &Rc<Server>, command: Command) -> Outcome {
    let control = &server.control;
    match command {
        Command::StartJob(job) => start_job(server, job).await,
        Command::CancelJob => cancel_job(server).await,
        Command::SetRole(role) => {
            server.set_role(role);
            Outcome::Ok
        }
        Command::CheckRecovery { upstream } => {
            answer(control.check_recovery(upstream.as_deref()).await, |(change, restart)| Outcome::RecoveryCheck {
                change,
                restart,
            })
        }
        Command::ReloadRecovery { upstream, role } => {
            answer(reload_recovery(server, upstream, role).await, |()| Outcome::Ok)
        }
        Command::CheckpointAfterPromote => {
            checkpoint_after_promote(server);
            Outcome::Ok
        }
        Command::ResumeReplay => answer(control.resume_replay().await, |()| Outcome::Ok),
        Command::QueryOwnTimeline => answer(control.own_timeline().await, Outcome::Timeline),
        Command::QueryLeader(leader) => answer(control.leader_point(&leader).await, |p| Outcome::LeaderPoint {
            read_write: p.read_write,
            timeline: p.timeline,
            lsn: p.lsn,
            history: p.history,
        }),
        Command::QueryCheckpointEnd { timeline, lsn } => answer(control.record_end(timeline, lsn).await, Outcome::Lsn),
        Command::ReadHistory(timeline) => answer(control.history(timeline).await, Outcome::History),
        Command::QueryArchiving => Outcome::Archiving(control.archives().await),
        other => Outcome::Failed(format!("not a command for the postgres supervisor: {other:?}")),
    }
}

fn answer<T>(result: Result<T, PgError>, good: impl FnOnce(T) -> Outcome) -> Outcome {
    match result {
        Ok(value) => good(value),
        Err(PgError::NoConnection(reason)) => Outcome::Unreachable(reason),
        Err(PgError::TimedOut(reason)) => Outcome::Unknown(reason),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

/// Starts a job. One that was told to cancel is given the time to end; any other is in the way, but not of an immediate
/// stop: that one is wanted when the lock is lost, and ends whatever runs.
async fn start_job(server: &Rc<Server>, job: Job) -> Outcome {
    if matches!(job, Job::Stop { mode: StopMode::Immediate, .. }) && server.cancel_job() == Some(false) {
        server.abandon_job();
    }
    if server.job_is_cancelled() {
        server.no_job().await;
    }
    jobs::start(server, job).map_or(Outcome::Conflict, Outcome::JobStarted)
}

/// Cancels the job that runs, and waits until it has ended.
async fn cancel_job(server: &Rc<Server>) -> Outcome {
    match server.cancel_job() {
        None => Outcome::Ok,
        Some(false) => Outcome::Failed("the job has no way back".to_owned()),
        Some(true) => {
            server.no_job().await;
            Outcome::Ok
        }
    }
}

async fn reload_recovery(server: &Rc<Server>, upstream: Option<Box<Upstream>>, role: Role) -> Result<(), PgError> {
    let start = StartAs::Standby { upstream };
    server.configure_for(role);
    server.control.write_config(&start).await?;
    server.set_started_as(Some(start));
    server.control.reload().await?;
    server.set_role(role);
    server.refresh_pending_restart(AFTER_RELOAD);
    Ok(())
}

/// Runs beside everything else, one at a time, and wakes a cycle at its end.
fn checkpoint_after_promote(server: &Rc<Server>) {
    if !server.begin_checkpoint() {
        return;
    }
    let server = Rc::clone(server);
    actix::spawn(async move {
        let checkpoint = server.control.checkpoint(PROMOTION_CHECKPOINT_PATIENCE);
        if let Err(error) = bounded(PROMOTION_CHECKPOINT_PATIENCE, "CHECKPOINT", checkpoint).await {
            warn!("Exception during CHECKPOINT: {error}");
        }
        server.end_checkpoint();
        server.wake(Wake::Job);
    });
}
