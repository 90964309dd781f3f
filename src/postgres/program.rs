//! Programs and scripts that take long: run in a process group of their own, output into the log, cancellable (BOOT-21).

use super::process_tree::{any_left, descendants, kill_listed, kill_tree, signal_group};
use super::{Cancel, PgError, Server};
use crate::sys::ProcessStat;
use rustix::process::Signal;
use std::ffi::{OsStr, OsString};
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

/// Between SIGTERM and SIGKILL when a program is cancelled.
const TERM_PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait for the end of killed processes that are not children of ours, looking this often.
const REST_PATIENCE: Duration = Duration::from_secs(2);
const REST_POLL: Duration = Duration::from_millis(10);
/// How long output is still read after the program ended: a process it left behind may hold the pipe for ever.
const OUTPUT_PATIENCE: Duration = Duration::from_secs(1);
/// Output beyond this is not kept (it is still read, so that the program does not stall).
const LONGEST_OUTPUT: usize = 1024 * 1024;

/// A program that is to be run.
#[derive(Clone, Debug)]
pub struct Program {
    words: Vec<OsString>,
    environment: Vec<(String, String)>,
    deadline: Option<Duration>,
    keep_output: bool,
}

/// How a program ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Finished {
    /// Exit code; a negative signal number when a signal ended it.
    pub code: i32,
    /// Standard output, when it was to be kept.
    pub stdout: String,
    /// Standard error, when it was to be kept.
    pub stderr: String,
}

impl Finished {
    /// It ended with exit code 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.code == 0
    }
}

impl Program {
    /// A program by its path or by a name for PATH.
    #[must_use]
    pub fn new(program: impl Into<OsString>) -> Self {
        Self { words: vec![program.into()], environment: Vec::new(), deadline: None, keep_output: false }
    }

    /// One of PostgreSQL's programs, with the environment that the configuration asks for (PG-35).
    #[must_use]
    pub fn of_server(server: &Server, name: &str) -> Self {
        Self::new(server.bin(name)).kerberos(server)
    }

    /// A user's command, split as a shell does it. What cannot be split or is empty is an error.
    pub fn command(server: &Server, command: &str) -> Result<Self, PgError> {
        let words = split(command)?;
        let mut words = words.into_iter().map(OsString::from);
        let program = words.next().ok_or_else(|| PgError::Program("the command is empty".to_owned()))?;
        Ok(Self::new(program).kerberos(server).args(words))
    }

    /// A command line for `sh -c`: for commands that PostgreSQL itself would hand to a shell.
    #[must_use]
    pub fn shell(server: &Server, line: &str) -> Self {
        Self::new("/bin/sh").kerberos(server).args(["-c", line])
    }

    fn kerberos(self, server: &Server) -> Self {
        match server.settings().postgresql.krbsrvname.as_deref() {
            Some(name) => self.env("PGKRBSRVNAME", name),
            None => self,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.words.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.words.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets environment variables.
    #[must_use]
    pub fn envs(mut self, variables: impl IntoIterator<Item = (String, String)>) -> Self {
        self.environment.extend(variables);
        self
    }

    /// After this long it is ended.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// Its output comes back in [`Finished`] instead of going to the log.
    #[must_use]
    pub fn keep_output(mut self) -> Self {
        self.keep_output = true;
        self
    }

    /// The words as they would be typed, for messages.
    #[must_use]
    pub fn shown(&self) -> String {
        let words: Vec<_> = self.words.iter().map(|w| w.to_string_lossy()).collect();
        words.join(" ")
    }

    /// Runs it to its end. Errors: it cannot be executed, it was cancelled, its deadline passed; a bad exit code is no
    /// error here. When this future is dropped, the program is killed with all that it started.
    pub async fn run(self, cancel: &Cancel) -> Result<Finished, PgError> {
        if *cancel.borrow() {
            return Err(PgError::Cancelled);
        }
        let mut running = Running { child: self.spawn()?, pid: None };
        running.pid = running.child.id().and_then(|id| i32::try_from(id).ok());
        let name = self.words.first().map(|w| base_name(w)).unwrap_or_default();
        let stdout = collect(running.child.stdout.take(), self.keep_output, name.clone());
        let stderr = collect(running.child.stderr.take(), self.keep_output, name);
        let deadline = async {
            match self.deadline {
                Some(length) => tokio::time::sleep(length).await,
                None => std::future::pending().await,
            }
        };
        let status = tokio::select! {
            status = running.child.wait() => status,
            () = raised(cancel) => {
                running.end(&self.shown()).await;
                return Err(PgError::Cancelled);
            }
            () = deadline => {
                running.end(&self.shown()).await;
                return Err(PgError::TimedOut(format!("{} took too long", self.shown())));
            }
        };
        running.pid = None;
        let status = status.map_err(|e| PgError::Program(format!("cannot wait for {}: {e}", self.shown())))?;
        let code = status.code().unwrap_or_else(|| -status.signal().unwrap_or_default());
        Ok(Finished { code, stdout: finish(stdout).await, stderr: finish(stderr).await })
    }

    fn spawn(&self) -> Result<Child, PgError> {
        let mut words = self.words.iter();
        let program = words.next().ok_or_else(|| PgError::Program("the command is empty".to_owned()))?;
        let mut command = Command::new(program);
        command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        clean_environment(&mut command);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.spawn().map_err(|e| PgError::Program(format!("Failed to execute {}: {e}", self.shown())))
    }
}

/// Splits a command as a shell does.
pub fn split(command: &str) -> Result<Vec<String>, PgError> {
    shlex::split(command).ok_or_else(|| PgError::Program(format!("cannot split the command: {command}")))
}

/// Configuration of this agent (with passwords, perhaps) is not for the programs that it starts.
pub(super) fn clean_environment(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PATRONI_") {
            command.env_remove(name);
        }
    }
}

fn base_name(program: &OsStr) -> String {
    std::path::Path::new(program).file_name().unwrap_or(program).to_string_lossy().into_owned()
}

/// Waits until the flag is raised; for ever when nobody can raise it any more.
pub async fn raised(cancel: &Cancel) {
    let mut cancel = cancel.clone();
    if cancel.wait_for(|raised| *raised).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Waits this long. An error when it is cancelled before.
pub async fn pause(length: Duration, cancel: &Cancel) -> Result<(), PgError> {
    tokio::select! {
        () = tokio::time::sleep(length) => Ok(()),
        () = raised(cancel) => Err(PgError::Cancelled),
    }
}

/// A child that is killed with its tree if it is dropped while it runs.
struct Running {
    child: Child,
    pid: Option<i32>,
}

impl Running {
    /// SIGTERM to its group, SIGKILL to the whole tree when it has not ended after 10 s.
    async fn end(&mut self, shown: &str) {
        let Some(pid) = self.pid else { return };
        info!("Terminating {shown}");
        let family = descendants(pid);
        signal_group(pid, Signal::TERM);
        match tokio::time::timeout(TERM_PATIENCE, self.child.wait()).await {
            Ok(Ok(_)) => {
                self.pid = None;
                kill_rest(pid, &family).await;
            }
            Ok(Err(error)) => warn!("cannot wait for {shown}: {error}"),
            Err(_) => {
                kill_tree(pid);
                warn!("Killed {shown} because it was still running");
                match tokio::time::timeout(TERM_PATIENCE, self.child.wait()).await {
                    Ok(_) => {
                        self.pid = None;
                        kill_rest(pid, &family).await;
                    }
                    Err(_) => warn!("{shown} does not end even by SIGKILL"),
                }
            }
        }
    }
}

/// Kills what a program left behind and waits for that to be gone: whoever cancelled may now remove the files that these
/// processes were writing.
async fn kill_rest(leader: i32, family: &[ProcessStat]) {
    let mut waited = Duration::ZERO;
    while any_left(leader, family) && waited < REST_PATIENCE {
        signal_group(leader, Signal::KILL);
        kill_listed(family);
        tokio::time::sleep(REST_POLL).await;
        waited += REST_POLL;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(pid) = self.pid {
            kill_tree(pid);
        }
    }
}

fn collect(
    pipe: Option<impl AsyncRead + Unpin + Send + 'static>,
    keep: bool,
    name: String,
) -> Option<JoinHandle<String>> {
    let mut reader = BufReader::new(pipe?);
    Some(tokio::spawn(async move {
        let mut kept = String::new();
        let mut line = Vec::new();
        loop {
            line.clear();
            match reader.read_until(b'\n', &mut line).await {
                Ok(0) => return kept,
                Ok(_) if keep => {
                    if kept.len() < LONGEST_OUTPUT {
                        kept.push_str(&String::from_utf8_lossy(&line));
                    }
                }
                Ok(_) => {
                    let text = String::from_utf8_lossy(&line);
                    if !text.trim().is_empty() {
                        info!("{name}: {}", text.trim_end());
                    }
                }
                Err(error) => {
                    debug!("cannot read the output of {name}: {error}");
                    return kept;
                }
            }
        }
    }))
}

async fn finish(reader: Option<JoinHandle<String>>) -> String {
    let Some(mut reader) = reader else { return String::new() };
    match tokio::time::timeout(OUTPUT_PATIENCE, &mut reader).await {
        Ok(Ok(text)) => text,
        Ok(Err(error)) => {
            debug!("reader of a program's output: {error}");
            String::new()
        }
        Err(_) => {
            // What it left running keeps writing to nobody, as it would after the agent's end.
            debug!("output is still open after the program ended");
            String::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::watch;

    fn sh(script: &str) -> Program {
        Program::new("/bin/sh").args(["-c", script])
    }

    #[tokio::test]
    async fn output_environment_and_exit_code_come_back() {
        let (_owner, cancel) = watch::channel(false);
        let program = sh("echo $GREETING; echo oops >&2; exit 3").env("GREETING", "hello").keep_output();
        let finished = program.run(&cancel).await.unwrap();
        assert_eq!(finished, Finished { code: 3, stdout: "hello\n".into(), stderr: "oops\n".into() });
        let finished = sh("kill -9 $$").run(&cancel).await.unwrap();
        assert_eq!(finished.code, -9);
        let error = Program::new("/nowhere/program").run(&cancel).await.unwrap_err();
        assert!(matches!(error, PgError::Program(ref text) if text.contains("/nowhere/program")), "{error}");
    }

    // rows: BOOT-21
    #[tokio::test]
    async fn who_ignores_the_request_to_end_is_killed_with_the_whole_tree() {
        let (owner, cancel) = watch::channel(false);
        let dir = tempfile::tempdir().unwrap();
        let pids = dir.path().join("pids");
        // The grandchild has a session of its own: a signal to the group does not reach it.
        let script =
            format!("trap '' TERM; setsid sh -c \"trap '' TERM; sleep 1000\" & echo $$ $! > {}; wait", pids.display());
        let canceller = async {
            let mut started = None;
            while started.is_none() {
                started = std::fs::read_to_string(&pids).ok().filter(|text| text.ends_with('\n'));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let since = crate::clock::Clock::system().mono();
            owner.send(true).unwrap();
            (started.unwrap(), since)
        };
        let (result, (started, since)) = tokio::join!(sh(&script).run(&cancel), canceller);
        assert_eq!(result, Err(PgError::Cancelled));
        let took = crate::clock::Clock::system().mono().since(since);
        assert!(took >= TERM_PATIENCE && took < TERM_PATIENCE * 2, "{took:?}");
        for pid in started.split_whitespace() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(stat.is_empty() || stat.contains(") Z"), "{stat}");
        }
    }

    // rows: BOOT-21
    #[tokio::test]
    async fn a_raised_flag_ends_the_program_and_its_children() {
        let (owner, cancel) = watch::channel(false);
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        // The child opens the pipe, which releases the canceller; both end by SIGTERM to the group.
        let script = format!("sleep 1000 & echo $! > {}; wait", pipe.display());
        let run = sh(&script).run(&cancel);
        let canceller = async {
            let child = tokio::fs::read_to_string(&pipe).await.unwrap();
            owner.send(true).unwrap();
            child
        };
        let (result, child) = tokio::join!(run, canceller);
        assert_eq!(result, Err(PgError::Cancelled));
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.trim())).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z") || !stat.contains("(sleep)"), "{stat}");
        assert_eq!(sh("true").run(&cancel).await, Err(PgError::Cancelled));
    }

    #[tokio::test]
    async fn a_deadline_ends_it_and_a_left_behind_process_does_not_hold_it() {
        let (_owner, cancel) = watch::channel(false);
        let error = sh("sleep 1000").within(Duration::from_millis(50)).run(&cancel).await.unwrap_err();
        assert!(matches!(error, PgError::TimedOut(_)), "{error}");
        let finished = sh("sleep 5 & exit 0").run(&cancel).await.unwrap();
        assert!(finished.success());
    }

    #[test]
    fn commands_are_split_as_a_shell_does() {
        assert_eq!(split("/bin/x 'a b' c\\ d").unwrap(), ["/bin/x", "a b", "c d"]);
        assert!(split("/bin/x 'a").is_err());
    }
}
