//! The cluster as `/cluster` and `patronictl list` show it (API-17, API-18).

use super::{Cluster, Member, Modes, PendingRestart, ScheduleTime, ScheduledRestartData};
use crate::types::{Lsn, Timeline};
use serde_json::{Map, Value, json};

/// The cluster for people.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterView {
    /// Members, sorted by name.
    pub members: Vec<MemberView>,
    /// Maintenance mode.
    pub pause: bool,
    /// A switchover that waits for its time.
    pub scheduled_switchover: Option<ScheduledSwitchover>,
}

/// A switchover that waits for its time.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledSwitchover {
    /// ISO 8601.
    pub at: String,
    /// Who steps down.
    pub from: Option<String>,
    /// Who takes over.
    pub to: Option<String>,
}

/// A member for people.
#[derive(Clone, Debug, PartialEq)]
pub struct MemberView {
    /// Name.
    pub name: String,
    /// leader, standby_leader, sync_standby, quorum_standby or replica.
    pub role: &'static str,
    /// `replication_state` of a standby, else `state`.
    pub state: String,
    /// Its REST API.
    pub api_url: Option<String>,
    /// Host of the server.
    pub host: Option<String>,
    /// Port of the server.
    pub port: Option<u16>,
    /// Timeline.
    pub timeline: Option<Timeline>,
    /// A restart is pending.
    pub pending_restart: Option<bool>,
    /// Why.
    pub pending_restart_reason: Option<PendingRestart>,
    /// A restart that waits for its time.
    pub scheduled_restart: Option<ScheduledRestartData>,
    /// Tags.
    pub tags: Map<String, Value>,
    /// Received, replayed and own position, each with its lag; not for the leader.
    pub positions: Option<Positions>,
}

/// Positions of a standby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Received.
    pub receive: Position,
    /// Replayed.
    pub replay: Position,
    /// The larger of both.
    pub own: Position,
}

/// A position and how far it is behind the leader's, in bytes; `None`: unknown.
pub type Position = Option<(Lsn, u64)>;

impl ClusterView {
    /// How this cluster looks.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let modes = Modes::of(cluster);
        let mut members: Vec<MemberView> = cluster.members.iter().map(|m| member_view(cluster, modes, m)).collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let scheduled = cluster.failover.as_ref().filter(|f| f.scheduled_at.is_some()).map(|f| ScheduledSwitchover {
            at: scheduled_text(f.scheduled_text.as_deref(), f.scheduled_at),
            from: f.leader.clone(),
            to: f.candidate.clone(),
        });
        Self { members, pause: modes.paused, scheduled_switchover: scheduled }
    }

    /// The JSON of `/cluster`, but for `scope`.
    #[must_use]
    pub fn to_json(&self) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("members".into(), self.members.iter().map(|m| Value::Object(m.to_json())).collect());
        if self.pause {
            out.insert("pause".into(), Value::Bool(true));
        }
        if let Some(scheduled) = &self.scheduled_switchover {
            let mut entry = Map::new();
            entry.insert("at".into(), json!(scheduled.at));
            for (key, name) in [("from", &scheduled.from), ("to", &scheduled.to)] {
                if let Some(name) = name {
                    entry.insert(key.into(), json!(name));
                }
            }
            out.insert("scheduled_switchover".into(), Value::Object(entry));
        }
        out
    }
}

impl MemberView {
    /// Whether it holds the leader lock.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.role.ends_with("leader")
    }

    fn to_json(&self) -> Map<String, Value> {
        let mut out = Map::new();
        out.insert("name".into(), json!(self.name));
        out.insert("role".into(), json!(self.role));
        out.insert("state".into(), json!(self.state));
        out.insert("api_url".into(), json!(self.api_url));
        let optional = [
            ("host", json!(self.host)),
            ("port", json!(self.port)),
            ("timeline", json!(self.timeline)),
            ("pending_restart", json!(self.pending_restart)),
            ("pending_restart_reason", json!(self.pending_restart_reason)),
            ("scheduled_restart", json!(self.scheduled_restart)),
            ("tags", if self.tags.is_empty() { Value::Null } else { json!(self.tags) }),
        ];
        out.extend(optional.into_iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.to_owned(), v)));
        if let Some(positions) = &self.positions {
            for (prefix, position) in
                [("receive_", positions.receive), ("replay_", positions.replay), ("", positions.own)]
            {
                let (lsn_key, lag_key) = (format!("{prefix}lsn"), format!("{prefix}lag"));
                // Which of the two keys comes first differs in the original too.
                if let Some((lsn, lag)) = position {
                    out.insert(lag_key, json!(lag));
                    out.insert(lsn_key, json!(lsn.to_string()));
                } else {
                    out.insert(lsn_key, json!("unknown"));
                    out.insert(lag_key, json!("unknown"));
                }
            }
        }
        out
    }
}

/// The time of a scheduled action in its stored form, or as UTC when that was not readable.
fn scheduled_text(text: Option<&str>, at: Option<crate::types::Wall>) -> String {
    let written = text.and_then(ScheduleTime::parse).map(|t| t.isoformat());
    written.or_else(|| at.map(|t| t.to_string())).unwrap_or_default()
}

fn member_view(cluster: &Cluster, modes: Modes, member: &Member) -> MemberView {
    let is_leader = cluster.leader_name() == Some(&member.name);
    let role = match (is_leader, modes) {
        (true, Modes { standby_cluster: true, .. }) => "standby_leader",
        (true, _) => "leader",
        (false, Modes { synchronous: true, quorum, .. }) if cluster.sync.matches(member.name.as_str(), false) => {
            if quorum {
                "quorum_standby"
            } else {
                "sync_standby"
            }
        }
        _ => "replica",
    };
    let data = &member.data;
    let replication_state = data.replication_state.clone().filter(|s| role != "leader" && !s.is_empty());
    let (host, port) = data.conn_url.as_deref().map_or((None, None), host_and_port);
    let last = cluster.last_lsn();
    let position = |lsn: Option<Lsn>| lsn.filter(|l| l.0 != 0).map(|l| (l, last.ahead_of(l)));
    MemberView {
        name: member.name.to_string(),
        role,
        state: replication_state.unwrap_or_else(|| data.state.map_or("", |s| s.as_str()).to_owned()),
        api_url: data.api_url.clone(),
        port: host.as_ref().and(port),
        host,
        timeline: data.timeline,
        pending_restart: data.pending_restart,
        pending_restart_reason: data.pending_restart_reason.clone(),
        scheduled_restart: data.scheduled_restart.clone(),
        tags: data.tags.0.clone(),
        positions: (!is_leader).then(|| Positions {
            receive: position(data.receive_lsn),
            replay: position(data.replay_lsn),
            own: position(data.xlog_location),
        }),
    }
}

/// Host (brackets of IPv6 removed, lower case) and port of a connection URL; the port is 5432 where none is given.
#[must_use]
pub fn host_and_port(url: &str) -> (Option<String>, Option<u16>) {
    let Some((_, rest)) = url.split_once("://") else { return (None, None) };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit_once('@').map_or(authority, |(_, a)| a);
    let (host, port) = match address.strip_prefix('[').and_then(|a| a.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => address.rsplit_once(':').map_or((address, None), |(h, p)| (h, Some(p))),
    };
    let port = port.filter(|p| !p.is_empty()).map_or(Some(5432), |p| p.parse().ok());
    (Some(host.to_lowercase()).filter(|h| !h.is_empty()), port)
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
