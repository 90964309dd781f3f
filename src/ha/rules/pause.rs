//! Maintenance mode (ha-rules 18).

use crate::ha::Rule;
use crate::ha::cycle::{Cycle, Maybe};
use crate::ha::rewind::RewindState;

/// Remembers entering and leaving. Never ends the cycle.
pub(super) fn bookkeeping(cycle: &mut Cycle<'_>) -> Maybe {
    if cycle.facts.paused {
        cycle.disable_watchdog();
    } else if cycle.memory.was_paused {
        // People may have done anything meanwhile: divergence and checkpoint are looked at anew.
        cycle.memory.rewind = RewindState::Initial;
        cycle.memory.switched_over_in_pause = false;
        cycle.memory.remove_data = false;
    }
    cycle.memory.was_paused = cycle.facts.paused;
    Ok(None)
}

/// A stopped server in pause is left alone, unless it was stopped for a switchover and has to be rewound.
pub(super) fn stopped(cycle: &mut Cycle<'_>) -> Maybe {
    if cycle.facts.running || !cycle.facts.paused {
        return Ok(None);
    }
    if cycle.facts.has_lock {
        cycle.release(None)?;
        return Ok(Some(Rule::PausedReleasedNotRunning));
    }
    let rewind = cycle.memory.rewind;
    let ours = cycle.memory.switched_over_in_pause;
    let hopeful = rewind == RewindState::Success || rewind.is_needed() && cycle.facts.can_repair;
    Ok(if ours && hopeful { None } else { Some(Rule::PausedNotRunning) })
}
