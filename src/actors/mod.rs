//! Actors: each owns one thing of the outside world or one piece of state, and talks by typed messages.
//! They hold handles and timers, never rules.

pub mod config_store;
pub mod coordinator;
pub mod dcs_session;
pub mod guardian;
pub mod journal;
pub mod me;
pub mod messages;
pub mod peers;
pub mod rest_gateway;
pub mod snapshot_publisher;
pub mod watchdog;

#[cfg(test)]
mod test_settings;
