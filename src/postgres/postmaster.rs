//! The postmaster as a process: finding it by its pid file, watching it, signalling it, killing it with all its children.

use super::{PgError, Server};
use crate::cluster::{Postmaster, StopMode};
use crate::sys::{self, Process, ProcessStat};
use rustix::process::Signal;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;
use tracing::{info, warn};

/// By how much a pid file's start time may differ from the process's, in seconds.
const START_TOLERANCE: u64 = 3;

/// What matters of `postmaster.pid`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PidFile {
    /// Process id.
    pub pid: i32,
    /// `postgres --single` wrote it (its pid stands there as a negative number).
    pub single_user: bool,
    /// Start, seconds since the epoch by the wall clock of that time; `None` when the line is missing or garbage.
    pub start: Option<u64>,
}

impl PidFile {
    /// Reads the file of a data directory. `None`: there is none, or no pid in it.
    #[must_use]
    pub fn read(data_dir: &Path) -> Option<Self> {
        let text = std::fs::read(data_dir.join("postmaster.pid")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let pid: i32 = lines.next()?.trim().parse().ok().filter(|pid| *pid != 0)?;
        let start = lines.nth(1).and_then(|line| match line.trim().parse::<u64>() {
            Ok(start) => Some(start).filter(|s| *s > 0),
            Err(_) => {
                warn!("Garbage start time value in pid file: '{line}'");
                None
            }
        });
        Some(Self { pid: pid.checked_abs()?, single_user: pid < 0, start })
    }
}

/// The living server process of the data directory: the one that was launched or seen last, else the one that the pid
/// file names, if it proves to be a postmaster of this directory (PG-03). A single-user server counts too: nothing else
/// may be started beside it.
#[must_use]
pub fn find(server: &Server) -> Option<Postmaster> {
    let known = server.postmaster.get().filter(|p| is_alive(*p));
    let found = known.or_else(|| {
        let data_dir = server.data_dir();
        let file = PidFile::read(&data_dir)?;
        let process = sys::stat(file.pid).filter(|s| !s.ended)?;
        let proven = is_postmaster(&data_dir, file, process);
        proven.then_some(Postmaster { pid: process.pid, start_ticks: process.start_ticks })
    });
    server.postmaster.set(found);
    found
}

/// The pid of a process that a stale pid file names and that is no postmaster of this directory, or one that has ended and
/// was not reaped yet. A new postmaster must be told to ignore it.
#[must_use]
pub fn impostor(data_dir: &Path) -> Option<i32> {
    let file = PidFile::read(data_dir)?;
    let process = sys::stat(file.pid)?;
    if !process.ended && is_postmaster(data_dir, file, process) { None } else { Some(process.pid) }
}

/// A server process stands in its data directory: that is proof, whatever the wall clock did since its start. Where it
/// cannot be seen, or the pid was taken by something else, the start time decides.
fn is_postmaster(data_dir: &Path, file: PidFile, process: ProcessStat) -> bool {
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    let parent = sys::stat(me).map_or(0, |s| s.ppid);
    if process.pid == me || process.pid == parent || process.ppid == me {
        let (pid, ppid) = (process.pid, process.ppid);
        info!("Patroni (pid={me}, ppid={parent}), \"fake postmaster\" (pid={pid}, ppid={ppid})");
        return false;
    }
    if sys::cwd_is(process.pid, data_dir) && sys::executable_name(process.pid).is_some_and(|n| n.contains("postgres")) {
        return true;
    }
    match (file.start, sys::start_epoch(process)) {
        (Some(written), Some(began)) if written.abs_diff(began) > START_TOLERANCE => {
            info!(
                "Process {} is not postmaster, too much difference between PID file start time {written} and \
                 process start time {began}",
                process.pid
            );
            false
        }
        _ => true,
    }
}

/// Whether this postmaster runs.
#[must_use]
pub fn is_alive(postmaster: Postmaster) -> bool {
    sys::stat(postmaster.pid).is_some_and(|s| s.start_ticks == postmaster.start_ticks && !s.ended)
}

fn hold(postmaster: Postmaster) -> Result<Option<Process>, PgError> {
    Process::open(postmaster.pid, postmaster.start_ticks)
        .map_err(|e| PgError::Program(format!("cannot watch process {}: {e}", postmaster.pid)))
}

/// Resolves when it has ended.
pub async fn exited(postmaster: Postmaster) {
    match hold(postmaster) {
        Ok(Some(process)) => process.exited().await,
        Ok(None) => {}
        Err(error) => {
            warn!("{error}");
            while is_alive(postmaster) {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

fn signal(postmaster: Postmaster, signal: Signal, what: &str) -> Result<(), PgError> {
    if let Some(process) = hold(postmaster)? {
        let sent = process.signal(signal);
        sent.map_err(|e| PgError::Program(format!("Could not send {what} signal to PostgreSQL: {e}")))?;
    }
    Ok(())
}

/// Tells the server to stop. No error when it has ended already.
///
/// # Errors
/// [`PgError::Program`] for a single-user server, or when the signal is refused.
pub fn signal_stop(server: &Server, postmaster: Postmaster, mode: StopMode) -> Result<(), PgError> {
    let file = PidFile::read(&server.data_dir());
    if file.is_some_and(|f| f.single_user && f.pid == postmaster.pid) {
        let pid = postmaster.pid;
        return Err(PgError::Program(format!("Cannot stop server; single-user server is running (PID: {pid})")));
    }
    signal(postmaster, if mode == StopMode::Fast { Signal::INT } else { Signal::QUIT }, "stop")
}

/// Tells the server to read its files again.
///
/// # Errors
/// [`PgError::Program`] when there is none, or the signal is refused.
pub fn reload(server: &Server) -> Result<(), PgError> {
    match find(server) {
        Some(postmaster) => signal(postmaster, Signal::HUP, "reload"),
        None => Err(PgError::Program("PostgreSQL is not running".to_owned())),
    }
}

/// The name of the server's executable: the postmaster's own while it lives.
fn executable(server: &Server, postmaster: Postmaster) -> String {
    let own = if is_alive(postmaster) { sys::executable_name(postmaster.pid) } else { None };
    let installed = || {
        let path = server.bin("postgres");
        let real = std::fs::canonicalize(&path).unwrap_or(path);
        Some(real.file_name()?.to_str()?.to_owned())
    };
    own.or_else(installed).unwrap_or_else(|| "postgres".to_owned())
}

/// SIGKILL to the postmaster and all processes of its server, until none is left. The postmaster is suspended first, so
/// that it starts no new ones meanwhile.
///
/// # Errors
/// [`PgError::TimedOut`] when some are left after `patience`.
pub async fn kill_all(server: &Server, postmaster: Postmaster, patience: Duration) -> Result<(), PgError> {
    let executable = executable(server, postmaster);
    if let Err(error) = signal(postmaster, Signal::STOP, "suspend") {
        warn!("Failed to suspend postmaster: {error}");
    }
    let data_dir = server.data_dir();
    let killing = async {
        loop {
            let alive = is_alive(postmaster).then_some(postmaster.pid);
            let left = sys::server_processes(&data_dir, &executable, alive);
            if left.is_empty() {
                return;
            }
            kill(&left).await;
        }
    };
    let pid = postmaster.pid;
    let late = |_| PgError::TimedOut(format!("processes of the server (pid={pid}) are left after {patience:?}"));
    tokio::time::timeout(patience, killing).await.map_err(late)
}

/// How long what outlived its postmaster may take to go after SIGKILL.
const ORPHANS_PATIENCE: Duration = Duration::from_secs(10);

/// SIGKILL to backends that outlived their postmaster. A busy one does not notice that it is alone: it would go on to
/// commit, while others take over, and no server could be started beside it.
///
/// # Errors
/// [`PgError::TimedOut`] when some are left.
pub async fn end_orphans(server: &Server) -> Result<(), PgError> {
    if find(server).is_some() {
        return Ok(());
    }
    let program = server.bin("postgres");
    let program = std::fs::canonicalize(&program).unwrap_or(program);
    let Some(name) = program.file_name().and_then(|n| n.to_str()) else { return Ok(()) };
    let data_dir = server.data_dir();
    let left = || -> Vec<ProcessStat> {
        let mut left = sys::server_processes(&data_dir, name, None);
        // Only a child of a postmaster has such a title.
        left.retain(|p| sys::command_line(p.pid).is_some_and(|title| title.starts_with("postgres: ")));
        left
    };
    let ending = async {
        loop {
            let orphans = left();
            if orphans.is_empty() {
                return;
            }
            let pids: Vec<_> = orphans.iter().map(|p| p.pid.to_string()).collect();
            warn!("Sending SIGKILL to processes that outlived their postmaster: {}", pids.join(", "));
            kill(&orphans).await;
        }
    };
    let late = |_| PgError::TimedOut(format!("processes without postmaster are left after {ORPHANS_PATIENCE:?}"));
    tokio::time::timeout(ORPHANS_PATIENCE, ending).await.map_err(late)
}

/// Kills processes and gives them a moment to go. What resists (in an uninterruptible wait, say) is found again by the
/// caller, whose patience decides.
async fn kill(processes: &[ProcessStat]) {
    let mut held = Vec::with_capacity(processes.len());
    for process in processes {
        let opened = Process::open(process.pid, process.start_ticks);
        let killed = opened.and_then(|found| match found {
            Some(found) => found.signal(Signal::KILL).map(|_| Some(found)),
            None => Ok(None),
        });
        match killed {
            Ok(found) => held.extend(found),
            Err(error) => warn!("Could not kill process {}: {error}", process.pid),
        }
    }
    let all_gone = futures_util::future::join_all(held.iter().map(Process::exited));
    tokio::select! {
        _ = all_gone => {}
        () = tokio::time::sleep(Duration::from_millis(200)) => {}
    }
    if held.len() < processes.len() {
        // Refused: trying again at once would be a busy loop.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Titles of server processes that serve no client, from 9.3 to 18.
static NO_CLIENT: LazyLock<Option<regex::Regex>> = LazyLock::new(|| {
    regex::Regex::new(
        "^postgres:( .*:)? ((archiver|startup|autovacuum launcher|autovacuum worker|checkpointer|logger|\
         stats collector|wal receiver|wal writer|writer)( process  )?|walreceiver|wal sender process|walsender|\
         walwriter|background writer|logical replication launcher|logical replication worker for subscription|\
         logical replication tablesync worker for subscription|\
         logical replication parallel apply worker for subscription|\
         logical replication apply worker for subscription|slotsync worker|walsummarizer|io worker|bgworker:)( |$)",
    )
    .ok()
});

/// Whether no backend of a client is left. Own connections count as clients: a stopping server ends them too.
#[must_use]
pub fn no_clients(server: &Server, postmaster: Postmaster) -> bool {
    let processes = if is_alive(postmaster) {
        sys::children_of(postmaster.pid)
    } else {
        sys::server_processes(&server.data_dir(), &executable(server, postmaster), None)
    };
    let serves = |process: &ProcessStat| match sys::command_line(process.pid) {
        Some(title) => !title.is_empty() && !NO_CLIENT.as_ref().is_some_and(|r| r.is_match(&title)),
        None => false,
    };
    !processes.iter().any(serves)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::postgres::test_settings::settings;
    use std::process::Command;
    use std::sync::Arc;

    #[test]
    fn pid_files_are_read() {
        let file = |text| PidFile::parse(text);
        let full = "4711\n/data\n1700000000\n5432\n/tmp\nlocalhost\n  123 4\nready   \n";
        assert_eq!(file(full), Some(PidFile { pid: 4711, single_user: false, start: Some(1_700_000_000) }));
        assert_eq!(file("-4711\n"), Some(PidFile { pid: 4711, single_user: true, start: None }));
        assert_eq!(file("4711\n/data\nx\n").unwrap().start, None);
        for bad in ["", "\n", "x\n", "0\n", "99999999999\n"] {
            assert_eq!(file(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn titles_tell_clients_from_the_rest() {
        let regex = NO_CLIENT.as_ref().unwrap();
        for title in [
            "postgres: batman: checkpointer ",
            "postgres: checkpointer",
            "postgres: batman: walsender replicator 127.0.0.1(5000) streaming 0/3000060",
            "postgres: wal sender process replicator 127.0.0.1(5000) streaming",
            "postgres: a: b: startup recovering 000000010000000000000003",
            "postgres: archiver process   last was 1",
        ] {
            assert!(regex.is_match(title), "{title}");
        }
        for title in ["postgres: batman: postgres postgres [local] idle", "postgres: app db 10.0.0.1(1) SELECT", "x"] {
            assert!(!regex.is_match(title), "{title}");
        }
    }

    fn server(dir: &Path) -> Server {
        Server::new(Arc::new(settings(dir)), Clock::system())
    }

    fn write_pid_file(dir: &Path, pid: u32, start: u64) {
        std::fs::write(dir.join("postmaster.pid"), format!("{pid}\n{}\n{start}\n", dir.display())).unwrap();
    }

    /// A process that is no child of this one (a child would never be taken for a postmaster).
    fn stranger(dir: &Path) -> ProcessStat {
        sys::detach::spawn_detached(Command::new("sleep").arg("60").current_dir(dir)).unwrap()
    }

    #[tokio::test]
    async fn a_pid_file_is_believed_only_when_the_start_fits() {
        let dir = tempfile::tempdir().unwrap();
        let process = stranger(dir.path());
        let pid = u32::try_from(process.pid).unwrap();
        let began = sys::start_epoch(process).unwrap();
        write_pid_file(dir.path(), pid, began - 100);
        assert_eq!(find(&server(dir.path())), None);
        assert_eq!(impostor(dir.path()), Some(process.pid));
        write_pid_file(dir.path(), pid, began + 2);
        let server = server(dir.path());
        let found = find(&server).unwrap();
        assert_eq!((found.pid, found.start_ticks), (process.pid, process.start_ticks));
        assert_eq!(impostor(dir.path()), None);
        let mut zombie = Command::new("true").spawn().unwrap();
        write_pid_file(dir.path(), zombie.id(), began);
        while !sys::stat(i32::try_from(zombie.id()).unwrap()).unwrap().ended {
            std::thread::yield_now();
        }
        assert_eq!(impostor(dir.path()), Some(i32::try_from(zombie.id()).unwrap()));
        zombie.wait().unwrap();
        // Known by now: the file is not needed any more.
        std::fs::remove_file(dir.path().join("postmaster.pid")).unwrap();
        assert_eq!(find(&server), Some(found));
        signal_stop(&server, found, StopMode::Fast).unwrap();
        tokio::time::timeout(Duration::from_secs(10), exited(found)).await.unwrap();
        assert_eq!(find(&server), None);
        signal_stop(&server, found, StopMode::Fast).unwrap();
        assert!(reload(&server).is_err());
    }

    #[test]
    fn neither_we_nor_our_children_are_a_postmaster() {
        let dir = tempfile::tempdir().unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        for pid in [std::process::id(), child.id()] {
            let process = sys::stat(i32::try_from(pid).unwrap()).unwrap();
            write_pid_file(dir.path(), pid, sys::start_epoch(process).unwrap());
            assert_eq!(find(&server(dir.path())), None);
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_single_user_server_is_not_signalled() {
        let dir = tempfile::tempdir().unwrap();
        let process = stranger(dir.path());
        std::fs::write(dir.path().join("postmaster.pid"), format!("-{}\n", process.pid)).unwrap();
        let server = server(dir.path());
        let found = find(&server).unwrap();
        let error = signal_stop(&server, found, StopMode::Fast).unwrap_err().to_string();
        assert_eq!(error, format!("Cannot stop server; single-user server is running (PID: {})", process.pid));
        assert!(signal(found, Signal::KILL, "kill").is_ok());
    }

    #[tokio::test]
    async fn all_processes_of_the_server_are_killed() {
        let dir = tempfile::tempdir().unwrap();
        // A copy named postgres stands for a backend that outlived its postmaster; its child for an archive_command.
        let program = dir.path().join("postgres");
        std::fs::copy("/bin/sh", &program).unwrap();
        std::os::unix::fs::chown(&program, None, None).unwrap();
        let mut orphan = Command::new(&program);
        orphan.args(["-c", "sleep 60 & sleep 60"]).current_dir(dir.path());
        let orphan = sys::detach::spawn_detached(&mut orphan).unwrap();
        let postmaster = stranger(dir.path());
        let postmaster = Postmaster { pid: postmaster.pid, start_ticks: postmaster.start_ticks };
        let mut settings = settings(dir.path());
        settings.postgresql.bin_dir = Some(dir.path().to_owned());
        let server = Server::new(Arc::new(settings), Clock::system());
        signal(postmaster, Signal::KILL, "kill").unwrap();
        exited(postmaster).await;
        assert!(!no_clients(&server, postmaster));
        kill_all(&server, postmaster, Duration::from_secs(20)).await.unwrap();
        assert!(sys::stat(orphan.pid).is_none_or(|s| s.ended || s.start_ticks != orphan.start_ticks));
        assert!(sys::server_processes(dir.path(), "postgres", None).is_empty());
        assert!(no_clients(&server, postmaster));
    }
}
