//! Manual failover and switchover on the leader (ha-rules 9.2), scheduled ones (HA-34).

use crate::cluster::*;
use crate::ha::memory::DemoteMode;
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobKind, View};
use crate::types::{Lsn, Timeline};

const STAYS: &str = "no action. I am (a), the leader with the lock";

fn leading() -> View {
    view().primary().member("b", 1000).member("c", 1000).leader("a")
}

fn both() -> World {
    world().peer(peer("b", 1000)).peer(peer("c", 1000))
}

#[track_caller]
fn cleared(course: &Course) {
    let clear = Command::WriteFailover { leader: None, candidate: None, scheduled_at: None, expect: Some(Revision(3)) };
    assert!(course.finish.commands.contains(&clear));
}

// rows: HA-38
#[test]
fn a_request_that_can_be_met_demotes() {
    for (leader, candidate, action) in
        [(Some("a"), None, "switchover"), (Some("a"), Some("b"), "switchover"), (None, Some("c"), "manual failover")]
    {
        let sentence = format!("{action}: demoting myself");
        let course = does(leading().failover(leader, candidate), both(), &sentence, Some(JobKind::Stop));
        let stop = Job::Stop { mode: StopMode::Fast, checkpoint: true, timeout: None, role: Some(Role::Demoted) };
        assert_eq!(course.job(), Some(&stop));
        assert_eq!(course.release(), None, "the key is held until the server is down");
        assert!(course.finish.memory.lease_until.is_some());
        assert_eq!(course.finish.memory.demotion.as_ref().map(|d| d.mode), Some(DemoteMode::Graceful));
        assert!(!course.finish.commands.iter().any(|c| matches!(c, Command::WriteFailover { .. })), "the key stays");
    }
    does(
        leading().paused().failover(None, Some("b")),
        both(),
        "PAUSE: manual failover: demoting myself",
        Some(JobKind::Stop),
    );
}

// rows: HA-36, HA-37, RACE-18, RACE-20
#[test]
fn a_request_that_cannot_be_met_is_cleared() {
    let lagging = || leading().cluster_with(|c| c.status.optime = Some(Lsn(3_000_000)));
    for (view, world, why) in [
        (leading().failover(Some("b"), None), both(), "switchover: leader name does not match: b != a"),
        (
            leading().failover(Some("a"), Some("a")),
            both(),
            "switchover: I am already the leader, no need to switchover",
        ),
        (leading().failover(None, Some("a")), both(), "manual failover: I am already the leader, no need to failover"),
        (
            leading().failover(Some("a"), None),
            world(),
            "switchover: no healthy members found, switchover is not possible",
        ),
        (leading().failover(Some("a"), Some("gone")), both(), "switchover: candidates list is empty"),
        (leading().failover(None, Some("b")), world().peer(peer("c", 1000)), "Member b is not reachable"),
        (lagging().failover(None, Some("b")), both(), "Member b exceeds maximum replication lag"),
        (
            leading().paused().failover(Some("a"), None),
            both(),
            "Switchover is possible only to a specific candidate in a paused state",
        ),
    ] {
        let paused = view.global.pause;
        let course = says(view, world, &if paused { format!("PAUSE: {STAYS}") } else { STAYS.to_owned() });
        assert!(course.logged(why), "{why}: {:#?}", course.finish.log);
        cleared(&course);
    }
    let old = leading().change(|v| v.global.check_timeline = true).history(&[(1, 10)]).failover(None, Some("b"));
    let course = says(old, both(), STAYS);
    assert!(course.logged("Timeline 1 of member b is behind the cluster timeline 2"));
    // without the setting only a member that was chosen may be behind: it takes over all the same
    let behind = |candidate| leading().history(&[(1, 10)]).failover(Some("a"), candidate);
    cleared(&says(behind(None), both(), STAYS));
    does(behind(Some("b")), both(), "switchover: demoting myself", Some(JobKind::Stop));
    let nofailover = leading()
        .failover(Some("a"), Some("b"))
        .member_with("b", |m| m.data.tags = tags(serde_json::json!({"nofailover": true})));
    cleared(&says(nofailover, both(), STAYS));
    let current = peer("b", 1000);
    let current = PeerStatus { timeline: Some(Timeline(2)), ..current };
    let new = leading().change(|v| v.global.check_timeline = true).history(&[(1, 10)]).failover(None, Some("b"));
    does(new, world().peer(current), "manual failover: demoting myself", Some(JobKind::Stop));
}

#[test]
fn an_empty_key_asks_for_nothing() {
    let course = says(leading().failover(None, None), both(), STAYS);
    assert!(!course.asked.iter().any(|c| matches!(c, Command::PollPeers(_))));
    assert!(!course.finish.commands.iter().any(|c| matches!(c, Command::WriteFailover { .. })));
}

// rows: HA-34, PAUSE-05
#[test]
fn a_scheduled_switchover_has_its_window() {
    let at = |offset: i64| {
        leading().failover(Some("a"), Some("b")).cluster_with(|c| {
            let moment = view().wall + jiff::SignedDuration::from_secs(offset);
            let key = c.failover.as_mut().unwrap();
            key.scheduled_at = Some(moment);
        })
    };
    let course = says(at(100), both(), STAYS);
    assert!(course.logged("Awaiting switchover at 2026-05-01T12:01:40+00:00 (in 100 seconds)"));
    assert_eq!(says(at(7), both(), STAYS).finish.wake_in, Some(secs(7)));
    let course = does(at(0), both(), "switchover: demoting myself", Some(JobKind::Stop));
    assert!(course.logged("Manual scheduled switchover at 2026-05-01T12:00:00+00:00"));
    does(at(-15), both(), "switchover: demoting myself", Some(JobKind::Stop));
    let course = says(at(-16), both(), STAYS);
    assert!(course.logged("Found a stale switchover value, cleaning up: 2026-05-01T11:59:44+00:00"));
    cleared(&course);
    let course = says(at(0).paused(), both(), &format!("PAUSE: {STAYS}"));
    assert!(
        !course.finish.commands.iter().any(|c| matches!(c, Command::WriteFailover { .. })),
        "it waits for the end of the pause"
    );
}
