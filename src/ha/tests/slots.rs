//! Permanent slots, logical slots, slots of members that are away (ha-rules 16). Member slots: `publish`.

use crate::cluster::*;
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobKind, JobPhase, Level, View};
use crate::types::{Lsn, PgVersion};
use serde_json::{Value, json};

fn with_slots(view: View, slots: Value) -> View {
    view.change(|v| v.global.slots = slots.as_object().cloned().unwrap())
}

fn cluster(leader: &str) -> View {
    let view = view().member("b", 900);
    if leader == "a" { view.primary().leader("a") } else { view.leader("b") }
}

fn published(view: View, slots: &[(&str, u64)]) -> View {
    let slots = slots.iter().map(|(name, lsn)| ((*name).to_owned(), Lsn(*lsn))).collect();
    view.cluster_with(|c| c.status.slots = Some(slots))
}

/// The plan: name, logical, position, expected to be active.
fn plan(view: &View) -> Vec<(String, bool, Option<u64>, Option<bool>)> {
    let course = run(view, &world());
    let plan = course.slot_plan().cloned().unwrap();
    let row = |s: WantedSlot| (s.name.clone(), s.is_logical(), s.lsn.map(|l| l.0), s.expected_active);
    plan.slots.into_iter().map(row).collect()
}

fn names(view: &View) -> Vec<String> {
    plan(view).into_iter().map(|(name, ..)| name).collect()
}

fn errors(view: &View) -> Vec<String> {
    let log = run(view, &world()).finish.log;
    log.into_iter().filter(|line| line.level == Level::Error).map(|line| line.text).collect()
}

fn logical() -> Value {
    json!({"type": "logical", "database": "d", "plugin": "p"})
}

// rows: SLOT-03
#[test]
fn an_agent_that_was_restarted_keeps_the_slots_of_members_that_are_away() {
    let restarted = cluster("a")
        .cluster_with(|c| c.status.retain_slots = Some(vec!["a".to_owned(), "gone".to_owned()]))
        .change(|v| v.memory = crate::ha::Memory::default());
    let course = run(&restarted, &world());
    assert!(course.slot_plan().unwrap().wanted("gone").is_some());
    assert_eq!(course.status().unwrap().retain_slots, Some(vec!["a".to_owned(), "gone".to_owned()]));
    assert_eq!(course.finish.memory.retain_slots.get("gone"), Some(&restarted.now));
    // its clock runs on from there: no new start in every cycle
    let memory = course.finish.memory.clone();
    let later = restarted.change(|v| (v.memory, v.now) = (memory, v.now + secs(10)));
    let before = later.now - secs(10);
    assert_eq!(run(&later, &world()).finish.memory.retain_slots.get("gone"), Some(&before));
}

// rows: SLOT-13, SLOT-24
#[test]
fn permanent_physical_slots() {
    let slots = json!({"p": {"type": "physical"}, "q": 0});
    let leader = with_slots(published(cluster("a"), &[("p", 7)]), slots.clone());
    let row = |name: &str, lsn, active| (name.to_owned(), false, lsn, active);
    assert_eq!(plan(&leader), [row("b", None, Some(true)), row("p", None, Some(true)), row("q", None, Some(true))]);
    let standby = with_slots(published(cluster("b"), &[("p", 7)]), slots);
    assert_eq!(
        plan(&standby),
        [row("b", None, Some(false)), row("p", Some(7), Some(false)), row("q", None, Some(false))]
    );
    // before 11 on the leader alone; never where no failover leads to
    let old = |v: &mut View| v.server.version = Some(PgVersion(100_000));
    assert_eq!(names(&leader.clone().change(old)), ["b", "p", "q"]);
    assert!(names(&standby.clone().change(old)).is_empty());
    assert!(names(&standby.clone().tagged(json!({"nofailover": true}))).is_empty());
    assert!(names(&leader.clone().change(|v| v.global.use_slots = false)).is_empty());
    // a standby that does not stream keeps physical ones
    assert_eq!(names(&standby.tagged(json!({"nostream": true}))), ["b", "p", "q"]);
    // my own name, a member's
    assert_eq!(names(&with_slots(cluster("a"), json!({"a": {}, "b": {}}))), ["b"]);
    // a member that is away, or streams from another: its own position counts
    let cascading = cluster("a").member_with("c", |m| {
        m.data.tags = tags(json!({"replicatefrom": "b", "nostream": true}));
        m.data.xlog_location = Some(Lsn(850));
    });
    let cascading = with_slots(published(cascading, &[("c", 800)]), json!({"c": {}}));
    assert_eq!(plan(&cascading)[1], row("c", Some(850), Some(false)));
}

// rows: SLOT-14
#[test]
fn cluster_type_limits_physical_slots() {
    let slots = json!({"p": {"cluster_type": "primary"}, "s": {"type": "physical", "cluster_type": "standby"}});
    assert_eq!(names(&with_slots(cluster("a"), slots)), ["b", "p"]);
}

// rows: SLOT-15, SLOT-19, SLOT-20
#[test]
fn what_cannot_be_made_is_named() {
    let slots = json!({"Bad": {}, "x": "physical", "y": {"type": "logical", "database": "d"}, "b": logical()});
    let view = with_slots(cluster("a"), slots);
    assert_eq!(names(&view), ["b"]);
    assert_eq!(
        errors(&view),
        [
            "Invalid permanent replication slot name 'Bad'",
            "Slot name may only contain lower case letters, numbers, and the underscore chars",
            "Bad value for slot 'x' in permanent_slots: physical",
            "Bad value for slot 'y' in permanent_slots: {'type': 'logical', 'database': 'd'}",
            "Permanent logical replication slot {'b': {'type': 'logical', 'database': 'd', 'plugin': 'p'}} is \
             conflicting with physical replication slot for cluster member",
        ]
    );
    let old = with_slots(cluster("a"), json!({"l": logical()}));
    let old = old.change(|v| v.server.version = Some(PgVersion(100_000)));
    assert_eq!(names(&old), ["b"]);
    assert_eq!(
        errors(&old),
        ["Permanent logical replication slots supported by Patroni only starting from PostgreSQL 11. Following slots \
          will not be created: ['l']."]
    );
}

// rows: SLOT-15, SLOT-17
#[test]
fn permanent_logical_slots() {
    let slots = json!({"l": logical()});
    let leader = run(&with_slots(cluster("a"), slots.clone()), &world()).slot_plan().cloned().unwrap();
    assert!(leader.primary && leader.replay.is_none() && leader.proof.is_none());
    assert!(leader.wanted("l").unwrap().is_logical());
    let standby = with_slots(published(cluster("b"), &[("l", 700)]), slots);
    let found = run(&standby, &world()).slot_plan().cloned().unwrap();
    assert_eq!(found.wanted("l").unwrap().lsn, Some(Lsn(700)));
    assert_eq!((found.primary, found.replay), (false, Some(Lsn(1000))));
    let proof = found.proof.unwrap();
    assert_eq!((proof.leader.name.as_str(), proof.slot.as_deref()), ("b", Some("a")));
    // no feedback reaches the primary, or the node never takes over
    let cascade = |middle: Value, me: Value| {
        let view = standby.clone().member_with("c", |m| m.data.tags = tags(middle));
        names(&view.tagged(me)).contains(&"l".to_owned())
    };
    assert!(cascade(json!({}), json!({"replicatefrom": "c"})));
    assert!(!cascade(json!({"nostream": true}), json!({"replicatefrom": "c"})));
    assert!(!cascade(json!({"replicatefrom": "a"}), json!({"replicatefrom": "c"})));
    assert!(!cascade(json!({}), json!({"nostream": true})));
    assert!(!cascade(json!({}), json!({"nofailover": true})));
    // the proof is in the slot of whom connects me to the primary
    let behind = standby.member("c", 900).tagged(json!({"replicatefrom": "c"}));
    let proof = run(&behind, &world()).slot_plan().cloned().unwrap().proof.unwrap();
    assert_eq!(proof.slot.as_deref(), Some("c"));
}

// rows: SLOT-07
#[test]
fn xmin_is_cleaned_only_under_a_leader() {
    let cleans = |view: View| run(&view, &world()).slot_plan().unwrap().drop_xmin;
    assert!(cleans(cluster("a")) && cleans(cluster("b")));
    assert!(!cleans(cluster("b").cluster_with(|c| c.leader = None)));
    assert!(!cleans(view().member("b", 900).leader("a")));
}

// rows: SLOT-15, SLOT-16
#[test]
fn missing_logical_slots_are_copied() {
    let view = || with_slots(published(cluster("b"), &[("l", 700)]), json!({"l": logical(), "m": logical()}));
    let missing = || world().change(|w| w.slots_to_copy = vec!["l".to_owned()]);
    let course = does(view(), missing(), "Copying logical slots ['l'] from the primary", Some(JobKind::CopySlots));
    let Some(Job::CopySlots { upstream, slots }) = course.job() else { panic!("{:?}", course.job()) };
    assert_eq!((upstream.name.as_str(), slots.len(), slots[0].name.as_str()), ("b", 1, "l"));
    let following = "no action. I am (a), a secondary, and following a leader (b)";
    says(view(), world(), following);
    // not in pause, not while the server is pointed elsewhere, not beside another job
    says(view().paused(), missing(), &format!("PAUSE: {following}"));
    says(view(), missing().change(|w| w.recovery = Some((true, false))), following);
    let busy = view().job(Job::CrashRecovery, JobPhase::Working);
    assert!(run(&busy, &missing()).jobs().is_empty());
    // never by who leads, nor without a leader
    let led = with_slots(cluster("a"), json!({"l": logical()}));
    assert!(run(&led, &missing()).jobs().is_empty());
    assert!(
        !run(&view().cluster_with(|c| c.leader = None), &missing())
            .jobs()
            .iter()
            .any(|j| j.kind() == JobKind::CopySlots)
    );
}

// rows: SLOT-18
#[test]
fn a_promotion_warns_of_unproven_slots() {
    let unproven = run(&cluster("b"), &world().change(|w| w.unproven_slots = vec!["l".to_owned()]));
    let memory = unproven.finish.memory;
    let won = view().member("b", 900).leader("a").change(|v| v.memory.unproven_slots = memory.unproven_slots);
    let text = "Logical replication slots that might be unsafe to use after promote: {'l'}";
    assert!(run(&won, &world()).logged(text));
    assert!(!run(&won.change(|v| v.memory.unproven_slots.clear()), &world()).logged("unsafe"));
}

// rows: SLOT-22
#[test]
fn feedback_is_enforced_where_logical_slots_depend_on_it() {
    let enforced = |view: View| {
        let course = run(&view, &world());
        course.finish.commands.iter().find_map(|c| match c {
            Command::EnforceFeedback(on) => Some(*on),
            _ => None,
        })
    };
    let slots = |view| with_slots(view, json!({"l": logical()}));
    assert_eq!(enforced(slots(cluster("b"))), Some(true));
    assert_eq!(enforced(slots(cluster("a"))), Some(true));
    assert_eq!(enforced(cluster("b")), None);
    assert_eq!(enforced(with_slots(cluster("b"), json!({"p": {}}))), None);
    let on = |v: &mut View| v.memory.feedback = true;
    assert_eq!(enforced(slots(cluster("b")).change(on)), None);
    assert_eq!(enforced(cluster("b").change(on)), Some(false));
    assert_eq!(enforced(slots(cluster("b")).change(|v| v.global.use_slots = false)), None);
    assert_eq!(enforced(slots(cluster("b")).change(|v| v.server.version = Some(PgVersion(100_000)))), None);
    assert_eq!(enforced(slots(cluster("b")).silent()), None);
    // for whom streams from me
    let never = |v: View| slots(v).tagged(json!({"nofailover": true}));
    let child =
        |name: &str, of: &str, v: View| v.member_with(name, |m| m.data.tags = tags(json!({"replicatefrom": of})));
    assert_eq!(enforced(never(cluster("b"))), None);
    assert_eq!(enforced(never(child("c", "a", cluster("b")))), Some(true));
    assert_eq!(enforced(never(child("c", "b", cluster("b")))), None);
    let chain = child("d", "c", cluster("b")).member_with("c", |m| {
        m.data.tags = tags(json!({"replicatefrom": "a", "nofailover": true}));
    });
    assert_eq!(enforced(never(chain)), Some(true));
    let deaf = child("c", "a", cluster("b")).tagged(json!({"nostream": true}));
    assert_eq!(enforced(slots(deaf)), None);
}

// rows: QUIRK-07, SLOT-23
#[test]
fn permanent_slots_in_status() {
    let there = || {
        world().change(|w| {
            w.slots = ["b", "p", "l"].map(|name| (name.to_owned(), Some(Lsn(5)), true)).to_vec();
        })
    };
    let slots = json!({"b": {}, "p": {}, "l": logical()});
    let status = |view: &View| {
        let status = run(view, &there()).status().cloned().unwrap();
        let names: Vec<String> = status.slots.unwrap_or_default().into_keys().collect();
        (names.join(" "), status.retain_slots.unwrap_or_default().join(" "))
    };
    let leader = with_slots(cluster("a"), slots);
    // a permanent slot needs no clock
    assert_eq!(status(&leader), ("b p l a".to_owned(), "a".to_owned()));
    // without retention the permanent ones alone
    let off = leader.clone().change(|v| v.global.member_slots_ttl = secs(0));
    assert_eq!(status(&off), ("b p l".to_owned(), String::new()));
    // a leader that would not stream is not kept, wherever it stands in the list of members
    let nostream = |v: View| v.member_with("a", |m| m.data.tags = tags(json!({"nostream": true})));
    assert_eq!(status(&nostream(cluster("a"))).1, "b");
}
