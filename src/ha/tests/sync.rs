//! Synchronous modes: the order of list and key, promotion, race, leaving.

use crate::cluster::*;
use crate::config::settings::SynchronousMode::{self, *};
use crate::ha::testing::*;
use crate::ha::{Command, JobKind, JobResult, Outcome, View};
use crate::types::Lsn;

const STAYS: &str = "no action. I am (a), the leader with the lock";

/// A sentence about a step, short enough for tables.
pub(super) fn steps(course: &Course) -> Vec<String> {
    let text = |command: &Command| match command {
        Command::WriteSync(state) => {
            let leader = state.leader.clone().unwrap_or_default();
            Some(format!("key {leader} {} {}", state.quorum, state.sync_standby.join(",")))
        }
        Command::DeleteSync(revision) => Some(format!("delete {}", revision.0)),
        Command::SetSyncNames(SyncNames::Own(text)) => Some(format!("list {text}")),
        Command::SetSyncNames(SyncNames::Users) => Some("list of the user".to_owned()),
        _ => None,
    };
    course.asked.iter().filter_map(text).collect()
}

pub(super) fn leading(mode: SynchronousMode) -> View {
    let view =
        view().primary().leader("a").member("b", 1000).member("c", 1000).change(|v| v.global.synchronous_mode = mode);
    listed(view, "")
}

pub(super) fn listed(view: View, names: &str) -> View {
    view.change(|v| {
        if let Some(status) = &mut v.status {
            status.synchronous_standby_names = names.to_owned();
        }
        // As after an earlier cycle.
        let status = v.status.clone().unwrap_or_default();
        let wanted = crate::ha::sync::Wanted { me: "a", quorum: false, count: 1, max_lag: None, knows_any: true };
        v.memory.sync.tracker.observe(&NodeStatus { write_lsn: Lsn(500), ..status }, &Cluster::default(), wanted);
    })
}

pub(super) fn key(view: View, leader: &str, quorum: u32, standbys: &[&str]) -> View {
    view.cluster_with(|c| {
        c.sync = SyncState {
            revision: Some(Revision(9)),
            leader: Some(leader.to_owned()),
            sync_standby: standbys.iter().map(|s| (*s).to_owned()).collect(),
            quorum,
        };
    })
}

pub(super) fn streams(view: View, standbys: &[(&str, &str, u64)]) -> View {
    view.change(|v| {
        if let Some(status) = &mut v.status {
            status.replication = standbys.iter().map(|(name, state, lsn)| standby(name, state, *lsn)).collect();
        }
    })
}

pub(super) fn become_sync(standbys: &[(&str, &str, u64)]) -> World {
    let standbys = standbys.iter().map(|(n, s, l)| ((*n).to_owned(), (*s).to_owned(), *l)).collect();
    world().change(|w| w.standbys = Some(standbys))
}

// rows: SYNC-02, SYNC-03, SYNC-07, SYNC-19, SYNC-21
#[test]
fn by_priority_the_key_shrinks_first_and_grows_last() {
    let b = |state| ("b", state, 1000);
    let c = |state| ("c", state, 900);
    for (what, view, world, wanted) in [
        ("activation", leading(On), world(), &["key a 0 "][..]),
        (
            "the first standby, confirmed at once",
            streams(key(leading(On), "a", 0, &[]), &[b("async")]),
            become_sync(&[b("sync")]),
            &["list b", "key a 0 b"],
        ),
        (
            "the first standby, behind",
            streams(key(leading(On), "a", 0, &[]), &[("b", "async", 999)]),
            become_sync(&[("b", "sync", 999)]),
            &["list b"],
        ),
        ("all well", listed(streams(key(leading(On), "a", 0, &["b"]), &[b("sync")]), "b"), world(), &[]),
        (
            "another takes its place",
            listed(streams(key(leading(On), "a", 0, &["b"]), &[("c", "async", 1000)]), "b"),
            become_sync(&[("c", "sync", 1000)]),
            &["key a 0 ", "list c", "key a 0 c"],
        ),
        (
            "nobody is left",
            listed(streams(key(leading(On), "a", 0, &["b"]), &[]), "b"),
            world(),
            &["key a 0 ", "list "],
        ),
        (
            "nobody is left, strict",
            listed(streams(key(leading(On), "a", 0, &["b"]), &[]), "b")
                .change(|v| v.global.synchronous_mode_strict = true),
            world(),
            &["key a 0 ", "list *"],
        ),
        (
            "one more",
            listed(streams(key(leading(On), "a", 0, &["b"]), &[b("sync"), c("async")]), "b")
                .change(|v| v.global.synchronous_node_count = 2),
            become_sync(&[b("sync"), ("c", "sync", 1000)]),
            &["list 2 (b,c)", "key a 0 b,c"],
        ),
        (
            "one less",
            listed(streams(key(leading(On), "a", 0, &["b", "c"]), &[b("sync"), c("sync")]), "2 (b,c)"),
            become_sync(&[b("sync"), c("async")]),
            &["key a 0 b", "list b"],
        ),
        (
            "the key names one that the server does not wait for",
            listed(streams(key(leading(On), "a", 0, &["b"]), &[b("async")]), ""),
            become_sync(&[b("sync")]),
            &["key a 0 ", "list b", "key a 0 b"],
        ),
        (
            "somebody else's key",
            listed(streams(key(leading(On), "c", 0, &["b"]), &[b("sync")]), "b"),
            world(),
            &["key a 0 ", "key a 0 b"],
        ),
        (
            "strict, switched on without standbys",
            key(leading(On), "a", 0, &[]).change(|v| v.global.synchronous_mode_strict = true),
            world(),
            &["list *"],
        ),
        ("strict, switched off", listed(key(leading(On), "a", 0, &[]), "*"), world(), &["list "]),
        (
            "from quorum",
            listed(streams(key(leading(On), "a", 1, &["b", "c"]), &[b("quorum"), c("quorum")]), "ANY 1 (b,c)"),
            become_sync(&[b("sync"), c("async")]),
            &["key a 0 ", "list b", "key a 0 b"],
        ),
    ] {
        let course = says(view, world, STAYS);
        assert_eq!(steps(&course), wanted, "{what}: {:#?}", course.finish.log);
    }
}

// rows: SYNC-03
#[test]
fn a_standby_that_is_behind_is_looked_at_again_soon() {
    let view = streams(key(leading(On), "a", 0, &[]), &[("b", "async", 999)]);
    let course = says(view, become_sync(&[("b", "sync", 999)]), STAYS);
    assert_eq!(course.finish.wake_in, Some(std::time::Duration::from_millis(500)));
    assert_eq!(course.finish.memory.sync.confirm_until, Some(crate::ha::testing::view().now + secs(2)));
    // It has caught up: the key, without another change of the list.
    let view = streams(key(leading(On), "a", 0, &[]), &[("b", "sync", 1000)]);
    let view = view.change(|v| {
        v.memory.sync = course.finish.memory.sync.clone();
        v.status.as_mut().unwrap().synchronous_standby_names = "b".to_owned();
    });
    assert_eq!(steps(&says(view, world(), STAYS)), ["key a 0 b"]);
}

// rows: SYNC-03
#[test]
fn a_step_that_was_not_done_ends_all_steps() {
    let view = || listed(streams(key(leading(On), "a", 0, &["b"]), &[("c", "async", 1000)]), "b");
    let failing = |outcome: Outcome| world().change(|w| w.write_sync = Some(outcome));
    for (outcome, unsettled) in [
        (Outcome::Conflict, false),
        (Outcome::Unreachable("no".to_owned()), false),
        (Outcome::Unknown("late".to_owned()), true),
    ] {
        let course = says(view(), failing(outcome.clone()), STAYS);
        assert_eq!(steps(&course), ["key a 0 "], "{outcome:?}");
        assert_eq!(course.finish.memory.sync.unsettled, unsettled, "{outcome:?}");
    }
    let course = says(view(), world().change(|w| w.set_names = Some(Outcome::Unknown("late".to_owned()))), STAYS);
    assert_eq!(steps(&course), ["key a 0 ", "list c"]);
    assert!(course.finish.memory.sync.unsettled);
    // A server that keeps another list is no server that waits.
    let other =
        Outcome::Status(Box::new(NodeStatus { synchronous_standby_names: "x".to_owned(), ..NodeStatus::default() }));
    let course = says(view(), world().change(|w| w.set_names = Some(other.clone())), STAYS);
    assert_eq!(steps(&course), ["key a 0 ", "list c"]);
    assert!(!course.finish.memory.sync.unsettled);
}

#[test]
fn what_was_not_answered_is_made_impossible_before_anything_is_decided() {
    let view = || {
        listed(streams(key(leading(On), "a", 0, &["b"]), &[("c", "async", 1000)]), "b")
            .change(|v| v.memory.sync.unsettled = true)
    };
    let course = says(view(), become_sync(&[("c", "sync", 1000)]), STAYS);
    assert_eq!(steps(&course)[..2], ["key a 0 b", "list b"], "both as they were read");
    assert!(!course.finish.memory.sync.unsettled);
    let course = says(view(), world().change(|w| w.write_sync = Some(Outcome::Conflict)), STAYS);
    assert_eq!(steps(&course), ["key a 0 b"]);
    assert!(course.finish.memory.sync.unsettled);
}

// rows: SYNC-07, SYNC-12, SYNC-21
#[test]
fn quorum_takes_the_steps_of_the_resolver() {
    let (b, c) = (("b", "quorum", 1000), ("c", "quorum", 1000));
    let strict = |v: &mut View| v.global.synchronous_mode_strict = true;
    for (what, view, world, wanted) in [
        ("activation", leading(Quorum), world(), &["key a 0 "][..]),
        ("alone, strict", leading(Quorum).change(strict), world(), &["key a 0 ", "list ANY 1 (*)"]),
        ("alone, strict no more", listed(key(leading(Quorum), "a", 0, &[]), "ANY 1 (*)"), world(), &["list "]),
        (
            "the first standby",
            streams(key(leading(Quorum), "a", 0, &[]), &[("b", "async", 1000)]),
            become_sync(&[b]),
            &["list ANY 1 (b)"],
        ),
        (
            "it has confirmed",
            listed(streams(key(leading(Quorum), "a", 0, &[]), &[b]), "ANY 1 (b)"),
            world(),
            &["key a 0 b"],
        ),
        (
            "another one",
            listed(streams(key(leading(Quorum), "a", 0, &["b"]), &[b, ("c", "async", 1000)]), "ANY 1 (b)"),
            become_sync(&[b, c]),
            &["key a 1 b,c", "list ANY 1 (b,c)"],
        ),
        (
            "all are gone, strict",
            listed(streams(key(leading(Quorum), "a", 0, &["b"]), &[]), "ANY 1 (b)").change(strict),
            world(),
            &["key a 0 ", "list ANY 1 (*)"],
        ),
        (
            "from the mode by priority",
            listed(streams(key(leading(Quorum), "a", 0, &["b"]), &[("b", "sync", 1000), ("c", "async", 900)]), "b"),
            become_sync(&[b, c]),
            &["key a 1 b,c", "list ANY 1 (b,c)"],
        ),
    ] {
        let course = says(view, world, STAYS);
        assert_eq!(steps(&course), wanted, "{what}: {:#?}", course.finish.log);
    }
}

// rows: SYNC-13
#[test]
fn older_servers_do_what_they_can() {
    let b = |state| streams(key(leading(Quorum), "a", 0, &[]), &[("b", state, 1000), ("c", state, 1000)]);
    let two = |v: &mut View| v.global.synchronous_node_count = 2;
    for (what, version, view, world, wanted) in [
        ("10", 100_000, b("async"), become_sync(&[]), &["list ANY 1 (b,c)"][..]),
        ("9.6 knows no ANY", 90_600, b("async"), become_sync(&[]), &["list 1 (b,c)"]),
        ("9.6 confirms by sync and potential", 90_600, listed(b("potential"), "1 (b,c)"), world(), &["key a 1 b,c"]),
        (
            "9.5 has one at most",
            90_500,
            b("async").change(two),
            become_sync(&[("b", "sync", 1000)]),
            &["list b", "key a 0 b"],
        ),
    ] {
        let version = |v: &mut View| v.server.version = Some(crate::types::PgVersion(version));
        let course = says(view.change(version), world, STAYS);
        assert_eq!(steps(&course), wanted, "{what}: {:#?}", course.finish.log);
    }
}

// rows: SYNC-15
#[test]
fn quorum_waits_after_a_promotion() {
    let view = |ago| {
        let view = listed(streams(key(leading(Quorum), "a", 0, &["b"]), &[]), "ANY 1 (b)");
        view.change(|v| v.memory.sync.quorum_since = Some(v.now - secs(ago)))
    };
    assert!(steps(&says(view(10), world(), STAYS)).is_empty());
    assert_eq!(steps(&says(view(11), world(), STAYS)), ["key a 0 ", "list "]);
}

// rows: SYNC-01, SYNC-21
#[test]
fn switched_off_the_key_goes_first() {
    let view = || listed(key(leading(Off), "a", 0, &["b"]), "b");
    let course = says(view(), world(), STAYS);
    assert_eq!(steps(&course), ["delete 9", "list of the user"]);
    assert!(course.logged("Disabled synchronous replication"));
    let refused = world().change(|w| w.write_sync = Some(Outcome::Conflict));
    assert_eq!(steps(&says(view(), refused, STAYS)), ["delete 9"]);
    assert_eq!(
        steps(&says(
            view().change(|v| v.memory.sync.owned = true).cluster_with(|c| c.sync = SyncState::default()),
            world(),
            STAYS
        )),
        ["list of the user"]
    );
    assert!(steps(&says(leading(Off), world(), STAYS)).is_empty());
}

const PROMOTED: &str = "promoted self to leader because I had the session lock";
const POSTPONED: &str = "Postponing promotion because synchronous replication state was updated by somebody else";

// rows: SYNC-09, SYNC-12
#[test]
fn before_a_promotion_the_key_and_the_list_are_made_safe() {
    let holder =
        |mode| view().leader("a").member("b", 1000).member("c", 1000).change(|v| v.global.synchronous_mode = mode);
    let strict = |v: &mut View| v.global.synchronous_mode_strict = true;
    for (what, view, wanted) in [
        ("by priority", key(holder(On), "b", 0, &["a"]), &["key a 0 ", "list "][..]),
        ("strict", key(holder(On), "b", 0, &["a"]).change(strict), &["key a 0 ", "list *"]),
        ("quorum, a voter", key(holder(Quorum), "b", 1, &["a", "c"]), &["key b 1 a,c", "list ANY 1 (b,c)"]),
        ("quorum 0 of two", key(holder(Quorum), "b", 0, &["a", "c"]), &["key b 0 a,c", "list ANY 2 (b,c)"]),
        ("quorum, from outside", key(holder(Quorum), "b", 1, &["c", "d"]), &["key b 1 c,d", "list ANY 2 (b,c,d)"]),
        ("quorum, not active yet", holder(Quorum), &["list "]),
        ("quorum, not active yet, strict", holder(Quorum).change(strict), &["list ANY 1 (*)"]),
        ("off", key(holder(Off), "b", 0, &["a"]), &["delete 9", "list of the user"]),
    ] {
        let course = does(view, world(), PROMOTED, Some(JobKind::Promote));
        assert_eq!(steps(&course), wanted, "{what}");
    }
    let failing = |outcome| world().change(|w| w.write_sync = Some(outcome));
    for mode in [On, Quorum] {
        let view = || key(holder(mode), "b", 0, &["a"]);
        says(view(), failing(Outcome::Conflict), POSTPONED);
        says(view(), failing(Outcome::Unknown("late".to_owned())), POSTPONED);
        says(view(), world().change(|w| w.set_names = Some(Outcome::Unknown("late".to_owned()))), POSTPONED);
    }
    // Nobody else may lead, so that another list is a nuisance; with a quorum it is a danger.
    let other =
        Outcome::Status(Box::new(NodeStatus { synchronous_standby_names: "x".to_owned(), ..NodeStatus::default() }));
    let stubborn = || world().change(|w| w.set_names = Some(other.clone()));
    does(key(holder(On), "b", 0, &["a"]), stubborn(), PROMOTED, Some(JobKind::Promote));
    says(key(holder(Quorum), "b", 0, &["a"]), stubborn(), POSTPONED);
}

const WON: &str = "promoted self to leader by acquiring session lock";
const NOT_FIRST: &str = "following a different leader because i am not the healthiest node";

// rows: RACE-01, RACE-10, RACE-12, RACE-13, SYNC-12
#[test]
fn the_race_is_for_members_of_the_key() {
    let racer = |mode| view().member("b", 1000).member("c", 1000).change(|v| v.global.synchronous_mode = mode);
    let peers = |b: u64, c: u64| world().peer(peer("b", b)).peer(peer("c", c));
    for (what, view, world, wins) in [
        ("a synchronous standby", key(racer(On), "b", 0, &["a"]), peers(0, 0), true),
        ("not one", key(racer(On), "b", 0, &["c"]), peers(0, 0), false),
        ("the former leader", key(racer(On), "a", 0, &["b"]), peers(900, 0), true),
        ("others do not count", key(racer(On), "b", 0, &["a"]), peers(0, 2000), true),
        ("the former leader is ahead, and alive", key(racer(On), "b", 0, &["a"]), peers(2000, 0), true),
        ("another synchronous one is ahead", key(racer(On), "b", 0, &["a", "c"]), peers(0, 2000), false),
        ("not active yet", racer(On), peers(0, 0), true),
        ("a vote", key(racer(Quorum), "b", 1, &["a", "c"]), peers(0, 900), true),
        ("of one without a server", key(racer(Quorum), "b", 1, &["a", "c"]), peers(0, 0), false),
        ("none needed", key(racer(Quorum), "b", 0, &["a", "c"]), world(), true),
        ("from outside", key(racer(Quorum), "b", 1, &["c", "d"]), peers(900, 900), true),
        ("from outside with one vote", key(racer(Quorum), "b", 1, &["c", "d"]), peers(0, 900), false),
        ("the former leader alone", key(racer(Quorum), "a", 1, &["b", "c"]), world(), true),
        ("no voters", key(racer(Quorum), "b", 0, &[]), peers(0, 900), false),
    ] {
        let course = run(&view, &world);
        assert_eq!(course.sentence(), if wins { WON } else { NOT_FIRST }, "{what}: {:#?}", course.finish.log);
    }
}

// rows: QUIRK-15
#[test]
fn a_voter_that_never_leads_has_its_vote_and_no_veto() {
    let nofailover = || tags(serde_json::json!({"nofailover": true}));
    let racer = || {
        let view = view().member("b", 1000).member_with("c", |m| m.data.tags = nofailover());
        key(view.change(|v| v.global.synchronous_mode = Quorum), "b", 1, &["a", "c"])
    };
    let voter = |lsn: u64| PeerStatus { tags: nofailover(), ..peer("c", lsn) };
    let primary = PeerStatus { in_recovery: Some(false), ..voter(0) };
    let old = PeerStatus { timeline: Some(crate::types::Timeline(1)), ..voter(900) };
    let moved_on = || racer().history(&[(1, 10)]).change(|v| v.memory.last_timeline = Some(crate::types::Timeline(2)));
    for (what, view, voter, wins) in [
        ("not ahead", racer(), voter(1000), true),
        ("unfit for its watchdog", racer(), PeerStatus { watchdog_failed: true, ..voter(1000) }, true),
        ("ahead: it has what I miss", racer(), voter(1001), false),
        ("no server", racer(), voter(0), false),
        ("not reachable", racer(), PeerStatus { reachable: false, ..voter(1000) }, false),
        ("a primary", racer(), primary, false),
        ("on a timeline that was left", moved_on(), old, false),
    ] {
        let course = run(&view, &world().peer(voter));
        assert_eq!(course.sentence(), if wins { WON } else { NOT_FIRST }, "{what}: {:#?}", course.finish.log);
    }
    // where its vote is not needed it is in nobody's way
    let enough = key(racer(), "b", 0, &["a", "c"]);
    assert_eq!(run(&enough, &world().peer(voter(2000))).sentence(), WON);
}

// rows: RACE-18, RACE-19
#[test]
fn a_switchover_is_for_members_of_the_key_and_a_failover_for_all() {
    let both = || world().peer(peer("b", 1000)).peer(peer("c", 1000));
    let leader = |mode| key(leading(mode), "a", 1, &["b", "c"]);
    let demotes = |view: View, world: World| run(&view, &world).sentence() != STAYS;
    let only_b = |mode| key(leading(mode), "a", 0, &["b"]);
    for (what, view, world, wanted) in [
        ("switchover to b", only_b(On).failover(Some("a"), Some("b")), both(), true),
        ("switchover to c", only_b(On).failover(Some("a"), Some("c")), both(), false),
        ("failover to c", only_b(On).failover(None, Some("c")), both(), true),
        ("switchover to anybody", only_b(On).failover(Some("a"), None), world().peer(peer("c", 1000)), false),
        ("quorum reached", leader(Quorum).failover(Some("a"), None), both(), true),
        ("quorum not reached", leader(Quorum).failover(Some("a"), None), world().peer(peer("c", 1000)), false),
        ("but named", leader(Quorum).failover(Some("a"), Some("c")), world().peer(peer("c", 1000)), true),
    ] {
        assert_eq!(demotes(view, world), wanted, "{what}");
    }
    let course = run(&only_b(On).failover(Some("a"), Some("c")), &both());
    assert!(course.logged("Switchover candidate=c does not match with sync_standbys=b"), "{:#?}", course.finish.log);

    // Nobody leads any more.
    let racer = |mode| view().member("b", 1000).member("c", 1000).change(|v| v.global.synchronous_mode = mode);
    for (what, view, wins) in [
        ("not in the key", key(racer(On), "b", 0, &["c"]).failover(Some("b"), None), false),
        ("in the key", key(racer(On), "b", 0, &["a"]).failover(Some("b"), None), true),
        ("chosen, a failover", key(racer(On), "b", 0, &["c"]).failover(None, Some("a")), true),
        ("the chosen one is dead, not in the key", key(racer(On), "b", 0, &["x"]).failover(None, Some("c")), false),
    ] {
        assert_eq!(run(&view, &world()).sentence() == WON, wins, "{what}");
    }
}

// rows: SYNC-14
#[test]
fn with_a_quorum_nobody_takes_over_by_choice_who_may_lack_commits() {
    let chosen = |leader: &str| {
        let view = view().member("b", 1000).member("c", 1000).failover(Some(leader), Some("a"));
        key(view.change(|v| v.global.synchronous_mode = Quorum), "b", 1, &["a", "c"])
    };
    let old = |candidate| {
        let view = view().member("c", 1000).failover(Some("a"), candidate);
        key(view.change(|v| v.global.synchronous_mode = Quorum), "a", 1, &["b", "c"])
    };
    let b_and_c = |b: u64, c: u64| world().peer(peer("b", b)).peer(peer("c", c));
    for (what, view, world, wins) in [
        ("chosen, a vote", chosen("b"), b_and_c(1000, 2000), true),
        ("chosen, all others are ahead", chosen("b"), b_and_c(2000, 2000), false),
        ("chosen, nobody is there", chosen("b"), world(), false),
        ("the old leader, alone", old(None), world(), true),
        ("the old leader, another is not ahead", old(Some("b")), world().peer(peer("c", 900)), true),
        ("the old leader, the chosen one has led since", old(Some("b")), world().peer(peer("c", 2000)), false),
    ] {
        let course = run(&view, &world);
        assert_eq!(course.sentence() == WON, wins, "{what}: {:#?}", course.finish.log);
    }
    // A named member may be told to take over whatever it lacks, and by priority the key alone decides.
    assert_eq!(run(&chosen(""), &b_and_c(2000, 2000)).sentence(), WON);
    let by_priority = chosen("b").change(|v| v.global.synchronous_mode = On);
    assert_eq!(run(&by_priority, &b_and_c(2000, 2000)).sentence(), WON);
    // The request that cannot be met any more goes, so that others may race; with too few answers it stays.
    let empty =
        |c: &Command| matches!(c, Command::WriteFailover { leader: None, candidate: None, expect: Some(_), .. });
    for (view, world, void) in [
        (old(Some("b")), world().peer(peer("c", 2000)), true),
        (chosen("b"), b_and_c(2000, 2000), true),
        (chosen("b"), world(), false),
    ] {
        let course = run(&view, &world);
        assert_eq!(course.finish.commands.iter().any(empty), void, "{:#?}", course.finish.log);
    }
}

// rows: SYNC-14
#[test]
fn a_member_on_a_newer_timeline_is_ahead_wherever_it_is() {
    let racer = |mode| {
        let view = view().member("b", 1000).member("c", 1000).change(|v| v.global.synchronous_mode = mode);
        key(view, "b", 1, &["a", "c"]).change(|v| v.memory.last_timeline = Some(crate::types::Timeline(1)))
    };
    let promoted = |timeline| {
        let c = PeerStatus { timeline: Some(crate::types::Timeline(timeline)), ..peer("c", 900) };
        world().peer(c)
    };
    for mode in [On, Quorum] {
        assert_eq!(run(&racer(mode), &promoted(1)).sentence(), WON, "{mode:?}");
        assert_eq!(run(&racer(mode), &promoted(2)).sentence(), NOT_FIRST, "{mode:?}");
    }
}

// rows: SYNC-11
#[test]
fn a_synchronous_standby_asks_to_be_released_before_it_stops() {
    let standby =
        || key(view().leader("b").member("a", 1000), "b", 0, &["a"]).change(|v| v.global.synchronous_mode = On);
    let nosync = |course: &Course| course.member_key().unwrap().tags.nosync();
    let stopping = |v: &mut View| v.stopping = true;
    let course = run(&standby().change(stopping), &world());
    assert!(course.jobs().is_empty() && nosync(&course), "{:#?}", course.finish.log);
    assert!(course.logged("Waiting for primary to release us from synchronous standby"));
    assert_eq!(course.finish.wake_in, Some(secs(2)));
    let next = |f: fn(&mut View)| {
        let memory = course.finish.memory.clone();
        run(&standby().change(stopping).change(|v| v.memory = memory).change(f), &world())
    };
    assert!(next(|v| v.now = v.now + secs(19)).jobs().is_empty());
    assert_eq!(next(|v| v.now = v.now + secs(20)).jobs().len(), 1, "twice loop_wait is enough");
    let released = next(|v| *v = v.clone().cluster_with(|c| c.sync.sync_standby.clear()));
    assert_eq!(released.jobs().len(), 1);
    assert!(nosync(&released), "not chosen again while it stops");

    let course = run(&standby().request(restart_request()), &world());
    assert!(course.jobs().is_empty() && nosync(&course) && course.answer().is_none());
    let memory = course.finish.memory.clone();
    let view = standby().request(restart_request()).cluster_with(|c| c.sync.sync_standby = vec!["c".into()]);
    let course = run(&view.change(|v| v.memory = memory), &world());
    assert_eq!(course.jobs().len(), 1);
    let memory = course.finish.memory.clone();
    let restart = course.job().unwrap().clone();
    let course = run(&standby().change(|v| v.memory = memory).ended(restart, JobResult::Done), &world());
    assert!(!nosync(&course), "back again");

    for (what, view) in [
        ("no synchronous one", key(standby(), "b", 0, &["c"])),
        ("never synchronous", standby().tagged(serde_json::json!({"nosync": true}))),
        ("off", standby().change(|v| v.global.synchronous_mode = Off)),
        ("the key is an old one", key(standby(), "c", 0, &["a"])),
    ] {
        assert_eq!(run(&view.change(stopping), &world()).jobs().len(), 1, "{what}");
    }
}

#[test]
fn a_standby_has_no_list() {
    let view = key(view().leader("b"), "b", 0, &["a"]).change(|v| v.global.synchronous_mode = On);
    let course = run(&listed(view.clone(), "b"), &world());
    let empties = |c: &&Command| **c == Command::SetSyncNames(SyncNames::Own(String::new()));
    assert_eq!(course.finish.commands.iter().filter(empties).count(), 1);
    assert_eq!(course.finish.memory.sync.tracker, crate::ha::sync::Tracker::default());
    assert_eq!(run(&listed(view, ""), &world()).finish.commands.iter().filter(empties).count(), 0);
}
