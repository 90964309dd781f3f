//! The operating system: processes, pidfd, signals. The only module with `unsafe`.
