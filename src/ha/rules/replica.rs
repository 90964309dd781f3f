//! Following (ha-rules 12).

use super::{demote, diverged, slots, sync};
use crate::cluster::{CallbackEvent, Role, Upstream};
use crate::ha::cycle::{Cycle, Maybe, Step, Stop};
use crate::ha::memory::{DemoteMode, StartEvent};
use crate::ha::{Command, Job, Outcome, Rule, upstream};
use crate::types::Timeline;

/// Somebody else has the lock.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    let Some(leader) = cycle.facts.leader.clone() else { return Ok(None) };
    if cycle.in_standby_cluster() {
        return follow(cycle, Rule::DemotedInStandbyCluster, Rule::StandbyReplica(leader)).map(Some);
    }
    follow(cycle, Rule::DemotedWithoutLock, Rule::Replica(leader)).map(Some)
}

/// Makes the server follow whom it should. A running primary is demoted (rule `demoted`), but not in pause.
pub(super) fn follow(cycle: &mut Cycle<'_>, demoted: Rule, followed: Rule) -> Step {
    let whom = upstream::to_follow(cycle.view, &cycle.cluster);
    // A promotion that was signalled makes a primary of it in a moment.
    let soon_primary = cycle.role == Role::Promoted && cycle.facts.running && !cycle.facts.paused;
    if cycle.facts.is_primary || soon_primary {
        if cycle.facts.paused {
            cycle.set_role(Role::Primary);
            return Ok(Rule::PausedPrimaryWithoutLock);
        }
        let cluster = cycle.in_standby_cluster();
        demote::begin(cycle, if cluster { DemoteMode::Cluster } else { DemoteMode::ImmediateNolock })?;
        return Ok(demoted);
    }
    if !cycle.facts.has_lock {
        // Nobody feeds it without the lock, and a standby is no reason to reset the machine.
        cycle.disable_watchdog();
    }
    let repairs = diverged::is_at_issue(cycle);
    if cycle.facts.paused && (!repairs || cycle.facts.unlocked) {
        if cycle.role != Role::StandbyLeader {
            cycle.set_role(Role::Replica);
        }
        if whom.is_none() {
            return Ok(Rule::PausedNoUpstream);
        }
    }
    heed_remote_promotion(cycle)?;
    if may_repair(cycle)
        && let Some(rule) = diverged::repair(cycle)?
    {
        return Ok(rule);
    }
    resume_replay(cycle);
    sync::empty_list_of_standby(cycle);
    // Between two leaders a standby keeps its upstream: what it still receives is not lost, and before PostgreSQL 13
    // each change costs a restart.
    if cycle.facts.unlocked && whom.is_none() && !cycle.view.me.tags.nostream() {
        cycle.set_role(Role::Replica);
        return Ok(followed);
    }
    let role = upstream::role(whom.as_ref(), cycle.facts.has_lock);
    if cycle.in_standby_cluster() && whom.is_none() && !cycle.view.me.tags.nostream() {
        keep_or_become_replica(cycle);
        return Ok(Rule::KeepsOldStandbyLeader);
    }
    if adjust_recovery(cycle, whom, role)? {
        return Ok(followed);
    }
    if timeline_grew(cycle) && may_repair(cycle) {
        cycle.memory.rewind.arm(cycle.facts.wants_repair);
        if let Some(rule) = diverged::repair(cycle)? {
            return Ok(rule);
        }
    }
    Ok(followed)
}

/// In pause a server is stopped and rewound only if a switchover within this pause left it so.
fn may_repair(cycle: &Cycle<'_>) -> bool {
    !cycle.facts.paused || cycle.memory.switched_over_in_pause
}

/// A standby cluster learns of a promotion in the remote one by the history file that came with the WAL.
fn heed_remote_promotion(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    let armed = cycle.memory.rewind.is_needed() || !cycle.facts.wants_repair;
    let Some(timeline) = cycle.facts.leader_timeline.filter(|_| cycle.in_standby_cluster() && !armed) else {
        return Ok(());
    };
    let next = Timeline(timeline.0.saturating_add(1));
    if let Outcome::History(history) = cycle.ask(Command::ReadHistory(next))?
        && !history.lines.is_empty()
    {
        cycle.memory.rewind.arm(cycle.facts.wants_repair);
    }
    Ok(())
}

/// Who led a standby cluster and follows the remote server still is told to scripts as a replica when it follows another.
fn keep_or_become_replica(cycle: &mut Cycle<'_>) {
    if !cycle.in_standby_cluster() || cycle.role != Role::StandbyLeader {
        cycle.set_role(Role::Replica);
    }
}

fn resume_replay(cycle: &mut Cycle<'_>) {
    let halted = cycle.view.status.as_ref().is_some_and(|s| s.in_recovery && s.replay_paused);
    if halted && !cycle.facts.paused && !cycle.facts.starting && cycle.facts.version_at_least(140_000) {
        cycle.info("Resuming paused WAL replay for PostgreSQL 14+");
        cycle.tail(Command::ResumeReplay);
    }
}

/// Compares and applies recovery settings; slots and my own timeline are asked for on the way. Returns whether
/// something was changed.
fn adjust_recovery(cycle: &mut Cycle<'_>, whom: Option<Upstream>, role: Role) -> Result<bool, Stop> {
    let whom = whom.map(Box::new);
    let mut questions = vec![Command::CheckRecovery { upstream: whom.clone() }];
    if wants_own_timeline(cycle) {
        questions.push(Command::QueryOwnTimeline);
    }
    questions.extend(slots::question(cycle));
    let mut wanted = None;
    for outcome in cycle.ask_all(questions)? {
        match outcome {
            Outcome::Timeline(timeline) if timeline.0 > 0 => cycle.memory.last_timeline = Some(timeline),
            Outcome::Slots(found) => slots::found(cycle, found),
            Outcome::RecoveryCheck { change, restart } => wanted = Some((change, restart)),
            _ => {}
        }
    }
    // A server that was found running has its files written once.
    let adopt = !cycle.memory.joined && !cycle.facts.starting && cycle.facts.version_at_least(120_000);
    if let Some((change, restart)) = wanted
        && (change || adopt)
    {
        change_recovery(cycle, whom, role, restart)?;
        return Ok(true);
    }
    if role == Role::Replica {
        keep_or_become_replica(cycle);
    } else if cycle.role != role {
        cycle.set_role(role);
        cycle.callback(CallbackEvent::OnRoleChange, role);
    }
    Ok(false)
}

fn change_recovery(cycle: &mut Cycle<'_>, whom: Option<Box<Upstream>>, role: Role, restart: bool) -> Result<(), Stop> {
    let event = start_event(cycle, cycle.role, role);
    if restart {
        let job = Job::Follow { upstream: whom, role, timeout: None };
        if cycle.start("changing primary_conninfo and restarting", job)?.is_ok() {
            let restarted = if event == StartEvent::Start { StartEvent::Restart } else { event };
            cycle.memory.start_event = Some(restarted);
        }
    } else {
        cycle.tail(Command::ReloadRecovery { upstream: whom, role });
        cycle.role = role;
        match event {
            StartEvent::RoleChange(role) => cycle.callback(CallbackEvent::OnRoleChange, role),
            StartEvent::Start | StartEvent::Restart => cycle.callback(CallbackEvent::OnReload, role),
        }
    }
    cycle.memory.rewind.arm(cycle.facts.wants_repair);
    Ok(())
}

/// What scripts are told of a start as standby: a change of role, when they know the server in another one.
pub(super) fn start_event(cycle: &Cycle<'_>, before: Role, role: Role) -> StartEvent {
    let standbys = [Role::Replica, Role::StandbyLeader];
    let change = matches!(before, Role::Primary | Role::Promoted | Role::Demoted)
        || before != role && standbys.contains(&before) && standbys.contains(&role);
    if change && cycle.memory.joined { StartEvent::RoleChange(role) } else { StartEvent::Start }
}

/// Without a WAL receiver only a replication connection tells the timeline; it is opened when the leader's differs.
fn wants_own_timeline(cycle: &Cycle<'_>) -> bool {
    let receiving = |s: &crate::cluster::NodeStatus| s.receiver.as_ref().is_some_and(|r| r.timeline.0 > 0);
    let silent = cycle.facts.starting || cycle.view.status.as_ref().is_none_or(receiving);
    let known = cycle.memory.last_timeline;
    !silent && (known.is_none() || known != cycle.facts.leader_timeline)
}

fn timeline_grew(cycle: &Cycle<'_>) -> bool {
    let received = cycle.view.status.as_ref().and_then(|s| s.receiver.as_ref()).map(|r| r.timeline);
    let mine = received.filter(|t| t.0 > 0).or(cycle.memory.last_timeline);
    mine.zip(cycle.facts.leader_timeline).is_some_and(|(mine, leader)| mine < leader)
}
