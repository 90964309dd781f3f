//! A new cluster, a new member (ha-rules 21).

use super::diverged;
use crate::cluster::{CallbackEvent, Role, Upstream};
use crate::ha::cycle::{Cycle, Maybe, Step};
use crate::ha::memory::StartEvent;
use crate::ha::rewind::RewindState;
use crate::ha::{Command, Exit, Job, JobKind, Level, Outcome, Rule, upstream};
use std::time::Duration;

/// How soon it is looked again whether a restored server has come to the end of its recovery.
const LOOK: Duration = Duration::from_secs(1);

/// The data directory is empty: initialize the cluster, or copy a member, or wait.
pub(super) fn empty_data_dir(cycle: &mut Cycle<'_>) -> Step {
    let untouched = cycle.facts.unlocked && cycle.cluster.initialize.is_none();
    if untouched && !cycle.facts.nofailover && cycle.view.me.may_bootstrap {
        return initialize(cycle);
    }
    if let Some(moment) = diverged::too_early(cycle) {
        cycle.wake_at(moment);
        return Ok(waiting(cycle));
    }
    let source = if cycle.facts.unlocked { None } else { upstream::to_clone(cycle.view, &cycle.cluster, false) };
    if let Some((from, source)) = source {
        let whom = upstream::to_follow(cycle.view, &cycle.cluster).map(Box::new);
        let job = Job::Clone { source: Some(Box::new(source)), upstream: whom, basebackup_only: false };
        return clone(cycle, &format!("bootstrap {from}"), job, Rule::Cloning(from));
    }
    // Methods that need no leader must not run beside somebody's bootstrap.
    if cycle.view.me.replica_method_without_leader && cycle.cluster.initialize.as_deref() != Some("") {
        let (source, upstream) = remote(cycle);
        let job = Job::Clone { source, upstream, basebackup_only: false };
        return clone(cycle, "bootstrap (without leader)", job, Rule::CloningWithoutLeader);
    }
    Ok(waiting(cycle))
}

fn waiting(cycle: &Cycle<'_>) -> Rule {
    if cycle.in_standby_cluster() { Rule::WaitingForStandbyLeader } else { Rule::WaitingForLeader }
}

fn initialize(cycle: &mut Cycle<'_>) -> Step {
    match cycle.ask(Command::Initialize { system_id: None, create_only: true })? {
        Outcome::Ok => {}
        Outcome::Conflict => return Ok(Rule::InitializeLost),
        silence => {
            // Perhaps the key was created. It is kept then, and only an operator can tell whose it is.
            let text = crate::ha::cycle::describe(&silence);
            cycle.log(Level::Error, format!("failed to create the initialize key: {text}"));
            return Ok(Rule::StoreSilent);
        }
    }
    let (source, upstream) = remote(cycle);
    let (action, job, rule) = if cycle.in_standby_cluster() {
        let job = Job::Clone { source, upstream, basebackup_only: false };
        ("bootstrap_standby_leader", job, Rule::BootstrappingStandbyLeader)
    } else {
        ("bootstrap", Job::Bootstrap, Rule::Bootstrapping)
    };
    if let Err(refused) = cycle.start(action, job)? {
        cycle.tail(Command::CancelInitialize);
        return Ok(refused);
    }
    cycle.memory.bootstrapping = true;
    cycle.memory.bootstrap_failed = false;
    cycle.memory.post_bootstrap_done = false;
    cycle.memory.rewind = RewindState::Initial;
    Ok(rule)
}

/// The remote server of a standby cluster: to copy, if it can be connected to, and to follow.
fn remote(cycle: &Cycle<'_>) -> (Option<Box<Upstream>>, Option<Box<Upstream>>) {
    let remote = upstream::to_remote(cycle.view).map(Box::new);
    (remote.clone().filter(|remote| !remote.conn.is_empty()), remote)
}

fn clone(cycle: &mut Cycle<'_>, action: &str, job: Job, rule: Rule) -> Step {
    let refused = cycle.start(action, job)?.err();
    if refused.is_none() {
        cycle.memory.rewind = RewindState::Initial;
        cycle.memory.start_event = Some(StartEvent::Start);
    }
    Ok(refused.unwrap_or(rule))
}

/// A bootstrap of this process, between and after its jobs.
pub(super) fn progress(cycle: &mut Cycle<'_>) -> Maybe {
    if !cycle.memory.bootstrapping {
        return Ok(None);
    }
    let moved = cycle.view.server.ended.iter().any(|end| end.job.kind() == JobKind::MoveDataAside);
    if moved {
        cycle.memory.bootstrapping = false;
        let reason = "Failed to bootstrap cluster".to_owned();
        cycle.exit = Some(Exit { code: 1, reason, leave_postgres: false });
        return Ok(Some(Rule::BootstrapFailed));
    }
    if cycle.memory.bootstrap_failed || !cycle.facts.running {
        return fail(cycle).map(Some);
    }
    if cycle.memory.post_bootstrap_done {
        return publish(cycle).map(Some);
    }
    if cycle.view.status.as_ref().is_none_or(|status| status.in_recovery) {
        cycle.wake_within(LOOK);
        return Ok(Some(Rule::WaitingForEndOfRecovery));
    }
    cycle.set_role(Role::Primary);
    let refused = cycle.start("post_bootstrap", Job::PostBootstrap)?.err();
    Ok(Some(refused.unwrap_or(Rule::PostBootstrap)))
}

/// Gives `initialize` up and moves the data directory aside; the process ends after that.
fn fail(cycle: &mut Cycle<'_>) -> Step {
    cycle.memory.bootstrap_failed = true;
    cycle.info("removing initialize key after failed attempt to bootstrap the cluster");
    let outcome = cycle.ask(Command::CancelInitialize)?;
    if outcome.is_silence() {
        let text = crate::ha::cycle::describe(&outcome);
        cycle.log(Level::Error, format!("failed to remove the initialize key: {text}"));
    }
    let refused = cycle.start("moving data directory aside", Job::MoveDataAside)?.err();
    Ok(refused.unwrap_or(Rule::BootstrapFailed))
}

/// All is well: the keys of the new cluster, in an order in which the lock comes last. Repeated in the next cycle
/// when the store does not answer.
fn publish(cycle: &mut Cycle<'_>) -> Step {
    let Some(system_id) = cycle.facts.system_id else { return Ok(Rule::ServerSilent) };
    let standby = cycle.in_standby_cluster() && !cycle.facts.is_primary;
    if !standby && !cycle.activate_watchdog()? {
        cycle.log(Level::Error, "Cancelling bootstrap because watchdog activation failed");
        return fail(cycle);
    }
    let create_only = cycle.cluster.initialize.is_none();
    let config = Command::WriteConfig { data: cycle.view.me.dynamic_config.clone(), expect: None };
    let initialize = Command::Initialize { system_id: Some(system_id), create_only };
    let outcomes = cycle.ask_all(vec![initialize, config])?;
    if outcomes.iter().any(Outcome::is_silence) {
        return Err(crate::ha::cycle::Stop::Silent);
    }
    if cycle.acquire()?.is_none() {
        cycle.log(Level::Error, "somebody else holds the leader key of the cluster that was just bootstrapped");
    }
    cycle.memory.bootstrapping = false;
    cycle.memory.post_bootstrap_done = false;
    cycle.memory.start_event = None;
    let role = if standby { Role::StandbyLeader } else { Role::Primary };
    cycle.set_role(role);
    cycle.callback(CallbackEvent::OnStart, role);
    Ok(Rule::Initialized)
}
