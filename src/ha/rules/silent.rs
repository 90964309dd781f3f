//! The store is silent (ha-rules 4.1): nobody can know who leads.

use super::{demote, failsafe, slots};
use crate::ha::cycle::{Cycle, Maybe, Step};
use crate::ha::memory::DemoteMode;
use crate::ha::{Command, JobKind, JobPhase, Level, Rule};

/// The view could not be read.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    match &cycle.view.cluster {
        Ok(_) => Ok(None),
        Err(failure) => {
            cycle.log(Level::Error, format!("Error communicating with DCS: {}", failure.reason));
            step_down(cycle).map(Some)
        }
    }
}

/// What follows from silence, at the begin of a cycle or in the middle of it. The store's own retry budget has been
/// used up by then, so a primary does not wait for another cycle.
pub(super) fn step_down(cycle: &mut Cycle<'_>) -> Step {
    if cycle.view.cluster.is_ok() {
        cycle.log(Level::Error, "Error communicating with DCS");
    }
    if cycle.memory.process_end.is_some() {
        return Ok(Rule::Stopping);
    }
    if cycle.memory.demotion.is_some() {
        return demote::proceed(cycle);
    }
    let job = cycle.view.server.job.as_ref();
    if job.is_some_and(|j| j.job.kind() == JobKind::Promote && j.phase != JobPhase::Promoting) {
        // Nobody can say any more whether the lock is still there when the signal is given.
        cycle.tail(Command::CancelJob);
    }
    let starts_primary = job.is_some_and(|j| {
        matches!(j.job.kind(), JobKind::StartPrimary | JobKind::Restart | JobKind::Promote) && demote::may_write(cycle)
    });
    let primary = cycle.facts.is_primary || starts_primary;
    if cycle.facts.paused || cycle.memory.bootstrapping {
        return Ok(Rule::StoreSilent);
    }
    if !primary {
        slots::without_store(cycle)?;
        return Ok(Rule::StoreSilent);
    }
    if failsafe::goes_on(cycle)? {
        slots::without_store(cycle)?;
        return Ok(Rule::FailsafeLeader);
    }
    cycle.info("demoting self because DCS is not accessible and I was a leader");
    demote::begin(cycle, DemoteMode::Offline)?;
    Ok(Rule::DemotedOffline)
}
