//! What must always hold, one predicate each, with an id: used by tests, by simulation and as a run-time check.
//!
//! A predicate looks either at one round of one node ([`check_round`]) or at several nodes at one moment
//! ([`check_nodes`]).

use super::{Command, Job, Outcome, Round, Rule, View, failsafe};
use crate::cluster::{DataDir, Role};
use crate::types::{Lsn, Mono, Timeline};
use serde::{Deserialize, Serialize};

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Invariant {
    /// INV-1: no two primaries accept writes under a valid lease each.
    OneWritablePrimary,
    /// INV-2: a promotion begins only in a cycle in which the leader key was got or renewed.
    PromotesOnlyWithLease,
    /// INV-3: a primary that is told that the lock is lost stops in the same cycle (unless paused).
    StopsWithoutLock,
    /// INV-4: in pause the server is started or stopped only because somebody asked for it.
    PausedLeavesServer,
    /// INV-5: data is removed or copied over only where there is none, or where somebody or a setting asked for it.
    KeepsData,
    /// INV-6: the leader key is not renewed after it was released in the same cycle.
    ReleasedStaysReleased,
    /// INV-7: the member key is the last thing that a cycle writes.
    MemberKeyLast,
    /// INV-8: a cycle starts one job at most.
    OneJobPerCycle,
    /// INV-9: a new primary is not behind the position at which its predecessor released the key.
    NoLossOnSwitchover,
    /// INV-10: pg_rewind is run neither from oneself nor by the holder of the lock (but from a remote cluster).
    RewindsFromAnotherLeader,
    /// INV-11: a primary goes on without the store only with the word of all members that could lead instead.
    FailsafeTakesAll,
    /// INV-12: who has left the lead to a primary without a store does not ask for the lock.
    KeepsPromise,
    /// INV-13: where a watchdog is required, a promotion begins only while it counts (unless paused).
    PromotesOnlyWatched,
    /// INV-14: in a standby cluster nothing makes a primary.
    StandbyClusterHasNoPrimary,
}

impl Invariant {
    /// The id in logs and metrics.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::OneWritablePrimary => "INV-1",
            Self::PromotesOnlyWithLease => "INV-2",
            Self::StopsWithoutLock => "INV-3",
            Self::PausedLeavesServer => "INV-4",
            Self::KeepsData => "INV-5",
            Self::ReleasedStaysReleased => "INV-6",
            Self::MemberKeyLast => "INV-7",
            Self::OneJobPerCycle => "INV-8",
            Self::NoLossOnSwitchover => "INV-9",
            Self::RewindsFromAnotherLeader => "INV-10",
            Self::FailsafeTakesAll => "INV-11",
            Self::KeepsPromise => "INV-12",
            Self::PromotesOnlyWatched => "INV-13",
            Self::StandbyClusterHasNoPrimary => "INV-14",
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// How.
    pub detail: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant.id(), self.detail)
    }
}

/// One node at one moment, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeObservation {
    /// Its name.
    pub name: String,
    /// Its server accepts writes.
    pub writable: bool,
    /// End of the lease that it believes to have.
    pub lease_until: Option<Mono>,
    /// Timeline of its server.
    pub timeline: Timeline,
    /// Position of its server.
    pub position: Lsn,
}

/// The promises about several nodes at the moment `now`. `released_at`: position of the last graceful release, when
/// nobody has led since.
#[must_use]
pub fn check_nodes(nodes: &[NodeObservation], now: Mono, released_at: Option<Lsn>) -> Vec<Violation> {
    let leads = |n: &&NodeObservation| n.writable && n.lease_until.is_some_and(|until| until > now);
    let leading: Vec<&NodeObservation> = nodes.iter().filter(leads).collect();
    let mut violations = Vec::new();
    if leading.len() > 1 {
        let names: Vec<&str> = leading.iter().map(|n| n.name.as_str()).collect();
        violations.push(Violation { invariant: Invariant::OneWritablePrimary, detail: names.join(", ") });
    }
    for node in leading {
        if let Some(released) = released_at.filter(|lsn| node.position < *lsn) {
            let detail = format!("{} leads at {} after a release at {released}", node.name, node.position);
            violations.push(Violation { invariant: Invariant::NoLossOnSwitchover, detail });
        }
    }
    violations
}

/// The promises about one round of one node.
#[must_use]
pub fn check_round(view: &View, round: &Round) -> Vec<Violation> {
    let (asked, finish) = match round {
        Round::Need { commands, .. } => (commands.as_slice(), None),
        Round::Done(finish) => (&[][..], Some(finish)),
    };
    let jobs: Vec<&Job> = asked.iter().filter_map(job_of).collect();
    let mut violations = Vec::new();
    let mut broken = |invariant, detail: &str| violations.push(Violation { invariant, detail: detail.to_owned() });

    for job in &jobs {
        if matches!(job, Job::Promote { .. }) && !lease_in(view) {
            broken(Invariant::PromotesOnlyWithLease, "a promotion without a lease of this cycle");
        }
        if matches!(job, Job::Promote { .. }) && !view.global.pause && !is_watched(view) {
            broken(Invariant::PromotesOnlyWatched, "a promotion without the watchdog that is required");
        }
        if view.global.pause && !was_asked_for(view) && touches_server(view, job) {
            broken(Invariant::PausedLeavesServer, &format!("{:?} in pause", job.kind()));
        }
        if !may_destroy(view, job) {
            broken(Invariant::KeepsData, &format!("{:?} on existing data", job.kind()));
        }
        if let Job::Rewind { upstream } = job
            && upstream.is_member
            && (upstream.name == view.me.name || lease_in(view))
        {
            broken(Invariant::RewindsFromAnotherLeader, &format!("from {}", upstream.name));
        }
    }
    if failsafe::caller(view).is_some() && asked.contains(&Command::AcquireLeader) {
        broken(Invariant::KeepsPromise, "asks for the lock");
    }
    let makes_primary = |job: &&&Job| matches!(job, Job::Promote { .. } | Job::StartPrimary { .. } | Job::Bootstrap);
    if let Some(job) = jobs.iter().find(makes_primary).filter(|_| view.global.standby_cluster.is_some()) {
        broken(Invariant::StandbyClusterHasNoPrimary, &format!("{:?}", job.kind()));
    }
    let released = view.done.iter().any(|(c, _)| matches!(c, Command::ReleaseLeader { .. }));
    if released && asked.iter().any(|c| matches!(c, Command::RenewLeader | Command::AcquireLeader)) {
        broken(Invariant::ReleasedStaysReleased, "renewed after a release");
    }
    let started = view.done.iter().filter(|(c, o)| job_of(c).is_some() && matches!(o, Outcome::JobStarted(_))).count();
    if started + jobs.len() > 1 {
        broken(Invariant::OneJobPerCycle, "a second job");
    }
    if let Some(finish) = finish {
        let key = finish.commands.iter().position(|c| matches!(c, Command::TouchMember(_)));
        if key.is_some_and(|at| at + 1 != finish.commands.len()) {
            broken(Invariant::MemberKeyLast, "something is written after the member key");
        }
        if finish.commands.iter().any(|c| job_of(c).is_some()) {
            broken(Invariant::OneJobPerCycle, "a job that nobody looks after");
        }
        let agreed = |(c, o): &(Command, Outcome)| {
            matches!(c, Command::CallFailsafe { .. }) && o.right_to_lead().is_some_and(|until| until > view.now)
        };
        if finish.rule == Rule::FailsafeLeader && !view.done.iter().any(agreed) {
            broken(Invariant::FailsafeTakesAll, "a primary goes on without the store");
        }
        if lock_lost(view) && writes(view) && !view.global.pause && !stops(view) {
            broken(Invariant::StopsWithoutLock, "a primary goes on without the lock");
        }
    }
    violations
}

fn job_of(command: &Command) -> Option<&Job> {
    match command {
        Command::StartJob(job) => Some(job),
        _ => None,
    }
}

/// The last word of the store in this cycle was a lease.
fn lease_in(view: &View) -> bool {
    let words = |(c, _): &&(Command, Outcome)| {
        matches!(c, Command::RenewLeader | Command::AcquireLeader | Command::ReleaseLeader { .. })
    };
    matches!(view.done.iter().rfind(words), Some((_, Outcome::Leased { .. })))
}

/// A required watchdog counts, or was made to in this cycle.
fn is_watched(view: &View) -> bool {
    let activated = |(c, o): &(Command, Outcome)| *c == Command::WatchdogActivate && *o == Outcome::Ok;
    !view.watchdog.required || view.watchdog.active || view.done.iter().any(activated)
}

/// A request, a switchover or a demotion that one of these began.
fn was_asked_for(view: &View) -> bool {
    let key = view.cluster.as_ref().ok().and_then(|c| c.failover.as_ref()).is_some_and(|f| !f.is_empty());
    let memory = &view.memory;
    key || !view.requests.is_empty()
        || view.stopping
        || memory.demotion.is_some()
        || memory.switched_over_in_pause
        || memory.process_end.is_some()
        || memory.remove_data
        || memory.bootstrapping
}

/// Whether a job starts or stops the server. A running standby may be restarted to follow another leader.
fn touches_server(view: &View, job: &Job) -> bool {
    let running = view.server.facts.postmaster.is_some();
    !(matches!(job, Job::Follow { .. }) && running)
}

fn may_destroy(view: &View, job: &Job) -> bool {
    let empty = view.server.facts.data_dir == DataDir::Empty;
    let asked = view.requests.iter().any(|r| matches!(r.request, super::Request::Reinitialize { .. }));
    let global = &view.global;
    match job {
        Job::Clone { .. } | Job::Bootstrap => empty,
        Job::Reinitialize { .. } => empty || asked || global.remove_data_directory_on_diverged_timelines,
        Job::MoveDataAside => view.memory.bootstrapping,
        Job::RemoveData => view.memory.remove_data || rewind_failed(view),
        _ => true,
    }
}

fn rewind_failed(view: &View) -> bool {
    let global = &view.global;
    let allowed = global.remove_data_directory_on_rewind_failure || global.remove_data_directory_on_diverged_timelines;
    allowed && view.server.ended.iter().any(|end| matches!(end.job, Job::Rewind { .. }))
}

/// The lock was refused in this cycle, and nothing of it was got since.
fn lock_lost(view: &View) -> bool {
    let words = |(c, _): &&(Command, Outcome)| matches!(c, Command::RenewLeader | Command::AcquireLeader);
    matches!(view.done.iter().rfind(words), Some((_, Outcome::Conflict)))
}

fn writes(view: &View) -> bool {
    let standby = view.server.job.as_ref().is_some_and(|j| j.job.kind().makes_no_primary());
    let primary = matches!(view.server.role, Role::Primary | Role::Promoted) && !standby;
    view.server.facts.postmaster.is_some() && view.status.as_ref().map_or(primary, |s| !s.in_recovery)
}

/// A stop is asked for, runs, or is waited for.
fn stops(view: &View) -> bool {
    let asked = |(c, _): &(Command, Outcome)| matches!(c, Command::StartJob(Job::Stop { .. }));
    let runs = view.server.job.as_ref().is_some_and(|j| matches!(j.job, Job::Stop { .. }));
    runs || view.done.iter().any(asked)
        || view.memory.demotion.is_some()
        || view.memory.bootstrapping
        || view.memory.process_end.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn node(name: &str, writable: bool, until: u64, position: u64) -> NodeObservation {
        NodeObservation {
            name: name.to_owned(),
            writable,
            lease_until: Some(Mono(Duration::from_secs(until))),
            timeline: Timeline(1),
            position: Lsn(position),
        }
    }

    #[test]
    fn two_writable_primaries_are_found_only_under_valid_leases() {
        let now = Mono(Duration::from_secs(100));
        let check = |nodes: &[NodeObservation], released| -> Vec<&str> {
            check_nodes(nodes, now, released).iter().map(|v| v.invariant.id()).collect()
        };
        assert_eq!(check(&[node("a", true, 110, 1), node("b", true, 110, 1)], None), ["INV-1"]);
        assert!(check(&[node("a", true, 100, 1), node("b", true, 110, 1)], None).is_empty());
        assert!(check(&[node("a", false, 110, 1), node("b", true, 110, 1)], None).is_empty());
        assert_eq!(check(&[node("b", true, 110, 1)], Some(Lsn(2))), ["INV-9"]);
        assert!(check(&[node("b", true, 110, 2)], Some(Lsn(2))).is_empty());
    }
}
