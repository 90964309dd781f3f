//! What ended jobs leave behind: memory, answers, scripts.
//!
//! Scripts are run from here and from the rules alone; the postgres supervisor runs none by itself. (The one exception
//! is `on_reload` after a change of the local or dynamic configuration, which is no matter of the cycle.)

use super::{failsafe, requests, sync};
use crate::cluster::{CallbackEvent, PgState, Readiness, Role, Upstream};
use crate::ha::cycle::{Cycle, Maybe};
use crate::ha::memory::StartEvent;
use crate::ha::rewind::RewindState;
use crate::ha::{AnswerKind, Job, JobEnd, JobKind, JobPhase, JobResult, Level};
use std::time::Duration;

/// First stage: never ends the cycle.
pub(super) fn settle(cycle: &mut Cycle<'_>) -> Maybe {
    for end in &cycle.view.server.ended {
        remember(cycle, end);
        answer(cycle, end);
        if cycle.memory.action.as_ref().is_some_and(|(id, _)| *id == end.id) {
            cycle.memory.action = None;
        }
    }
    if cycle.facts.running && !cycle.facts.starting && cycle.view.server.job.is_none() {
        cycle.memory.crash_recovery = None;
    }
    announce(cycle);
    cycle.memory.position = cycle.facts.position.or(cycle.memory.position);
    remember_cluster(cycle);
    sync::bookkeeping(cycle);
    requests::settle(cycle);
    Ok(None)
}

fn remember(cycle: &mut Cycle<'_>, end: &JobEnd) {
    let failed = match &end.result {
        JobResult::Failed(text) | JobResult::TryAgain(text) => Some(text.clone()),
        JobResult::PrePromoteFailed => Some("the pre_promote script failed".to_owned()),
        JobResult::Done | JobResult::Stopped { .. } | JobResult::StillStarting | JobResult::Cancelled => None,
    };
    if let Some(text) = &failed {
        let name = cycle.memory.action.as_ref().map_or("action", |(_, name)| name.as_str()).to_owned();
        cycle.log(Level::Error, format!("{name} failed: {text}"));
    }
    match end.job.kind() {
        JobKind::Promote => promoted(cycle, &end.result),
        JobKind::Rewind => rewound(cycle, &end.result),
        JobKind::Stop => stopped(cycle, end),
        JobKind::StartPrimary | JobKind::Follow | JobKind::Restart | JobKind::CopySlots => started(cycle, end),
        JobKind::Clone | JobKind::Reinitialize => cloned(cycle, end),
        // Recovery from a backup may take longer than any patience with a start.
        JobKind::Bootstrap => {
            cycle.memory.bootstrap_failed |= !matches!(end.result, JobResult::Done | JobResult::StillStarting);
        }
        JobKind::PostBootstrap => match end.result {
            JobResult::Done => cycle.memory.post_bootstrap_done = true,
            _ => cycle.memory.bootstrap_failed = true,
        },
        JobKind::RemoveData => cycle.memory.remove_data &= failed.is_some(),
        JobKind::CrashRecovery | JobKind::ArchiveCheckpoint | JobKind::MoveDataAside => {}
    }
}

fn promoted(cycle: &mut Cycle<'_>, result: &JobResult) {
    match result {
        JobResult::PrePromoteFailed => {
            cycle.memory.pre_promote_failed = true;
            postpone_start(cycle);
        }
        JobResult::Failed(_) => postpone_start(cycle),
        _ => went_well(cycle),
    }
}

fn went_well(cycle: &mut Cycle<'_>) {
    cycle.memory.failed_starts = 0;
    cycle.memory.start_not_before = None;
}

fn rewound(cycle: &mut Cycle<'_>, result: &JobResult) {
    match result {
        JobResult::Done => cycle.memory.rewind = RewindState::Success,
        // The attempt may have damaged the control file; then another one is impossible.
        JobResult::TryAgain(_) if cycle.facts.can_rewind => postpone_start(cycle),
        JobResult::Cancelled => {}
        _ => {
            cycle.memory.rewind = RewindState::Failed;
            let global = &cycle.view.global;
            let settings = [
                (global.remove_data_directory_on_rewind_failure, "remove_data_directory_on_rewind_failure"),
                (global.remove_data_directory_on_diverged_timelines, "remove_data_directory_on_diverged_timelines"),
            ];
            if let Some((_, name)) = settings.iter().find(|(set, _)| *set) {
                cycle.warn(format!("{name} is set. removing..."));
                cycle.memory.rewind = RewindState::Initial;
                cycle.memory.remove_data = true;
            }
        }
    }
}

fn stopped(cycle: &mut Cycle<'_>, end: &JobEnd) {
    if matches!(end.result, JobResult::Failed(_)) {
        postpone_start(cycle);
    }
    if let Some(demotion) = cycle.memory.demotion.as_mut().filter(|d| d.stop == Some(end.id)) {
        demotion.stopped = Some(end.result.clone());
    }
    if let Some(process_end) = cycle.memory.process_end.as_mut().filter(|p| p.stop == Some(end.id)) {
        process_end.stopped = Some(end.result.clone());
    }
}

fn started(cycle: &mut Cycle<'_>, end: &JobEnd) {
    if let Some(StartEvent::RoleChange(role)) = cycle.memory.start_event
        && end.result != JobResult::Cancelled
    {
        cycle.memory.start_event = None;
        cycle.callback(CallbackEvent::OnRoleChange, role);
    }
    match end.result {
        JobResult::Failed(_) => postpone_start(cycle),
        JobResult::Done | JobResult::StillStarting => went_well(cycle),
        _ => {}
    }
}

fn cloned(cycle: &mut Cycle<'_>, end: &JobEnd) {
    let name = cycle.memory.action.as_ref().map_or(String::new(), |(_, name)| name.clone());
    let from = match &end.job {
        Job::Clone { source, .. } if cycle.memory.bootstrapping => {
            format!("clone from remote member {}", source.as_deref().map_or("None".to_owned(), remote_url))
        }
        _ => name.strip_prefix("bootstrap ").unwrap_or(&name).to_owned(),
    };
    let done = matches!(end.result, JobResult::Done | JobResult::StillStarting);
    if cycle.memory.bootstrapping {
        // Nothing is left to do on a copy of the remote server but to write the keys of the new standby cluster.
        cycle.memory.post_bootstrap_done |= done;
        cycle.memory.bootstrap_failed |= !done;
    }
    match &end.result {
        JobResult::Done | JobResult::StillStarting => {
            cycle.info(format!("bootstrapped {from}"));
            went_well(cycle);
        }
        JobResult::Cancelled => {}
        _ => {
            cycle.log(Level::Error, format!("failed to bootstrap {from}"));
            postpone_start(cycle);
        }
    }
}

fn remote_url(remote: &Upstream) -> String {
    let part = |keyword: &str, default| remote.conn.get(keyword).map_or(default, String::as_str);
    format!("postgresql://{}:{}", part("host", ""), part("port", "5432"))
}

/// A failed attempt is not repeated at once: 1, 2, 4, ... seconds, at most `loop_wait`.
fn postpone_start(cycle: &mut Cycle<'_>) {
    let pause = Duration::from_secs(1 << cycle.memory.failed_starts.min(10)).min(cycle.view.global.loop_wait);
    cycle.memory.failed_starts = cycle.memory.failed_starts.saturating_add(1);
    cycle.memory.start_not_before = Some(cycle.view.now + pause);
}

fn answer(cycle: &mut Cycle<'_>, end: &JobEnd) {
    let (kind, text) = match end.result {
        JobResult::Done => (AnswerKind::Done, "restarted successfully"),
        JobResult::StillStarting => (AnswerKind::NotDone, "postgres is still starting"),
        _ => (AnswerKind::NotDone, "restart failed"),
    };
    let (now, later) = cycle.memory.waiting.drain(..).partition::<Vec<_>, _>(|(job, _)| *job == end.id);
    cycle.memory.waiting = later;
    for (_, request) in now {
        cycle.answer(request, kind, text);
    }
}

/// Tells the scripts what has become true since the last cycle.
fn announce(cycle: &mut Cycle<'_>) {
    let server = &cycle.view.server;
    let promoting = server.job.as_ref().filter(|j| j.job.kind() == JobKind::Promote && j.phase == JobPhase::Promoting);
    let promoted = server.ended.iter().filter(|e| e.job.kind() == JobKind::Promote);
    let promoted = promoted.filter(|e| matches!(e.result, JobResult::Done | JobResult::StillStarting));
    let signalled = promoting.map(|j| j.id).into_iter().chain(promoted.map(|e| e.id)).last();
    if signalled.is_some() && signalled != cycle.memory.announced_promotion {
        cycle.memory.announced_promotion = signalled;
        cycle.callback(CallbackEvent::OnRoleChange, Role::Primary);
    }
    announce_stop(cycle);
    let server = &cycle.view.server;
    let up = cycle.facts.running && server.state == PgState::Running && server.readiness != Readiness::Rejecting;
    if up && server.job.is_none() {
        match cycle.memory.start_event.take() {
            Some(StartEvent::Start) => cycle.callback(CallbackEvent::OnStart, cycle.role),
            Some(StartEvent::Restart) => cycle.callback(CallbackEvent::OnRestart, cycle.role),
            Some(StartEvent::RoleChange(role)) => cycle.callback(CallbackEvent::OnRoleChange, role),
            None => {}
        }
    }
}

/// As soon as the server is gone, and before what the job goes on to do (which may take hours) is over.
fn announce_stop(cycle: &mut Cycle<'_>) {
    let Some(event) = cycle.memory.stop_event else { return };
    let server = &cycle.view.server;
    let gone = server.facts.postmaster != Some(event.postmaster);
    let over = server.job.as_ref().is_none_or(|j| j.id != event.job);
    if gone || over {
        cycle.memory.stop_event = None;
    }
    if gone {
        cycle.callback(CallbackEvent::OnStop, event.role);
    }
}

/// Last stage of a cycle with a running server: a process that found it running tells the scripts once.
pub(super) fn announce_first_start(cycle: &mut Cycle<'_>) {
    let promoting = cycle.memory.action.as_ref().is_some_and(|(_, name)| name == "promote");
    let free = cycle.job.is_none() || promoting;
    let pending = cycle.memory.start_event.is_some() || cycle.memory.demotion.is_some();
    let settled = cycle.facts.running && !cycle.facts.starting && free && !pending;
    if !settled || cycle.memory.joined || cycle.memory.bootstrapping || cycle.exit.is_some() {
        return;
    }
    if !promoting && !cycle.facts.is_primary {
        cycle.memory.rewind.arm(cycle.facts.wants_repair);
    }
    cycle.callback(CallbackEvent::OnStart, cycle.role);
}

/// The last view that had a leader is kept for the race; another owner of the lock ends my lease.
fn remember_cluster(cycle: &mut Cycle<'_>) {
    if cycle.view.cluster.is_err() {
        return;
    }
    if !cycle.facts.unlocked {
        cycle.memory.backing_off_since = None;
    }
    // As the store has it: a primary that has only called may know of fewer members.
    if let Ok(cluster) = &cycle.view.cluster
        && (!cluster.is_unlocked() || cycle.memory.last_led.is_none())
    {
        cycle.memory.last_led = Some(std::sync::Arc::clone(cluster));
    }
    failsafe::remember(cycle);
    if cycle.facts.unlocked {
        cycle.forget_lock();
    } else if !cycle.facts.has_lock {
        cycle.forget_lease();
    }
}
