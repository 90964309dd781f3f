//! The leader key: acquire, renew, release (DCS-17 to DCS-19).

use super::Etcd3Store;
use super::caller::{CallError, Effect};
use super::session::{Held, KeepAlive};
use crate::dcs::failover::Patience;
use crate::dcs::{DcsError, Lease};
use etcd_client::{Client, Compare, CompareOp, KeyValue, PutOptions, Txn, TxnOp, TxnOpResponse, TxnResponse};
use std::time::Duration;

/// More turns than this in one operation means that the store does not come to rest.
const TURNS: usize = 3;

/// What a look at the leader key showed.
enum Holder {
    Nobody,
    /// Our name, bound to our lease.
    Us,
    /// Our name, bound to another lease.
    OurName {
        revision: i64,
    },
    Other(String),
}

impl Etcd3Store {
    pub(super) async fn acquire(&self, name: &str, budget: Duration) -> Result<Lease, DcsError> {
        let left = self.countdown(budget);
        for _ in 0..TURNS {
            // Nothing is written before the lease is there.
            let held = self.session.ensure(&self.caller, KeepAlive::Always, left()).await.map_err(not_done)?;
            match self.create_leader(name, &held, left()).await {
                Ok(true) => return Ok(held.lease()),
                Ok(false) => {
                    tracing::info!("Could not take out TTL lock");
                    return Err(DcsError::Conflict("Could not take out TTL lock".to_owned()));
                }
                Err(CallError::LeaseNotFound) => {
                    tracing::error!("Our lease disappeared from Etcd. Will try to get a new one and retry attempt");
                    self.session.lost(held.id).await;
                }
                Err(CallError::Dcs(error)) => return Err(error),
            }
        }
        Err(DcsError::Unreachable("Our lease disappeared from Etcd again and again".to_owned()))
    }

    /// A keep-alive is answered by whoever believes to lead the etcd cluster. It counts only when the same node, still in
    /// the same raft term, then reads the leader key with the consent of a majority: a leader that was voted out
    /// cannot promise anything.
    pub(super) async fn renew(&self, name: &str, budget: Duration) -> Result<Lease, DcsError> {
        let left = self.countdown(budget);
        for _ in 0..TURNS {
            let held = self.session.ensure(&self.caller, KeepAlive::Always, left()).await?;
            let (holder, proven) = self.look(name, &held, left()).await?;
            match holder {
                Holder::Us if proven => return Ok(held.lease()),
                Holder::Us => {}
                Holder::Other(other) => {
                    return Err(DcsError::Conflict(format!("the leader lock is held by {other}")));
                }
                Holder::Nobody | Holder::OurName { .. } => match self.rebind_leader(name, &held, left()).await {
                    Ok(true) if proven => return Ok(held.lease()),
                    Ok(true) => {}
                    Ok(false) => return Err(DcsError::Conflict("somebody else took the leader lock".to_owned())),
                    Err(CallError::LeaseNotFound) => self.session.lost(held.id).await,
                    Err(CallError::Dcs(error)) => return Err(error),
                },
            }
        }
        Err(DcsError::Unknown("Etcd changes its leader: the renewal is not certain".to_owned()))
    }

    pub(super) async fn release(&self, name: &str, budget: Duration) -> Result<(), DcsError> {
        let left = self.countdown(budget);
        let mut perhaps_done = false;
        for _ in 0..TURNS {
            let revision = match self.holder(name, left()).await {
                Ok(Holder::Nobody) => return Ok(()),
                Ok(Holder::Other(_)) if perhaps_done => return Ok(()),
                Ok(Holder::Other(other)) => {
                    return Err(DcsError::Conflict(format!("the leader lock is held by {other}")));
                }
                Ok(Holder::OurName { revision }) => revision,
                // `holder` knows no lease.
                Ok(Holder::Us) => continue,
                Err(error) if perhaps_done => return Err(DcsError::Unknown(error.to_string())),
                Err(error) => return Err(error),
            };
            // Bound to this version: a request that arrives late must not take away a lock that we got later.
            let key = self.keys.key("leader");
            let txn = Txn::new()
                .when([
                    Compare::value(key.clone(), CompareOp::Equal, name),
                    Compare::mod_revision(key.clone(), CompareOp::Equal, revision),
                ])
                .and_then([TxnOp::delete(key, None)]);
            let reply = self.txn(Patience::OneRound, left(), txn).await.map_err(plain)?;
            if reply.response.succeeded() {
                return Ok(());
            }
            perhaps_done |= reply.perhaps_done_before;
        }
        Err(DcsError::Unknown("the leader key changes all the time".to_owned()))
    }

    /// `false`: somebody holds the lock.
    async fn create_leader(&self, name: &str, held: &Held, budget: Duration) -> Result<bool, CallError> {
        let key = self.keys.key("leader");
        let txn = Txn::new()
            .when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)])
            .and_then([TxnOp::put(key.clone(), name, Some(PutOptions::new().with_lease(held.id)))])
            .or_else([TxnOp::get(key, None)]);
        let reply = self.txn(Patience::Budget, budget, txn).await?;
        if reply.response.succeeded() {
            return Ok(true);
        }
        // An earlier try, whose answer was lost, may have been the one that created it.
        Ok(found(&reply.response).is_some_and(|kv| kv.value() == name.as_bytes() && kv.lease() == held.id))
    }

    /// Binds the key to our lease if it has our name, creates it if there is none. `false`: somebody else holds it.
    async fn rebind_leader(&self, name: &str, held: &Held, budget: Duration) -> Result<bool, CallError> {
        let key = self.keys.key("leader");
        let put = || TxnOp::put(key.clone(), name, Some(PutOptions::new().with_lease(held.id)));
        let create = Txn::new().when([Compare::create_revision(key.clone(), CompareOp::Equal, 0)]).and_then([put()]);
        let txn = Txn::new()
            .when([Compare::value(key.clone(), CompareOp::Equal, name)])
            .and_then([put()])
            .or_else([TxnOp::txn(create)]);
        let reply = self.txn(Patience::Budget, budget, txn).await?;
        let created = || {
            reply.response.op_responses().iter().any(|r| matches!(r, TxnOpResponse::Txn(inner) if inner.succeeded()))
        };
        Ok(reply.response.succeeded() || created())
    }

    /// Who holds the lock, and whether that proves the keep-alive before it.
    async fn look(&self, name: &str, held: &Held, budget: Duration) -> Result<(Holder, bool), DcsError> {
        let key = self.keys.key("leader");
        let request = |mut client: Client| {
            let key = key.clone();
            async move { client.get(key, None).await }
        };
        let reply = self.caller.call(Effect::Read, Patience::Budget, budget, request).await;
        // The keep-alive was perhaps heard.
        let reply = reply.map_err(plain).map_err(|error| match error {
            DcsError::Unreachable(text) => DcsError::Unknown(text),
            other => other,
        })?;
        let proven = reply.endpoint == held.endpoint && reply.term == held.term_before;
        Ok((holder_of(reply.response.kvs().first(), name, held.id), proven))
    }

    async fn holder(&self, name: &str, budget: Duration) -> Result<Holder, DcsError> {
        let key = self.keys.key("leader");
        let request = |mut client: Client| {
            let key = key.clone();
            async move { client.get(key, None).await }
        };
        let reply = self.caller.call(Effect::Read, Patience::OneRound, budget, request).await.map_err(plain)?;
        Ok(holder_of(reply.response.kvs().first(), name, -1))
    }
}

fn holder_of(kv: Option<&KeyValue>, name: &str, lease: i64) -> Holder {
    match kv {
        None => Holder::Nobody,
        Some(kv) if kv.value() != name.as_bytes() => Holder::Other(String::from_utf8_lossy(kv.value()).into_owned()),
        Some(kv) if kv.lease() == lease => Holder::Us,
        Some(kv) => Holder::OurName { revision: kv.mod_revision() },
    }
}

/// The key that the "or else" branch of a transaction read.
pub(super) fn found(response: &TxnResponse) -> Option<KeyValue> {
    response.op_responses().into_iter().find_map(|r| match r {
        TxnOpResponse::Get(mut get) => get.take_kvs().into_iter().next(),
        _ => None,
    })
}

/// A failure before the write that matters.
pub(super) fn not_done(error: DcsError) -> DcsError {
    match error {
        DcsError::Unknown(text) => DcsError::Unreachable(text),
        other => other,
    }
}

pub(super) fn plain(error: CallError) -> DcsError {
    match error {
        CallError::LeaseNotFound => DcsError::Unreachable("Our lease disappeared from Etcd".to_owned()),
        CallError::Dcs(error) => error,
    }
}
