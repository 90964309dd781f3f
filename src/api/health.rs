//! Health checks: the state of the agent as status codes (API-02 to API-15). Pure.

use super::call::Target;
use super::{Facts, Snapshot};
use crate::cluster::{PgState, Role};
use crate::config::loose;
use crate::config::settings::SynchronousMode;
use crate::types::{Lsn, Mono};
use serde_json::Value;

/// The codes of the three kinds of leader and of a replica.
struct Codes {
    leader: bool,
    primary: bool,
    standby_leader: bool,
    replica: bool,
}

/// 200 when this member is what `target` asks for, else 503. Paths are matched by what they contain, in the
/// order of the original (API-40).
#[must_use]
pub fn code(target: &Target, facts: &Facts) -> u16 {
    let path = if target.path == "/" { "/primary" } else { target.path.as_str() };
    let codes = Codes::of(target, facts);
    let is = |part: &str| path.contains(part);
    let (fit, tags_count) = if is("standby_leader") || is("standby-leader") {
        (codes.standby_leader, false)
    } else if is("leader") {
        (codes.leader, false)
    } else if is("master") || is("primary") || is("read-write") {
        (codes.primary, false)
    } else if is("replica") {
        (codes.replica, true)
    } else if is("read-only") && !is("sync") && !is("quorum") {
        (codes.any_primary() || codes.replica, true)
    } else if is("health") {
        (facts.state() == Some(PgState::Running), true)
    } else {
        (facts.cluster.is_some() && fits_sync(path, &codes, facts), true)
    };
    if fit && (!tags_count || tags_match(target, facts)) { 200 } else { 503 }
}

impl Codes {
    fn of(target: &Target, facts: &Facts) -> Self {
        let role = facts.role();
        let replica = !facts.noloadbalance()
            && role == Role::Replica
            && facts.state() == Some(PgState::Running)
            && !is_lagging(target, facts)
            && target.parameter("replication_state").is_none_or(|wanted| facts.replication_state() == Some(wanted));
        if facts.cluster.is_none() && facts.paused() {
            let (primary, standby_leader) = (role == Role::Primary, role == Role::StandbyLeader);
            Self { leader: primary || standby_leader, primary, standby_leader, replica }
        } else if !facts.leader {
            Self { leader: false, primary: false, standby_leader: false, replica }
        } else if facts.standby_cluster() {
            let standby_leader = matches!(role, Role::Replica | Role::StandbyLeader);
            Self { leader: true, primary: false, standby_leader, replica: false }
        } else {
            Self { leader: true, primary: true, standby_leader: false, replica }
        }
    }

    fn any_primary(&self) -> bool {
        self.primary || self.standby_leader
    }
}

fn fits_sync(path: &str, codes: &Codes, facts: &Facts) -> bool {
    let mode = facts.synchronous_standby();
    let (sync, quorum) = (mode == SynchronousMode::On, mode == SynchronousMode::Quorum);
    match path {
        "/sync" | "/synchronous" => sync && codes.replica,
        "/quorum" => quorum && codes.replica,
        "/async" | "/asynchronous" => !sync && !quorum && codes.replica,
        "/read-only-quorum" => codes.any_primary() || quorum && codes.replica,
        "/read-only-sync" | "/read-only-synchronous" => codes.any_primary() || sync && codes.replica,
        _ => false,
    }
}

/// `lag` in bytes; `None` when it is missing or cannot be read.
fn lag_limit(target: &Target) -> Option<i64> {
    loose::parse_int(&Value::from(target.parameter("lag")?), Some("B"))
}

/// Behind the leader by more than `lag`; a limit that cannot be read is none.
fn is_lagging(target: &Target, facts: &Facts) -> bool {
    let Some(limit) = lag_limit(target) else { return false };
    let leader = facts.leader_position();
    leader != Lsn(0) && i128::from(leader.0) > i128::from(facts.replayed().0) + i128::from(limit)
}

/// Every `tag_<name>=<value>` names a tag of this member with this value.
fn tags_match(target: &Target, facts: &Facts) -> bool {
    let mut wanted = target.query.iter().filter_map(|(k, v)| Some((k.strip_prefix("tag_")?, v)));
    let tags = facts.tags();
    wanted.all(|(name, _)| {
        // Of a parameter that is given twice the first counts.
        let value = target.parameter(&format!("tag_{name}"));
        match tags.get(name) {
            None | Some(Value::Null) => false,
            Some(Value::String(tag)) => Some(tag.as_str()) == value,
            Some(tag) => Some(tag.to_string().to_lowercase().as_str()) == value,
        }
    })
}

/// `/liveness`: 503 when the present cycle began longer ago than `ttl` (twice that on a standby); never in pause.
#[must_use]
pub fn liveness(snapshot: &Snapshot, now: Mono) -> u16 {
    let global = &snapshot.settings.global;
    let primary = snapshot.server.role == Role::Primary && snapshot.server.facts.postmaster.is_some();
    let limit = if primary { global.ttl } else { global.ttl * 2 };
    if global.pause || now.since(snapshot.cycle_started) < limit { 200 } else { 503 }
}

/// `/readiness`: `Err` with the reason when this member should get no traffic yet.
///
/// # Errors
/// The reason, for the log.
pub fn readiness(target: &Target, facts: &Facts) -> Result<(), String> {
    if facts.leader {
        return Ok(());
    }
    if facts.snapshot.server.state != PgState::Running {
        return Err("PostgreSQL is not running".to_owned());
    }
    if facts.replication_state() != Some("streaming") {
        return Err("PostgreSQL replication state is not streaming".to_owned());
    }
    if facts.cluster.is_none() && facts.upstream_end() == Lsn(0) {
        return if facts.failsafe_active() { Ok(()) } else { Err("DCS is not accessible".to_owned()) };
    }
    let (mode, location) = match target.parameter("mode") {
        Some("write") => ("write", facts.received()),
        _ => ("apply", facts.replayed()),
    };
    let lag = i128::from(facts.leader_position().0) - i128::from(location.0);
    let limit = lag_limit(target)
        .map_or_else(|| i128::from(facts.snapshot.settings.global.maximum_lag_on_failover), i128::from);
    if lag > limit {
        return Err(format!("Replication {mode} lag {lag} exceeds maximum allowable {limit}"));
    }
    Ok(())
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
