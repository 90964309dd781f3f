//! A member: its configuration, its agent, its PostgreSQL.

use super::http::{Reply, request};
use super::process::{self, Program, as_postgres, free_ports, give_to_postgres, pg_bin};
use super::{Cluster, wait_for};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

/// What a member is started with.
#[derive(Clone)]
pub struct NodeOptions {
    pub number: usize,
    /// Laid over the configuration that every member has, in order (nested; null deletes).
    pub config: Vec<Value>,
    /// The program, when it is not ours.
    pub program: Option<PathBuf>,
}

impl NodeOptions {
    pub fn new(number: usize) -> Self {
        Self { number, config: Vec::new(), program: None }
    }

    /// Lays something over the configuration.
    pub fn with(mut self, config: Value) -> Self {
        self.config.push(config);
        self
    }
}

/// A member.
pub struct Node {
    pub name: String,
    pub pg_port: u16,
    pub api_port: u16,
    pub data_dir: PathBuf,
    pub config_file: PathBuf,
    pub log_file: PathBuf,
    pub agent: Program,
    program: PathBuf,
    dir: PathBuf,
}

impl Node {
    /// Writes the configuration; nothing runs yet but a placeholder.
    pub fn new(cluster: &Cluster, options: NodeOptions) -> Self {
        let name = format!("postgres-{}", options.number);
        let ports = free_ports(2);
        let dir = cluster.dir.clone();
        let data_dir = dir.join("data").join(&name);
        let mut config = json!({
            "scope": cluster.scope,
            "name": name,
            "restapi": {"listen": format!("127.0.0.1:{}", ports[1]), "connect_address": format!("127.0.0.1:{}", ports[1])},
            "etcd3": {"host": format!("127.0.0.1:{}", cluster.etcd_port)},
            "bootstrap": {
                "dcs": {
                    "ttl": 20, "loop_wait": 2, "retry_timeout": 3,
                    "maximum_lag_on_failover": 1_048_576,
                    "postgresql": {"use_pg_rewind": true},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums"],
            },
            "postgresql": {
                "listen": format!("127.0.0.1:{}", ports[0]),
                "connect_address": format!("127.0.0.1:{}", ports[0]),
                "data_dir": data_dir,
                "bin_dir": pg_bin(),
                "pgpass": dir.join(format!("pgpass-{name}")),
                "authentication": {
                    "superuser": {"username": "postgres", "password": "super"},
                    "replication": {"username": "replicator", "password": "rep"},
                    "rewind": {"username": "rewinder", "password": "rew"},
                },
                "parameters": {"unix_socket_directories": dir, "shared_buffers": "8MB", "fsync": "off"},
                "pg_hba": [
                    "local all all trust",
                    "host replication replicator all md5",
                    "host all all all md5",
                ],
            },
        });
        for over in &options.config {
            merge(&mut config, over);
        }
        let config_file = dir.join(format!("{name}.yml"));
        // JSON is YAML.
        std::fs::write(&config_file, serde_json::to_string_pretty(&config).unwrap()).unwrap();
        give_to_postgres(&config_file);
        let log_file = dir.join(format!("{name}.log"));
        Self {
            pg_port: ports[0],
            api_port: ports[1],
            data_dir,
            agent: Program::start(Command::new("true"), &log_file),
            config_file,
            log_file,
            program: options.program.unwrap_or_else(|| dir.join("bin/patroni")),
            dir,
            name,
        }
    }

    /// Starts the agent (again).
    pub fn start(&mut self) {
        let mut command = as_postgres(self.program.to_str().unwrap());
        command.arg(&self.config_file).current_dir(&self.dir);
        self.agent = Program::start(command, &self.log_file);
        give_to_postgres(&self.log_file);
    }

    /// Stops the agent as an operator does, and PostgreSQL with it. Returns the exit code.
    pub fn stop(&mut self) -> i32 {
        self.agent.signal("TERM");
        let mut code = None;
        let name = self.name.clone();
        wait_for(&format!("the agent of {name} to end"), 40, || {
            code = self.agent.ended();
            code.is_some()
        });
        code.unwrap()
    }

    /// kill -9 of the agent; PostgreSQL runs on.
    pub fn kill_agent(&mut self) {
        self.agent.signal("KILL");
        wait_for("the killed agent to be gone", 5, || self.agent.ended().is_some());
    }

    /// The postmaster's pid.
    pub fn postmaster(&self) -> Option<u32> {
        let text = std::fs::read_to_string(self.data_dir.join("postmaster.pid")).ok()?;
        let pid = text.lines().next()?.trim().parse().ok()?;
        std::path::Path::new(&format!("/proc/{pid}")).exists().then_some(pid)
    }

    /// kill -9 of the postmaster.
    pub fn kill_postmaster(&self) {
        process::kill("KILL", self.postmaster().expect("a postmaster"));
    }

    /// Runs SQL as superuser over TCP; the rows as text, or the error.
    pub fn sql(&self, sql: &str) -> Result<String, String> {
        let mut command = as_postgres("psql");
        command
            .args([
                "-h",
                "127.0.0.1",
                "-U",
                "postgres",
                "-d",
                "postgres",
                "-w",
                "-XAtq",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                sql,
            ])
            .args(["-p", &self.pg_port.to_string()])
            .env("PGPASSWORD", "super")
            .env("PGCONNECT_TIMEOUT", "3")
            .env("PGOPTIONS", "-c statement_timeout=5s");
        let (code, text) = process::run(command);
        if code == 0 { Ok(text.trim_end().to_owned()) } else { Err(text) }
    }

    /// Whether the server runs as a primary.
    pub fn is_writable(&self) -> bool {
        self.sql("SELECT pg_is_in_recovery()").is_ok_and(|r| r == "f")
    }

    /// GET; code 0 when there is no answer.
    pub fn get(&self, path: &str) -> Reply {
        request(self.api_port, "GET", path, None).unwrap_or(Reply { code: 0, body: String::new() })
    }

    /// Any method with a JSON body.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Reply {
        request(self.api_port, method, path, Some(body)).unwrap_or(Reply { code: 0, body: String::new() })
    }

    /// The agent's log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log_file).unwrap_or_default()
    }
}

/// Lays `patch` over `base`: objects are merged, null deletes.
fn merge(base: &mut Value, patch: &Value) {
    match (base, patch) {
        (Value::Object(base), Value::Object(patch)) => {
            for (key, value) in patch {
                if value.is_null() {
                    base.remove(key);
                } else {
                    merge(base.entry(key.clone()).or_insert(Value::Null), value);
                }
            }
        }
        (base, patch) => *base = patch.clone(),
    }
}
