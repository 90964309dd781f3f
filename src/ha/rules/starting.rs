//! The server starts (ha-rules 4.3).

use super::{candidates, demote, failover, leader};
use crate::ha::Rule;
use crate::ha::cycle::{Cycle, Maybe};
use crate::ha::memory::DemoteMode;

/// Under the lock a start has limited patience; a standby goes on as usual.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    if !cycle.facts.starting || cycle.facts.paused {
        cycle.memory.start_timeout = None;
        return Ok(None);
    }
    if !cycle.facts.has_lock {
        cycle.info("Still starting up as a standby.");
        return Ok(None);
    }
    if cycle.renew()?.is_none() {
        cycle.info("Lost lock while starting up. Demoting self.");
        demote::begin(cycle, DemoteMode::ImmediateNolock)?;
        return Ok(Some(Rule::LostLeaderWhileStarting));
    }
    leader::upkeep(cycle);
    if cycle.in_standby_cluster() && !cycle.view.server.facts.recovery_files {
        demote::begin(cycle, DemoteMode::Cluster)?;
        return Ok(Some(Rule::DemotingCluster));
    }
    let patience = cycle.memory.start_timeout.unwrap_or(cycle.view.global.primary_start_timeout);
    let left = patience.saturating_sub(cycle.view.now.since(cycle.view.server.state_since));
    if left.is_zero() {
        if candidates::exists(cycle, None, false)? {
            cycle.info("Demoting self because primary startup is taking too long");
            demote::begin(cycle, DemoteMode::Immediate)?;
            return Ok(Some(Rule::StartTimedOut));
        }
        return Ok(Some(Rule::StartTimedOutAlone));
    }
    if let Some(rule) = failover::from_leader(cycle)? {
        return Ok(Some(rule));
    }
    cycle.wake_within(left);
    Ok(Some(Rule::StillStarting(left.as_secs_f64().round() as u64)))
}
