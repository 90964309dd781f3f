//! Actors: each owns one thing of the outside world or one piece of state, and talks by typed messages.
//! They hold handles and timers, never rules.

pub mod callback_runner;
mod config_layers;
pub mod config_store;
pub mod coordinator;
pub mod dcs_session;
pub mod guardian;
mod jobs;
pub mod journal;
pub mod me;
pub mod messages;
pub mod peer_http;
pub mod peers;
pub mod postgres_monitor;
pub mod postgres_supervisor;
pub mod replay;
pub mod rest_gateway;
pub mod rest_server;
mod server;
mod server_commands;
pub mod slot_manager;
pub mod snapshot_publisher;
pub mod sync_manager;
pub mod watchdog;

#[cfg(test)]
mod job_tests;
#[cfg(test)]
mod monitor_tests;
#[cfg(test)]
mod scripted_postgres;
#[cfg(test)]
mod supervisor_tests;
#[cfg(test)]
mod test_stage;

pub use callback_runner::CallbackRunner;
pub use postgres_monitor::PostgresMonitor;
pub use postgres_supervisor::PostgresSupervisor;
pub use slot_manager::SlotManager;
pub use sync_manager::SyncManager;
