//! SQL connections: libpq keywords in, rows of the simple protocol out, a deadline on everything.

use super::sql_error::{SqlError, Stage};
use super::tls::Tls;
use super::wire::{Endpoint, endpoints};
use super::{Server, driver_config};
use crate::types::PgVersion;
use std::cell::Cell;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tokio_postgres::{SimpleQueryMessage, SimpleQueryRow};
use tracing::{debug, info};

/// How long establishing a connection may take, for each host (PG-37).
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// `statement_timeout` of the agent's sessions (PG-37).
pub const STATEMENT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long after its own `statement_timeout` a server may be silent before the connection is given up.
const GRACE: Duration = Duration::from_millis(500);
/// How long a session that is no longer needed may take to say goodbye.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// Connection options as libpq keywords.
pub type Conn = super::conninfo::Conninfo;

/// What kind of session is wanted.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// `application_name`.
    pub application_name: String,
    /// `statement_timeout`; zero for none.
    pub statement_timeout: Duration,
    /// Patience for each host.
    pub connect_timeout: Duration,
}

impl SessionOptions {
    /// Short statements for this purpose: application name `Patroni <purpose>`, or only `Patroni` for none.
    #[must_use]
    pub fn short(purpose: &str) -> Self {
        Self {
            application_name: format!("Patroni {purpose}").trim_end().to_owned(),
            statement_timeout: STATEMENT_TIMEOUT,
            connect_timeout: CONNECT_TIMEOUT,
        }
    }

    /// Statements without a time limit on the server's side.
    #[must_use]
    pub fn unlimited() -> Self {
        Self { statement_timeout: Duration::ZERO, ..Self::short("") }
    }
}

/// An open session. Dropping it closes it.
pub struct Session {
    client: tokio_postgres::Client,
    tls: Tls,
    version: PgVersion,
    statement_timeout: Duration,
    /// Tells the driver to end: with a message at once, without (dropped) after a goodbye.
    closer: Cell<Option<oneshot::Sender<()>>>,
}

impl Session {
    /// Connects by the options, host by host, with and without TLS as `sslmode` says.
    pub async fn open(conn: &Conn, options: &SessionOptions) -> Result<Self, SqlError> {
        let places = endpoints(conn)?;
        let tls = Tls::of(conn, places.iter().all(|p| matches!(p, Endpoint::Socket(..))))?;
        let patience = options.connect_timeout.saturating_mul(u32::try_from(places.len()).unwrap_or(1));
        let attempts = tls.attempts();
        let connecting = async {
            let mut last = SqlError::new(Stage::Connect, "no way to connect");
            for attempt in attempts {
                let config = driver_config::build(conn, &places, options, *attempt, &tls)?;
                match open_once(&config, &tls).await {
                    Ok(opened) => return Ok(opened),
                    Err(error) if Tls::worth_another(&error) => last = error,
                    Err(error) => return Err(error),
                }
            }
            Err(last)
        };
        let (client, closer, version) = match timeout(patience, connecting).await {
            Ok(opened) => opened?,
            Err(_) => return Err(SqlError::new(Stage::Connect, "timeout expired")),
        };
        let closer = Cell::new(Some(closer));
        Ok(Self { client, tls, version, statement_timeout: options.statement_timeout, closer })
    }

    /// `server_version` of the server.
    #[must_use]
    pub fn version(&self) -> PgVersion {
        self.version
    }

    /// Whether the session cannot be used any more.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Runs a statement within the session's `statement_timeout`.
    pub async fn query(&self, sql: &str) -> Result<Vec<Row>, SqlError> {
        let limit = if self.statement_timeout.is_zero() { STATEMENT_TIMEOUT } else { self.statement_timeout };
        self.query_within(sql, limit + GRACE).await
    }

    /// Runs a statement. If the answer does not come in time, it is cancelled and the connection is dropped.
    pub async fn query_within(&self, sql: &str, patience: Duration) -> Result<Vec<Row>, SqlError> {
        let Ok(answer) = timeout(patience, self.client.simple_query(sql)).await else {
            self.give_up();
            let message = format!("no answer from the server within {} seconds", patience.as_secs_f32());
            return Err(SqlError::new(Stage::TimedOut, message));
        };
        let messages = answer.map_err(|error| {
            let stage = if error.as_db_error().is_some() { Stage::Statement } else { Stage::Lost };
            // The server says goodbye with a message (57P01 to 57P03) before it closes the connection.
            let ended = error.code().is_some_and(|c| c.code().starts_with("57P0"));
            SqlError::from_driver(if ended { Stage::Lost } else { stage }, &error)
        })?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(Row(row)),
            _ => None,
        });
        Ok(rows.collect())
    }

    /// Sends a cancel request (without waiting for it) and drops the connection.
    fn give_up(&self) {
        let (tls, token) = (self.tls.clone(), self.client.cancel_token());
        tokio::spawn(async move {
            match timeout(CLOSE_PATIENCE, token.cancel_query(tls)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!("cancel request failed: {error}"),
                Err(_) => debug!("cancel request was not taken in time"),
            }
        });
        if let Some(closer) = self.closer.take()
            && closer.send(()).is_err()
        {
            debug!("the connection was closed already");
        }
    }
}

/// A row of the simple protocol: every value as text.
#[derive(Debug)]
pub struct Row(SimpleQueryRow);

impl Row {
    /// The text of a column; `None` for null (and for a column that is not there).
    #[must_use]
    pub fn text(&self, column: usize) -> Option<&str> {
        self.0.try_get(column).ok().flatten()
    }

    /// A boolean column.
    #[must_use]
    pub fn flag(&self, column: usize) -> bool {
        self.text(column) == Some("t")
    }

    /// A column in whatever type can be read from its text; `None` also when it cannot.
    #[must_use]
    pub fn parse<T: std::str::FromStr>(&self, column: usize) -> Option<T> {
        self.text(column)?.parse().ok()
    }
}

type Opened = (tokio_postgres::Client, oneshot::Sender<()>, PgVersion);

async fn open_once(config: &tokio_postgres::Config, tls: &Tls) -> Result<Opened, SqlError> {
    let (client, connection) =
        config.connect(tls.clone()).await.map_err(|e| SqlError::from_driver(Stage::Connect, &e))?;
    let version = connection.parameter("server_version").and_then(PgVersion::from_full);
    let version = version.ok_or_else(|| SqlError::new(Stage::Connect, "the server does not tell its version"))?;
    let (closer, closed) = oneshot::channel();
    tokio::spawn(drive(connection, closed));
    Ok((client, closer, version))
}

/// Moves the messages of one connection until it ends or its session is dropped.
async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>, closed: oneshot::Receiver<()>) {
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        result = &mut connection => {
            if let Err(error) = result {
                debug!("connection ended: {error}");
            }
        }
        // A message: at once. The sender was dropped: the client has said goodbye, let it be sent.
        at_once = closed => if at_once.is_err() && timeout(CLOSE_PATIENCE, &mut connection).await.is_err() {
            debug!("connection did not close in time and was dropped");
        },
    }
}

/// A text as an SQL literal.
#[must_use]
pub fn literal(text: &str) -> String {
    postgres_protocol::escape::escape_literal(text).trim_start().to_owned()
}

/// A name as an SQL identifier.
#[must_use]
pub fn identifier(name: &str) -> String {
    postgres_protocol::escape::escape_identifier(name)
}

/// The long-lived connection to the own server.
#[derive(Default)]
pub struct Connections {
    /// The session and the options it was opened with: other options need another session.
    heartbeat: Mutex<Option<(Conn, Rc<Session>)>>,
}

/// The session for monitoring; opened anew when there is none, or it broke, or the connection options changed.
pub async fn heartbeat(server: &Server) -> Result<Rc<Session>, SqlError> {
    let conn = server.local_connection();
    let mut kept = server.connections.heartbeat.lock().await;
    if let Some((opened_with, session)) = &*kept
        && *opened_with == conn
        && !session.is_closed()
    {
        return Ok(Rc::clone(session));
    }
    *kept = None;
    // Said of a connection that is there: a server that is down or starts is asked in each cycle.
    let session = Rc::new(Session::open(&conn, &SessionOptions::short("heartbeat")).await?);
    info!("establishing a new patroni heartbeat connection to postgres");
    server.remember_version(session.version());
    *kept = Some((conn, Rc::clone(&session)));
    Ok(session)
}

/// Runs a short statement on the session for monitoring; a broken session is forgotten.
pub async fn query(server: &Server, sql: &str) -> Result<Vec<Row>, SqlError> {
    let session = heartbeat(server).await?;
    let result = session.query(sql).await;
    forget_broken(server, &session, result.as_ref().err()).await;
    result
}

/// Drops the kept session if this error means that it is of no use any more.
pub async fn forget_broken(server: &Server, session: &Rc<Session>, error: Option<&SqlError>) {
    if error.is_some_and(|e| matches!(e.stage, Stage::Lost | Stage::TimedOut)) {
        let mut kept = server.connections.heartbeat.lock().await;
        if kept.as_ref().is_some_and(|(_, held)| Rc::ptr_eq(held, session)) {
            *kept = None;
        }
    }
}

/// Closes the connections that are kept: before a shutdown (they would count as clients), after a change of password.
pub async fn close_all(server: &Server) {
    if server.connections.heartbeat.lock().await.take().is_some() {
        info!("closed patroni connections to postgres");
    }
}

/// A new session to the own server.
pub async fn open_local(server: &Server, options: &SessionOptions) -> Result<Session, SqlError> {
    Session::open(&server.local_connection(), options).await
}

/// CHECKPOINT on the own server, within `patience` in all.
pub async fn checkpoint(server: &Server, patience: Duration) -> Result<(), SqlError> {
    let conn = server.local_connection();
    checkpoint_by(&conn, false, patience).await
}

/// CHECKPOINT by these connection options; with `only_primary` it is an error when the server is in recovery.
pub async fn checkpoint_by(conn: &Conn, only_primary: bool, patience: Duration) -> Result<(), SqlError> {
    let work = async {
        let mut options = SessionOptions::unlimited();
        options.connect_timeout = options.connect_timeout.min(patience);
        let session = Session::open(conn, &options).await?;
        if only_primary {
            let rows = session.query(IN_RECOVERY).await?;
            if rows.first().is_none_or(|row| row.flag(0)) {
                return Err(SqlError::new(Stage::Statement, "is_in_recovery=true"));
            }
        }
        session.query_within("CHECKPOINT", patience).await
    };
    match timeout(patience, work).await {
        Ok(result) => result.map(|_| ()),
        Err(_) => Err(SqlError::new(Stage::TimedOut, "CHECKPOINT took too long")),
    }
}

/// All versions.
pub const IN_RECOVERY: &str = "SELECT pg_catalog.pg_is_in_recovery()";

/// 10 and later.
const RESUME_10: &str = "SELECT pg_catalog.pg_wal_replay_resume()";
/// Before 10.
const RESUME_9: &str = "SELECT pg_catalog.pg_xlog_replay_resume()";

/// Resumes WAL replay on the own server.
pub async fn resume_replay(server: &Server) -> Result<(), SqlError> {
    let session = heartbeat(server).await?;
    let sql = if session.version().at_least(100_000) { RESUME_10 } else { RESUME_9 };
    let result = session.query(sql).await;
    forget_broken(server, &session, result.as_ref().err()).await;
    result.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_and_identifiers_cannot_be_left() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'b"), "E'a\\\\''b'");
        assert_eq!(identifier("we\"ird"), "\"we\"\"ird\"");
        assert_eq!(SessionOptions::unlimited().application_name, "Patroni");
    }
}
