//! etcd by its version 3 API.

mod caller;
mod channel;
mod endpoint;
mod error;
mod lock;
mod session;
mod watch;
mod write;

use super::failover::{Patience, Rotation};
use super::wake::Wakes;
use super::written::Written;
use super::{ConnectError, Dcs, DcsError, FailoverRequest, Lease, Place};
use crate::clock::Clock;
use crate::cluster::{Cluster, Failover, History, Keys, MemberData, RawKey, Revision, Status, SyncState, compact_json};
use crate::config::settings::Etcd3;
use crate::types::{Mono, SystemId, Wall};
use async_trait::async_trait;
use caller::{Caller, Effect, locked};
use endpoint::Access;
use etcd_client::{Client, GetOptions, GetResponse};
use lock::plain;
use serde_json::{Map, Value};
use session::Session;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use watch::{Seen, Watcher};
use write::{Expect, version};

/// The members of the etcd cluster are asked for anew after this (DCS-12).
const MEMBERS_EVERY: Duration = Duration::from_secs(300);
const MEMBERS_TIMEOUT: Duration = Duration::from_secs(5);

/// The store of one cluster in etcd.
pub struct Etcd3Store {
    /// `None`: no session (patronictl).
    name: Option<String>,
    keys: Keys,
    caller: Arc<Caller>,
    session: Session,
    written: Mutex<Written>,
    seen: Mutex<Seen>,
    watcher: Watcher,
    last_seen: Mutex<Option<Wall>>,
    https: bool,
    /// When the member list was asked for; `None`: never, with `asks_members` off for ever.
    members_asked: Mutex<Option<Mono>>,
    asks_members: bool,
}

impl Etcd3Store {
    /// Prepares; nothing is connected yet. `name` is the member's, or `None` for a store without session.
    ///
    /// # Errors
    /// When the settings name something that cannot be had: unfit TLS files, no hosts, `srv`.
    pub fn new(place: &Place<'_>, etcd: &Etcd3, name: Option<&str>, clock: Clock) -> Result<Self, ConnectError> {
        if let Some(domain) = &etcd.srv {
            return Err(ConnectError::NotSupported(format!("etcd3.srv: {domain} (list the hosts in etcd3.hosts)")));
        }
        let scheme = if etcd.https { "https" } else { "http" };
        let hosts: Vec<String> = etcd.hosts.iter().map(|host| format!("{scheme}://{host}")).collect();
        if hosts.is_empty() {
            return Err(ConnectError::Invalid("etcd3.hosts: no host is configured".to_owned()));
        }
        let access = Access::new(etcd).map_err(|error| ConnectError::Invalid(format!("etcd3: {error}")))?;
        let keys = Keys::new(place.namespace, place.scope);
        let shown = name.unwrap_or_default();
        // Members begin at different hosts.
        let start = shown.bytes().map(usize::from).sum();
        Ok(Self {
            name: name.map(str::to_owned),
            caller: Arc::new(Caller::new(access, clock, Rotation::new(hosts, start))),
            session: Session::new(place.ttl),
            written: Mutex::default(),
            seen: Mutex::default(),
            watcher: Watcher::new(keys.prefix(), Wakes::new(&keys, shown)),
            last_seen: Mutex::default(),
            https: etcd.https,
            members_asked: Mutex::default(),
            asks_members: !etcd.use_proxies,
            keys,
        })
    }

    /// Tells what is left of a budget that begins now.
    fn countdown(&self, budget: Duration) -> impl Fn() -> Duration {
        let clock = self.caller.clock().clone();
        let started = clock.mono();
        move || budget.saturating_sub(clock.mono().since(started))
    }

    fn name(&self) -> Result<&str, DcsError> {
        self.name.as_deref().ok_or_else(|| DcsError::Refused("this client has no session".to_owned()))
    }

    fn note_own(&self, revision: i64) {
        locked(&self.seen).note_own(revision);
    }

    fn view(&self, response: &GetResponse) -> Cluster {
        let lease = self.session.id();
        let entries: Vec<_> = response.kvs().iter().map(|kv| (String::from_utf8_lossy(kv.key()), kv)).collect();
        let cluster = Cluster::from_keys(
            &self.keys,
            entries.iter().map(|(key, kv)| RawKey {
                key,
                value: kv.value(),
                revision: version(kv.mod_revision()),
                own_session: lease != 0 && kv.lease() == lease,
            }),
        );
        let name = self.name.as_deref().unwrap_or_default();
        let leader = cluster.leader.as_ref().filter(|l| !name.is_empty() && l.name == *name);
        if leader.is_some_and(|l| !l.own_session) {
            tracing::warn!("I am the leader but not owner of the lease");
        }
        let mut seen = locked(&self.seen);
        seen.revision = seen.revision.max(response.header().map_or(0, etcd_client::ResponseHeader::revision));
        seen.leading = leader.is_some();
        drop(seen);
        locked(&self.written).loaded(&cluster, name);
        cluster
    }

    /// Asks for the members of the etcd cluster, beside everything else, when it is time.
    fn refresh_members(&self) {
        let now = self.caller.clock().mono();
        let mut asked = locked(&self.members_asked);
        if !self.asks_members || asked.is_some_and(|at| now.since(at) < MEMBERS_EVERY) {
            return;
        }
        *asked = Some(now);
        let (caller, https) = (Arc::clone(&self.caller), self.https);
        tokio::spawn(async move {
            let Some(endpoint) = caller.rotation().current().map(str::to_owned) else { return };
            let asking = async {
                let mut client = caller.client(&endpoint, MEMBERS_TIMEOUT).await.ok()?;
                client.member_list().await.ok()
            };
            let Ok(Some(list)) = tokio::time::timeout(MEMBERS_TIMEOUT, asking).await else {
                tracing::debug!("{endpoint} does not tell the members of the etcd cluster");
                return;
            };
            let urls = list.members().iter().flat_map(etcd_client::Member::client_urls);
            let fitting = urls.map(|u| u.trim_end_matches('/')).filter(|u| u.starts_with("https://") == https);
            caller.rotation().discovered(fitting.map(str::to_owned).collect());
        });
    }
}

#[async_trait]
impl Dcs for Etcd3Store {
    async fn load(&self, budget: Duration) -> Result<Cluster, DcsError> {
        let prefix = self.keys.prefix();
        let request = |mut client: Client| {
            let prefix = prefix.clone();
            async move { client.get(prefix, Some(GetOptions::new().with_prefix())).await }
        };
        let reply = self.caller.call(Effect::Read, Patience::Budget, budget, request).await.map_err(plain)?;
        let cluster = self.view(&reply.response);
        *locked(&self.last_seen) = Some(self.caller.clock().wall());
        self.refresh_members();
        Ok(cluster)
    }

    async fn touch_member(&self, data: &MemberData, budget: Duration) -> Result<(), DcsError> {
        self.put_member(self.name()?, &data.to_json(), budget).await
    }

    async fn acquire_leader(&self, budget: Duration) -> Result<Lease, DcsError> {
        self.acquire(self.name()?, budget).await
    }

    async fn renew_leader(&self, budget: Duration) -> Result<Lease, DcsError> {
        self.renew(self.name()?, budget).await
    }

    async fn release_leader(&self, budget: Duration) -> Result<(), DcsError> {
        self.release(self.name()?, budget).await
    }

    async fn initialize(
        &self,
        system_id: Option<SystemId>,
        create_only: bool,
        budget: Duration,
    ) -> Result<(), DcsError> {
        let value = system_id.map(|id| id.to_string()).unwrap_or_default();
        let expect = if create_only { Expect::Absent } else { Expect::Anything };
        self.put("initialize", &value, expect, Patience::Budget, budget).await.map(|_| ())
    }

    async fn cancel_initialize(&self, budget: Duration) -> Result<(), DcsError> {
        self.delete("initialize", None, budget).await
    }

    async fn write_config(
        &self,
        data: &Map<String, Value>,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError> {
        let value = compact_json(&Value::Object(data.clone()));
        self.put("config", &value, expect.into(), Patience::OneRound, budget).await.map(|_| ())
    }

    async fn write_failover(
        &self,
        request: &FailoverRequest,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError> {
        let FailoverRequest { leader, candidate, scheduled_at } = request;
        let value = Failover::to_json(leader.as_deref(), candidate.as_deref(), scheduled_at.as_deref());
        self.put("failover", &value, expect.into(), Patience::OneRound, budget).await.map(|_| ())
    }

    async fn write_status(&self, status: &Status, budget: Duration) -> Result<(), DcsError> {
        let left = self.countdown(budget);
        let (whole, optime) = {
            let mut written = locked(&self.written);
            let change = (written.status_to_write(status), written.optime_to_write(status));
            if change.0.is_some() {
                written.status(None);
            }
            change
        };
        if let Some(whole) = whole {
            self.put("status", &whole.to_json(), Expect::Anything, Patience::OneRound, left()).await?;
            locked(&self.written).status(Some(whole));
        }
        if let Some(lsn) = optime {
            let value = lsn.0.to_string();
            self.put("optime/leader", &value, Expect::Anything, Patience::OneRound, left()).await?;
            locked(&self.written).optime(Some(lsn));
        }
        Ok(())
    }

    async fn write_history(&self, history: &History, budget: Duration) -> Result<(), DcsError> {
        self.put("history", &history.to_json(), Expect::Anything, Patience::OneRound, budget).await.map(|_| ())
    }

    async fn write_sync(&self, state: &SyncState, budget: Duration) -> Result<Revision, DcsError> {
        let expect = state.revision.map_or(Expect::Absent, Expect::Version);
        self.put("sync", &state.to_json(), expect, Patience::Budget, budget).await
    }

    async fn delete_sync(&self, expect: Revision, budget: Duration) -> Result<(), DcsError> {
        self.delete("sync", Some(expect), budget).await
    }

    async fn write_failsafe(&self, map: &Map<String, Value>, budget: Duration) -> Result<(), DcsError> {
        let Some(value) = locked(&self.written).failsafe_to_write(map) else { return Ok(()) };
        locked(&self.written).failsafe(None);
        self.put("failsafe", &value, Expect::Anything, Patience::OneRound, budget).await?;
        locked(&self.written).failsafe(Some(value));
        Ok(())
    }

    async fn delete_cluster(&self, budget: Duration) -> Result<(), DcsError> {
        self.delete_all(budget).await
    }

    fn set_ttl(&self, ttl: Duration) {
        self.session.set_ttl(ttl);
    }

    async fn changed(&self) {
        self.watcher.changed(&self.caller, &self.seen).await;
    }

    async fn close(&self, budget: Duration) {
        let left = self.countdown(budget);
        // A leader key that is still bound to the lease would vanish with it: then it is left to expire.
        let leads = match self.load(left()).await {
            Ok(cluster) => cluster.leader.is_some_and(|l| l.own_session),
            Err(error) => {
                tracing::info!("The session is left to expire: {error}");
                return;
            }
        };
        if leads {
            tracing::info!("The session holds the leader key still and is left to expire");
        } else if let Err(error) = self.session.revoke(&self.caller, left()).await {
            tracing::info!("The session is left to expire: {error}");
        }
    }

    fn last_seen(&self) -> Option<Wall> {
        *locked(&self.last_seen)
    }
}
