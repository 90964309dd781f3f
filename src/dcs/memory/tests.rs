//! What only the store in memory can do: virtual time and faults. The contract itself is in `tests/dcs_conformance.rs`.

use super::*;
use crate::cluster::MemberData;
use crate::dcs::{Dcs, DcsError};
use crate::types::Wall;

const TTL: Duration = Duration::from_secs(30);
const BUDGET: Duration = Duration::from_secs(10);

fn store() -> (MemoryStore, Keys) {
    (MemoryStore::new(Clock::tokio(Wall::UNIX_EPOCH)), Keys::new("service", "demo"))
}

fn always(fate: Fate) -> Option<Faults> {
    Some(Arc::new(move |name, _| if name == "a" { fate } else { Fate::default() }))
}

#[tokio::test(start_paused = true)]
async fn a_refused_connection_is_surely_not_done_and_a_lost_answer_is_perhaps_done() {
    let (store, keys) = store();
    let (a, b) = (store.session(&keys, "a", TTL), store.session(&keys, "b", TTL));
    store.set_faults(always(Fate { loss: Loss::Connection, ..Fate::default() }));
    assert!(matches!(a.acquire_leader(BUDGET).await, Err(DcsError::Unreachable(_))));
    store.set_faults(always(Fate { loss: Loss::Request, ..Fate::default() }));
    assert!(matches!(a.acquire_leader(BUDGET).await, Err(DcsError::Unknown(_))));
    assert!(matches!(a.load(BUDGET).await, Err(DcsError::Unreachable(_))));
    assert!(b.load(BUDGET).await.unwrap().is_unlocked());
    store.set_faults(always(Fate { loss: Loss::Reply, ..Fate::default() }));
    assert!(matches!(a.acquire_leader(BUDGET).await, Err(DcsError::Unknown(_))));
    assert!(b.load(BUDGET).await.unwrap().leader_name().is_some_and(|n| *n == "a"));
}

#[tokio::test(start_paused = true)]
async fn a_late_request_is_carried_out_when_nobody_waits_any_more() {
    let (store, keys) = store();
    let a = store.session(&keys, "a", TTL);
    store.set_faults(always(Fate { request: BUDGET * 2, ..Fate::default() }));
    assert!(matches!(a.acquire_leader(BUDGET).await, Err(DcsError::Unknown(_))));
    assert!(store.entries().is_empty());
    tokio::time::sleep(BUDGET * 2).await;
    assert_eq!(store.entries().get("/service/demo/leader").map(String::as_str), Some("a"));
}

#[tokio::test(start_paused = true)]
async fn the_lease_counts_from_before_the_request() {
    let (store, keys) = store();
    let a = store.session(&keys, "a", TTL);
    let clock = store.shared.clock.clone();
    let before = clock.mono();
    store.set_faults(always(Fate { request: Duration::from_secs(2), reply: Duration::from_secs(3), loss: Loss::None }));
    assert_eq!(a.acquire_leader(BUDGET).await.unwrap().until, before + TTL);
    assert_eq!(clock.mono(), before + Duration::from_secs(5));
    // The store itself counts from the arrival: its end is never earlier than ours.
    store.set_faults(None);
    tokio::time::sleep(TTL - Duration::from_secs(4)).await;
    assert_eq!(store.entries().len(), 1);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(store.entries().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_cut_watch_is_silent_and_counts_as_changed_when_mended() {
    let (store, keys) = store();
    let (a, b) = (store.session(&keys, "a", TTL), store.session(&keys, "b", TTL));
    a.load(BUDGET).await.unwrap();
    store.cut("a", true);
    b.acquire_leader(BUDGET).await.unwrap();
    let hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(hour, a.changed()).await.is_err());
    store.cut("a", false);
    assert!(tokio::time::timeout(hour, a.changed()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_expiry_and_watching_takes_no_time() {
    let (store, keys) = store();
    let (a, b) = (store.session(&keys, "a", TTL), store.session(&keys, "b", TTL));
    for _ in 0..120 {
        b.touch_member(&MemberData::default(), BUDGET).await.unwrap();
        a.load(BUDGET).await.unwrap();
        // Nothing keeps b's key alive; its end wakes a.
        assert!(tokio::time::timeout(TTL * 2, a.changed()).await.is_ok());
        assert!(a.load(BUDGET).await.unwrap().members.is_empty());
    }
}
