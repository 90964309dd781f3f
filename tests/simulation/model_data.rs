//! How a model's data directory comes to be and is repaired: initdb, copy, rewind, single-user recovery.

use super::model_postgres::{CHECKPOINT_RECORD, FIRST_LSN, ModelPostgres, refused};
use super::server::Data;
use super::wal::Position;
use patroni::cluster::{ControlState, Upstream};
use patroni::postgres::{Cancel, PgError, RewindEnd};
use patroni::types::{Lsn, SystemId, Timeline};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

impl ModelPostgres {
    pub(super) async fn make_cluster(&self, cancel: Cancel) -> Result<(), PgError> {
        self.disk().await;
        self.cancellable(500, 4000, cancel).await?;
        let mut inner = self.world.lock();
        let branch = inner.wal.root();
        let system_id = SystemId(7_000_000_000_000_000_000 + inner.rng.u64(0..1_000_000_000));
        inner.nodes[self.node].server.data = Some(Data {
            system_id,
            end: Position { branch, lsn: FIRST_LSN },
            replayed: FIRST_LSN,
            control: ControlState::ShutDown,
            checkpoint: FIRST_LSN,
            checkpoint_timeline: Timeline(1),
            standby_signal: false,
            upstream: None,
            slots: BTreeMap::new(),
            sync_names: String::new(),
            fresh: true,
        });
        drop(inner);
        self.log("initdb".to_owned());
        Ok(())
    }

    pub(super) async fn copy(&self, source: Option<&Upstream>, cancel: Cancel) -> Result<(), PgError> {
        self.disk().await;
        let Some(upstream) = source else { return Err(PgError::Program("no method without a leader".to_owned())) };
        if self.reachable(upstream).is_none() {
            sleep(Duration::from_millis(200)).await;
            return Err(PgError::Program("pg_basebackup exited with code=1".to_owned()));
        }
        self.log(format!("copies {}", upstream.name));
        self.cancellable(3000, 15_000, cancel).await?;
        let Some(from) = self.reachable(upstream) else {
            return Err(PgError::Program("pg_basebackup: connection lost".to_owned()));
        };
        let mut inner = self.world.lock();
        let Some(copied) = inner.nodes[from].server.data.clone() else { return Err(refused()) };
        inner.nodes[self.node].server.data = Some(Data {
            replayed: copied.end.lsn,
            control: ControlState::InArchiveRecovery,
            standby_signal: true,
            upstream: None,
            slots: BTreeMap::new(),
            sync_names: String::new(),
            fresh: false,
            ..copied
        });
        Ok(())
    }

    pub(super) async fn rewind_to(&self, leader: &Upstream, cancel: Cancel) -> RewindEnd {
        self.disk().await;
        let Some(from) = self.reachable(leader) else {
            return RewindEnd::TryAgain("the leader does not answer".to_owned());
        };
        let ready = {
            let inner = self.world.lock();
            let them = &inner.nodes[from].server;
            them.writable(self.world.now())
                && them.data.as_ref().is_some_and(|d| d.checkpoint_timeline == inner.wal.timeline(d.end.branch))
        };
        if !ready {
            return RewindEnd::TryAgain("the leader has not made its checkpoint".to_owned());
        }
        if self.cancellable(1000, 6000, cancel).await.is_err() {
            return RewindEnd::Failed("cancelled".to_owned());
        }
        if self.reachable(leader).is_none() {
            return RewindEnd::TryAgain("the leader went away".to_owned());
        }
        let now = self.world.now();
        let mut inner = self.world.lock();
        let name = inner.name(self.node);
        let Some(theirs) = inner.nodes[from].server.data.clone() else {
            return RewindEnd::TryAgain("the leader went away".to_owned());
        };
        let running = inner.nodes[self.node].server.process.is_some();
        let Some(mine) = inner.nodes[self.node].server.data.clone() else {
            return RewindEnd::Failed("no data directory".to_owned());
        };
        if running {
            inner.violate(now, format!("{name} rewinds a running server"));
        }
        if mine.system_id != theirs.system_id {
            return RewindEnd::Failed("source and target clusters are from different systems".to_owned());
        }
        if mine.checkpoint_timeline == theirs.checkpoint_timeline {
            inner.log(now, format!("{name} not rewound: source and target cluster are on the same timeline"));
            return RewindEnd::Done;
        }
        inner.nodes[self.node].server.data = Some(Data {
            replayed: theirs.end.lsn,
            control: ControlState::InArchiveRecovery,
            standby_signal: true,
            upstream: None,
            slots: mine.slots,
            sync_names: mine.sync_names,
            ..theirs
        });
        inner.log(now, format!("{name} rewound"));
        RewindEnd::Done
    }

    pub(super) async fn recover_alone(&self, cancel: Cancel) -> Result<(), PgError> {
        self.disk().await;
        self.cancellable(300, 4000, cancel).await?;
        let mut inner = self.world.lock();
        let Some(end) = inner.nodes[self.node].server.end() else { return Err(refused()) };
        let timeline = inner.wal.timeline(end.branch);
        if let Some(data) = &mut inner.nodes[self.node].server.data {
            data.control = ControlState::ShutDown;
            data.checkpoint = data.end.lsn;
            data.checkpoint_timeline = timeline;
            data.end.lsn = Lsn(data.end.lsn.0 + CHECKPOINT_RECORD);
            data.standby_signal = false;
        }
        drop(inner);
        self.log("crash recovery in single-user mode".to_owned());
        Ok(())
    }
}
