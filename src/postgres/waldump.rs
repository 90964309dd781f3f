//! Questions that only pg_waldump (before 10 pg_xlogdump) can answer: where the WAL of a stopped server ends.

use super::{PgError, Server, ShutdownPoint, controldata};
use crate::cluster::ControlState;
use crate::sys;
use crate::types::{Lsn, Timeline};
use regex::Regex;
use std::sync::LazyLock;
use std::time::Duration;
use tracing::error;

/// How long it may take to read one or two records.
const PATIENCE: Duration = Duration::from_secs(10);

/// A record as pg_waldump prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    manager: String,
    lsn: Lsn,
    previous: Lsn,
    description: String,
}

static RECORD: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"^rmgr:\s+(.+?)\s+len \(rec/tot\):\s+\d+/\s+\d+, tx:\s+\d+, lsn: ([0-9A-Fa-f]+/[0-9A-Fa-f]+), prev ([0-9A-Fa-f]+/[0-9A-Fa-f]+), .*?desc: (.+)",
    )
    .ok()
});

impl Record {
    fn parse(line: &str) -> Option<Self> {
        let found = RECORD.as_ref()?.captures(line)?;
        Some(Self {
            manager: found.get(1)?.as_str().to_owned(),
            lsn: found.get(2)?.as_str().parse().ok()?,
            previous: found.get(3)?.as_str().parse().ok()?,
            description: found.get(4)?.as_str().trim().to_owned(),
        })
    }

    fn is_shutdown_checkpoint(&self) -> bool {
        let text = self.description.to_lowercase();
        self.manager == "XLOG" && text.starts_with("checkpoint") && text.ends_with("shutdown")
    }

    fn is_switch(&self) -> bool {
        ["xlog switch", "SWITCH"].contains(&self.description.as_str())
    }
}

/// Where a cleanly stopped primary's WAL ends (ha-rules 7, "LSN rule on release"): with archiving on, WAL is switched
/// before the shutdown checkpoint is written, and standbys that have the switch record have everything. `None` unless
/// control data says "shut down".
pub async fn shutdown_point(server: &Server) -> Option<ShutdownPoint> {
    let control = controldata::read(server).await?;
    if control.state != ControlState::ShutDown || control.checkpoint_lsn == Lsn(0) {
        return None;
    }
    let checkpoint = control.checkpoint_lsn;
    let switch = match record(server, control.timeline, checkpoint).await {
        Some(last) if last.is_shutdown_checkpoint() => record(server, control.timeline, last.previous).await,
        _ => None,
    };
    let release = switch.filter(Record::is_switch).map_or(checkpoint, |record| record.lsn);
    Some(ShutdownPoint { checkpoint, release })
}

/// The record that starts just there.
async fn record(server: &Server, timeline: Timeline, lsn: Lsn) -> Option<Record> {
    let (out, err) = run(server, timeline, lsn, 1).await.map_err(|e| error!("{e}")).ok()?;
    let record = Record::parse(out.lines().next()?).filter(|r| r.lsn == lsn);
    record.filter(|_| err.trim().is_empty())
}

/// Where the last record of the WAL, which starts at `lsn`, ends: read from the complaint about the missing next record.
///
/// # Errors
/// [`PgError::Program`] when pg_waldump cannot be run or says something else.
pub async fn record_end(server: &Server, timeline: Timeline, lsn: Lsn) -> Result<Lsn, PgError> {
    let (out, err) = run(server, timeline, lsn, 2).await?;
    parse_end(lsn, &out, &err).ok_or_else(|| {
        error!("Failed to parse {} output", name(server));
        error!(" stdout={}", out.trim_end());
        error!(" stderr={}", err.trim_end());
        PgError::Program(format!("Failed to parse {} output", name(server)))
    })
}

fn parse_end(lsn: Lsn, out: &str, err: &str) -> Option<Lsn> {
    let (out, err) = (out.trim_end(), err.trim_end());
    let one_line = |text: &str| text.lines().count() == 1;
    if !one_line(out) || !one_line(err) || Record::parse(out)?.lsn != lsn {
        return None;
    }
    // "... error in WAL record at 0/182E220: invalid record length at 0/182E298: expected at least 24, got 0" (16 and
    // later), ": wanted 24, got 0" (until 15), nothing more until 9.5.
    let marker = format!("error in WAL record at {lsn}: invalid record length at ");
    let (_, tail) = err.split_once(&marker)?;
    tail.split(':').next()?.trim().parse().ok()
}

fn name(server: &Server) -> &'static str {
    if server.major_version().is_some_and(|v| !v.at_least(100_000)) { "pg_xlogdump" } else { "pg_waldump" }
}

/// Standard output and error. The exit code does not matter: a missing next record is an error to pg_waldump.
async fn run(server: &Server, timeline: Timeline, lsn: Lsn, limit: u32) -> Result<(String, String), PgError> {
    let name = name(server);
    let mut command = tokio::process::Command::new(server.bin(name));
    command.args(["-t", &timeline.to_string(), "-s", &lsn.to_string(), "-n", &limit.to_string()]);
    command.arg("-p").arg(server.wal_dir());
    command.env("LANG", "C").env("LC_ALL", "C").env("PGDATA", server.data_dir());
    let output = sys::output(&mut command, PATIENCE).await;
    let output = output
        .map_err(|e| PgError::Program(format!("Failed to execute `{name} -t {timeline} -s {lsn} -n {limit}`: {e}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((text(&output.stdout), text(&output.stderr)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHECKPOINT: &str = "rmgr: XLOG        len (rec/tot):    114/   114, tx:          0, lsn: 0/03000028, \
        prev 0/02000110, desc: CHECKPOINT_SHUTDOWN redo 0/3000028; tli 1; prev tli 1; fpw true; xid 0:736; oid 24576; \
        multi 1; offset 0; oldest xid 727 in DB 1; oldest running xid 0; shutdown";
    const SWITCH: &str = "rmgr: XLOG        len (rec/tot):     24/    24, tx:          0, lsn: 0/02000110, \
        prev 0/020000D8, desc: SWITCH ";

    #[test]
    fn records_are_read() {
        let checkpoint = Record::parse(CHECKPOINT).unwrap();
        assert_eq!((checkpoint.lsn, checkpoint.previous), (Lsn(0x300_0028), Lsn(0x200_0110)));
        assert!(checkpoint.is_shutdown_checkpoint() && !checkpoint.is_switch());
        let switch = Record::parse(SWITCH).unwrap();
        assert!(switch.is_switch() && !switch.is_shutdown_checkpoint());
        let online = CHECKPOINT.replace("_SHUTDOWN", "_ONLINE").replace("; shutdown", "; online");
        assert!(!Record::parse(&online).unwrap().is_shutdown_checkpoint());
        assert_eq!(Record::parse("pg_waldump: fatal: could not find a valid record"), None);
    }

    #[test]
    fn the_end_of_the_last_record_is_read_from_the_complaint() {
        let lsn = Lsn(0x300_0028);
        for ending in [": expected at least 24, got 0", ": wanted 24, got 0", ""] {
            let err = format!(
                "pg_waldump: fatal: error in WAL record at 0/3000028: invalid record length at 0/30000A0{ending}\n"
            );
            assert_eq!(parse_end(lsn, CHECKPOINT, &err), Some(Lsn(0x300_00A0)));
        }
        assert_eq!(parse_end(lsn, CHECKPOINT, ""), None);
        assert_eq!(parse_end(lsn, SWITCH, "error in WAL record at 0/3000028: invalid record length at 0/1"), None);
        assert_eq!(parse_end(lsn, "", "x"), None);
    }
}
