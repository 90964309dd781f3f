//! Crash recovery in single-user mode: the way to a cleanly shut down server without ever accepting a client (REW-16).

use super::archive::archive_ready;
use super::program::Program;
use super::{Cancel, PgError, Server, config_writer, postmaster};
use std::collections::BTreeMap;
use std::path::Path;
use tracing::{error, info, warn};

/// Recovers the server and shuts it down cleanly. It must not run. WAL that is ready is archived first; during the
/// recovery archiving is blocked, since nothing may be archived under the old timeline that the leader does not have.
pub async fn crash_recovery(server: &Server, cancel: &Cancel) -> Result<(), PgError> {
    postmaster::end_orphans(server).await?;
    archive_ready(server, cancel).await?;
    clean_archive_status(&server.wal_dir().join("archive_status"));
    let mut options = postmaster_options(&server.data_dir());
    options.insert("archive_mode".to_owned(), "on".to_owned());
    options.insert("archive_command".to_owned(), "false".to_owned());
    config_writer::remove_recovery_files(server)?;
    let mut program = Program::of_server(server, "postgres").arg("--single").arg("-D").arg(server.data_dir());
    for (name, value) in options {
        program = program.arg("-c").arg(format!("{name}={value}"));
    }
    // It reads commands from its standard input, which is empty, and wants a database to connect to.
    let finished = program.arg("template1").keep_output().run(cancel).await?;
    if finished.success() {
        return Ok(());
    }
    error!("Crash recovery finished with code={}", finished.code);
    info!(" stdout={}", finished.stdout);
    info!(" stderr={}", finished.stderr);
    Err(PgError::Program(format!("Crash recovery finished with code={}", finished.code)))
}

/// The options with which the postmaster was last started, as names and values.
fn postmaster_options(data_dir: &Path) -> BTreeMap<String, String> {
    match std::fs::read_to_string(data_dir.join("postmaster.opts")) {
        Ok(text) => parse_options(&text),
        Err(reason) => {
            error!("Error when reading postmaster.opts: {reason}");
            BTreeMap::new()
        }
    }
}

/// The file holds the program and each argument in double quotes, with nothing escaped in them.
fn parse_options(text: &str) -> BTreeMap<String, String> {
    let option = |piece: &str| {
        let (name, value) = piece.strip_prefix("--")?.split_once('=')?;
        Some((name.to_owned(), value.trim_end_matches(['"', '\n']).to_owned()))
    };
    text.split("\" \"").filter_map(option).collect()
}

/// Old markers would make the archiver wait for segments that nobody may archive any more.
fn clean_archive_status(dir: &Path) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(reason) => {
            warn!("Unable to list {}: {reason}", dir.display());
            return;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_symlink())
            && let Err(reason) = std::fs::remove_file(&path)
        {
            warn!("Unable to remove {}: {reason}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::parse_options;

    #[test]
    fn options_of_the_last_start_are_read() {
        let text = "/usr/bin/postgres \"-D\" \"/data\" \"--config_file=/data/postgresql.conf\" \
            \"--listen_addresses=a, b\" \"--wal_log_hints=on\"\n";
        let options = parse_options(text);
        let expected =
            [("config_file", "/data/postgresql.conf"), ("listen_addresses", "a, b"), ("wal_log_hints", "on")];
        assert_eq!(options, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect());
    }
}
