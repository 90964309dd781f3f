//! One member's access to the store in memory.

use super::state::State;
use super::{Fate, Loss, Shared, Verb, locked};
use crate::cluster::{Cluster, Failover, History, Keys, MemberData, Revision, Status, SyncState, compact_json};
use crate::dcs::wake::Wakes;
use crate::dcs::written::Written;
use crate::dcs::{Dcs, DcsError, FailoverRequest, Lease};
use crate::types::{Mono, SystemId, Wall};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// One member's session, or access without one.
pub struct MemorySession {
    shared: Arc<Shared>,
    keys: Keys,
    name: Option<String>,
    number: u64,
    wakes: Wakes,
    session: Arc<Mutex<Session>>,
    written: Mutex<Written>,
    watch: Mutex<Watch>,
    last_seen: Mutex<Option<Wall>>,
}

/// The lease; 0: none.
struct Session {
    lease: u64,
    /// Time to live of the lease.
    granted: Duration,
    /// Time to live that is wanted.
    ttl: Duration,
}

#[derive(Default)]
struct Watch {
    /// The first revision that was not seen yet; `None`: nothing was loaded or watched yet.
    next: Option<u64>,
    leading: bool,
    was_cut: bool,
}

/// What carries out a request within the store.
type Work<T> = Box<dyn FnOnce(&mut State, Mono) -> Result<T, DcsError> + Send>;

impl MemorySession {
    pub(super) fn new(shared: Arc<Shared>, keys: Keys, name: Option<&str>, ttl: Duration, number: u64) -> Self {
        let wakes = Wakes::new(&keys, name.unwrap_or_default());
        let session = Session { lease: 0, granted: ttl, ttl };
        Self {
            shared,
            keys,
            name: name.map(str::to_owned),
            number,
            wakes,
            session: Arc::new(Mutex::new(session)),
            written: Mutex::default(),
            watch: Mutex::default(),
            last_seen: Mutex::default(),
        }
    }

    fn name(&self) -> Result<String, DcsError> {
        self.name.clone().ok_or_else(|| DcsError::Refused("this client has no session".to_owned()))
    }

    /// Sends a request through the faults.
    async fn send<T: Send + 'static>(&self, verb: Verb, budget: Duration, work: Work<T>) -> Result<T, DcsError> {
        let Fate { request, reply, loss } = self.shared.fate(self.name.as_deref().unwrap_or_default(), verb);
        let lost = || match verb {
            Verb::Load => DcsError::Unreachable("the store does not answer".to_owned()),
            _ => DcsError::Unknown("the store does not answer".to_owned()),
        };
        match loss {
            Loss::Connection => return Err(DcsError::Unreachable("the store is not there".to_owned())),
            Loss::Request => {
                sleep(budget).await;
                return Err(lost());
            }
            Loss::None | Loss::Reply => {}
        }
        let shared = Arc::clone(&self.shared);
        let carry_out = async move {
            if !request.is_zero() {
                sleep(request).await;
            }
            let result = work(&mut shared.state(), shared.clock.mono());
            shared.ring();
            result
        };
        if request >= budget && !budget.is_zero() {
            // It arrives when nobody waits for the answer any more, and is carried out all the same.
            tokio::spawn(async move { drop(carry_out.await) });
            sleep(budget).await;
            return Err(lost());
        }
        let result = carry_out.await;
        let left = budget.saturating_sub(request);
        if loss == Loss::Reply || reply > left {
            sleep(left).await;
            return Err(lost());
        }
        if !reply.is_zero() {
            sleep(reply).await;
        }
        result
    }

    /// As [`Self::send`], for work that needs the lease: it is kept alive, or granted anew, on arrival.
    async fn send_with_lease(
        &self,
        verb: Verb,
        budget: Duration,
        work: impl FnOnce(&mut State, u64) -> Result<(), DcsError> + Send + 'static,
    ) -> Result<Lease, DcsError> {
        let sent = self.shared.clock.mono();
        let session = Arc::clone(&self.session);
        let with_lease = move |state: &mut State, now: Mono| {
            let mut session = locked(&session);
            let wanted = session.granted == session.ttl && session.lease != 0;
            if !(wanted && state.keep_alive(session.lease, now)) {
                session.lease = state.grant(session.ttl, now);
                session.granted = session.ttl;
            }
            work(state, session.lease).map(|()| Lease { until: sent + session.granted })
        };
        self.send(verb, budget, Box::new(with_lease)).await
    }

    /// Writes a key that is bound to no session.
    async fn put(
        &self,
        verb: Verb,
        name: &str,
        value: String,
        expect: Expect,
        budget: Duration,
    ) -> Result<Revision, DcsError> {
        let (key, name, by) = (self.keys.key(name), name.to_owned(), self.number);
        let work = move |state: &mut State, _: Mono| {
            let present = state.get(&key).map(|entry| entry.revision);
            let fits = match expect {
                Expect::Anything => true,
                Expect::Absent => present.is_none(),
                Expect::Version(Revision(n)) => present == Some(n),
            };
            if fits { Ok(state.put(&key, &value, 0, by)) } else { Err(changed_by_other(&name)) }
        };
        self.send(verb, budget, Box::new(work)).await
    }

    /// Whether a change since the last look should wake.
    fn is_news(&self) -> bool {
        let mut watch = locked(&self.watch);
        let state = self.shared.state();
        let next = *watch.next.get_or_insert(state.revision + 1);
        watch.next = Some(state.revision.max(next.saturating_sub(1)) + 1);
        // What was forgotten may have been news. Revisions in the log have no gaps.
        let forgotten = state.log.front().is_some_and(|first| first.revision > next);
        let leading = watch.leading;
        let news = |l: &super::state::Logged| {
            l.revision >= next && l.by != self.number && self.wakes.wakes(&l.key, l.change, leading)
        };
        forgotten || state.log.iter().any(news)
    }
}

/// Over which version a key may be written.
#[derive(Clone, Copy)]
enum Expect {
    Anything,
    Absent,
    Version(Revision),
}

impl From<Option<Revision>> for Expect {
    fn from(revision: Option<Revision>) -> Self {
        revision.map_or(Self::Anything, Self::Version)
    }
}

fn changed_by_other(name: &str) -> DcsError {
    DcsError::Conflict(format!("{name} was changed by somebody else"))
}

#[async_trait]
impl Dcs for MemorySession {
    async fn load(&self, budget: Duration) -> Result<Cluster, DcsError> {
        let (keys, session) = (self.keys.clone(), Arc::clone(&self.session));
        let work = move |state: &mut State, _: Mono| Ok((state.view(&keys, locked(&session).lease), state.revision));
        let (cluster, revision) = self.send(Verb::Load, budget, Box::new(work)).await?;
        let name = self.name.as_deref().unwrap_or_default();
        let leader = cluster.leader.as_ref().filter(|l| !name.is_empty() && l.name == *name);
        if leader.is_some_and(|l| !l.own_session) {
            tracing::warn!("I am the leader but not owner of the lease");
        }
        {
            let mut watch = locked(&self.watch);
            watch.leading = leader.is_some();
            watch.next = Some(watch.next.unwrap_or(0).max(revision + 1));
        }
        locked(&self.written).loaded(&cluster, name);
        *locked(&self.last_seen) = Some(self.shared.clock.wall());
        Ok(cluster)
    }

    async fn touch_member(&self, data: &MemberData, budget: Duration) -> Result<(), DcsError> {
        let (key, value, by) = (self.keys.member(&self.name()?), data.to_json(), self.number);
        let work = move |state: &mut State, lease: u64| {
            if state.get(&key).is_none_or(|entry| entry.lease != lease || entry.value != value) {
                state.put(&key, &value, lease, by);
            }
            Ok(())
        };
        self.send_with_lease(Verb::TouchMember, budget, work).await.map(|_| ())
    }

    async fn acquire_leader(&self, budget: Duration) -> Result<Lease, DcsError> {
        let (key, name, by) = (self.keys.key("leader"), self.name()?, self.number);
        let work = move |state: &mut State, lease: u64| {
            match state.get(&key) {
                None => state.put(&key, &name, lease, by),
                Some(_) => return Err(DcsError::Conflict("Could not take out TTL lock".to_owned())),
            };
            Ok(())
        };
        self.send_with_lease(Verb::AcquireLeader, budget, work).await
    }

    async fn renew_leader(&self, budget: Duration) -> Result<Lease, DcsError> {
        let (key, name, by) = (self.keys.key("leader"), self.name()?, self.number);
        let work = move |state: &mut State, lease: u64| {
            match state.get(&key) {
                Some(entry) if entry.value != name => {
                    return Err(DcsError::Conflict(format!("the leader lock is held by {}", entry.value)));
                }
                Some(entry) if entry.lease == lease => {}
                _ => drop(state.put(&key, &name, lease, by)),
            }
            Ok(())
        };
        self.send_with_lease(Verb::RenewLeader, budget, work).await
    }

    async fn release_leader(&self, budget: Duration) -> Result<(), DcsError> {
        let (key, name, by) = (self.keys.key("leader"), self.name()?, self.number);
        let known = locked(&self.shared.state).get(&key).map(|entry| entry.revision);
        let work = move |state: &mut State, _: Mono| match state.get(&key) {
            None => Ok(()),
            Some(entry) if entry.value != name => {
                Err(DcsError::Conflict(format!("the leader lock is held by {}", entry.value)))
            }
            // A request that arrives late must not take away a lock that was got later.
            Some(entry) if known != Some(entry.revision) => Err(changed_by_other("leader")),
            Some(_) => {
                state.delete(&key, by);
                Ok(())
            }
        };
        self.send(Verb::ReleaseLeader, budget, Box::new(work)).await
    }

    async fn initialize(
        &self,
        system_id: Option<SystemId>,
        create_only: bool,
        budget: Duration,
    ) -> Result<(), DcsError> {
        let value = system_id.map(|id| id.to_string()).unwrap_or_default();
        let expect = if create_only { Expect::Absent } else { Expect::Anything };
        self.put(Verb::Initialize, "initialize", value, expect, budget).await.map(|_| ())
    }

    async fn cancel_initialize(&self, budget: Duration) -> Result<(), DcsError> {
        let (key, by) = (self.keys.key("initialize"), self.number);
        let work = move |state: &mut State, _: Mono| {
            state.delete(&key, by);
            Ok(())
        };
        self.send(Verb::CancelInitialize, budget, Box::new(work)).await
    }

    async fn write_config(
        &self,
        data: &Map<String, Value>,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError> {
        let value = compact_json(&Value::Object(data.clone()));
        self.put(Verb::WriteConfig, "config", value, expect.into(), budget).await.map(|_| ())
    }

    async fn write_failover(
        &self,
        request: &FailoverRequest,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError> {
        let FailoverRequest { leader, candidate, scheduled_at } = request;
        let value = Failover::to_json(leader.as_deref(), candidate.as_deref(), scheduled_at.as_deref());
        self.put(Verb::WriteFailover, "failover", value, expect.into(), budget).await.map(|_| ())
    }

    async fn write_status(&self, status: &Status, budget: Duration) -> Result<(), DcsError> {
        let (whole, optime) = {
            let mut written = locked(&self.written);
            let change = (written.status_to_write(status), written.optime_to_write(status));
            if change.0.is_some() {
                written.status(None);
            }
            change
        };
        let started = self.shared.clock.mono();
        if let Some(whole) = whole {
            self.put(Verb::WriteStatus, "status", whole.to_json(), Expect::Anything, budget).await?;
            locked(&self.written).status(Some(whole));
        }
        if let Some(lsn) = optime {
            let left = budget.saturating_sub(self.shared.clock.mono().since(started));
            self.put(Verb::WriteStatus, "optime/leader", lsn.0.to_string(), Expect::Anything, left).await?;
            locked(&self.written).optime(Some(lsn));
        }
        Ok(())
    }

    async fn write_history(&self, history: &History, budget: Duration) -> Result<(), DcsError> {
        self.put(Verb::WriteHistory, "history", history.to_json(), Expect::Anything, budget).await.map(|_| ())
    }

    async fn write_sync(&self, state: &SyncState, budget: Duration) -> Result<Revision, DcsError> {
        let expect = state.revision.map_or(Expect::Absent, Expect::Version);
        self.put(Verb::WriteSync, "sync", state.to_json(), expect, budget).await
    }

    async fn delete_sync(&self, expect: Revision, budget: Duration) -> Result<(), DcsError> {
        let (key, by) = (self.keys.key("sync"), self.number);
        let work = move |state: &mut State, _: Mono| {
            if state.get(&key).is_none_or(|entry| Revision(entry.revision) != expect) {
                return Err(changed_by_other("sync"));
            }
            state.delete(&key, by);
            Ok(())
        };
        self.send(Verb::DeleteSync, budget, Box::new(work)).await
    }

    async fn write_failsafe(&self, map: &Map<String, Value>, budget: Duration) -> Result<(), DcsError> {
        let Some(value) = locked(&self.written).failsafe_to_write(map) else { return Ok(()) };
        locked(&self.written).failsafe(None);
        self.put(Verb::WriteFailsafe, "failsafe", value.clone(), Expect::Anything, budget).await?;
        locked(&self.written).failsafe(Some(value));
        Ok(())
    }

    async fn delete_cluster(&self, budget: Duration) -> Result<(), DcsError> {
        let (prefix, by) = (self.keys.prefix(), self.number);
        let work = move |state: &mut State, _: Mono| {
            state.delete_prefix(&prefix, by);
            Ok(())
        };
        self.send(Verb::DeleteCluster, budget, Box::new(work)).await
    }

    fn set_ttl(&self, ttl: Duration) {
        locked(&self.session).ttl = ttl;
    }

    async fn changed(&self) {
        let name = self.name.as_deref().unwrap_or_default();
        let mut bell = self.shared.bell.subscribe();
        loop {
            bell.mark_unchanged();
            if self.shared.is_cut(name) {
                locked(&self.watch).was_cut = true;
            } else if std::mem::take(&mut locked(&self.watch).was_cut) || self.is_news() {
                return;
            }
            // The sender lives as long as the store, which `self` holds.
            let rung = async { bell.changed().await.is_ok() };
            match self.shared.until_expiry() {
                Some(time) => drop(timeout(time.max(Duration::from_millis(1)), rung).await),
                None => drop(rung.await),
            }
        }
    }

    async fn close(&self, budget: Duration) {
        let (key, session, by) = (self.keys.key("leader"), Arc::clone(&self.session), self.number);
        let work = move |state: &mut State, _: Mono| {
            let lease = locked(&session).lease;
            // A leader key that is still bound to the lease would vanish with it: then it is left to expire.
            if lease != 0 && state.get(&key).is_none_or(|entry| entry.lease != lease) {
                state.revoke(lease, by);
                locked(&session).lease = 0;
            }
            Ok(())
        };
        if let Err(error) = self.send(Verb::Close, budget, Box::new(work)).await {
            tracing::info!("The session is left to expire: {error}");
        }
    }

    fn last_seen(&self) -> Option<Wall> {
        *locked(&self.last_seen)
    }
}
