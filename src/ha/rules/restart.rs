//! Restarts on request, now or at their time, and the window of scheduled actions (HA-34, HA-35).

use super::sync;
use crate::ha::cycle::{Cycle, Step, Stop};
use crate::ha::memory::StartEvent;
use crate::ha::request::RestartFilter;
use crate::ha::{Job, JobId, Rule};
use crate::types::{PgVersion, Wall};
use std::time::Duration;

/// Whether a scheduled action is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Now.
    Now,
    /// Not yet, or not in pause.
    Later,
    /// Too late: it lapses.
    Stale,
}

/// Looks at the time of a scheduled action: due from its moment on, stale when more than 1.5 `loop_wait` late. The
/// cycle that meets the moment is asked for.
pub(super) fn due(cycle: &mut Cycle<'_>, action: &str, at: Wall, text: Option<&str>) -> Due {
    if cycle.facts.paused {
        return Due::Later;
    }
    let shown = text.map_or_else(|| isoformat(at), str::to_owned);
    let ahead = at.duration_since(cycle.view.wall);
    if ahead.is_positive() {
        let length = Duration::try_from(ahead).unwrap_or(Duration::MAX);
        if length > cycle.view.global.loop_wait {
            let seconds = length.as_secs_f64().round();
            cycle.info(format!("Awaiting {action} at {shown} (in {seconds:.0} seconds)"));
        }
        cycle.wake_within(length);
        return Due::Later;
    }
    let late = Duration::try_from(-ahead).unwrap_or(Duration::MAX);
    let tolerated = cycle.view.global.loop_wait.as_secs() * 3 / 2;
    if late > Duration::from_secs(tolerated) {
        cycle.warn(format!("Found a stale {action} value, cleaning up: {shown}"));
        return Due::Stale;
    }
    cycle.info(format!("Manual scheduled {action} at {shown}"));
    Due::Now
}

/// ISO 8601 as Python writes it: with a numeric zone.
pub(super) fn isoformat(at: Wall) -> String {
    let text = at.to_string();
    text.strip_suffix('Z').map_or_else(|| text.clone(), |rest| format!("{rest}+00:00"))
}

/// The scheduled restart, at the end of a cycle that left the server alone.
pub(super) fn scheduled(cycle: &mut Cycle<'_>, rule: Rule) -> Step {
    let Some(restart) = cycle.memory.scheduled_restart.clone() else { return Ok(rule) };
    // While there is no leader (or no view) the race and the shape of the cluster matter more.
    let idle = cycle.job.is_none() && cycle.memory.demotion.is_none() && cycle.facts.running && !cycle.facts.unlocked;
    if !idle || cycle.memory.process_end.is_some() || cycle.memory.bootstrapping || cycle.exit.is_some() {
        return Ok(rule);
    }
    let started = cycle.view.status.as_ref().and_then(|s| s.postmaster_start_time.clone());
    if let (Some(now), Some(then)) = (&started, &restart.data.postmaster_start_time)
        && now != then
    {
        cycle.info(format!("Cancelling scheduled restart: postgres restart has already happened at {now}"));
        cycle.memory.scheduled_restart = None;
        return Ok(rule);
    }
    let filter = filter_of(&restart.data.rest);
    let leaving = cycle.memory.sync.leaving_until.is_some() && restart.at <= cycle.view.wall;
    let due = if leaving { Due::Now } else { due(cycle, "restart", restart.at, Some(&restart.data.schedule)) };
    match due {
        Due::Later => return Ok(rule),
        Due::Stale => {
            cycle.memory.scheduled_restart = None;
            return Ok(rule);
        }
        Due::Now if must_wait(cycle, &filter) => return Ok(rule),
        Due::Now => cycle.memory.scheduled_restart = None,
    }
    let seconds = restart.data.rest.get("timeout").and_then(serde_json::Value::as_u64);
    match start(cycle, &filter, seconds.map(Duration::from_secs))? {
        Ok(_) => Ok(Rule::RestartInitiated),
        Err(reason) => {
            cycle.warn(format!("Scheduled restart: {reason}"));
            Ok(rule)
        }
    }
}

/// The conditions that a scheduled restart carries in the member key.
fn filter_of(rest: &serde_json::Map<String, serde_json::Value>) -> RestartFilter {
    RestartFilter {
        role: rest.get("role").and_then(|role| serde_json::from_value(role.clone()).ok()),
        postgres_version: rest.get("postgres_version").and_then(|v| v.as_str()).map(str::to_owned),
        restart_pending: rest.contains_key("restart_pending"),
    }
}

/// Whether a restart whose conditions hold has to wait until commits do not wait for this standby any more.
pub(super) fn must_wait(cycle: &mut Cycle<'_>, filter: &RestartFilter) -> bool {
    mismatch(cycle, filter).is_none() && cycle.job.is_none() && sync::must_wait_for_release(cycle)
}

/// Starts a restart if its conditions hold; else the reason why not.
pub(super) fn start(
    cycle: &mut Cycle<'_>,
    filter: &RestartFilter,
    timeout: Option<Duration>,
) -> Result<Result<JobId, String>, Stop> {
    if let Some(reason) = mismatch(cycle, filter) {
        cycle.info(format!("not proceeding with the restart: {reason}"));
        return Ok(Err("restart conditions are not satisfied".to_owned()));
    }
    if cycle.job.is_some() {
        return Ok(Err(format!("{} already in progress", cycle.action())));
    }
    let timeout = timeout.unwrap_or(cycle.view.global.primary_start_timeout);
    match cycle.start("restart", Job::Restart { timeout: Some(timeout) })? {
        Ok(id) => {
            // A restart that fails is treated like a failed recovery: the lock is given up.
            cycle.memory.recovering = true;
            cycle.memory.start_timeout = Some(timeout);
            cycle.memory.start_event = Some(StartEvent::Restart);
            Ok(Ok(id))
        }
        Err(Rule::JobRefused(_, other)) => Ok(Err(format!("{other} already in progress"))),
        Err(_) => Ok(Err("restart failed".to_owned())),
    }
}

fn mismatch(cycle: &Cycle<'_>, filter: &RestartFilter) -> Option<&'static str> {
    let mut reason = None;
    if filter.role.is_some_and(|role| role != cycle.role) {
        reason = Some("host role mismatch");
    }
    let wanted = filter.postgres_version.as_deref().and_then(PgVersion::from_full);
    if let (Some(wanted), Some(mine)) = (wanted, cycle.facts.version)
        && wanted <= mine
    {
        reason = Some("postgres version mismatch");
    }
    if filter.restart_pending && cycle.view.server.pending_restart.is_empty() {
        reason = Some("pending restart flag is not set");
    }
    reason
}
