//! Table tests of the decisions: a row is one line of differences from a healthy standby, and what must come of it.

mod begin;
mod demotion;
mod down;
mod failover;
mod failsafe;
mod jobs;
mod properties;
mod publish;
mod race;
mod requests;
mod slots;
mod standby_cluster;
mod standby_demotion;
mod steady;
mod strict_names;
mod sync;
mod together;
mod watchdog;
