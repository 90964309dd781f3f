//! A child process with everything it started: found through `/proc`, killed as a whole.

use crate::sys::{self, ProcessStat};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process_group};
use std::collections::HashSet;
use tracing::debug;

/// All living descendants of a process.
pub(super) fn descendants(root: i32) -> Vec<ProcessStat> {
    sys::descendants_of(&HashSet::from([root]), &sys::process_stats())
}

fn signal(pid: i32, signal: Signal) {
    if let Some(target) = Pid::from_raw(pid)
        && let Err(error) = kill_process(target, signal)
    {
        debug!("cannot signal process {pid}: {error}");
    }
}

/// A signal to every process of a group.
pub(super) fn signal_group(leader: i32, which: Signal) {
    if let Some(target) = Pid::from_raw(leader)
        && let Err(error) = kill_process_group(target, which)
    {
        debug!("cannot signal process group {leader}: {error}");
    }
}

/// SIGKILL to a child that leads a process group, to that group, and to descendants that left it. The child must not
/// have been waited for yet (or its pid could be somebody else's).
pub(super) fn kill_tree(leader: i32) {
    // Stopped, it cannot start more while its descendants are listed.
    signal(leader, Signal::STOP);
    let family = descendants(leader);
    signal_group(leader, Signal::KILL);
    signal(leader, Signal::KILL);
    kill_listed(&family);
}

/// SIGKILL to processes that were listed before, as far as they are still the same.
pub(super) fn kill_listed(family: &[ProcessStat]) {
    for member in family {
        if sys::stat(member.pid).is_some_and(|now| now.start_ticks == member.start_ticks) {
            signal(member.pid, Signal::KILL);
        }
    }
}

/// Whether anything of a child's group or of its listed descendants is still there. The child itself must have been
/// waited for.
pub(super) fn any_left(leader: i32, family: &[ProcessStat]) -> bool {
    let group = Pid::from_raw(leader).is_some_and(|group| test_kill_process_group(group).is_ok());
    let lives = |m: &ProcessStat| sys::stat(m.pid).is_some_and(|now| now.start_ticks == m.start_ticks && !now.ended);
    group || family.iter().any(lives)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn descendants_outside_the_group_are_found_and_killed() {
        let mut child = Command::new("sh").args(["-c", "setsid sleep 1000 & wait"]).process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let has_left = |p: &ProcessStat| {
            rustix::process::getpgid(Pid::from_raw(p.pid)).is_ok_and(|g| g.as_raw_nonzero().get() != pid)
        };
        let mut family = Vec::new();
        for _ in 0..100_000 {
            family = descendants(pid);
            if family.iter().any(has_left) {
                break;
            }
            std::thread::yield_now();
        }
        assert!(family.iter().any(has_left), "{family:?}");
        kill_tree(pid);
        child.wait().unwrap();
        // Killed; perhaps not reaped yet by whoever inherited it.
        let lives = |p: &ProcessStat| sys::stat(p.pid).is_some_and(|now| !now.ended);
        let mut patience = 100_000;
        while family.iter().any(lives) && patience > 0 {
            patience -= 1;
            std::thread::yield_now();
        }
        assert!(!family.iter().any(lives), "{family:?}");
    }
}
