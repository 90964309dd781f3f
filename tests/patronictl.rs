//! `patronictl` as a process on a real etcd, beside the original where `PYTHON_PATRONICTL` names one.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

/// An etcd of our own, with a cluster that nobody runs.
struct Etcd {
    process: Child,
    address: String,
    _dir: tempfile::TempDir,
}

fn free_address() -> String {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

impl Etcd {
    /// `None`, with a message, where there is no etcd.
    #[allow(clippy::disallowed_methods)]
    fn start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (address, peer) = (free_address(), free_address());
        let urls = [format!("http://{address}"), format!("http://{peer}")];
        let spawned = Command::new("etcd")
            .arg("--data-dir")
            .arg(dir.path().join("data"))
            .args(["--listen-client-urls", &urls[0], "--advertise-client-urls", &urls[0]])
            .args(["--listen-peer-urls", &urls[1], "--initial-advertise-peer-urls", &urls[1]])
            .args(["--initial-cluster", &format!("default={}", urls[1])])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = spawned else {
            eprintln!("skipped: etcd is not in PATH");
            return None;
        };
        let etcd = Self { process, address, _dir: dir };
        let end = Instant::now() + Duration::from_secs(20);
        while !etcd.control(&["endpoint", "health"]) {
            assert!(Instant::now() < end, "etcd did not start");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(etcd)
    }

    fn control(&self, arguments: &[&str]) -> bool {
        let mut command = Command::new("etcdctl");
        command.env("ETCDCTL_API", "3").args(["--endpoints", &self.address]).args(arguments);
        command.output().is_ok_and(|o| o.status.success())
    }

    fn put(&self, key: &str, value: &str) {
        assert!(self.control(&["put", &format!("/service/batman/{key}"), value]));
    }

    fn fill(&self) {
        self.put("initialize", "7123456789012345678");
        self.put("leader", "a");
        self.put("config", r#"{"ttl":30,"loop_wait":10,"postgresql":{"parameters":{"max_connections":100,"a":"on"}}}"#);
        self.put(
            "members/a",
            r#"{"conn_url":"postgres://127.0.0.1:5432/postgres","api_url":"http://127.0.0.1:1/patroni",
            "state":"running","role":"primary","version":"4.1.5","timeline":2,"xlog_location":83886080,
            "tags":{"nofailover":true,"zone":"eu, west"}}"#,
        );
        self.put(
            "members/b",
            r#"{"conn_url":"postgres://127.0.0.1:5433/postgres","api_url":"http://127.0.0.1:1/patroni",
            "state":"running","role":"replica","version":"4.1.5","timeline":2,"xlog_location":50331648,
            "replay_lsn":50331648,"receive_lsn":50331648,"replication_state":"streaming"}"#,
        );
        self.put("status", r#"{"optime":83886080,"slots":{}}"#);
        self.put("history", r#"[[1,25623960,"no recovery target specified","2026-05-29T04:00:00+00:00","a"]]"#);
    }

    /// Code and output of a program that knows the store from the environment alone, without a terminal.
    fn run(&self, program: &str, arguments: &str) -> (Option<i32>, String) {
        let mut command = Command::new(program);
        command.env("PATRONI_ETCD3_HOST", &self.address).env("HOME", "/nonexistent").stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.args(arguments.split(' ')).output().unwrap();
        (status.code(), String::from_utf8_lossy(&[stdout, stderr].concat()).into_owned())
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

const OURS: &str = env!("CARGO_BIN_EXE_patronictl");

#[test]
fn the_environment_is_enough() {
    let Some(etcd) = Etcd::start() else { return };
    etcd.fill();
    let (code, text) = etcd.run(OURS, "list batman");
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("+ Cluster: batman (7123456789012345678) ---"), "{text}");
    let (code, text) = etcd.run(OURS, "edit-config -s ttl=20 --force batman");
    assert!(code == Some(0) && text.contains("+ttl: 20"), "{text}");
    let (code, text) = etcd.run(OURS, "switchover batman --force --candidate x");
    assert_eq!(code, Some(1));
    assert!(text.contains("Error: Member x does not exist in cluster batman or is tagged as nofailover"), "{text}");
    assert_eq!(etcd.run(OURS, "switchover batman").0, Some(1), "questions without a terminal");
    assert_eq!(etcd.run(OURS, "nonsense").0, Some(2));
}

#[test]
fn output_is_that_of_the_original() {
    let Ok(theirs) = std::env::var("PYTHON_PATRONICTL") else {
        eprintln!("skipped: PYTHON_PATRONICTL does not name the original patronictl");
        return;
    };
    let Some(etcd) = Etcd::start() else { return };
    etcd.fill();
    for arguments in [
        "list batman",
        "list batman -e",
        "list -f json batman",
        "list -f yaml -e batman",
        "list -f tsv batman -e",
        "topology batman",
        "show-config batman",
        "history batman",
        "history batman -f json",
        "dsn batman",
        "dsn batman -r replica",
        "dsn batman -m x",
        "version",
        "edit-config -s ttl=20 batman",
        "edit-config -p superuser_reserved_connections=6 -s slots.y.type=physical batman",
        "edit-config -s ttl=30 --force batman",
        "edit-config -s x batman",
        "switchover batman",
        "switchover batman --force --candidate x",
        "switchover batman --leader b",
        "failover batman --force",
        "failover batman --candidate a --force",
        "remove batman",
        "resume batman",
        "restart batman",
        "restart batman x --force",
        "restart batman --pg-version 10 --force",
        "reload batman b",
        "reinit batman a --force",
        "reinit batman",
        "flush batman switchover",
        "flush batman restart",
        "list nosuch",
        "switchover nosuch --force",
    ] {
        assert_eq!(etcd.run(OURS, arguments), etcd.run(&theirs, arguments), "{arguments}");
    }
}
