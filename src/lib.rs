//! Patroni in Rust: a high-availability agent for PostgreSQL.
//!
//! The crate is built in floors; a module uses what stands below it and never what stands above it
//! (`tests/floors.rs` reads the `use` lines and fails otherwise). From the ground up:
//! [`types`], [`clock`], [`net`], [`sys`]; [`config`], [`logging`]; [`cluster`]; [`ha`]; [`dcs`],
//! [`postgres`], [`fencing`]; [`api`]; [`actors`]; [`ctl`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

#[cfg(test)]
extern crate self as patroni; // tests share their fixtures with those in tests/

pub mod actors;
pub mod api;
pub mod clock;
pub mod cluster;
pub mod config;
pub mod ctl;
pub mod dcs;
pub mod fencing;
pub mod ha;
pub mod logging;
pub mod net;
pub mod postgres;
pub mod sys;
pub mod types;

#[cfg(test)]
#[path = "../tests/common/settings.rs"]
mod test_settings;

/// The version of Patroni whose behaviour this program has: what members, tools and monitoring branch on.
pub const PATRONI_VERSION: &str = "4.1.5";

/// The version of this implementation, shown beside [`PATRONI_VERSION`].
pub const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");
