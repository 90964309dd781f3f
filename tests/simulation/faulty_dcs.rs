//! The store as one node reaches it: unreachable, slow, or with answers lost after the request was carried out.

use super::world::World;
use async_trait::async_trait;
use patroni::cluster::{Cluster, History, MemberData, Revision, Status, SyncState};
use patroni::dcs::{Dcs, DcsError, FailoverRequest, Lease};
use patroni::types::{SystemId, Wall};
use serde_json::{Map, Value};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A member's client with faults before it.
pub struct FaultyDcs {
    pub inner: Arc<dyn Dcs>,
    pub world: Arc<World>,
    pub node: usize,
    /// The store is broken on purpose: whoever asks for the leader key gets it.
    pub grants_twice: bool,
}

enum Fate {
    Cut(Duration),
    Go { there: Duration, back: Duration, lost: bool },
}

impl FaultyDcs {
    fn fate(&self, budget: Duration) -> Fate {
        let mut world = self.world.lock();
        let node = &world.nodes[self.node];
        let (fault, off) = (node.store, node.off);
        if fault.cut || off {
            // Sometimes refused, mostly silence.
            let least = if world.rng.bool() { Duration::from_millis(5) } else { budget };
            return Fate::Cut(least);
        }
        let most = u64::try_from(fault.slow.as_millis()).unwrap().max(2);
        let (there, back) = (world.span(1, most), world.span(1, most));
        let lost = fault.lose_one_in.is_some_and(|n| world.rng.u32(0..n) == 0);
        Fate::Go { there, back, lost }
    }

    /// Sends a request through the faults; `applied` is told of the result at the moment when the store has it.
    async fn send<T: Send>(
        &self,
        budget: Duration,
        request: impl Future<Output = Result<T, DcsError>> + Send,
        applied: impl FnOnce(&Self, &Result<T, DcsError>) + Send,
    ) -> Result<T, DcsError> {
        let unreachable = || DcsError::Unreachable("the store is not reached".to_owned());
        match self.fate(budget) {
            Fate::Cut(wait) => {
                sleep(wait.min(budget)).await;
                Err(unreachable())
            }
            Fate::Go { there, back, lost } => {
                let whole = async {
                    sleep(there).await;
                    if self.world.lock().nodes[self.node].store.cut {
                        std::future::pending::<()>().await;
                    }
                    let result = request.await;
                    applied(self, &result);
                    sleep(back).await;
                    if lost || self.world.lock().nodes[self.node].store.cut {
                        std::future::pending::<()>().await;
                    }
                    result
                };
                timeout(budget, whole).await.unwrap_or_else(|_| Err(DcsError::Unknown("no answer in time".to_owned())))
            }
        }
    }

    /// The broken store: a refusal becomes a grant.
    fn or_granted_twice(&self, result: Result<Lease, DcsError>) -> Result<Lease, DcsError> {
        match result {
            Err(DcsError::Conflict(_)) if self.grants_twice => {
                Ok(Lease { until: self.world.now() + Duration::from_secs(30) })
            }
            result => result,
        }
    }

    fn note_lease(&self, result: &Result<Lease, DcsError>) {
        let now = self.world.now();
        let mut world = self.world.lock();
        match result {
            Ok(lease) => {
                if !world.has_lease(self.node, now) {
                    let name = world.name(self.node);
                    world.log(now, format!("{name} got the leader key"));
                }
                world.nodes[self.node].lease = Some(lease.until);
                super::checker::check_leases(&mut world, now);
            }
            Err(DcsError::Conflict(_)) => world.nodes[self.node].lease = None,
            Err(_) => {}
        }
    }
}

fn nothing<T>(_: &FaultyDcs, _: &Result<T, DcsError>) {}

#[async_trait]
impl Dcs for FaultyDcs {
    async fn load(&self, budget: Duration) -> Result<Cluster, DcsError> {
        self.send(budget, self.inner.load(budget), nothing).await
    }

    async fn touch_member(&self, data: &MemberData, budget: Duration) -> Result<(), DcsError> {
        self.send(budget, self.inner.touch_member(data, budget), nothing).await
    }

    async fn acquire_leader(&self, budget: Duration) -> Result<Lease, DcsError> {
        let request = async { self.or_granted_twice(self.inner.acquire_leader(budget).await) };
        self.send(budget, request, Self::note_lease).await
    }

    async fn renew_leader(&self, budget: Duration) -> Result<Lease, DcsError> {
        let request = async { self.or_granted_twice(self.inner.renew_leader(budget).await) };
        self.send(budget, request, Self::note_lease).await
    }

    async fn release_leader(&self, budget: Duration) -> Result<(), DcsError> {
        let released = |me: &Self, result: &Result<(), DcsError>| {
            if result.is_ok() {
                let now = me.world.now();
                let mut world = me.world.lock();
                if world.nodes[me.node].lease.take().is_some_and(|until| now < until) {
                    let name = world.name(me.node);
                    world.log(now, format!("{name} released the leader key"));
                }
            }
        };
        self.send(budget, self.inner.release_leader(budget), released).await
    }

    async fn initialize(&self, id: Option<SystemId>, create_only: bool, budget: Duration) -> Result<(), DcsError> {
        self.send(budget, self.inner.initialize(id, create_only, budget), nothing).await
    }

    async fn cancel_initialize(&self, budget: Duration) -> Result<(), DcsError> {
        self.send(budget, self.inner.cancel_initialize(budget), nothing).await
    }

    async fn write_config(
        &self,
        data: &Map<String, Value>,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError> {
        self.send(budget, self.inner.write_config(data, expect, budget), nothing).await
    }

    async fn write_failover(
        &self,
        request: &FailoverRequest,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError> {
        self.send(budget, self.inner.write_failover(request, expect, budget), nothing).await
    }

    async fn write_status(&self, status: &Status, budget: Duration) -> Result<(), DcsError> {
        self.send(budget, self.inner.write_status(status, budget), nothing).await
    }

    async fn write_history(&self, history: &History, budget: Duration) -> Result<(), DcsError> {
        self.send(budget, self.inner.write_history(history, budget), nothing).await
    }

    async fn write_sync(&self, state: &SyncState, budget: Duration) -> Result<Revision, DcsError> {
        self.send(budget, self.inner.write_sync(state, budget), nothing).await
    }

    async fn delete_sync(&self, expect: Revision, budget: Duration) -> Result<(), DcsError> {
        self.send(budget, self.inner.delete_sync(expect, budget), nothing).await
    }

    async fn write_failsafe(&self, map: &Map<String, Value>, budget: Duration) -> Result<(), DcsError> {
        let names: Vec<String> = map.keys().cloned().collect();
        let written = |me: &Self, result: &Result<(), DcsError>| {
            if result.is_ok() {
                let mut world = me.world.lock();
                world.failsafe.map = names.iter().filter_map(|name| world.find(name)).collect();
            }
        };
        self.send(budget, self.inner.write_failsafe(map, budget), written).await
    }

    async fn delete_cluster(&self, budget: Duration) -> Result<(), DcsError> {
        self.send(budget, self.inner.delete_cluster(budget), nothing).await
    }

    fn set_ttl(&self, ttl: Duration) {
        self.inner.set_ttl(ttl);
    }

    async fn changed(&self) {
        self.inner.changed().await;
        loop {
            let changed = self.world.changed.notified();
            if !self.world.lock().nodes[self.node].store.cut {
                break;
            }
            changed.await;
        }
        // Watchers are rung in an order of tokio's own dice, also when an outage ends. A distance of their own each keeps
        // a seed replayable.
        sleep(Duration::from_millis(1 + self.node as u64)).await;
    }

    async fn close(&self, budget: Duration) {
        if !self.world.lock().nodes[self.node].store.cut {
            self.inner.close(budget).await;
        }
    }

    fn last_seen(&self) -> Option<Wall> {
        self.inner.last_seen()
    }
}
