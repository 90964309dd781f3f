//! What wakes a member, and what does not.

use crate::bench::{BUDGET, Case, CaseFn, TTL, data, soon};
use crate::cases::cases;
use patroni::cluster::Status;
use patroni::dcs::{Dcs, FailoverRequest};
use patroni::types::Lsn;
use serde_json::json;
use std::future::Future;
use std::time::Duration;

cases![
    a_change_of_the_lock_wakes,
    the_end_of_the_leaders_session_wakes,
    config_and_failover_wake,
    status_wakes_replicas_but_not_the_leader,
    members_wake_by_coming_and_going_only,
    own_writes_do_not_wake,
    a_change_between_read_and_watch_is_not_missed,
    a_change_that_was_read_does_not_wake,
    an_abandoned_watch_loses_nothing,
    other_clusters_do_not_wake,
];

/// Runs `act` while `dcs` waits: it must wake.
async fn wakes(dcs: &dyn Dcs, act: impl Future<Output = ()>) {
    dcs.load(BUDGET).await.unwrap();
    soon(async { tokio::join!(dcs.changed(), act) }).await;
}

/// Runs `act`, then a change that does wake: the former must not have.
async fn sleeps(case: &Case<'_>, dcs: &dyn Dcs, act: impl Future<Output = ()>) {
    dcs.load(BUDGET).await.unwrap();
    // A watch that opens late must not hide an early wake-up.
    let quiet = async { tokio::time::timeout(Duration::from_millis(300), dcs.changed()).await.is_err() };
    let (quiet, ()) = tokio::join!(quiet, act);
    assert!(quiet, "it woke");
    wakes(dcs, case.put("history", "[]")).await;
}

async fn a_change_of_the_lock_wakes(case: &Case<'_>) {
    let (a, b) = (case.member_with_ttl("a", TTL * 6), case.member("b"));
    wakes(&*b, async { assert!(a.acquire_leader(BUDGET).await.is_ok()) }).await;
    wakes(&*b, async { a.release_leader(BUDGET).await.unwrap() }).await;
}

async fn the_end_of_the_leaders_session_wakes(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member("b"));
    a.acquire_leader(BUDGET).await.unwrap();
    wakes(&*b, async {}).await;
    assert!(b.load(BUDGET).await.unwrap().is_unlocked());
}

async fn config_and_failover_wake(case: &Case<'_>) {
    let (a, ctl) = (case.member("a"), case.ctl());
    let config = json!({"ttl": 30}).as_object().cloned().unwrap();
    wakes(&*a, async { ctl.write_config(&config, None, BUDGET).await.unwrap() }).await;
    let request = FailoverRequest { candidate: Some("a".into()), ..FailoverRequest::default() };
    wakes(&*a, async { ctl.write_failover(&request, None, BUDGET).await.unwrap() }).await;
    wakes(&*a, case.put("sync", "{}")).await;
    wakes(&*a, case.put("initialize", "")).await;
}

fn at(lsn: u64) -> Status {
    Status { optime: Some(Lsn(lsn)), ..Status::default() }
}

async fn status_wakes_replicas_but_not_the_leader(case: &Case<'_>) {
    let (a, b) = (case.member_with_ttl("a", TTL * 6), case.member("b"));
    a.acquire_leader(BUDGET).await.unwrap();
    wakes(&*b, async { a.write_status(&at(1), BUDGET).await.unwrap() }).await;
    sleeps(case, &*a, async { b.write_status(&at(2), BUDGET).await.unwrap() }).await;
}

async fn members_wake_by_coming_and_going_only(case: &Case<'_>) {
    let (a, b) = (case.member("a"), case.member_with_ttl("b", TTL * 6));
    wakes(&*a, async { b.touch_member(&data("x"), BUDGET).await.unwrap() }).await;
    sleeps(case, &*a, async { b.touch_member(&data("y"), BUDGET).await.unwrap() }).await;
    wakes(&*a, b.close(BUDGET)).await;
}

async fn own_writes_do_not_wake(case: &Case<'_>) {
    let a = case.member_with_ttl("a", TTL * 6);
    a.load(BUDGET).await.unwrap();
    a.touch_member(&data("x"), BUDGET).await.unwrap();
    a.acquire_leader(BUDGET).await.unwrap();
    a.write_config(&serde_json::Map::new(), None, BUDGET).await.unwrap();
    let woken = tokio::time::timeout(Duration::from_millis(300), a.changed()).await;
    assert!(woken.is_err(), "it woke");
    sleeps(case, &*a, async { a.touch_member(&data("z"), BUDGET).await.unwrap() }).await;
}

async fn a_change_between_read_and_watch_is_not_missed(case: &Case<'_>) {
    let a = case.member("a");
    a.load(BUDGET).await.unwrap();
    case.put("config", "{}").await;
    soon(a.changed()).await;
}

async fn a_change_that_was_read_does_not_wake(case: &Case<'_>) {
    let a = case.member("a");
    // The watch is open and has heard of the change when it is read.
    wakes(&*a, case.put("config", "{}")).await;
    case.put("config", r#"{"ttl":30}"#).await;
    sleeps(case, &*a, async {}).await;
}

async fn an_abandoned_watch_loses_nothing(case: &Case<'_>) {
    let a = case.member("a");
    a.load(BUDGET).await.unwrap();
    assert!(tokio::time::timeout(Duration::from_millis(200), a.changed()).await.is_err());
    case.put("config", "{}").await;
    soon(a.changed()).await;
}

async fn other_clusters_do_not_wake(case: &Case<'_>) {
    let a = case.member("a");
    let neighbour = format!("/service/{}x/leader", case.scope);
    sleeps(case, &*a, case.bench.put(&neighbour, "b")).await;
}
