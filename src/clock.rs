//! The only reader of time. Everything above asks a [`Clock`], so that simulation can turn it.

use crate::types::{Mono, Wall};
use std::time::Duration;

/// Where time comes from.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    /// tokio's (possibly paused) clock, with the wall clock that stood at its start.
    Tokio {
        start: tokio::time::Instant,
        epoch: Wall,
    },
}

impl Clock {
    /// The machine's clocks: CLOCK_BOOTTIME and the wall clock.
    #[must_use]
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// tokio's clock, for simulation on a paused runtime; `epoch` is the wall time at this moment.
    /// Must be called within a runtime.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn tokio(epoch: Wall) -> Self {
        Self(Source::Tokio { start: tokio::time::Instant::now(), epoch })
    }

    /// The present moment on the monotonic clock.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn mono(&self) -> Mono {
        match &self.0 {
            Source::System => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
                let nanos = u32::try_from(now.tv_nsec).unwrap_or(0);
                Mono(Duration::new(seconds, nanos))
            }
            // A day is added so that "long ago" can be written as a subtraction.
            Source::Tokio { start, .. } => Mono(start.elapsed() + Duration::from_secs(86_400)),
        }
    }

    /// The present wall-clock time.
    #[must_use]
    #[allow(clippy::disallowed_methods)]
    pub fn wall(&self) -> Wall {
        match &self.0 {
            Source::System => Wall::now(),
            Source::Tokio { start, epoch } => {
                let passed = jiff::SignedDuration::try_from(start.elapsed()).unwrap_or_default();
                epoch.saturating_add(passed).unwrap_or(*epoch)
            }
        }
    }
}
