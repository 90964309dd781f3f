//! Timeline history files of the server (`pg_wal/0000000N.history`).

use super::{PgError, Server};
use crate::cluster::{History, HistoryLine};
use crate::types::{Lsn, Timeline};
use jiff::tz::TimeZone;
use std::io;
use std::os::unix::fs::MetadataExt;
use tracing::error;

/// How this timeline came to be; empty when it has no history file. The line of the timeline just before it is completed
/// with the file's time of change and this member's name: it is this member that promoted.
///
/// # Errors
/// [`PgError::File`] when the file is there and cannot be read.
pub fn read(server: &Server, timeline: Timeline) -> Result<History, PgError> {
    let path = server.wal_dir().join(format!("{:08X}.history", timeline.0));
    let failed = |e: io::Error| PgError::File(format!("Failed to read and parse {}: {e}", path.display()));
    let text = match std::fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(History::default()),
        text => text.map_err(failed)?,
    };
    let meta = std::fs::metadata(&path).map_err(failed)?;
    let mut lines = parse(&text);
    if let Some(last) = lines.last_mut()
        && last.timeline.0.checked_add(1) == Some(timeline.0)
    {
        last.timestamp = local_time(meta.mtime(), meta.mtime_nsec());
        last.new_leader = Some(server.settings().name.clone());
    }
    Ok(History { lines })
}

/// Lines of timeline, switch point and reason with tabs between; others are no history.
#[must_use]
pub fn parse(text: &str) -> Vec<HistoryLine> {
    let line = |line: &str| {
        let mut fields = line.trim().split('\t');
        let (timeline, lsn, reason) = (fields.next()?, fields.next()?, fields.next()?);
        if fields.next().is_some() {
            return None;
        }
        match (timeline.parse().map(Timeline), lsn.parse::<Lsn>()) {
            (Ok(timeline), Ok(lsn)) => {
                Some(HistoryLine { timeline, lsn, reason: reason.to_owned(), timestamp: None, new_leader: None })
            }
            _ => {
                error!("Exception when parsing timeline history line \"{line}\"");
                None
            }
        }
    };
    text.lines().filter_map(line).collect()
}

/// A moment in local time, ISO 8601 with zone, microseconds unless they are zero.
fn local_time(seconds: i64, nanoseconds: i64) -> Option<String> {
    let moment = jiff::Timestamp::new(seconds, i32::try_from(nanoseconds).ok()?).ok()?;
    let zoned = moment.to_zoned(TimeZone::system());
    let format = if nanoseconds < 1000 { "%Y-%m-%dT%H:%M:%S%:z" } else { "%Y-%m-%dT%H:%M:%S.%6f%:z" };
    Some(zoned.strftime(format).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::postgres::test_settings::settings;
    use std::sync::Arc;

    // rows: HA-32
    #[test]
    fn the_last_line_is_completed_by_whoever_promoted() {
        let dir = tempfile::tempdir().unwrap();
        let server = Server::new(Arc::new(settings(dir.path())), Clock::system());
        assert_eq!(read(&server, Timeline(3)), Ok(History::default()));
        std::fs::create_dir(dir.path().join("pg_wal")).unwrap();
        let file = dir.path().join("pg_wal/00000003.history");
        std::fs::write(&file, "1\t0/40001F8\tno recovery target specified\n\n2\t0/5000000\tx\nrubbish\n").unwrap();
        let history = read(&server, Timeline(3)).unwrap();
        assert_eq!(history.lines.len(), 2);
        assert_eq!(history.lines[0].lsn, Lsn(0x400_01F8));
        assert_eq!(history.lines[0].new_leader, None);
        assert_eq!(history.lines[1].new_leader.as_deref(), Some("node1"));
        let time = history.lines[1].timestamp.clone().unwrap();
        assert!(time.parse::<jiff::Timestamp>().is_ok(), "{time}");
    }

    #[test]
    fn bad_lines_are_left_out() {
        assert!(parse("a\t0/1\tx\n1\t0-1\tx\n1\t0/1\n1\t0/1\tx\ty\n").is_empty());
    }

    #[test]
    fn times_are_written_as_python_does() {
        let text = local_time(1_700_000_000, 123_456_789).unwrap();
        assert!(text.contains(".123456"), "{text}");
        assert!(text.ends_with(":00") || text.ends_with(":30") || text.ends_with(":45"), "{text}");
        assert_eq!(local_time(1_700_000_000, 0).unwrap().len(), "2023-11-14T22:13:20+00:00".len());
    }
}
