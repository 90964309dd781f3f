//! What the REST API asked for. Every request is settled, in the cycle that sees it or when its job ends.

use super::restart;
use crate::cluster::ScheduledRestartData;
use crate::ha::cycle::{Cycle, Step, Stop};
use crate::ha::memory::{ScheduledRestart, StartEvent};
use crate::ha::rewind::RewindState;
use crate::ha::{AnswerKind, Command, Job, PendingRequest, Request, RequestId, Rule, upstream};

/// Requests that need neither the cluster nor the server.
pub(super) fn settle(cycle: &mut Cycle<'_>) {
    for pending in &cycle.view.requests {
        match &pending.request {
            Request::Wake => cycle.answer(pending.id, AnswerKind::Done, ""),
            Request::CancelRestart => match cycle.memory.scheduled_restart.take() {
                Some(_) => cycle.answer(pending.id, AnswerKind::Done, "scheduled restart deleted"),
                None => cycle.answer(pending.id, AnswerKind::NotFound, "no restarts are scheduled"),
            },
            Request::Restart { schedule: Some(_), .. } => schedule(cycle, pending),
            Request::Restart { .. } | Request::Reinitialize { .. } => {}
        }
    }
}

fn schedule(cycle: &mut Cycle<'_>, pending: &PendingRequest) {
    let Request::Restart { schedule: Some(at), schedule_text, body, .. } = &pending.request else { return };
    if cycle.memory.scheduled_restart.is_some() {
        return cycle.answer(pending.id, AnswerKind::Conflict, "Another restart is already scheduled");
    }
    let mut rest = body.clone();
    rest.shift_remove("schedule");
    let data = ScheduledRestartData {
        schedule: schedule_text.clone().unwrap_or_else(|| restart::isoformat(*at)),
        postmaster_start_time: cycle.view.status.as_ref().and_then(|s| s.postmaster_start_time.clone()),
        rest,
    };
    cycle.memory.scheduled_restart = Some(ScheduledRestart { at: *at, data });
    cycle.answer(pending.id, AnswerKind::Scheduled, "Restart scheduled");
}

/// Restart and reinitialization, at the end of a cycle that came to `rule`.
pub(super) fn act(cycle: &mut Cycle<'_>, rule: Rule) -> Step {
    let ending = cycle.memory.process_end.is_some() || cycle.exit.is_some();
    if ending || cycle.view.cluster.is_err() {
        return Ok(rule);
    }
    let mut result = rule;
    for pending in &cycle.view.requests {
        let waits = cycle.memory.waiting.iter().any(|(_, id)| *id == pending.id);
        if waits || cycle.is_answered(pending.id) {
            continue;
        }
        let begun = match &pending.request {
            Request::Restart { filter, timeout, .. } => restart_now(cycle, pending.id, filter, *timeout)?,
            Request::Reinitialize { force, from_leader } => reinitialize(cycle, pending.id, *force, *from_leader)?,
            Request::CancelRestart | Request::Wake => None,
        };
        result = begun.unwrap_or(result);
    }
    Ok(result)
}

/// Why no job can begin now.
fn busy(cycle: &Cycle<'_>) -> Option<String> {
    if cycle.job.is_some() || cycle.memory.demotion.is_some() {
        Some(format!("{} already in progress", cycle.action()))
    } else if cycle.memory.bootstrapping {
        Some("bootstrap already in progress".to_owned())
    } else {
        None
    }
}

fn restart_now(
    cycle: &mut Cycle<'_>,
    id: RequestId,
    filter: &crate::ha::request::RestartFilter,
    timeout: Option<std::time::Duration>,
) -> Result<Option<Rule>, Stop> {
    if let Some(text) = busy(cycle) {
        cycle.answer(id, AnswerKind::NotDone, text);
        return Ok(None);
    }
    if restart::must_wait(cycle, filter) {
        return Ok(None);
    }
    match restart::start(cycle, filter, timeout)? {
        Ok(job) => {
            cycle.memory.waiting.push((job, id));
            Ok(Some(Rule::RestartInitiated))
        }
        Err(text) => {
            cycle.answer(id, AnswerKind::NotDone, text);
            Ok(None)
        }
    }
}

fn reinitialize(cycle: &mut Cycle<'_>, id: RequestId, force: bool, from_leader: bool) -> Result<Option<Rule>, Stop> {
    let refusal = if cycle.facts.unlocked {
        Some("Cluster has no leader, can not reinitialize".to_owned())
    } else if cycle.facts.has_lock {
        Some("I am the leader, can not reinitialize".to_owned())
    } else {
        busy(cycle).filter(|_| !force || cycle.memory.bootstrapping || cycle.memory.demotion.is_some())
    };
    if let Some(text) = refusal {
        cycle.answer(id, AnswerKind::NotDone, text);
        return Ok(None);
    }
    if cycle.job.is_some() {
        // The next cycle begins when the job has ended; the request waits for it.
        cycle.warn(format!("Cancelling long running task {}", cycle.action()));
        cycle.tail(Command::CancelJob);
        return Ok(None);
    }
    let Some((from, source)) = upstream::to_clone(cycle.view, &cycle.cluster, from_leader) else {
        cycle.answer(id, AnswerKind::NotDone, "Cluster has no leader, can not reinitialize");
        return Ok(None);
    };
    let whom = upstream::to_follow(cycle.view, &cycle.cluster).map(Box::new);
    let job = Job::Reinitialize { source: Some(Box::new(source)), upstream: whom, basebackup_only: from_leader };
    match cycle.start("reinitialize", job)? {
        Ok(_) => {
            cycle.info(format!("reinitializing {from}"));
            cycle.memory.rewind = RewindState::Initial;
            cycle.memory.start_event = Some(StartEvent::Start);
            cycle.memory.recovering = false;
            cycle.answer(id, AnswerKind::Done, "reinitialize started");
            Ok(Some(Rule::JobInProgress("reinitialize".to_owned())))
        }
        Err(_) => {
            cycle.answer(id, AnswerKind::NotDone, format!("{} already in progress", cycle.action()));
            Ok(None)
        }
    }
}

/// What cannot be done because the store is silent or the process ends is refused.
pub(super) fn refuse_rest(cycle: &mut Cycle<'_>) {
    let ending = cycle.memory.process_end.is_some() || cycle.exit.is_some();
    let silent = cycle.view.cluster.is_err();
    if !ending && !silent {
        return;
    }
    let text = if ending { "Patroni is shutting down" } else { "DCS is not accessible" };
    for pending in &cycle.view.requests {
        let waits = cycle.memory.waiting.iter().any(|(_, id)| *id == pending.id);
        if !waits && !cycle.is_answered(pending.id) {
            cycle.answer(pending.id, AnswerKind::NotDone, text);
        }
    }
    if cycle.exit.is_some() {
        for (_, id) in std::mem::take(&mut cycle.memory.waiting) {
            cycle.answer(id, AnswerKind::NotDone, text);
        }
    }
}
