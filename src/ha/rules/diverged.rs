//! The divergence check and what follows from it (ha-rules 13): the questions around the state machine of `rewind.rs`.

use crate::cluster::{Member, Role, Upstream};
use crate::ha::cycle::{Cycle, Maybe, Stop};
use crate::ha::memory::StartEvent;
use crate::ha::rewind::{LeaderHistory, LocalPoint, RewindState, Verdict, are_twins, compare, history_excerpt};
use crate::ha::{Command, Job, Level, Outcome, Rule, upstream};
use crate::types::{Lsn, Timeline};

/// Answers an armed question if it can be answered, and repairs a diverged data directory: crash recovery, then
/// pg_rewind, or a new copy. `None`: nothing to do, or nothing can be done yet.
pub(super) fn repair(cycle: &mut Cycle<'_>) -> Maybe {
    let Some((leader, to_leader)) = upstream::to_compare(cycle.view, &cycle.cluster) else { return Ok(None) };
    if cycle.memory.rewind == RewindState::Check && cycle.facts.can_repair {
        check(cycle, leader.as_ref(), &to_leader)?;
    }
    let twin = cycle.memory.rewind == RewindState::Twin;
    if cycle.memory.rewind != RewindState::Need && !twin {
        return Ok(None);
    }
    if cycle.facts.can_rewind && !twin {
        return rewind(cycle, leader.as_ref(), to_leader);
    }
    if cycle.view.global.remove_data_directory_on_diverged_timelines && !cycle.in_standby_cluster() {
        return copy_anew(cycle);
    }
    Ok(None)
}

/// The question is open or answered with yes, and something can be done about it.
pub(super) fn is_at_issue(cycle: &Cycle<'_>) -> bool {
    cycle.memory.rewind.is_needed() && cycle.facts.can_repair
}

fn check(cycle: &mut Cycle<'_>, leader: Option<&Member>, to_leader: &Upstream) -> Result<(), Stop> {
    // A leader that is no primary yet has no history to compare with.
    if leader.is_some_and(|leader| leader.data.role != Some(Role::Primary)) {
        return Ok(());
    }
    let ask_leader = Command::QueryLeader(Box::new(to_leader.clone()));
    let (local, point) = if cycle.facts.running && !cycle.facts.starting {
        let Some(lsn) = cycle.view.status.as_ref().and_then(|s| s.replay_lsn) else { return Ok(()) };
        let mut answers = cycle.ask_all(vec![Command::QueryOwnTimeline, ask_leader])?.into_iter();
        let Some(Outcome::Timeline(timeline)) = answers.next() else { return Ok(()) };
        (LocalPoint { in_recovery: true, timeline, lsn }, answers.next())
    } else {
        if cycle.facts.starting {
            cycle.info("PostgreSQL is still starting, will use pg_controldata as a fallback");
        }
        let control = cycle.view.server.facts.control.as_ref();
        let Some(local) = control.and_then(LocalPoint::of_stopped) else { return Ok(()) };
        (local, Some(cycle.ask(ask_leader)?))
    };
    cycle.info(format!("Local timeline={} lsn={}", local.timeline, local.lsn));
    let Some(Outcome::LeaderPoint { read_write, timeline, history, .. }) = point else { return Ok(()) };
    if !read_write {
        cycle.info("Leader is still in_recovery and therefore can't be used for rewind");
        return Ok(());
    }
    cycle.info(format!("primary_timeline={timeline}"));
    conclude(cycle, local, timeline, &history)
}

fn conclude(
    cycle: &mut Cycle<'_>,
    local: LocalPoint,
    timeline: Timeline,
    history: &[(Timeline, Lsn)],
) -> Result<(), Stop> {
    if local.timeline < timeline && !history.is_empty() {
        cycle.info(format!("primary: history={}", history_excerpt(local.timeline, history)));
    }
    if local.timeline == timeline && timeline.0 > 1 && is_twin(cycle, timeline, history)? {
        cycle.log(Level::Error, format!(
            "Timeline {timeline} of the leader was begun at another point than mine: only a new copy of the leader helps"
        ));
        cycle.memory.rewind = RewindState::Twin;
        return Ok(());
    }
    let need = match compare(local, LeaderHistory { timeline, lines: history }) {
        None => return Ok(()),
        Some(Verdict::Need) => true,
        Some(Verdict::NotNeed) => false,
        Some(Verdict::IfCheckpointEndsAt(end)) => {
            let read = Command::QueryCheckpointEnd { timeline: local.timeline, lsn: local.lsn };
            cycle.ask(read)? != Outcome::Lsn(end)
        }
    };
    cycle.memory.rewind = if need { RewindState::Need } else { RewindState::NotNeed };
    Ok(())
}

/// Who was promoted without having seen another's promotion gives his timeline the same number.
fn is_twin(cycle: &mut Cycle<'_>, timeline: Timeline, leader: &[(Timeline, Lsn)]) -> Result<bool, Stop> {
    let Outcome::History(mine) = cycle.ask(Command::ReadHistory(timeline))? else { return Ok(false) };
    let mine: Vec<(Timeline, Lsn)> = mine.lines.iter().map(|line| (line.timeline, line.lsn)).collect();
    Ok(are_twins(&mine, leader))
}

fn rewind(cycle: &mut Cycle<'_>, leader: Option<&Member>, to_leader: Upstream) -> Maybe {
    use crate::cluster::ControlState::InArchiveRecovery;
    let state = cycle.view.server.facts.control.as_ref().map(|c| c.state);
    if !cycle.facts.running
        && state == Some(InArchiveRecovery)
        && let Some(rule) = crash_recovery(cycle)?
    {
        return Ok(Some(rule));
    }
    let name = to_leader.name.clone();
    // Before its checkpoint the leader's control file shows the old timeline, and pg_rewind would find nothing to do.
    // What a remote server is like the job finds out.
    let ready = |m: &Member| m.data.role == Some(Role::Primary) && m.data.checkpoint_after_promote != Some(false);
    if !leader.is_none_or(ready) {
        cycle.info(format!("Waiting for checkpoint on {name} before rewind"));
        return Ok(Some(Rule::Rewinding(name)));
    }
    if let Some(moment) = too_early(cycle) {
        cycle.wake_at(moment);
        return Ok(Some(Rule::Rewinding(name)));
    }
    let job = Job::Rewind { upstream: Box::new(to_leader) };
    let refused = cycle.start(&format!("running pg_rewind from {name}"), job)?.err();
    Ok(Some(refused.unwrap_or(Rule::Rewinding(name))))
}

/// Crash recovery in single-user mode, once per outage, if it is of use.
pub(super) fn crash_recovery(cycle: &mut Cycle<'_>) -> Maybe {
    let of_use = cycle.facts.unlocked || cycle.facts.can_rewind;
    if cycle.memory.crash_recovery.is_some() || !of_use {
        return Ok(None);
    }
    let refused = cycle.start("doing crash recovery in a single user mode", Job::CrashRecovery)?.err();
    if refused.is_none() {
        cycle.memory.crash_recovery = Some(cycle.view.now);
    }
    Ok(Some(refused.unwrap_or(Rule::CrashRecovery)))
}

/// When a failed attempt may be repeated, if not yet.
pub(super) fn too_early(cycle: &Cycle<'_>) -> Option<crate::types::Mono> {
    cycle.memory.start_not_before.filter(|moment| *moment > cycle.view.now)
}

fn copy_anew(cycle: &mut Cycle<'_>) -> Maybe {
    if let Some(moment) = too_early(cycle) {
        cycle.wake_at(moment);
        return Ok(Some(Rule::ReinitializingDiverged));
    }
    let Some((_, source)) = upstream::to_clone(cycle.view, &cycle.cluster, false) else { return Ok(None) };
    let follow = upstream::to_follow(cycle.view, &cycle.cluster);
    let job =
        Job::Reinitialize { source: Some(Box::new(source)), upstream: follow.map(Box::new), basebackup_only: false };
    let refused = cycle.start("reinitializing due to diverged timelines", job)?.err();
    if refused.is_none() {
        cycle.memory.rewind = RewindState::Initial;
        cycle.memory.start_event = Some(StartEvent::Start);
    }
    Ok(Some(refused.unwrap_or(Rule::ReinitializingDiverged)))
}
