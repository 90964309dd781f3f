//! pg_rewind: its preconditions, its call, and what its end means (REW-04 to REW-09).

use super::archive::{archive_ready, missing_segment, restore_segment};
use super::connection::{Conn, Session, SessionOptions, checkpoint_by};
use super::program::{Finished, Program};
use super::replication::{aim_at_primary, is_primary, member_connection};
use super::sql_error::SqlError;
use super::{Cancel, PgError, RewindEnd, Server, conninfo, controldata, guc, pgpass, postmaster};
use crate::cluster::Upstream;
use std::time::Duration;
use tracing::{error, info, warn};

/// 10 and later: whether control data has the timeline that is being written, that is, whether a checkpoint was
/// completed after the promotion. Before that pg_rewind would take the leader for still being on its old timeline.
const CHECKPOINT_RUN_10: &str = "SELECT NOT pg_catalog.pg_is_in_recovery() AND ('x' || pg_catalog.substr(\
    pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8))::bit(32)::int = timeline_id \
    FROM pg_catalog.pg_control_checkpoint()";
/// 9.6.
const CHECKPOINT_RUN_96: &str = "SELECT NOT pg_catalog.pg_is_in_recovery() AND ('x' || pg_catalog.substr(\
    pg_catalog.pg_xlogfile_name(pg_catalog.pg_current_xlog_location()), 1, 8))::bit(32)::int = timeline_id \
    FROM pg_catalog.pg_control_checkpoint()";

/// A checkpoint on a leader may have much to write.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(300);
/// `pg_rewind --help`.
const HELP_PATIENCE: Duration = Duration::from_secs(10);

/// Whether pg_rewind can be executed (REW-01).
pub async fn works(server: &Server) -> bool {
    let mut command = tokio::process::Command::new(server.bin("pg_rewind"));
    command.arg("--help");
    crate::sys::output(&mut command, HELP_PATIENCE).await.is_ok_and(|output| output.status.success())
}

/// Archives what is ready, makes sure that the leader is fit, and runs pg_rewind. The server must be stopped.
pub async fn run(server: &Server, leader: &Upstream, cancel: &Cancel) -> RewindEnd {
    let ready = match postmaster::end_orphans(server).await {
        Ok(()) => archive_ready(server, cancel).await,
        Err(reason) => Err(reason),
    };
    if let Err(reason) = ready {
        return RewindEnd::TryAgain(reason.to_string());
    }
    let mut conn = member_connection(server, leader, &server.rewind_user());
    aim_at_primary(&mut conn);
    if let Err(reason) = leader_is_fit(server, leader, &conn).await {
        return RewindEnd::TryAgain(reason);
    }
    let end = match pg_rewind(server, &conn, cancel).await {
        Ok(true) => {
            clean_slot_directories(server);
            return RewindEnd::Done;
        }
        Ok(false) => "pg_rewind failed".to_owned(),
        // Ended in the middle, the next run has to begin again; it must not be taken for a server fit to start.
        Err(PgError::Cancelled) => return RewindEnd::TryAgain("cancelled".to_owned()),
        Err(error) => error.to_string(),
    };
    classify(server, leader, &conn, end).await
}

/// A failure is final unless the leader is to blame and the control file is in order still.
async fn classify(server: &Server, leader: &Upstream, conn: &Conn, reason: String) -> RewindEnd {
    let healthy = match is_primary(conn).await {
        Ok(primary) => primary,
        Err(error) => {
            error!("Exception when working with leader: {error}");
            false
        }
    };
    if healthy {
        error!("Failed to rewind from healthy primary: {}", leader.name);
        return RewindEnd::Failed(reason);
    }
    warn!("Failed to rewind because primary {} become unreachable", leader.name);
    // The attempt may have damaged pg_control.
    match controldata::read(server).await {
        Some(control) if control.checksums || control.wal_log_hints => RewindEnd::TryAgain(reason),
        _ => RewindEnd::Failed(reason),
    }
}

/// Whether the leader accepts writes and its control data is on its timeline (REW-04, REW-05). Members of the cluster
/// run a checkpoint after promotion by themselves and are waited for; elsewhere it is up to us, as superuser.
async fn leader_is_fit(server: &Server, leader: &Upstream, conn: &Conn) -> Result<(), String> {
    let refuse = |reason: &str| {
        warn!("Can not use {} for rewind: {reason}", leader.name);
        Err(reason.to_owned())
    };
    match checkpoint_was_run(conn).await {
        Ok(Some(true)) => return Ok(()),
        Ok(Some(false)) if leader.is_member => {
            info!("Waiting for checkpoint on {} before rewind", leader.name);
            return Err(format!("waiting for checkpoint on {}", leader.name));
        }
        Ok(_) => {}
        Err(error) => {
            error!("Exception when working with leader: {error}");
            return refuse("not accessible or not healthy");
        }
    }
    if server.rewind_user() != server.superuser() {
        return refuse("leader has not run a checkpoint yet");
    }
    match checkpoint_by(conn, true, CHECKPOINT_PATIENCE).await {
        Ok(()) => Ok(()),
        Err(error) if error.message == "is_in_recovery=true" => refuse(&error.message),
        Err(error) => {
            error!("Exception during CHECKPOINT: {error}");
            refuse("not accessible or not healthy")
        }
    }
}

/// `None`: the server is too old to tell (before 9.6). A server in recovery counts as one that has not.
async fn checkpoint_was_run(conn: &Conn) -> Result<Option<bool>, SqlError> {
    let session = Session::open(conn, &SessionOptions::short("")).await?;
    let sql = match session.version() {
        version if version.at_least(100_000) => CHECKPOINT_RUN_10,
        version if version.at_least(90_600) => CHECKPOINT_RUN_96,
        _ => return Ok(None),
    };
    // In recovery the functions for the write position are errors, so this comes first.
    let in_recovery = session.query(super::connection::IN_RECOVERY).await?.first().is_none_or(|row| row.flag(0));
    if in_recovery {
        info!("Leader is still in_recovery and therefore can't be used for rewind");
        return Ok(Some(false));
    }
    let rows = session.query(sql).await?;
    Ok(Some(rows.first().is_some_and(|row| row.flag(0))))
}

/// Runs it until it ends well, or badly for another reason than a WAL segment that can be fetched.
async fn pg_rewind(server: &Server, conn: &Conn, cancel: &Cancel) -> Result<bool, PgError> {
    let version = server.any_version().await;
    let restore = restore_command(server).await?;
    let separate_config = server.config_dir() != server.data_dir();
    // Until 15 pg_rewind looks for postgresql.conf in the data directory alone.
    let restores_itself =
        restore.is_some() && (version.at_least(150_000) || (version.at_least(130_000) && !separate_config));
    let mut source = conn.clone();
    source.insert("target_session_attrs".to_owned(), "read-write".to_owned());
    let passfile = pgpass::write(server, &source)?;
    source.shift_remove("password");
    let dsn = conninfo::format(&source, version);
    info!("running pg_rewind from {dsn}");
    let mut program = Program::of_server(server, "pg_rewind").keep_output();
    if restores_itself {
        program = program.arg("--restore-target-wal");
        if separate_config {
            let file = server.config_dir().join("postgresql.conf");
            program = program.arg(format!("--config-file={}", file.display()));
        }
    }
    program = program.arg("-D").arg(server.data_dir()).arg("--source-server").arg(dsn);
    program = program.args(user_options(&server.settings().postgresql.rewind_options));
    program = program.env("LANG", "C").env("LC_ALL", "C").env("PGOPTIONS", "-c statement_timeout=0");
    if let Some(file) = passfile {
        program = program.env("PGPASSFILE", &file.to_string_lossy());
    }
    let mut fetched: Option<String> = None;
    loop {
        let finished = program.clone().run(cancel).await?;
        log(&finished);
        if finished.success() {
            return Ok(true);
        }
        let Some(command) = restore.as_deref().filter(|_| !restores_itself) else { return Ok(false) };
        let Some(segment) = missing(server, &finished) else { return Ok(false) };
        // The same one again: restore_command says that it works, and does not.
        if fetched.as_ref() == Some(&segment) || !restore_segment(server, command, &segment, cancel).await? {
            info!("Failed to fetch WAL segment {segment} required for pg_rewind");
            return Ok(false);
        }
        fetched = Some(segment);
    }
}

/// `postgresql.rewind` as arguments.
fn user_options(options: &[(String, Option<String>)]) -> impl Iterator<Item = String> {
    options.iter().map(|(name, value)| match value {
        Some(value) => format!("--{name}={value}"),
        None => format!("--{name}"),
    })
}

fn log(finished: &Finished) {
    info!("pg_rewind exit code={}", finished.code);
    info!(" stdout={}", finished.stdout);
    info!(" stderr={}", finished.stderr);
}

fn missing(server: &Server, finished: &Finished) -> Option<String> {
    let wal_dir = server.wal_dir();
    let name = wal_dir.file_name()?.to_str()?;
    missing_segment(&finished.stderr, name).or_else(|| missing_segment(&finished.stdout, name))
}

/// By the configuration before 12, by the server's files from then on.
async fn restore_command(server: &Server) -> Result<Option<String>, PgError> {
    if server.any_version().await.at_least(120_000) {
        return guc::offline(server, "restore_command").await.or_else(|error| {
            error!("{error}");
            Ok(None)
        });
    }
    Ok(server.settings().postgresql.recovery_conf.get("restore_command").filter(|c| !c.is_empty()).cloned())
}

/// Before 11 pg_rewind copies the leader's slots along: they would hold WAL back here for ever (REW-09).
fn clean_slot_directories(server: &Server) {
    if server.major_version().is_none_or(|v| v.at_least(110_000)) {
        return;
    }
    let dir = server.data_dir().join("pg_replslot");
    let clean = || -> std::io::Result<()> {
        for entry in std::fs::read_dir(&dir)? {
            std::fs::remove_dir_all(entry?.path())?;
        }
        std::fs::File::open(&dir)?.sync_all()
    };
    if let Err(error) = clean() {
        warn!("Unable to clean {}: {error}", dir.display());
    }
}

#[cfg(test)]
#[path = "rewind_tests.rs"]
mod tests;
