//! One PostgreSQL server as this agent holds it: settings in force, places of files and programs, and what topic files
//! remember between calls.

use super::callbacks::Callbacks;
use super::config_files::Written;
use super::connection::Connections;
use super::controldata::ControlCache;
use super::known::KnownCache;
use super::logical_slots::LogicalMemory;
use crate::clock::Clock;
use crate::cluster::{NodeStatus, Postmaster, SyncNames};
use crate::config::Settings;
use crate::config::settings::PgUser;
use crate::types::PgVersion;
use indexmap::IndexMap;
use std::cell::{Cell, Ref, RefCell};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How long `postgres --version` may take.
const VERSION_PATIENCE: Duration = Duration::from_secs(10);

/// What is special while a custom bootstrap runs (BOOT-08 to BOOT-11).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CustomBootstrap {
    /// Between the method's run and the end of recovery: pg_hba.conf trusts local connections, `hba_file` of the
    /// parameters is not obeyed.
    pub running: bool,
    /// `keep_existing_recovery_conf`: recovery settings that the method wrote are left alone.
    pub keep_recovery_conf: bool,
}

/// The server of this member: implements [`super::PostgresControl`]. Lives on one thread.
pub struct Server {
    settings: RefCell<Arc<Settings>>,
    clock: Clock,
    status: RefCell<Option<NodeStatus>>,
    custom_bootstrap: Cell<CustomBootstrap>,
    program_version: RefCell<Option<(PathBuf, PgVersion)>>,
    told_version: Cell<Option<PgVersion>>,
    /// The postmaster that was launched or seen last.
    pub(super) postmaster: Cell<Option<Postmaster>>,
    /// Parameters that the installed server knows.
    pub(super) known: KnownCache,
    /// Result of pg_controldata by the file's time and size.
    pub(super) control: ControlCache,
    /// What was last written to the configuration files.
    pub(super) written: RefCell<Written>,
    /// Held while the files are written: a version of them that was made earlier must not be written later.
    pub(super) files_turn: tokio::sync::Mutex<()>,
    /// Who says what `synchronous_standby_names` is; `None`: nobody has said yet in this process.
    pub(super) sync_names: RefCell<Option<SyncNames>>,
    /// Connections to the own server, one a purpose.
    pub(super) connections: Connections,
    /// The callback that runs.
    pub(super) callbacks: Callbacks,
    /// What a standby knows of its logical slots.
    pub(super) logical: RefCell<LogicalMemory>,
    /// `hot_standby_feedback` is on whatever the settings say.
    pub(super) enforce_feedback: Cell<bool>,
}

impl Server {
    /// A server with these settings. Touches nothing.
    #[must_use]
    pub fn new(settings: Arc<Settings>, clock: Clock) -> Self {
        Self {
            settings: RefCell::new(settings),
            clock,
            status: RefCell::default(),
            custom_bootstrap: Cell::default(),
            program_version: RefCell::default(),
            told_version: Cell::default(),
            postmaster: Cell::default(),
            known: KnownCache::default(),
            control: ControlCache::default(),
            written: RefCell::default(),
            files_turn: tokio::sync::Mutex::default(),
            sync_names: RefCell::default(),
            connections: Connections::default(),
            callbacks: Callbacks::default(),
            logical: RefCell::default(),
            enforce_feedback: Cell::default(),
        }
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Takes new settings.
    pub(super) fn set_settings(&self, settings: Arc<Settings>) {
        self.settings.replace(settings);
    }

    /// Where time comes from.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// `postgresql.data_dir`.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.settings.borrow().postgresql.data_dir.clone()
    }

    /// The directory of postgresql.conf: `config_dir`, else the data directory.
    #[must_use]
    pub fn config_dir(&self) -> PathBuf {
        let settings = self.settings.borrow();
        let postgresql = &settings.postgresql;
        let given = !postgresql.config_dir.as_os_str().is_empty();
        if given { postgresql.config_dir.clone() } else { postgresql.data_dir.clone() }
    }

    /// A program of PostgreSQL ("pg_ctl", "postgres", ...) by `bin_dir` and `bin_name`; without `bin_dir` a bare name
    /// that is looked up in PATH.
    #[must_use]
    pub fn bin(&self, program: &str) -> PathBuf {
        let settings = self.settings.borrow();
        let name = settings.postgresql.bin_name.get(program).map_or(program, String::as_str);
        settings.postgresql.bin_dir.as_ref().map_or_else(|| PathBuf::from(name), |dir| dir.join(name))
    }

    /// Major version by PG_VERSION in the data directory; `None` when there is none (or it cannot be read).
    #[must_use]
    pub fn major_version(&self) -> Option<PgVersion> {
        let text = std::fs::read_to_string(self.data_dir().join("PG_VERSION")).ok()?;
        PgVersion::from_major(&text)
    }

    /// Version of the installed `postgres` program. Asked once for each path of the program.
    pub async fn program_version(&self) -> Option<PgVersion> {
        let program = self.bin("postgres");
        if let Some((path, version)) = &*self.program_version.borrow()
            && *path == program
        {
            return Some(*version);
        }
        let mut command = tokio::process::Command::new(&program);
        command.arg("--version").stdin(std::process::Stdio::null()).kill_on_drop(true);
        let output = tokio::time::timeout(VERSION_PATIENCE, command.output()).await.ok()?.ok()?;
        // "postgres (PostgreSQL) 15.18 (Debian ...)"
        let text = String::from_utf8_lossy(&output.stdout);
        let version = PgVersion::from_full(text.split_once(") ")?.1)?;
        self.program_version.replace(Some((program, version)));
        Some(version)
    }

    /// Major version by PG_VERSION, else by the installed program, else the newest that is known.
    pub async fn any_version(&self) -> PgVersion {
        match self.major_version() {
            Some(version) => version,
            None => self.program_version().await.map_or(PgVersion(180_000), PgVersion::major),
        }
    }

    /// Where the write-ahead log lies: `pg_wal`, before version 10 `pg_xlog`.
    #[must_use]
    pub fn wal_dir(&self) -> PathBuf {
        let old = self.major_version().is_some_and(|v| !v.at_least(100_000));
        self.data_dir().join(if old { "pg_xlog" } else { "pg_wal" })
    }

    /// `authentication.superuser`.
    #[must_use]
    pub fn superuser(&self) -> PgUser {
        self.settings.borrow().postgresql.superuser.clone()
    }

    /// `authentication.replication`.
    #[must_use]
    pub fn replication_user(&self) -> PgUser {
        self.settings.borrow().postgresql.replication.clone()
    }

    /// Who runs pg_rewind's queries: `authentication.rewind` from version 11, else the superuser (REW-06).
    #[must_use]
    pub fn rewind_user(&self) -> PgUser {
        let settings = self.settings.borrow();
        let own = self.major_version().is_none_or(|v| v.at_least(110_000));
        let rewind = settings.postgresql.rewind.as_ref().filter(|_| own);
        rewind.unwrap_or(&settings.postgresql.superuser).clone()
    }

    /// libpq keywords for connections to the own server: host (or absent for libpq's default socket directory), port,
    /// dbname, user, password and the superuser's TLS options. With `use_unix_socket` the host is a socket directory (PG-31).
    #[must_use]
    pub fn local_connection(&self) -> IndexMap<String, String> {
        let settings = self.settings.borrow();
        let postgresql = &settings.postgresql;
        let mut conn = local_address(&settings, postgresql.use_unix_socket);
        add_user(&mut conn, &postgresql.superuser);
        conn.insert("dbname".to_owned(), postgresql.database.clone());
        conn
    }

    /// libpq keywords for replication connections to the own server (`use_unix_socket_repl`).
    #[must_use]
    pub fn local_replication_connection(&self) -> IndexMap<String, String> {
        let settings = self.settings.borrow();
        let mut conn = local_address(&settings, settings.postgresql.use_unix_socket_repl);
        add_user(&mut conn, &settings.postgresql.replication);
        conn
    }

    /// The last answer to the status query; `None` when the last question was not answered.
    #[must_use]
    pub fn last_status(&self) -> Ref<'_, Option<NodeStatus>> {
        self.status.borrow()
    }

    /// Remembers the answer to the status query (`None`: no answer).
    pub fn remember_status(&self, status: Option<NodeStatus>) {
        self.status.replace(status);
    }

    /// `server_version` as the server itself told it last.
    #[must_use]
    pub fn told_version(&self) -> Option<PgVersion> {
        self.told_version.get()
    }

    /// A connection told the server's version.
    pub fn remember_version(&self, version: PgVersion) {
        self.told_version.set(Some(version));
    }

    /// How far a custom bootstrap is.
    #[must_use]
    pub fn custom_bootstrap(&self) -> CustomBootstrap {
        self.custom_bootstrap.get()
    }

    /// Notes how far a custom bootstrap is.
    pub fn set_custom_bootstrap(&self, state: CustomBootstrap) {
        self.custom_bootstrap.set(state);
    }

    /// Whether a file of this name is in the data directory.
    #[must_use]
    pub fn has_file(&self, name: impl AsRef<Path>) -> bool {
        self.data_dir().join(name).exists()
    }
}

/// Adds user, password and TLS options of a user; what `conn` has already stays.
pub fn add_user(conn: &mut IndexMap<String, String>, user: &PgUser) {
    let name = user.username.as_ref().map(|name| ("user", name.as_str()));
    let password = user.password.as_ref().map(|password| ("password", password.reveal()));
    let options = user.options.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    for (keyword, value) in name.into_iter().chain(password).chain(options) {
        conn.entry(keyword.to_owned()).or_insert_with(|| value.to_owned());
    }
}

/// host and port of the own server. By socket: the first absolute directory of `unix_socket_directories`, no host at all
/// when that parameter is not set, TCP when it holds no such directory.
fn local_address(settings: &Settings, socket: bool) -> IndexMap<String, String> {
    let postgresql = &settings.postgresql;
    let tcp = || Some(tcp_host(&postgresql.listen_addresses));
    let host = if socket {
        match postgresql.parameters.get("unix_socket_directories") {
            Some(dirs) => dirs.split(',').map(str::trim).find(|d| d.starts_with('/')).map(str::to_owned).or_else(tcp),
            None => None,
        }
    } else {
        tcp()
    };
    let host = host.map(|host| ("host".to_owned(), host));
    host.into_iter().chain([("port".to_owned(), postgresql.port.to_string())]).collect()
}

/// The host by which a local client reaches a server that listens on these addresses: localhost where possible.
fn tcp_host(listen_addresses: &str) -> String {
    let addresses = || listen_addresses.split(',').map(str::trim);
    let local = |a: &str| ["*", "0.0.0.0", "127.0.0.1"].contains(&a) || a.eq_ignore_ascii_case("localhost");
    let first = addresses().next().filter(|a| !a.is_empty());
    if addresses().any(local) { "localhost".to_owned() } else { first.unwrap_or("localhost").to_owned() }
}

#[cfg(test)]
mod tests {
    use super::tcp_host;

    #[test]
    fn localhost_is_preferred_for_local_connections() {
        for (listen, host) in [
            ("*", "localhost"),
            ("10.0.0.1,127.0.0.1", "localhost"),
            ("10.0.0.1, LocalHost", "localhost"),
            ("10.0.0.1,10.0.0.2", "10.0.0.1"),
            ("::1", "::1"),
            ("", "localhost"),
        ] {
            assert_eq!(tcp_host(listen), host, "{listen}");
        }
    }
}
