//! Crash recovery in single-user mode.
