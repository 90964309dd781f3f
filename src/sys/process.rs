//! What /proc tells of processes.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessStat {
    /// Process id.
    pub pid: i32,
    /// Parent.
    pub ppid: i32,
    /// Start in clock ticks since boot: with the pid it names one process for good.
    pub start_ticks: u64,
    /// It has ended and waits to be reaped (state Z or X).
    pub ended: bool,
}

impl ProcessStat {
    /// Reads a line of `/proc/PID/stat`. The command name stands in parentheses and may hold anything.
    fn parse(line: &str) -> Option<Self> {
        let (head, tail) = line.rsplit_once(')')?;
        let pid = head.split_once(" (")?.0.parse().ok()?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            ppid: fields.get(1)?.parse().ok()?,
            start_ticks: fields.get(19)?.parse().ok()?,
            ended: matches!(*fields.first()?, "Z" | "X" | "x"),
        })
    }
}

/// A process; `None` when there is none with this pid.
#[must_use]
pub fn stat(pid: i32) -> Option<ProcessStat> {
    let line = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    ProcessStat::parse(&String::from_utf8_lossy(&line))
}

/// All processes that can be seen.
#[must_use]
pub fn process_stats() -> Vec<ProcessStat> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(stat).collect()
}

/// The living direct children of a process.
#[must_use]
pub fn children_of(pid: i32) -> Vec<ProcessStat> {
    process_stats().into_iter().filter(|p| p.ppid == pid && !p.ended).collect()
}

/// The living processes below any of `roots` (without these), by the given list of processes.
#[must_use]
pub fn descendants_of(roots: &HashSet<i32>, all: &[ProcessStat]) -> Vec<ProcessStat> {
    let mut family = roots.clone();
    let mut found: Vec<ProcessStat> = Vec::new();
    loop {
        let next: Vec<ProcessStat> =
            all.iter().filter(|p| family.contains(&p.ppid) && !family.contains(&p.pid)).copied().collect();
        if next.is_empty() {
            found.retain(|p| !p.ended);
            return found;
        }
        family.extend(next.iter().map(|p| p.pid));
        found.extend(next);
    }
}

/// All living processes of the server in `data_dir`: the postmaster, whatever runs this executable in the data directory
/// (backends outlive a killed postmaster), and everything below these (archive_command and the like). Somebody's shell
/// that merely stands in the directory is none of them.
#[must_use]
pub fn server_processes(data_dir: &Path, executable: &str, postmaster: Option<i32>) -> Vec<ProcessStat> {
    let all = process_stats();
    let ours = |p: &&ProcessStat| {
        Some(p.pid) == postmaster
            || (!p.ended && executable_name(p.pid).as_deref() == Some(executable) && cwd_is(p.pid, data_dir))
    };
    let mut found: Vec<ProcessStat> = all.iter().filter(ours).copied().collect();
    let roots: HashSet<i32> = found.iter().map(|p| p.pid).chain(postmaster).collect();
    found.extend(descendants_of(&roots, &all));
    found.retain(|p| !p.ended);
    found
}

/// Whether a process stands in this directory, by device and inode. `false` when that cannot be seen.
#[must_use]
pub fn cwd_is(pid: i32, directory: &Path) -> bool {
    let place = |path: &Path| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let cwd = place(Path::new(&format!("/proc/{pid}/cwd")));
    cwd.is_some() && cwd == place(directory)
}

/// The file name of a process's executable, also when the file was replaced by an upgrade.
#[must_use]
pub fn executable_name(pid: i32) -> Option<String> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = path.file_name()?.to_str()?;
    Some(name.strip_suffix(" (deleted)").unwrap_or(name).to_owned())
}

/// The first word of a process's command line: for a server process the title that it set. Empty for an ended process.
#[must_use]
pub fn command_line(pid: i32) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let first = bytes.split(|b| *b == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(first).into_owned())
}

/// Seconds since the epoch at which the machine booted, by the present wall clock.
#[must_use]
pub fn boot_epoch() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// Seconds since the epoch at which a process began, by the present wall clock.
#[must_use]
pub fn start_epoch(process: ProcessStat) -> Option<u64> {
    Some(boot_epoch()?.saturating_add(process.start_ticks / ticks_per_second()))
}

/// The process's file mode creation mask, read without changing it.
#[must_use]
pub fn umask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    mask.and_then(|m| u32::from_str_radix(m.trim(), 8).ok()).unwrap_or(0o022)
}

#[allow(unsafe_code)]
fn ticks_per_second() -> u64 {
    // SAFETY: sysconf only reads a constant of the system.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    u64::try_from(ticks).ok().filter(|t| *t > 0).unwrap_or(100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_name_may_hold_anything() {
        let rest = "S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0";
        let expected = ProcessStat { pid: 42, ppid: 7, start_ticks: 4711, ended: false };
        for name in ["postgres", "a b", "x) Z 1 (y"] {
            assert_eq!(ProcessStat::parse(&format!("42 ({name}) {rest}")), Some(expected), "{name}");
        }
        assert!(ProcessStat::parse(&format!("42 (x) {}", rest.replacen('S', "Z", 1))).is_some_and(|p| p.ended));
        assert_eq!(ProcessStat::parse("42 (x) S 7"), None);
        assert_eq!(ProcessStat::parse(""), None);
    }

    #[test]
    fn this_process_is_seen() {
        let me = i32::try_from(std::process::id()).unwrap();
        let stat = stat(me).unwrap();
        assert_eq!(stat.pid, me);
        assert!(cwd_is(me, &std::env::current_dir().unwrap()));
        assert!(!cwd_is(me, Path::new("/proc")));
        let name = std::env::current_exe().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(executable_name(me), Some(name));
        let boot = boot_epoch().unwrap();
        assert!(start_epoch(stat).unwrap() >= boot);
    }

    #[test]
    fn descendants_are_found_over_generations() {
        let p = |pid, ppid| ProcessStat { pid, ppid, start_ticks: 1, ended: false };
        let all = [p(1, 0), p(10, 1), p(11, 10), p(12, 11), p(20, 1), ProcessStat { ended: true, ..p(13, 10) }];
        let pids: Vec<i32> = descendants_of(&HashSet::from([10]), &all).iter().map(|p| p.pid).collect();
        assert_eq!(pids, [11, 12]);
    }

    #[test]
    fn a_shell_in_the_directory_is_no_server_process() {
        let dir = tempfile::tempdir().unwrap();
        let mut shell = std::process::Command::new("sleep").arg("60").current_dir(dir.path()).spawn().unwrap();
        let pid = i32::try_from(shell.id()).unwrap();
        let found = |name: &str, postmaster| {
            server_processes(dir.path(), name, postmaster).iter().map(|p| p.pid).collect::<Vec<_>>()
        };
        let executable = executable_name(pid).unwrap();
        assert_eq!(found("postgres", None), Vec::<i32>::new());
        assert_eq!(found(&executable, None), [pid]);
        assert_eq!(found("postgres", Some(pid)), [pid]);
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(found(&executable, Some(pid)), Vec::<i32>::new());
    }
}
