//! Whether PostgreSQL may accept writes: what the fence has to know.

use crate::ha::{Job, JobKind, ServerReport};

/// Whether the server accepts writes, or may do so before the next report. Judged by its files and its own answer and not
/// by the published role, which is `demoted` already while a primary is still shutting down. `in_recovery`: its answer,
/// if it gave one in this cycle.
pub(super) fn may_write(report: &ServerReport, in_recovery: Option<bool>) -> bool {
    if report.job.as_ref().is_some_and(|j| makes_writable(&j.job)) {
        return true;
    }
    report.facts.postmaster.is_some() && !in_recovery.unwrap_or(report.facts.recovery_files)
}

/// Whether the job ends with a server that accepts writes.
pub(super) fn makes_writable(job: &Job) -> bool {
    matches!(job.kind(), JobKind::Promote | JobKind::StartPrimary)
}
