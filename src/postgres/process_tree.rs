//! A child process with everything it started: found through `/proc`, killed as a whole.

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use std::collections::HashMap;
use tracing::debug;

/// A process by pid and start time, so that a reused pid is not taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ProcessId {
    pid: i32,
    start_ticks: u64,
}

/// Parent and start time of a process by `/proc/PID/stat`.
fn stat(pid: i32) -> Option<(i32, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may contain anything: what follows the last one is in fixed columns.
    let fields: Vec<&str> = text.get(text.rfind(')')? + 1..)?.split_whitespace().collect();
    Some((fields.get(1)?.parse().ok()?, fields.get(19)?.parse().ok()?))
}

/// All living descendants of a process, parents before children.
pub(super) fn descendants(root: i32) -> Vec<ProcessId> {
    let mut children: HashMap<i32, Vec<ProcessId>> = HashMap::new();
    let entries = match std::fs::read_dir("/proc") {
        Ok(entries) => entries,
        Err(error) => {
            debug!("cannot list /proc: {error}");
            return Vec::new();
        }
    };
    for pid in entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some((parent, start_ticks)) = stat(pid) {
            children.entry(parent).or_default().push(ProcessId { pid, start_ticks });
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            open.push(child.pid);
            found.push(child);
        }
    }
    found
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
pub(super) fn kill_listed(family: &[ProcessId]) {
    for process in family {
        if stat(process.pid).is_some_and(|(_, start)| start == process.start_ticks) {
            signal(process.pid, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    #[test]
    fn descendants_outside_the_group_are_found_and_killed() {
        let mut child =
            Command::new("sh").args(["-c", "setsid sleep 1000 & echo ready; wait"]).process_group(0).spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let mut family = Vec::new();
        for _ in 0..2000 {
            family = descendants(pid);
            let own_group = |p: &ProcessId| {
                rustix::process::getpgid(Pid::from_raw(p.pid)).is_ok_and(|g| g.as_raw_nonzero().get() != pid)
            };
            if family.iter().any(own_group) {
                break;
            }
            std::thread::yield_now();
        }
        assert!(!family.is_empty());
        kill_tree(pid);
        child.wait().unwrap();
        for process in family {
            // Killed; perhaps not reaped yet by whoever inherited it.
            let state = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
            let gone = |s: &str| s.is_empty() || s.contains(") Z");
            let mut patience = 100_000;
            let mut state = state;
            while !gone(&state) && patience > 0 {
                patience -= 1;
                std::thread::yield_now();
                state = std::fs::read_to_string(format!("/proc/{}/stat", process.pid)).unwrap_or_default();
            }
            assert!(gone(&state), "{state}");
        }
    }
}
