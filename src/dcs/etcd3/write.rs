//! Writing keys, with and without conditions.

use super::caller::{CallError, Effect, Reply};
use super::lock::{found, not_done, plain};
use super::session::KeepAlive;
use super::{Etcd3Store, locked};
use crate::cluster::Revision;
use crate::dcs::DcsError;
use crate::dcs::failover::Patience;
use etcd_client::{Client, Compare, CompareOp, DeleteOptions, PutOptions, Txn, TxnOp, TxnResponse};
use std::time::Duration;

/// Over which version a key may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    Anything,
    Absent,
    Version(Revision),
}

impl From<Option<Revision>> for Expect {
    fn from(revision: Option<Revision>) -> Self {
        revision.map_or(Self::Anything, Self::Version)
    }
}

impl Etcd3Store {
    pub(super) async fn txn(
        &self,
        patience: Patience,
        budget: Duration,
        txn: Txn,
    ) -> Result<Reply<TxnResponse>, CallError> {
        let request = |mut client: Client| {
            let txn = txn.clone();
            async move { client.txn(txn).await }
        };
        let reply = self.caller.call(Effect::Write, patience, budget, request).await?;
        if reply.response.succeeded() {
            self.note_own(reply.response.header().map_or(0, etcd_client::ResponseHeader::revision));
        }
        Ok(reply)
    }

    /// Writes a key that is bound to no session. Returns its new version.
    pub(super) async fn put(
        &self,
        name: &str,
        value: &str,
        expect: Expect,
        patience: Patience,
        budget: Duration,
    ) -> Result<Revision, DcsError> {
        let key = self.keys.key(name);
        let condition = match expect {
            Expect::Anything => None,
            Expect::Absent => Some(Compare::create_revision(key.clone(), CompareOp::Equal, 0)),
            Expect::Version(Revision(n)) => {
                let n = i64::try_from(n).unwrap_or(i64::MAX);
                Some(Compare::mod_revision(key.clone(), CompareOp::Equal, n))
            }
        };
        let mut txn = Txn::new().and_then([TxnOp::put(key.clone(), value, None)]);
        if let Some(condition) = condition {
            txn = txn.when([condition]).or_else([TxnOp::get(key, None)]);
        }
        let reply = self.txn(patience, budget, txn).await.map_err(plain)?;
        if reply.response.succeeded() {
            return Ok(version(reply.response.header().map_or(0, etcd_client::ResponseHeader::revision)));
        }
        let present = found(&reply.response);
        if !reply.perhaps_done_before {
            return Err(DcsError::Conflict(format!("{name} was changed by somebody else")));
        }
        // An earlier try got no answer. What it was to write stands there: it was done, unless others write the same;
        // an empty value (`initialize`) is written by everybody.
        match present.filter(|kv| kv.value() == value.as_bytes() && !value.is_empty()) {
            Some(kv) => Ok(version(kv.mod_revision())),
            None => Err(DcsError::Unknown(format!("the answer to a write of {name} was lost"))),
        }
    }

    /// Deletes a key, with `expect` only that version.
    pub(super) async fn delete(&self, name: &str, expect: Option<Revision>, budget: Duration) -> Result<(), DcsError> {
        let key = self.keys.key(name);
        let mut txn = Txn::new().and_then([TxnOp::delete(key.clone(), None)]);
        if let Some(Revision(n)) = expect {
            let n = i64::try_from(n).unwrap_or(i64::MAX);
            txn = txn.when([Compare::mod_revision(key.clone(), CompareOp::Equal, n)]).or_else([TxnOp::get(key, None)]);
        }
        let reply = self.txn(Patience::Budget, budget, txn).await.map_err(plain)?;
        if reply.response.succeeded() || reply.perhaps_done_before && found(&reply.response).is_none() {
            return Ok(());
        }
        Err(DcsError::Conflict(format!("{name} was changed by somebody else")))
    }

    pub(super) async fn delete_all(&self, budget: Duration) -> Result<(), DcsError> {
        let prefix = self.keys.prefix();
        let request = |mut client: Client| {
            let prefix = prefix.clone();
            async move { client.delete(prefix, Some(DeleteOptions::new().with_prefix())).await }
        };
        self.caller.call(Effect::Write, Patience::Budget, budget, request).await.map(|_| ()).map_err(plain)
    }

    /// Writes our member key, bound to our lease.
    pub(super) async fn put_member(&self, name: &str, value: &str, budget: Duration) -> Result<(), DcsError> {
        let left = self.countdown(budget);
        for _ in 0..2 {
            let mode = KeepAlive::UnlessFresh;
            let held = self.session.ensure(&self.caller, mode, left()).await.map_err(not_done)?;
            let session = u64::from_ne_bytes(held.id.to_ne_bytes());
            if locked(&self.written).has_member(session, value) {
                return Ok(());
            }
            // Until the answer is there it is not known what stands in the store.
            locked(&self.written).member(None);
            let lease = PutOptions::new().with_lease(held.id);
            let txn = Txn::new().and_then([TxnOp::put(self.keys.member(name), value, Some(lease))]);
            match self.txn(Patience::OneRound, left(), txn).await {
                Ok(_) => {
                    locked(&self.written).member(Some((session, value.to_owned())));
                    return Ok(());
                }
                Err(CallError::LeaseNotFound) => {
                    tracing::error!("Our lease disappeared from Etcd, can not \"touch_member\"");
                    self.session.lost(held.id).await;
                }
                Err(CallError::Dcs(error)) => return Err(error),
            }
        }
        Err(DcsError::Unreachable("Our lease disappeared from Etcd again".to_owned()))
    }
}

pub(super) fn version(revision: i64) -> Revision {
    Revision(u64::try_from(revision).unwrap_or(0))
}
