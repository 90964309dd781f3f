//! pg_controldata: what a server's control file says, also when the server is down.

use super::Server;
use crate::cluster::{ControlData, ControlState};
use crate::sys;
use crate::types::{Lsn, SystemId, Timeline};
use std::cell::RefCell;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tracing::error;

/// How long pg_controldata may take: it reads 8 kB.
const PATIENCE: Duration = Duration::from_secs(10);

/// The control file's inode, size and time of change.
type Stamp = (u64, u64, i64, i64);

/// The result of the last run, for as long as the file stays as it was.
#[derive(Debug, Default)]
pub struct ControlCache(RefCell<Option<(Stamp, ControlData)>>);

/// Control data of the server's data directory. Runs pg_controldata only if the file changed since the last run. `None`
/// when there is no data directory (or a base backup is under way in it, which copies the control file last), or when
/// pg_controldata fails, which is logged.
pub async fn read(server: &Server) -> Option<ControlData> {
    let data_dir = server.data_dir();
    if !data_dir.join("PG_VERSION").is_file() {
        return None;
    }
    let file = data_dir.join("global/pg_control");
    let before = stamp(&file)?;
    if let Some((stamp, data)) = &*server.control.0.borrow()
        && *stamp == before
    {
        return Some(data.clone());
    }
    let text = run(server, &data_dir).await?;
    let data = parse(&text);
    if data.is_none() {
        error!("Error when calling pg_controldata: no cluster state in its output");
    }
    // Times of files are coarse: what was written just now may be written again under the same stamp.
    let age = server.clock().wall().as_second().saturating_sub(before.2);
    let trusted = stamp(&file) == Some(before) && age > 1;
    server.control.0.replace(data.clone().filter(|_| trusted).map(|data| (before, data)));
    data
}

fn stamp(file: &Path) -> Option<Stamp> {
    let meta = std::fs::metadata(file).ok()?;
    Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
}

async fn run(server: &Server, data_dir: &Path) -> Option<String> {
    let mut command = tokio::process::Command::new(server.bin("pg_controldata"));
    command.arg(data_dir).env("LANG", "C").env("LC_ALL", "C");
    match sys::output(&mut command, PATIENCE).await {
        Ok(output) if output.status.success() => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
        Ok(output) => {
            let reason = String::from_utf8_lossy(&output.stderr);
            error!("Error when calling pg_controldata: {}: {}", output.status, reason.trim());
            None
        }
        Err(reason) => {
            error!("Error when calling pg_controldata: {reason}");
            None
        }
    }
}

/// Reads pg_controldata's output of any version. `None` when it does not even tell the cluster's state.
#[must_use]
pub fn parse(text: &str) -> Option<ControlData> {
    let lines: Vec<(String, String)> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        // Before version 10 some labels began with "Current".
        .map(|(label, value)| (label.replacen("Current ", "", 1), value.trim().to_owned()))
        .collect();
    let value = |label: &str| lines.iter().find(|(l, _)| l == label).map(|(_, v)| v.as_str());
    let lsn = |label: &str| value(label).and_then(|v| v.parse::<Lsn>().ok()).unwrap_or_default();
    let timeline = |label: &str| Timeline(value(label).and_then(|v| v.parse().ok()).unwrap_or(0));
    Some(ControlData {
        system_id: value("Database system identifier").and_then(SystemId::parse),
        state: state(value("Database cluster state")?),
        checkpoint_lsn: lsn("Latest checkpoint location"),
        redo_lsn: lsn("Latest checkpoint's REDO location"),
        timeline: timeline("Latest checkpoint's TimeLineID"),
        min_recovery_lsn: lsn("Minimum recovery ending location"),
        min_recovery_timeline: timeline("Min recovery ending loc's timeline"),
        checksums: value("Data page checksum version").is_some_and(|v| v != "0"),
        wal_log_hints: value("wal_log_hints setting") == Some("on"),
        lines,
    })
}

fn state(text: &str) -> ControlState {
    match text {
        "starting up" => ControlState::StartingUp,
        "shut down" => ControlState::ShutDown,
        "shut down in recovery" => ControlState::ShutDownInRecovery,
        "shutting down" => ControlState::ShuttingDown,
        "in crash recovery" => ControlState::InCrashRecovery,
        "in archive recovery" => ControlState::InArchiveRecovery,
        "in production" => ControlState::InProduction,
        _ => ControlState::Unrecognized,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::postgres::test_settings::settings;
    use std::os::unix::fs::PermissionsExt;
    use std::sync::Arc;

    const NEW: &str = "pg_control version number:            1300
Database system identifier:           7123456789012345678
Database cluster state:               in archive recovery
pg_control last modified:             Mon 01 Jan 2024 12:00:00 PM UTC
Latest checkpoint location:           0/3000060
Latest checkpoint's REDO location:    0/3000028
Latest checkpoint's TimeLineID:       2
Latest checkpoint's PrevTimeLineID:   1
Minimum recovery ending location:     16/B374D848
Min recovery ending loc's timeline:   2
wal_level setting:                    replica
wal_log_hints setting:                on
max_connections setting:              100
Data page checksum version:           1
";

    #[test]
    fn output_is_read() {
        let data = parse(NEW).unwrap();
        assert_eq!(data.system_id, Some(SystemId(7_123_456_789_012_345_678)));
        assert_eq!(data.state, ControlState::InArchiveRecovery);
        assert_eq!((data.checkpoint_lsn, data.redo_lsn), (Lsn(0x300_0060), Lsn(0x300_0028)));
        assert_eq!((data.timeline, data.min_recovery_timeline), (Timeline(2), Timeline(2)));
        assert_eq!(data.min_recovery_lsn, Lsn(97_500_059_720));
        assert!(data.checksums && data.wal_log_hints);
        assert!(data.lines.contains(&("max_connections setting".to_owned(), "100".to_owned())));
        assert!(data.lines.iter().any(|(l, v)| l == "pg_control last modified" && v.contains("12:00:00 PM")));
    }

    #[test]
    fn labels_of_old_versions_are_read() {
        let old = "Database cluster state:  shut down\nCurrent max_connections setting: 77\n\
                   Current wal_log_hints setting: off\nData page checksum version: 0\n";
        let data = parse(old).unwrap();
        assert_eq!(data.state, ControlState::ShutDown);
        assert!(!data.checksums && !data.wal_log_hints);
        assert!(data.lines.contains(&("max_connections setting".to_owned(), "77".to_owned())));
        assert_eq!(data.system_id, None);
        assert!(parse("pg_controldata: fatal").is_none());
        assert_eq!(parse("Database cluster state: x").unwrap().state, ControlState::Unrecognized);
    }

    #[tokio::test]
    async fn the_program_runs_once_for_each_change_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = dir.path().join("data");
        std::fs::create_dir_all(data_dir.join("global")).unwrap();
        let program = dir.path().join("pg_controldata");
        let runs = dir.path().join("runs");
        let script = format!("#!/bin/sh\necho run >> {}\necho 'Database cluster state: shut down'\n", runs.display());
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = settings(&data_dir);
        settings.postgresql.bin_dir = Some(dir.path().to_owned());
        let server = Server::new(Arc::new(settings), Clock::system());
        let count = || std::fs::read_to_string(&runs).unwrap_or_default().lines().count();
        assert!(read(&server).await.is_none());
        std::fs::write(data_dir.join("PG_VERSION"), "15\n").unwrap();
        assert!(read(&server).await.is_none());
        let control = data_dir.join("global/pg_control");
        let touch = |seconds: u64| {
            let file = std::fs::File::create(&control).unwrap();
            let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            file.set_modified(time).unwrap();
        };
        touch(1_000_000);
        for _ in 0..3 {
            assert_eq!(read(&server).await.unwrap().state, ControlState::ShutDown);
        }
        assert_eq!(count(), 1);
        touch(1_000_001);
        assert!(read(&server).await.is_some());
        assert_eq!(count(), 2);
        // Written this moment: not to be trusted for long.
        std::fs::write(&control, "").unwrap();
        read(&server).await.unwrap();
        read(&server).await.unwrap();
        assert_eq!(count(), 4);
    }
}
