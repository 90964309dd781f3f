//! One process, held so that its number can never come to mean another.

use super::process::stat;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal};
use std::io;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How often a process is looked at where the kernel has no pidfd (before Linux 5.3).
const POLL: Duration = Duration::from_millis(100);

/// A process that need not be our child. Dropping it does nothing to the process.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    start_ticks: u64,
    /// `None`: the kernel has none; pid and start are compared before each use instead.
    fd: Option<OwnedFd>,
}

impl Process {
    /// Takes hold of the process with this pid and start (see [`super::ProcessStat`]). `Ok(None)`: it has ended.
    ///
    /// # Errors
    /// When the system refuses (too many open files, say).
    pub fn open(pid: i32, start_ticks: u64) -> io::Result<Option<Self>> {
        if pid <= 0 {
            return Ok(None);
        }
        let Some(number) = Pid::from_raw(pid) else { return Ok(None) };
        let fd = match pidfd_open(number, PidfdFlags::empty()) {
            Ok(fd) => Some(fd),
            Err(Errno::SRCH) => return Ok(None),
            Err(Errno::NOSYS | Errno::PERM) => None,
            Err(error) => return Err(error.into()),
        };
        // Looked at after opening: if the start fits now, the descriptor means this very process.
        let process = Self { pid, start_ticks, fd };
        Ok(process.is_alive().then_some(process))
    }

    /// The pid.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Whether it runs still (a process that only waits to be reaped does not).
    #[must_use]
    pub fn is_alive(&self) -> bool {
        stat(self.pid).is_some_and(|s| s.start_ticks == self.start_ticks && !s.ended)
    }

    /// Sends a signal. `Ok(false)`: it had ended.
    ///
    /// # Errors
    /// When the system refuses (the process is another user's).
    pub fn signal(&self, signal: Signal) -> io::Result<bool> {
        let sent = match (&self.fd, Pid::from_raw(self.pid)) {
            (Some(fd), _) => pidfd_send_signal(fd, signal),
            (None, Some(pid)) if self.is_alive() => kill_process(pid, signal),
            (None, _) => return Ok(false),
        };
        match sent {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Resolves when it has ended: an event, or found by polling where there is no pidfd. May be dropped at any time.
    pub async fn exited(&self) {
        if let Some(watched) = self.watched()
            && watched.readable().await.is_ok()
        {
            return;
        }
        while self.is_alive() {
            tokio::time::sleep(POLL).await;
        }
    }

    /// The descriptor under the runtime's eyes. A copy, since several may wait for one process.
    #[allow(unsafe_code)]
    fn watched(&self) -> Option<AsyncFd<OwnedFd>> {
        let copy = self.fd.as_ref()?.try_clone().ok()?;
        // SAFETY: an OwnedFd is open, is always the same descriptor, and is closed only when the AsyncFd drops it.
        unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper() -> (std::process::Child, Process) {
        let child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process::open(pid, stat(pid).unwrap().start_ticks).unwrap().unwrap();
        (child, process)
    }

    #[tokio::test]
    async fn the_end_of_a_process_is_an_event() {
        let (mut child, process) = sleeper();
        assert!(process.is_alive());
        let waiting = tokio::time::timeout(Duration::from_millis(20), process.exited());
        assert!(waiting.await.is_err());
        assert!(process.signal(Signal::KILL).unwrap());
        tokio::time::timeout(Duration::from_secs(10), process.exited()).await.unwrap();
        // Not reaped yet, and dead all the same.
        assert!(!process.is_alive());
        child.wait().unwrap();
        assert!(!process.signal(Signal::KILL).unwrap());
        process.exited().await;
    }

    #[tokio::test]
    async fn without_pidfd_the_start_is_compared() {
        let (mut child, mut process) = sleeper();
        process.fd = None;
        assert!(process.signal(Signal::KILL).unwrap());
        tokio::time::timeout(Duration::from_secs(10), process.exited()).await.unwrap();
        child.wait().unwrap();
        assert!(!process.signal(Signal::TERM).unwrap());
    }

    #[test]
    fn another_process_under_the_same_number_is_not_taken() {
        let (mut child, process) = sleeper();
        assert!(Process::open(process.pid(), process.start_ticks + 1).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(Process::open(process.pid(), process.start_ticks).unwrap().is_none());
        assert!(Process::open(0, 1).unwrap().is_none());
        assert!(Process::open(-1, 1).unwrap().is_none());
    }
}
