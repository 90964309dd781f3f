//! A PostgreSQL for tests of the actors: it does what its script says and writes down what was asked of it.

use crate::cluster::{
    CallbackEvent, ControlData, ControlState, DataDir, History, NodeStatus, PendingRestart, Postmaster, Readiness,
    Role, ServerFacts, SlotCopy, SlotPlan, SlotReport, StopMode, SyncNames, Upstream, WantedSlot,
};
use crate::config::Settings;
use crate::postgres::{Cancel, LeaderPoint, PgError, PostgresControl, RewindEnd, ShutdownPoint, StartAs};
use crate::types::{Lsn, Mono, PgVersion, Timeline};
use async_trait::async_trait;
use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// The script and what came of it.
pub(super) struct ScriptedPostgres {
    pub calls: RefCell<Vec<String>>,
    /// The settings that it has.
    pub configured: RefCell<Option<Arc<Settings>>>,
    pub data: Cell<bool>,
    pub standby: Cell<bool>,
    pub control: Cell<ControlState>,
    pub look_hangs: Cell<bool>,
    pub ready_after: Cell<Duration>,
    pub dies_at_start: Cell<bool>,
    /// From the shutdown checkpoint to the end of the postmaster; `None`: a fast stop does nothing.
    pub fast_stop_takes: Cell<Option<Duration>>,
    pub immediate_works: Cell<bool>,
    pub copy_takes: Cell<Duration>,
    pub copy_fails: Cell<bool>,
    pub restart_after_bootstrap: Cell<bool>,
    pub promote_takes: Cell<Duration>,
    pub pre_promote: RefCell<Result<Duration, PgError>>,
    pub status: RefCell<Result<NodeStatus, PgError>>,
    pub status_takes: Cell<Duration>,
    pub slots_take: Cell<Duration>,
    pub advances_take: Cell<Duration>,
    pub config_changed: Cell<bool>,
    /// What the server makes of a list that was written, at a reload; `None`: it is taken as written.
    pub sync_names_overridden: RefCell<Option<String>>,
    pub sync_names_written: RefCell<Option<String>>,
    alive: watch::Sender<Option<Postmaster>>,
    ready_at: Cell<tokio::time::Instant>,
    next_pid: Cell<i32>,
}

impl ScriptedPostgres {
    #[allow(clippy::disallowed_methods)]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            calls: RefCell::default(),
            configured: RefCell::default(),
            data: Cell::new(true),
            standby: Cell::new(false),
            control: Cell::new(ControlState::ShutDown),
            look_hangs: Cell::new(false),
            ready_after: Cell::new(Duration::from_millis(100)),
            dies_at_start: Cell::new(false),
            fast_stop_takes: Cell::new(Some(Duration::from_millis(500))),
            immediate_works: Cell::new(true),
            copy_takes: Cell::new(Duration::from_secs(60)),
            copy_fails: Cell::new(false),
            restart_after_bootstrap: Cell::new(false),
            promote_takes: Cell::new(Duration::from_millis(300)),
            pre_promote: RefCell::new(Ok(Duration::ZERO)),
            status: RefCell::new(Ok(NodeStatus::default())),
            status_takes: Cell::new(Duration::from_millis(5)),
            slots_take: Cell::new(Duration::from_millis(5)),
            advances_take: Cell::default(),
            config_changed: Cell::new(true),
            sync_names_overridden: RefCell::default(),
            sync_names_written: RefCell::default(),
            alive: watch::channel(None).0,
            ready_at: Cell::new(tokio::time::Instant::now()),
            next_pid: Cell::new(100),
        })
    }

    fn note(&self, call: impl Into<String>) {
        self.calls.borrow_mut().push(call.into());
    }

    pub fn called(&self) -> Vec<String> {
        self.calls.borrow().clone()
    }

    pub fn was_called(&self, call: &str) -> bool {
        self.calls.borrow().iter().any(|c| c == call)
    }

    /// A server that runs already when the agent starts.
    #[allow(clippy::disallowed_methods)]
    pub fn run(&self) {
        let pid = self.next_pid.get();
        self.next_pid.set(pid + 1);
        self.control.set(if self.standby.get() { ControlState::InArchiveRecovery } else { ControlState::InProduction });
        self.ready_at.set(tokio::time::Instant::now() + self.ready_after.get());
        self.alive.send_replace(Some(Postmaster { pid, start_ticks: 1 }));
    }

    /// kill -9.
    pub fn kill(&self) {
        self.alive.send_replace(None);
    }

    pub fn is_alive(&self) -> bool {
        self.alive.borrow().is_some()
    }

    fn die_after(&self, delay: Duration) {
        let alive = self.alive.clone();
        actix::spawn(async move {
            sleep(delay).await;
            alive.send_replace(None);
        });
    }
}

#[async_trait(?Send)]
#[allow(clippy::disallowed_methods)]
impl PostgresControl for ScriptedPostgres {
    fn configure(&self, settings: Arc<Settings>) {
        self.note("configure");
        self.configured.replace(Some(settings));
    }

    async fn look(&self) -> ServerFacts {
        if self.look_hangs.get() {
            std::future::pending::<()>().await;
        }
        let control = ControlData {
            system_id: None,
            state: self.control.get(),
            checkpoint_lsn: Lsn(1000),
            redo_lsn: Lsn(1000),
            timeline: Timeline(1),
            min_recovery_lsn: Lsn(0),
            min_recovery_timeline: Timeline(0),
            checksums: true,
            wal_log_hints: true,
            lines: Vec::new(),
        };
        ServerFacts {
            at: Mono::default(),
            data_dir: if self.data.get() { DataDir::Present(Some(PgVersion(150_000))) } else { DataDir::Empty },
            postmaster: *self.alive.borrow(),
            control: self.data.get().then_some(control),
            recovery_files: self.standby.get(),
            backup_label: false,
        }
    }

    async fn exited(&self, postmaster: Postmaster) {
        let mut alive = self.alive.subscribe();
        alive.wait_for(|now| *now != Some(postmaster)).await.unwrap();
    }

    async fn status(&self) -> Result<NodeStatus, PgError> {
        self.note("status");
        sleep(self.status_takes.get()).await;
        self.status.borrow().clone()
    }

    async fn readiness(&self) -> Readiness {
        match (self.is_alive(), tokio::time::Instant::now() >= self.ready_at.get()) {
            (false, _) => Readiness::NoResponse,
            (true, true) => Readiness::Accepting,
            (true, false) => Readiness::Rejecting,
        }
    }

    async fn write_config(&self, start: &StartAs) -> Result<(), PgError> {
        let standby = matches!(start, StartAs::Standby { .. });
        self.note(match start {
            StartAs::Standby { .. } => "write_config standby",
            StartAs::CustomRecovery { .. } => "write_config recovery",
            StartAs::Primary => "write_config primary",
        });
        self.standby.set(standby);
        Ok(())
    }

    async fn rewrite_config(&self) -> Result<bool, PgError> {
        self.note("rewrite_config");
        Ok(self.config_changed.get())
    }

    async fn reload(&self) -> Result<(), PgError> {
        self.note("reload");
        let written = self.sync_names_overridden.borrow().clone().or_else(|| self.sync_names_written.borrow().clone());
        if let (Some(text), Ok(status)) = (written, self.status.borrow_mut().as_mut()) {
            status.synchronous_standby_names = text;
        }
        Ok(())
    }

    async fn pending_restart(&self) -> Result<PendingRestart, PgError> {
        self.note("pending_restart");
        Ok(PendingRestart::new())
    }

    async fn launch(&self, _: &StartAs) -> Result<Postmaster, PgError> {
        self.note("launch");
        self.run();
        let postmaster = (*self.alive.borrow()).unwrap();
        if self.dies_at_start.get() {
            self.die_after(Duration::from_millis(50));
        }
        Ok(postmaster)
    }

    async fn signal_stop(&self, _: Postmaster, mode: StopMode) -> Result<(), PgError> {
        self.note(format!("signal {mode:?}"));
        match mode {
            StopMode::Fast => {
                if let Some(takes) = self.fast_stop_takes.get() {
                    let end =
                        if self.standby.get() { ControlState::ShutDownInRecovery } else { ControlState::ShutDown };
                    self.control.set(end);
                    self.die_after(takes);
                }
            }
            StopMode::Immediate if self.immediate_works.get() => self.die_after(Duration::from_millis(50)),
            StopMode::Immediate => {}
        }
        Ok(())
    }

    async fn kill_all(&self, _: Postmaster, _: Duration) -> Result<(), PgError> {
        self.note("kill_all");
        self.kill();
        Ok(())
    }

    async fn no_clients(&self, _: Postmaster) -> bool {
        true
    }

    async fn shutdown_point(&self) -> Option<ShutdownPoint> {
        (self.control.get() == ControlState::ShutDown)
            .then_some(ShutdownPoint { checkpoint: Lsn(1000), release: Lsn(960) })
    }

    async fn checkpoint(&self, _: Duration) -> Result<(), PgError> {
        self.note("checkpoint");
        Ok(())
    }

    async fn promote(&self) -> Result<(), PgError> {
        self.note("promote");
        sleep(self.promote_takes.get()).await;
        self.control.set(ControlState::InProduction);
        self.standby.set(false);
        Ok(())
    }

    async fn pre_promote(&self, mut cancel: Cancel) -> Result<(), PgError> {
        let script = self.pre_promote.borrow().clone();
        let takes = script?;
        tokio::select! {
            biased;
            _ = cancel.wait_for(|raised| *raised) => Err(PgError::Cancelled),
            () = sleep(takes) => Ok(()),
        }
    }

    async fn before_stop(&self) {
        self.note("before_stop");
    }

    async fn check_recovery(&self, _: Option<&Upstream>) -> Result<(bool, bool), PgError> {
        Ok((true, false))
    }

    async fn resume_replay(&self) -> Result<(), PgError> {
        std::future::pending().await
    }

    async fn initdb(&self, _: Cancel) -> Result<(), PgError> {
        self.note("initdb");
        self.data.set(true);
        Ok(())
    }

    async fn custom_bootstrap(&self, _: Cancel) -> Result<StartAs, PgError> {
        self.data.set(true);
        let target = [("recovery_target_name".to_owned(), "here".to_owned())];
        Ok(StartAs::CustomRecovery { recovery: target.into_iter().collect() })
    }

    async fn post_bootstrap(&self, _: Cancel) -> Result<bool, PgError> {
        self.note("post_bootstrap");
        Ok(self.restart_after_bootstrap.get())
    }

    async fn create_replica(&self, _: Option<&Upstream>, _: bool, mut cancel: Cancel) -> Result<(), PgError> {
        self.note("create_replica");
        self.data.set(true);
        tokio::select! {
            biased;
            _ = cancel.wait_for(|raised| *raised) => Err(PgError::Cancelled),
            () = sleep(self.copy_takes.get()) => {
                if self.copy_fails.get() { Err(PgError::Program("exited with code=1".to_owned())) } else { Ok(()) }
            }
        }
    }

    async fn rewind(&self, _: &Upstream, _: Cancel) -> RewindEnd {
        assert!(!self.is_alive(), "pg_rewind on a running server");
        self.note("rewind");
        RewindEnd::Done
    }

    async fn crash_recovery(&self, _: Cancel) -> Result<(), PgError> {
        assert!(!self.is_alive(), "single-user mode beside a running server");
        self.note("crash_recovery");
        self.control.set(ControlState::ShutDown);
        Ok(())
    }

    async fn pg_rewind_works(&self) -> bool {
        true
    }

    async fn archives(&self) -> bool {
        true
    }

    async fn archive_checkpoint(&self, _: Cancel) -> Result<(), PgError> {
        assert!(!self.is_alive(), "the last segment of a running server archived");
        self.note("archive_checkpoint");
        Ok(())
    }

    async fn remove_data(&self) -> Result<(), PgError> {
        assert!(!self.is_alive(), "data of a running server removed");
        self.note("remove_data");
        self.data.set(false);
        Ok(())
    }

    async fn move_data_aside(&self) -> Result<PathBuf, PgError> {
        assert!(!self.is_alive(), "data of a running server moved");
        self.note("move_data_aside");
        self.data.set(false);
        Ok(PathBuf::from("/data.failed"))
    }

    async fn own_timeline(&self) -> Result<Timeline, PgError> {
        Err(PgError::NoConnection("connection refused".to_owned()))
    }

    async fn leader_point(&self, _: &Upstream) -> Result<LeaderPoint, PgError> {
        Err(PgError::Sql("no such thing".to_owned()))
    }

    async fn record_end(&self, _: Timeline, lsn: Lsn) -> Result<Lsn, PgError> {
        Ok(Lsn(lsn.0 + 120))
    }

    async fn history(&self, _: Timeline) -> Result<History, PgError> {
        Ok(History::default())
    }

    async fn sync_slots(&self, plan: &SlotPlan) -> Result<SlotReport, PgError> {
        self.note("sync_slots");
        sleep(self.slots_take.get()).await;
        let slots = plan.slots.iter().map(|slot| (slot.name.clone(), slot.lsn, false)).collect();
        Ok(SlotReport { slots, ..SlotReport::default() })
    }

    async fn advance_slots(&self, plan: &SlotPlan) {
        let names: Vec<&str> = plan.logical().map(|slot| slot.name.as_str()).collect();
        self.note(format!("advance_slots {}", names.join(" ")));
        sleep(self.advances_take.get()).await;
    }

    async fn read_slots(&self, leader: &Upstream, wanted: &[WantedSlot]) -> Vec<SlotCopy> {
        self.note(format!("read_slots from {}", leader.name));
        let there = wanted.iter().filter(|slot| slot.lsn.is_some());
        there.map(|slot| SlotCopy { name: slot.name.clone(), state: vec![1] }).collect()
    }

    async fn write_slots(&self, copies: &[SlotCopy]) -> Result<(), PgError> {
        let names: Vec<&str> = copies.iter().map(|copy| copy.name.as_str()).collect();
        self.note(format!("write_slots {}", names.join(" ")));
        Ok(())
    }

    fn enforce_feedback(&self, on: bool) {
        self.note(format!("enforce_feedback {on}"));
    }

    async fn set_sync_names(&self, names: &SyncNames) -> Result<bool, PgError> {
        self.note(format!("set_sync_names {names:?}"));
        sleep(self.slots_take.get()).await;
        let text = match names {
            SyncNames::Own(text) => text.clone(),
            SyncNames::Users => String::new(),
        };
        Ok(self.sync_names_written.replace(Some(text.clone())) != Some(text))
    }

    async fn produce_wal(&self) -> Result<(), PgError> {
        self.note("produce_wal");
        Ok(())
    }

    fn callback(&self, event: CallbackEvent, role: Role) {
        self.note(format!("callback {event:?} {role}"));
    }
}

/// Settings of a member that may bootstrap.
pub(super) fn settings(change: impl FnOnce(&mut Settings)) -> Arc<Settings> {
    Arc::new(crate::test_settings::settings(|s| {
        s.bootstrap = Some(crate::config::settings::Bootstrap::default());
        change(s);
    }))
}
