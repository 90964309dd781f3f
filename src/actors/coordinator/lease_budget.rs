//! How long a question to the store may take while the lease of a server that accepts writes runs out: there must be time
//! left to stop that server before the fence does it.

use crate::config::Global;
use crate::fencing::margin;
use crate::types::Mono;
use std::time::Duration;

/// However little is left, the store gets this much: it usually answers within milliseconds.
const LEAST: Duration = Duration::from_millis(500);
/// The patience with a store that has just been silent, when the answer is not needed for the next step.
pub(super) const GLANCE: Duration = Duration::from_secs(1);

/// What is left of a lease for questions: up to the fence's deadline, less what a fast stop needs to take effect, and less
/// `calls`, the time for a round of calls to the members. `None`: nothing is at stake, the lease has ended already.
pub(super) fn left(now: Mono, until: Mono, calls: Duration, global: &Global) -> Option<Duration> {
    let reserve = margin(global.ttl) + stop_reserve(global.ttl) + calls;
    (until > now).then(|| until.since(now).saturating_sub(reserve))
}

/// A tenth of the lease, 3 s at most.
fn stop_reserve(ttl: Duration) -> Duration {
    (ttl / 10).min(Duration::from_secs(3))
}

/// The budget of a renewal: all that is left.
pub(super) fn for_renewal(usual: Duration, left: Option<Duration>) -> Duration {
    left.map_or(usual, |left| usual.min(left.max(LEAST)))
}

/// The budget of anything else: half of what is left, so that something is left for the renewal.
pub(super) fn for_others(usual: Duration, left: Option<Duration>) -> Duration {
    for_renewal(usual, left.map(|left| left / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_and_a_renewal_end_before_the_fence() {
        let ms = Duration::from_millis;
        let global = Global::default();
        let now = Mono(ms(100_000));
        let retry = global.retry_timeout;
        assert_eq!((global.ttl, retry), (ms(30_000), ms(10_000)));
        for (lease, read, renewal) in [
            (30_000, 10_000, 10_000),
            (25_000, 10_000, 10_000),
            (20_000, 7_500, 7_500),
            (12_000, 3_500, 3_500),
            (6_400, 700, 700),
            (5_500, 500, 500),
            (4_000, 500, 500),
            (0, 10_000, 10_000),
        ] {
            let until = now + ms(lease);
            assert_eq!(for_others(retry, left(now, until, Duration::ZERO, &global)), ms(read), "{lease}");
            let then = now + ms(read);
            let rest = left(then, until, Duration::ZERO, &global);
            assert_eq!(for_renewal(retry, rest), ms(renewal), "{lease}");
            let silent = then + ms(renewal);
            assert!(lease < 4_000 || silent + ms(1_000) <= until - margin(global.ttl), "{lease}");
        }
    }

    // rows: FSM-03
    #[test]
    fn a_round_of_calls_fits_between_a_silent_store_and_the_stop() {
        let secs = Duration::from_secs;
        for (ttl, loop_wait, retry) in [(30, 10, 10), (20, 2, 3), (20, 10, 5), (20, 1, 9), (60, 10, 25)] {
            let (global, calls) = (Global { ttl: secs(ttl), ..Global::default() }, Duration::from_millis(4_200));
            let (now, until) = (Mono(secs(loop_wait)), Mono(secs(ttl)));
            // The read takes all of its time, then the renewal: the worst case that is followed by calls.
            let then = now + for_others(secs(retry), left(now, until, calls, &global));
            let then = then + for_renewal(secs(retry), left(then, until, calls, &global));
            let called = then + for_renewal(calls, left(then, until, Duration::ZERO, &global));
            let stop = (until - margin(global.ttl)).since(called);
            assert!(called.since(then) == calls, "{ttl} {loop_wait} {retry}: {called:?}");
            assert!(stop >= stop_reserve(global.ttl), "{ttl} {loop_wait} {retry}: {stop:?}");
        }
    }

    #[test]
    fn a_short_lease_keeps_its_share() {
        let global = Global { ttl: Duration::from_secs(20), ..Global::default() };
        let left = left(Mono::default(), Mono(Duration::from_secs(20)), Duration::ZERO, &global);
        assert_eq!(left, Some(Duration::from_secs(16)));
        assert_eq!(for_renewal(Duration::from_secs(10), None), Duration::from_secs(10));
    }
}
