//! The log as `log.*` asks for it (LOG-01 to LOG-08): Python's formats, files that rotate, a bounded queue.
//!
//! ```no_run
//! # use patroni::{clock::Clock, logging};
//! # fn main() -> Result<(), logging::LogError> {
//! let log = logging::init(Clock::system())?; // lines go to standard error at once
//! // read the configuration, then:
//! // log.configure(&settings.log)?;
//! log.start()?; // from now on a thread writes
//! tracing::info!("no action. I am (a), the leader with the lock");
//! patroni::critical!("Can't start; there is already a node named '{}' running", "a");
//! log.shutdown(std::time::Duration::from_secs(5))?;
//! # Ok(())
//! # }
//! ```

mod date;
mod file;
mod filter;
mod format;
mod json;
mod layer;
mod level;
mod output;
mod queue;
mod record;

pub use layer::LogLayer;
pub use level::Level;

use crate::clock::Clock;
use crate::config::settings::Log;
use output::Output;
use queue::Queue;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt;

/// The exit code when the log is stuck at shutdown (LOG-08).
pub const BROKEN_EXIT_CODE: i32 = 5;

/// Logs an event of level CRITICAL; arguments as for `tracing::error!`.
#[macro_export]
macro_rules! critical {
    ($($argument:tt)+) => {
        ::tracing::error!(critical = true, $($argument)+)
    };
}

/// What can be wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A log was set up before in this process.
    #[error("logging is set up already")]
    Twice,
    /// The file cannot be opened.
    #[error("log file {path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The writer's thread cannot be started.
    #[error("the log writer cannot be started: {0}")]
    Thread(String),
    /// Lines cannot be written: the process should end with [`BROKEN_EXIT_CODE`].
    #[error("the log writer is stuck")]
    Stuck,
}

/// The handle on the log of this process.
#[derive(Clone)]
pub struct Logging {
    shared: Arc<queue::Shared>,
}

/// Sets up the log of this process: level INFO, Patroni's format, standard error, written at once.
///
/// # Errors
/// It was set up before.
pub fn init(clock: Clock) -> Result<Logging, LogError> {
    let (layer, logging) = new(clock);
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| LogError::Twice)?;
    Ok(logging)
}

/// A layer for a subscriber of one's own, and its handle.
#[must_use]
pub fn new(clock: Clock) -> (LogLayer, Logging) {
    let output = Output::standard_error(clock.wall());
    let shared = Arc::new(queue::Shared::new(output));
    (LogLayer::new(clock, shared.clone()), Logging { shared })
}

impl Logging {
    /// Puts these settings in force, at start and at each reload. What cannot be obeyed (a format without sense) is
    /// replaced by the default with a warning in the log.
    ///
    /// # Errors
    /// The file cannot be opened; the former settings stay in force.
    pub fn configure(&self, log: &Log) -> Result<(), LogError> {
        let warnings = self.shared.configure(log)?;
        tracing::callsite::rebuild_interest_cache();
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// Starts the thread that writes; until then lines are written at once.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(&self) -> Result<(), LogError> {
        Queue::start(&self.shared)
    }

    /// Lines that wait to be written.
    #[must_use]
    pub fn queue_size(&self) -> usize {
        self.shared.queue.size()
    }

    /// Lines that were lost since the loss was last reported in the log.
    #[must_use]
    pub fn records_lost(&self) -> u64 {
        self.shared.queue.lost()
    }

    /// Writes what waits and ends the thread; lines after that are written at once.
    ///
    /// # Errors
    /// The queue is full, or writing takes longer than `patience`.
    pub fn shutdown(&self, patience: Duration) -> Result<(), LogError> {
        self.shared.queue.shutdown(patience)
    }
}

#[cfg(test)]
mod logging_tests;
