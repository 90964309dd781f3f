//! Actors: each owns one thing of the outside world or one piece of state, and talks by typed messages.
//! They hold handles and timers, never rules.

pub mod callback_runner;
mod jobs;
pub mod messages;
pub mod postgres_monitor;
pub mod postgres_supervisor;
mod server;
mod server_commands;
pub mod slot_manager;

#[cfg(test)]
mod scripted_postgres;
#[cfg(test)]
mod supervisor_tests;

pub use callback_runner::CallbackRunner;
pub use postgres_monitor::PostgresMonitor;
pub use postgres_supervisor::PostgresSupervisor;
pub use slot_manager::SlotManager;
