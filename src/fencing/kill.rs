//! Ends a postmaster and every process of its server, without allocating.

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, RawDir};
use rustix::process::{Pid, PidfdFlags, Signal};
use rustix::time::Timespec;
use std::mem::MaybeUninit;
use std::time::Duration;

/// Rounds in which children are looked for while their parent is stopped.
const SWEEPS: usize = 5;
/// Between SIGKILL and a last look.
const AFTER_KILL: Duration = Duration::from_millis(500);

/// A process that is held by a descriptor, so that no other is ever hit in its place.
#[derive(Debug)]
pub(super) struct Target {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Target {
    /// Takes hold of this process. `None`: it is gone, or another one has its number by now.
    pub(super) fn open(pid: i32, start_ticks: u64) -> Option<Self> {
        let pid = Pid::from_raw(pid).filter(|p| p.as_raw_nonzero().get() > 1)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok()?;
        let stat = Stat::read(pid)?;
        (stat.start_ticks & 0xFFFF_FFFF == start_ticks).then_some(Self { pid, pidfd })
    }

    /// Whether the process has ended.
    pub(super) fn is_gone(&self) -> bool {
        self.ended(Duration::ZERO)
    }

    /// SIGQUIT, and after `grace` SIGKILL to the process and its children. Whether it is gone.
    pub(super) fn stop(&self, grace: Duration) -> bool {
        // A stopped process takes no signal but SIGKILL and SIGCONT.
        if !self.signal(Signal::QUIT) || !self.signal(Signal::CONT) {
            return self.ended(Duration::ZERO);
        }
        // On SIGQUIT a postmaster ends after its children.
        if self.ended(grace) {
            return true;
        }
        // Backends outlive a killed postmaster and may still commit, so they go first. While their parent stands still it
        // starts no new ones, and their numbers are not used again because nobody collects them.
        self.signal(Signal::STOP);
        for _ in 0..SWEEPS {
            if self.kill_children() == 0 {
                break;
            }
            self.ended(Duration::from_millis(20));
        }
        self.signal(Signal::KILL);
        self.ended(AFTER_KILL)
    }

    /// Whether the signal was sent.
    fn signal(&self, signal: Signal) -> bool {
        rustix::process::pidfd_send_signal(&self.pidfd, signal).is_ok()
    }

    /// Waits until the process has ended.
    fn ended(&self, patience: Duration) -> bool {
        let mut events = [PollFd::from_borrowed_fd(self.pidfd.as_fd(), PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: i64::try_from(patience.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        };
        matches!(poll(&mut events, Some(&timeout)), Ok(1..))
    }

    /// Sends SIGKILL to all living children; how many there were.
    fn kill_children(&self) -> usize {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(proc_dir) = rustix::fs::openat(CWD, c"/proc", flags, Mode::empty()) else { return 0 };
        let mut buffer = [MaybeUninit::<u8>::uninit(); 8192];
        let mut entries = RawDir::new(&proc_dir, &mut buffer);
        let mut found = 0;
        while let Some(Ok(entry)) = entries.next() {
            let Some(pid) = entry.file_name().to_str().ok().and_then(|n| n.parse().ok()).and_then(Pid::from_raw) else {
                continue;
            };
            let is_child = Stat::read(pid).is_some_and(|s| s.parent == self.pid.as_raw_nonzero().get() && !s.dead);
            if is_child && rustix::process::kill_process(pid, Signal::KILL).is_ok() {
                found += 1;
            }
        }
        found
    }
}

/// What is needed of `/proc/PID/stat`.
struct Stat {
    parent: i32,
    start_ticks: u64,
    dead: bool,
}

impl Stat {
    fn read(pid: Pid) -> Option<Self> {
        let mut path = [0_u8; 32];
        let length = write_path(&mut path, pid.as_raw_nonzero().get())?;
        let name = std::ffi::CStr::from_bytes_with_nul(path.get(..=length)?).ok()?;
        let file = rustix::fs::openat(CWD, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mut text = [0_u8; 1024];
        let read = rustix::io::read(&file, &mut text).ok()?;
        Self::parse(text.get(..read)?)
    }

    /// `pid (name) state ppid ... starttime`: the name may hold anything, so fields count from the last bracket.
    fn parse(text: &[u8]) -> Option<Self> {
        let bracket = text.iter().rposition(|b| *b == b')')?;
        let rest = std::str::from_utf8(text.get(bracket + 1..)?).ok()?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok()?;
        let start_ticks = fields.nth(17)?.parse().ok()?;
        Some(Self { parent, start_ticks, dead: matches!(state, "Z" | "X") })
    }
}

/// Writes `/proc/PID/stat` with its closing zero; the length without it.
fn write_path(buffer: &mut [u8; 32], pid: i32) -> Option<usize> {
    use std::io::Write;
    let mut left: &mut [u8] = buffer.as_mut_slice();
    write!(left, "/proc/{pid}/stat\0").ok()?;
    let unused = left.len();
    Some(32 - unused - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_from_the_end_of_the_name() {
        let line = b"42 (odd) name) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 123456 1000 1\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.parent, stat.start_ticks, stat.dead), (7, 123_456, false));
        assert!(Stat::parse(b"42 (gone) Z 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9 1 1").unwrap().dead);
        assert!(Stat::parse(b"").is_none());
    }

    #[test]
    fn a_process_with_another_start_is_not_taken() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let start = Stat::read(Pid::from_raw(pid).unwrap()).unwrap().start_ticks;
        assert!(Target::open(pid, start & 0xFFFF_FFFF).is_some());
        assert!(Target::open(pid, (start + 1) & 0xFFFF_FFFF).is_none());
        assert!(Target::open(1, 0).is_none());
    }
}
