//! Which endpoint is asked, for how long, and when it is time to give up. Pure: the caller brings the time.

use crate::types::Mono;
use std::time::Duration;

/// No try gets less than this, as long as the budget allows (DCS-40).
const MIN_TRY: Duration = Duration::from_secs(1);
/// With less than this left there is no sense in another try.
const TOO_LITTLE: Duration = Duration::from_millis(5);
/// The first pause between rounds; it doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How long an operation is tried again (DCS-09).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// Every endpoint once (few endpoints: two or three times), then give up.
    OneRound,
    /// Round after round until the budget is spent.
    Budget,
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Ask the current endpoint, no longer than this.
    Try(Duration),
    /// All have failed: wait this long, then ask again.
    Pause(Duration),
    /// The operation has failed.
    GiveUp,
}

/// The tries of one operation.
#[derive(Clone, Debug)]
pub struct Attempts {
    deadline: Mono,
    endpoints: usize,
    patience: Patience,
    left_in_round: usize,
    pause: Duration,
}

impl Attempts {
    /// An operation that starts now.
    #[must_use]
    pub fn new(now: Mono, budget: Duration, endpoints: usize, patience: Patience) -> Self {
        let endpoints = endpoints.max(1);
        let left_in_round = tries_in_round(endpoints, budget);
        Self { deadline: now + budget, endpoints, patience, left_in_round, pause: MIN_PAUSE }
    }

    /// What to do now: at the start, and after each try that failed or pause that ended.
    pub fn next(&mut self, now: Mono) -> Next {
        let remaining = self.deadline.since(now);
        if remaining < TOO_LITTLE {
            return Next::GiveUp;
        }
        if let Some(after) = self.left_in_round.checked_sub(1) {
            let share = remaining / u32::try_from(self.left_in_round).unwrap_or(u32::MAX);
            self.left_in_round = after;
            return Next::Try(share.max(MIN_TRY).min(remaining));
        }
        if self.patience == Patience::OneRound {
            return Next::GiveUp;
        }
        let pause = self.pause.min(remaining);
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        self.left_in_round = tries_in_round(self.endpoints, remaining.saturating_sub(pause));
        Next::Pause(pause)
    }

    /// What is left of the budget.
    #[must_use]
    pub fn remaining(&self, now: Mono) -> Duration {
        self.deadline.since(now)
    }
}

/// A single endpoint is asked up to three times, each of two twice, more of them once; less often when the tries would
/// become too short.
fn tries_in_round(endpoints: usize, budget: Duration) -> usize {
    let per_endpoint = 4 - endpoints.min(3);
    let affordable = usize::try_from(budget.as_millis() / MIN_TRY.as_millis()).unwrap_or(usize::MAX);
    (per_endpoint * endpoints).min(affordable).max(1)
}

/// The endpoints, and the one that is asked.
#[derive(Clone, Debug)]
pub struct Rotation {
    configured: Vec<String>,
    endpoints: Vec<String>,
    current: usize,
}

impl Rotation {
    /// Begins with the endpoint at `start` (any number), so that not all members ask the same one.
    #[must_use]
    pub fn new(configured: Vec<String>, start: usize) -> Self {
        let current = start.checked_rem(configured.len()).unwrap_or(0);
        Self { endpoints: configured.clone(), configured, current }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }

    /// The one to ask.
    #[must_use]
    pub fn current(&self) -> Option<&str> {
        self.endpoints.get(self.current).map(String::as_str)
    }

    /// `endpoint` did not answer: the next one is asked from now on, unless another operation moved on already.
    pub fn failed(&mut self, endpoint: &str) {
        if self.current() == Some(endpoint) {
            self.current = (self.current + 1).checked_rem(self.endpoints.len()).unwrap_or(0);
        }
    }

    /// The one after `endpoint`.
    #[must_use]
    pub fn after(&self, endpoint: &str) -> Option<&str> {
        let index = self.endpoints.iter().position(|e| e == endpoint).map_or(self.current, |i| i + 1);
        self.endpoints.get(index.checked_rem(self.endpoints.len())?).map(String::as_str)
    }

    /// The store named its members: they are asked first; those of the configuration stay as a last resort, since the
    /// members' own idea of their addresses may be wrong. The present endpoint stays the present one.
    pub fn discovered(&mut self, members: Vec<String>) {
        let present = self.current().map(str::to_owned);
        let mut endpoints: Vec<String> = Vec::new();
        for endpoint in members.into_iter().chain(self.configured.iter().cloned()) {
            if !endpoints.contains(&endpoint) {
                endpoints.push(endpoint);
            }
        }
        self.current = present.and_then(|p| endpoints.iter().position(|e| *e == p)).unwrap_or(0);
        self.endpoints = endpoints;
    }
}

/// Finds out members of the store that were left behind by the others (DCS-16).
#[derive(Clone, Copy, Debug, Default)]
pub struct TermGuard {
    cluster: u64,
    term: u64,
}

impl TermGuard {
    /// Takes note of a reply. `false`: it comes from a member that missed an election.
    pub fn accept(&mut self, cluster: u64, term: u64) -> bool {
        if cluster == self.cluster && term < self.term {
            return false;
        }
        if self.cluster != 0 && cluster != self.cluster {
            tracing::warn!("Connected to another Etcd cluster: {:x} instead of {:x}", cluster, self.cluster);
        }
        *self = Self { cluster, term };
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: f64) -> Duration {
        Duration::from_secs_f64(n)
    }

    /// The tries and pauses of an operation whose every try takes its whole time, or none at all.
    fn course(budget: f64, endpoints: usize, patience: Patience, mute: bool) -> Vec<Next> {
        let mut now = Mono(seconds(100.0));
        let mut attempts = Attempts::new(now, seconds(budget), endpoints, patience);
        let mut course = Vec::new();
        loop {
            let next = attempts.next(now);
            course.push(next);
            match next {
                Next::Try(time) if mute => now = now + time,
                Next::Try(_) => {}
                Next::Pause(time) => now = now + time,
                Next::GiveUp => return course,
            }
            assert!(course.len() < 1000);
        }
    }

    #[test]
    fn mute_endpoints_share_the_budget() {
        let tries = |budget, endpoints| {
            let all = course(budget, endpoints, Patience::OneRound, true);
            all.iter()
                .filter_map(|n| if let Next::Try(t) = n { Some(t.as_secs_f64()) } else { None })
                .collect::<Vec<_>>()
        };
        assert_eq!(tries(10.0, 5), [2.0; 5]);
        assert_eq!(tries(10.0, 2), [2.5; 4]);
        assert_eq!(tries(9.0, 1), [3.0; 3]);
        // Too short for all: the first ones get a second each.
        assert_eq!(tries(3.0, 5), [1.0; 3]);
        assert_eq!(tries(2.0, 1), [1.0; 2]);
        assert_eq!(tries(0.5, 3), [0.5]);
        assert_eq!(tries(0.0, 3), [0.0; 0]);
    }

    #[test]
    fn the_budget_is_never_overrun() {
        for endpoints in 1..7 {
            for budget in [0.2, 1.0, 3.0, 7.7, 10.0] {
                for patience in [Patience::OneRound, Patience::Budget] {
                    let total: Duration = course(budget, endpoints, patience, true)
                        .iter()
                        .map(|n| match n {
                            Next::Try(t) | Next::Pause(t) => *t,
                            Next::GiveUp => Duration::ZERO,
                        })
                        .sum();
                    assert!(total <= seconds(budget), "{endpoints} {budget} {total:?}");
                }
            }
        }
    }

    #[test]
    fn dead_endpoints_are_asked_again_with_growing_pauses() {
        let all = course(3.0, 2, Patience::Budget, false);
        let pauses: Vec<f64> =
            all.iter().filter_map(|n| if let Next::Pause(t) = n { Some(t.as_secs_f64()) } else { None }).collect();
        assert_eq!(pauses[..4], [0.1, 0.2, 0.4, 0.8]);
        assert!(matches!(
            course(3.0, 2, Patience::OneRound, false)[..],
            [Next::Try(_), Next::Try(_), Next::Try(_), Next::GiveUp]
        ));
    }

    #[test]
    fn a_failed_endpoint_is_left_once() {
        let mut r = Rotation::new(vec!["a".into(), "b".into(), "c".into()], 4);
        assert_eq!(r.current(), Some("b"));
        r.failed("b");
        r.failed("b");
        assert_eq!((r.current(), r.after("c"), r.after("a")), (Some("c"), Some("a"), Some("b")));
        r.discovered(vec!["x".into(), "c".into()]);
        assert_eq!((r.current(), r.len()), (Some("c"), 4));
        r.failed("c");
        r.failed("a");
        r.failed("b");
        assert_eq!(r.current(), Some("x"));
        assert_eq!(Rotation::new(Vec::new(), 3).current(), None);
    }

    #[test]
    fn members_that_missed_an_election_are_found_out() {
        let mut guard = TermGuard::default();
        assert!(guard.accept(1, 5) && guard.accept(1, 5) && guard.accept(1, 6));
        assert!(!guard.accept(1, 5));
        // Another cluster counts on its own.
        assert!(guard.accept(2, 1) && guard.accept(2, 2));
    }
}
