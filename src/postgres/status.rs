//! The one query a cycle asks the running server, for all versions.

use super::connection::{Row, Session, forget_broken, heartbeat};
use super::sql_error::{SqlError, Stage};
use super::{PgError, Server};
use crate::cluster::{NodeStatus, ReplicationConnection, WalReceiver};
use crate::types::{Lsn, PgVersion, Timeline};
use tracing::debug;

/// What the columns of the query are, in order. The text is put together by [`query_text`] from the parts below,
/// where `{wal}` is wal or xlog and `{lsn}` is lsn or location (before 10), and `{flush}` is `_flush` from 9.6.
/// `pg_is_in_recovery()` is asked once, in a subquery: a promotion in the middle of the query cannot mix the roles.
const HEAD: &str = "SELECT s.standby, \
    CASE WHEN s.standby THEN NULL ELSE pg_catalog.substr(\
        pg_catalog.pg_{wal}file_name(pg_catalog.pg_current_{wal}_{lsn}()), 1, 8) END, \
    CASE WHEN s.standby THEN NULL ELSE pg_catalog.pg_current_{wal}{flush}_{lsn}()::text END, \
    CASE WHEN s.standby THEN pg_catalog.pg_last_{wal}_replay_{lsn}()::text END, \
    CASE WHEN s.standby THEN pg_catalog.pg_last_{wal}_receive_{lsn}()::text END, \
    CASE WHEN s.standby THEN pg_catalog.pg_is_{wal}_replay_paused() ELSE false END, \
    pg_catalog.pg_last_xact_replay_timestamp()::text, \
    pg_catalog.pg_postmaster_start_time()::text, \
    (SELECT pg_catalog.array_to_json(pg_catalog.array_agg(pg_catalog.row_to_json(r))) FROM (\
        SELECT (SELECT rolname FROM pg_catalog.pg_authid WHERE oid = a.usesysid) AS usename, \
            a.application_name, pg_catalog.host(a.client_addr) AS client_addr, w.state, w.sync_state, \
            w.sync_priority, w.write_{lsn}::text AS write_lsn, w.flush_{lsn}::text AS flush_lsn, \
            w.replay_{lsn}::text AS replay_lsn, w.pid \
        FROM pg_catalog.pg_stat_get_wal_senders() w, pg_catalog.pg_stat_get_activity(w.pid) a) r)::text, \
    pg_catalog.current_setting('synchronous_standby_names'), pg_catalog.current_setting('synchronous_commit')";

/// 9.6 and later: control data and the WAL receiver.
const RECEIVER_96: &str = ", c.timeline_id, wr.status, wr.received_tli, wr.slot_name, wr.conninfo, \
    wr.latest_end_lsn::text";
/// 12 and later.
const RESTORE_12: &str = ", pg_catalog.current_setting('restore_command')";
/// 13 and later: what the receiver wrote and has not flushed yet.
const WRITTEN_13: &str = ", wr.written_lsn::text";

const FROM_93: &str = " FROM (SELECT pg_catalog.pg_is_in_recovery() AS standby) s";
/// 9.6 and later. The receiver's function always gives one row.
const FROM_96: &str = ", pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_stat_get_wal_receiver() wr";

/// The status of the own server. A second try is made when the connection turns out to be broken; a server that takes no
/// connection, or cancelled the statement by `statement_timeout` (57014), would only say the same again.
pub async fn status(server: &Server) -> Result<NodeStatus, PgError> {
    let mut tries = 0;
    loop {
        tries += 1;
        match ask(server).await {
            Ok(status) => return Ok(status),
            Err(error) if tries < 2 && matches!(error.stage, Stage::Lost | Stage::TimedOut) => {
                debug!("status query failed, trying once more: {error}");
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn ask(server: &Server) -> Result<NodeStatus, SqlError> {
    let session = heartbeat(server).await?;
    let result = status_on(&session).await;
    forget_broken(server, &session, result.as_ref().err()).await;
    result
}

/// The status by this session.
pub async fn status_on(session: &Session) -> Result<NodeStatus, SqlError> {
    let version = session.version();
    let rows = session.query(&query_text(version)).await?;
    let row = rows.first().ok_or_else(|| SqlError::new(Stage::Statement, "the status query gave no row"))?;
    read(row, version)
}

fn query_text(version: PgVersion) -> String {
    let (wal, lsn) = if version.at_least(100_000) { ("wal", "lsn") } else { ("xlog", "location") };
    let mut text = HEAD.to_owned();
    if version.at_least(90_600) {
        text += RECEIVER_96;
    }
    if version.at_least(120_000) {
        text += RESTORE_12;
    }
    if version.at_least(130_000) {
        text += WRITTEN_13;
    }
    text += FROM_93;
    if version.at_least(90_600) {
        text += FROM_96;
    }
    let flush = if version.at_least(90_600) { "_flush" } else { "" };
    text.replace("{wal}", wal).replace("{lsn}", lsn).replace("{flush}", flush)
}

fn read(row: &Row, version: PgVersion) -> Result<NodeStatus, SqlError> {
    let garbled = |what: &str| SqlError::new(Stage::Statement, format!("the status query gave an unreadable {what}"));
    let in_recovery = row.flag(0);
    let timeline = match row.text(1) {
        None => Timeline(0),
        Some(hex) => Timeline(u32::from_str_radix(hex, 16).map_err(|_| garbled("timeline"))?),
    };
    let write_lsn: Option<Lsn> = row.parse(2);
    if !in_recovery && write_lsn.is_none() {
        return Err(garbled("write position"));
    }
    let receiver = if version.at_least(90_600) { receiver(row) } else { None };
    let received = [row.parse::<Lsn>(4), if version.at_least(130_000) { row.parse(18) } else { None }];
    let receive_lsn = received.into_iter().flatten().max().filter(|lsn| in_recovery && lsn.0 > 0);
    Ok(NodeStatus {
        in_recovery,
        timeline,
        write_lsn: write_lsn.unwrap_or_default(),
        replay_lsn: row.parse(3),
        receive_lsn,
        replay_paused: row.flag(5),
        control_timeline: if version.at_least(90_600) { row.parse(11).map(Timeline) } else { None },
        receiver,
        restore_command: if version.at_least(120_000) { row.text(17).map(str::to_owned) } else { None },
        replication: replication(row.text(8))?,
        replayed_timestamp: row.text(6).map(python_timestamp),
        postmaster_start_time: row.text(7).map(python_timestamp),
        synchronous_standby_names: row.text(9).unwrap_or_default().to_owned(),
        synchronous_commit: row.text(10).unwrap_or_default().to_owned(),
    })
}

/// Columns 12 to 16. The received timeline means nothing before the sender has reported a position.
fn receiver(row: &Row) -> Option<WalReceiver> {
    let latest_end_lsn: Option<Lsn> = row.parse(16);
    let timeline = row.parse(13).filter(|_| latest_end_lsn.is_some()).map_or(Timeline(0), Timeline);
    let text = |column| row.text(column).filter(|t| !t.is_empty()).map(str::to_owned);
    Some(WalReceiver {
        status: row.text(12)?.to_owned(),
        timeline,
        slot_name: text(14),
        conninfo: text(15),
        latest_end_lsn,
    })
}

#[derive(serde::Deserialize)]
struct SenderJson {
    usename: Option<String>,
    application_name: Option<String>,
    client_addr: Option<String>,
    state: Option<String>,
    sync_state: Option<String>,
    sync_priority: Option<i32>,
    write_lsn: Option<String>,
    flush_lsn: Option<String>,
    replay_lsn: Option<String>,
    pid: i32,
}

fn replication(json: Option<&str>) -> Result<Vec<ReplicationConnection>, SqlError> {
    let Some(json) = json else { return Ok(Vec::new()) };
    let senders: Vec<SenderJson> = serde_json::from_str(json)
        .map_err(|e| SqlError::new(Stage::Statement, format!("unreadable pg_stat_replication: {e}")))?;
    let lsn = |text: Option<String>| text.and_then(|t| t.parse().ok());
    let connections = senders.into_iter().map(|s| ReplicationConnection {
        usename: s.usename,
        application_name: s.application_name.unwrap_or_default(),
        client_addr: s.client_addr,
        state: s.state.unwrap_or_default(),
        sync_state: s.sync_state.unwrap_or_default(),
        sync_priority: s.sync_priority.unwrap_or_default(),
        write_lsn: lsn(s.write_lsn),
        flush_lsn: lsn(s.flush_lsn),
        replay_lsn: lsn(s.replay_lsn),
        pid: s.pid,
    });
    Ok(connections.collect())
}

/// A `timestamptz` of PostgreSQL's ISO style (`2026-11-20 09:18:06.5+00`) as Patroni's REST API and member key show it
/// (`2026-11-20 09:18:06.500000+00:00`): six digits or none, minutes in the offset. What looks otherwise is kept.
fn python_timestamp(text: &str) -> String {
    let Some(sign) = text.get(11..).and_then(|time| time.find(['+', '-'])).map(|i| i + 11) else {
        return text.to_owned();
    };
    let (moment, offset) = text.split_at(sign);
    let moment = match moment.split_once('.') {
        Some((seconds, fraction)) if fraction.bytes().all(|b| b.is_ascii_digit()) => {
            format!("{seconds}.{fraction:0<6}")
        }
        _ => moment.to_owned(),
    };
    let minutes = if offset.contains(':') { "" } else { ":00" };
    format!("{moment}{offset}{minutes}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_version() {
        let text = query_text(PgVersion(90_300));
        assert!(text.contains("pg_xlogfile_name") && text.contains("pg_current_xlog_location()"), "{text}");
        assert!(!text.contains("wal_receiver"), "{text}");
        let text = query_text(PgVersion(90_600));
        assert!(text.contains("pg_current_xlog_flush_location()") && text.contains("w.write_location"), "{text}");
        let text = query_text(PgVersion(100_000));
        assert!(text.contains("pg_current_wal_flush_lsn()") && !text.contains("restore_command"), "{text}");
        let text = query_text(PgVersion(180_000));
        assert!(text.contains("written_lsn") && text.contains("restore_command"), "{text}");
        assert!(!text.contains('{'), "{text}");
    }

    #[test]
    fn timestamps_are_written_as_python_does() {
        for (postgresql, python) in [
            ("2026-11-20 09:18:06.5+00", "2026-11-20 09:18:06.500000+00:00"),
            ("2026-11-20 09:18:06.123456-03", "2026-11-20 09:18:06.123456-03:00"),
            ("2026-11-20 09:18:06+05:30", "2026-11-20 09:18:06+05:30"),
            ("infinity", "infinity"),
        ] {
            assert_eq!(python_timestamp(postgresql), python);
        }
    }

    #[test]
    fn replication_rows_are_read_from_json() {
        let json = r#"[{"usename":"replicator","application_name":"n2","client_addr":null,"state":"streaming",
            "sync_state":"async","sync_priority":0,"write_lsn":"0/16","flush_lsn":"0/15","replay_lsn":null,"pid":7}]"#;
        let rows = replication(Some(json)).unwrap();
        assert_eq!(rows[0].application_name, "n2");
        assert_eq!((rows[0].write_lsn, rows[0].replay_lsn), (Some(Lsn(0x16)), None));
        assert!(replication(None).unwrap().is_empty());
        assert!(replication(Some("x")).is_err());
    }
}
