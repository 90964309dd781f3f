//! What the cases need of a store, for each store.

use crate::{cases, etcd, watch_cases};
use futures_util::FutureExt;
use futures_util::future::join_all;
use patroni::clock::Clock;
use patroni::cluster::{Cluster, Keys, MemberData};
use patroni::dcs::memory::MemoryStore;
use patroni::dcs::{Dcs, DcsError};
use patroni::types::Wall;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// Enough for any request to a store that works.
pub const BUDGET: Duration = Duration::from_secs(10);
/// Short, but not so short that a busy machine misses it.
pub const TTL: Duration = Duration::from_secs(5);
/// No case waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub trait Bench: Send + Sync {
    fn clock(&self) -> Clock;
    fn session(&self, scope: &str, name: &str, ttl: Duration) -> Arc<dyn Dcs>;
    fn without_session(&self, scope: &str) -> Arc<dyn Dcs>;
    /// Writes a key as somebody outside would.
    fn put<'a>(&'a self, key: &'a str, value: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
    fn delete<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>>;
    fn get<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = Option<String>> + 'a>>;
}

/// One case's view of the bench: a cluster of its own.
pub struct Case<'a> {
    pub bench: &'a dyn Bench,
    pub scope: String,
}

impl Case<'_> {
    pub fn member(&self, name: &str) -> Arc<dyn Dcs> {
        self.bench.session(&self.scope, name, TTL)
    }

    pub fn member_with_ttl(&self, name: &str, ttl: Duration) -> Arc<dyn Dcs> {
        self.bench.session(&self.scope, name, ttl)
    }

    pub fn ctl(&self) -> Arc<dyn Dcs> {
        self.bench.without_session(&self.scope)
    }

    pub fn key(&self, name: &str) -> String {
        Keys::new("service", &self.scope).key(name)
    }

    pub async fn put(&self, name: &str, value: &str) {
        self.bench.put(&self.key(name), value).await;
    }

    pub async fn delete(&self, name: &str) {
        self.bench.delete(&self.key(name)).await;
    }

    pub async fn get(&self, name: &str) -> Option<String> {
        self.bench.get(&self.key(name)).await
    }

    /// Reads until the view is as wanted.
    pub async fn until(&self, dcs: &dyn Dcs, wanted: impl Fn(&Cluster) -> bool) -> Cluster {
        let watch = async {
            loop {
                let cluster = dcs.load(BUDGET).await.unwrap();
                if wanted(&cluster) {
                    return cluster;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, watch).await.expect("the view never came to be as wanted")
    }
}

pub fn data(api_url: &str) -> MemberData {
    MemberData { api_url: Some(api_url.to_owned()), ..MemberData::default() }
}

pub fn conflict<T: std::fmt::Debug>(result: Result<T, DcsError>) {
    assert!(matches!(result, Err(DcsError::Conflict(_))), "{result:?}");
}

/// Within its patience.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it takes too long")
}

pub type CaseFn = for<'a> fn(&'a Case<'a>) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Runs all cases side by side, each on a cluster of its own, and names those that fail.
pub async fn run_all(bench: &dyn Bench) {
    let all = cases::ALL.iter().chain(watch_cases::ALL).map(|(name, case)| async move {
        let surroundings = Case { bench, scope: (*name).to_owned() };
        let end = AssertUnwindSafe(case(&surroundings)).catch_unwind().await;
        end.is_err().then_some(*name)
    });
    let failed: Vec<&str> = join_all(all).await.into_iter().flatten().collect();
    assert!(failed.is_empty(), "failed: {failed:?}");
}

pub struct MemoryBench {
    clock: Clock,
    store: MemoryStore,
}

impl MemoryBench {
    pub fn new() -> Self {
        let clock = Clock::tokio(Wall::UNIX_EPOCH);
        Self { store: MemoryStore::new(clock.clone()), clock }
    }
}

impl Bench for MemoryBench {
    fn clock(&self) -> Clock {
        self.clock.clone()
    }

    fn session(&self, scope: &str, name: &str, ttl: Duration) -> Arc<dyn Dcs> {
        Arc::new(self.store.session(&Keys::new("service", scope), name, ttl))
    }

    fn without_session(&self, scope: &str) -> Arc<dyn Dcs> {
        Arc::new(self.store.without_session(&Keys::new("service", scope)))
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move { self.store.put(key, value) })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move { self.store.delete(key) })
    }

    fn get<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = Option<String>> + 'a>> {
        Box::pin(async move { self.store.entries().remove(key) })
    }
}

pub struct EtcdBench {
    server: etcd::Server,
}

impl EtcdBench {
    pub fn new(server: etcd::Server) -> Self {
        Self { server }
    }
}

impl Bench for EtcdBench {
    fn clock(&self) -> Clock {
        Clock::system()
    }

    fn session(&self, scope: &str, name: &str, ttl: Duration) -> Arc<dyn Dcs> {
        let mut settings = etcd::settings(scope, name, etcd::store(&[self.server.host()]));
        settings.global.ttl = ttl;
        patroni::dcs::connect(&settings, Clock::system()).unwrap()
    }

    fn without_session(&self, scope: &str) -> Arc<dyn Dcs> {
        let settings = etcd::settings(scope, "", etcd::store(&[self.server.host()]));
        patroni::dcs::connect_without_session(&settings, Clock::system()).unwrap()
    }

    fn put<'a>(&'a self, key: &'a str, value: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move { drop(self.server.client().await.put(key, value, None).await.unwrap()) })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = ()> + 'a>> {
        Box::pin(async move { drop(self.server.client().await.delete(key, None).await.unwrap()) })
    }

    fn get<'a>(&'a self, key: &'a str) -> Pin<Box<dyn Future<Output = Option<String>> + 'a>> {
        Box::pin(async move {
            let found = self.server.client().await.get(key, None).await.unwrap();
            found.kvs().first().map(|kv| String::from_utf8(kv.value().to_vec()).unwrap())
        })
    }
}
