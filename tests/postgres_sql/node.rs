//! A PostgreSQL server of a test, in a temporary directory on a free port.

use crate::test_settings;
use indexmap::IndexMap;
use patroni::clock::Clock;
use patroni::cluster::{Readiness, Upstream};
use patroni::config::Settings;
use patroni::config::settings::{PgUser, Secret};
use patroni::postgres::{Server, readiness};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

/// Runs the body as a user that PostgreSQL accepts: root runs this test once more as `postgres`.
pub fn as_postgres(test: &str, body: impl Future<Output = ()>) {
    if bin_dir().is_none() {
        eprintln!("skipped: no PostgreSQL in /usr/lib/postgresql");
        return;
    }
    if rustix::process::geteuid().is_root() {
        let exe = std::env::current_exe().unwrap();
        let status = Command::new("runuser")
            .args(["-u", "postgres", "--"])
            .arg(exe)
            .args([test, "--exact", "--nocapture"])
            .env("HOME", "/tmp")
            .current_dir("/tmp")
            .status()
            .unwrap();
        assert!(status.success(), "{test} failed as user postgres");
        return;
    }
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(body);
}

/// PATRONI_TEST_PG_BIN, else the newest PostgreSQL's programs.
pub fn bin_dir() -> Option<PathBuf> {
    if let Some(wanted) = std::env::var_os("PATRONI_TEST_PG_BIN") {
        return Some(PathBuf::from(wanted));
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("postgres").exists())
        .collect();
    found.sort();
    found.pop()
}

pub struct Node {
    pub server: Server,
    pub port: u16,
    pub dir: tempfile::TempDir,
    child: Option<Child>,
}

/// `md5` takes what is stored, also SCRAM (PostgreSQL manual, "Password Authentication"): PostgreSQL 13 stores MD5 by itself.
pub const HBA: &str = "\
local all all trust
host all postgres 127.0.0.1/32 md5
host replication replicator 127.0.0.1/32 md5
host all rewinder 127.0.0.1/32 md5
host all all 127.0.0.1/32 md5
";

const CONF: &str = "
fsync = off
wal_log_hints = on
wal_keep_size = 128MB
hot_standby = on
wal_level = replica
max_wal_senders = 5
listen_addresses = '127.0.0.1'
logging_collector = off
";

impl Node {
    /// An empty place for a server.
    pub fn new(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings(name, &dir.path().join("data"), port);
        Self { server: Server::new(Arc::new(settings), Clock::system()), port, dir, child: None }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A running cluster whose superuser has the password of the settings.
    pub async fn primary(name: &str) -> Self {
        let mut node = Self::new(name);
        let password = node.dir.path().join("password");
        std::fs::write(&password, "super-'pass").unwrap();
        let status = Command::new(bin_dir().unwrap().join("initdb"))
            .args(["--username=postgres", "--auth=scram-sha-256", "--no-sync"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(node.data())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success());
        std::fs::write(node.data().join("pg_hba.conf"), HBA).unwrap();
        append(&node.data().join("postgresql.conf"), CONF);
        node.start(&[]);
        node.wait(Readiness::Accepting).await;
        node
    }

    /// Starts the postmaster with further `name=value` parameters.
    pub fn start(&mut self, parameters: &[&str]) {
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap();
        let mut command = Command::new(bin_dir().unwrap().join("postgres"));
        command.arg("-D").arg(self.data()).arg(format!("--port={}", self.port));
        command.arg(format!("--unix_socket_directories={}", self.dir.path().display()));
        for parameter in parameters {
            command.arg(format!("--{parameter}"));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        self.child = Some(command.spawn().unwrap());
    }

    pub async fn wait(&self, wanted: Readiness) {
        for _ in 0..600 {
            if readiness::readiness(&self.server).await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        panic!("the server does not become {wanted:?}:\n{log}");
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.as_ref().unwrap().id()).unwrap()
    }

    /// A signal to the postmaster and all its processes.
    pub fn signal_all(&self, signal: rustix::process::Signal) {
        let send = |pid| rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal);
        send(self.pid()).unwrap();
        for process in patroni::sys::children_of(self.pid()) {
            let _gone_meanwhile = send(process.pid);
        }
    }

    /// Signals the postmaster and waits for its end.
    pub fn stop(&mut self, signal: rustix::process::Signal) {
        let Some(mut child) = self.child.take() else { return };
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
        child.wait().unwrap();
    }

    /// How others reach it.
    pub fn upstream(&self) -> Upstream {
        let conn = [("host", "127.0.0.1".to_owned()), ("port", self.port.to_string())];
        Upstream {
            name: "upstream".to_owned(),
            conn: conn.map(|(k, v)| (k.to_owned(), v)).into_iter().collect(),
            slot: None,
            recovery: IndexMap::new(),
            is_member: true,
        }
    }

    /// Makes this copy follow `primary` at its next start.
    pub fn follow(&self, primary: &Self) {
        std::fs::write(self.data().join("standby.signal"), "").unwrap();
        let conninfo =
            format!("host=127.0.0.1 port={} user=replicator password=rep-pass application_name=standby", primary.port);
        append(&self.data().join("postgresql.conf"), &format!("primary_conninfo = '{conninfo}'\n"));
    }
}

pub fn append(path: &Path, text: &str) {
    let old = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, old + text).unwrap();
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::CONT);
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
            let _ = child.wait();
        } else if let Some(postmaster) = patroni::postgres::postmaster::find(&self.server) {
            let pid = rustix::process::Pid::from_raw(postmaster.pid).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::QUIT);
        }
    }
}

fn user(name: &str, password: &str) -> PgUser {
    PgUser { username: Some(name.to_owned()), password: Some(Secret::new(password)), options: IndexMap::new() }
}

pub fn settings(name: &str, data_dir: &Path, port: u16) -> Settings {
    test_settings::settings(|s| {
        name.clone_into(&mut s.name);
        s.global.use_pg_rewind = true;
        let postgresql = &mut s.postgresql;
        postgresql.port = port;
        postgresql.connect_address = format!("127.0.0.1:{port}");
        postgresql.data_dir = data_dir.to_owned();
        postgresql.config_dir = data_dir.to_owned();
        postgresql.bin_dir = bin_dir();
        postgresql.pgpass = Some(data_dir.with_extension("pgpass"));
        postgresql.superuser = user("postgres", "super-'pass");
        postgresql.rewind = Some(user("rewinder", "rewind-pass"));
    })
}
