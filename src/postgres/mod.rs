//! The edge to PostgreSQL: everything that touches the server, its files and its programs, behind [`PostgresControl`].
//!
//! Verbs here are single steps with a deadline; the supervisor (`actors/postgres_supervisor.rs`) strings them into jobs.

pub mod archive;
pub mod bootstrap;
pub mod callbacks;
pub mod conf_file;
pub mod config_files;
pub mod config_writer;
pub mod connection;
pub mod conninfo;
mod control;
pub mod controldata;
pub mod create_replica;
pub mod data_dir;
mod driver_config;
pub mod files;
pub mod guc;
pub mod hba;
pub mod history;
mod known;
mod launch;
mod logical_slots;
pub mod parameters;
pub mod passfile;
pub mod pgpass;
pub mod postmaster;
mod process_tree;
pub mod program;
pub mod readiness;
pub mod recovery;
pub mod recovery_check;
pub mod replication;
pub mod rewind;
mod server;
pub mod single_user;
pub mod slot_copy;
mod slot_step;
pub mod slots;
pub mod sql_error;
pub mod status;
pub mod sync_names;
#[cfg(test)]
mod test_settings;
pub mod tls;
pub mod users;
pub mod values;
pub mod waldump;
pub mod wire;

pub use server::{CustomBootstrap, Server, add_user};

use crate::cluster::{
    CallbackEvent, History, NodeStatus, PendingRestart, Postmaster, Readiness, Role, ServerFacts, SlotCopy, SlotPlan,
    SlotReport, StopMode, SyncNames, Upstream, WantedSlot,
};
use crate::config::Settings;
use crate::types::{Lsn, PgVersion, Timeline};
use async_trait::async_trait;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How a step ended badly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PgError {
    /// The server does not answer, or rejects connections.
    #[error("{0}")]
    NoConnection(String),
    /// A statement failed.
    #[error("{0}")]
    Sql(String),
    /// A program or script failed or could not be executed.
    #[error("{0}")]
    Program(String),
    /// A file or directory could not be read or written.
    #[error("{0}")]
    File(String),
    /// The step took longer than it was given.
    #[error("{0}")]
    TimedOut(String),
    /// It was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// A flag that a job's owner raises and that long steps look at: programs get SIGTERM, and SIGKILL after 10 s.
pub type Cancel = tokio::sync::watch::Receiver<bool>;

/// How a server is to be started.
#[derive(Clone, Debug, PartialEq)]
pub enum StartAs {
    /// Without recovery files: as it was.
    Primary,
    /// As a standby.
    Standby {
        /// Whom to stream from; `None`: nobody.
        upstream: Option<Box<Upstream>>,
    },
    /// After a custom bootstrap: with recovery settings of the method, until recovery ends.
    CustomRecovery {
        /// Recovery settings.
        recovery: indexmap::IndexMap<String, String>,
    },
}

/// How pg_rewind ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewindEnd {
    /// The data directory fits the leader now.
    Done,
    /// The leader is gone or not fit yet; the data directory is as before.
    TryAgain(String),
    /// It failed.
    Failed(String),
}

/// What a leader said of itself (see [`crate::ha::Outcome::LeaderPoint`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderPoint {
    /// It accepts writes.
    pub read_write: bool,
    /// Timeline by IDENTIFY_SYSTEM.
    pub timeline: Timeline,
    /// Position by IDENTIFY_SYSTEM.
    pub lsn: Lsn,
    /// Lines of TIMELINE_HISTORY: timeline and switch point.
    pub history: Vec<(Timeline, Lsn)>,
}

/// Where a stopped server's WAL ends (ha-rules 7, "LSN rule on release").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShutdownPoint {
    /// Location of the shutdown checkpoint.
    pub checkpoint: Lsn,
    /// What to publish: the WAL switch record before it if there is one, else the checkpoint.
    pub release: Lsn,
}

/// What a server and its files can be told. One implementation for real servers, one model for simulation.
#[async_trait(?Send)]
pub trait PostgresControl {
    /// Takes the settings in force from now on (at start and after each reload). Changes no file.
    fn configure(&self, settings: Arc<Settings>);

    /// Looks at data directory, control file and process. Costs no connection; at most one run of pg_controldata,
    /// none when the control file did not change since.
    async fn look(&self) -> ServerFacts;

    /// Resolves when this postmaster has ended (pidfd; no polling).
    async fn exited(&self, postmaster: Postmaster);

    /// The status query (3 s to connect, 2 s for the statement, one more try).
    async fn status(&self) -> Result<NodeStatus, PgError>;

    /// `server_version` of the running server, as the last connection to it told; `None`: there was none yet.
    fn told_version(&self) -> Option<PgVersion> {
        None
    }

    /// As pg_isready.
    async fn readiness(&self) -> Readiness;

    /// Writes postgresql.conf, pg_hba.conf, pg_ident.conf and the recovery settings for the next start.
    async fn write_config(&self, start: &StartAs) -> Result<(), PgError>;

    /// Rewrites the files after a change of settings. Returns whether the server must be told to reload.
    async fn rewrite_config(&self) -> Result<bool, PgError>;

    /// Tells the server to reload.
    async fn reload(&self) -> Result<(), PgError>;

    /// Parameters that need a restart (pending_restart of pg_settings, and the command line).
    async fn pending_restart(&self) -> Result<PendingRestart, PgError>;

    /// Starts the postmaster, detached, with the protected parameters on its command line. Does not wait for readiness.
    async fn launch(&self, start: &StartAs) -> Result<Postmaster, PgError>;

    /// Signals the postmaster to stop.
    async fn signal_stop(&self, postmaster: Postmaster, mode: StopMode) -> Result<(), PgError>;

    /// SIGKILL to the postmaster and every process of its server; returns when none is left.
    async fn kill_all(&self, postmaster: Postmaster, patience: Duration) -> Result<(), PgError>;

    /// Whether no client but this agent and WAL senders is connected.
    async fn no_clients(&self, postmaster: Postmaster) -> bool;

    /// When control data says "shut down": where.
    async fn shutdown_point(&self) -> Option<ShutdownPoint>;

    /// CHECKPOINT, without a statement timeout but within `patience`.
    async fn checkpoint(&self, patience: Duration) -> Result<(), PgError>;

    /// Tells a standby to promote.
    async fn promote(&self) -> Result<(), PgError>;

    /// Runs `pre_promote` (with the environment it gets); an error is a refusal.
    async fn pre_promote(&self, cancel: Cancel) -> Result<(), PgError>;

    /// Runs `before_stop`; its failure is only logged.
    async fn before_stop(&self);

    /// Compares wanted with actual recovery settings: (something differs, a restart is needed).
    async fn check_recovery(&self, upstream: Option<&Upstream>) -> Result<(bool, bool), PgError>;

    /// Resumes replay.
    async fn resume_replay(&self) -> Result<(), PgError>;

    /// initdb (BOOT-02), then the files of a new cluster.
    async fn initdb(&self, cancel: Cancel) -> Result<(), PgError>;

    /// The custom bootstrap method (BOOT-08); returns how to start.
    async fn custom_bootstrap(&self, cancel: Cancel) -> Result<StartAs, PgError>;

    /// Users, rights, `post_bootstrap` script (BOOT-04, BOOT-06). Returns whether the server must be restarted to have
    /// its final configuration.
    async fn post_bootstrap(&self, cancel: Cancel) -> Result<bool, PgError>;

    /// Fills the empty data directory from `source` by the configured methods (BOOT-13 to BOOT-18), or by
    /// pg_basebackup only.
    async fn create_replica(
        &self,
        source: Option<&Upstream>,
        basebackup_only: bool,
        cancel: Cancel,
    ) -> Result<(), PgError>;

    /// Archives what is ready, then pg_rewind (REW-05 to REW-09). The server must be stopped.
    async fn rewind(&self, leader: &Upstream, cancel: Cancel) -> RewindEnd;

    /// Single-user mode until the server is cleanly shut down (REW-16).
    async fn crash_recovery(&self, cancel: Cancel) -> Result<(), PgError>;

    /// Whether the server archives its WAL, by its files.
    async fn archives(&self) -> bool;

    /// Archives the segment with the shutdown checkpoint of the stopped server.
    async fn archive_checkpoint(&self, cancel: Cancel) -> Result<(), PgError>;

    /// Whether pg_rewind can be executed.
    async fn pg_rewind_works(&self) -> bool;

    /// Removes data directory, WAL directory and tablespaces' contents.
    async fn remove_data(&self) -> Result<(), PgError>;

    /// Renames them with the ending `.failed`. Returns the new place.
    async fn move_data_aside(&self) -> Result<PathBuf, PgError>;

    /// My own timeline by IDENTIFY_SYSTEM on a replication connection to my server.
    async fn own_timeline(&self) -> Result<Timeline, PgError>;

    /// A leader's place in history.
    async fn leader_point(&self, leader: &Upstream) -> Result<LeaderPoint, PgError>;

    /// End of the record that starts at `lsn`, by pg_waldump.
    async fn record_end(&self, timeline: Timeline, lsn: Lsn) -> Result<Lsn, PgError>;

    /// The server's history file of this timeline.
    async fn history(&self, timeline: Timeline) -> Result<History, PgError>;

    /// Creates and drops slots, and advances physical ones.
    async fn sync_slots(&self, plan: &SlotPlan) -> Result<SlotReport, PgError>;

    /// After [`PostgresControl::sync_slots`]: advances the logical slots of a standby and looks whether they are proven.
    /// May take as long as decoding does; what it finds is in the next report.
    async fn advance_slots(&self, plan: &SlotPlan);

    /// Reads these logical slots from the leader; those that it has not, or in another shape, are left out.
    async fn read_slots(&self, leader: &Upstream, wanted: &[WantedSlot]) -> Vec<SlotCopy>;

    /// Writes logical slots into the data directory of the stopped server.
    async fn write_slots(&self, copies: &[SlotCopy]) -> Result<(), PgError>;

    /// From now on the configuration turns `hot_standby_feedback` on, whatever the settings say, or no more so.
    /// Changes no file.
    fn enforce_feedback(&self, on: bool);

    /// Makes this the value of `synchronous_standby_names` in postgresql.conf, for each later rewrite too. Returns
    /// whether the server must be told to reload.
    async fn set_sync_names(&self, names: &SyncNames) -> Result<bool, PgError>;

    /// Writes a little WAL on a primary, without waiting for standbys.
    async fn produce_wal(&self) -> Result<(), PgError>;

    /// Runs a callback: one at a time, a new one ends the one that runs (CB-03). Returns at once.
    fn callback(&self, event: CallbackEvent, role: Role);
}
