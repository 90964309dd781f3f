//! Taking a primary out of service (ha-rules 7), over as many cycles as it takes and without sleeping:
//! stop, release, wait for a new leader (2 s at most), start as standby.
//!
//! The lease is renewed until the key is released, so that nobody promotes while WAL is still being written. It stays
//! on record in an offline demotion until the server is down: the fence's deadline must not come earlier.

use super::{candidates, demote_cluster, diverged, replica, sync};
use crate::cluster::{CallbackEvent, Role, StopMode};
use crate::config::settings::SynchronousMode;
use crate::ha::cycle::{Cycle, Maybe, Step, Stop};
use crate::ha::memory::{Archiving, DemoteMode, Demotion};
use crate::ha::{Command, Job, JobKind, JobPhase, JobResult, Level, Rule, upstream};
use crate::types::Lsn;
use std::time::Duration;

/// How long others are given to take a released key before this member comes back.
const PAUSE_AFTER_RELEASE: Duration = Duration::from_secs(2);

/// How soon an immediate stop is asked for again when it was refused.
const RETRY: Duration = Duration::from_millis(500);

/// Begins a demotion. Where no server runs, it goes on to the release at once.
pub(super) fn begin(cycle: &mut Cycle<'_>, mode: DemoteMode) -> Result<(), Stop> {
    cycle.info(format!("Demoting self ({})", mode.as_str()));
    cycle.memory.rewind.arm(cycle.facts.wants_repair);
    cycle.memory.start_event = None;
    cycle.memory.start_timeout = None;
    cycle.memory.recovering = false;
    if cycle.facts.paused {
        cycle.memory.switched_over_in_pause = true;
    }
    let role = cycle.role;
    let archiving = if mode == DemoteMode::Cluster { demote_cluster::archiving(cycle)? } else { Archiving::Off };
    let demotion = Demotion { mode, stop: None, stopped: None, role, archiving, released: false, wait_until: None };
    cycle.memory.demotion = Some(demotion);
    if mode == DemoteMode::ImmediateNolock {
        cycle.forget_lease();
    }
    if cycle.facts.running || cycle.job.is_some() { stop_server(cycle) } else { after_stop(cycle).map(|_| ()) }
}

/// A demotion that is under way.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    if cycle.memory.demotion.is_none() {
        return Ok(None);
    }
    keep_lock(cycle)?;
    proceed(cycle).map(Some)
}

/// Whether the present job has, or may have made, a server that accepts writes.
pub(super) fn may_write(cycle: &Cycle<'_>) -> bool {
    let writes = cycle.view.status.as_ref().is_some_and(|status| !status.in_recovery);
    let job = cycle.view.server.job.as_ref();
    let promoting = job.is_some_and(|j| j.phase == JobPhase::Promoting);
    let standby = job.is_some_and(|j| j.job.kind().makes_no_primary());
    writes || promoting || !standby && matches!(cycle.role, Role::Primary | Role::Promoted)
}

/// Renews the lease as long as this demotion has the key to release. A lost lock turns it into an immediate stop.
fn keep_lock(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    let Some(demotion) = cycle.memory.demotion.clone() else { return Ok(()) };
    let stopping = cycle.facts.running || cycle.job.is_some();
    if !demotion.mode.keeps_lock() || demotion.released || !stopping {
        return Ok(());
    }
    let held = if cycle.facts.has_lock { cycle.renew()?.is_some() } else { false };
    // In a standby cluster nobody else can become a primary by the lock: the stop may end in good order. It must do so
    // before the fence's deadline.
    let harmless = demotion.mode == DemoteMode::Cluster && cycle.in_standby_cluster();
    if !held && !cycle.facts.paused && !harmless {
        cycle.log(Level::Error, "failed to update leader lock");
        cycle.forget_lease();
        escalate(cycle, DemoteMode::ImmediateNolock);
    }
    Ok(())
}

/// The next step of a demotion.
pub(super) fn proceed(cycle: &mut Cycle<'_>) -> Step {
    let Some(demotion) = cycle.memory.demotion.clone() else { return Ok(Rule::AwaitingNewLeader) };
    if demotion.wait_until.is_some() {
        return wait_or_follow(cycle);
    }
    if demote_cluster::is_archiving(cycle, &demotion) {
        return Ok(during_stop(cycle));
    }
    let stop_runs = cycle.job.is_some() && cycle.job == demotion.stop;
    if stop_runs {
        at_safe_point(cycle);
        release_early(cycle)?;
        return Ok(during_stop(cycle));
    }
    if demotion.stop.is_some() && demotion.stopped.is_some() && cycle.facts.running && cycle.job.is_none() {
        cycle.warn("pg_ctl stop failed");
        if demotion.mode.is_immediate()
            && let Some(moment) = cycle.memory.start_not_before.filter(|m| *m > cycle.view.now)
        {
            cycle.wake_at(moment);
            return Ok(Rule::AwaitingNewLeader);
        }
        escalate(cycle, demotion.mode);
    }
    if cycle.facts.running || cycle.job.is_some() {
        stop_server(cycle)?;
        return Ok(during_stop(cycle));
    }
    after_stop(cycle)
}

/// A stop in which no session of a user is left has nothing more that could be written (WD-06).
pub(super) fn at_safe_point(cycle: &mut Cycle<'_>) {
    if cycle.view.server.no_clients {
        cycle.disable_watchdog();
    }
}

pub(super) fn during_stop(cycle: &Cycle<'_>) -> Rule {
    let renewed = cycle.facts.has_lock && cycle.facts.is_leader;
    if renewed { Rule::LeaderDuringJob(cycle.action()) } else { Rule::JobInProgress(cycle.action()) }
}

/// From now on only an immediate stop will do.
fn escalate(cycle: &mut Cycle<'_>, mode: DemoteMode) {
    if let Some(demotion) = cycle.memory.demotion.as_mut() {
        let failed = demotion.stopped.take().is_some();
        if !demotion.mode.is_immediate() || failed {
            demotion.stop = None;
        }
        demotion.mode = match mode {
            DemoteMode::Graceful | DemoteMode::Immediate | DemoteMode::Cluster => DemoteMode::Immediate,
            DemoteMode::Offline | DemoteMode::ImmediateNolock => DemoteMode::ImmediateNolock,
        };
    }
}

/// Starts the stop. An immediate one takes the place of any job; where it was refused the job is cancelled and it is
/// asked for again.
fn stop_server(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    let Some(demotion) = cycle.memory.demotion.clone() else { return Ok(()) };
    if demotion.stop.is_some() && cycle.job == demotion.stop {
        return Ok(());
    }
    let immediate = demotion.mode.is_immediate();
    let job = Job::Stop {
        mode: if immediate { StopMode::Immediate } else { StopMode::Fast },
        checkpoint: demotion.mode == DemoteMode::Graceful && !cycle.facts.starting,
        timeout: if immediate { Some(cycle.view.global.retry_timeout) } else { stop_timeout(cycle) },
        role: Some(Role::Demoted),
    };
    let action = match demotion.mode {
        DemoteMode::Graceful => failover_action(cycle),
        DemoteMode::Cluster => demote_cluster::ACTION.to_owned(),
        other => format!("demote {}", other.as_str()),
    };
    match cycle.start(&action, job)? {
        Ok(id) => {
            if let Some(demotion) = cycle.memory.demotion.as_mut() {
                demotion.stop = Some(id);
                demotion.stopped = None;
            }
        }
        Err(_) => {
            cycle.tail(Command::CancelJob);
            cycle.wake_within(RETRY);
        }
    }
    Ok(())
}

fn failover_action(cycle: &Cycle<'_>) -> String {
    format!("{}: demote", candidates::action_name(&cycle.cluster))
}

/// `primary_stop_timeout` is obeyed in synchronous mode only (HA-39).
pub(super) fn stop_timeout(cycle: &Cycle<'_>) -> Option<Duration> {
    cycle.view.global.primary_stop_timeout.filter(|_| sync::mode(cycle) != SynchronousMode::Off)
}

/// Control data says "shut down" while archiving goes on: the key is released as soon as a candidate has received
/// the shutdown checkpoint (HA-29).
fn release_early(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    let Some(demotion) = cycle.memory.demotion.clone() else { return Ok(()) };
    let Some((checkpoint, release)) = shut_down_point(cycle) else { return Ok(()) };
    let optime = match demotion.mode {
        DemoteMode::Graceful => release,
        // The remote cluster has to come as far as the checkpoint.
        DemoteMode::Cluster if demotion.archiving == Archiving::Off => checkpoint,
        _ => return Ok(()),
    };
    if demotion.released || !cycle.facts.is_leader {
        return Ok(());
    }
    if candidates::exists(cycle, Some(checkpoint), false)? {
        cycle.set_role(Role::Demoted);
        give_up_key(cycle, Some(optime))?;
    } else {
        cycle.wake_within(RETRY);
    }
    Ok(())
}

/// Where WAL ends, when the postmaster lives on after its shutdown checkpoint: checkpoint and position to publish.
pub(super) fn shut_down_point(cycle: &Cycle<'_>) -> Option<(Lsn, Lsn)> {
    let job = cycle.view.server.job.as_ref().filter(|j| j.job.kind() == JobKind::Stop)?;
    match job.phase {
        JobPhase::ShutDown { checkpoint, release } => Some((checkpoint, release)),
        _ => None,
    }
}

fn give_up_key(cycle: &mut Cycle<'_>, optime: Option<Lsn>) -> Result<(), Stop> {
    cycle.release(optime)?;
    if let Some(demotion) = cycle.memory.demotion.as_mut() {
        demotion.released = true;
    }
    Ok(())
}

/// The server is down.
fn after_stop(cycle: &mut Cycle<'_>) -> Step {
    let Some(demotion) = cycle.memory.demotion.clone() else { return Ok(Rule::AwaitingNewLeader) };
    cycle.disable_watchdog();
    cycle.set_role(Role::Demoted);
    if demotion.mode == DemoteMode::Cluster {
        return demote_cluster::after_stop(cycle, &demotion);
    }
    if demotion.mode.releases() {
        let optime = match &demotion.stopped {
            Some(JobResult::Stopped { release, .. }) if demotion.mode == DemoteMode::Graceful => Some(*release),
            _ => None,
        };
        if !demotion.released && cycle.facts.has_lock {
            give_up_key(cycle, optime)?;
        }
        begin_wait(cycle);
    } else {
        cycle.forget_lease();
    }
    announce_stop(cycle, &demotion);
    if demotion.mode.releases() { wait_or_follow(cycle) } else { follow(cycle) }
}

/// Gives others the time to take the released key.
pub(super) fn begin_wait(cycle: &mut Cycle<'_>) {
    let until = cycle.view.now + PAUSE_AFTER_RELEASE;
    if let Some(now) = cycle.memory.demotion.as_mut() {
        now.wait_until = Some(until);
    }
}

/// Scripts hear of a stop that went well.
pub(super) fn announce_stop(cycle: &mut Cycle<'_>, demotion: &Demotion) {
    if matches!(demotion.stopped, Some(JobResult::Stopped { .. } | JobResult::Done)) {
        cycle.callback(CallbackEvent::OnStop, demotion.role);
    }
}

/// A new leader ends the wait at once.
pub(super) fn wait_or_follow(cycle: &mut Cycle<'_>) -> Step {
    let until = cycle.memory.demotion.as_ref().and_then(|d| d.wait_until).unwrap_or(cycle.view.now);
    let before = cycle.view.memory.demotion.as_ref();
    if cycle.facts.has_lock && before.is_some_and(|d| d.released && d.wait_until.is_some()) {
        // The store did not answer, or did not do it.
        cycle.release(None)?;
    }
    let led = cycle.view.cluster.is_ok() && !cycle.facts.unlocked && !cycle.facts.has_lock;
    if !led && cycle.view.now < until {
        cycle.wake_at(until);
        return Ok(Rule::AwaitingNewLeader);
    }
    follow(cycle)
}

/// Starts as standby, or rewinds first.
pub(super) fn follow(cycle: &mut Cycle<'_>) -> Step {
    let offline = cycle.memory.demotion.as_ref().is_some_and(|d| d.mode == DemoteMode::Offline);
    let role_before = cycle.memory.demotion.as_ref().map_or(Role::Demoted, |d| d.role);
    cycle.memory.demotion = None;
    let mut whom = None;
    if !offline {
        if let Some(rule) = diverged::repair(cycle)? {
            return Ok(rule);
        }
        whom = upstream::to_follow(cycle.view, &cycle.cluster).map(Box::new);
    }
    let role = upstream::role(whom.as_deref(), cycle.facts.has_lock && cycle.facts.is_leader);
    let job = Job::Follow { upstream: whom, role, timeout: None };
    let refused = cycle.start("starting after demotion", job)?.err();
    if refused.is_none() {
        cycle.memory.start_event = Some(replica::start_event(cycle, role_before, role));
    }
    Ok(refused.unwrap_or(Rule::StartingAfterDemotion))
}
