//! `members/<name>`: what each agent publishes about itself.

use super::Revision;
use crate::types::{Lsn, MemberName, Timeline};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// State of a PostgreSQL server as its agent sees it (HA-42; the number is the value of the metric `patroni_postgres_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum PgState {
    /// initdb runs.
    #[serde(rename = "initializing new cluster")]
    Initdb = 0,
    /// initdb failed.
    #[serde(rename = "initdb failed")]
    InitdbFailed = 1,
    /// The custom bootstrap method runs.
    #[serde(rename = "running custom bootstrap script")]
    CustomBootstrap = 2,
    /// The custom bootstrap method failed.
    #[serde(rename = "custom bootstrap failed")]
    CustomBootstrapFailed = 3,
    /// A copy of another member is being made.
    #[serde(rename = "creating replica")]
    CreatingReplica = 4,
    /// The server accepts connections.
    #[serde(rename = "running")]
    Running = 5,
    /// The postmaster lives but rejects connections still.
    #[serde(rename = "starting")]
    Starting = 6,
    /// First start after a custom bootstrap.
    #[serde(rename = "starting after custom bootstrap")]
    BootstrapStarting = 7,
    /// The postmaster ended before it was ready.
    #[serde(rename = "start failed")]
    StartFailed = 8,
    /// Stop and start on request.
    #[serde(rename = "restarting")]
    Restarting = 9,
    /// The restart did not bring the server back.
    #[serde(rename = "restart failed")]
    RestartFailed = 10,
    /// A shutdown is under way.
    #[serde(rename = "stopping")]
    Stopping = 11,
    /// No postmaster, and that is as it should be.
    #[serde(rename = "stopped")]
    Stopped = 12,
    /// The shutdown did not work.
    #[serde(rename = "stop failed")]
    StopFailed = 13,
    /// No postmaster although one should run.
    #[serde(rename = "crashed")]
    Crashed = 14,
}

impl PgState {
    /// All states, by number.
    pub const ALL: [Self; 15] = [
        Self::Initdb,
        Self::InitdbFailed,
        Self::CustomBootstrap,
        Self::CustomBootstrapFailed,
        Self::CreatingReplica,
        Self::Running,
        Self::Starting,
        Self::BootstrapStarting,
        Self::StartFailed,
        Self::Restarting,
        Self::RestartFailed,
        Self::Stopping,
        Self::Stopped,
        Self::StopFailed,
        Self::Crashed,
    ];

    /// The text in the member key and the REST API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Initdb => "initializing new cluster",
            Self::InitdbFailed => "initdb failed",
            Self::CustomBootstrap => "running custom bootstrap script",
            Self::CustomBootstrapFailed => "custom bootstrap failed",
            Self::CreatingReplica => "creating replica",
            Self::Running => "running",
            Self::Starting => "starting",
            Self::BootstrapStarting => "starting after custom bootstrap",
            Self::StartFailed => "start failed",
            Self::Restarting => "restarting",
            Self::RestartFailed => "restart failed",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::StopFailed => "stop failed",
            Self::Crashed => "crashed",
        }
    }
}

impl std::fmt::Display for PgState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Role of a server as its agent sees it (HA-43). Readers take `master` for `primary`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Runs (or ran, before a crash) as primary.
    #[serde(alias = "master")]
    Primary,
    /// A standby.
    Replica,
    /// The leader of a standby cluster.
    StandbyLeader,
    /// Was told to promote, not confirmed yet.
    Promoted,
    /// Was primary and has been stopped for that.
    Demoted,
    /// No data directory.
    Uninitialized,
}

impl Role {
    /// The text in the member key and the REST API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::StandbyLeader => "standby_leader",
            Self::Promoted => "promoted",
            Self::Demoted => "demoted",
            Self::Uninitialized => "uninitialized",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a restart is pending: parameter to its present and its wanted value (PG-22).
pub type PendingRestart = IndexMap<String, PendingRestartValue>;

/// One entry of [`PendingRestart`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PendingRestartValue {
    /// What the running server has.
    pub old_value: String,
    /// What it would have after a restart.
    pub new_value: String,
}

/// A restart that was asked for a later time (HA-35), as the member key shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduledRestartData {
    /// ISO 8601 with zone, as it was asked for.
    pub schedule: String,
    /// Start time of the postmaster for which it was asked; the restart lapses when that one is gone.
    pub postmaster_start_time: Option<String>,
    /// Further filters and values as the client gave them (role, postgres_version, restart_pending, timeout).
    #[serde(flatten)]
    pub rest: serde_json::Map<String, serde_json::Value>,
}

/// The tags of a member as written, with questions answered by Patroni's rules (TAG-*).
/// Values keep their type and order: a text `'1'` stays a text in the member key.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MemberTags(pub serde_json::Map<String, serde_json::Value>);

/// The JSON of a member key. Fields are written in this order; absent ones are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemberData {
    /// `postgres://host:port/database`.
    pub conn_url: Option<String>,
    /// `http[s]://host:port/patroni`.
    pub api_url: Option<String>,
    /// State of the server; `None` when unknown to us.
    pub state: Option<PgState>,
    /// Role of the server; `None` when unknown to us.
    pub role: Option<Role>,
    /// Version of the agent.
    pub version: Option<String>,
    /// Address of a connection pool in front of the server.
    pub proxy_url: Option<String>,
    /// Only ever `Some(false)`: a new leader before its checkpoint.
    pub checkpoint_after_promote: Option<bool>,
    /// Tags.
    pub tags: MemberTags,
    /// `Some(true)` when a restart is pending.
    pub pending_restart: Option<bool>,
    /// Its reasons.
    pub pending_restart_reason: Option<PendingRestart>,
    /// Own position: written on a primary, the larger of received and replayed on a standby.
    pub xlog_location: Option<Lsn>,
    /// Replayed position of a standby.
    pub replay_lsn: Option<Lsn>,
    /// Received position of a standby.
    pub receive_lsn: Option<Lsn>,
    /// `streaming` or `in archive recovery`.
    pub replication_state: Option<String>,
    /// Timeline.
    pub timeline: Option<Timeline>,
    /// A restart that waits for its time.
    pub scheduled_restart: Option<ScheduledRestartData>,
    /// `Some(true)` while the cluster is paused.
    pub pause: Option<bool>,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: MemberName,
    /// Version of its key.
    pub revision: Revision,
    /// Whether the key is bound to this very session or lease of ours.
    pub own_session: bool,
    /// Its value.
    pub data: MemberData,
}

#[cfg(test)]
mod tests {
    use super::*;

    // rows: HA-42
    #[test]
    fn states_have_the_originals_texts_and_numbers() {
        let wanted = [
            "initializing new cluster",
            "initdb failed",
            "running custom bootstrap script",
            "custom bootstrap failed",
            "creating replica",
            "running",
            "starting",
            "starting after custom bootstrap",
            "start failed",
            "restarting",
            "restart failed",
            "stopping",
            "stopped",
            "stop failed",
            "crashed",
        ];
        assert_eq!(PgState::ALL.map(PgState::as_str), wanted);
        for (number, state) in PgState::ALL.into_iter().enumerate() {
            assert_eq!(serde_json::to_value(state).unwrap(), wanted[number]);
            assert_eq!(state as usize, number, "{state}: metrics show the number");
        }
    }

    // rows: HA-43
    #[test]
    fn roles_have_the_originals_texts_and_an_old_one_is_understood() {
        let wanted = ["primary", "replica", "standby_leader", "promoted", "demoted", "uninitialized"];
        for text in wanted {
            let role: Role = serde_json::from_value(text.into()).unwrap();
            assert_eq!((role.as_str(), serde_json::to_value(role).unwrap()), (text, text.into()));
        }
        assert_eq!(serde_json::from_value::<Role>("master".into()).unwrap(), Role::Primary);
        assert!(serde_json::from_value::<Role>("slave".into()).is_err());
    }
}
