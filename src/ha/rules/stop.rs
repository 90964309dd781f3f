//! The end of the process (ha-rules 7, "Process end"; HA-29 to HA-31, HA-40, HA-41).

use super::{candidates, demote, sync};
use crate::cluster::{CallbackEvent, DataDir, Status, StopMode};
use crate::ha::cycle::{Cycle, Maybe, Step, Stop};
use crate::ha::memory::ProcessEnd;
use crate::ha::{Command, Exit, Job, JobKind, JobResult, Level, Rule};
use std::time::Duration;

/// How often a candidate is looked for while the postmaster archives after its shutdown checkpoint.
const RETRY: Duration = Duration::from_secs(1);

/// The process was told to end, or found a reason.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    if cycle.memory.process_end.is_none() {
        if !cycle.view.stopping {
            return Ok(None);
        }
        begin(cycle, Exit { code: 0, reason: String::new(), leave_postgres: false })?;
        return Ok(Some(Rule::Stopping));
    }
    proceed(cycle).map(Some)
}

/// Begins the end.
pub(super) fn begin(cycle: &mut Cycle<'_>, exit: Exit) -> Result<(), Stop> {
    let leave = cycle.facts.paused && cycle.view.stopping;
    let exit = Exit { leave_postgres: leave || exit.leave_postgres, ..exit };
    cycle.memory.process_end = Some(ProcessEnd { exit, stop: None, stopped: None, escalated: false, released: false });
    cycle.memory.demotion = None;
    proceed(cycle).map(|_| ())
}

fn proceed(cycle: &mut Cycle<'_>) -> Step {
    let Some(end) = cycle.memory.process_end.clone() else { return Ok(Rule::Stopping) };
    if end.exit.leave_postgres {
        if cycle.job.is_some() {
            cycle.tail(Command::CancelJob);
        }
        cycle.info("Leader key is not deleted and Postgresql is not stopped due paused state");
        cycle.disable_watchdog();
        cycle.exit = Some(end.exit);
        return Ok(Rule::Stopping);
    }
    if let Some(job) = &cycle.view.server.job {
        match job.job.kind() {
            JobKind::Stop => return beside_stop(cycle, &end),
            JobKind::MoveDataAside => return Ok(Rule::Stopping),
            _ => {}
        }
        let led = cycle.facts.has_lock;
        if led && !keep_lock(cycle, &end)? && demote::may_write(cycle) {
            stop_at_once(cycle)?;
        } else if !job.cancelled {
            cycle.warn(format!("Cancelling long running task {}", cycle.action()));
            cycle.tail(Command::CancelJob);
        }
        return Ok(Rule::Stopping);
    }
    if cycle.facts.running {
        return match end.stopped {
            Some(_) if end.escalated => failed(cycle, end),
            Some(_) => escalate(cycle),
            None => stop_server(cycle, &end),
        };
    }
    finish(cycle, end)
}

/// The lock is renewed as long as the server may write. Returns whether it is held; an unanswered renewal counts as
/// held until the lease ends (the fence looks after that).
fn keep_lock(cycle: &mut Cycle<'_>, end: &ProcessEnd) -> Result<bool, Stop> {
    let silent = cycle.view.cluster.is_err();
    if end.released || !silent && !cycle.facts.has_lock {
        return Ok(false);
    }
    if silent {
        return Ok(cycle.facts.is_leader);
    }
    match cycle.renew() {
        Ok(lease) => Ok(lease.is_some()),
        Err(Stop::Silent) => Ok(cycle.facts.is_leader),
        Err(other) => Err(other),
    }
}

fn stop_server(cycle: &mut Cycle<'_>, end: &ProcessEnd) -> Step {
    let leads = cycle.facts.has_lock;
    if end.stop.is_none() && sync::must_wait_for_release(cycle) {
        return Ok(Rule::Stopping);
    }
    if !keep_lock(cycle, end)? && leads && cycle.facts.is_primary {
        stop_at_once(cycle)?;
    } else {
        let timeout = demote::stop_timeout(cycle);
        start_stop(cycle, Job::Stop { mode: StopMode::Fast, checkpoint: false, timeout, role: None })?;
    }
    Ok(Rule::Stopping)
}

/// The lock is lost: no time for a clean stop.
fn stop_at_once(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    cycle.log(Level::Error, "failed to update leader lock");
    let timeout = Some(cycle.view.global.retry_timeout);
    start_stop(cycle, Job::Stop { mode: StopMode::Immediate, checkpoint: false, timeout, role: None })
}

fn start_stop(cycle: &mut Cycle<'_>, job: Job) -> Result<(), Stop> {
    match cycle.start("stop", job)? {
        Ok(id) => {
            if let Some(end) = cycle.memory.process_end.as_mut() {
                end.stop = Some(id);
            }
        }
        Err(_) => {
            cycle.tail(Command::CancelJob);
            cycle.wake_within(RETRY);
        }
    }
    Ok(())
}

/// The stop is under way: keep the lock until a candidate has received everything.
fn beside_stop(cycle: &mut Cycle<'_>, end: &ProcessEnd) -> Step {
    demote::at_safe_point(cycle);
    let lost_before = end.released || !cycle.facts.is_leader;
    let held = keep_lock(cycle, end)?;
    let adopted = end.stop.is_none();
    if adopted && let Some(now) = cycle.memory.process_end.as_mut() {
        now.stop = cycle.job;
    }
    if !held {
        let fast = |job: &Job| matches!(job, Job::Stop { mode: StopMode::Fast, .. });
        let still_fast = cycle.view.server.job.as_ref().is_some_and(|j| fast(&j.job));
        let writable = demote::shut_down_point(cycle).is_none() && cycle.facts.is_primary;
        if !lost_before && still_fast && writable {
            stop_at_once(cycle)?;
        }
        return Ok(Rule::Stopping);
    }
    let Some((checkpoint, release)) = demote::shut_down_point(cycle) else { return Ok(Rule::Stopping) };
    if candidates::exists(cycle, Some(checkpoint), false)? {
        cycle.release(Some(release))?;
        if let Some(now) = cycle.memory.process_end.as_mut() {
            now.released = true;
        }
    } else {
        let status = Status { optime: Some(release), ..cycle.cluster.status.clone() };
        if status != cycle.cluster.status {
            cycle.tail(Command::WriteStatus(status));
        }
        cycle.wake_within(RETRY);
    }
    Ok(Rule::Stopping)
}

/// A server that did not stop in good order must not outlive the lock that nobody renews any more.
fn escalate(cycle: &mut Cycle<'_>) -> Step {
    cycle.warn("pg_ctl stop failed");
    if let Some(end) = cycle.memory.process_end.as_mut() {
        end.escalated = true;
        end.stopped = None;
        end.stop = None;
    }
    let timeout = Some(cycle.view.global.retry_timeout);
    start_stop(cycle, Job::Stop { mode: StopMode::Immediate, checkpoint: false, timeout, role: None })?;
    Ok(Rule::Stopping)
}

fn failed(cycle: &mut Cycle<'_>, end: ProcessEnd) -> Step {
    // What goes on writing is ended by the watchdog when nobody feeds it any more (WD-09).
    let watchdog = if cycle.view.watchdog.active { " Leaving watchdog running." } else { "" };
    cycle.log(Level::Error, format!("PostgreSQL shutdown failed, leader key not removed.{watchdog}"));
    let code = if end.exit.code == 0 { 1 } else { end.exit.code };
    cycle.exit = Some(Exit { code, leave_postgres: true, ..end.exit });
    Ok(Rule::Stopping)
}

/// A bootstrap was cut short. Nobody could go on with what it left, and the key would keep everybody waiting for it for
/// ever: both go. Returns whether that takes longer than this cycle.
fn give_up_bootstrap(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    let moved = cycle.view.server.ended.iter().any(|end| end.job.kind() == JobKind::MoveDataAside);
    if !moved && cycle.view.server.facts.data_dir != DataDir::Empty {
        return Ok(cycle.start("moving data directory aside", Job::MoveDataAside)?.is_ok());
    }
    cycle.info("removing initialize key after failed attempt to bootstrap the cluster");
    cycle.tail(Command::CancelInitialize);
    cycle.memory.bootstrapping = false;
    Ok(false)
}

/// The server is down: the key goes, the member key says so, the process ends.
fn finish(cycle: &mut Cycle<'_>, end: ProcessEnd) -> Step {
    if cycle.memory.bootstrapping && give_up_bootstrap(cycle)? {
        return Ok(Rule::Stopping);
    }
    let holds = cycle.facts.has_lock || cycle.view.cluster.is_err() && cycle.facts.is_leader;
    if !end.released && holds {
        let optime = match &end.stopped {
            Some(JobResult::Stopped { release, .. }) => Some(*release),
            _ => None,
        };
        cycle.release(optime)?;
    }
    if matches!(end.stopped, Some(JobResult::Stopped { .. } | JobResult::Done)) {
        cycle.callback(CallbackEvent::OnStop, cycle.role);
    }
    cycle.disable_watchdog();
    cycle.exit = Some(end.exit);
    Ok(Rule::Stopping)
}
