//! A job runs (ha-rules 4.2): the cycle never waits for it.

use super::{candidates, demote, leader};
use crate::ha::cycle::{Cycle, Maybe, Step};
use crate::ha::memory::DemoteMode;
use crate::ha::{Command, JobKind, JobPhase, JobReport, Rule};

/// Renews the lock beside the job, or takes care that nothing becomes or stays a primary without it.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    let Some(job) = cycle.view.server.job.clone() else { return Ok(None) };
    let action = cycle.action();
    let owner = cycle.facts.leader.clone().unwrap_or_else(|| "None".to_owned());
    cycle.info(format!("Lock owner: {owner}; I am {}", cycle.me()));
    if cycle.facts.has_lock && cycle.renew()?.is_some() {
        leader::upkeep(cycle);
        return beside(cycle, &job, action).map(Some);
    }
    if !cycle.memory.bootstrapping && !cycle.facts.paused {
        let promotion = job.job.kind() == JobKind::Promote;
        // Somebody may have promoted the server by hand meanwhile.
        if promotion && job.phase != JobPhase::Promoting && !demote::may_write(cycle) {
            cycle.tail(Command::CancelJob);
            return Ok(Some(Rule::LostLeaderBeforePromote));
        }
        if demote::may_write(cycle) {
            cycle.info(format!("Demoting primary during {action}"));
            demote::begin(cycle, DemoteMode::ImmediateNolock)?;
            return Ok(Some(Rule::LostLeaderDuringJob(action)));
        }
    }
    if cycle.facts.unlocked {
        cycle.info("not healthy enough for leader race");
    }
    Ok(Some(Rule::JobInProgress(action)))
}

/// The lock is renewed.
fn beside(cycle: &mut Cycle<'_>, job: &JobReport, action: String) -> Step {
    if cycle.in_standby_cluster() && !job.cancelled {
        let restarts = job.job.kind() == JobKind::Restart && !cycle.view.server.facts.recovery_files;
        if restarts || job.job.kind() == JobKind::StartPrimary {
            demote::begin(cycle, DemoteMode::Cluster)?;
            return Ok(Rule::DemotingCluster);
        }
        if job.job.kind() == JobKind::Promote && job.phase != JobPhase::Promoting {
            cycle.tail(Command::CancelJob);
        }
    }
    let since = cycle.memory.crash_recovery.unwrap_or(job.since);
    let patience = cycle.view.global.primary_start_timeout;
    let too_long = job.job.kind() == JobKind::CrashRecovery && cycle.view.now.since(since) >= patience;
    if too_long && !job.cancelled && !cycle.facts.paused && candidates::exists(cycle, None, false)? {
        cycle.info("Demoting self because crash recovery is taking too long");
        demote::begin(cycle, DemoteMode::Immediate)?;
        return Ok(Rule::CrashRecoveryTimedOut);
    }
    Ok(Rule::LeaderDuringJob(action))
}
