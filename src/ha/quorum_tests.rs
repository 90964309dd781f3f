//! From any state, whatever is cut off after any step: every commit set and every vote share a node.

use super::*;
use proptest::prelude::*;

const NODES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// The nodes of a bit mask; `a` leads and is never one of them.
fn set(mask: u8) -> NameSet {
    NODES.iter().enumerate().filter(|(at, _)| *at > 0 && mask & (1 << at) != 0).map(|(_, name)| name).collect()
}

fn names(text: &str) -> NameSet {
    text.chars().map(String::from).collect()
}

fn state(quorum: i64, voters: &str, numsync: i64, sync: &str) -> QuorumState {
    QuorumState { leader: "a".to_owned(), quorum, voters: names(voters), numsync, sync: names(sync) }
}

fn goal(confirmed: i64, active: &str, sync_wanted: i64) -> Goal {
    Goal { confirmed, active: names(active), sync_wanted, leader: "a".to_owned() }
}

fn key(quorum: i64, voters: &str) -> Transition {
    Transition::Quorum { leader: "a".to_owned(), quorum, voters: names(voters) }
}

fn list(num: i64, of: &str) -> Transition {
    Transition::Sync { num, names: names(of) }
}

fn apply(state: &QuorumState, step: &Transition) -> QuorumState {
    match step {
        Transition::Quorum { leader, quorum, voters } => {
            QuorumState { leader: leader.clone(), quorum: *quorum, voters: voters.clone(), ..state.clone() }
        }
        Transition::Sync { num, names } => QuorumState { numsync: *num, sync: names.clone(), ..state.clone() },
        Transition::Restart => state.clone(),
    }
}

fn subsets(of: &NameSet, size: i64) -> Vec<NameSet> {
    let all = of.to_vec();
    let masks = 0_u32..1 << all.len();
    let pick = |mask: u32| all.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, n)| n).collect();
    masks.map(pick).filter(|set: &NameSet| int(set.len()) == size).collect()
}

/// Counts the sets one by one, as they are used: a commit is on the leader and `numsync` of the list; whoever is elected
/// has seen that `quorum` + 1 nodes of voters and the key's leader are not ahead of it, or is one of them itself.
fn overlaps(state: &QuorumState, leader: &str) -> bool {
    if state.voters.is_empty() {
        // Nobody but the key's leader is ever elected.
        return true;
    }
    let votes = subsets(&state.voters.with(&state.leader), state.quorum + 1);
    let commits = subsets(&state.sync.without(leader), state.numsync.min(int(state.sync.len())));
    votes.iter().all(|vote| commits.iter().all(|commit| !vote.intersection(&commit.with(leader)).is_empty()))
}

fn sound(state: &QuorumState, leader: &str) -> Result<(), String> {
    state.check(leader)?;
    if !overlaps(state, leader) {
        return Err("a commit that no voter of some vote has".to_owned());
    }
    if state.quorum < 0 {
        return Err(format!("quorum {}", state.quorum));
    }
    let sane = (0..=int(state.sync.len())).contains(&state.numsync);
    if sane { Ok(()) } else { Err(format!("numsync {} of {}", state.numsync, state.sync.len())) }
}

prop_compose! {
    /// A state at rest.
    fn steady()(mask in 0_u8..64, num in 1_i64..5) -> QuorumState {
        let sync = set(mask);
        let numsync = num.min(int(sync.len()));
        let quorum = int(sync.len()) - numsync;
        QuorumState { leader: "a".to_owned(), quorum, voters: sync.clone(), numsync, sync }
    }
}

prop_compose! {
    /// `confirmed` is drawn as a part of those that are active and listed.
    fn turn()(active in 0_u8..64, confirmed in 0_u8..64, sync_wanted in 1_i64..5, cut in 0_usize..6)
        -> (NameSet, NameSet, i64, usize) {
        (set(active), set(confirmed), sync_wanted, cut)
    }
}

fn turned(at: &QuorumState, turn: &(NameSet, NameSet, i64, usize)) -> Goal {
    let (active, confirmed, sync_wanted, _) = turn;
    let confirmed = int(confirmed.intersection(active).intersection(&at.sync).len());
    Goal { confirmed, active: active.clone(), sync_wanted: *sync_wanted, leader: "a".to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// Nodes come, go and fall behind, the factor changes, and each run may be cut off after any step.
    // rows: SYNC-14
    #[test]
    fn every_step_of_every_interrupted_run_is_sound(
        start in steady(), turns in prop::collection::vec(turn(), 1..8),
    ) {
        let mut at = start;
        for turn in &turns {
            let goal = turned(&at, turn);
            let (steps, _) = transitions(at.clone(), goal.clone());
            for step in steps.iter().take(turn.3) {
                let next = apply(&at, step);
                let verdict = sound(&next, "a");
                prop_assert!(verdict.is_ok(), "{verdict:?}: {step:?} of {steps:?} from {at:?} to {goal:?}");
                at = next;
            }
        }
    }

    /// When everybody has confirmed, a few runs reach the state that is wanted, and then nothing is left to do.
    #[test]
    fn it_comes_to_rest(start in steady(), turns in prop::collection::vec(turn(), 0..5), last in turn()) {
        let mut at = start;
        for turn in &turns {
            let (steps, _) = transitions(at.clone(), turned(&at, turn));
            at = steps.iter().take(turn.3).fold(at, |at, step| apply(&at, step));
        }
        let (active, _, sync_wanted, _) = &last;
        for _ in 0..6 {
            let confirmed = active.clone();
            let (steps, _) = transitions(at.clone(), turned(&at, &(active.clone(), confirmed, *sync_wanted, 9)));
            at = steps.iter().fold(at, |at, step| apply(&at, step));
        }
        let numsync = (*sync_wanted).min(int(active.len()));
        let wanted = QuorumState {
            leader: "a".to_owned(), quorum: int(active.len()) - numsync, voters: active.clone(), numsync, sync: active.clone(),
        };
        prop_assert_eq!(at, wanted);
    }

    /// Another leader: the list was set before the promotion as the rules do it.
    // rows: SYNC-14
    #[test]
    fn a_change_of_leader_is_sound(start in steady(), turn in turn(), listed: bool, winner in 1_usize..6) {
        let winner = NODES[winner];
        let others = start.voters.with("a").without(winner);
        let num = int(others.len()) - start.quorum;
        if num <= 0 || start.voters.is_empty() {
            return Ok(());
        }
        let (numsync, sync) = if listed { (num, others) } else { (0, NameSet::default()) };
        let mut at = QuorumState { numsync, sync, ..start };
        let goal = Goal { leader: winner.to_owned(), active: turn.0.without(winner), ..turned(&at, &turn) };
        let goal = Goal { confirmed: goal.confirmed.min(int(goal.active.intersection(&at.sync).len())), ..goal };
        let (steps, _) = transitions(at.clone(), goal.clone());
        for step in &steps {
            let next = apply(&at, step);
            let verdict = sound(&next, winner);
            prop_assert!(verdict.is_ok(), "{verdict:?}: {step:?} of {steps:?} from {at:?} to {goal:?}");
            at = next;
        }
    }

    /// Leaders come and go between and within runs: whoever is elected had enough votes, and sets the list as the rules do
    /// before a promotion.
    // rows: SYNC-14
    #[test]
    fn leaders_come_and_go_soundly(
        start in steady(), events in prop::collection::vec((turn(), prop::option::of(0_usize..6)), 1..10),
    ) {
        let (mut at, mut acting) = (start, "a".to_owned());
        for (turn, elected) in &events {
            if let Some(winner) = elected.map(|n| NODES[n]).filter(|n| *n != acting && !at.voters.is_empty()) {
                let members = at.voters.with(&at.leader);
                let num = int(members.len()) - at.quorum - i64::from(members.contains(winner));
                // None are waited for when whoever is elected next needs every vote, also the winner's.
                let sync = if num > 0 { members.without(winner) } else { NameSet::default() };
                at = QuorumState { numsync: num.max(0), sync, ..at };
                acting = winner.to_owned();
                prop_assert!(sound(&at, &acting).is_ok(), "{at:?} led by {acting}");
            }
            let active = turn.0.without(&acting);
            let confirmed = int(turn.1.intersection(&active).intersection(&at.sync).len());
            let goal = Goal { confirmed, active, sync_wanted: turn.2, leader: acting.clone() };
            let (steps, broken) = transitions(at.clone(), goal.clone());
            for step in steps.iter().take(turn.3) {
                let next = apply(&at, step);
                let verdict = sound(&next, &acting);
                prop_assert!(verdict.is_ok(), "{verdict:?}: {step:?} of {steps:?} from {at:?} to {goal:?}, {broken:?}");
                at = next;
            }
        }
    }

    /// Whatever stands in the two places, nothing panics, and what is written is sound.
    #[test]
    fn nonsense_is_repaired(
        quorum in 0_i64..7, voters in 0_u8..64, numsync in 0_i64..7, sync in 0_u8..64, turn in turn(), foreign: bool,
    ) {
        let leader = if foreign { "f" } else { "a" }.to_owned();
        let sync = set(sync);
        let start = QuorumState { leader, quorum, voters: set(voters), numsync: numsync.min(int(sync.len())), sync };
        let was_sound = sound(&start, "a").is_ok();
        let (steps, broken) = transitions(start.clone(), turned(&start, &turn));
        let mut at = start.clone();
        let mut repaired = was_sound;
        for step in &steps {
            at = apply(&at, step);
            // A repair may take a list and a key.
            repaired |= sound(&at, "a").is_ok();
            prop_assert!(!repaired || sound(&at, "a").is_ok(), "{at:?} by {steps:?} from {start:?}, {broken:?}");
        }
    }
}

// rows: SYNC-12, SYNC-14
#[test]
fn the_order_is_the_one_that_is_safe() {
    for (what, from, to, steps) in [
        ("the first standby", state(0, "", 0, ""), goal(0, "b", 1), vec![list(1, "b"), Transition::Restart]),
        ("it has confirmed", state(0, "", 1, "b"), goal(1, "b", 1), vec![key(0, "b")]),
        ("a second one", state(0, "b", 1, "b"), goal(1, "bc", 1), vec![key(1, "bc"), list(1, "bc")]),
        ("cut off after the key", state(1, "bc", 1, "b"), goal(1, "bc", 1), vec![list(1, "bc")]),
        ("a larger factor", state(1, "bc", 1, "bc"), goal(2, "bc", 2), vec![list(2, "bc"), key(0, "bc")]),
        ("a smaller factor", state(0, "bc", 2, "bc"), goal(2, "bc", 1), vec![key(1, "bc"), list(1, "bc")]),
        ("one is gone", state(1, "bc", 1, "bc"), goal(1, "b", 1), vec![list(1, "b"), key(0, "b")]),
        ("one of two needed is gone", state(0, "bc", 2, "bc"), goal(1, "b", 2), vec![key(0, "b"), list(1, "b")]),
        ("all are gone", state(1, "bc", 1, "bc"), goal(0, "", 1), vec![key(0, ""), list(0, "")]),
        ("nothing to do", state(1, "bc", 1, "bc"), goal(2, "bc", 1), vec![]),
        ("a dead one in the key alone", state(2, "bcd", 1, "bc"), goal(2, "bc", 1), vec![key(1, "bc")]),
        ("a dead one in the list alone", state(0, "", 1, "bc"), goal(1, "b", 1), vec![list(1, "b"), key(0, "b")]),
        (
            "the only one in both is dead",
            state(0, "b", 2, "bc"),
            goal(1, "c", 1),
            vec![key(1, "bc"), list(1, "c"), key(0, "c")],
        ),
        (
            "one is gone, and a larger factor",
            state(2, "bcd", 1, "bcd"),
            goal(2, "bc", 2),
            vec![list(2, "bc"), key(0, "bc")],
        ),
        (
            "one is gone, and a smaller factor",
            state(0, "bcd", 3, "bcd"),
            goal(2, "bc", 1),
            vec![key(1, "bc"), list(1, "bc")],
        ),
        (
            "a smaller factor before the key has followed",
            state(1, "bcd", 3, "bcd"),
            goal(3, "bcd", 1),
            vec![list(2, "bcd"), key(2, "bcd"), list(1, "bcd")],
        ),
        (
            "a smaller factor before all have confirmed",
            state(0, "", 3, "bcd"),
            goal(2, "bcd", 1),
            vec![key(2, "bcd"), list(1, "bcd")],
        ),
        (
            "all are gone before all had confirmed",
            state(1, "bc", 2, "bc"),
            goal(0, "", 1),
            vec![key(0, ""), list(0, "")],
        ),
    ] {
        assert_eq!(transitions(from, to), (steps, None), "{what}");
    }
}

// rows: SYNC-12, SYNC-14
#[test]
fn who_has_not_confirmed_is_not_elected_by_his_own_vote() {
    for (what, from, to, steps) in [
        (
            "one of two has confirmed, both are waited for",
            state(0, "b", 1, "b"),
            goal(1, "bc", 2),
            vec![list(2, "bc"), key(1, "bc")],
        ),
        ("the other one as well", state(1, "bc", 2, "bc"), goal(2, "bc", 2), vec![key(0, "bc")]),
        (
            "the only one that had confirmed is gone",
            state(1, "bc", 1, "bc"),
            goal(0, "c", 1),
            vec![list(1, "c"), key(1, "c")],
        ),
        ("the one that is left confirms", state(1, "c", 1, "c"), goal(1, "c", 1), vec![key(0, "c")]),
        (
            "those that are listed are gone, one that is not is there",
            state(3, "bcde", 2, "bc"),
            goal(0, "d", 1),
            vec![key(3, "bcd"), list(1, "d"), key(1, "d")],
        ),
        (
            "after a restart the key tells how many have",
            state(0, "b", 1, "b"),
            goal(0, "bc", 1),
            vec![key(1, "bc"), list(1, "bc")],
        ),
    ] {
        assert_eq!(transitions(from, to), (steps, None), "{what}");
    }
}

#[test]
fn a_new_leader_takes_the_old_one_among_the_voters() {
    let from = QuorumState { leader: "b".to_owned(), ..state(1, "ac", 1, "bc") };
    let (steps, broken) = transitions(from, goal(0, "", 1));
    assert_eq!((steps, broken), (vec![key(1, "bc")], None), "the others get a cycle to connect");
    let from = QuorumState { leader: "b".to_owned(), ..state(1, "ac", 0, "") };
    assert_eq!(transitions(from, goal(0, "c", 1)).0[0], list(1, "bc"));
}

#[test]
fn a_key_that_does_not_fit_the_list_is_made_to_fit_it() {
    let (steps, broken) = transitions(state(0, "bc", 1, "bc"), goal(1, "bc", 1));
    assert_eq!(steps, [key(1, "bc")]);
    assert!(broken.is_some_and(|why| why.contains("not guaranteed to overlap")));
}

#[path = "quorum_confirm_tests.rs"]
mod confirmation;
