//! The operating system: processes, pidfd, signals. The only module with `unsafe`.

pub mod detach;
pub mod init;
mod pidfd;
mod process;
mod run;
pub mod watchdog;

pub use pidfd::Process;
pub use process::{
    ProcessStat, boot_epoch, children_of, command_line, cwd_is, descendants_of, executable_name, process_stats,
    server_processes, start_epoch, stat, umask,
};
pub use run::output;
