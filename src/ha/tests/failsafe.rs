//! Fail-safe mode: who goes on without the store, and who leaves whom the lead (ha-rules 17).

use crate::cluster::*;
use crate::ha::memory::FailsafeCaller;
use crate::ha::testing::*;
use crate::ha::{Command, JobKind, JobPhase, Outcome, Rule, View};
use crate::types::Lsn;
use indexmap::IndexMap;
use serde_json::json;

const GOES_ON: &str = "continue to run as a leader because failsafe mode is enabled and all members are accessible";
const STEPS_DOWN: &str = "demoted self because DCS is not accessible and I was a leader";
const FOLLOWS: &str = "no action. I am (a), a secondary, and following a leader (b)";
const NOT_FIRST: &str = "following a different leader because i am not the healthiest node";

fn map(names: &[&str]) -> IndexMap<String, String> {
    names.iter().map(|name| ((*name).to_owned(), format!("http://{name}:8008/patroni"))).collect()
}

fn on(view: View, names: &[&str]) -> View {
    let map = map(names);
    let view = view.change(|v| v.global.failsafe_mode = true);
    if view.cluster.is_err() { view } else { view.cluster_with(|c| c.failsafe = Some(map)) }
}

/// The leader `a`, its store silent, with members of the map that it knows.
fn alone(names: &[&str]) -> View {
    let last = view().member("b", 900).member("c", 900).leader("a").cluster.unwrap();
    let map = map(names);
    view().primary().leader("a").silent().change(|v| {
        v.global.failsafe_mode = true;
        v.memory.failsafe.members = Some(map);
        v.memory.last_led = Some(last);
    })
}

fn agree(names: &[&str]) -> World {
    world().change(|w| w.agree = names.iter().map(|name| ((*name).to_owned(), 950)).collect())
}

fn called(view: View, by: &str, left: u64) -> View {
    let by = by.to_owned();
    view.change(|v| {
        let call = FailsafeCall {
            name: by.clone(),
            conn_url: format!("postgres://{by}:6000/postgres"),
            api_url: format!("http://{by}:8008/patroni"),
            slots: Some([(by, Lsn(990)), ("a".to_owned(), Lsn(980)), ("c".to_owned(), Lsn(970))].into_iter().collect()),
            ttl: None,
        };
        v.caller = Some(FailsafeCaller { call, until: v.now + secs(left) });
    })
}

fn steps_down(view: View, world: World) -> Course {
    let course = does(view, world, STEPS_DOWN, Some(JobKind::Stop));
    let mode = |j: &&crate::ha::Job| matches!(j, crate::ha::Job::Stop { mode: StopMode::Fast, checkpoint: false, .. });
    assert!(course.job().filter(mode).is_some(), "{:?}", course.job());
    course
}

fn goes_on(view: View, world: World) -> Course {
    let course = says(view, world, GOES_ON);
    assert!(course.member_key().is_none() && course.finish.memory.demotion.is_none());
    course
}

fn calls(course: &Course) -> Option<(&FailsafeCall, Vec<&str>)> {
    course.asked.iter().find_map(|c| match c {
        Command::CallFailsafe { call, members, .. } => {
            Some((&**call, members.iter().map(|(name, _)| name.as_str()).collect()))
        }
        _ => None,
    })
}

// rows: HA-13, FSM-01, FSM-03
#[test]
fn a_primary_goes_on_only_when_all_members_agree() {
    let course = goes_on(alone(&["a", "b", "c"]), agree(&["b", "c"]));
    let (call, asked) = calls(&course).unwrap();
    assert_eq!((call.name.as_str(), asked), ("a", vec!["b", "c"]));
    assert_eq!(call.api_url, "http://10.0.0.1:8008/patroni");
    assert_eq!(call.slots.as_ref().unwrap().get("a"), Some(&Lsn(1000)));
    assert_eq!(course.finish.memory.shown_failsafe(), Some(view().now + secs(30)));
    assert_eq!(course.finish.memory.shown_lease(), Some(view().now + secs(30)));

    let course = steps_down(alone(&["a", "b", "c"]), agree(&["b"]));
    assert!(calls(&course).is_some());
    assert_eq!((course.finish.memory.shown_lease(), course.finish.memory.shown_failsafe()), (None, None));
    steps_down(alone(&["a", "b", "c"]), agree(&[]));
    let off = steps_down(alone(&["a", "b"]).change(|v| v.global.failsafe_mode = false), agree(&["b"]));
    assert!(calls(&off).is_none());
    // nothing of it in pause, as without the mode
    let paused = run(&alone(&["a", "b"]).paused(), &agree(&["b"]));
    assert_eq!((paused.sentence(), calls(&paused)), ("PAUSE: DCS is not accessible", None));
}

// rows: HA-13, FSM-03
#[test]
fn a_renewal_without_an_answer_is_a_silent_store() {
    let view = || on(view().primary().member("b", 900).leader("a"), &["a", "b"]);
    let silent = |w: World| w.change(|w| w.renew = Some(Outcome::Unknown("late".to_owned())));
    goes_on(view(), silent(agree(&["b"])));
    steps_down(view(), silent(world()));
    // the lock is refused: nobody is asked whether that counts
    let lost = run(&view(), &agree(&["b"]).change(|w| w.renew = Some(Outcome::Conflict)));
    assert_eq!(lost.sentence(), "demoted self because failed to update leader lock in DCS");
    assert!(calls(&lost).is_none());
    // a new process finds the lock its own in this very cycle
    goes_on(view().change(|v| v.memory.lease_until = None), silent(agree(&["b"])));
}

// rows: FSM-04
#[test]
fn who_is_not_in_the_map_steps_down_and_who_is_alone_in_it_goes_on() {
    let course = steps_down(alone(&["b"]), agree(&["b"]));
    assert!(calls(&course).is_none());
    steps_down(alone(&[]), agree(&["b", "c"]));
    steps_down(alone(&[]).change(|v| v.memory.failsafe.members = None), agree(&["b", "c"]));
    let course = goes_on(alone(&["a"]), world());
    assert_eq!(calls(&course).unwrap().1, Vec::<&str>::new());
}

// rows: FSM-03
#[test]
fn an_interrupted_right_to_lead_is_not_taken_up_again() {
    let late = |v: View| v.change(|v| v.memory.lease_until = Some(v.now));
    let course = steps_down(late(alone(&["a", "b"])), agree(&["b"]));
    assert!(calls(&course).is_none() && course.logged("the right to lead has run out"));
    // one round carries to the next
    let carried = late(alone(&["a", "b"])).change(|v| v.memory.failsafe.until = Some(v.now + secs(5)));
    goes_on(carried.clone(), agree(&["b"]));
    steps_down(carried.clone(), world());
    // also when the store says for a moment that nobody leads and then nothing
    let unlocked = |v: View| {
        let back = on(view().primary().member("b", 900), &["a", "b"]).change(|b| b.memory = v.memory.clone());
        run(&back, &agree(&["b"]).change(|w| w.acquire = Some(Outcome::Unknown("late".to_owned()))))
    };
    assert_eq!(unlocked(carried).finish.rule, Rule::FailsafeLeader);
    assert_eq!(unlocked(late(alone(&["a", "b"]))).finish.rule, Rule::DemotedOffline);
}

// rows: FSM-02
#[test]
fn the_leader_writes_down_who_may_lead() {
    let written = |course: &Course| {
        course.finish.commands.iter().find_map(|c| match c {
            Command::WriteFailsafe(map) => Some(map.clone()),
            _ => None,
        })
    };
    let leader = |names: &[&str]| on(view().primary().member("b", 900).leader("a"), names);
    let own = |mut map: IndexMap<String, String>| {
        map.insert("a".to_owned(), "http://a:8008/patroni".to_owned());
        map
    };
    let course = run(&leader(&["a", "c"]), &world());
    assert_eq!(written(&course), Some(own(map(&["a", "b"]))));
    // either map may stand in the store until it is read again
    let known: Vec<&String> = course.finish.memory.failsafe.members.as_ref().unwrap().keys().collect();
    assert_eq!(known, ["a", "c", "b"]);
    assert_eq!(written(&run(&leader(&["b", "a"]), &world())), None, "nothing changed");
    let moved = leader(&["a", "b"]).cluster_with(|c| {
        c.failsafe.as_mut().unwrap().insert("b".to_owned(), "http://elsewhere".to_owned());
    });
    assert!(written(&run(&moved, &world())).is_some());
    // myself also before my key is there, and nobody without an address
    let new = leader(&[]).cluster_with(|c| c.members.retain(|m| m.name != "a"));
    let new = new.member_with("b", |m| m.data.api_url = None);
    let course = run(&new, &world());
    let mine = IndexMap::from([("a".to_owned(), "http://10.0.0.1:8008/patroni".to_owned())]);
    assert_eq!(written(&course), Some(mine));
    // a map that was only written is nothing to rely on
    let first = run(&leader(&[]).cluster_with(|c| c.failsafe = None), &world());
    assert!(written(&first).is_some() && first.finish.memory.failsafe.members.is_none());
    assert_eq!(written(&run(&leader(&[]).change(|v| v.global.failsafe_mode = false), &world())), None);
    let standby = on(view().member("b", 900).leader("b"), &[]);
    assert_eq!(written(&run(&standby, &world())), None);
}

// rows: FSM-07, FSM-08, RACE-01
#[test]
fn who_was_called_sees_the_caller_in_the_lead() {
    let free = || on(view().member("b", 1000).member("c", 1000), &["a", "b", "c"]);
    let course = says(called(free(), "b", 1), world(), FOLLOWS);
    assert!(!course.asked.contains(&Command::AcquireLeader));
    let follows = course.asked.iter().find_map(|c| match c {
        Command::CheckRecovery { upstream } => upstream.clone(),
        _ => None,
    });
    assert_eq!(follows.unwrap().conn.get("port").map(String::as_str), Some("6000"), "where the caller says it is");
    // its key may have run out
    let gone = on(view().member("c", 1000), &["a", "b", "c"]);
    says(called(gone, "b", 1), world(), FOLLOWS);
    // the promise ends, or another is in the lead; it holds when the mode is turned off
    assert_eq!(run(&called(free(), "b", 0), &world()).finish.rule, Rule::Promoted);
    let led = called(free().leader("c"), "b", 20);
    says(led, world(), "no action. I am (a), a secondary, and following a leader (c)");
    let off = called(free(), "b", 20).change(|v| v.global.failsafe_mode = false);
    says(off, world(), FOLLOWS);
    // the last view that had a leader is what the store said
    let last = run(&called(free(), "b", 20), &world()).finish.memory.last_led;
    assert!(last.unwrap().is_unlocked());
}

// rows: FSM-08, RACE-01, RACE-07
#[test]
fn who_is_not_in_the_map_does_not_race_and_all_in_it_are_asked() {
    let free = |names: &[&str]| on(view().member("b", 1000), names);
    let course = says(free(&["b", "c"]), world(), NOT_FIRST);
    assert!(course.logged("I am not in the failsafe map") && !course.asked.contains(&Command::AcquireLeader));
    let chosen = free(&["b", "c"]).failover(None, Some("a"));
    assert!(!run(&chosen, &world()).asked.contains(&Command::AcquireLeader), "nor when it is chosen");
    assert_eq!(run(&free(&[]), &world()).finish.rule, Rule::Promoted);
    assert_eq!(run(&free(&["b"]).change(|v| v.global.failsafe_mode = false), &world()).finish.rule, Rule::Promoted);
    // c has no key any more
    assert_eq!(run(&free(&["a", "b", "c"]), &world().peer(peer("c", 900))).finish.rule, Rule::Promoted);
    let course = says(free(&["a", "b", "c"]), world().peer(peer("c", 1001)), NOT_FIRST);
    assert!(course.logged("Wal position of c is ahead"));
    let primary = PeerStatus { in_recovery: Some(false), ..peer("c", 0) };
    assert!(says(free(&["a", "b", "c"]), world().peer(primary), NOT_FIRST).logged("Primary (c) is still alive"));
}

// rows: FSM-08, RACE-01
#[test]
fn a_new_process_may_have_promised_something() {
    let fresh = |v: View| v.change(|v| v.memory.failsafe.promised_until = Some(v.now + secs(8)));
    let free = || fresh(on(view(), &["a", "b", "c"]));
    let answers = |names: &[&str]| names.iter().fold(world(), |world, name| world.peer(peer(name, 900)));
    let course = says(free(), answers(&["b"]), NOT_FIRST);
    assert!(course.logged("c may lead by a promise"));
    assert_eq!(course.finish.wake_in, Some(secs(8)));
    assert_eq!(run(&free(), &answers(&["b", "c"])).finish.rule, Rule::Promoted);
    assert_eq!(
        run(&on(view(), &["a"]).change(|v| v.memory = fresh(view()).memory), &world()).finish.rule,
        Rule::Promoted
    );
    // whose key says that it is a standby, or has stopped, cannot lead
    let known = |state, role| {
        let member =
            |v: View, name: &str| v.member_with(name, |m| (m.data.state, m.data.role) = (Some(state), Some(role)));
        run(&member(member(free(), "b"), "c"), &world()).finish.rule
    };
    assert_eq!(known(PgState::Running, Role::Replica), Rule::Promoted);
    assert_eq!(known(PgState::Stopped, Role::Primary), Rule::Promoted);
    assert_eq!(known(PgState::Running, Role::Primary), Rule::NotHealthiestFollowing);
    // set once, at the first reading of the store
    let first = |v: View| run(&v, &world()).finish.memory.failsafe.promised_until;
    assert_eq!(first(view().leader("b")), Some(view().now + secs(30)));
    assert_eq!(first(fresh(view().leader("b"))), Some(view().now + secs(8)));
    assert_eq!(first(view().silent()), None);
}

// rows: FSM-11, HA-14, SLOT-06
#[test]
fn a_standby_keeps_its_slots_by_what_the_caller_said() {
    let last = view().member("b", 900).member("c", 850).leader("b").cluster.unwrap();
    let silent = |mode: bool| {
        view().silent().change(|v| {
            v.global.failsafe_mode = mode;
            v.global.slots =
                json!({"l": {"type": "logical", "database": "d", "plugin": "p"}}).as_object().cloned().unwrap();
            v.memory.last_led = Some(last.clone());
        })
    };
    let missing = || world().change(|w| w.slots_to_copy = vec!["l".to_owned()]);
    let slots = |view: View| {
        let course = says(view, missing(), "DCS is not accessible");
        assert!(course.jobs().is_empty(), "nothing is copied");
        let lsn = |slot: &WantedSlot| (slot.name.clone(), slot.lsn.map(|l| l.0));
        course.slot_plan().map(|plan| plan.slots.iter().map(lsn).collect::<Vec<_>>())
    };
    let named =
        |slots: &[(&str, Option<u64>)]| Some(slots.iter().map(|(n, l)| ((*n).to_owned(), *l)).collect::<Vec<_>>());
    assert_eq!(slots(called(silent(true), "b", 5)), named(&[("b", Some(990)), ("c", Some(970)), ("l", None)]));
    assert_eq!(slots(silent(true)), named(&[("b", None), ("c", None), ("l", None)]));
    assert_eq!(slots(silent(false)), None);
    assert_eq!(slots(silent(true).change(|v| v.memory.last_led = None)), None);
    assert_eq!(slots(silent(true).change(|v| v.status = None)), None);
    let paused = run(&silent(true).paused(), &world());
    assert_eq!((paused.sentence(), paused.slot_plan()), ("PAUSE: DCS is not accessible", None));
    // a promotion that goes on has the server
    let promotes = silent(true).job(crate::ha::Job::Promote { wait: secs(1) }, JobPhase::PrePromote);
    assert!(run(&promotes, &world()).finish.commands.contains(&Command::CancelJob));
}

// rows: FSM-06, FSM-11, SLOT-16
#[test]
fn slots_of_cascading_members_follow_what_they_answered() {
    let cascade = |v: View| v.member_with("c", |m| m.data.tags = tags(json!({"replicatefrom": "b"})));
    let last = cascade(view().member("b", 900).member("c", 850).leader("a")).cluster.unwrap();
    let view = alone(&["a", "b", "c"]).change(|v| v.memory.last_led = Some(last));
    let course = goes_on(view, agree(&["b", "c"]));
    let plan = course.slot_plan().unwrap();
    assert_eq!((plan.wanted("c").unwrap().lsn, plan.primary), (Some(Lsn(950)), true));
    // who leaves the lead to a caller copies nothing from it when the store is there
    let free = called(on(self::view().member("b", 1000), &["a", "b"]), "b", 5).change(|v| {
        v.global.slots =
            json!({"l": {"type": "logical", "database": "d", "plugin": "p"}}).as_object().cloned().unwrap();
    });
    says(free, world().change(|w| w.slots_to_copy = vec!["l".to_owned()]), FOLLOWS);
}

// rows: FSM-12
#[test]
fn the_first_cycle_with_the_store_ends_it() {
    let until = |view: View, world: World| {
        let lasting = view.change(|v| {
            v.memory.failsafe.until = Some(v.now + secs(25));
            v.memory.failsafe.positions = [("b".to_owned(), Lsn(5))].into_iter().collect();
        });
        let memory = run(&lasting, &world).finish.memory;
        (memory.shown_failsafe(), memory.failsafe.positions.len())
    };
    let back = || on(view().primary().member("b", 900), &["a", "b"]);
    assert_eq!(until(back().leader("a"), world()), (None, 0));
    assert_eq!(until(back(), world()), (None, 0), "the key had run out and was taken again");
    assert_eq!(until(alone(&["a"]), world()).0, Some(view().now + secs(30)));
    // another member leads: whatever was agreed to is over
    let memory = run(&back().leader("b").change(|v| v.memory.failsafe.until = Some(v.now + secs(9))), &world());
    assert_eq!((memory.finish.memory.leads_until(), memory.job().unwrap().kind()), (None, JobKind::Stop));
}
