//! `/metrics`: the original's series, byte for byte, and our own after them (MET-01 to MET-23).

use super::Facts;
use super::status::dcs_last_seen;
use crate::cluster::{PgState, Role, ScheduleTime};
use crate::config::settings::SynchronousMode;
use std::fmt::Write as _;

/// Text of the page, which is made line by line.
struct Page {
    text: String,
    labels: String,
}

/// The page.
#[must_use]
pub fn render(facts: &Facts) -> String {
    let settings = &facts.snapshot.settings;
    let labels = format!("{{scope=\"{}\",name=\"{}\"}}", escape(&settings.scope), escape(&settings.name));
    let mut page = Page { text: String::with_capacity(6000), labels };
    server(&mut page, facts);
    positions(&mut page, facts);
    cluster(&mut page, facts);
    own(&mut page, facts);
    page.text
}

impl Page {
    fn gauge(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.series(name, help, "gauge", "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: impl std::fmt::Display) {
        self.series(name, help, "counter", "", value);
    }

    fn series(&mut self, name: &str, help: &str, kind: &str, comment: &str, value: impl std::fmt::Display) {
        let labels = &self.labels;
        // Writing to a String cannot fail.
        write!(self.text, "# HELP {name} {help}\n{comment}# TYPE {name} {kind}\n{name}{labels} {value}\n").ok();
    }
}

fn server(page: &mut Page, facts: &Facts) {
    let version: String = crate::PATRONI_VERSION.split('.').map(|part| format!("{part:0>2}")).collect();
    page.gauge("patroni_version", "Patroni semver without periods.", version);
    page.gauge(
        "patroni_postgres_running",
        "Value is 1 if Postgres is running, 0 otherwise.",
        u8::from(facts.state() == Some(PgState::Running)),
    );
    let started = facts.status.as_ref().and_then(|s| s.postmaster_start_time.as_deref());
    page.gauge("patroni_postmaster_start_time", "Epoch seconds since Postgres started.", epoch(started));
}

fn positions(page: &mut Page, facts: &Facts) {
    let role = |wanted: Role| u8::from(facts.role() == wanted);
    let sync = |wanted: SynchronousMode| u8::from(facts.synchronous_standby() == wanted);
    page.gauge("patroni_primary", "Value is 1 if this node is the leader, 0 otherwise.", role(Role::Primary));
    let location = facts.status.as_ref().filter(|s| !s.in_recovery).map_or(0, |s| s.write_lsn.0);
    let help = "Current location of the Postgres transaction log, 0 if this node is not the leader.";
    page.counter("patroni_xlog_location", help, location);
    let help = "Value is 1 if this node is the standby_leader, 0 otherwise.";
    page.gauge("patroni_standby_leader", help, role(Role::StandbyLeader));
    page.gauge("patroni_replica", "Value is 1 if this node is a replica, 0 otherwise.", role(Role::Replica));
    let help = "Value is 1 if this node is a sync standby, 0 otherwise.";
    page.gauge("patroni_sync_standby", help, sync(SynchronousMode::On));
    let help = "Value is 1 if this node is a quorum standby, 0 otherwise.";
    page.gauge("patroni_quorum_standby", help, sync(SynchronousMode::Quorum));
    let help = "Current location of the received Postgres transaction log, 0 if this node is not a replica.";
    page.counter("patroni_xlog_received_location", help, facts.received().0);
    let help = "Current location of the replayed Postgres transaction log, 0 if this node is not a replica.";
    page.counter("patroni_xlog_replayed_location", help, facts.replayed().0);
    let help = "Current timestamp of the replayed Postgres transaction log, 0 if null.";
    let replayed = facts.standby().and_then(|s| s.replayed_timestamp.as_deref());
    page.gauge("patroni_xlog_replayed_timestamp", help, epoch(replayed));
    let paused = facts.standby().is_some_and(|s| s.replay_paused);
    page.gauge("patroni_xlog_paused", "Value is 1 if the Postgres xlog is paused, 0 otherwise.", u8::from(paused));
    let version = facts.snapshot.server.version.filter(|_| facts.status.is_some());
    if version.is_some_and(|v| v.at_least(90_600)) {
        let state = |wanted: &str| u8::from(facts.replication_state() == Some(wanted));
        let help = "Value is 1 if Postgres is streaming, 0 otherwise.";
        page.gauge("patroni_postgres_streaming", help, state("streaming"));
        let help = "Value is 1 if Postgres is replicating from archive, 0 otherwise.";
        page.gauge("patroni_postgres_in_archive_recovery", help, state("in archive recovery"));
    }
    let help = "Version of Postgres (if running), 0 otherwise.";
    page.gauge("patroni_postgres_server_version", help, version.map_or(0, |v| v.0));
}

fn cluster(page: &mut Page, facts: &Facts) {
    let unlocked = facts.cluster.as_ref().is_none_or(|c| c.is_unlocked());
    let help = "Value is 1 if the cluster is unlocked, 0 if locked.";
    page.gauge("patroni_cluster_unlocked", help, u8::from(unlocked));
    let help = "Value is 1 if failsafe mode is active, 0 if inactive.";
    page.gauge("patroni_failsafe_mode_is_active", help, u8::from(facts.failsafe_active()));
    let help = "Postgres timeline of this node (if running), 0 otherwise.";
    page.gauge("patroni_postgres_timeline", help, facts.timeline().unwrap_or_default());
    let help = "Epoch timestamp when DCS was last contacted successfully by Patroni.";
    page.gauge("patroni_dcs_last_seen", help, dcs_last_seen(facts));
    let pending = !facts.snapshot.server.pending_restart.is_empty();
    let help = "Value is 1 if the node needs a restart, 0 otherwise.";
    page.gauge("patroni_pending_restart", help, u8::from(pending));
    let help = "Value is 1 if auto failover is disabled, 0 otherwise.";
    page.gauge("patroni_is_paused", help, u8::from(facts.paused()));
    let names: Vec<String> =
        PgState::ALL.iter().map(|state| format!("{}={}", *state as u8, state_name(*state))).collect();
    let comment = format!("# Values: {}\n", names.join(", "));
    let value = facts.state().map_or(-1, |state| i16::from(state as u8));
    page.series("patroni_postgres_state", "Numeric representation of Postgres state.", "gauge", &comment, value);
}

/// Series that the original does not have.
fn own(page: &mut Page, facts: &Facts) {
    let lease = facts.snapshot.lease_until.map_or(0.0, |until| until.since(facts.now).as_secs_f64());
    let help = "Seconds until the leader lock of this node expires, 0 without it.";
    page.gauge("patroni_leader_lease_seconds", help, lease);
    let age = facts.now.since(facts.snapshot.cycle_started).as_secs_f64();
    page.gauge("patroni_ha_cycle_age_seconds", "Seconds since the start of the last HA cycle.", age);
    let (waiting, lost) = facts.snapshot.log_queue;
    page.gauge("patroni_log_queue_size", "Log records that wait to be written.", waiting);
    page.counter("patroni_log_records_lost", "Log records lost because the queue was full.", lost);
    // Of the original's next version; behind all others, so that its present page stays as it is.
    let mode = facts.snapshot.settings.global.failsafe_mode;
    page.gauge("patroni_failsafe_mode_enabled", "Value is 1 if failsafe_mode is enabled, 0 otherwise.", u8::from(mode));
    let map = facts.snapshot.cluster.as_ref().and_then(|(c, _)| c.failsafe.as_ref());
    let member = map.is_some_and(|map| map.contains_key(&facts.snapshot.settings.name));
    let help = "Value is 1 if this node is a member of failsafe, 0 otherwise.";
    page.gauge("patroni_failsafe_member", help, u8::from(member));
    page.gauge("patroni_failover_priority", "Failover priority of this node.", facts.failover_priority());
}

/// Seconds since the epoch with their fraction, as the original prints them: `0` when there is no moment.
fn epoch(postgres: Option<&str>) -> String {
    let moment = postgres.and_then(ScheduleTime::parse).and_then(|t| t.moment());
    #[allow(clippy::cast_precision_loss)]
    moment.map_or_else(|| "0".to_owned(), |m| format!("{:?}", m.as_microsecond() as f64 / 1e6))
}

fn escape(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn state_name(state: PgState) -> &'static str {
    match state {
        PgState::Initdb => "initdb",
        PgState::InitdbFailed => "initdb_failed",
        PgState::CustomBootstrap => "custom_bootstrap",
        PgState::CustomBootstrapFailed => "custom_bootstrap_failed",
        PgState::CreatingReplica => "creating_replica",
        PgState::Running => "running",
        PgState::Starting => "starting",
        PgState::BootstrapStarting => "bootstrap_starting",
        PgState::StartFailed => "start_failed",
        PgState::Restarting => "restarting",
        PgState::RestartFailed => "restart_failed",
        PgState::Stopping => "stopping",
        PgState::Stopped => "stopped",
        PgState::StopFailed => "stop_failed",
        PgState::Crashed => "crashed",
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
