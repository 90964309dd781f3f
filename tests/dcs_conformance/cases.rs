//! The verbs: what they do, and what they refuse.

use crate::bench::{BUDGET, Case, CaseFn, TTL, conflict, data, soon};
use patroni::cluster::{History, Member, Revision, Status, SyncState};
use patroni::dcs::{DcsError, FailoverRequest};
use patroni::types::{Lsn, SystemId};
use serde_json::json;
use std::time::Duration;

macro_rules! cases {
    ($($name:ident),* $(,)?) => {
        pub const ALL: &[(&str, CaseFn)] = &[$((stringify!($name), |case| Box::pin($name(case)))),*];
    };
}
pub(crate) use cases;

cases![
    an_empty_cluster_is_empty,
    a_member_key_is_written_and_bound_to_the_session,
    a_member_key_is_not_written_twice,
    a_member_key_that_was_deleted_is_written_again,
    a_second_session_of_a_name_writes_the_key_anew,
    touching_keeps_the_session_alive,
    an_expired_session_takes_member_and_leader_keys_along,
    one_of_two_wins_the_race_for_the_lock,
    the_lock_is_not_acquired_twice,
    a_lease_ends_after_the_time_to_live_and_not_before_the_request,
    renewing_keeps_the_lock,
    renewing_after_the_lease_was_lost_creates_the_key_again,
    renewing_takes_over_the_key_of_an_earlier_session,
    renewing_when_another_holds_the_lock_is_a_conflict,
    renewing_without_a_key_creates_it,
    releasing_deletes_the_own_lock_only,
    releasing_and_acquiring_again_works,
    a_changed_time_to_live_takes_effect_and_loses_nothing,
    the_race_for_initialize_has_one_winner,
    initialize_is_overwritten_and_cancelled,
    config_is_written_over_the_expected_version_only,
    config_keeps_the_order_of_its_keys,
    failover_is_written_emptied_and_protected,
    status_is_throttled_and_filled_up,
    status_written_by_others_is_known,
    old_members_get_their_own_position_key,
    sync_is_created_once,
    sync_is_changed_over_its_version_only,
    sync_is_deleted_by_its_version_only,
    history_is_written,
    failsafe_is_written_once_and_again_when_it_is_gone,
    removing_a_cluster_removes_all_of_it_and_nothing_else,
    closing_ends_the_session,
    closing_while_leading_leaves_the_lock,
    without_session_nothing_of_a_member_is_written,
    garbage_in_the_store_breaks_nothing,
    the_last_read_is_remembered,
    verbs_run_side_by_side,
];

async fn an_empty_cluster_is_empty(case: &Case<'_>) {
    assert!(case.member("a").load(BUDGET).await.unwrap().is_empty());
}

async fn a_member_key_is_written_and_bound_to_the_session(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    assert_eq!(case.get("members/a").await.as_deref(), Some(r#"{"api_url":"x"}"#));
    assert!(a.load(BUDGET).await.unwrap().member("a").is_some_and(|m| m.own_session));
    assert!(b.load(BUDGET).await.unwrap().member("a").is_some_and(|m| !m.own_session));
}

async fn a_member_key_is_not_written_twice(case: &Case<'_>) {
    let a = case.member("a");
    let revision = async || a.load(BUDGET).await.unwrap().member("a").map(|m| m.revision);
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    let first = revision().await;
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    assert_eq!(revision().await, first);
    a.touch_member(&data("y"), BUDGET).await.unwrap();
    assert_ne!(revision().await, first);
}

async fn a_member_key_that_was_deleted_is_written_again(case: &Case<'_>) {
    let a = case.member("a");
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    case.delete("members/a").await;
    assert!(a.load(BUDGET).await.unwrap().members.is_empty());
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    assert_eq!(a.load(BUDGET).await.unwrap().members.len(), 1);
}

async fn a_second_session_of_a_name_writes_the_key_anew(case: &Case<'_>) {
    let (old, new) = (case.member("a"), case.member("a"));
    old.touch_member(&data("x"), BUDGET).await.unwrap();
    assert!(new.load(BUDGET).await.unwrap().member("a").is_some_and(|m| !m.own_session));
    new.touch_member(&data("x"), BUDGET).await.unwrap();
    assert!(new.load(BUDGET).await.unwrap().member("a").is_some_and(|m| m.own_session));
}

async fn touching_keeps_the_session_alive(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    for _ in 0..8 {
        a.touch_member(&data("x"), BUDGET).await.unwrap();
        assert_eq!(b.load(BUDGET).await.unwrap().members.len(), 1);
        // Twice the time to live in all.
        tokio::time::sleep(TTL / 4).await;
    }
}

async fn an_expired_session_takes_member_and_leader_keys_along(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    a.acquire_leader(BUDGET).await.unwrap();
    assert!(!b.load(BUDGET).await.unwrap().is_unlocked());
    let cluster = case.until(&*b, |c| c.is_unlocked() && c.members.is_empty()).await;
    assert!(cluster.is_empty());
    b.acquire_leader(BUDGET).await.unwrap();
}

async fn one_of_two_wins_the_race_for_the_lock(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    let (first, second) = tokio::join!(a.acquire_leader(BUDGET), b.acquire_leader(BUDGET));
    let leader = a.load(BUDGET).await.unwrap().leader_name().unwrap().to_string();
    let (winner, loser) = if leader == "a" { (first, second) } else { (second, first) };
    winner.unwrap();
    conflict(loser);
}

async fn the_lock_is_not_acquired_twice(case: &Case<'_>) {
    let (a, again) = (case.member("a"), case.member("a"));
    a.acquire_leader(BUDGET).await.unwrap();
    // Another process of the same name must go the way of renewal.
    conflict(again.acquire_leader(BUDGET).await);
    let leader = again.load(BUDGET).await.unwrap().leader.unwrap();
    assert!(leader.name == "a" && !leader.own_session);
}

async fn a_lease_ends_after_the_time_to_live_and_not_before_the_request(case: &Case<'_>) {
    let a = case.member("a");
    let clock = case.bench.clock();
    let before = clock.mono();
    let lease = a.acquire_leader(BUDGET).await.unwrap();
    assert!(lease.until >= before + TTL && lease.until <= clock.mono() + TTL);
    let renewed = a.renew_leader(BUDGET).await.unwrap();
    assert!(renewed.until >= lease.until && renewed.until <= clock.mono() + TTL);
}

async fn renewing_keeps_the_lock(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    a.acquire_leader(BUDGET).await.unwrap();
    let revision = b.load(BUDGET).await.unwrap().leader.unwrap().revision;
    for _ in 0..8 {
        tokio::time::sleep(TTL / 4).await;
        a.renew_leader(BUDGET).await.unwrap();
    }
    // It was never written again.
    assert_eq!(b.load(BUDGET).await.unwrap().leader.unwrap().revision, revision);
}

async fn renewing_after_the_lease_was_lost_creates_the_key_again(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    a.acquire_leader(BUDGET).await.unwrap();
    case.until(&*b, |c| c.is_unlocked()).await;
    a.renew_leader(BUDGET).await.unwrap();
    assert!(a.load(BUDGET).await.unwrap().leader.is_some_and(|l| l.own_session));
}

async fn renewing_takes_over_the_key_of_an_earlier_session(case: &Case<'_>) {
    let (old, new) = (case.member("a"), case.member("a"));
    old.acquire_leader(BUDGET).await.unwrap();
    new.renew_leader(BUDGET).await.unwrap();
    assert!(new.load(BUDGET).await.unwrap().leader.is_some_and(|l| l.own_session));
    // The end of the old session takes nothing away.
    for _ in 0..8 {
        tokio::time::sleep(TTL / 4).await;
        new.renew_leader(BUDGET).await.unwrap();
    }
}

async fn renewing_when_another_holds_the_lock_is_a_conflict(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    a.acquire_leader(BUDGET).await.unwrap();
    conflict(b.renew_leader(BUDGET).await);
    assert!(a.load(BUDGET).await.unwrap().leader.is_some_and(|l| l.name == "a"));
    // Also for one that held it and lost it meanwhile.
    case.put("leader", "c").await;
    conflict(a.renew_leader(BUDGET).await);
}

async fn renewing_without_a_key_creates_it(case: &Case<'_>) {
    let a = case.member("a");
    a.acquire_leader(BUDGET).await.unwrap();
    case.delete("leader").await;
    a.renew_leader(BUDGET).await.unwrap();
    assert!(a.load(BUDGET).await.unwrap().leader.is_some_and(|l| l.own_session));
}

async fn releasing_deletes_the_own_lock_only(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    // There is nothing to release: that is as good as released.
    a.release_leader(BUDGET).await.unwrap();
    a.acquire_leader(BUDGET).await.unwrap();
    conflict(b.release_leader(BUDGET).await);
    assert!(!b.load(BUDGET).await.unwrap().is_unlocked());
    a.release_leader(BUDGET).await.unwrap();
    assert!(b.load(BUDGET).await.unwrap().is_unlocked());
}

async fn releasing_and_acquiring_again_works(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    for _ in 0..3 {
        a.acquire_leader(BUDGET).await.unwrap();
        a.release_leader(BUDGET).await.unwrap();
        b.acquire_leader(BUDGET).await.unwrap();
        b.release_leader(BUDGET).await.unwrap();
    }
}

async fn a_changed_time_to_live_takes_effect_and_loses_nothing(case: &Case<'_>) {
    let a = case.member_with_ttl("a", TTL);
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    a.acquire_leader(BUDGET).await.unwrap();
    a.set_ttl(Duration::from_secs(60));
    let before = case.bench.clock().mono();
    let lease = a.renew_leader(BUDGET).await.unwrap();
    assert!(lease.until >= before + Duration::from_secs(60));
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    tokio::time::sleep(TTL * 2).await;
    let cluster = a.load(BUDGET).await.unwrap();
    assert!(cluster.leader.is_some_and(|l| l.own_session) && cluster.members.iter().all(|m| m.own_session));
    assert_eq!(cluster.members.len(), 1);
}

const ID: SystemId = SystemId(7_123_456_789_012_345_678);

async fn the_race_for_initialize_has_one_winner(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    let (first, second) = tokio::join!(a.initialize(None, true, BUDGET), b.initialize(None, true, BUDGET));
    conflict(if first.is_ok() { second } else { first });
    let cluster = a.load(BUDGET).await.unwrap();
    assert_eq!((cluster.initialize.as_deref(), cluster.system_id()), (Some(""), None));
    conflict(a.initialize(Some(ID), true, BUDGET).await);
}

async fn initialize_is_overwritten_and_cancelled(case: &Case<'_>) {
    let a = case.member("a");
    a.initialize(None, true, BUDGET).await.unwrap();
    a.initialize(Some(ID), false, BUDGET).await.unwrap();
    assert_eq!(case.get("initialize").await.as_deref(), Some("7123456789012345678"));
    a.cancel_initialize(BUDGET).await.unwrap();
    a.cancel_initialize(BUDGET).await.unwrap();
    assert!(a.load(BUDGET).await.unwrap().initialize.is_none());
}

async fn config_is_written_over_the_expected_version_only(case: &Case<'_>) {
    let a = case.ctl();
    let config = |ttl: u32| json!({ "ttl": ttl }).as_object().cloned().unwrap();
    a.write_config(&config(20), None, BUDGET).await.unwrap();
    let revision = a.load(BUDGET).await.unwrap().config.unwrap().revision;
    a.write_config(&config(21), Some(revision), BUDGET).await.unwrap();
    conflict(a.write_config(&config(22), Some(revision), BUDGET).await);
    assert_eq!(case.get("config").await.as_deref(), Some(r#"{"ttl":21}"#));
    case.delete("config").await;
    conflict(a.write_config(&config(23), Some(revision), BUDGET).await);
    a.write_config(&config(24), None, BUDGET).await.unwrap();
}

async fn config_keeps_the_order_of_its_keys(case: &Case<'_>) {
    let a = case.member("a");
    let value = json!({"z": 1, "a": {"y": "é", "b": null}});
    a.write_config(value.as_object().unwrap(), None, BUDGET).await.unwrap();
    assert_eq!(case.get("config").await.as_deref(), Some(r#"{"z":1,"a":{"y":"\u00e9","b":null}}"#));
    assert_eq!(Some(&a.load(BUDGET).await.unwrap().config.unwrap().data), value.as_object());
}

async fn failover_is_written_emptied_and_protected(case: &Case<'_>) {
    let a = case.member("a");
    let request = FailoverRequest {
        leader: Some("a".into()),
        candidate: Some("b".into()),
        scheduled_at: Some("2030-01-01T00:00:00+00:00".into()),
    };
    a.write_failover(&request, None, BUDGET).await.unwrap();
    let text = r#"{"leader":"a","member":"b","scheduled_at":"2030-01-01T00:00:00+00:00"}"#;
    assert_eq!(case.get("failover").await.as_deref(), Some(text));
    let failover = a.load(BUDGET).await.unwrap().failover.unwrap();
    assert!(failover.scheduled_at.is_some() && failover.candidate.as_deref() == Some("b"));
    a.write_failover(&FailoverRequest::default(), Some(failover.revision), BUDGET).await.unwrap();
    assert_eq!(case.get("failover").await.as_deref(), Some("{}"));
    conflict(a.write_failover(&request, Some(failover.revision), BUDGET).await);
    assert!(a.load(BUDGET).await.unwrap().failover.is_some_and(|f| f.is_empty()));
}

fn at(lsn: u64) -> Status {
    Status { optime: Some(Lsn(lsn)), ..Status::default() }
}

async fn status_is_throttled_and_filled_up(case: &Case<'_>) {
    let a = case.member("a");
    let full = Status { slots: Some([("s".to_owned(), Lsn(1))].into()), retain_slots: Some(vec!["s".into()]), ..at(5) };
    a.write_status(&full, BUDGET).await.unwrap();
    assert_eq!(case.get("status").await.as_deref(), Some(r#"{"optime":5,"slots":{"s":1},"retain_slots":["s"]}"#));
    // The same again is not written: what somebody else put there stays.
    case.put("status", "{}").await;
    a.write_status(&full, BUDGET).await.unwrap();
    assert_eq!(case.get("status").await.as_deref(), Some("{}"));
    a.write_status(&at(6), BUDGET).await.unwrap();
    assert_eq!(case.get("status").await.as_deref(), Some(r#"{"optime":6,"slots":{"s":1},"retain_slots":["s"]}"#));
    assert_eq!(case.get("optime/leader").await, None);
}

async fn status_written_by_others_is_known(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    a.write_status(&at(5), BUDGET).await.unwrap();
    b.write_status(&Status { slots: Some([("s".to_owned(), Lsn(2))].into()), ..at(7) }, BUDGET).await.unwrap();
    assert_eq!(a.load(BUDGET).await.unwrap().last_lsn(), Lsn(7));
    a.write_status(&at(8), BUDGET).await.unwrap();
    assert_eq!(case.get("status").await.as_deref(), Some(r#"{"optime":8,"slots":{"s":2}}"#));
}

async fn old_members_get_their_own_position_key(case: &Case<'_>) {
    let a = case.member("a");
    case.put("members/old", r#"{"version":"2.0.2"}"#).await;
    a.load(BUDGET).await.unwrap();
    a.write_status(&at(5), BUDGET).await.unwrap();
    assert_eq!(case.get("optime/leader").await.as_deref(), Some("5"));
}

fn sync_state(leader: &str, revision: Option<Revision>) -> SyncState {
    SyncState { revision, leader: Some(leader.into()), sync_standby: vec!["z".into(), "y".into()], quorum: 1 }
}

async fn sync_is_created_once(case: &Case<'_>) {
    let a = case.member("a");
    let revision = a.write_sync(&sync_state("a", None), BUDGET).await.unwrap();
    assert_eq!(case.get("sync").await.as_deref(), Some(r#"{"leader":"a","quorum":1,"sync_standby":"y,z"}"#));
    assert_eq!(a.load(BUDGET).await.unwrap().sync.revision, Some(revision));
    conflict(a.write_sync(&sync_state("b", None), BUDGET).await);
}

async fn sync_is_changed_over_its_version_only(case: &Case<'_>) {
    let a = case.member("a");
    let first = a.write_sync(&sync_state("a", None), BUDGET).await.unwrap();
    let second = a.write_sync(&sync_state("b", Some(first)), BUDGET).await.unwrap();
    assert_ne!(second, first);
    conflict(a.write_sync(&sync_state("c", Some(first)), BUDGET).await);
    assert!(a.load(BUDGET).await.unwrap().sync.leader_matches("b"));
    let third = a.write_sync(&sync_state("d", Some(second)), BUDGET).await.unwrap();
    assert_eq!(a.load(BUDGET).await.unwrap().sync.revision, Some(third));
}

async fn sync_is_deleted_by_its_version_only(case: &Case<'_>) {
    let a = case.member("a");
    let first = a.write_sync(&sync_state("a", None), BUDGET).await.unwrap();
    let second = a.write_sync(&sync_state("b", Some(first)), BUDGET).await.unwrap();
    conflict(a.delete_sync(first, BUDGET).await);
    a.delete_sync(second, BUDGET).await.unwrap();
    assert_eq!(a.load(BUDGET).await.unwrap().sync, SyncState::default());
    conflict(a.delete_sync(second, BUDGET).await);
}

async fn history_is_written(case: &Case<'_>) {
    let a = case.member("a");
    let text = r#"[[1,50331744,"no recovery target specified","2026-11-20T10:00:00+00:00","a"]]"#;
    let history = History::parse(text.as_bytes()).unwrap();
    a.write_history(&history, BUDGET).await.unwrap();
    assert_eq!(case.get("history").await.as_deref(), Some(text));
    assert_eq!(a.load(BUDGET).await.unwrap().history, Some(history));
}

async fn failsafe_is_written_once_and_again_when_it_is_gone(case: &Case<'_>) {
    let a = case.member("a");
    let map = json!({"a": "http://a/patroni"}).as_object().cloned().unwrap();
    a.write_failsafe(&map, BUDGET).await.unwrap();
    assert_eq!(case.get("failsafe").await.as_deref(), Some(r#"{"a":"http://a/patroni"}"#));
    case.delete("failsafe").await;
    a.write_failsafe(&map, BUDGET).await.unwrap();
    assert_eq!(case.get("failsafe").await, None);
    a.load(BUDGET).await.unwrap();
    a.write_failsafe(&map, BUDGET).await.unwrap();
    assert_eq!(a.load(BUDGET).await.unwrap().failsafe.unwrap().len(), 1);
}

async fn removing_a_cluster_removes_all_of_it_and_nothing_else(case: &Case<'_>) {
    let a = case.member("a");
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    a.acquire_leader(BUDGET).await.unwrap();
    a.initialize(Some(ID), true, BUDGET).await.unwrap();
    // The name of the neighbour begins with ours.
    let neighbour = format!("/service/{}x/initialize", case.scope);
    case.bench.put(&neighbour, "1").await;
    case.ctl().delete_cluster(BUDGET).await.unwrap();
    assert!(a.load(BUDGET).await.unwrap().is_empty());
    assert_eq!(case.bench.get(&neighbour).await.as_deref(), Some("1"));
}

async fn closing_ends_the_session(case: &Case<'_>) {
    let a = case.member_with_ttl("a", Duration::from_secs(600));
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    a.acquire_leader(BUDGET).await.unwrap();
    a.release_leader(BUDGET).await.unwrap();
    a.close(BUDGET).await;
    assert!(case.ctl().load(BUDGET).await.unwrap().is_empty());
}

async fn closing_while_leading_leaves_the_lock(case: &Case<'_>) {
    let a = case.member_with_ttl("a", Duration::from_secs(600));
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    a.acquire_leader(BUDGET).await.unwrap();
    a.close(BUDGET).await;
    let cluster = case.ctl().load(BUDGET).await.unwrap();
    assert!(cluster.leader_member().is_some_and(|m: &Member| m.name == "a"));
}

async fn without_session_nothing_of_a_member_is_written(case: &Case<'_>) {
    let ctl = case.ctl();
    for result in [
        ctl.touch_member(&data("x"), BUDGET).await,
        ctl.acquire_leader(BUDGET).await.map(|_| ()),
        ctl.renew_leader(BUDGET).await.map(|_| ()),
        ctl.release_leader(BUDGET).await,
    ] {
        assert!(matches!(result, Err(DcsError::Refused(_))), "{result:?}");
    }
    ctl.close(BUDGET).await;
    assert!(ctl.load(BUDGET).await.unwrap().is_empty());
}

async fn garbage_in_the_store_breaks_nothing(case: &Case<'_>) {
    let a = case.member("a");
    for name in ["config", "status", "failover", "sync", "history", "failsafe", "members/x", "members/y/z", "odd"] {
        case.put(name, "{\"").await;
    }
    let cluster = a.load(BUDGET).await.unwrap();
    assert_eq!(cluster.members.len(), 1);
    assert!(cluster.sync.is_empty() && cluster.history.is_none());
}

async fn the_last_read_is_remembered(case: &Case<'_>) {
    let a = case.member("a");
    assert_eq!(a.last_seen(), None);
    let before = case.bench.clock().wall();
    a.load(BUDGET).await.unwrap();
    assert!(a.last_seen().is_some_and(|at| at >= before));
}

async fn verbs_run_side_by_side(case: &Case<'_>) {
    let a = case.member("a");
    a.acquire_leader(BUDGET).await.unwrap();
    let (x, y) = (data("x"), at(5));
    let all = async {
        tokio::join!(
            a.renew_leader(BUDGET),
            a.touch_member(&x, BUDGET),
            a.write_status(&y, BUDGET),
            a.load(BUDGET),
            a.renew_leader(BUDGET),
        )
    };
    let (one, two, three, four, five) = soon(all).await;
    assert!(one.is_ok() && two.is_ok() && three.is_ok() && four.is_ok() && five.is_ok());
    let cluster = a.load(BUDGET).await.unwrap();
    assert!(cluster.leader.is_some_and(|l| l.own_session) && cluster.members.iter().all(|m| m.own_session));
}
