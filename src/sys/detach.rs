//! Starting a process that is not ours: it outlives us and somebody else reaps it.

use super::process::stat;
use super::{Process, ProcessStat};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// Starts a program in a session of its own, as an orphan: we fork a short-lived middle process that forks the program,
/// tells its pid and exits. Standard output and error are as set in `command` (inherited by default), input is
/// `/dev/null`. Blocks for the few milliseconds until the program has been executed.
///
/// # Errors
/// When it cannot be executed, or ended before it could be looked at.
pub fn spawn_detached(command: &mut Command) -> io::Result<ProcessStat> {
    let (mut reader, writer) = io::pipe()?;
    command.stdin(Stdio::null());
    leave_an_orphan(command, writer.as_raw_fd());
    let mut middle = command.spawn()?;
    drop(writer);
    middle.wait()?;
    let mut pid = [0; 4];
    reader.read_exact(&mut pid)?;
    let pid = i32::from_ne_bytes(pid);
    stat(pid).ok_or_else(|| io::Error::other(format!("process {pid} ended at once")))
}

/// Takes hold of what [`spawn_detached`] started. `Ok(None)`: it has ended.
///
/// # Errors
/// As [`Process::open`].
pub fn hold(started: ProcessStat) -> io::Result<Option<Process>> {
    Process::open(started.pid, started.start_ticks)
}

#[allow(unsafe_code)]
fn leave_an_orphan(command: &mut Command, pipe: RawFd) {
    let step = move || -> io::Result<()> {
        // SAFETY: setsid, fork, write and _exit are all that happens between fork and exec; none of them allocates or
        // touches memory but the local `bytes`. The process has one thread here. The middle process leaves by _exit and
        // runs no destructor; the other one goes on to exec.
        unsafe {
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            match libc::fork() {
                -1 => Err(io::Error::last_os_error()),
                0 => Ok(()),
                pid => {
                    let bytes = pid.to_ne_bytes();
                    let written = libc::write(pipe, bytes.as_ptr().cast(), bytes.len());
                    libc::_exit(i32::from(written != 4))
                }
            }
        }
    };
    // SAFETY: see `step`: it does only what is allowed in a forked child.
    unsafe {
        command.pre_exec(step);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::Signal;

    #[test]
    fn a_detached_process_is_no_child_and_leads_no_terminal() {
        let started = spawn_detached(Command::new("sleep").arg("60")).unwrap();
        let process = hold(started).unwrap().unwrap();
        let now = stat(started.pid).unwrap();
        assert_ne!(now.ppid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(now.start_ticks, started.start_ticks);
        let name = super::super::executable_name(started.pid).unwrap();
        assert!(name == "sleep" || name == "coreutils", "{name}");
        assert!(process.signal(Signal::KILL).unwrap());
    }

    #[test]
    fn a_program_that_is_missing_is_an_error() {
        let error = spawn_detached(&mut Command::new("/nowhere/postgres")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
