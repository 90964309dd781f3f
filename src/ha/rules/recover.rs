//! The server is down (ha-rules 4, step 8, and 11).

use super::{candidates, demote, diverged, replica};
use crate::cluster::{CallbackEvent, ControlState, PgState, Role};
use crate::ha::cycle::{Cycle, Lease, Maybe, Step};
use crate::ha::memory::{DemoteMode, StartEvent};
use crate::ha::rewind::RewindState;
use crate::ha::{Job, Rule, upstream};

/// The first cycle after an attempt to start: what came of it.
pub(super) fn look_back(cycle: &mut Cycle<'_>) -> Maybe {
    if cycle.memory.remove_data && !cycle.facts.running && !cycle.facts.paused {
        let refused = cycle.start("removing data directory", Job::RemoveData)?.err();
        return Ok(Some(refused.unwrap_or(Rule::RemovingData)));
    }
    if !cycle.memory.recovering {
        return Ok(None);
    }
    cycle.memory.recovering = false;
    if !diverged::is_at_issue(cycle) && !cycle.facts.running {
        cycle.disable_watchdog();
        if !cycle.facts.has_lock {
            return Ok(Some(Rule::FailedStart));
        }
        if matches!(cycle.role, Role::Primary | Role::StandbyLeader) {
            cycle.set_role(Role::Demoted);
            cycle.callback(CallbackEvent::OnRoleChange, Role::Demoted);
        }
        cycle.release(None)?;
        return Ok(Some(Rule::ReleasedAfterFailedStart));
    }
    cycle.memory.crash_recovery = None;
    if cycle.memory.rewind == RewindState::Success {
        cycle.memory.rewind = RewindState::Initial;
    }
    Ok(None)
}

/// A stopped server is started: in place under the lock, else as a standby.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    if cycle.facts.running {
        return Ok(None);
    }
    cycle.warn("Postgresql is not running.");
    let lease = if cycle.facts.has_lock { cycle.renew()? } else { None };
    let patience = cycle.view.global.primary_start_timeout;
    if lease.is_some() && patience.is_zero() && candidates::exists(cycle, None, false)? {
        cycle.info("Primary crashed. Failing over.");
        demote::begin(cycle, DemoteMode::Immediate)?;
        return Ok(Some(Rule::FailedOverAfterCrash));
    }
    log_control_data(cycle);
    if let Some(moment) = diverged::too_early(cycle).filter(|_| !diverged::is_at_issue(cycle)) {
        cycle.wake_at(moment);
        return Ok(Some(Rule::FailedStart));
    }
    if lease.is_some() && !patience.is_zero() && was_primary(cycle) {
        return start_primary(cycle).map(Some);
    }
    cycle.disable_watchdog();
    if let Some(rule) = clean_up(cycle)? {
        return Ok(Some(rule));
    }
    if cycle.facts.has_lock && lease.is_none() {
        // The view is out of date: somebody else has the lock by now.
        cycle.reload()?;
    }
    start_standby(cycle, lease).map(Some)
}

/// We know that it ran as a primary a moment ago, and nothing says that it should be anything else.
fn was_primary(cycle: &Cycle<'_>) -> bool {
    let facts = &cycle.view.server.facts;
    let state = facts.control.as_ref().map(|c| c.state);
    let starts_by_itself = matches!(
        state,
        Some(
            ControlState::InProduction
                | ControlState::InCrashRecovery
                | ControlState::ShuttingDown
                | ControlState::ShutDown
        )
    );
    let crashed = matches!(cycle.view.server.state, PgState::Crashed | PgState::Running);
    let primary = cycle.role == Role::Primary && !facts.recovery_files;
    starts_by_itself && crashed && primary && !cycle.in_standby_cluster()
}

fn start_primary(cycle: &mut Cycle<'_>) -> Step {
    let timeout = cycle.view.global.primary_start_timeout;
    let refused = cycle.start("starting primary after failure", Job::StartPrimary { timeout })?.err();
    if refused.is_none() {
        cycle.memory.recovering = true;
        cycle.memory.start_event = Some(StartEvent::Start);
    }
    Ok(refused.unwrap_or(Rule::StartingPrimary))
}

/// Crash recovery in single-user mode, where the files need it.
fn clean_up(cycle: &mut Cycle<'_>) -> Maybe {
    let facts = &cycle.view.server.facts;
    let dirty = matches!(
        facts.control.as_ref().map(|c| c.state),
        Some(ControlState::InProduction | ControlState::ShuttingDown | ControlState::InCrashRecovery)
    );
    if !dirty {
        return Ok(None);
    }
    if facts.backup_label {
        cycle.info(
            "Skipping single-user crash recovery because backup_label exists; PostgreSQL will handle it during normal startup",
        );
        return Ok(None);
    }
    diverged::crash_recovery(cycle)
}

fn start_standby(cycle: &mut Cycle<'_>, lease: Option<Lease>) -> Step {
    let mut role = Role::Replica;
    let (rule, whom) = if lease.is_some() && !cycle.in_standby_cluster() {
        // The checkpoint after the promotion that follows must not be forgotten.
        cycle.memory.rewind = RewindState::Initial;
        (Rule::StartingReadOnly, None)
    } else {
        if !cycle.memory.rewind.executed() {
            cycle.memory.rewind.arm(cycle.facts.wants_repair);
        }
        if let Some(rule) = diverged::repair(cycle)? {
            return Ok(rule);
        }
        let mut rule = Rule::StartingSecondary;
        if cycle.in_standby_cluster() && lease.is_some() {
            (rule, role) = (Rule::StartingStandbyLeader, Role::StandbyLeader);
        } else if cycle.in_standby_cluster() && cycle.facts.unlocked {
            rule = Rule::StartingBehindRemote;
        }
        (rule, upstream::to_follow(cycle.view, &cycle.cluster).map(Box::new))
    };
    if let Some(moment) = diverged::too_early(cycle) {
        cycle.wake_at(moment);
        return Ok(Rule::FailedStart);
    }
    let timeout = lease.map(|_| cycle.view.global.primary_start_timeout);
    let event = replica::start_event(cycle, cycle.role, role);
    let job = Job::Follow { upstream: whom, role, timeout };
    let refused = cycle.start("restarting after failure", job)?.err();
    if refused.is_none() {
        cycle.memory.recovering = true;
        cycle.memory.start_event = Some(event);
    }
    Ok(refused.unwrap_or(rule))
}

fn log_control_data(cycle: &mut Cycle<'_>) {
    let lines = cycle.view.server.facts.control.as_ref().map(|c| c.lines.iter()).into_iter().flatten();
    let text: Vec<String> = lines.map(|(name, value)| format!("  {name}: {value}")).collect();
    cycle.info(format!("pg_controldata:\n{}\n", text.join("\n")));
}
