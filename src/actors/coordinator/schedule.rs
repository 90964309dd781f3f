//! When the next cycle starts: a fixed schedule (HA-01), moved by wake-ups, which are held back when they storm.

use crate::actors::messages::Wake;
use crate::types::Mono;
use std::time::Duration;

/// Non-leaders run this much after the leader (DCS-11).
const REPLICA_OFFSET: Duration = Duration::from_millis(500);
/// Rest between two cycles.
pub(super) const MIN_GAP: Duration = Duration::from_millis(20);

/// The schedule of one agent.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Where the present period began.
    base: Mono,
    store: Allowance,
    other: Allowance,
}

/// When the next cycle is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub at: Mono,
    /// The cycle took longer than the period.
    pub overrun: bool,
}

impl Schedule {
    pub(super) fn new(now: Mono) -> Self {
        Self {
            base: now,
            // Every member's write reaches every other through the store's watch: without a limit they could wake each
            // other for ever.
            store: Allowance::new(now, 5, Duration::from_secs(2)),
            // A job that fails at once must not turn the cycle into a busy loop.
            other: Allowance::new(now, 20, Duration::from_millis(500)),
        }
    }

    /// The next cycle by plan, after one has ended.
    pub(super) fn after_cycle(
        &mut self,
        now: Mono,
        loop_wait: Duration,
        leads: bool,
        wake_in: Option<Duration>,
    ) -> Due {
        self.base = self.base + loop_wait;
        let overrun = self.base <= now;
        let regular = if overrun {
            self.base = now;
            now + MIN_GAP
        } else {
            self.base + if leads { Duration::ZERO } else { REPLICA_OFFSET }
        };
        let wanted = wake_in.map_or(regular, |wait| (now + wait.max(MIN_GAP)).min(regular));
        Due { at: wanted, overrun }
    }

    /// The earliest start for this wake-up.
    pub(super) fn woken(&mut self, wake: Wake, now: Mono) -> Mono {
        let allowance = match wake {
            Wake::Store => &mut self.store,
            Wake::PostmasterExit | Wake::Job | Wake::Request => &mut self.other,
        };
        now + allowance.take(now)
    }

    /// A cycle starts off schedule: the period begins anew. One that starts by plan keeps it.
    pub(super) fn started(&mut self, now: Mono, woken: bool) {
        if woken {
            self.base = now;
        }
    }
}

/// So many at once, and one more after each period.
#[derive(Debug)]
struct Allowance {
    most: u32,
    left: u32,
    period: Duration,
    refilled: Mono,
}

impl Allowance {
    fn new(now: Mono, most: u32, period: Duration) -> Self {
        Self { most, left: most, period, refilled: now }
    }

    /// How long to wait for the next one. One that has to wait is not counted again when its time comes.
    fn take(&mut self, now: Mono) -> Duration {
        while self.left < self.most && now.since(self.refilled) >= self.period {
            self.left += 1;
            self.refilled = self.refilled + self.period;
        }
        if self.left == self.most {
            self.refilled = now;
        }
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                Duration::ZERO
            }
            None => self.period.saturating_sub(now.since(self.refilled)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOP: Duration = Duration::from_secs(10);

    fn at(seconds: f64) -> Mono {
        Mono(Duration::from_secs_f64(seconds))
    }

    // rows: HA-01
    #[test]
    fn the_schedule_does_not_drift_and_replicas_come_later() {
        let mut plan = Schedule::new(at(100.0));
        assert_eq!(plan.after_cycle(at(100.3), LOOP, true, None), Due { at: at(110.0), overrun: false });
        assert_eq!(plan.after_cycle(at(112.0), LOOP, false, None), Due { at: at(120.5), overrun: false });
        plan.started(at(120.5), false);
        assert_eq!(plan.after_cycle(at(120.6), LOOP, true, None).at, at(130.0));
    }

    // rows: HA-01
    #[test]
    fn a_cycle_that_took_too_long_is_followed_by_one_at_once() {
        let mut plan = Schedule::new(at(100.0));
        let due = plan.after_cycle(at(111.0), LOOP, true, None);
        assert!(due.overrun);
        assert_eq!(due.at, at(111.0) + MIN_GAP);
        assert_eq!(plan.after_cycle(at(111.2), LOOP, true, None).at, at(121.0));
    }

    #[test]
    fn an_early_wake_up_is_taken_and_a_late_one_is_not() {
        let mut plan = Schedule::new(at(100.0));
        assert_eq!(plan.after_cycle(at(100.0), LOOP, true, Some(Duration::from_secs(1))).at, at(101.0));
        let mut plan = Schedule::new(at(100.0));
        assert_eq!(plan.after_cycle(at(100.0), LOOP, true, Some(Duration::from_secs(60))).at, at(110.0));
    }

    // rows: HA-01
    #[test]
    fn a_woken_cycle_begins_a_new_period() {
        let mut plan = Schedule::new(at(100.0));
        plan.started(at(104.0), true);
        assert_eq!(plan.after_cycle(at(104.1), LOOP, true, None).at, at(114.0));
    }

    #[test]
    fn a_storm_of_store_changes_is_slowed_down_and_nothing_is_lost() {
        let mut plan = Schedule::new(at(100.0));
        let starts: Vec<Mono> = (0..7).map(|_| plan.woken(Wake::Store, at(100.5))).collect();
        assert_eq!(&starts[..5], [at(100.5); 5]);
        assert_eq!(starts[5], at(102.5));
        assert_eq!(starts[6], at(102.5));
        assert_eq!(plan.woken(Wake::PostmasterExit, at(100.5)), at(100.5));
        assert_eq!(plan.woken(Wake::Store, at(102.5)), at(102.5));
        assert_eq!(plan.woken(Wake::Store, at(102.5)), at(104.5));
    }
}
