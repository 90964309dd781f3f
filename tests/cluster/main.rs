//! Whole clusters on real PostgreSQL and real etcd: what an operator does to them, and what must come of it.
//!
//! Each test has a directory, an etcd and ports of its own. As root everything runs as the user `postgres`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods, reason = "a test may fail and may wait")]

mod adopt;
mod bad_config;
mod bootstrap;
mod callbacks;
mod crash;
mod custom_bootstrap;
mod failsafe;
mod harness;
mod lost_store;
mod maintenance;
mod operate;
mod python;
mod rejoin;
mod roles;
mod slots;
mod standby_cluster;
mod switchover;
mod sync;
mod watchdog;
