//! The user's archive and restore commands, run while the server is stopped (REW-07, REW-08).

use super::program::{Program, split};
use super::{Cancel, PgError, Server, controldata, guc};
use std::path::Path;
use std::time::Duration;
use tracing::{error, info};

/// The label in pg_controldata's output.
const LAST_SEGMENT: &str = "Latest checkpoint's REDO WAL file";
/// What the archive gets to take one segment outside of the server's own archiver.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(300);

/// `archive_command`, when archiving is on by the server's files.
pub async fn archive_command(server: &Server) -> Option<String> {
    let get = async |name| match guc::offline(server, name).await {
        Ok(value) => value,
        Err(reason) => {
            error!("{reason}");
            None
        }
    };
    let mode = get("archive_mode").await?;
    let on = matches!(mode.as_str(), "on" | "always");
    if on { get("archive_command").await.filter(|command| !command.is_empty()) } else { None }
}

/// Archives the segment in which the shutdown checkpoint of the stopped server begins. Its own archiver leaves the last
/// segment out, since more could be written to it.
pub async fn archive_checkpoint(server: &Server, cancel: &Cancel) -> Result<(), PgError> {
    let Some(command) = archive_command(server).await else {
        info!("Not archiving latest checkpoint WAL file. Archiving is not configured.");
        return Ok(());
    };
    let control = controldata::read(server).await;
    let line = control.as_ref().and_then(|c| c.lines.iter().find(|(label, _)| label == LAST_SEGMENT));
    let Some((_, segment)) = line.filter(|(_, segment)| is_segment(segment)) else {
        return Err(PgError::File("Cannot extract latest checkpoint's WAL file name".to_owned()));
    };
    let line = expand(&command, &server.wal_dir(), segment);
    info!("Archiving {segment} with the shutdown checkpoint: {line}");
    let finished = Program::shell(server, &in_data_dir(server, &line)).within(SEGMENT_PATIENCE).run(cancel).await?;
    if finished.success() {
        return Ok(());
    }
    Err(PgError::Program("Failed to archive WAL file with the shutdown checkpoint".to_owned()))
}

/// Archives the segments that are marked ready. The new primary may have recycled them on its side, and a standby made
/// of this server will never archive them: without this they could be lost. A failure is only logged.
pub async fn archive_ready(server: &Server, cancel: &Cancel) -> Result<(), PgError> {
    let Some(command) = archive_command(server).await else { return Ok(()) };
    let wal_dir = server.wal_dir();
    let status_dir = wal_dir.join("archive_status");
    let mut ready = match ready_segments(&status_dir) {
        Ok(ready) => ready,
        Err(reason) => {
            error!("Unable to list {}: {reason}", status_dir.display());
            return Ok(());
        }
    };
    ready.sort();
    for segment in ready {
        let marker = status_dir.join(format!("{segment}.ready"));
        if !marker.is_file() || !wal_dir.join(&segment).is_file() {
            continue;
        }
        let line = expand(&command, &wal_dir, &segment);
        info!("Trying to archive {segment}: {line}");
        // PostgreSQL runs archive_command through a shell, in the data directory: it may be relative to that.
        match Program::shell(server, &in_data_dir(server, &line)).run(cancel).await {
            Ok(finished) if finished.success() => {
                let done = status_dir.join(format!("{segment}.done"));
                if let Err(reason) = std::fs::rename(&marker, &done) {
                    error!("Unable to rename {} to {}: {reason}", marker.display(), done.display());
                }
            }
            Ok(_) => info!("Failed to archive WAL segment {segment}"),
            Err(PgError::Cancelled) => return Err(PgError::Cancelled),
            Err(reason) => info!("Failed to archive WAL segment {segment}: {reason}"),
        }
    }
    Ok(())
}

fn in_data_dir(server: &Server, line: &str) -> String {
    let dir = server.data_dir();
    match shlex::try_quote(&dir.to_string_lossy()) {
        Ok(quoted) => format!("cd {quoted} && {{ {line}\n}}"),
        Err(_) => line.to_owned(),
    }
}

/// Names of segments (also `.partial`) with a `.ready` marker.
fn ready_segments(status_dir: &Path) -> std::io::Result<Vec<String>> {
    let mut ready = Vec::new();
    for entry in std::fs::read_dir(status_dir)? {
        let name = entry?.file_name();
        let Some(segment) = name.to_str().and_then(|n| n.strip_suffix(".ready")) else { continue };
        if is_segment(segment.strip_suffix(".partial").unwrap_or(segment)) {
            ready.push(segment.to_owned());
        }
    }
    Ok(ready)
}

/// Whether a file name is that of a WAL segment.
fn is_segment(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b))
}

/// Fetches a missing segment with `restore_command`. Whether it worked.
pub async fn restore_segment(server: &Server, command: &str, segment: &str, cancel: &Cancel) -> Result<bool, PgError> {
    let line = expand(command, &server.wal_dir(), segment);
    info!("Trying to fetch the missing wal: {line}");
    let words = split(&line)?;
    if words.is_empty() {
        return Ok(false);
    }
    Ok(Program::command(server, &line)?.run(cancel).await?.success())
}

/// Replaces `%p`, `%f`, `%r` and `%%` as PostgreSQL does. `%r` (the oldest segment still needed) is not known here: the
/// first of all segments keeps everything.
fn expand(command: &str, wal_dir: &Path, segment: &str) -> String {
    let mut line = String::with_capacity(command.len());
    let mut rest = command.chars().peekable();
    while let Some(c) = rest.next() {
        let follows = if c == '%' { rest.peek().copied() } else { None };
        match follows {
            Some('p') => line.push_str(&wal_dir.join(segment).to_string_lossy()),
            Some('f') => line.push_str(segment),
            Some('r') => line.push_str("000000010000000000000001"),
            Some('%') => line.push('%'),
            _ => {
                line.push(c);
                continue;
            }
        }
        rest.next();
    }
    line
}

/// The name of the segment whose absence pg_rewind complains about.
#[must_use]
pub fn missing_segment(output: &str, wal_dir_name: &str) -> Option<String> {
    output.lines().find_map(|line| {
        let (_, after) = line.split_once("could not open file \"")?;
        let (path, _) = after.split_once("\": ")?;
        let (dir, name) = path.rsplit_once('/')?;
        (dir.ends_with(&format!("/{wal_dir_name}")) && name.len() == 24).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_as_postgresql_does() {
        let dir = Path::new("/data/pg_wal");
        for (command, line) in [
            ("cp %p /arch/%f", "cp /data/pg_wal/SEG /arch/SEG"),
            ("x %r %% %x %", "x 000000010000000000000001 % %x %"),
            ("%%p", "%p"),
        ] {
            assert_eq!(expand(command, dir, "SEG"), line);
        }
    }

    #[test]
    fn the_missing_segment_is_found_in_the_output() {
        let name = "0000000A00006AA100000068";
        let output =
            format!("x\npg_rewind: fatal: could not open file \"/d/pg_wal/{name}\": No such file or directory\n");
        assert_eq!(missing_segment(&output, "pg_wal").as_deref(), Some(name));
        assert_eq!(missing_segment(&output, "pg_xlog"), None);
        assert_eq!(missing_segment("could not open file \"/d/pg_wal/x\": No", "pg_wal"), None);
    }

    #[test]
    fn only_segments_with_a_marker_are_ready() {
        let dir = tempfile::tempdir().unwrap();
        for name in [
            "000000010000000000000003.ready",
            "000000010000000000000004.done",
            "000000010000000000000005.partial.ready",
            "00000002.history.ready",
        ] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let mut ready = ready_segments(dir.path()).unwrap();
        ready.sort();
        assert_eq!(ready, ["000000010000000000000003", "000000010000000000000005.partial"]);
    }
}
