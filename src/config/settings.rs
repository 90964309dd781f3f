//! The effective configuration as typed values: what everything above the configuration reads.
//!
//! Layers and their order, spellings and bounds are the business of this module's neighbours; a [`Settings`] value is
//! already merged (dynamic under local under environment, by Patroni's per-key rules) and within bounds.

use super::roles::ByRole;
use super::standby_cluster::StandbyCluster;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::time::Duration;

/// Everything an agent is told.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// `scope`: the cluster's name.
    pub scope: String,
    /// `namespace`, default `service`.
    pub namespace: String,
    /// `name`: this member's name.
    pub name: String,
    /// Dynamic settings that the rules read.
    pub global: Global,
    /// `restapi`.
    pub restapi: RestApi,
    /// `ctl`: how members and `patronictl` call the REST API.
    pub ctl: Ctl,
    /// The store.
    pub store: Store,
    /// `bootstrap`, when there is such a section.
    pub bootstrap: Option<Bootstrap>,
    /// `postgresql`.
    pub postgresql: Postgresql,
    /// `tags` as written: types and order kept.
    pub tags: Map<String, Value>,
    /// `watchdog`.
    pub watchdog: Watchdog,
    /// `log`.
    pub log: Log,
}

/// The dynamic configuration's values for the rules (CFG-06 to CFG-17), after correction (CFG-09).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Global {
    /// `ttl`: lease of leader and member keys. At least 20 s.
    pub ttl: Duration,
    /// `loop_wait`: period of the cycle. At least 1 s.
    pub loop_wait: Duration,
    /// `retry_timeout`: budget of one store operation. At least 3 s.
    pub retry_timeout: Duration,
    /// `maximum_lag_on_failover`, bytes.
    pub maximum_lag_on_failover: u64,
    /// `maximum_lag_on_syncnode`, bytes; `None` when it is off (-1 or 0).
    pub maximum_lag_on_syncnode: Option<u64>,
    /// `max_timelines_history` (`maximum_timelines_history`), 0 = all.
    pub max_timelines_history: u32,
    /// `primary_start_timeout` (`master_start_timeout`).
    pub primary_start_timeout: Duration,
    /// `primary_stop_timeout` (`master_stop_timeout`); `None` when 0.
    pub primary_stop_timeout: Option<Duration>,
    /// `check_timeline`.
    pub check_timeline: bool,
    /// `pause`.
    pub pause: bool,
    /// `failsafe_mode`.
    pub failsafe_mode: bool,
    /// `synchronous_mode`.
    pub synchronous_mode: SynchronousMode,
    /// `synchronous_mode_strict`.
    pub synchronous_mode_strict: bool,
    /// `synchronous_mode_strict_placeholder`: a strict mode without standbys waits for those that it had, or for a name that
    /// nobody has, instead of `*`.
    pub strict_placeholder: bool,
    /// `synchronous_node_count`, at least 1.
    pub synchronous_node_count: u32,
    /// `primary_race_backoff`: how long standbys that still receive WAL leave a lost leader key alone.
    pub primary_race_backoff: Duration,
    /// `member_slots_ttl`.
    pub member_slots_ttl: Duration,
    /// `postgresql.use_slots` (default true).
    pub use_slots: bool,
    /// `postgresql.use_pg_rewind`.
    pub use_pg_rewind: bool,
    /// `postgresql.remove_data_directory_on_rewind_failure`.
    pub remove_data_directory_on_rewind_failure: bool,
    /// `postgresql.remove_data_directory_on_diverged_timelines`.
    pub remove_data_directory_on_diverged_timelines: bool,
    /// `standby_cluster`, when it has any of host, port, restore_command.
    pub standby_cluster: Option<StandbyCluster>,
    /// `slots`: permanent slots as written.
    pub slots: Map<String, Value>,
    /// `ignore_slots`: matchers as written.
    pub ignore_slots: Vec<Value>,
}

impl Global {
    /// Strict synchronous replication that never lets any standby at all stand in for those that it knows.
    #[must_use]
    pub fn keeps_sync_names(&self) -> bool {
        self.synchronous_mode_strict && self.strict_placeholder
    }
}

impl Default for Global {
    fn default() -> Self {
        Self {
            ttl: Duration::from_secs(30),
            loop_wait: Duration::from_secs(10),
            retry_timeout: Duration::from_secs(10),
            maximum_lag_on_failover: 1_048_576,
            maximum_lag_on_syncnode: None,
            max_timelines_history: 0,
            primary_start_timeout: Duration::from_secs(300),
            primary_stop_timeout: None,
            check_timeline: false,
            pause: false,
            failsafe_mode: false,
            synchronous_mode: SynchronousMode::Off,
            synchronous_mode_strict: false,
            strict_placeholder: false,
            synchronous_node_count: 1,
            primary_race_backoff: Duration::ZERO,
            member_slots_ttl: Duration::from_secs(1800),
            use_slots: true,
            use_pg_rewind: false,
            remove_data_directory_on_rewind_failure: false,
            remove_data_directory_on_diverged_timelines: false,
            standby_cluster: None,
            slots: Map::new(),
            ignore_slots: Vec::new(),
        }
    }
}

/// In `synchronous_standby_names` the name of a standby that never comes (see [`Global::strict_placeholder`]).
pub const STRICT_PLACEHOLDER_NAME: &str = "__patroni_strict_sync_replica_placeholder__";

/// `synchronous_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SynchronousMode {
    /// off / false
    Off,
    /// on / true: priority mode
    On,
    /// quorum
    Quorum,
}

/// `restapi` (CFG-20).
#[derive(Clone, Debug, PartialEq)]
pub struct RestApi {
    /// `listen`: host (possibly empty or `*`) and port as written.
    pub listen: String,
    /// `connect_address`: host:port that others use.
    pub connect_address: String,
    /// `authentication`: user and password for unsafe requests.
    pub authentication: Option<BasicAuth>,
    /// `certfile`: PEM; with it the API speaks TLS.
    pub certfile: Option<PathBuf>,
    /// `keyfile`.
    pub keyfile: Option<PathBuf>,
    /// `keyfile_password`.
    pub keyfile_password: Option<Secret>,
    /// `cafile`: CA of client certificates.
    pub cafile: Option<PathBuf>,
    /// `ciphers`, an OpenSSL cipher string.
    pub ciphers: Option<String>,
    /// `verify_client`.
    pub verify_client: VerifyClient,
    /// `allowlist`: addresses, networks and host names that may send unsafe requests; `None`: everybody.
    pub allowlist: Option<Vec<String>>,
    /// `allowlist_include_members`.
    pub allowlist_include_members: bool,
    /// `http_extra_headers`.
    pub http_extra_headers: IndexMap<String, String>,
    /// `https_extra_headers`, on top of the former when TLS is used.
    pub https_extra_headers: IndexMap<String, String>,
    /// `request_queue_size` (5): backlog of the listening socket.
    pub request_queue_size: u32,
    /// `server_tokens`: minimal, productonly or original, as written.
    pub server_tokens: String,
}

impl RestApi {
    /// `http://host:port/patroni` or `https://...`: the member's `api_url`.
    #[must_use]
    pub fn api_url(&self) -> String {
        let scheme = if self.certfile.is_some() { "https" } else { "http" };
        format!("{scheme}://{}/patroni", self.connect_address)
    }
}

/// `restapi.verify_client`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyClient {
    /// Client certificates are not asked for.
    None,
    /// Checked when given; unsafe requests need one.
    Optional,
    /// Every connection needs one.
    Required,
}

/// User name and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BasicAuth {
    /// User name.
    pub username: String,
    /// Password.
    pub password: Secret,
}

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text: for the one place that needs it.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// `ctl` (CFG-21); missing parts are filled from `restapi` as Patroni does.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ctl {
    /// `authentication`.
    pub authentication: Option<BasicAuth>,
    /// `insecure`: server certificates are not verified.
    pub insecure: bool,
    /// `cacert`.
    pub cacert: Option<PathBuf>,
    /// `certfile`: client certificate.
    pub certfile: Option<PathBuf>,
    /// `keyfile`.
    pub keyfile: Option<PathBuf>,
    /// `keyfile_password`.
    pub keyfile_password: Option<Secret>,
}

/// The store that was chosen (DCS-01).
#[derive(Clone, Debug, PartialEq)]
pub enum Store {
    /// `etcd3`
    Etcd3(Etcd3),
}

/// `etcd3` (DCS-12 to DCS-14).
#[derive(Clone, Debug, PartialEq)]
pub struct Etcd3 {
    /// host:port of each endpoint (`host`, `hosts`, `url`, `proxy`); IPv6 hosts in brackets. Empty only with `srv`.
    pub hosts: Vec<String>,
    /// `protocol` or the scheme of `url`/`proxy` is https.
    pub https: bool,
    /// The endpoints are proxies (`use_proxies`, `proxy`): the member list is not asked for.
    pub use_proxies: bool,
    /// `srv`: domain to look the endpoints up in.
    pub srv: Option<String>,
    /// `srv_suffix`.
    pub srv_suffix: Option<String>,
    /// `cacert`.
    pub cacert: Option<PathBuf>,
    /// `cert`.
    pub cert: Option<PathBuf>,
    /// `key`.
    pub key: Option<PathBuf>,
    /// `username` and `password`.
    pub authentication: Option<BasicAuth>,
}

/// `bootstrap`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bootstrap {
    /// `dcs`: the first dynamic configuration.
    pub dcs: Map<String, Value>,
    /// `initdb`: option name and value (`None`: a switch), in order, refused ones left out with an error.
    pub initdb: Vec<(String, Option<String>)>,
    /// `method`, when it is not initdb, with its own section.
    pub method: Option<CustomMethod>,
    /// `pg_hba`: lines appended to pg_hba.conf of a new cluster.
    pub pg_hba: Vec<String>,
    /// `post_bootstrap` or `post_init`: command.
    pub post_bootstrap: Option<String>,
    /// `users` is set: it has no effect, which the log says when the cluster is made (BOOT-05).
    pub users: bool,
}

/// A custom bootstrap or replica creation method: its section as written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CustomMethod {
    /// Its name.
    pub name: String,
    /// Its section: `command`, `no_params`, `no_leader`, `keep_data`, `recovery_conf`, ... and own keys.
    pub options: Map<String, Value>,
}

/// `postgresql` (CFG-22).
#[derive(Clone, Debug, PartialEq)]
pub struct Postgresql {
    /// Hosts of `listen` ("*", "127.0.0.1", several with commas).
    pub listen_addresses: String,
    /// Port of `listen`, default 5432.
    pub port: u16,
    /// `connect_address`: host:port for others.
    pub connect_address: String,
    /// `proxy_address`.
    pub proxy_address: Option<String>,
    /// `data_dir`.
    pub data_dir: PathBuf,
    /// `config_dir`, default the data directory.
    pub config_dir: PathBuf,
    /// `bin_dir`; `None`: PATH.
    pub bin_dir: Option<PathBuf>,
    /// `bin_name`: program to the name that is used for it.
    pub bin_name: IndexMap<String, String>,
    /// `pgpass`.
    pub pgpass: Option<PathBuf>,
    /// `database`, default `postgres`.
    pub database: String,
    /// `authentication.superuser`.
    pub superuser: PgUser,
    /// `authentication.replication`.
    pub replication: PgUser,
    /// `authentication.rewind`; `None`: the superuser is used.
    pub rewind: Option<PgUser>,
    /// `parameters` after merging: dynamic, local, protected ones in place; values as PostgreSQL spells them.
    pub parameters: IndexMap<String, String>,
    /// `pg_hba`: `None` when not given (then the file is left alone).
    pub pg_hba: Option<Vec<String>>,
    /// `pg_ident`.
    pub pg_ident: Option<Vec<String>>,
    /// `custom_conf`: included instead of postgresql.base.conf.
    pub custom_conf: Option<String>,
    /// `recovery_conf`: name to value.
    pub recovery_conf: IndexMap<String, String>,
    /// `callbacks`: event to command.
    pub callbacks: IndexMap<String, String>,
    /// `create_replica_methods`, in a standby cluster those of its section; default `basebackup`. In order, each with its
    /// section. A section that is a list of options (as `basebackup` often is) becomes a map; switches have null as value.
    pub create_replica_methods: Vec<CustomMethod>,
    /// `basebackup`: options of pg_basebackup (`None`: a switch), in order, whether or not the method is among
    /// `create_replica_methods`; refused ones left out with a warning.
    pub basebackup: Vec<(String, Option<String>)>,
    /// `rewind`: options of pg_rewind in the same shape.
    pub rewind_options: Vec<(String, Option<String>)>,
    /// `pg_ctl_timeout`, default 60 s.
    pub pg_ctl_timeout: Duration,
    /// `use_unix_socket`.
    pub use_unix_socket: bool,
    /// `use_unix_socket_repl`.
    pub use_unix_socket_repl: bool,
    /// `before_stop`: command.
    pub before_stop: Option<String>,
    /// `pre_promote`: command.
    pub pre_promote: Option<String>,
    /// `krbsrvname`.
    pub krbsrvname: Option<String>,
    /// What is otherwise in one role (`parameters_primary` and the like).
    pub by_role: ByRole,
}

/// A database user of `postgresql.authentication` with its connection options (CFG-23).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PgUser {
    /// `username`; the superuser's may be missing (then the operating system's user).
    pub username: Option<String>,
    /// `password`.
    pub password: Option<Secret>,
    /// libpq keywords: sslmode, sslkey, sslcert, sslpassword, sslrootcert, sslcrl, sslcrldir, gssencmode,
    /// channel_binding, sslnegotiation.
    pub options: IndexMap<String, String>,
}

/// `watchdog` (WD-*).
#[derive(Clone, Debug, PartialEq)]
pub struct Watchdog {
    /// `mode`: off, automatic or required.
    pub mode: WatchdogMode,
    /// `device`, default /dev/watchdog.
    pub device: PathBuf,
    /// `driver`, default `default`.
    pub driver: String,
    /// `safety_margin` in seconds, default 5; -1: half the ttl.
    pub safety_margin: i64,
}

/// `watchdog.mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WatchdogMode {
    /// Not used.
    Off,
    /// Used when there is one.
    Automatic,
    /// No leadership without it.
    Required,
}

/// `log` (LOG-*).
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// `type` is json.
    pub json: bool,
    /// `level`, default INFO.
    pub level: String,
    /// `traceback_level`, default ERROR.
    pub traceback_level: String,
    /// `format`: a %-style text, or for json a list of fields and renamed fields, as written.
    pub format: Value,
    /// `dateformat`; `None`: `YYYY-MM-DD HH:MM:SS,mmm`.
    pub dateformat: Option<String>,
    /// `static_fields` of json.
    pub static_fields: Map<String, Value>,
    /// `max_queue_size`, default 1000.
    pub max_queue_size: usize,
    /// `dir`; `None`: standard error.
    pub dir: Option<PathBuf>,
    /// `file_num`, default 4.
    pub file_num: u32,
    /// `file_size`, default 25000000.
    pub file_size: u64,
    /// `mode` of the files, e.g. 0o644.
    pub mode: Option<u32>,
    /// `loggers`: module to level.
    pub loggers: IndexMap<String, String>,
    /// `deduplicate_heartbeat_logs`.
    pub deduplicate_heartbeat_logs: bool,
}
