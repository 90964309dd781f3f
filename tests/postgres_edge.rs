//! The server's files and processes through `PostgresControl`, with a real PostgreSQL.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "postgres_sql/node.rs"]
#[allow(dead_code)]
mod node;
#[path = "common/settings.rs"]
mod test_settings;

use node::{as_postgres, settings};
use patroni::clock::Clock;
use patroni::cluster::{ControlState, DataDir, Postmaster, Readiness, StopMode, Upstream};
use patroni::config::Settings;
use patroni::postgres::connection::{Session, SessionOptions, open_local};
use patroni::postgres::{PgError, PostgresControl, Server, StartAs, guc, users};
use patroni::sys;
use patroni::types::{Lsn, Timeline};
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const PATIENCE: Duration = Duration::from_secs(60);

/// A member with its own directory; whatever runs there ends with it.
struct Member {
    dir: tempfile::TempDir,
    settings: Settings,
    server: Server,
}

impl Drop for Member {
    fn drop(&mut self) {
        let data = self.dir.path().join("data");
        for process in sys::server_processes(&data, "postgres", None) {
            let _gone_meanwhile = kill_process(Pid::from_raw(process.pid).unwrap(), Signal::KILL);
        }
    }
}

impl Member {
    fn new(name: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut settings = settings(name, &dir.path().join("data"), port);
        let parameters = &mut settings.postgresql.parameters;
        parameters.insert("unix_socket_directories".to_owned(), dir.path().join("run").display().to_string());
        parameters.insert("fsync".to_owned(), "off".to_owned());
        settings.postgresql.pg_hba = Some(node::HBA.lines().map(str::to_owned).collect());
        change(&mut settings);
        let server = Server::new(Arc::new(settings.clone()), Clock::system());
        Self { dir, settings, server }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn reconfigure(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.server.configure(Arc::new(self.settings.clone()));
    }

    async fn start(&self, start: &StartAs) -> Postmaster {
        self.server.write_config(start).await.unwrap();
        let postmaster = self.server.launch(start).await.unwrap();
        self.ready().await;
        postmaster
    }

    async fn ready(&self) {
        for _ in 0..600 {
            if self.server.readiness().await == Readiness::Accepting {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the server does not accept connections");
    }

    async fn stop(&self, postmaster: Postmaster, mode: StopMode) {
        self.server.signal_stop(postmaster, mode).await.unwrap();
        tokio::time::timeout(PATIENCE, self.server.exited(postmaster)).await.unwrap();
    }

    /// Runs a statement on a session of its own.
    async fn sql(&self, text: &str) -> String {
        let session = self.session().await;
        let rows = session.query_within(text, PATIENCE).await.unwrap();
        rows.first().and_then(|row| row.text(0)).unwrap_or_default().to_owned()
    }

    async fn session(&self) -> Session {
        open_local(&self.server, &SessionOptions::unlimited()).await.unwrap()
    }

    fn upstream(&self) -> Upstream {
        let conn = [("host", "127.0.0.1".to_owned()), ("port", self.settings.postgresql.port.to_string())];
        Upstream {
            name: self.settings.name.clone(),
            conn: conn.map(|(k, v)| (k.to_owned(), v)).into_iter().collect(),
            slot: None,
            recovery: indexmap::IndexMap::new(),
            is_member: true,
        }
    }
}

/// A member whose server runs as primary, with the replication user.
async fn primary(change: impl FnOnce(&mut Settings)) -> (Member, Postmaster) {
    let member = Member::new("node1", change);
    let (_owner, cancel) = watch::channel(false);
    member.server.initdb(cancel).await.unwrap();
    let postmaster = member.start(&StartAs::Primary).await;
    users::create_others(&member.server).await.unwrap();
    (member, postmaster)
}

/// A copy of `primary` that follows it.
async fn standby(primary: &Member, change: impl FnOnce(&mut Settings)) -> (Member, Postmaster, StartAs) {
    let member = Member::new("node2", change);
    let (_owner, cancel) = watch::channel(false);
    member.server.create_replica(Some(&primary.upstream()), false, cancel).await.unwrap();
    let start = StartAs::Standby { upstream: Some(Box::new(primary.upstream())) };
    let postmaster = member.start(&start).await;
    (member, postmaster, start)
}

async fn eventually<T: std::fmt::Debug>(what: &str, mut ask: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let mut last = None;
    for _ in 0..600 {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        last = Some(answer);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {last:?}");
}

fn server_processes(data: &Path) -> Vec<i32> {
    sys::server_processes(data, "postgres", None).iter().map(|p| p.pid).collect()
}

#[test]
fn a_server_lives_and_is_adopted() {
    as_postgres("a_server_lives_and_is_adopted", async {
        let (member, postmaster) = primary(|s| {
            s.postgresql.parameters.insert("archive_mode".to_owned(), "on".to_owned());
            s.postgresql.parameters.insert("archive_command".to_owned(), "true".to_owned());
        })
        .await;
        let me = i32::try_from(std::process::id()).unwrap();
        assert_ne!(sys::stat(postmaster.pid).unwrap().ppid, me, "it is no child of ours");
        let facts = member.server.look().await;
        assert_eq!(facts.postmaster, Some(postmaster));
        assert!(matches!(facts.data_dir, DataDir::Present(Some(_))) && !facts.recovery_files && !facts.backup_label);
        let control = facts.control.unwrap();
        assert_eq!((control.state, control.timeline), (ControlState::InProduction, Timeline(1)));
        assert!(control.wal_log_hints && control.system_id.is_some());
        assert_eq!(member.server.shutdown_point().await, None);

        // Another agent finds the same server by its pid file, and starts no second one.
        let again = Server::new(Arc::new(member.settings.clone()), Clock::system());
        assert_eq!(again.look().await.postmaster, Some(postmaster));
        assert_eq!(again.launch(&StartAs::Primary).await, Ok(postmaster));
        assert!(matches!(again.remove_data().await, Err(PgError::Program(_))));

        member.sql("SELECT pg_catalog.pg_switch_wal()").await;
        assert!(!member.server.no_clients(postmaster).await || member.server.status().await.is_err());
        member.stop(postmaster, StopMode::Fast).await;
        let facts = member.server.look().await;
        assert_eq!(facts.postmaster, None);
        assert_eq!(facts.control.unwrap().state, ControlState::ShutDown);
        let point = member.server.shutdown_point().await.unwrap();
        assert!(point.release < point.checkpoint, "WAL is switched before the last checkpoint: {point:?}");
        let end = member.server.record_end(Timeline(1), point.checkpoint).await.unwrap();
        assert!(end > point.checkpoint);
        member.server.remove_data().await.unwrap();
        assert_eq!(member.server.look().await.data_dir, DataDir::Empty);
    });
}

// rows: HA-30
#[test]
fn with_archiving_wal_ends_before_the_switch_to_the_shutdown_checkpoint() {
    as_postgres("with_archiving_wal_ends_before_the_switch_to_the_shutdown_checkpoint", async {
        let (member, postmaster) = primary(|s| {
            for (name, value) in [("archive_mode", "on"), ("archive_command", "true")] {
                s.postgresql.parameters.insert(name.to_owned(), value.to_owned());
            }
        })
        .await;
        member.sql("CREATE TABLE t AS SELECT 1").await;
        let written: Lsn = member.sql("SELECT pg_catalog.pg_current_wal_flush_lsn()").await.parse().unwrap();
        member.stop(postmaster, StopMode::Fast).await;
        let point = member.server.shutdown_point().await.unwrap();
        let segment = |lsn: Lsn| lsn.0 >> 24;
        assert_eq!(segment(point.checkpoint), segment(written) + 1, "{point:?}");
        assert!(point.release >= written && segment(point.release) == segment(written), "{point:?} after {written}");
    });
}

#[test]
fn changed_settings_reach_the_server() {
    as_postgres("changed_settings_reach_the_server", async {
        let (mut member, postmaster) = primary(|_| {}).await;
        assert_eq!(member.server.rewrite_config().await, Ok(false));
        assert!(member.server.pending_restart().await.unwrap().is_empty());
        member.reconfigure(|s| {
            let parameters = &mut s.postgresql.parameters;
            for (name, value) in [
                ("work_mem", "7MB"),
                ("shared_buffers", "64MB"),
                ("max_connections", "120"),
                ("no_such_parameter", "1"),
                ("my.parameter", "it's"),
            ] {
                parameters.insert(name.to_owned(), value.to_owned());
            }
        });
        assert_eq!(member.server.rewrite_config().await, Ok(true));
        member.server.reload().await.unwrap();
        let shown = async || guc::show(&member.server, "work_mem").await.unwrap_or_default();
        eventually("work_mem", shown, |v| v == "7MB").await;
        assert_eq!(guc::show(&member.server, "my.parameter").await.unwrap(), "it's");
        let pending = async || member.server.pending_restart().await.unwrap();
        let pending = eventually("pending", pending, |p| p.len() == 2).await;
        let value = |name: &str| pending.get(name).map(|v| (v.old_value.as_str(), v.new_value.as_str()));
        assert_eq!(value("shared_buffers"), Some(("128MB", "64MB")));
        assert_eq!(value("max_connections"), Some(("100", "120")));
        assert_eq!(member.server.rewrite_config().await, Ok(false));

        // Somebody else's change is seen too.
        member.sql("ALTER SYSTEM SET max_files_per_process = 900").await;
        member.server.reload().await.unwrap();
        let pending = async || member.server.pending_restart().await.unwrap();
        let pending = eventually("pending", pending, |p| p.len() == 3).await;
        assert_eq!(pending.get("max_files_per_process").unwrap().new_value, "900");
        member.stop(postmaster, StopMode::Fast).await;
        member.start(&StartAs::Primary).await;
        assert!(member.server.pending_restart().await.unwrap().is_empty());
    });
}

#[test]
fn a_standby_follows_and_is_promoted() {
    as_postgres("a_standby_follows_and_is_promoted", async {
        let (first, _) = primary(|s| {
            s.postgresql.parameters.insert("max_connections".to_owned(), "150".to_owned());
        })
        .await;
        let (second, postmaster, start) = standby(&first, |_| {}).await;
        let upstream = first.upstream();
        let streaming = async || {
            let status = second.server.status().await.unwrap_or_default();
            status.receiver.is_some_and(|r| r.status == "streaming")
        };
        eventually("streaming", streaming, |s| *s).await;
        assert!(second.server.look().await.recovery_files);

        // Limits of the primary hold, and say that a restart is wanted.
        assert_eq!(guc::show(&second.server, "max_connections").await.unwrap(), "150");
        let pending = second.server.pending_restart().await.unwrap();
        assert_eq!(pending.get("max_connections").map(|v| v.new_value.as_str()), Some("100"));

        // Nothing to do; then another slot, which a reload brings.
        assert_eq!(second.server.check_recovery(Some(&upstream)).await, Ok((false, false)));
        first.sql("SELECT pg_catalog.pg_create_physical_replication_slot('node2')").await;
        let slotted = Upstream { slot: Some("node2".to_owned()), ..upstream.clone() };
        assert_eq!(second.server.check_recovery(Some(&slotted)).await, Ok((true, false)));
        let with_slot = StartAs::Standby { upstream: Some(Box::new(slotted.clone())) };
        second.server.write_config(&with_slot).await.unwrap();
        second.server.reload().await.unwrap();
        let slot = async || {
            let status = second.server.status().await.unwrap_or_default();
            status.receiver.and_then(|r| r.slot_name)
        };
        eventually("slot", slot, |s| s.as_deref() == Some("node2")).await;
        assert_eq!(second.server.check_recovery(Some(&slotted)).await, Ok((false, false)));

        // A new agent takes it over: one reload, and no restart.
        let again = Server::new(Arc::new(second.settings.clone()), Clock::system());
        again.status().await.unwrap();
        assert_eq!(again.check_recovery(Some(&slotted)).await, Ok((true, false)));
        again.write_config(&with_slot).await.unwrap();
        assert_eq!(again.check_recovery(Some(&slotted)).await, Ok((false, false)));
        tokio::time::sleep(Duration::from_millis(2100)).await;
        again.status().await.unwrap();
        assert_eq!(again.check_recovery(Some(&slotted)).await, Ok((false, false)), "by the server's own word");

        second.server.promote().await.unwrap();
        let primary = async || second.server.status().await.is_ok_and(|s| !s.in_recovery);
        eventually("promotion", primary, |p| *p).await;
        let control = async || second.server.look().await.control.unwrap().state;
        eventually("in production", control, |s| *s == ControlState::InProduction).await;
        let history = second.server.history(Timeline(2)).await.unwrap();
        assert_eq!(history.lines.len(), 1);
        assert_eq!(history.lines[0].new_leader.as_deref(), Some("node2"));
        // A restart "as it was" leaves it a primary now.
        second.stop(postmaster, StopMode::Fast).await;
        second.start(&StartAs::Primary).await;
        assert!(!second.server.status().await.unwrap().in_recovery);
        assert_ne!(start, StartAs::Primary);
    });
}

#[test]
fn backends_of_a_killed_postmaster_are_killed_too() {
    as_postgres("backends_of_a_killed_postmaster_are_killed_too", async {
        let (member, postmaster) = primary(|_| {}).await;
        let session = member.session().await;
        let backend: i32 = session.query("SELECT pg_catalog.pg_backend_pid()").await.unwrap()[0].parse(0).unwrap();
        assert!(!member.server.no_clients(postmaster).await);
        // A backend that is stopped does not notice that its postmaster is gone.
        kill_process(Pid::from_raw(backend).unwrap(), Signal::STOP).unwrap();
        kill_process(Pid::from_raw(postmaster.pid).unwrap(), Signal::KILL).unwrap();
        tokio::time::timeout(PATIENCE, member.server.exited(postmaster)).await.unwrap();
        assert!(server_processes(&member.data()).contains(&backend));
        assert!(!member.server.no_clients(postmaster).await);
        assert_eq!(member.server.look().await.postmaster, None);
        member.server.kill_all(postmaster, PATIENCE).await.unwrap();
        assert!(server_processes(&member.data()).is_empty());
        drop(session);

        // It starts again over the pid file that was left, and kill_all takes a living one as well.
        let postmaster = member.start(&StartAs::Primary).await;
        member.server.kill_all(postmaster, PATIENCE).await.unwrap();
        assert!(server_processes(&member.data()).is_empty());
        let aside = member.server.move_data_aside().await.unwrap();
        assert_eq!(aside, member.dir.path().join("data.failed"));
    });
}
