//! The fence against a real server: when a lease is not renewed, no process of the server is left when it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a test may fail and may wait")]

use patroni::clock::Clock;
use patroni::cluster::Postmaster;
use patroni::fencing::{Fence, Fencing};
use patroni::sys;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const TTL: Duration = Duration::from_secs(20);

fn bin() -> Option<PathBuf> {
    let entries = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    entries.map(|e| e.path().join("bin")).filter(|b| b.join("postgres").exists()).max()
}

/// A program as a user that PostgreSQL accepts.
fn as_postgres(program: &Path) -> Command {
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    };
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/tmp");
    command
}

/// A primary, reached by its socket alone.
struct Server {
    dir: tempfile::TempDir,
    bin: PathBuf,
    clients: Vec<Child>,
}

impl Server {
    fn start() -> Option<Self> {
        let Some(bin) = bin() else {
            eprintln!("skipped: no PostgreSQL in /usr/lib/postgresql");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            assert!(Command::new("chown").arg("postgres").arg(dir.path()).status().unwrap().success());
        }
        let server = Self { dir, bin, clients: Vec::new() };
        let initdb = as_postgres(&server.bin.join("initdb"))
            .args(["-N", "-A", "trust", "-U", "postgres", "-D"])
            .arg(server.data())
            .status();
        assert!(initdb.unwrap().success());
        let options = format!("-c listen_addresses='' -k {} -c fsync=off", server.dir.path().display());
        let mut start = as_postgres(&server.bin.join("pg_ctl"));
        start
            .args(["-w", "-D"])
            .arg(server.data())
            .args(["-o", &options, "-l"])
            .arg(server.dir.path().join("log"))
            .arg("start");
        assert!(start.status().unwrap().success());
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn postmaster(&self) -> Postmaster {
        let file = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap();
        let pid = file.lines().next().unwrap().parse().unwrap();
        Postmaster { pid, start_ticks: sys::stat(pid).unwrap().start_ticks }
    }

    /// A client that writes and commits without end; returns its backend.
    fn busy(&mut self) -> i32 {
        let before = self.backends();
        let sql = "DO $$ BEGIN LOOP INSERT INTO t VALUES (1); COMMIT; END LOOP; END $$";
        let mut psql = as_postgres(&self.bin.join("psql"));
        psql.arg("-h").arg(self.dir.path()).args([
            "-U",
            "postgres",
            "-d",
            "postgres",
            "-c",
            "CREATE TABLE IF NOT EXISTS t(x int)",
            "-c",
            sql,
        ]);
        self.clients.push(psql.spawn().unwrap());
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            assert!(Instant::now() < end, "no backend");
            if let Some(new) = self.backends().into_iter().find(|pid| !before.contains(pid)) {
                return new;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Backends that run a DO statement.
    fn backends(&self) -> Vec<i32> {
        let runs_do = |pid: &i32| sys::command_line(*pid).is_some_and(|title| title.ends_with(" DO"));
        self.processes().into_iter().filter(runs_do).collect()
    }

    fn processes(&self) -> Vec<i32> {
        sys::server_processes(&self.data(), "postgres", None).iter().map(|p| p.pid).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for pid in self.processes() {
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
        }
        for client in &mut self.clients {
            client.wait().ok();
        }
    }
}

fn signal(pid: i32, which: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), which).unwrap();
}

/// Arms a fence whose deadline is two seconds ahead (the lease ends after four), and waits until all is gone.
fn fence_in_time(server: &Server) {
    let fence = Fence::start().unwrap();
    let clock = Clock::system();
    let end = clock.mono() + Duration::from_secs(4);
    fence.lease(end, TTL);
    fence.server(true, Some(server.postmaster()));
    std::thread::sleep(Duration::from_millis(1500));
    assert!(!server.processes().is_empty(), "it fired too early");
    while clock.mono() < end {
        if server.processes().is_empty() {
            let left = end.since(clock.mono());
            eprintln!("all processes are gone {left:?} before the end of the lease");
            while fence.fired() == 0 {
                assert!(clock.mono() < end, "it does not say so");
                std::thread::yield_now();
            }
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("left at the end of the lease: {:?}", server.processes());
}

// rows: QUIRK-18
#[test]
fn a_busy_primary_is_gone_before_its_lease_ends() {
    let Some(mut server) = Server::start() else { return };
    server.busy();
    fence_in_time(&server);
}

#[test]
fn a_backend_that_heeds_no_signal_is_gone_before_the_lease_ends() {
    let Some(mut server) = Server::start() else { return };
    server.busy();
    let stuck = server.busy();
    signal(stuck, rustix::process::Signal::STOP);
    fence_in_time(&server);
}

#[test]
fn a_suspended_postmaster_is_gone_before_its_lease_ends() {
    let Some(mut server) = Server::start() else { return };
    server.busy();
    signal(server.postmaster().pid, rustix::process::Signal::STOP);
    fence_in_time(&server);
}
