//! `PostgresControl` over a model server of the world.

use super::server::{Process, Server, Source, Stopping};
use super::world::World;
use async_trait::async_trait;
use patroni::cluster::{
    CallbackEvent, ControlData, ControlState, DataDir, History, NodeStatus, PendingRestart, Postmaster, Readiness,
    Role, ServerFacts, SlotCopy, SlotPlan, SlotReport, StopMode, SyncNames, Upstream, WantedSlot,
};
use patroni::config::Settings;
use patroni::postgres::{Cancel, LeaderPoint, PgError, PostgresControl, RewindEnd, ShutdownPoint, StartAs};
use patroni::types::{Lsn, PgVersion, Timeline};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// First position of a new cluster.
pub(super) const FIRST_LSN: Lsn = Lsn(0x0100_0000);
/// Bytes of a checkpoint record.
pub(super) const CHECKPOINT_RECORD: u64 = 120;

/// The server of one node, as its agent reaches it.
pub struct ModelPostgres {
    pub world: Arc<World>,
    pub node: usize,
}

pub(super) fn refused() -> PgError {
    PgError::NoConnection("connection refused".to_owned())
}

fn source(upstream: &Upstream) -> Source {
    Source { name: upstream.name.clone(), slot: upstream.slot.clone() }
}

impl ModelPostgres {
    pub(super) fn log(&self, text: String) {
        let mut inner = self.world.lock();
        let name = inner.name(self.node);
        inner.log(self.world.now(), format!("{name} {text}"));
    }

    pub(super) fn server<T>(&self, question: impl FnOnce(&mut Server) -> T) -> T {
        question(&mut self.world.lock().nodes[self.node].server)
    }

    /// Waits for a length drawn from the seed.
    pub(super) async fn take(&self, least_ms: u64, most_ms: u64) {
        let span = self.world.lock().span(least_ms, most_ms);
        sleep(span).await;
    }

    /// A step on files hangs while the disk is dead.
    pub(super) async fn disk(&self) {
        loop {
            let changed = self.world.changed.notified();
            if !self.server(|s| s.dead_disk) {
                return;
            }
            changed.await;
        }
    }

    /// A connection: hangs on a frozen server, fails on one that is not ready.
    pub(super) async fn connect(&self) -> Result<(), PgError> {
        sleep(Duration::from_millis(3)).await;
        if self.server(|s| s.frozen) {
            sleep(Duration::from_secs(3)).await;
            return Err(PgError::TimedOut("timeout expired".to_owned()));
        }
        let now = self.world.now();
        if self.server(|s| s.ready(now)) { Ok(()) } else { Err(refused()) }
    }

    /// Sleeps in a way that the flag interrupts.
    pub(super) async fn cancellable(&self, least_ms: u64, most_ms: u64, mut cancel: Cancel) -> Result<(), PgError> {
        tokio::select! {
            biased;
            _ = cancel.wait_for(|raised| *raised) => Err(PgError::Cancelled),
            () = self.take(least_ms, most_ms) => Ok(()),
        }
    }

    /// A member that serves connections over a link that works.
    pub(super) fn reachable(&self, upstream: &Upstream) -> Option<usize> {
        let inner = self.world.lock();
        let other = inner.find(&upstream.name).filter(|o| inner.linked(self.node, *o))?;
        inner.nodes[other].server.ready(self.world.now()).then_some(other)
    }
}

#[async_trait(?Send)]
impl PostgresControl for ModelPostgres {
    fn configure(&self, _: Arc<Settings>) {}

    async fn look(&self) -> ServerFacts {
        self.disk().await;
        sleep(Duration::from_millis(2)).await;
        let inner = self.world.lock();
        let server = &inner.nodes[self.node].server;
        let control = server.data.as_ref().map(|d| {
            let recovering = matches!(d.control, ControlState::InArchiveRecovery | ControlState::ShutDownInRecovery);
            let timeline = inner.wal.timeline(d.end.branch);
            ControlData {
                system_id: Some(d.system_id),
                state: d.control,
                checkpoint_lsn: d.checkpoint,
                redo_lsn: d.checkpoint,
                timeline: d.checkpoint_timeline,
                min_recovery_lsn: if recovering { d.end.lsn } else { Lsn(0) },
                min_recovery_timeline: if recovering { timeline } else { Timeline(0) },
                checksums: true,
                wal_log_hints: true,
                lines: Vec::new(),
            }
        });
        ServerFacts {
            at: self.world.now(),
            data_dir: server.data.as_ref().map_or(DataDir::Empty, |_| DataDir::Present(Some(PgVersion(150_000)))),
            postmaster: server.process.as_ref().map(|p| p.postmaster),
            control,
            recovery_files: server.data.as_ref().is_some_and(|d| d.standby_signal),
            backup_label: false,
        }
    }

    async fn exited(&self, postmaster: Postmaster) {
        loop {
            let changed = self.world.changed.notified();
            if self.server(|s| s.process.as_ref().is_none_or(|p| p.postmaster != postmaster)) {
                return;
            }
            changed.await;
        }
    }

    async fn status(&self) -> Result<NodeStatus, PgError> {
        self.answer_status().await
    }

    async fn readiness(&self) -> Readiness {
        match self.connect().await {
            Ok(()) => Readiness::Accepting,
            Err(PgError::TimedOut(_)) => Readiness::NoResponse,
            Err(_) if self.server(|s| s.process.is_some()) => Readiness::Rejecting,
            Err(_) => Readiness::NoResponse,
        }
    }

    async fn write_config(&self, start: &StartAs) -> Result<(), PgError> {
        self.disk().await;
        self.server(|s| {
            let data = s.data.as_mut().ok_or_else(|| PgError::File("no data directory".to_owned()))?;
            match start {
                StartAs::Standby { upstream } => {
                    data.standby_signal = true;
                    data.upstream = upstream.as_deref().map(source);
                }
                StartAs::Primary | StartAs::CustomRecovery { .. } => {
                    data.standby_signal = false;
                    data.upstream = None;
                }
            }
            Ok(())
        })
    }

    async fn rewrite_config(&self) -> Result<bool, PgError> {
        self.disk().await;
        Ok(false)
    }

    async fn reload(&self) -> Result<(), PgError> {
        self.server(|s| {
            if let (Some(data), Some(process)) = (&s.data, &mut s.process)
                && process.in_recovery
            {
                process.upstream = data.upstream.clone();
            }
        });
        Ok(())
    }

    async fn pending_restart(&self) -> Result<PendingRestart, PgError> {
        self.connect().await?;
        Ok(PendingRestart::new())
    }

    async fn launch(&self, _: &StartAs) -> Result<Postmaster, PgError> {
        self.disk().await;
        let now = self.world.now();
        let mut inner = self.world.lock();
        let pid = inner.next_pid();
        let (start, recovery) = (inner.span(100, 1500), inner.span(300, 5000));
        let name = inner.name(self.node);
        let leased = inner.has_lease(self.node, now);
        let paused = inner.paused_since.is_some_and(|since| now.since(since) > Duration::from_secs(40));
        let server = &mut inner.nodes[self.node].server;
        if server.process.is_some() {
            return Err(PgError::Program("lock file \"postmaster.pid\" already exists".to_owned()));
        }
        let Some(data) = &mut server.data else { return Err(PgError::File("no data directory".to_owned())) };
        let standby = data.standby_signal;
        let crashed = matches!(data.control, ControlState::InProduction | ControlState::ShuttingDown);
        let was_standby = matches!(data.control, ControlState::InArchiveRecovery | ControlState::ShutDownInRecovery);
        let fresh = data.fresh;
        // All of the log that is on disk is replayed.
        data.replayed = data.end.lsn;
        if standby {
            data.control = ControlState::InArchiveRecovery;
        } else if crashed {
            data.control = ControlState::InCrashRecovery;
        }
        let postmaster = Postmaster { pid, start_ticks: u64::try_from(now.0.as_millis()).unwrap() };
        server.process = Some(Process {
            postmaster,
            started: now,
            ready_at: now + start + if crashed { recovery } else { Duration::ZERO },
            in_recovery: standby,
            upstream: data.upstream.clone(),
            streaming: false,
            promote_at: None,
            stopping: None,
            in_flight: 0,
        });
        let how = if standby { "standby" } else { "primary" };
        let end = inner.nodes[self.node].server.end();
        inner.log(now, format!("{name} postgres started as {how} {end:?}"));
        if !standby && was_standby {
            inner.violate(now, format!("{name} started a standby's data as a primary, on the same timeline"));
        }
        if !standby && !fresh && !leased {
            inner.violate(now, format!("{name} started as primary without the leader key"));
        }
        if paused {
            inner.violate(now, format!("{name} started postgres in a paused cluster"));
        }
        drop(inner);
        self.world.changed.notify_waiters();
        Ok(postmaster)
    }

    async fn signal_stop(&self, postmaster: Postmaster, mode: StopMode) -> Result<(), PgError> {
        let now = self.world.now();
        let mut inner = self.world.lock();
        let name = inner.name(self.node);
        let work = inner.span(100, 3000);
        let archiving = if inner.rng.u32(0..10) == 0 { inner.span(1000, 20_000) } else { inner.span(10, 300) };
        let at_once = inner.span(50, 500);
        let paused = inner.paused_since.is_some_and(|since| now.since(since) > Duration::from_secs(40));
        let Some(process) = inner.process(self.node).filter(|p| p.postmaster == postmaster) else {
            return Err(PgError::Program("no such process".to_owned()));
        };
        let (shut_at, exit_at) = match mode {
            StopMode::Fast => (now + work, now + work + archiving),
            StopMode::Immediate => (now + at_once, now + at_once),
        };
        let earlier = process.stopping.filter(|s| s.mode == StopMode::Immediate || mode == StopMode::Fast);
        let shut = process.stopping.is_some_and(|s| s.shut);
        process.stopping = Some(earlier.unwrap_or(Stopping { mode, shut_at, exit_at, shut }));
        let primary = !process.in_recovery;
        if primary
            && !shut
            && let Some(data) = &mut inner.nodes[self.node].server.data
            && data.control == ControlState::InProduction
            && mode == StopMode::Fast
        {
            data.control = ControlState::ShuttingDown;
        }
        inner.log(now, format!("{name} postgres is stopped {mode:?}"));
        if paused {
            inner.violate(now, format!("{name} stopped postgres in a paused cluster"));
        }
        Ok(())
    }

    async fn kill_all(&self, postmaster: Postmaster, _: Duration) -> Result<(), PgError> {
        sleep(Duration::from_millis(20)).await;
        let now = self.world.now();
        let mut inner = self.world.lock();
        if inner.process(self.node).is_some_and(|p| p.postmaster == postmaster) {
            inner.end_process(self.node, now, "SIGKILL");
        }
        drop(inner);
        self.world.changed.notify_waiters();
        Ok(())
    }

    async fn no_clients(&self, _: Postmaster) -> bool {
        self.server(|s| s.process.as_ref().is_none_or(|p| p.stopping.is_some()))
    }

    async fn shutdown_point(&self) -> Option<ShutdownPoint> {
        self.disk().await;
        self.server(|s| {
            let data = s.data.as_ref().filter(|d| d.control == ControlState::ShutDown)?;
            Some(ShutdownPoint { checkpoint: data.checkpoint, release: data.checkpoint })
        })
    }

    async fn checkpoint(&self, _: Duration) -> Result<(), PgError> {
        self.connect().await?;
        self.take(50, 1500).await;
        self.connect().await?;
        let mut inner = self.world.lock();
        let Some(end) = inner.nodes[self.node].server.end() else { return Err(refused()) };
        let timeline = inner.wal.timeline(end.branch);
        if let Some(data) = &mut inner.nodes[self.node].server.data {
            data.checkpoint = end.lsn;
            data.checkpoint_timeline = timeline;
        }
        Ok(())
    }

    async fn promote(&self) -> Result<(), PgError> {
        self.connect().await?;
        let now = self.world.now();
        let mut inner = self.world.lock();
        let name = inner.name(self.node);
        let takes = inner.span(100, 1500);
        if !inner.has_lease(self.node, now) {
            inner.violate(now, format!("{name} promotes without the leader key"));
        }
        inner.log(now, format!("{name} promotes"));
        match inner.process(self.node).filter(|p| p.in_recovery) {
            Some(process) => {
                process.promote_at = Some(now + takes);
                Ok(())
            }
            None => Err(PgError::Program("server is not in standby mode".to_owned())),
        }
    }

    async fn pre_promote(&self, _: Cancel) -> Result<(), PgError> {
        Ok(())
    }

    async fn before_stop(&self) {}

    async fn check_recovery(&self, upstream: Option<&Upstream>) -> Result<(bool, bool), PgError> {
        self.disk().await;
        let wanted = upstream.map(source);
        self.server(|s| {
            let process = s.process.as_ref().ok_or_else(refused)?;
            Ok((process.upstream != wanted, false))
        })
    }

    async fn resume_replay(&self) -> Result<(), PgError> {
        self.connect().await
    }

    async fn initdb(&self, cancel: Cancel) -> Result<(), PgError> {
        self.make_cluster(cancel).await
    }

    async fn custom_bootstrap(&self, _: Cancel) -> Result<StartAs, PgError> {
        Err(PgError::Program("no such method".to_owned()))
    }

    async fn post_bootstrap(&self, cancel: Cancel) -> Result<bool, PgError> {
        self.connect().await?;
        self.cancellable(100, 1000, cancel).await?;
        Ok(false)
    }

    async fn create_replica(&self, source: Option<&Upstream>, _: bool, cancel: Cancel) -> Result<(), PgError> {
        self.copy(source, cancel).await
    }

    async fn rewind(&self, leader: &Upstream, cancel: Cancel) -> RewindEnd {
        self.rewind_to(leader, cancel).await
    }

    async fn crash_recovery(&self, cancel: Cancel) -> Result<(), PgError> {
        self.recover_alone(cancel).await
    }

    async fn pg_rewind_works(&self) -> bool {
        true
    }

    async fn archives(&self) -> bool {
        false
    }

    async fn archive_checkpoint(&self, _: Cancel) -> Result<(), PgError> {
        self.disk().await;
        Ok(())
    }

    async fn remove_data(&self) -> Result<(), PgError> {
        self.disk().await;
        self.log("data directory removed".to_owned());
        self.server(|s| s.data = None);
        Ok(())
    }

    async fn move_data_aside(&self) -> Result<PathBuf, PgError> {
        self.disk().await;
        self.log("data directory moved aside".to_owned());
        self.server(|s| s.data = None);
        Ok(PathBuf::from("/data.failed"))
    }

    async fn own_timeline(&self) -> Result<Timeline, PgError> {
        self.connect().await?;
        let inner = self.world.lock();
        let end = inner.nodes[self.node].server.end().ok_or_else(refused)?;
        Ok(inner.wal.timeline(end.branch))
    }

    async fn leader_point(&self, leader: &Upstream) -> Result<LeaderPoint, PgError> {
        sleep(Duration::from_millis(5)).await;
        let Some(other) = self.reachable(leader) else { return Err(refused()) };
        let inner = self.world.lock();
        let server = &inner.nodes[other].server;
        let end = server.end().ok_or_else(refused)?;
        Ok(LeaderPoint {
            read_write: server.writable(self.world.now()),
            timeline: inner.wal.timeline(end.branch),
            lsn: end.lsn,
            history: inner.wal.history(end.branch),
        })
    }

    async fn record_end(&self, _: Timeline, lsn: Lsn) -> Result<Lsn, PgError> {
        self.disk().await;
        Ok(Lsn(lsn.0 + CHECKPOINT_RECORD))
    }

    async fn history(&self, timeline: Timeline) -> Result<History, PgError> {
        self.history_file(timeline).await
    }

    async fn sync_slots(&self, plan: &SlotPlan) -> Result<SlotReport, PgError> {
        self.connect().await?;
        let now = self.world.now();
        let mut inner = self.world.lock();
        let active: Vec<String> = (0..inner.nodes.len())
            .filter(|n| inner.streams_from(*n, now) == Some(self.node))
            .filter_map(|n| inner.nodes[n].server.process.as_ref()?.upstream.as_ref()?.slot.clone())
            .collect();
        let data = inner.nodes[self.node].server.data.as_mut().ok_or_else(refused)?;
        for slot in &plan.slots {
            data.slots.entry(slot.name.clone()).or_insert(slot.lsn);
        }
        if plan.drop_unknown {
            let wanted = |name: &String| plan.wanted(name).is_some() || active.contains(name);
            data.slots.retain(|name, _| wanted(name));
        }
        let slots = data.slots.iter().map(|(name, lsn)| (name.clone(), *lsn, active.contains(name))).collect();
        Ok(SlotReport { slots, ..SlotReport::default() })
    }

    async fn set_sync_names(&self, names: &SyncNames) -> Result<bool, PgError> {
        self.disk().await;
        let text = match names {
            SyncNames::Own(text) => text.clone(),
            SyncNames::Users => String::new(),
        };
        let mut inner = self.world.lock();
        let data = inner.nodes[self.node].server.data.as_mut().ok_or_else(refused)?;
        Ok(std::mem::replace(&mut data.sync_names, text.clone()) != text)
    }

    async fn produce_wal(&self) -> Result<(), PgError> {
        self.connect().await
    }

    // The model's clusters have no logical slots.

    async fn advance_slots(&self, _: &SlotPlan) {}

    async fn read_slots(&self, _: &Upstream, _: &[WantedSlot]) -> Vec<SlotCopy> {
        Vec::new()
    }

    async fn write_slots(&self, _: &[SlotCopy]) -> Result<(), PgError> {
        Ok(())
    }

    fn enforce_feedback(&self, _: bool) {}

    fn callback(&self, event: CallbackEvent, role: Role) {
        self.log(format!("callback {event:?} {role}"));
    }
}
