//! Life as PID 1 of a container (PROC-03): a process with one thread that starts the program again as its child, reaps
//! every orphan, forwards signals, and ends as its child ends.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Signals that are passed to the child.
const FORWARDED: [i32; 7] =
    [libc::SIGHUP, libc::SIGINT, libc::SIGTERM, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGABRT];

/// As PID 1: runs this program again with the same arguments and does not return before it has ended; the exit code is
/// then the program's own. `None` for any other process: go on. Must be called before any thread is started.
///
/// # Errors
/// When the program cannot be started again.
pub fn run_as_pid_1() -> io::Result<Option<u8>> {
    if std::process::id() != 1 {
        return Ok(None);
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| OsString::from("patroni"));
    let mut command = Command::new("/proc/self/exe");
    command.arg0(name).args(arguments);
    supervise(command).map(Some)
}

/// Starts `command` and does init's work until it has ended: its exit code, or 128 and the signal that ended it.
///
/// # Errors
/// When it cannot be started.
fn supervise(mut command: Command) -> io::Result<u8> {
    let signals = signal_set();
    // Blocked before the child exists: the kernel drops unblocked signals to PID 1 that have no handler.
    set_mask(libc::SIG_BLOCK, &signals)?;
    unblock_in_child(&mut command, signals);
    let child = command.spawn()?;
    let pid = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    loop {
        match next_signal(&signals)? {
            libc::SIGCHLD => {
                if let Some(status) = reap(pid) {
                    return Ok(exit_code(status));
                }
            }
            signal => forward(pid, signal),
        }
    }
}

fn exit_code(status: i32) -> u8 {
    let code = if libc::WIFSIGNALED(status) { 128 + libc::WTERMSIG(status) } else { libc::WEXITSTATUS(status) };
    u8::try_from(code).unwrap_or(u8::MAX)
}

#[allow(unsafe_code)]
fn signal_set() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set; sigaddset gets that initialised set and valid numbers.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for signal in FORWARDED.into_iter().chain([libc::SIGCHLD]) {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

#[allow(unsafe_code)]
fn set_mask(how: i32, signals: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: the set is initialised; the old one is not asked for.
    let result = unsafe { libc::sigprocmask(how, signals, std::ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[allow(unsafe_code)]
fn unblock_in_child(command: &mut Command, signals: libc::sigset_t) {
    // SAFETY: between fork and exec only sigprocmask is called, which is async-signal-safe.
    unsafe {
        command.pre_exec(move || set_mask(libc::SIG_UNBLOCK, &signals));
    }
}

#[allow(unsafe_code)]
fn next_signal(signals: &libc::sigset_t) -> io::Result<i32> {
    loop {
        // SAFETY: the set is initialised; details of the signal are not asked for.
        let signal = unsafe { libc::sigwaitinfo(signals, std::ptr::null_mut()) };
        if signal > 0 {
            return Ok(signal);
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Reaps everything that has ended. Returns the status of `child` if it was among it.
#[allow(unsafe_code)]
fn reap(child: libc::pid_t) -> Option<i32> {
    let mut found = None;
    loop {
        let mut status = 0;
        // SAFETY: `status` is valid for writing. Nothing else in this process waits for children.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
        if pid == child && (libc::WIFEXITED(status) || libc::WIFSIGNALED(status)) {
            found = Some(status);
        }
        if pid <= 0 {
            return found;
        }
    }
}

#[allow(unsafe_code)]
fn forward(pid: libc::pid_t, signal: i32) {
    // SAFETY: a plain system call. The child is not reaped yet, so the number is its own. That it ended meanwhile is no
    // error: SIGCHLD comes next.
    unsafe {
        libc::kill(pid, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    /// Runs `supervise(sh -c script)` in a forked process with one thread that adopts orphans, as PID 1 does.
    /// Returns its pid and what the script writes.
    #[allow(unsafe_code)]
    fn init_with(script: &str) -> (libc::pid_t, BufReader<io::PipeReader>) {
        let (reader, writer) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(writer);
        // SAFETY: the child runs only the code below and leaves by _exit; glibc makes its allocator usable after fork.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: plain system calls.
            unsafe {
                libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
                libc::alarm(60);
            }
            let code = supervise(command).map_or(99, i32::from);
            // An orphan that was not reaped would still be there to be waited for.
            // SAFETY: plain system calls; a null status is allowed.
            unsafe {
                let left = libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG);
                libc::_exit(if left > 0 { 98 } else { code });
            }
        }
        assert!(pid > 0);
        (pid, BufReader::new(reader))
    }

    #[allow(unsafe_code)]
    fn end_of(pid: libc::pid_t) -> i32 {
        let mut status = 0;
        // SAFETY: `status` is valid for writing.
        assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
        assert!(libc::WIFEXITED(status), "{status}");
        libc::WEXITSTATUS(status)
    }

    #[test]
    fn it_ends_as_its_child_ends() {
        assert_eq!(end_of(init_with("exit 3").0), 3);
        assert_eq!(end_of(init_with("kill -9 $$").0), 137);
        assert_eq!(end_of(init_with("true").0), 0);
    }

    #[test]
    fn signals_reach_the_child() {
        for (signal, name) in [(libc::SIGHUP, "HUP"), (libc::SIGUSR1, "USR1"), (libc::SIGTERM, "TERM")] {
            let script = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done");
            let (pid, mut output) = init_with(&script);
            let mut line = String::new();
            output.read_line(&mut line).unwrap();
            assert_eq!(line, "ready\n");
            forward(pid, signal);
            assert_eq!(end_of(pid), 7, "{name}");
        }
    }

    /// As `init_with`, but as PID 1 of a namespace of its own. `None` where that is not allowed.
    #[allow(unsafe_code)]
    fn pid_1_with(script: &str) -> Option<(libc::pid_t, BufReader<io::PipeReader>)> {
        let (reader, writer) = io::pipe().unwrap();
        let (mut pids, pid_writer) = io::pipe().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdout(writer);
        // SAFETY: as in `init_with`; the middle process only waits.
        let middle = unsafe { libc::fork() };
        if middle == 0 {
            // SAFETY: plain system calls; the child of the second fork has one thread and leaves by _exit.
            unsafe {
                libc::alarm(60);
                let child = if libc::unshare(libc::CLONE_NEWPID) == 0 { libc::fork() } else { -1 };
                if child == 0 {
                    libc::alarm(60);
                    let code = if std::process::id() == 1 { supervise(command).map_or(99, i32::from) } else { 97 };
                    libc::_exit(code);
                }
                let bytes = child.to_ne_bytes();
                libc::write(std::os::fd::AsRawFd::as_raw_fd(&pid_writer), bytes.as_ptr().cast(), bytes.len());
                let mut status = 0;
                libc::waitpid(child, &raw mut status, 0);
                libc::_exit(if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 96 });
            }
        }
        drop((command, pid_writer));
        let mut pid = [0; 4];
        io::Read::read_exact(&mut pids, &mut pid).unwrap();
        let child = i32::from_ne_bytes(pid);
        if child < 0 {
            end_of(middle);
            return None;
        }
        PID_1.set(child);
        Some((middle, BufReader::new(reader)))
    }

    thread_local! {
        /// PID 1 of the namespace, as seen from here.
        static PID_1: std::cell::Cell<libc::pid_t> = const { std::cell::Cell::new(0) };
    }

    #[test]
    fn pid_1_gets_its_signals_and_reaps_what_falls_to_it() {
        // Two orphans of an inner shell fall to PID 1; then the outer one waits for the signal.
        let script = "sh -c 'true & true &'; trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done";
        let Some((middle, mut output)) = pid_1_with(script) else {
            eprintln!("skipped: no right to make a PID namespace");
            return;
        };
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        forward(PID_1.get(), libc::SIGTERM);
        assert_eq!(end_of(middle), 7);
    }

    #[test]
    fn orphans_are_reaped() {
        // The inner shell leaves two orphans that end at once; the outer one goes on until both are gone from /proc.
        let script = "sh -c 'sh -c \"exit 1\" & echo $!; sh -c \"exit 2\" & echo $!' > /dev/null; \
                      pids=$(sh -c 'true & echo $!'); while kill -0 $pids 2>/dev/null; do sleep 0.02; done; exit 5";
        assert_eq!(end_of(init_with(script).0), 5);
    }
}
