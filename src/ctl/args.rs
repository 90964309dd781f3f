//! Commands and options.

use super::output::Format;
use super::select::RoleChoice;
use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// Command-line interface for interacting with Patroni.
#[derive(Debug, Parser)]
#[command(name = "patronictl", disable_version_flag = true, disable_help_subcommand = true)]
pub struct Cli {
    /// Configuration file
    #[arg(short, long, env = "PATRONICTL_CONFIG_FILE")]
    pub config_file: Option<PathBuf>,
    /// The DCS connect url
    #[arg(short, long, alias = "dcs", env = "DCS_URL")]
    pub dcs_url: Option<String>,
    /// Allow connections to SSL sites without certs
    #[arg(short = 'k', long)]
    pub insecure: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Generate a dsn for the provided member, defaults to a dsn of the leader
    Dsn(Dsn),
    /// Edit cluster configuration
    EditConfig(EditConfig),
    /// Failover to a replica
    Failover(Failover),
    /// Discard scheduled events
    Flush(Flush),
    /// Show the history of failovers/switchovers
    History(History),
    /// List the Patroni members for a given Patroni
    List(List),
    /// Disable auto failover
    Pause(Pause),
    /// Query a Patroni PostgreSQL member (not supported yet)
    Query(Unsupported),
    /// Demote cluster to a standby cluster
    DemoteCluster(DemoteCluster),
    /// Promote cluster, make it run standalone
    PromoteCluster(PromoteCluster),
    /// Reinitialize cluster member
    Reinit(Reinit),
    /// Reload cluster member configuration
    Reload(Reload),
    /// Remove cluster from DCS
    Remove(Remove),
    /// Restart cluster member
    Restart(Restart),
    /// Resume auto failover
    Resume(Pause),
    /// Show cluster configuration
    ShowConfig(OneCluster),
    /// Switchover to a replica
    Switchover(Switchover),
    /// Prints ASCII topology for given cluster
    Topology(Topology),
    /// Output version of patronictl command or a running Patroni instance
    Version(Version),
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct OneCluster {
    pub cluster_name: Option<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Dsn {
    pub cluster_name: Option<String>,
    /// Give a dsn of any member with this role
    #[arg(short, long)]
    pub role: Option<RoleChoice>,
    /// Generate a dsn for this member
    #[arg(short, long)]
    pub member: Option<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct DemoteCluster {
    pub cluster_name: Option<String>,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
    /// Address of the remote node
    #[arg(long)]
    pub host: Option<String>,
    /// Port of the remote node
    #[arg(long, allow_negative_numbers = true)]
    pub port: Option<i64>,
    /// Command to restore WAL records from the remote primary
    #[arg(long)]
    pub restore_command: Option<String>,
    /// Name of the slot on the remote node to use for replication
    #[arg(long)]
    pub primary_slot_name: Option<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct PromoteCluster {
    pub cluster_name: Option<String>,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct EditConfig {
    pub cluster_name: Option<String>,
    /// Do not show changes
    #[arg(short, long)]
    pub quiet: bool,
    /// Set specific configuration value. Can be specified multiple times
    #[arg(short, long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Set specific PostgreSQL parameter value. Shorthand for -s postgresql.parameters. Can be specified multiple times
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub pg: Vec<String>,
    /// Apply configuration from file. Use - for stdin.
    #[arg(long, value_name = "FILE")]
    pub apply: Option<PathBuf>,
    /// Apply configuration from file, replacing existing configuration. Use - for stdin.
    #[arg(long, value_name = "FILE")]
    pub replace: Option<PathBuf>,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Failover {
    pub cluster_name: Option<String>,
    /// The name of the candidate
    #[arg(long)]
    pub candidate: Option<String>,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Switchover {
    pub cluster_name: Option<String>,
    /// The name of the current leader
    #[arg(long, visible_alias = "primary")]
    pub leader: Option<String>,
    /// The name of the candidate
    #[arg(long)]
    pub candidate: Option<String>,
    /// Timestamp of a scheduled switchover in unambiguous format (e.g. ISO 8601)
    #[arg(long)]
    pub scheduled: Option<String>,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Flush {
    pub cluster_name: String,
    /// Member names, then `restart` or `switchover`
    #[arg(required = true, value_name = "MEMBER_NAMES... {restart|switchover}")]
    pub members_and_target: Vec<String>,
    /// Flush only members with this role
    #[arg(short, long, default_value = "any")]
    pub role: RoleChoice,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct History {
    pub cluster_name: Option<String>,
    /// Output format
    #[arg(short, long, default_value = "pretty")]
    pub format: Format,
}

#[derive(Clone, Copy, Debug, Args)]
#[allow(missing_docs)]
pub struct Watch {
    /// Auto update the screen every 2 seconds
    #[arg(short = 'W')]
    pub every_two_seconds: bool,
    /// Auto update the screen every X seconds
    #[arg(short = 'w', long, value_name = "X")]
    pub watch: Option<f64>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct List {
    pub cluster_names: Vec<String>,
    /// Show some extra information
    #[arg(short, long)]
    pub extended: bool,
    /// Print timestamp
    #[arg(short, long)]
    pub timestamp: bool,
    /// Output format
    #[arg(short, long, default_value = "pretty")]
    pub format: Format,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Topology {
    pub cluster_names: Vec<String>,
    #[command(flatten)]
    pub watch: Watch,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Pause {
    pub cluster_name: Option<String>,
    /// Wait until it is applied on all nodes
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Unsupported {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub arguments: Vec<String>,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Reinit {
    pub cluster_name: String,
    pub member_names: Vec<String>,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
    /// Get basebackup from leader
    #[arg(long)]
    pub from_leader: bool,
    /// Wait until reinitialization completes
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Reload {
    pub cluster_name: String,
    pub member_names: Vec<String>,
    /// Reload only members with this role
    #[arg(short, long, default_value = "any")]
    pub role: RoleChoice,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Remove {
    pub cluster_name: String,
    /// Output format
    #[arg(short, long, default_value = "pretty")]
    pub format: Format,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Restart {
    pub cluster_name: String,
    pub member_names: Vec<String>,
    /// Restart only members with this role
    #[arg(short, long, default_value = "any")]
    pub role: RoleChoice,
    /// Restart a single member only
    #[arg(long)]
    pub any: bool,
    /// Timestamp of a scheduled restart in unambiguous format (e.g. ISO 8601)
    #[arg(long)]
    pub scheduled: Option<String>,
    /// Restart if the PostgreSQL version is less than provided (e.g. 9.5.2)
    #[arg(long)]
    pub pg_version: Option<String>,
    /// Restart if pending
    #[arg(long)]
    pub pending: bool,
    /// Return error and fail over if necessary when restarting takes longer than this.
    #[arg(long)]
    pub timeout: Option<String>,
    /// Do not ask for confirmation at any point
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
#[allow(missing_docs)]
pub struct Version {
    pub cluster_name: Option<String>,
    pub member_names: Vec<String>,
}
