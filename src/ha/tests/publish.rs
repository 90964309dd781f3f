//! What a member publishes: its key, slots, status (ha-rules 3 and 16).

use crate::cluster::*;
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobPhase, View};
use crate::types::{Lsn, PgVersion, Timeline};

fn slots(view: View) -> Vec<(String, Option<u64>)> {
    let course = run(&view, &world());
    let plan = course.slot_plan().cloned().unwrap_or_default();
    plan.slots.into_iter().map(|slot| (slot.name, slot.lsn.map(|l| l.0))).collect()
}

fn names(view: View) -> Vec<String> {
    slots(view).into_iter().map(|(name, _)| name).collect()
}

fn three(leader: &str) -> View {
    let view = view().member("b", 900).member_with("c", |m| {
        m.data.tags = tags(serde_json::json!({"replicatefrom": "b"}));
        m.data.xlog_location = Some(Lsn(850));
    });
    let view = if leader == "a" { view.primary() } else { view };
    view.leader(leader)
}

// rows: TAG-07, SLOT-01, SLOT-02, SLOT-03, SLOT-05, SLOT-19, SLOT-24
#[test]
fn slots_of_members() {
    // retention: everywhere for everybody
    assert_eq!(names(three("a")), ["b", "c"]);
    assert_eq!(names(three("b")), ["b", "c"]);
    // without it: where the member streams from
    let old = |v: &mut View| v.server.version = Some(PgVersion(100_000));
    let off = |v: &mut View| v.global.member_slots_ttl = secs(0);
    assert_eq!(names(three("a").change(old)), ["b"]);
    assert_eq!(names(three("a").change(off)), ["b"]);
    assert!(names(three("b").change(off)).is_empty());
    let source = |v: View| v.member_with("c", |m| m.data.tags = tags(serde_json::json!({"replicatefrom": "a"})));
    assert_eq!(names(source(three("b")).change(off)), ["c"]);
    let orphan = three("a").member_with("c", |m| m.data.tags = tags(serde_json::json!({"replicatefrom": "gone"})));
    assert_eq!(names(orphan.change(off)), ["b", "c"]);
    // special members
    let nostream = three("a").member_with("b", |m| m.data.tags = tags(serde_json::json!({"nostream": true})));
    assert_eq!(names(nostream), ["c"]);
    let nofailover = serde_json::json!({"nofailover": true});
    assert!(names(three("b").tagged(nofailover.clone())).is_empty());
    assert_eq!(names(source(three("b")).tagged(nofailover.clone())), ["c"]);
    // kept names
    let kept = |v: View| {
        v.cluster_with(|c| c.status.retain_slots = Some(vec!["a".to_owned(), "c".to_owned(), "gone".to_owned()]))
    };
    assert_eq!(names(kept(three("b"))), ["b", "c", "gone"]);
    assert!(names(kept(three("b")).tagged(nofailover)).is_empty());
    assert!(names(three("a").change(|v| v.global.use_slots = false)).is_empty());
    // two members with one slot name
    let course = run(&three("a").member("B", 900), &world());
    assert!(course.logged("share a replication slot name"));
    assert_eq!(course.slot_plan().unwrap().slots.len(), 2);
}

// rows: SLOT-06
#[test]
fn slots_that_nobody_uses_move_with_what_is_published() {
    let published = |v: View| {
        v.cluster_with(|c| {
            c.status.slots = Some([("b".to_owned(), Lsn(700)), ("c".to_owned(), Lsn(800))].into_iter().collect());
        })
    };
    // b streams from me, c from b: its own position is newer than what the leader knows
    assert_eq!(slots(published(three("a"))), [("b".to_owned(), None), ("c".to_owned(), Some(850))]);
    assert_eq!(slots(published(three("b"))), [("b".to_owned(), Some(700)), ("c".to_owned(), Some(850))]);
    assert_eq!(slots(three("b"))[0], ("b".to_owned(), None));
    let old_leader = published(three("b")).member_with("b", |m| m.data.version = Some("3.3.0".to_owned()));
    assert_eq!(slots(old_leader)[0], ("b".to_owned(), Some(900)));
}

// rows: PAUSE-06, SLOT-10
#[test]
fn when_slots_are_dealt_with() {
    let plans = |view: View| run(&view, &world()).asked.iter().filter(|c| matches!(c, Command::SyncSlots(_))).count();
    assert_eq!(plans(three("a")), 1);
    assert_eq!(plans(three("b")), 1);
    assert_eq!(plans(three("b").change(|v| v.status = None)), 0);
    assert_eq!(plans(three("b").job(Job::CrashRecovery, JobPhase::Working)), 0);
    assert_eq!(plans(three("b").silent()), 0);
    assert_eq!(plans(three("b").change(|v| v.server.version = Some(PgVersion(90_300)))), 0);
    assert_eq!(plans(three("b").cluster_with(|c| c.config = None)), 0);
    let drops = |view: View| run(&view, &world()).slot_plan().unwrap().drop_unknown;
    assert!(drops(three("a")) && !drops(three("a").paused()));
}

// rows: SLOT-03, SLOT-23
#[test]
fn the_leader_publishes_its_status() {
    let seen = || {
        world().change(|w| {
            w.slots = vec![
                ("b".to_owned(), Some(Lsn(950)), true),
                ("x".to_owned(), None, false),
                ("gone".to_owned(), Some(Lsn(5)), false),
            ];
        })
    };
    let course = run(&three("a"), &seen());
    let status = course.status().cloned().unwrap();
    let slots: Vec<_> = status.slots.unwrap().into_iter().map(|(n, l)| (n, l.0)).collect();
    assert_eq!(status.optime, Some(Lsn(1000)));
    assert_eq!(slots, [("b".to_owned(), 950), ("gone".to_owned(), 5), ("a".to_owned(), 1000)]);
    assert_eq!(status.retain_slots, Some(vec!["a".to_owned(), "b".to_owned()]));
    // a member that is away is kept for its time
    let away = |since: u64| {
        three("a").change(move |v| {
            v.memory.retain_slots.insert("gone".to_owned(), v.now - secs(since));
        })
    };
    let retained = |view: View| run(&view, &seen()).status().cloned().unwrap().retain_slots.unwrap();
    assert_eq!(retained(away(1799)), ["a", "b", "gone"]);
    assert_eq!(retained(away(1800)), ["a", "b"]);
    // nothing of members without retention
    let off = run(&three("a").change(|v| v.global.member_slots_ttl = secs(0)), &seen()).status().cloned().unwrap();
    assert_eq!((off.slots, off.retain_slots), (None, None));
    assert!(run(&three("b"), &seen()).status().is_none());
    assert!(run(&three("a").change(|v| v.status = None), &seen()).status().is_none());
}

// rows: HA-03, HA-44, HA-45
#[test]
fn the_member_key() {
    let key = |view: View| run(&view, &world()).member_key().cloned().unwrap();
    let primary = key(view().primary().leader("a"));
    assert_eq!(
        (primary.role, primary.state, primary.timeline, primary.xlog_location),
        (Some(Role::Primary), Some(PgState::Running), Some(Timeline(1)), Some(Lsn(1000)))
    );
    assert_eq!((primary.replay_lsn, primary.replication_state.as_deref(), primary.pause), (None, None, None));
    assert_eq!(primary.version.as_deref(), Some(crate::PATRONI_VERSION));
    let replica = key(view().leader("b"));
    assert_eq!((replica.replay_lsn, replica.receive_lsn), (Some(Lsn(1000)), Some(Lsn(1000))));
    assert_eq!((replica.replication_state.as_deref(), replica.timeline), (Some("streaming"), Some(Timeline(1))));
    let archive = view().leader("b").change(|v| {
        let status = v.status.as_mut().unwrap();
        status.receiver = None;
        status.restore_command = Some("cp".to_owned());
    });
    assert_eq!(key(archive.clone()).replication_state.as_deref(), Some("in archive recovery"));
    // the timeline comes from a replication connection when the leader's differs
    let course = run(&archive, &world().change(|w| w.own_timeline = Some(3)));
    assert_eq!(course.member_key().unwrap().timeline, Some(Timeline(3)));
    let known = archive.change(|v| v.memory.last_timeline = Some(Timeline(1)));
    assert!(!run(&known, &world()).asked.contains(&Command::QueryOwnTimeline));
    // nothing about positions while a job has the server
    let busy = key(view().leader("b").job(Job::CrashRecovery, JobPhase::Working));
    assert_eq!((busy.xlog_location, busy.timeline), (None, None));
    assert!(key(view().leader("b").job(Job::Promote { wait: secs(1) }, JobPhase::Working)).xlog_location.is_some());
    assert_eq!(key(view().leader("b").down(ControlState::ShutDown)).xlog_location, None);
    assert_eq!(key(view().leader("b").paused()).pause, Some(true));
    assert_eq!(
        key(view().leader("b").tagged(serde_json::json!({"nosync": false, "x": 1}))).tags,
        tags(serde_json::json!({"x": 1}))
    );
    assert!(run(&view().silent(), &world()).member_key().is_none());
}
