//! The verbs of [`PostgresControl`], each handed to the file of its topic.

use super::program::Program;
use super::*;
use super::{config_files, config_writer, create_replica, launch, recovery_check, single_user, sync_names, waldump};
use std::future::Future;
use tracing::{error, info};

/// pg_ctl only signals the server.
const PROMOTE_PATIENCE: Duration = Duration::from_secs(10);

#[async_trait(?Send)]
impl PostgresControl for Server {
    fn configure(&self, settings: Arc<Settings>) {
        self.set_settings(settings);
    }

    async fn look(&self) -> ServerFacts {
        let directory = self.data_dir();
        let recovery = ["standby.signal", "recovery.signal", "recovery.conf"];
        ServerFacts {
            at: self.clock().mono(),
            data_dir: data_dir::look(&directory),
            postmaster: postmaster::find(self),
            control: controldata::read(self).await,
            recovery_files: recovery.iter().any(|name| self.has_file(name)),
            backup_label: self.has_file("backup_label"),
        }
    }

    async fn exited(&self, postmaster: Postmaster) {
        postmaster::exited(postmaster).await;
    }

    async fn status(&self) -> Result<NodeStatus, PgError> {
        let result = status::status(self).await;
        self.remember_status(result.as_ref().ok().cloned());
        result
    }

    fn told_version(&self) -> Option<PgVersion> {
        Self::told_version(self)
    }

    async fn readiness(&self) -> Readiness {
        readiness::readiness(self).await
    }

    async fn write_config(&self, start: &StartAs) -> Result<(), PgError> {
        config_writer::write(self, start).await
    }

    async fn rewrite_config(&self) -> Result<bool, PgError> {
        config_files::rewrite(self).await
    }

    async fn reload(&self) -> Result<(), PgError> {
        info!("Reloading PostgreSQL configuration.");
        postmaster::reload(self)
    }

    async fn pending_restart(&self) -> Result<PendingRestart, PgError> {
        config_files::pending_restart(self).await
    }

    async fn launch(&self, start: &StartAs) -> Result<Postmaster, PgError> {
        launch::launch(self, start).await
    }

    async fn signal_stop(&self, postmaster: Postmaster, mode: StopMode) -> Result<(), PgError> {
        postmaster::signal_stop(self, postmaster, mode)
    }

    async fn kill_all(&self, postmaster: Postmaster, patience: Duration) -> Result<(), PgError> {
        postmaster::kill_all(self, postmaster, patience).await
    }

    async fn no_clients(&self, postmaster: Postmaster) -> bool {
        postmaster::no_clients(self, postmaster)
    }

    async fn shutdown_point(&self) -> Option<ShutdownPoint> {
        waldump::shutdown_point(self).await
    }

    async fn checkpoint(&self, patience: Duration) -> Result<(), PgError> {
        connection::checkpoint(self, patience).await.map_err(PgError::from)
    }

    async fn promote(&self) -> Result<(), PgError> {
        let program = Program::of_server(self, "pg_ctl").args(["promote", "-W", "-D"]).arg(self.data_dir());
        let finished =
            uncancelled(|cancel| async move { program.keep_output().within(PROMOTE_PATIENCE).run(&cancel).await })
                .await?;
        if finished.success() {
            return Ok(());
        }
        Err(PgError::Program(format!("pg_ctl promote failed: {}{}", finished.stdout, finished.stderr)))
    }

    async fn pre_promote(&self, cancel: Cancel) -> Result<(), PgError> {
        let Some(command) = self.settings().postgresql.pre_promote.clone() else { return Ok(()) };
        let finished = Program::command(self, &command)?.run(&cancel).await?;
        info!("pre_promote script `{command}` exited with {}", finished.code);
        if finished.success() {
            return Ok(());
        }
        Err(PgError::Program(format!("pre_promote script `{command}` exited with {}", finished.code)))
    }

    async fn before_stop(&self) {
        let Some(command) = self.settings().postgresql.before_stop.clone() else { return };
        let run =
            |cancel: Cancel| async move { Program::command(self, &command)?.run(&cancel).await.map(|f| (f, command)) };
        match uncancelled(run).await {
            Ok((finished, command)) => info!("before_stop script `{command}` exited with {}", finished.code),
            Err(reason) => error!("Exception when calling before_stop script: {reason}"),
        }
    }

    async fn check_recovery(&self, upstream: Option<&Upstream>) -> Result<(bool, bool), PgError> {
        recovery_check::check(self, upstream).await
    }

    async fn resume_replay(&self) -> Result<(), PgError> {
        connection::resume_replay(self).await.map_err(PgError::from)
    }

    async fn initdb(&self, cancel: Cancel) -> Result<(), PgError> {
        bootstrap::initdb(self, &cancel).await
    }

    async fn custom_bootstrap(&self, cancel: Cancel) -> Result<StartAs, PgError> {
        bootstrap::custom_bootstrap(self, &cancel).await
    }

    async fn post_bootstrap(&self, cancel: Cancel) -> Result<bool, PgError> {
        bootstrap::post_bootstrap(self, &cancel).await
    }

    async fn create_replica(
        &self,
        source: Option<&Upstream>,
        basebackup_only: bool,
        cancel: Cancel,
    ) -> Result<(), PgError> {
        create_replica::create_replica(self, source, basebackup_only, &cancel).await
    }

    async fn rewind(&self, leader: &Upstream, cancel: Cancel) -> RewindEnd {
        rewind::run(self, leader, &cancel).await
    }

    async fn crash_recovery(&self, cancel: Cancel) -> Result<(), PgError> {
        single_user::crash_recovery(self, &cancel).await
    }

    async fn archives(&self) -> bool {
        archive::archive_command(self).await.is_some()
    }

    async fn archive_checkpoint(&self, cancel: Cancel) -> Result<(), PgError> {
        archive::archive_checkpoint(self, &cancel).await
    }

    async fn pg_rewind_works(&self) -> bool {
        rewind::works(self).await
    }

    async fn remove_data(&self) -> Result<(), PgError> {
        data_dir::settle(self).await?;
        data_dir::remove(self).await
    }

    async fn move_data_aside(&self) -> Result<PathBuf, PgError> {
        data_dir::settle(self).await?;
        data_dir::move_aside(self).await
    }

    async fn own_timeline(&self) -> Result<Timeline, PgError> {
        replication::own_timeline(self).await
    }

    async fn leader_point(&self, leader: &Upstream) -> Result<LeaderPoint, PgError> {
        replication::leader_point(self, leader).await
    }

    async fn record_end(&self, timeline: Timeline, lsn: Lsn) -> Result<Lsn, PgError> {
        waldump::record_end(self, timeline, lsn).await
    }

    async fn history(&self, timeline: Timeline) -> Result<History, PgError> {
        history::read(self, timeline)
    }

    async fn sync_slots(&self, plan: &SlotPlan) -> Result<SlotReport, PgError> {
        slots::sync_slots(self, plan).await
    }

    async fn set_sync_names(&self, names: &SyncNames) -> Result<bool, PgError> {
        sync_names::set(self, names).await
    }

    async fn produce_wal(&self) -> Result<(), PgError> {
        sync_names::produce_wal(self).await
    }

    async fn advance_slots(&self, plan: &SlotPlan) {
        logical_slots::advance(self, plan).await;
    }

    async fn read_slots(&self, leader: &Upstream, wanted: &[WantedSlot]) -> Vec<SlotCopy> {
        slot_copy::read(self, leader, wanted).await
    }

    async fn write_slots(&self, copies: &[SlotCopy]) -> Result<(), PgError> {
        slot_copy::write(self, copies)
    }

    fn enforce_feedback(&self, on: bool) {
        self.enforce_feedback.set(on);
    }

    fn callback(&self, event: CallbackEvent, role: Role) {
        callbacks::call(self, event, role);
    }
}

/// Runs a step that takes a cancel flag with one that nobody raises.
async fn uncancelled<T, F: Future<Output = T>>(step: impl FnOnce(Cancel) -> F) -> T {
    let (keeper, cancel) = tokio::sync::watch::channel(false);
    let result = step(cancel).await;
    drop(keeper);
    result
}
