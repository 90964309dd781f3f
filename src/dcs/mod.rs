//! The store: one trait with the few verbs that Patroni needs of it, one implementation a file or folder.
//!
//! Implementations do I/O only: key layout and JSON come from [`crate::cluster`], decisions from the rules.

pub mod etcd3;
pub mod failover;
pub mod memory;
mod wake;
mod written;

use crate::clock::Clock;
use crate::cluster::{Cluster, History, MemberData, Revision, Status, SyncState};
use crate::config::settings::{Settings, Store};
use crate::types::{Mono, SystemId, Wall};
use async_trait::async_trait;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// How a request to the store ended badly. The cases are those that callers tell apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DcsError {
    /// The store was not reached or said that it cannot serve: surely not done.
    #[error("{0}")]
    Unreachable(String),
    /// No (clear) answer within the budget: perhaps done.
    #[error("{0}")]
    Unknown(String),
    /// A condition did not hold: somebody else was first, or holds it.
    #[error("{0}")]
    Conflict(String),
    /// The store refuses us (login, permission) or is unfit (too old): trying again does not help.
    #[error("{0}")]
    Refused(String),
}

/// A lease that was got or renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// It holds until this moment: the moment *before* the request was sent, plus the time to live that the store granted.
    pub until: Mono,
}

/// What a manual failover asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverRequest {
    /// `leader`: who steps down.
    pub leader: Option<String>,
    /// `member`: who takes over.
    pub candidate: Option<String>,
    /// `scheduled_at`, as text with zone (ISO 8601).
    pub scheduled_at: Option<String>,
}

/// The store of one cluster, with this member's session in it. Every verb ends within its `budget`.
///
/// One instance serves one member, or `patronictl` (which has no session and uses none of the session's verbs).
/// Verbs may run side by side. All writes are bound to the keys of [`crate::cluster::Keys`].
#[async_trait]
pub trait Dcs: Send + Sync {
    /// Reads all keys of the cluster at once.
    async fn load(&self, budget: Duration) -> Result<Cluster, DcsError>;

    /// Writes the member key, bound to the session. Skipped when neither value nor session changed.
    async fn touch_member(&self, data: &MemberData, budget: Duration) -> Result<(), DcsError>;

    /// Creates the leader key, bound to the session, only if it does not exist.
    async fn acquire_leader(&self, budget: Duration) -> Result<Lease, DcsError>;

    /// Renews the session and makes sure that the leader key is ours and bound to it: re-binds it when the value is our
    /// name under another session, creates it when it is gone. `Conflict` when somebody else holds it.
    async fn renew_leader(&self, budget: Duration) -> Result<Lease, DcsError>;

    /// Deletes the leader key if its value is our name.
    async fn release_leader(&self, budget: Duration) -> Result<(), DcsError>;

    /// Writes `initialize`: empty for `None`. With `create_only`, `Conflict` when it exists.
    async fn initialize(
        &self,
        system_id: Option<SystemId>,
        create_only: bool,
        budget: Duration,
    ) -> Result<(), DcsError>;

    /// Deletes `initialize`.
    async fn cancel_initialize(&self, budget: Duration) -> Result<(), DcsError>;

    /// Writes `config`; with `expect`, only over that version.
    async fn write_config(
        &self,
        data: &Map<String, Value>,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError>;

    /// Writes `failover`; with `expect`, only over that version.
    async fn write_failover(
        &self,
        request: &FailoverRequest,
        expect: Option<Revision>,
        budget: Duration,
    ) -> Result<(), DcsError>;

    /// Writes `status`. Skipped when nothing changed. Parts that are `None` keep their last known value, empty ones are
    /// taken away.
    async fn write_status(&self, status: &Status, budget: Duration) -> Result<(), DcsError>;

    /// Writes `history`.
    async fn write_history(&self, history: &History, budget: Duration) -> Result<(), DcsError>;

    /// Writes `sync` over the version in `state` (`None`: only if absent); returns its new version.
    async fn write_sync(&self, state: &SyncState, budget: Duration) -> Result<Revision, DcsError>;

    /// Deletes `sync` if it has this version.
    async fn delete_sync(&self, expect: Revision, budget: Duration) -> Result<(), DcsError>;

    /// Writes `failsafe`. Skipped when nothing changed.
    async fn write_failsafe(&self, map: &Map<String, Value>, budget: Duration) -> Result<(), DcsError>;

    /// Deletes every key of the cluster (`patronictl remove`).
    async fn delete_cluster(&self, budget: Duration) -> Result<(), DcsError>;

    /// The time to live from now on (after a change of configuration); takes effect with the next renewal.
    fn set_ttl(&self, ttl: Duration);

    /// Waits until something changed that a cycle should see (leader, config, failover, members as the store allows).
    /// Never returns when nothing does; reconnects by itself, and counts a reconnection as a change.
    async fn changed(&self);

    /// Ends the session: member key and lease vanish. The leader key must have been released before; while it is still
    /// bound to the session (a shutdown in pause), the session is left to expire by itself.
    async fn close(&self, budget: Duration);

    /// The wall-clock moment of the last successful [`Dcs::load`] (`dcs_last_seen`).
    fn last_seen(&self) -> Option<Wall>;
}

/// Why there can be no store at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    /// The configuration asks for something that this version does not have.
    #[error("not supported yet: {0}")]
    NotSupported(String),
    /// The configuration makes no sense.
    #[error("{0}")]
    Invalid(String),
}

/// Where in the store a cluster lies, and for how long its leases are.
pub struct Place<'a> {
    namespace: &'a str,
    scope: &'a str,
    ttl: Duration,
}

/// The store of an agent, with a session for its member. Nothing is connected yet: that the store is down shows with the
/// first verb.
///
/// # Errors
/// When the configuration is unfit.
pub fn connect(settings: &Settings, clock: Clock) -> Result<Arc<dyn Dcs>, ConnectError> {
    open(&settings.store, &Place::of(settings), Some(&settings.name), clock)
}

/// A store without session: the verbs for member and leader keys are refused.
///
/// # Errors
/// When the configuration is unfit.
pub fn connect_without_session(settings: &Settings, clock: Clock) -> Result<Arc<dyn Dcs>, ConnectError> {
    open(&settings.store, &Place::of(settings), None, clock)
}

/// The store for `patronictl`, which knows no more than this: without session.
///
/// # Errors
/// When the configuration is unfit.
pub fn connect_for_ctl(
    store: &Store,
    namespace: &str,
    scope: &str,
    clock: Clock,
) -> Result<Arc<dyn Dcs>, ConnectError> {
    // No lease is ever asked for.
    let ttl = crate::config::Global::default().ttl;
    open(store, &Place { namespace, scope, ttl }, None, clock)
}

impl<'a> Place<'a> {
    fn of(settings: &'a Settings) -> Self {
        Self { namespace: &settings.namespace, scope: &settings.scope, ttl: settings.global.ttl }
    }
}

fn open(store: &Store, place: &Place<'_>, name: Option<&str>, clock: Clock) -> Result<Arc<dyn Dcs>, ConnectError> {
    match store {
        Store::Etcd3(etcd) => Ok(Arc::new(etcd3::Etcd3Store::new(place, etcd, name, clock)?)),
    }
}
