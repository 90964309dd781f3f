//! Programs: found, started as the right user, ended for good.

use std::collections::HashSet;
use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// A program of the test.
pub struct Program {
    child: Child,
}

impl Program {
    /// Starts it with both outputs appended to a file.
    pub fn start(mut command: Command, log: &Path) -> Self {
        let file = File::options().create(true).append(true).open(log).unwrap();
        command.stdin(Stdio::null()).stdout(file.try_clone().unwrap()).stderr(file);
        let program = format!("{command:?}");
        Self { child: command.spawn().unwrap_or_else(|e| panic!("{program}: {e}")) }
    }

    /// Sends a signal by name; nothing happens when it has ended.
    pub fn signal(&self, name: &str) {
        kill(name, self.child.id());
    }

    /// The exit code when it has ended (-1: by a signal).
    pub fn ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.signal("CONT");
        self.signal("KILL");
        self.child.wait().unwrap();
    }
}

/// `kill -NAME PID`.
pub fn kill(name: &str, pid: u32) {
    // Fails when the process is gone, which is what the caller wants or checks by other means.
    Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status().unwrap();
}

/// Runs a program to its end; exit code and both outputs.
pub fn run(mut command: Command) -> (i32, String) {
    let program = format!("{command:?}");
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{program}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap_or(-1), text)
}

/// The user and group `postgres`, when we are root.
fn postgres_ids() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = passwd.lines().find(|l| l.starts_with("postgres:")).expect("a user postgres, since we are root");
    let mut fields = line.split(':').skip(2).map(|f| f.parse().unwrap());
    Some((fields.next().unwrap(), fields.next().unwrap()))
}

/// A command that runs as the user who may run PostgreSQL.
pub fn as_postgres(program: &str) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = postgres_ids() {
        command.uid(uid).gid(gid).env("HOME", "/tmp").env("USER", "postgres");
    }
    for (name, _) in std::env::vars() {
        if name.starts_with("PATRONI_") || name.starts_with("PG") {
            command.env_remove(name);
        }
    }
    command.env("LC_ALL", "C.UTF-8");
    command
}

/// Makes a tree the property of the user who runs PostgreSQL.
pub fn give_to_postgres(dir: &Path) {
    if let Some((uid, gid)) = postgres_ids() {
        let status = Command::new("chown").arg("-R").arg(format!("{uid}:{gid}")).arg(dir).status().unwrap();
        assert!(status.success());
    }
}

/// The newest PostgreSQL's programs.
pub fn pg_bin() -> PathBuf {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|e| Some((e.file_name().to_str()?.parse().ok()?, e.path().join("bin"))))
        .filter(|(_, bin)| bin.join("initdb").exists())
        .collect();
    found.sort();
    let wanted = std::env::var("PATRONI_TEST_PG_BIN").map(PathBuf::from).ok();
    wanted.or_else(|| found.pop().map(|(_, bin)| bin)).expect("PostgreSQL is installed (scripts/install-deps)")
}

/// The first of these programs that is not in PATH.
pub fn missing<'a>(programs: &[&'a str]) -> Option<&'a str> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let there = |name: &str| std::env::split_paths(&path).any(|dir| dir.join(name).is_file());
    programs.iter().find(|name| !there(name)).copied()
}

/// Ports that nobody listens on. Tests run side by side in processes of their own, so each starts at another place.
pub fn free_ports(count: usize) -> Vec<u16> {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut guard = GIVEN.lock().unwrap();
    let given = guard.get_or_insert_with(HashSet::new);
    let start = 21_000 + u16::try_from(std::process::id() % 180).unwrap() * 50;
    let mut ports = Vec::new();
    for port in start..u16::MAX {
        if ports.len() == count {
            break;
        }
        if !given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            given.insert(port);
            ports.push(port);
        }
    }
    assert_eq!(ports.len(), count, "not enough free ports");
    ports
}

/// Ends every process that works in, or was started from, a directory: servers outlive their agents.
pub fn kill_everything_below(dir: &Path) {
    for _ in 0..50 {
        let mut found = false;
        for entry in std::fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<u32>().ok()) else { continue };
            let link = |name: &str| std::fs::read_link(entry.path().join(name)).is_ok_and(|p| p.starts_with(dir));
            if pid != std::process::id() && (link("cwd") || link("exe")) && !is_zombie(pid) {
                found = true;
                kill("KILL", pid);
            }
        }
        if !found {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

fn is_zombie(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// The last lines of a file.
pub fn tail(file: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
