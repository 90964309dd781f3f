//! The lease to which the keys of this member are bound.

use super::caller::{CallError, Caller, Effect};
use crate::dcs::failover::Patience;
use crate::dcs::{DcsError, Lease};
use crate::types::Mono;
use etcd_client::Error;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::timeout;

/// What is held.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub id: i64,
    /// As the store granted it.
    ttl: Duration,
    /// As it was asked for, in seconds.
    asked: u64,
    /// The moment before the last grant or keep-alive that succeeded was sent.
    renewed: Mono,
    /// Who answered it.
    pub endpoint: String,
    /// The raft term which that endpoint had shown before.
    pub term_before: u64,
}

impl Held {
    pub(super) fn lease(&self) -> Lease {
        Lease { until: self.renewed + self.ttl }
    }
}

/// When a lease that is there needs no keep-alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepAlive {
    /// Never: it is what was asked for.
    Always,
    /// When the last one was a moment ago, in the same cycle.
    UnlessFresh,
}

#[derive(Debug)]
pub(super) struct Session {
    held: Mutex<Option<Held>>,
    /// The lease's number, 0 for none: readable while a keep-alive is under way.
    id: AtomicI64,
    ttl: AtomicU64,
}

impl Session {
    pub(super) fn new(ttl: Duration) -> Self {
        Self { held: Mutex::new(None), id: AtomicI64::new(0), ttl: AtomicU64::new(ttl.as_secs().max(1)) }
    }

    pub(super) fn id(&self) -> i64 {
        self.id.load(Ordering::Acquire)
    }

    /// The next keep-alive grants a lease of this length instead. The old one is left to expire: keys that are still
    /// bound to it live on until they are bound to the new one.
    pub(super) fn set_ttl(&self, ttl: Duration) {
        self.ttl.store(ttl.as_secs().max(1), Ordering::Release);
    }

    /// The store says that this lease is gone.
    pub(super) async fn lost(&self, id: i64) {
        let mut held = self.held.lock().await;
        if held.as_ref().is_some_and(|h| h.id == id) {
            *held = None;
            self.id.store(0, Ordering::Release);
        }
    }

    /// Sees to it that there is a lease: keeps it alive once, or is granted one when there is none (any more).
    pub(super) async fn ensure(&self, caller: &Caller, mode: KeepAlive, budget: Duration) -> Result<Held, DcsError> {
        let started = caller.clock().mono();
        let left = || budget.saturating_sub(caller.clock().mono().since(started));
        let Ok(mut held) = timeout(budget, self.held.lock()).await else {
            return Err(DcsError::Unreachable("Failed to keepalive/grant lease in time".to_owned()));
        };
        let asked = self.ttl.load(Ordering::Acquire);
        if let Some(lease) = held.as_mut().filter(|h| h.asked == asked) {
            let fresh = caller.clock().mono().since(lease.renewed) < lease.ttl / 15;
            if mode == KeepAlive::UnlessFresh && fresh {
                return Ok(lease.clone());
            }
            if keep_alive(caller, lease, left()).await? {
                return Ok(lease.clone());
            }
        }
        *held = None;
        self.id.store(0, Ordering::Release);
        let granted = grant(caller, asked, left()).await?;
        self.id.store(granted.id, Ordering::Release);
        *held = Some(granted.clone());
        Ok(granted)
    }

    /// Ends the lease, and with it every key that is bound to it.
    pub(super) async fn revoke(&self, caller: &Caller, budget: Duration) -> Result<(), DcsError> {
        let Ok(mut held) = timeout(budget, self.held.lock()).await else {
            return Err(DcsError::Unreachable("the lease is in use".to_owned()));
        };
        let Some(lease) = held.take() else { return Ok(()) };
        self.id.store(0, Ordering::Release);
        let request = |mut client: etcd_client::Client| async move { client.lease_revoke(lease.id).await.map(|_| ()) };
        match caller.call(Effect::Write, Patience::OneRound, budget, request).await {
            Ok(_) | Err(CallError::LeaseNotFound) => Ok(()),
            Err(CallError::Dcs(error)) => Err(error),
        }
    }
}

/// `false`: the lease is gone.
async fn keep_alive(caller: &Caller, lease: &mut Held, budget: Duration) -> Result<bool, DcsError> {
    let id = lease.id;
    // One request, one answer: the stream ends with them.
    let request = |client: etcd_client::Client| async move {
        client.lease_client().keep_alive(id).await.map(|(_keeper, _stream)| ())
    };
    match caller.call(Effect::Write, Patience::Budget, budget, request).await {
        Ok(reply) => {
            lease.renewed = reply.sent;
            lease.endpoint = reply.endpoint;
            lease.term_before = reply.term_before;
            Ok(true)
        }
        Err(CallError::LeaseNotFound) => Ok(false),
        Err(CallError::Dcs(error)) => Err(error),
    }
}

async fn grant(caller: &Caller, asked: u64, budget: Duration) -> Result<Held, DcsError> {
    let seconds = i64::try_from(asked).unwrap_or(i64::MAX);
    let request = |mut client: etcd_client::Client| async move {
        let granted = client.lease_grant(seconds, None).await?;
        if granted.ttl() > 0 { Ok(granted) } else { Err(Error::Internal("a lease without time to live".to_owned())) }
    };
    // A lease that was granted without our knowing binds nothing.
    let reply = caller.call(Effect::Read, Patience::Budget, budget, request).await.map_err(|error| match error {
        CallError::LeaseNotFound => DcsError::Unreachable("Failed to keepalive/grant lease".to_owned()),
        CallError::Dcs(error) => error,
    })?;
    Ok(Held {
        id: reply.response.id(),
        ttl: Duration::from_secs(u64::try_from(reply.response.ttl()).unwrap_or(0)),
        asked,
        renewed: reply.sent,
        endpoint: reply.endpoint,
        // A grant goes through a majority, so it needs no proof.
        term_before: reply.term,
    })
}
