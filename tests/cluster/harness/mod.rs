//! A cluster for one test: started, asked, broken, and taken down with everything that it started.

mod http;
mod node;
mod process;
mod way;

pub use http::request;
pub use node::{Node, NodeOptions};
pub use process::{Program, missing, pg_bin};
pub use way::Way;

use process::{as_postgres, free_ports, kill_everything_below};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A directory, an etcd, and members.
pub struct Cluster {
    pub dir: PathBuf,
    pub etcd_port: u16,
    pub scope: String,
    pub nodes: Vec<Node>,
    etcd: Program,
    etcd_peer_port: u16,
    keep: bool,
}

impl Cluster {
    /// An etcd and no member yet. `None` (with a message) where a program is missing.
    pub fn new(test: &str) -> Option<Self> {
        if let Some(program) = missing(&["etcd", "psql"]) {
            eprintln!("skipped: {program} is not installed");
            return None;
        }
        let dir = std::env::temp_dir().join(format!("patroni-test-{test}-{}", std::process::id()));
        if dir.exists() {
            std::fs::remove_dir_all(&dir).unwrap();
        }
        std::fs::create_dir_all(dir.join("bin")).unwrap();
        for name in ["patroni", "patronictl"] {
            // A copy, because the checkout may lie where the user postgres must not look.
            let from = if name == "patroni" { env!("CARGO_BIN_EXE_patroni") } else { env!("CARGO_BIN_EXE_patronictl") };
            std::fs::copy(from, dir.join("bin").join(name)).unwrap();
        }
        process::give_to_postgres(&dir);
        let ports = free_ports(2);
        let etcd = Self::start_etcd(&dir, ports[0], ports[1]);
        let cluster = Self {
            dir,
            etcd_port: ports[0],
            scope: "batman".to_owned(),
            nodes: Vec::new(),
            etcd,
            etcd_peer_port: ports[1],
            keep: false,
        };
        wait_for("etcd to answer", 15, || cluster.etcd_get("/").is_some());
        Some(cluster)
    }

    /// The same with `count` members, named `postgres-0` and so on, all streaming.
    pub fn with_members(test: &str, count: usize) -> Option<Self> {
        let mut cluster = Self::new(test)?;
        for n in 0..count {
            cluster.add(NodeOptions::new(n));
            if n == 0 {
                cluster.wait_leader(40);
            }
        }
        cluster.wait_streaming(count - 1, 60);
        Some(cluster)
    }

    fn start_etcd(dir: &std::path::Path, client: u16, peer: u16) -> Program {
        let mut command = as_postgres("etcd");
        command
            .current_dir(dir)
            .args(["--name", "test", "--log-level", "warn", "--data-dir"])
            .arg(dir.join("etcd"))
            .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-cluster=test=http://127.0.0.1:{peer}"));
        Program::start(command, &dir.join("etcd.log"))
    }

    /// Adds a member and starts its agent.
    pub fn add(&mut self, options: NodeOptions) -> usize {
        let index = self.prepare(options);
        self.nodes[index].start();
        index
    }

    /// Adds a member without starting its agent.
    pub fn prepare(&mut self, options: NodeOptions) -> usize {
        let node = Node::new(self, options);
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Stops etcd from answering: connections hang, as if its host were gone.
    pub fn freeze_etcd(&self) {
        self.etcd.signal("STOP");
    }

    /// Lets it answer again.
    pub fn thaw_etcd(&self) {
        self.etcd.signal("CONT");
    }

    /// kill -9 of etcd.
    pub fn kill_etcd(&mut self) {
        self.etcd.signal("KILL");
        wait_for("etcd to be gone", 5, || self.etcd.ended().is_some());
    }

    /// Starts it again on its old data.
    pub fn start_etcd_again(&mut self) {
        self.etcd = Self::start_etcd(&self.dir, self.etcd_port, self.etcd_peer_port);
    }

    /// The value of a key (by etcd's JSON gateway); `None` when etcd does not answer, empty text when there is no key.
    pub fn etcd_get(&self, key: &str) -> Option<String> {
        use base64::Engine as _;
        let base64 = base64::engine::general_purpose::STANDARD;
        let body = serde_json::json!({ "key": base64.encode(key) });
        let reply = request(self.etcd_port, "POST", "/v3/kv/range", Some(&body))?;
        let json = reply.json();
        let value = json.pointer("/kvs/0/value").and_then(serde_json::Value::as_str).unwrap_or_default();
        String::from_utf8(base64.decode(value).ok()?).ok()
    }

    /// A key of this cluster.
    pub fn key(&self, name: &str) -> Option<String> {
        self.etcd_get(&format!("/service/{}/{name}", self.scope))
    }

    /// The index of the member that holds the leader lock.
    pub fn leader(&self) -> Option<usize> {
        let name = self.key("leader")?;
        self.nodes.iter().position(|n| n.name == name)
    }

    /// Waits until a member holds the lock and accepts writes.
    pub fn wait_leader(&self, seconds: u64) -> usize {
        let mut found = None;
        self.wait("a leader that accepts writes", seconds, || {
            found = self.leader().filter(|i| self.nodes[*i].is_writable());
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until a member other than `old` leads.
    pub fn wait_other_leader(&self, old: usize, seconds: u64) -> usize {
        let mut found = None;
        self.wait("another leader", seconds, || {
            found = self.leader().filter(|i| *i != old && self.nodes[*i].is_writable());
            found.is_some()
        });
        found.unwrap()
    }

    /// Waits until the leader has this many streaming standbys.
    pub fn wait_streaming(&self, count: usize, seconds: u64) {
        self.wait(&format!("{count} streaming standbys"), seconds, || {
            self.leader().is_some_and(|leader| {
                // Not the WAL streams of base backups.
                let sql = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name ~ '^postgres-'";
                self.nodes[leader].sql(sql).is_ok_and(|n| n == count.to_string())
            })
        });
    }

    /// Waits for a condition; fails the test, with the ends of all logs, when it does not come.
    pub fn wait(&self, what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(seconds);
        while !condition() {
            assert!(Instant::now() < end, "waited {seconds} s for {what}\n{}", self.logs());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// How many members accept writes right now.
    pub fn writable(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|i| self.nodes[*i].is_writable()).collect()
    }

    /// Runs our patronictl; returns exit code and what it printed on both outputs.
    pub fn ctl(&self, arguments: &[&str]) -> (i32, String) {
        let program = self.dir.join("bin/patronictl");
        let mut command = as_postgres(program.to_str().unwrap());
        command.arg("-c").arg(&self.nodes[0].config_file).args(arguments).current_dir(&self.dir);
        process::run(command)
    }

    /// The ends of all logs.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for node in &self.nodes {
            text += &format!("--- {} ---\n{}\n", node.name, process::tail(&node.log_file, 60));
        }
        text
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.agent.signal("CONT");
            node.agent.signal("KILL");
        }
        self.etcd.signal("CONT");
        self.etcd.signal("KILL");
        kill_everything_below(&self.dir);
        self.keep |= std::env::var_os("PATRONI_TEST_KEEP").is_some();
        if self.keep {
            eprintln!("kept: {}", self.dir.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.dir) {
            eprintln!("could not remove {}: {error}", self.dir.display());
        }
    }
}

/// Runs a shell command as the user who runs PostgreSQL; exit code and both outputs.
pub fn shell(dir: &std::path::Path, text: &str) -> (i32, String) {
    let mut command = as_postgres("sh");
    command.arg("-c").arg(text).current_dir(dir);
    process::run(command)
}

/// Waits for a condition outside a cluster.
pub fn wait_for(what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !condition() {
        assert!(Instant::now() < end, "waited {seconds} s for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
