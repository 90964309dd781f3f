//! The status JSON: what `/patroni` and the health checks show, and what members read of each other in the
//! leader race (API-45; field order and forms are part of the contract).

use super::Facts;
use crate::cluster::{ReplicationConnection, ScheduleTime};
use crate::config::settings::SynchronousMode;
use serde_json::{Map, Value, json};

/// Log lines that may wait to be written before `logger_queue_size` is shown: a quiet cycle writes this many.
const NORMAL_LOG_QUEUE: usize = 2;

/// The status.
#[must_use]
pub fn status(facts: &Facts) -> Map<String, Value> {
    let mut out = Map::new();
    add_server(&mut out, facts);
    let mut add = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    let snapshot = &facts.snapshot;
    if facts.paused() {
        add("pause", json!(true));
    }
    if facts.cluster.as_ref().is_none_or(|c| c.is_unlocked()) {
        add("cluster_unlocked", json!(true));
    }
    if facts.failsafe_active() {
        add("failsafe_mode_is_active", json!(true));
    }
    add("dcs_last_seen", json!(dcs_last_seen(facts)));
    let tags = facts.tags();
    if !tags.is_empty() {
        add("tags", Value::Object(tags));
    }
    if let Some(id) = snapshot.server.facts.control.as_ref().and_then(|c| c.system_id) {
        add("database_system_identifier", json!(id.to_string()));
    }
    if !snapshot.server.pending_restart.is_empty() {
        add("pending_restart", json!(true));
        add("pending_restart_reason", json!(snapshot.server.pending_restart));
    }
    let settings = &snapshot.settings;
    add("patroni", json!({"version": crate::PATRONI_VERSION, "scope": settings.scope, "name": settings.name}));
    if let Some(restart) = &snapshot.scheduled_restart {
        let mut entry = Map::new();
        entry.insert("schedule".to_owned(), json!(restart.data.schedule));
        entry.extend(restart.data.rest.clone());
        add("scheduled_restart", Value::Object(entry));
    }
    if snapshot.watchdog_failed {
        add("watchdog_failed", json!(true));
    }
    let (waiting, lost) = snapshot.log_queue;
    if waiting > NORMAL_LOG_QUEUE {
        add("logger_queue_size", json!(waiting));
        if lost > 0 {
            add("logger_records_lost", json!(lost));
        }
    }
    out
}

/// Seconds since the epoch at the last successful read of the store; 0: never.
#[must_use]
pub fn dcs_last_seen(facts: &Facts) -> i64 {
    facts.snapshot.dcs_last_seen.map_or(0, jiff::Timestamp::as_second)
}

/// A moment in PostgreSQL's text as clients of the original know it (`2026-05-29 04:32:31.120000+00:00`).
#[must_use]
pub fn moment_text(postgres: &str) -> String {
    ScheduleTime::parse(postgres).map_or_else(|| postgres.to_owned(), |t| t.to_string())
}

fn add_server(out: &mut Map<String, Value>, facts: &Facts) {
    let mut add = |key: &str, value: Value| drop(out.insert(key.to_owned(), value));
    add("state", json!(facts.state().map_or("unknown", |s| s.as_str())));
    let Some(status) = &facts.status else {
        return add("role", json!(facts.role()));
    };
    add("postmaster_start_time", json!(status.postmaster_start_time.as_deref().map(moment_text)));
    add("role", json!(facts.role()));
    add("server_version", json!(facts.snapshot.server.version));
    add("xlog", xlog(facts));
    match facts.synchronous_standby() {
        SynchronousMode::Off => {}
        SynchronousMode::On => add("sync_standby", json!(true)),
        SynchronousMode::Quorum => add("quorum_standby", json!(true)),
    }
    add("timeline", json!(facts.timeline()));
    if let Some(state) = facts.replication_state() {
        add("replication_state", json!(state));
    }
    if !status.replication.is_empty() {
        add("replication", status.replication.iter().map(connection).collect());
    }
}

fn xlog(facts: &Facts) -> Value {
    match (&facts.status, facts.standby()) {
        (_, Some(standby)) => json!({
            "received_location": facts.received(),
            "replayed_location": facts.replayed(),
            "replayed_timestamp": standby.replayed_timestamp.as_deref().map(moment_text),
            "paused": standby.replay_paused,
        }),
        (Some(status), None) => json!({"location": status.write_lsn}),
        (None, None) => Value::Null,
    }
}

fn connection(row: &ReplicationConnection) -> Value {
    json!({
        "usename": row.usename,
        "application_name": row.application_name,
        "client_addr": row.client_addr,
        "state": row.state,
        "sync_state": row.sync_state,
        "sync_priority": row.sync_priority,
    })
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
