//! Moments: monotonic ones that decide, wall-clock ones for people.

use std::time::Duration;

/// A moment on the monotonic clock that also counts while the machine sleeps (CLOCK_BOOTTIME): time since boot.
/// All that decides about leases and deadlines uses this.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Mono(pub Duration);

/// A moment of the wall clock: for history, schedules and logs, never for safety.
pub type Wall = jiff::Timestamp;

impl Mono {
    /// Time from `earlier` to `self`; zero when `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Mono {
    type Output = Self;

    fn add(self, length: Duration) -> Self {
        Self(self.0.saturating_add(length))
    }
}

impl std::ops::Sub<Duration> for Mono {
    type Output = Self;

    fn sub(self, length: Duration) -> Self {
        Self(self.0.saturating_sub(length))
    }
}
