//! Which standbys are chosen, and from when on they count.

use super::*;
use crate::cluster::SyncState;
use crate::ha::testing::{member, tags};
use serde_json::json;

const BY_PRIORITY: Wanted<'static> = Wanted { me: "a", quorum: false, count: 1, max_lag: None, knows_any: true };
const QUORUM: Wanted<'static> = Wanted { quorum: true, ..BY_PRIORITY };

fn row(name: &str, state: &str, lsn: u64) -> ReplicationConnection {
    ReplicationConnection {
        usename: None,
        application_name: name.to_owned(),
        client_addr: None,
        state: "streaming".to_owned(),
        sync_state: state.to_owned(),
        sync_priority: 0,
        write_lsn: Some(Lsn(lsn + 20)),
        flush_lsn: Some(Lsn(lsn)),
        replay_lsn: Some(Lsn(lsn - 20)),
        pid: 1,
    }
}

fn status(names: &str, lsn: u64, rows: &[(&str, &str, u64)]) -> NodeStatus {
    NodeStatus {
        write_lsn: Lsn(lsn),
        synchronous_standby_names: names.to_owned(),
        replication: rows.iter().map(|(name, state, lsn)| row(name, state, *lsn)).collect(),
        ..NodeStatus::default()
    }
}

fn cluster(members: &[(&str, serde_json::Value)]) -> Cluster {
    let made = members.iter().map(|(name, json)| {
        let mut member = member(name, 1000);
        member.data.tags = tags(json.clone());
        member
    });
    Cluster { members: made.collect(), ..Cluster::default() }
}

fn active(status: &NodeStatus, cluster: &Cluster, wanted: Wanted<'_>) -> Vec<String> {
    Tracker::default().observe(status, cluster, wanted).0.active.to_vec()
}

// rows: TAG-05, SYNC-05, SYNC-10
#[test]
fn the_choice_is_by_priority_state_and_position() {
    let plain = cluster(&[("a", json!({})), ("b", json!({})), ("c", json!({})), ("d", json!({}))]);
    let rows = |rows| status("", 1000, rows);
    for (what, status, cluster, count, wanted) in [
        ("the furthest", rows(&[("b", "async", 900), ("c", "async", 950)][..]), &plain, 1, &["c"][..]),
        ("a synchronous one stays", rows(&[("b", "sync", 900), ("c", "async", 950)]), &plain, 1, &["b"]),
        ("two", rows(&[("b", "async", 900), ("c", "async", 950), ("d", "async", 800)]), &plain, 2, &["b", "c"]),
        ("case", rows(&[("B", "async", 900)]), &plain, 1, &["B"]),
        ("strangers and I myself", rows(&[("x", "async", 900), ("A", "async", 900)]), &plain, 2, &[]),
        ("nobody", rows(&[]), &plain, 1, &[]),
        (
            "sync_priority",
            rows(&[("b", "sync", 950), ("c", "async", 900)]),
            &cluster(&[("b", json!({})), ("c", json!({"sync_priority": 2}))]),
            1,
            &["c"],
        ),
        (
            "nosync in both forms",
            rows(&[("b", "sync", 950), ("c", "async", 900), ("d", "async", 100)]),
            &cluster(&[("b", json!({"nosync": "true"})), ("c", json!({"sync_priority": 0})), ("d", json!({}))]),
            3,
            &["d"],
        ),
        (
            "nofailover last",
            rows(&[("b", "sync", 950), ("c", "async", 900)]),
            &cluster(&[("b", json!({"nofailover": true})), ("c", json!({}))]),
            1,
            &["c"],
        ),
        (
            "cascading ones not, unless their source is gone",
            rows(&[("b", "async", 900), ("c", "async", 950), ("d", "async", 950)]),
            &cluster(&[("b", json!({})), ("c", json!({"replicatefrom": "b"})), ("d", json!({"replicatefrom": "x"}))]),
            3,
            &["b", "d"],
        ),
        (
            "a ring",
            rows(&[("b", "async", 900), ("c", "async", 950)]),
            &cluster(&[("b", json!({"replicatefrom": "c"})), ("c", json!({"replicatefrom": "b"}))]),
            3,
            &["b", "c"],
        ),
    ] {
        assert_eq!(active(&status, cluster, Wanted { count, ..BY_PRIORITY }), wanted, "{what}");
    }
    let mut stopped = plain.clone();
    stopped.members[1].data.state = Some(PgState::Starting);
    assert!(active(&rows(&[("b", "sync", 900)]), &stopped, BY_PRIORITY).is_empty());
}

// rows: SYNC-05
#[test]
fn the_position_depends_on_synchronous_commit() {
    let members = cluster(&[("b", json!({})), ("c", json!({}))]);
    let mut status = status("", 1000, &[("b", "async", 900), ("c", "async", 910)]);
    status.replication[1].flush_lsn = None;
    status.replication[1].replay_lsn = Some(Lsn(10));
    for (commit, wanted) in [("on", "b"), ("remote_apply", "b"), ("remote_write", "c"), ("local", "b")] {
        status.synchronous_commit = commit.to_owned();
        assert_eq!(active(&status, &members, BY_PRIORITY), [wanted], "{commit}");
    }
}

// rows: SYNC-06
#[test]
fn a_standby_that_lags_is_left_out() {
    let members = cluster(&[("b", json!({})), ("c", json!({}))]);
    let limit = |limit| Wanted { max_lag: Some(limit), ..BY_PRIORITY };
    let two = status("", 5000, &[("b", "sync", 900), ("c", "async", 950)]);
    assert_eq!(active(&two, &members, limit(50)), ["b"]);
    assert_eq!(active(&two, &members, limit(49)), ["c"]);
    // A single one is measured by the primary.
    let one = status("", 5000, &[("b", "sync", 900)]);
    assert_eq!((active(&one, &members, limit(4100)).len(), active(&one, &members, limit(4099)).len()), (1, 0));
}

// rows: SYNC-04
#[test]
fn a_new_name_counts_once_it_has_what_was_written_before() {
    let members = cluster(&[("b", json!({})), ("c", json!({}))]);
    let mut tracker = Tracker::default();
    let mut confirmed = |names: &str, lsn, rows: &[_]| {
        let (observed, changed, _) = tracker.observe(&status(names, lsn, rows), &members, BY_PRIORITY);
        (changed, observed.confirmed.to_vec())
    };
    let none = Vec::<String>::new;
    assert_eq!(confirmed("", 1000, &[("b", "async", 990)]), (false, none()));
    assert_eq!(confirmed("b", 1000, &[("b", "sync", 999)]), (true, none()), "1000 is not there yet");
    assert_eq!(confirmed("b", 2000, &[("b", "async", 1500)]), (false, none()), "the server does not wait for it yet");
    assert_eq!(confirmed("b", 2000, &[("b", "sync", 1500)]), (false, vec!["b".to_owned()]));
    assert_eq!(confirmed("b", 3000, &[("b", "potential", 1500)]), (false, none()));
    // Another list: what b has reached before means nothing when it comes back.
    assert_eq!(confirmed("c", 3000, &[("c", "sync", 2990)]), (true, none()));
    assert_eq!(confirmed("b", 4000, &[("b", "sync", 3999)]), (true, none()));
}

// rows: SYNC-04
#[test]
fn whoever_is_in_my_key_was_confirmed_before() {
    let mut members = cluster(&[("b", json!({}))]);
    let state = |leader: &str| SyncState {
        leader: Some(leader.to_owned()),
        sync_standby: vec!["b".to_owned()],
        ..SyncState::default()
    };
    let behind = status("b", 1000, &[("b", "sync", 500)]);
    for (leader, count) in [("a", 1), ("c", 0)] {
        members.sync = state(leader);
        let (observed, ..) = Tracker::default().observe(&behind, &members, BY_PRIORITY);
        assert_eq!(observed.confirmed.len(), count, "written by {leader}");
    }
    members.sync = state("a");
    let quorum = status("ANY 1 (b)", 1000, &[("b", "quorum", 500)]);
    let (observed, ..) = Tracker::default().observe(&quorum, &members, QUORUM);
    assert!(observed.confirmed.is_empty(), "with a quorum the key says nothing about one of them");
}

// rows: SYNC-13, SYNC-16
#[test]
fn quorum_takes_all_that_can_lead() {
    let members = cluster(&[("b", json!({})), ("c", json!({})), ("d", json!({"nofailover": true}))]);
    let rows = &[("b", "quorum", 1000), ("c", "async", 900), ("d", "quorum", 1000)];
    let three = status("ANY 1 (b,c,d)", 1000, rows);
    let (observed, changed, _) = Tracker::default().observe(&three, &members, QUORUM);
    assert_eq!(
        (observed.active.to_vec(), observed.confirmed.to_vec()),
        (vec!["b".into(), "c".into()], vec!["b".into()])
    );
    assert_eq!((observed.num, observed.listed.len(), observed.star, changed), (1, 3, false, true));
    assert_eq!(active(&three, &members, Wanted { count: 3, ..QUORUM }).len(), 3, "too few without it");
    // 9.6 has no word for it.
    let old = status("1 (b,c)", 1000, &[("b", "sync", 1000), ("c", "potential", 1000)]);
    let count =
        |knows_any| Tracker::default().observe(&old, &members, Wanted { knows_any, ..QUORUM }).0.confirmed.len();
    assert_eq!((count(false), count(true)), (2, 0));
}

#[test]
fn odd_lists() {
    let members = cluster(&[("b", json!({}))]);
    let mut tracker = Tracker::default();
    let (star, ..) = tracker.observe(&status("ANY 1 (*)", 1000, &[("b", "quorum", 1000)]), &members, QUORUM);
    assert!(star.star && star.listed.is_empty() && star.confirmed.is_empty() && star.active.len() == 1);
    let bad = status("ANY b", 1000, &[]);
    let (observed, _, error) = tracker.observe(&bad, &members, QUORUM);
    assert!(observed.listed.is_empty() && error.is_some_and(|e| e.contains("ANY b")));
    assert_eq!(tracker.observe(&bad, &members, QUORUM).2, None, "said once");
}
