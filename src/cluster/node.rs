//! What one PostgreSQL server is seen to be: by SQL, by its control file, by its agent's REST API.

use super::{MemberTags, Role};
use crate::types::{Lsn, Mono, PgVersion, SystemId, Timeline, Wall};
use serde::{Deserialize, Serialize};

/// One answer of a running server to the status query of a cycle (ha-rules 1, "One local query per cycle").
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// `pg_is_in_recovery()`.
    pub in_recovery: bool,
    /// Timeline of the WAL being written (0 on a standby).
    pub timeline: Timeline,
    /// Write position of a primary.
    pub write_lsn: Lsn,
    /// Replay position of a standby.
    pub replay_lsn: Option<Lsn>,
    /// Position received by streaming or from the archive on a standby.
    pub receive_lsn: Option<Lsn>,
    /// Replay is paused (by hand or by too low parameters).
    pub replay_paused: bool,
    /// Timeline in control data by SQL (9.6+).
    pub control_timeline: Option<Timeline>,
    /// The WAL receiver (9.6+), when there is one.
    pub receiver: Option<WalReceiver>,
    /// `restore_command` as the server has it (12+); whether archive recovery is possible.
    pub restore_command: Option<String>,
    /// Rows of `pg_stat_replication`.
    pub replication: Vec<ReplicationConnection>,
    /// Commit time of the last replayed transaction, as text (`replayed_timestamp`).
    pub replayed_timestamp: Option<String>,
    /// Start of the postmaster, in PostgreSQL's own text with zone.
    pub postmaster_start_time: Option<String>,
    /// `synchronous_standby_names` as the server has it.
    pub synchronous_standby_names: String,
    /// `synchronous_commit` as the server has it.
    pub synchronous_commit: String,
}

impl NodeStatus {
    /// Own position: written on a primary, the larger of received and replayed on a standby.
    #[must_use]
    pub fn position(&self) -> Lsn {
        if self.in_recovery {
            self.receive_lsn.unwrap_or_default().max(self.replay_lsn.unwrap_or_default())
        } else {
            self.write_lsn
        }
    }
}

/// A row of `pg_stat_wal_receiver`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WalReceiver {
    /// `status`: "streaming", "starting", ...
    pub status: String,
    /// `received_tli`.
    pub timeline: Timeline,
    /// `slot_name`.
    pub slot_name: Option<String>,
    /// `conninfo` (password masked by the server).
    pub conninfo: Option<String>,
    /// `latest_end_lsn`: the end that the sender last reported.
    pub latest_end_lsn: Option<Lsn>,
}

/// A row of `pg_stat_replication`, named as the REST API shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReplicationConnection {
    /// `usename`.
    pub usename: Option<String>,
    /// `application_name`: the member's name.
    pub application_name: String,
    /// `client_addr`.
    pub client_addr: Option<String>,
    /// `state`: "streaming", "catchup", "backup", ...
    pub state: String,
    /// `sync_state`.
    pub sync_state: String,
    /// `sync_priority`.
    pub sync_priority: i32,
    /// `write_lsn`.
    pub write_lsn: Option<Lsn>,
    /// `flush_lsn`.
    pub flush_lsn: Option<Lsn>,
    /// `replay_lsn`.
    pub replay_lsn: Option<Lsn>,
    /// `pid` of the WAL sender.
    pub pid: i32,
}

/// A postmaster that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postmaster {
    /// Process id.
    pub pid: i32,
    /// Start of the process in clock ticks since boot (`/proc/PID/stat`, field 22): with the pid it names one process for good.
    pub start_ticks: u64,
}

/// `Database cluster state` of pg_controldata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum ControlState {
    StartingUp,
    ShutDown,
    ShutDownInRecovery,
    ShuttingDown,
    InCrashRecovery,
    InArchiveRecovery,
    InProduction,
    Unrecognized,
}

/// What the rules need of pg_controldata's output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ControlData {
    /// `Database system identifier`.
    pub system_id: Option<SystemId>,
    /// `Database cluster state`.
    pub state: ControlState,
    /// `Latest checkpoint location`.
    pub checkpoint_lsn: Lsn,
    /// `Latest checkpoint's REDO location`.
    pub redo_lsn: Lsn,
    /// `Latest checkpoint's TimeLineID`.
    pub timeline: Timeline,
    /// `Minimum recovery ending location`.
    pub min_recovery_lsn: Lsn,
    /// `Min recovery ending loc's timeline`.
    pub min_recovery_timeline: Timeline,
    /// `Data page checksum version` is not zero.
    pub checksums: bool,
    /// `wal_log_hints setting` is on.
    pub wal_log_hints: bool,
    /// All lines as name and value, in order: for the log, and for limits that a standby must not go below.
    pub lines: Vec<(String, String)>,
}

/// What stands where the data directory should be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum DataDir {
    /// Missing or empty.
    Empty,
    /// It cannot be read: the reason.
    Inaccessible(String),
    /// A cluster, with its major version where PG_VERSION could be read.
    Present(Option<PgVersion>),
}

/// What can be seen of a server without a connection: data directory, control file, process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// When it was looked at.
    pub at: Mono,
    /// The data directory.
    pub data_dir: DataDir,
    /// The living postmaster of this data directory.
    pub postmaster: Option<Postmaster>,
    /// Control data, when it could be read.
    pub control: Option<ControlData>,
    /// `standby.signal`, `recovery.signal` or `recovery.conf` exists.
    pub recovery_files: bool,
    /// `backup_label` exists.
    pub backup_label: bool,
}

/// Whom a standby streams from, with all that its connection string is made of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// The member's name (for logs and messages); the text "remote member" for one outside the cluster.
    pub name: String,
    /// libpq keywords: host, port, and whatever the member or the standby cluster's section gives besides.
    /// User, password and TLS files of the replication user are added by the server's own configuration.
    pub conn: indexmap::IndexMap<String, String>,
    /// Slot on the upstream; `None`: no slot.
    pub slot: Option<String>,
    /// `restore_command` and `archive_cleanup_command` of a standby cluster's section.
    pub recovery: indexmap::IndexMap<String, String>,
    /// Whether it is a member of this cluster.
    pub is_member: bool,
}

/// A member's answer to GET on its `api_url`, as the race reads it (ha-rules 23, last point).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// The member's name.
    pub name: String,
    /// It answered with JSON that has the needed fields.
    pub reachable: bool,
    /// `Some(false)`: it runs as primary.
    pub in_recovery: Option<bool>,
    /// The larger of received and replayed position of a standby, else 0.
    pub position: Lsn,
    /// `timeline`.
    pub timeline: Option<Timeline>,
    /// `tags`.
    pub tags: MemberTags,
    /// `watchdog_failed`.
    pub watchdog_failed: bool,
    /// `role`, as far as we know the word.
    pub role: Option<Role>,
    /// When it answered, for people.
    pub at: Option<Wall>,
}

impl PeerStatus {
    /// A member that could not be asked or did not answer.
    #[must_use]
    pub fn unreachable(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            reachable: false,
            in_recovery: None,
            position: Lsn(0),
            timeline: None,
            tags: MemberTags::default(),
            watchdog_failed: false,
            role: None,
            at: None,
        }
    }
}

/// Callbacks (CB-01).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum CallbackEvent {
    OnStart,
    OnStop,
    OnRestart,
    OnReload,
    OnRoleChange,
}

/// What `synchronous_standby_names` is to be (PG-27).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SyncNames {
    /// What the user's parameters say.
    Users,
    /// This text, which the rules made.
    Own(String),
}

/// pg_ctl's stop modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StopMode {
    /// Sessions are ended, a shutdown checkpoint is written (SIGINT).
    Fast,
    /// Everything is dropped (SIGQUIT).
    Immediate,
}

/// pg_isready's answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Readiness {
    /// Connections are accepted.
    Accepting,
    /// The server answers and rejects (starting, stopping).
    Rejecting,
    /// No answer.
    NoResponse,
    /// Not probed.
    Unknown,
}
