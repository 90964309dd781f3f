//! A strict synchronous mode that keeps its names (`synchronous_mode_strict_placeholder`).

use super::sync::{become_sync, key, leading, listed, steps, streams};
use crate::cluster::NodeStatus;
use crate::config::settings::STRICT_PLACEHOLDER_NAME as NOBODY;
use crate::config::settings::SynchronousMode::{On, Quorum};
use crate::ha::testing::*;
use crate::ha::{JobKind, Outcome, View};

const STAYS: &str = "no action. I am (a), the leader with the lock";
const HELD: &str = "No active replication connections from Patroni members and synchronous_mode_strict is requested. ";

fn strict(view: View) -> View {
    view.change(|v| {
        v.global.synchronous_mode_strict = true;
        v.global.strict_placeholder = true;
    })
}

// rows: NEXT-04
#[test]
fn without_standbys_key_and_list_stay_as_they_are() {
    let nobody = NOBODY.to_owned();
    let any_nobody = format!("ANY 1 ({NOBODY})");
    for (what, view, wanted) in [
        ("activation", leading(On), vec!["key a 0 ".to_owned(), format!("list {nobody}")]),
        ("switched on", key(leading(On), "a", 0, &[]), vec![format!("list {nobody}")]),
        ("from the other filler", listed(key(leading(On), "a", 0, &[]), "*"), vec![format!("list {nobody}")]),
        ("it is so already", listed(key(leading(On), "a", 0, &[]), NOBODY), vec![]),
        ("one is gone", listed(key(leading(On), "a", 0, &["b"]), "b"), vec![]),
        ("two are gone", listed(key(leading(On), "a", 0, &["b", "c"]), "2 (b,c)"), vec![]),
        ("gone, and the list says otherwise", listed(key(leading(On), "a", 0, &["b"]), ""), vec!["list b".to_owned()]),
        ("quorum, alone", key(leading(Quorum), "a", 0, &[]), vec![format!("list {any_nobody}")]),
        ("quorum, so already", listed(key(leading(Quorum), "a", 0, &[]), &any_nobody), vec![]),
        ("quorum, one is gone", listed(key(leading(Quorum), "a", 0, &["b"]), "ANY 1 (b)"), vec![]),
        ("quorum, two are gone", listed(key(leading(Quorum), "a", 1, &["b", "c"]), "ANY 1 (b,c)"), vec![]),
        (
            "quorum, more than one must confirm",
            listed(key(leading(Quorum), "a", 0, &["b", "c"]), "ANY 1 (b,c)"),
            vec!["list ANY 2 (b,c)".to_owned()],
        ),
    ] {
        let course = says(strict(streams(view, &[])), world(), STAYS);
        assert_eq!(steps(&course), wanted, "{what}");
        assert!(course.logged(HELD), "{what}: {:?}", course.finish.log);
        assert!(course.finish.memory.sync.holding);
    }
}

// rows: NEXT-04
#[test]
fn it_is_told_once_and_again_after_a_standby_was_there() {
    let view = || strict(streams(listed(key(leading(On), "a", 0, &["b"]), "b"), &[]));
    let course = says(view(), world(), STAYS);
    assert!(course.logged("Continue using old value of synchronous_standby_names=\"b\". Commits will be delayed."));
    let again = says(view().change(|v| v.memory.sync.holding = true), world(), STAYS);
    assert!(!again.logged(HELD) && again.finish.memory.sync.holding);
    let back = streams(view().change(|v| v.memory.sync.holding = true), &[("b", "sync", 1000)]);
    let course = says(back, world(), STAYS);
    assert!(!course.finish.memory.sync.holding && steps(&course).is_empty());
    let alone = says(strict(streams(key(leading(On), "a", 0, &[]), &[])), world(), STAYS);
    assert!(!alone.logged("Continue using"));
}

// rows: NEXT-04
#[test]
fn a_standby_that_comes_takes_the_place_of_those_that_are_gone() {
    let view = listed(key(leading(On), "a", 0, &["b"]), "b");
    let course = says(strict(streams(view, &[("c", "async", 1000)])), become_sync(&[("c", "sync", 1000)]), STAYS);
    assert_eq!(steps(&course), ["key a 0 ", "list c", "key a 0 c"]);
    let first = strict(streams(listed(key(leading(On), "a", 0, &[]), NOBODY), &[("b", "async", 1000)]));
    assert_eq!(steps(&says(first, become_sync(&[("b", "sync", 1000)]), STAYS)), ["list b", "key a 0 b"]);
    let quorum = strict(streams(
        listed(key(leading(Quorum), "a", 0, &[]), &format!("ANY 1 ({NOBODY})")),
        &[("b", "async", 1000)],
    ));
    assert_eq!(steps(&says(quorum, become_sync(&[("b", "quorum", 1000)]), STAYS)), ["list ANY 1 (b)"]);
}

// rows: NEXT-04
#[test]
fn switched_off_the_usual_filler_comes_back() {
    let usual = |view: View| streams(view, &[]).change(|v| v.global.synchronous_mode_strict = true);
    let alone = listed(key(leading(On), "a", 0, &[]), NOBODY);
    assert_eq!(steps(&says(usual(alone.clone()), world(), STAYS)), ["list *"]);
    assert_eq!(steps(&says(streams(alone, &[]), world(), STAYS)), ["list "]);
    let alone = listed(key(leading(Quorum), "a", 0, &[]), &format!("ANY 1 ({NOBODY})"));
    assert_eq!(steps(&says(usual(alone.clone()), world(), STAYS)), ["list ANY 1 (*)"]);
    assert_eq!(steps(&says(streams(alone, &[]), world(), STAYS)), ["list "]);
}

const PROMOTED: &str = "promoted self to leader because I had the session lock";
const POSTPONED: &str = "Postponing promotion because synchronous replication state was updated by somebody else";

// rows: NEXT-04
#[test]
fn a_promotion_keeps_those_that_have_everything() {
    let holder =
        |mode| view().leader("a").member("b", 1000).member("c", 1000).change(|v| v.global.synchronous_mode = mode);
    for (what, view, wanted) in [
        ("of two", key(holder(On), "b", 0, &["a"]), vec!["key a 0 b".to_owned(), "list b".to_owned()]),
        ("of three", key(holder(On), "b", 0, &["a", "c"]), vec!["key a 0 b,c".to_owned(), "list 2 (b,c)".to_owned()]),
        ("not active yet", holder(On), vec!["key a 0 ".to_owned(), format!("list {NOBODY}")]),
        ("quorum, not active yet", holder(Quorum), vec![format!("list ANY 1 ({NOBODY})")]),
        (
            "quorum",
            key(holder(Quorum), "b", 1, &["a", "c"]),
            vec!["key b 1 a,c".to_owned(), "list ANY 1 (b,c)".to_owned()],
        ),
    ] {
        let course = does(strict(view), world(), PROMOTED, Some(JobKind::Promote));
        assert_eq!(steps(&course), wanted, "{what}");
    }
    // Others may take over at once: without the list there is no promotion.
    let other =
        Outcome::Status(Box::new(NodeStatus { synchronous_standby_names: "x".to_owned(), ..NodeStatus::default() }));
    let stubborn = || world().change(|w| w.set_names = Some(other.clone()));
    says(strict(key(holder(On), "b", 0, &["a"])), stubborn(), POSTPONED);
    does(strict(holder(On)), stubborn(), PROMOTED, Some(JobKind::Promote));
    // A server that can wait for one standby only waits for the former leader.
    let old = strict(key(holder(On), "c", 0, &["a", "b"]))
        .change(|v| v.server.version = Some(crate::types::PgVersion(90_500)));
    assert_eq!(steps(&does(old, world(), PROMOTED, Some(JobKind::Promote))), ["key a 0 c", "list c"]);
}

// rows: NEXT-04
#[test]
fn a_quorum_does_not_give_up_who_is_not_back_after_a_promotion() {
    let view = |ago: u64| {
        let view = strict(listed(streams(key(leading(Quorum), "a", 0, &["b"]), &[]), "ANY 1 (b)"));
        view.change(|v| v.memory.sync.quorum_since = Some(v.now - secs(ago)))
    };
    for ago in [1, 10, 11, 1000] {
        let course = says(view(ago), world(), STAYS);
        assert!(steps(&course).is_empty() && course.logged(HELD));
    }
    // The key is the former leader's still.
    let view = strict(listed(streams(key(leading(Quorum), "b", 0, &["a"]), &[]), "ANY 1 (b)"));
    let course = says(view, world(), STAYS);
    assert_eq!(steps(&course), ["key a 0 b"]);
}
