//! The lock is mine (ha-rules 6 and 10).

use super::{candidates, demote, diverged, failover, failsafe, history, replica, retention, slots, sync};
use crate::cluster::{Member, PgState, Role};
use crate::ha::cycle::{Cycle, Lease, Maybe, Step};
use crate::ha::memory::DemoteMode;
use crate::ha::rewind::RewindState;
use crate::ha::{Command, Job, Level, Rule};

/// The lock is mine by the view.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    if !cycle.facts.has_lock {
        return Ok(None);
    }
    cycle.info(format!("Lock owner: {0}; I am {0}", cycle.me()));
    let chosen = candidates::request(&cycle.cluster).is_some_and(|k| k.candidate.as_deref() == Some(cycle.me()));
    let waiting = cycle.facts.paused && !cycle.facts.is_primary;
    let standby_cluster = cycle.in_standby_cluster();
    if waiting && !chosen && !standby_cluster {
        cycle.release(None)?;
        return Ok(Some(Rule::ReleasedNotPrimary));
    }
    let Some(lease) = cycle.renew()? else { return lost(cycle).map(Some) };
    upkeep(cycle);
    retention::write_status_later(cycle);
    if waiting
        && !standby_cluster
        && (cycle.view.status.is_none() || matches!(cycle.role, Role::Primary | Role::Promoted))
    {
        return Ok(Some(Rule::WaitingForPromotion));
    }
    if let Some(rule) = failover::from_leader(cycle)? {
        return Ok(Some(rule));
    }
    if standby_cluster {
        return lead_standby_cluster(cycle).map(Some);
    }
    enforce(cycle, lease, Rule::Leader, Rule::PromotedWithLock).map(Some)
}

/// The holder of a standby cluster's lock follows the remote server (ha-rules 20).
fn lead_standby_cluster(cycle: &mut Cycle<'_>) -> Step {
    cycle.memory.pre_promote_failed = false;
    let leads = cycle.role == Role::StandbyLeader;
    let followed = if leads { Rule::StandbyLeader } else { Rule::BecameStandbyLeader };
    replica::follow(cycle, Rule::DemotingCluster, followed)
}

fn lost(cycle: &mut Cycle<'_>) -> Step {
    cycle.log(Level::Error, "failed to update leader lock");
    if !cycle.facts.is_primary {
        return Ok(Rule::LostLockNotPromoting);
    }
    if cycle.facts.paused {
        return Ok(Rule::LostLockPaused);
    }
    demote::begin(cycle, DemoteMode::ImmediateNolock)?;
    Ok(Rule::LostLockDemoted)
}

/// What the holder of a renewed lock writes when it is missing or has changed (HA-04, HA-05, FSM-02).
pub(super) fn upkeep(cycle: &mut Cycle<'_>) {
    if cycle.cluster.system_id().is_none()
        && let Some(system_id) = cycle.facts.system_id
    {
        let create_only = cycle.cluster.initialize.is_none();
        cycle.tail(Command::Initialize { system_id: Some(system_id), create_only });
    }
    failsafe::publish(cycle);
    let config = &cycle.view.me.dynamic_config;
    if cycle.cluster.config.as_ref().is_none_or(|c| c.data.is_empty()) && !config.is_empty() {
        cycle.tail(Command::WriteConfig { data: config.clone(), expect: None });
    }
}

/// Makes sure that the holder of the lock is a primary (ha-rules 10), and that a watchdog stands behind it.
pub(super) fn enforce(cycle: &mut Cycle<'_>, _lease: Lease, message: Rule, promoted: Rule) -> Step {
    if !cycle.facts.paused {
        if cycle.memory.pre_promote_failed {
            cycle.warn("Releasing the leader key voluntarily because the pre-promote script failed");
            cycle.memory.pre_promote_failed = false;
            cycle.memory.no_race_until = Some(cycle.view.now + cycle.view.global.ttl);
            cycle.release(None)?;
            return Ok(Rule::PromotionCancelled);
        }
        if !cycle.activate_watchdog()? {
            return without_watchdog(cycle);
        }
    }
    if cycle.facts.is_primary {
        let Some(status) = &cycle.view.status else { return Ok(Rule::ServerSilent) };
        let timeline = status.timeline;
        cycle.set_role(Role::Primary);
        cycle.memory.last_timeline = None;
        sync::maintain(cycle)?;
        history::maintain(cycle, timeline)?;
        checkpoint(cycle);
        help_starting_members(cycle);
        return Ok(message);
    }
    if cycle.role == Role::Promoted {
        // The signal was given; recovery is not over yet.
        return Ok(message);
    }
    promote(cycle, promoted)
}

/// A required watchdog could not be activated: nothing stays or becomes a primary here (WD-04).
fn without_watchdog(cycle: &mut Cycle<'_>) -> Step {
    if cycle.facts.is_primary || cycle.role == Role::Promoted {
        demote::begin(cycle, DemoteMode::Immediate)?;
        return Ok(Rule::DemotedWithoutWatchdog);
    }
    cycle.release(None)?;
    // An answer that came too late to be heard may have left it armed.
    cycle.tail(Command::WatchdogDisable);
    Ok(Rule::NotPromotedWithoutWatchdog)
}

fn promote(cycle: &mut Cycle<'_>, promoted: Rule) -> Step {
    if cycle.view.status.is_none() || cycle.facts.starting {
        // Who does not answer cannot be told to promote.
        return Ok(Rule::ServerSilent);
    }
    if let Some(moment) = diverged::too_early(cycle) {
        cycle.wake_at(moment);
        return Ok(Rule::JobInProgress("promote".to_owned()));
    }
    if !sync::before_promotion(cycle)? {
        return Ok(Rule::PromotionPostponed);
    }
    let job = Job::Promote { wait: cycle.view.global.loop_wait };
    let refused = cycle.start("promote", job)?.err();
    if refused.is_none() {
        slots::warn_of_unproven(cycle);
        cycle.memory.last_timeline = None;
        cycle.memory.rewind = RewindState::Initial;
        cycle.memory.recovering = false;
    }
    Ok(refused.unwrap_or(promoted))
}

/// A member that was rewound or copied becomes consistent at the position where my next record was to begin. On an idle
/// primary that record would come up to 25 s later (bgwriter's standby snapshot), after a switch of segments above all.
fn help_starting_members(cycle: &mut Cycle<'_>) {
    let waits = |m: &Member| m.data.state == Some(PgState::Starting) && m.name != cycle.view.me.name.as_str();
    if cycle.cluster.members.iter().any(waits) {
        cycle.tail(Command::ProduceWal);
    }
}

/// After a promotion a checkpoint brings the new timeline into control data, which pg_rewind of others reads. It is
/// asked for until control data shows it; the supervisor runs one at a time.
fn checkpoint(cycle: &mut Cycle<'_>) {
    if cycle.memory.rewind == RewindState::Checkpoint {
        return;
    }
    let Some(status) = &cycle.view.status else { return };
    let control = cycle.view.server.facts.control.as_ref().map(|c| c.timeline);
    if status.control_timeline.or(control) == Some(status.timeline) {
        cycle.memory.rewind = RewindState::Checkpoint;
    } else {
        cycle.tail(Command::CheckpointAfterPromote);
    }
}
