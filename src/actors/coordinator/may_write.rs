//! Whether PostgreSQL may accept writes: what the fence has to know.

use crate::cluster::Role;
use crate::ha::{Job, JobKind, JobPhase, ServerReport};

/// Whether the server accepts writes, or may do so before the next report. Judged by its files and its own answer and not
/// by the published role, which is `demoted` already while a primary is still shutting down. `in_recovery`: its answer,
/// if it gave one in this cycle.
pub(super) fn may_write(report: &ServerReport, in_recovery: Option<bool>) -> bool {
    if let Some(job) = &report.job {
        let restarts_primary = job.job.kind() == JobKind::Restart && !report.facts.recovery_files;
        if makes_writable(&job.job) || restarts_primary {
            return true;
        }
        // After the shutdown checkpoint nothing is written any more; archiving may take its time.
        if matches!(job.phase, JobPhase::ShutDown { .. }) {
            return false;
        }
    }
    // The signal to promote was given: recovery ends at any moment.
    let promoted = report.role == Role::Promoted;
    report.facts.postmaster.is_some() && (promoted || !in_recovery.unwrap_or(report.facts.recovery_files))
}

/// Whether the job ends with a server that accepts writes.
pub(super) fn makes_writable(job: &Job) -> bool {
    matches!(job.kind(), JobKind::Promote | JobKind::StartPrimary)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{DataDir, PgState, Postmaster, Readiness, ServerFacts, StopMode};
    use crate::ha::{JobId, JobReport};
    use crate::types::{Lsn, Mono};

    fn report(role: Role, running: bool, recovery_files: bool, job: Option<(Job, JobPhase)>) -> ServerReport {
        let at = Mono::default();
        let postmaster = running.then_some(Postmaster { pid: 7, start_ticks: 1 });
        let job = job.map(|(job, phase)| JobReport { id: JobId(1), job, phase, since: at, cancelled: false });
        let data_dir = DataDir::Present(None);
        ServerReport {
            state: PgState::Running,
            state_since: at,
            role,
            facts: ServerFacts { at, data_dir, postmaster, control: None, recovery_files, backup_label: false },
            readiness: Readiness::Accepting,
            version: None,
            pending_restart: indexmap::IndexMap::new(),
            job,
            ended: Vec::new(),
            pg_rewind_works: false,
            no_clients: false,
        }
    }

    #[test]
    fn the_fence_watches_whatever_may_write() {
        let promote = || Job::Promote { wait: std::time::Duration::ZERO };
        let restart = || Job::Restart { timeout: None };
        let stop = || Job::Stop { mode: StopMode::Fast, checkpoint: false, timeout: None, role: None };
        let shut_down = || JobPhase::ShutDown { checkpoint: Lsn(1), release: Lsn(1) };
        for (what, report, says, expected) in [
            ("a primary", report(Role::Primary, true, false, None), Some(false), true),
            ("a silent primary", report(Role::Primary, true, false, None), None, true),
            ("an adopted server", report(Role::Uninitialized, true, false, None), None, true),
            ("a standby", report(Role::Replica, true, true, None), Some(true), false),
            ("a standby without files", report(Role::Replica, true, false, None), Some(true), false),
            (
                "a promotion",
                report(Role::Replica, true, true, Some((promote(), JobPhase::PrePromote))),
                Some(true),
                true,
            ),
            ("promoted, still in recovery", report(Role::Promoted, true, true, None), Some(true), true),
            ("a demoted primary", report(Role::Demoted, true, false, Some((stop(), JobPhase::Stopping))), None, true),
            (
                "after its shutdown checkpoint",
                report(Role::Demoted, true, false, Some((stop(), shut_down()))),
                None,
                false,
            ),
            ("a restart, down", report(Role::Primary, false, false, Some((restart(), JobPhase::Working))), None, true),
            (
                "a standby's restart",
                report(Role::Replica, false, true, Some((restart(), JobPhase::Working))),
                None,
                false,
            ),
            ("nothing", report(Role::Demoted, false, false, None), None, false),
        ] {
            assert_eq!(may_write(&report, says), expected, "{what}");
        }
    }
}
