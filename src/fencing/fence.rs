//! The fence: a thread that stops PostgreSQL when the leader's lease is about to end and nobody has renewed it.
//!
//! It shares nothing with the rest of the agent but a few atomics, and allocates nothing once it runs, so that it works
//! when the runtime hangs, memory is short or a lock is never given back.

use super::kill::Target;
use super::{Fencing, margin};
use crate::clock::Clock;
use crate::cluster::Postmaster;
use crate::types::Mono;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// What PostgreSQL gets between SIGQUIT and SIGKILL at least. It is half of the margin that is kept of the lease, so that
/// the last process is gone before the lease ends.
const LEAST_GRACE: Duration = Duration::from_millis(300);

/// Between two tries to take hold of a postmaster that has to be stopped.
const RETRY: Duration = Duration::from_millis(100);

const FIRING: &[u8] =
    b"CRITICAL: fence: the leader lease is about to end and was not renewed, stopping PostgreSQL immediately\n";
const FIRED: &[u8] = b"CRITICAL: fence: PostgreSQL is stopped\n";
const RENEWED: &[u8] = b"WARNING: fence: the leader lease was renewed while PostgreSQL was being stopped\n";
const FAILED: &[u8] = b"CRITICAL: fence: PostgreSQL could not be stopped\n";

/// The fence could not be set up.
#[derive(Debug, thiserror::Error)]
#[error("the fence could not be set up: {0}")]
pub struct FenceError(#[from] std::io::Error);

/// The handle: told by the coordinator, read by the thread.
#[derive(Clone, Debug)]
pub struct Fence {
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    clock: Clock,
    /// PostgreSQL may accept writes and must not without a lease.
    armed: AtomicBool,
    /// When to fire: nanoseconds since boot; 0: no lease was ever told since the fence was armed last.
    deadline: AtomicU64,
    /// Patience after SIGQUIT, in nanoseconds.
    grace: AtomicU64,
    /// Process id in the upper half, the low 32 bits of its start tick in the lower one; 0: not known.
    postmaster: AtomicU64,
    fired: AtomicU64,
    bell: OwnedFd,
}

impl Fence {
    /// Starts the thread. It ends with the process.
    ///
    /// # Errors
    /// The system gives no timer, event or thread.
    pub fn start() -> Result<Self, FenceError> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(std::io::Error::from)?;
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Boottime, flags).map_err(std::io::Error::from)?;
        let state = Arc::new(State {
            clock: Clock::system(),
            armed: AtomicBool::new(false),
            deadline: AtomicU64::new(0),
            grace: AtomicU64::new(0),
            postmaster: AtomicU64::new(0),
            fired: AtomicU64::new(0),
            bell,
        });
        let watched = state.clone();
        std::thread::Builder::new().name("fence".to_owned()).stack_size(256 * 1024).spawn(move || {
            Watch { state: watched, timer, target: None, set_for: 0 }.run();
        })?;
        Ok(Self { state })
    }
}

impl Fencing for Fence {
    fn lease(&self, until: Mono, ttl: Duration) {
        let deadline = nanos(until - margin(ttl)).max(1);
        self.state.grace.store(nanos(Mono(margin(ttl) / 2)), Ordering::SeqCst);
        self.state.deadline.store(deadline, Ordering::SeqCst);
        // The thread finds a later deadline by itself when the earlier one passes.
        self.state.ring();
    }

    fn server(&self, may_write: bool, postmaster: Option<Postmaster>) {
        let state = &self.state;
        let changed = state.postmaster.swap(postmaster.map_or(0, pack), Ordering::SeqCst) != postmaster.map_or(0, pack);
        if may_write && !state.armed.load(Ordering::SeqCst) {
            // A lease of former times says nothing about this server: without one the rules decide what becomes of it.
            let now = nanos(state.clock.mono());
            let deadline = state.deadline.load(Ordering::SeqCst);
            if deadline <= now {
                state.deadline.store(0, Ordering::SeqCst);
            }
        }
        let armed_before = state.armed.swap(may_write, Ordering::SeqCst);
        if changed || armed_before != may_write {
            state.ring();
        }
    }

    fn fired(&self) -> u64 {
        self.state.fired.load(Ordering::SeqCst)
    }
}

impl State {
    fn ring(&self) {
        // The only failure of this write is a counter that is full, and then the thread is awake anyway.
        if rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).is_err() {
            tracing::trace!("the fence is awake already");
        }
    }
}

fn pack(postmaster: Postmaster) -> u64 {
    let pid = u64::from(postmaster.pid.unsigned_abs());
    pid << 32 | (postmaster.start_ticks & 0xFFFF_FFFF)
}

fn nanos(moment: Mono) -> u64 {
    u64::try_from(moment.0.as_nanos()).unwrap_or(u64::MAX)
}

/// The thread's own state.
struct Watch {
    state: Arc<State>,
    timer: OwnedFd,
    target: Option<(u64, Target)>,
    /// The deadline that the timer is set for.
    set_for: u64,
}

impl Watch {
    fn run(mut self) {
        loop {
            self.follow_postmaster();
            let armed = self.state.armed.load(Ordering::SeqCst);
            let deadline = if armed { self.state.deadline.load(Ordering::SeqCst) } else { 0 };
            if deadline != 0 && deadline <= nanos(self.state.clock.mono()) {
                if let Some((_, target)) = &self.target {
                    if target.is_gone() {
                        // Nothing to stop: the bell rings when another server is known.
                        self.sleep(0);
                    } else {
                        self.fire(target, deadline);
                    }
                    continue;
                }
                if self.state.postmaster.load(Ordering::SeqCst) == 0 {
                    // Due, but no postmaster is known: the bell rings when there is one.
                    self.sleep(0);
                } else {
                    // It is gone, or there was no descriptor to hold it by: try again.
                    std::thread::sleep(RETRY);
                }
            } else {
                self.sleep(deadline);
            }
        }
    }

    /// Keeps hold of the postmaster by a pidfd, so that a process id that is used again is never hit.
    fn follow_postmaster(&mut self) {
        let packed = self.state.postmaster.load(Ordering::SeqCst);
        if self.target.as_ref().map_or(0, |(known, _)| *known) == packed {
            return;
        }
        self.target = None;
        let pid = i32::try_from(packed >> 32).unwrap_or(0);
        self.target = Target::open(pid, packed & 0xFFFF_FFFF).map(|target| (packed, target));
    }

    /// Stops the server for the lease that ended at `deadline`. When that fails it will be tried again.
    fn fire(&self, target: &Target, deadline: u64) {
        say(FIRING);
        let grace = Duration::from_nanos(self.state.grace.load(Ordering::SeqCst)).max(LEAST_GRACE);
        if !target.stop(grace) {
            say(FAILED);
            std::thread::sleep(RETRY);
            return;
        }
        say(FIRED);
        self.state.fired.fetch_add(1, Ordering::SeqCst);
        // Once for each lease; one that came meanwhile stays.
        if self.state.deadline.compare_exchange(deadline, 0, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            say(RENEWED);
        }
    }

    /// Waits for the bell or until `deadline`; 0: for the bell alone.
    fn sleep(&mut self, deadline: u64) {
        if deadline != self.set_for {
            let due = Duration::from_nanos(deadline);
            let it_value = Timespec {
                tv_sec: i64::try_from(due.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: due.subsec_nanos().into(),
            };
            let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
            if timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once).is_ok() {
                self.set_for = deadline;
            }
        }
        let timer_works = deadline == self.set_for;
        let mut events = [
            PollFd::from_borrowed_fd(self.state.bell.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.timer.as_fd(), PollFlags::IN),
        ];
        // Without its timer the fence falls back to looking ten times a second.
        let fallback = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
        let woken = poll(&mut events, if timer_works { None } else { Some(&fallback) });
        if woken.is_err() {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut buffer = [0_u8; 8];
        for fd in [&self.state.bell, &self.timer] {
            // Nothing to read is the usual case for one of the two.
            if rustix::io::read(fd, &mut buffer).is_ok() && std::ptr::eq(fd, &self.timer) {
                self.set_for = 0;
            }
        }
    }
}

/// One line, without the log's machinery.
fn say(line: &[u8]) {
    // Nobody could be told that this failed.
    if rustix::io::write(std::io::stderr(), line).is_err() {}
}

#[cfg(test)]
#[path = "fence_tests.rs"]
mod tests;
