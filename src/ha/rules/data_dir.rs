//! Is the data directory there, and does it belong to this cluster (ha-rules 4, steps 9 and 10)?

use super::{bootstrap, stop};
use crate::cluster::{DataDir, Role, StopMode};
use crate::ha::cycle::{Cycle, Maybe, Step};
use crate::ha::{Command, Exit, Job, Level, Outcome, Rule};
use crate::types::SystemId;

/// Ends the cycle unless there is a data directory that may join.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    match &cycle.view.server.facts.data_dir {
        DataDir::Empty => without_data(cycle, None).map(Some),
        DataDir::Inaccessible(error) => {
            let error = error.clone();
            without_data(cycle, Some(error)).map(Some)
        }
        DataDir::Present(_) => may_join(cycle),
    }
}

fn without_data(cycle: &mut Cycle<'_>, error: Option<String>) -> Step {
    cycle.set_role(Role::Uninitialized);
    if cycle.facts.running && !cycle.facts.paused {
        let timeout = Some(cycle.view.global.retry_timeout);
        let job = Job::Stop { mode: StopMode::Immediate, checkpoint: false, timeout, role: None };
        return Ok(match cycle.start("stop", job)? {
            Ok(id) => {
                cycle.tell_of_stop(id);
                Rule::JobInProgress("stop".to_owned())
            }
            Err(refused) => refused,
        });
    }
    cycle.disable_watchdog();
    if cycle.facts.has_lock {
        cycle.release(None)?;
        return Ok(Rule::ReleasedWithoutData(error.is_none()));
    }
    match error {
        Some(error) => Ok(Rule::DataDirInaccessible(error)),
        None if cycle.facts.paused => Ok(Rule::PausedWithoutData),
        None => bootstrap::empty_data_dir(cycle),
    }
}

fn may_join(cycle: &mut Cycle<'_>) -> Maybe {
    let Some(mine) = cycle.facts.system_id.filter(|id| SystemId::parse(&id.to_string()).is_some()) else {
        return Ok(Some(Rule::InvalidSystemId));
    };
    if let Some(theirs) = cycle.cluster.system_id() {
        return if theirs == mine { Ok(None) } else { foreign(cycle, theirs, mine) };
    }
    let fresh = cycle.facts.unlocked && !cycle.facts.paused && !cycle.memory.joined;
    if !fresh {
        return Ok(None);
    }
    if cycle.facts.running && !cycle.facts.is_primary {
        cycle.log(Level::Error, "No initialize key in DCS and PostgreSQL is running as replica, aborting start");
        let reason = "Please first start Patroni on the node running as primary".to_owned();
        cycle.exit = Some(Exit { code: 1, reason, leave_postgres: true });
        return Ok(Some(Rule::JoinAborted));
    }
    let create_only = cycle.cluster.initialize.is_none();
    match cycle.ask(Command::Initialize { system_id: Some(mine), create_only })? {
        Outcome::Ok => Ok(None),
        Outcome::Conflict => Ok(Some(Rule::InitializeLost)),
        _ => Err(crate::ha::cycle::Stop::Silent),
    }
}

fn foreign(cycle: &mut Cycle<'_>, theirs: SystemId, mine: SystemId) -> Maybe {
    if cycle.facts.paused {
        cycle.warn(format!(
            "system ID has changed while in paused mode. Patroni will exit when resuming unless system ID is reset: \
             {theirs} != {mine}"
        ));
        if cycle.facts.has_lock {
            cycle.release(None)?;
            return Ok(Some(Rule::ReleasedSystemIdMismatch));
        }
        return Ok(None);
    }
    let me = cycle.me();
    let reason = format!("system ID mismatch, node {me} belongs to a different cluster: {theirs} != {mine}");
    stop::begin(cycle, Exit { code: 1, reason, leave_postgres: false })?;
    Ok(Some(Rule::SystemIdMismatch(theirs, mine)))
}
