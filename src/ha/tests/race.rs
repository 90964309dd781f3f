//! No leader: who takes over (ha-rules 5, 8, 9.3).

use crate::cluster::*;
use crate::ha::testing::*;
use crate::ha::{Command, JobKind, Outcome, View};
use crate::types::{Lsn, Timeline};

const WON: &str = "promoted self to leader by acquiring session lock";
const NOT_FIRST: &str = "following a different leader because i am not the healthiest node";
const NEVER: &str = "following a different leader because I am not allowed to promote";

fn wins(view: View, world: World) -> Course {
    let course = does(view, world, WON, Some(JobKind::Promote));
    assert!(course.asked.contains(&Command::AcquireLeader));
    course
}

#[track_caller]
fn stands_back(view: View, world: World) -> Course {
    let course = says(view, world, NOT_FIRST);
    assert!(!course.asked.contains(&Command::AcquireLeader));
    course
}

fn cluster() -> View {
    view().member("b", 1000).member("c", 1000)
}

// rows: RACE-08, RACE-09, RACE-10, RACE-23, TAG-01
#[test]
fn position_decides() {
    wins(view(), world());
    wins(cluster(), world());
    wins(cluster(), world().peer(peer("b", 1000)));
    wins(cluster(), world().peer(peer("b", 999)).peer(peer("c", 0)));
    assert!(stands_back(cluster(), world().peer(peer("b", 1001))).logged("Wal position of b is ahead"));
    stands_back(cluster(), world().peer(peer("b", 10)).peer(peer("c", 2000)));
    // whoever cannot lead is not in the way
    let nofailover = |name: &str| {
        let mut peer = peer(name, 2000);
        peer.tags = tags(serde_json::json!({"nofailover": true}));
        peer
    };
    wins(cluster(), world().peer(nofailover("b")));
    wins(cluster(), world().peer(PeerStatus { watchdog_failed: true, ..peer("b", 2000) }));
    wins(cluster(), world().peer(PeerStatus { reachable: false, ..peer("b", 2000) }));
    let tagged = view().member_with("b", |m| m.data.tags = tags(serde_json::json!({"nofailover": true})));
    let course = wins(tagged, world().peer(peer("b", 2000)));
    assert!(!course.asked.iter().any(|c| matches!(c, Command::PollPeers(_))));
    wins(view().member_with("b", |m| m.data.api_url = None), world().peer(peer("b", 2000)));
    // a living primary
    let primary = PeerStatus { in_recovery: Some(false), position: Lsn(0), ..peer("b", 0) };
    assert!(stands_back(cluster(), world().peer(primary)).logged("Primary (b) is still alive"));
}

// rows: NEXT-03
#[test]
fn the_race_is_left_alone_while_wal_comes_in() {
    // loop_wait is 10 s; the last cycle saw position 900, or nothing new.
    let lost = |since: Option<u64>, before: u64| {
        cluster().change(|v| {
            v.global.primary_race_backoff = secs(30);
            v.memory.position = Some(Lsn(before));
            v.memory.backing_off_since = since.map(|s| v.now - secs(s));
        })
    };
    let waits =
        |left| format!("My (a) wal position moved since last heart beat loop, {left} seconds until leader race");
    let course = says(lost(None, 1000), world(), &waits(30));
    assert_eq!(course.finish.memory.backing_off_since, Some(view().now));
    assert_eq!((course.finish.wake_in, course.finish.memory.position), (Some(secs(30)), Some(Lsn(1000))));
    assert!(!course.all().any(|c| matches!(c, Command::PollPeers(_) | Command::AcquireLeader)), "{:?}", course.asked);
    says(lost(Some(9), 1000), world(), &waits(21));
    // after the first loop_wait only what comes in counts
    wins(lost(Some(10), 1000), world());
    says(lost(Some(10), 999), world(), &waits(20));
    says(lost(Some(29), 999), world(), &waits(1));
    wins(lost(Some(30), 999), world());
    // what does not come in by streaming does not
    let archive = |v: &mut View| v.status.as_mut().unwrap().receiver = None;
    wins(lost(Some(10), 999).change(archive), world());
    // it does not hold up who was chosen, a primary, or anybody by default
    wins(lost(None, 999).failover(None, Some("a")), world());
    says(lost(None, 999).primary(), world(), "acquired session lock as a leader");
    wins(lost(None, 999).change(|v| v.global.primary_race_backoff = secs(0)), world());
    wins(lost(None, 999).change(|v| v.memory.position = None), world());
    let paused = run(&lost(None, 999).paused(), &world());
    assert!(!paused.sentence().contains("wal position moved"), "{}", paused.sentence());
    // a leader ends it
    let led = run(&lost(Some(5), 999).leader("b"), &world());
    assert_eq!(led.finish.memory.backing_off_since, None);
}

// rows: RACE-06
#[test]
fn what_was_received_counts_as_what_was_replayed() {
    let at = |received: Option<u64>, replayed: u64| {
        cluster().change(|v| {
            let status = v.status.as_mut().unwrap();
            (status.receive_lsn, status.replay_lsn) = (received.map(Lsn), Some(Lsn(replayed)));
        })
    };
    let b = || world().peer(peer("b", 1000));
    for far in [at(Some(1000), 400), at(Some(400), 1000), at(None, 1000)] {
        wins(far, b());
    }
    stands_back(at(Some(999), 999), b());
}

// rows: RACE-04, RACE-05
#[test]
fn lag_and_timeline_decide() {
    let lag = |optime, limit| {
        cluster()
            .cluster_with(|c| c.status.optime = Some(Lsn(optime)))
            .change(|v| v.global.maximum_lag_on_failover = limit)
    };
    wins(lag(1100, 100), world());
    assert!(stands_back(lag(1101, 100), world()).logged("My wal position exceeds maximum replication lag"));
    wins(lag(0, 0), world());
    let timeline = |check| cluster().history(&[(1, 10)]).change(|v| v.global.check_timeline = check);
    // who does not know his timeline is disqualified by the setting only, who knows that it is old in any case
    wins(timeline(false), world());
    stands_back(timeline(true), world());
    for check in [false, true] {
        let own = |t| world().change(|w| w.own_timeline = Some(t));
        assert!(stands_back(timeline(check), own(1)).logged("My timeline 1 is behind last known cluster timeline 2"));
        wins(timeline(check), own(2));
        let key = |leader, candidate| timeline(check).failover(leader, candidate);
        stands_back(key(Some("b"), None), own(1));
        wins(key(Some("b"), None), own(2));
        stands_back(key(Some("a"), None), own(1));
        wins(key(Some("a"), None), own(2));
        // nobody waits for one who will not lead, not even the former leader
        wins(key(Some("a"), None), own(2).peer(peer("b", 9000)));
        wins(key(Some("a"), Some("c")), own(2).peer(peer("b", 9000)));
        let current = PeerStatus { timeline: Some(Timeline(2)), ..peer("b", 9000) };
        stands_back(key(Some("a"), None), own(2).peer(current));
        assert!(wins(key(Some("b"), Some("a")), own(1)).logged("take over because I was chosen"));
        assert!(!wins(key(Some("b"), Some("a")), own(2)).logged("take over because I was chosen"));
        // whoever is behind is not in the way of whoever is not, as long as he is no primary
        let far = peer("b", 9000);
        assert!(wins(timeline(check), own(2).peer(far.clone())).logged("Ignoring b: its timeline is behind"));
        stands_back(timeline(check), own(2).peer(PeerStatus { timeline: Some(Timeline(2)), ..far.clone() }));
        stands_back(timeline(check), own(2).peer(PeerStatus { timeline: None, ..far.clone() }));
        stands_back(timeline(check), own(2).peer(PeerStatus { in_recovery: Some(false), ..far }));
    }
    let cached = timeline(true).change(|v| v.memory.last_timeline = Some(Timeline(2)));
    let course = run(&cached, &world());
    assert_eq!(
        course.asked.first(),
        Some(&Command::PollPeers(vec![
            ("b".to_owned(), "http://b:8008/patroni".to_owned()),
            ("c".to_owned(), "http://c:8008/patroni".to_owned()),
        ]))
    );
}

// rows: RACE-11, TAG-02
#[test]
fn priority_decides_between_equals() {
    let with = |name: &str, priority: i64, lsn| {
        let mut peer = peer(name, lsn);
        peer.tags = tags(serde_json::json!({ "failover_priority": priority }));
        peer
    };
    stands_back(cluster(), world().peer(with("b", 2, 1000)));
    wins(cluster(), world().peer(with("b", 1, 1000)));
    wins(cluster(), world().peer(with("b", 2, 999)));
    wins(cluster().tagged(serde_json::json!({"failover_priority": 3})), world().peer(with("b", 2, 1000)));
    // the former leader's priority does not count
    let led = cluster().change(|v| v.memory.last_led = cluster().leader("b").cluster.ok());
    assert!(wins(led, world().peer(with("b", 2, 1000))).logged("Ignoring former leader b having priority 2"));
}

// rows: RACE-07
#[test]
fn members_of_the_last_led_view_are_asked_too() {
    let view = view().change(|v| v.memory.last_led = cluster().leader("b").cluster.ok());
    stands_back(view, world().peer(peer("b", 2000)));
}

// rows: RACE-01, RACE-02, RACE-22, TAG-01, TAG-02
#[test]
fn who_may_not_lead() {
    let nofailover = || cluster().tagged(serde_json::json!({"nofailover": true}));
    says(nofailover(), world(), NEVER);
    // it may be ahead of whoever wins
    let rewinding = |view: View| run(&view.change(|v| v.global.use_pg_rewind = true), &world()).finish.memory.rewind;
    assert_eq!(rewinding(nofailover()), crate::ha::rewind::RewindState::Check);
    assert_eq!(rewinding(nofailover().paused()), crate::ha::rewind::RewindState::Initial);
    says(cluster().tagged(serde_json::json!({"failover_priority": 0})), world(), NEVER);
    let course = says(cluster().change(|v| v.memory.no_race_until = Some(v.now + secs(1))), world(), NOT_FIRST);
    assert!(course.logged("backoff: skip leader race"));
    wins(cluster().change(|v| v.memory.no_race_until = Some(v.now)), world());
    says(cluster().starting(3), world(), NOT_FIRST);
    says(cluster().change(|v| v.status = None), world(), "Error communicating with PostgreSQL. Will try again later");
    says(cluster().change(|v| v.watchdog.required = true), world(), NOT_FIRST);
    does(
        cluster().primary().tagged(serde_json::json!({"nofailover": true})).history(&[(1, 10)]),
        world(),
        "demoting self because I am not allowed to become primary",
        Some(JobKind::Stop),
    );
}

// rows: RACE-03
#[test]
fn a_primary_without_leader_takes_the_lock_unless_the_cluster_moved_on() {
    let course = says(cluster().primary(), world().peer(peer("b", 5000)), "acquired session lock as a leader");
    assert!(course.asked.contains(&Command::AcquireLeader));
    let moved_on = cluster().primary().history(&[(1, 10)]);
    does(moved_on, world(), "demoting self because i am not the healthiest node", Some(JobKind::Stop));
    does(
        cluster().primary(),
        world().change(|w| w.acquire = Some(Outcome::Conflict)),
        "demoted self after trying and failing to obtain lock",
        Some(JobKind::Stop),
    );
}

// rows: HA-27
#[test]
fn losing_the_race_means_to_follow_the_winner() {
    let world = world().change(|w| {
        w.acquire = Some(Outcome::Conflict);
        w.reload = cluster().leader("b").cluster.ok();
    });
    let course = says(cluster(), world, "following new leader after trying and failing to obtain lock");
    let followed =
        course.asked.iter().any(|c| matches!(c, Command::CheckRecovery { upstream: Some(u) } if u.name == "b"));
    assert!(followed);
    assert_eq!(course.finish.memory.lease_until, None);
}

#[test]
fn an_unanswered_acquire_promotes_nobody() {
    for outcome in [Outcome::Unknown("late".to_owned()), Outcome::Unreachable("no".to_owned())] {
        let silent = || world().change(|w| w.acquire = Some(outcome.clone()));
        says(cluster(), silent(), "DCS is not accessible");
        does(
            cluster().primary(),
            silent(),
            "demoted self because DCS is not accessible and I was a leader",
            Some(JobKind::Stop),
        );
    }
}

// rows: RACE-14, RACE-15, RACE-16, RACE-17, RACE-21, RACE-22
#[test]
fn a_failover_key_decides_who_may_race() {
    let key = |leader, candidate| cluster().failover(leader, candidate);
    // it is me
    let course = wins(key(Some("b"), Some("a")), world());
    assert!(course.finish.commands.contains(&Command::WriteFailover {
        leader: None,
        candidate: None,
        scheduled_at: None,
        expect: Some(Revision(3))
    }));
    // a healthy candidate goes first, an unhealthy one does not block
    assert!(stands_back(key(Some("b"), Some("c")), world().peer(peer("c", 10))).logged("switchover: to c, i am a"));
    assert!(wins(key(Some("b"), Some("c")), world()).logged("switchover: member c is not reachable"));
    wins(key(None, Some("gone")), world());
    stands_back(key(None, Some("c")), world().peer(peer("c", 0)));
    // the old leader is not asked, and lag does not count
    wins(key(Some("b"), None), world().peer(peer("b", 9000)));
    stands_back(key(Some("b"), None), world().peer(peer("c", 9000)));
    wins(key(Some("b"), None).cluster_with(|c| c.status.optime = Some(Lsn(u64::MAX))), world());
    // I was the leader: only when nobody else can
    wins(key(Some("a"), None), world());
    stands_back(key(Some("a"), None), world().peer(peer("b", 1000)));
    wins(key(Some("a"), Some("b")), world());
    stands_back(key(Some("a"), Some("b")), world().peer(peer("c", 1000)));
    // an emptied key is none
    wins(key(None, None), world());
    // whoever is passed over may be ahead of the chosen one
    let course =
        stands_back(key(Some("b"), Some("c")).change(|v| v.global.use_pg_rewind = true), world().peer(peer("c", 10)));
    assert_eq!(course.finish.memory.rewind, crate::ha::rewind::RewindState::Check);
}

// rows: RACE-20, RACE-21, PAUSE-02
#[test]
fn in_pause_only_a_named_candidate_takes_over() {
    let key = |leader, candidate| cluster().paused().failover(leader, candidate);
    let course = does(key(Some("b"), Some("a")), world(), &format!("PAUSE: {WON}"), Some(JobKind::Promote));
    assert!(course.finish.commands.contains(&Command::WriteFailover {
        leader: None,
        candidate: Some("a".to_owned()),
        scheduled_at: None,
        expect: Some(Revision(3))
    }));
    let alone = "PAUSE: no action. I am (a)";
    says(key(Some("b"), None), world(), alone);
    says(key(Some("b"), Some("c")), world(), alone);
    says(key(Some("b"), Some("a")).tagged(serde_json::json!({"nofailover": true})), world(), alone);
    // the candidate is gone and I am the primary: the key goes
    let course = says(key(Some("b"), Some("gone")).primary(), world(), "PAUSE: acquired session lock as a leader");
    assert!(course.logged("removing failover key because failover candidate is not running"));
}

// rows: RACE-21
#[test]
fn a_request_for_later_keeps_its_time_in_pause() {
    let later = |view: View| {
        view.cluster_with(|c| {
            let key = c.failover.as_mut().unwrap();
            (key.scheduled_at, key.scheduled_text) = (Some(self::view().wall), Some("2026-05-01T14:00+02".to_owned()));
        })
    };
    let view = later(cluster().primary().paused().failover(Some("a"), Some("b")));
    let course = says(view, world(), "PAUSE: acquired session lock as a leader");
    assert!(course.finish.commands.contains(&Command::WriteFailover {
        leader: None,
        candidate: Some("b".to_owned()),
        scheduled_at: Some("2026-05-01T14:00+02".to_owned()),
        expect: Some(Revision(3))
    }));
    // what is left of it waits as well
    let leading = later(self::view().primary().leader("a").member("b", 1000).paused().failover(None, Some("b")));
    let course = says(leading, world().peer(peer("b", 1000)), "PAUSE: no action. I am (a), the leader with the lock");
    assert!(!course.finish.commands.iter().any(|c| matches!(c, Command::WriteFailover { .. })));
}

// rows: RACE-07, QUIRK-08
#[test]
fn each_known_member_is_asked_once_however_long_nobody_leads() {
    let last_led = cluster().member("gone", 900).leader("b").cluster.ok();
    let mut view = cluster().change(|v| v.memory.last_led.clone_from(&last_led));
    for _ in 0..3 {
        let course = stands_back(view.clone(), world().peer(peer("b", 2000)));
        let polls: Vec<_> = course.asked.iter().filter(|c| matches!(c, Command::PollPeers(_))).collect();
        let url = |name: &str| (name.to_owned(), format!("http://{name}:8008/patroni"));
        assert_eq!(polls, [&Command::PollPeers(["b", "c", "gone"].map(url).to_vec())]);
        assert_eq!(course.finish.memory.last_led, last_led, "what is remembered does not grow");
        view = view.change(|v| v.memory = course.finish.memory);
    }
}

// rows: QUIRK-17
#[test]
fn the_wall_clock_decides_nothing_about_the_lock() {
    let hours = |h: i64| move |v: &mut View| v.wall += jiff::SignedDuration::from_hours(h);
    let leading = || view().primary().leader("a");
    let backing_off = || cluster().change(|v| v.memory.no_race_until = Some(v.now + secs(1)));
    for view in [leading(), leading().silent(), backing_off(), cluster(), view().leader("b").starting(3)] {
        let plain = run(&view, &world());
        for step in [-48, 48] {
            let stepped = run(&view.clone().change(hours(step)), &world());
            assert_eq!((&stepped.asked, &stepped.finish), (&plain.asked, &plain.finish));
        }
    }
}

// rows: SLOT-04
#[test]
fn winning_resets_the_clocks_of_kept_slots() {
    let view = cluster().cluster_with(|c| c.status.retain_slots = Some(vec!["gone".to_owned()]));
    let course = wins(view.clone(), world());
    assert_eq!(course.finish.memory.retain_slots.get("gone"), Some(&view.now));
}

#[test]
fn a_fresh_agent_that_sees_nobody_waits_once_for_the_others() {
    let fresh = |view: View| view.change(|v| v.memory.members_awaited = None);
    let course = stands_back(fresh(view()), world());
    assert!(course.logged("waiting for their keys before the leader race"));
    let until = course.finish.memory.members_awaited;
    assert_eq!((until, course.finish.wake_in), (Some(view().now + secs(10)), Some(secs(10))));
    let later = |seconds| {
        view().change(|v| {
            v.now = v.now + secs(seconds);
            v.memory.members_awaited = until;
        })
    };
    assert_eq!(stands_back(later(9), world()).finish.wake_in, Some(secs(1)));
    wins(later(10), world());
    // the others are back, and are asked when the time has come
    stands_back(later(9).member("b", 2000), world().peer(peer("b", 2000)));
    stands_back(later(10).member("b", 2000), world().peer(peer("b", 2000)));
    // nothing to wait for: somebody is there, or nobody ever was
    wins(fresh(cluster()), world());
    wins(fresh(view()).cluster_with(|c| c.initialize = None), world());
    let lived = fresh(view()).cluster_with(|c| c.initialize = None).history(&[(1, 10)]);
    stands_back(lived, world());
    // a chosen one and a running primary do not wait, nor does the silence of the store count
    wins(fresh(view()).failover(None, Some("a")), world());
    says(fresh(view()).primary(), world(), "acquired session lock as a leader");
    assert_eq!(run(&fresh(view()).silent(), &world()).finish.memory.members_awaited, None);
}
