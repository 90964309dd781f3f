//! The one long job that may run.

use super::Server;
use crate::actors::messages::Wake;
use crate::ha::{Job, JobEnd, JobId, JobPhase, JobReport, JobResult};
use crate::postgres::Cancel;
use std::rc::Rc;
use tokio::sync::watch;

impl Server {
    /// Notes a new job. `None` when one runs; else its number and the flag that cancels it.
    pub fn begin_job(&self, job: &Job) -> Option<(JobId, Cancel)> {
        let since = self.clock.mono();
        let mut inner = self.inner_mut();
        if inner.report.job.is_some() {
            return None;
        }
        let id = JobId(inner.next_job);
        inner.next_job += 1;
        let (raise, cancel) = watch::channel(false);
        inner.cancel = Some(raise);
        let phase = JobPhase::Working;
        inner.report.job = Some(JobReport { id, job: job.clone(), phase, since, cancelled: false });
        Some((id, cancel))
    }

    /// Notes how a job ended, and wakes a cycle.
    pub fn end_job(self: &Rc<Self>, result: JobResult) {
        let at = self.clock.mono();
        {
            let mut inner = self.inner_mut();
            inner.cancel = None;
            inner.report.no_clients = false;
            if let Some(JobReport { id, job, .. }) = inner.report.job.take() {
                inner.report.ended.push(JobEnd { id, job, result, at });
            }
        }
        self.job_ended.notify_waiters();
        self.watch_start();
        self.wake(Wake::Job);
    }

    /// Moves the running job to another phase, and wakes a cycle when that is one a rule asks about.
    pub fn set_phase(&self, phase: JobPhase) {
        let changed = {
            let mut inner = self.inner_mut();
            match inner.report.job.as_mut() {
                Some(report) if report.phase != phase => {
                    report.phase = phase;
                    true
                }
                _ => false,
            }
        };
        if changed {
            self.wake(Wake::Job);
        }
    }

    /// Raises the running job's flag, unless its phase has no way back. `None`: no job runs; `Some(false)`: too late.
    pub fn cancel_job(&self) -> Option<bool> {
        let mut inner = self.inner_mut();
        let report = inner.report.job.as_mut()?;
        if report.phase == JobPhase::Promoting {
            return Some(false);
        }
        report.cancelled = true;
        if let Some(raise) = &inner.cancel {
            raise.send_replace(true);
        }
        Some(true)
    }

    /// Gives up the running job where it stands, in a phase that has no way back: only for a server that is stopped at
    /// once after that.
    pub fn abandon_job(&self) {
        if let Some(report) = self.inner_mut().report.job.as_mut() {
            report.cancelled = true;
        }
        self.job_abandoned.notify_waiters();
    }

    /// Whether the running job was told to cancel.
    pub fn job_is_cancelled(&self) -> bool {
        self.inner().report.job.as_ref().is_some_and(|j| j.cancelled)
    }

    /// Waits until no job runs.
    pub async fn no_job(&self) {
        loop {
            let ended = self.job_ended.notified();
            if self.job().is_none() {
                return;
            }
            ended.await;
        }
    }
}
