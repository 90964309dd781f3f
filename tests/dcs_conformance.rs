//! One contract for all stores: the same cases run on the store in memory and on a real etcd, and what only a server can
//! do (die, hang, ask for a login, speak TLS) is tested on etcd alone.
//!
//! etcd is taken from PATH; without it those tests are skipped with a message.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "dcs_conformance/bench.rs"]
mod bench;
#[path = "dcs_conformance/cases.rs"]
mod cases;
#[path = "dcs_conformance/etcd.rs"]
mod etcd;
#[path = "dcs_conformance/etcd_faults.rs"]
mod etcd_faults;
#[path = "dcs_conformance/proxy.rs"]
mod proxy;
#[path = "dcs_conformance/python.rs"]
mod python;
#[path = "common/settings.rs"]
mod test_settings;
#[path = "dcs_conformance/watch_cases.rs"]
mod watch_cases;

use bench::{BUDGET, EtcdBench, MemoryBench};
use patroni::clock::Clock;
use patroni::cluster::Keys;
use patroni::dcs::Dcs;
use patroni::dcs::memory::MemoryStore;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[test]
fn the_store_in_memory_keeps_the_contract() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        bench::run_all(&MemoryBench::new()).await;
    });
}

#[test]
fn the_store_in_memory_serves_threads_with_runtimes_of_their_own() {
    let store = MemoryStore::new(Clock::system());
    let holders = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for name in ["a", "b", "c"] {
            let session = store.session(&Keys::new("service", "threads"), name, Duration::from_secs(60));
            let holders = &holders;
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    for _ in 0..50 {
                        while session.acquire_leader(BUDGET).await.is_err() {
                            session.load(BUDGET).await.unwrap();
                            tokio::select! { () = session.changed() => {}, () = tokio::time::sleep(BUDGET) => {} }
                        }
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        holders.fetch_sub(1, Ordering::SeqCst);
                        session.release_leader(BUDGET).await.unwrap();
                    }
                });
            });
        }
    });
}

#[tokio::test]
async fn etcd_keeps_the_contract() {
    let Some(server) = etcd::Server::start(&[]).await else { return };
    bench::run_all(&EtcdBench::new(server)).await;
}
