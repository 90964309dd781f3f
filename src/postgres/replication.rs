//! Replication connections: log in as a WAL receiver would, ask IDENTIFY_SYSTEM and TIMELINE_HISTORY.

use super::connection::{CONNECT_TIMEOUT, Conn, IN_RECOVERY, Session, SessionOptions};
use super::conninfo::set_user;
use super::sql_error::{SqlError, Stage};
use super::tls::{Attempt, Tls};
use super::wire::{Endpoint, Wire, endpoints, server_error};
use super::{LeaderPoint, PgError, Server};
use crate::cluster::Upstream;
use crate::types::{Lsn, Timeline};
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{AuthenticationSaslBody, DataRowBody, Message};
use postgres_protocol::message::frontend;
use std::time::Duration;
use tokio::time::timeout;
use tracing::{debug, error, info};

/// A WAL sender answers these questions from memory or from one small file.
const QUERY_PATIENCE: Duration = Duration::from_secs(2);

/// A session with a WAL sender. Dropping it closes it.
pub struct ReplicationSession {
    wire: Wire,
}

/// The answer to IDENTIFY_SYSTEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SystemIdentity {
    /// `systemid`.
    pub system_id: String,
    /// `timeline`.
    pub timeline: Timeline,
    /// `xlogpos`: flushed on a primary, replayed or received on a standby.
    pub lsn: Lsn,
}

impl ReplicationSession {
    /// Connects and logs in, host by host, with and without TLS as `sslmode` says; at most 3 s for each host.
    pub async fn open(conn: &Conn) -> Result<Self, SqlError> {
        let places = endpoints(conn)?;
        let tls = Tls::of(conn, places.iter().all(|p| matches!(p, Endpoint::Socket(..))))?;
        let mut last = SqlError::new(Stage::Connect, "no host");
        for place in &places {
            for attempt in tls.attempts() {
                match timeout(CONNECT_TIMEOUT, log_in(place, *attempt, &tls, conn)).await {
                    Ok(Ok(wire)) => return Ok(Self { wire }),
                    Ok(Err(error)) => last = error,
                    Err(_) => last = SqlError::new(Stage::Connect, "timeout expired"),
                }
                if !Tls::worth_another(&last) {
                    break;
                }
            }
        }
        Err(last)
    }

    /// IDENTIFY_SYSTEM.
    pub async fn identify_system(&mut self) -> Result<SystemIdentity, SqlError> {
        let row = self.query("IDENTIFY_SYSTEM").await?;
        let column = |i: usize| row.get(i).cloned().flatten().unwrap_or_default();
        let unreadable = |_| SqlError::new(Stage::Statement, "unreadable answer to IDENTIFY_SYSTEM");
        Ok(SystemIdentity {
            system_id: column(0),
            timeline: Timeline(column(1).parse().map_err(|e: std::num::ParseIntError| unreadable(e.to_string()))?),
            lsn: column(2).parse().map_err(|e: crate::types::LsnParseError| unreadable(e.to_string()))?,
        })
    }

    /// TIMELINE_HISTORY: the content of the history file of a timeline above 1.
    pub async fn timeline_history(&mut self, timeline: Timeline) -> Result<String, SqlError> {
        let row = self.query(&format!("TIMELINE_HISTORY {timeline}")).await?;
        row.into_iter()
            .nth(1)
            .flatten()
            .ok_or_else(|| SqlError::new(Stage::Statement, "unreadable answer to TIMELINE_HISTORY"))
    }

    /// The first row of the answer. After a missed deadline the session must not be used again.
    async fn query(&mut self, command: &str) -> Result<Vec<Option<String>>, SqlError> {
        match timeout(QUERY_PATIENCE, self.exchange(command)).await {
            Ok(answer) => answer,
            Err(_) => Err(SqlError::new(Stage::TimedOut, format!("no answer to {command} within 2 seconds"))),
        }
    }

    async fn exchange(&mut self, command: &str) -> Result<Vec<Option<String>>, SqlError> {
        self.wire.send(|out| frontend::query(command, out)).await?;
        let (mut first, mut failure) = (None, None);
        loop {
            match self.wire.receive().await? {
                Message::DataRow(body) if first.is_none() => first = Some(texts(&body)?),
                Message::ErrorResponse(body) => failure = Some(server_error(Stage::Statement, &body)),
                Message::ReadyForQuery(_) => break,
                _ => {}
            }
        }
        match failure {
            Some(error) => Err(error),
            None => first.ok_or_else(|| SqlError::new(Stage::Statement, format!("{command} gave no row"))),
        }
    }
}

fn texts(body: &DataRowBody) -> Result<Vec<Option<String>>, SqlError> {
    let broken = || SqlError::new(Stage::Lost, "unreadable row");
    let mut ranges = body.ranges();
    let mut texts = Vec::new();
    while let Some(range) = ranges.next().map_err(|_| broken())? {
        let bytes = match range {
            None => None,
            Some(range) => Some(body.buffer().get(range).ok_or_else(broken)?),
        };
        texts.push(bytes.map(|b| String::from_utf8_lossy(b).into_owned()));
    }
    Ok(texts)
}

async fn log_in(place: &Endpoint, attempt: Attempt, tls: &Tls, conn: &Conn) -> Result<Wire, SqlError> {
    let mut wire = Wire::open(place, attempt, tls).await?;
    let user = conn.get("user").filter(|u| !u.is_empty());
    let user = user.ok_or_else(|| SqlError::new(Stage::Options, "no user name for the replication connection"))?;
    let parameters = [
        ("user", user.as_str()),
        ("replication", "true"),
        ("application_name", "Patroni"),
        ("client_encoding", "UTF8"),
        ("options", "-c statement_timeout=2000"),
    ];
    wire.send(|out| frontend::startup_message(parameters, out)).await?;
    authenticate(&mut wire, user, conn).await?;
    loop {
        match wire.receive().await? {
            Message::ReadyForQuery(_) => return Ok(wire),
            Message::ErrorResponse(body) => return Err(server_error(Stage::Connect, &body)),
            _ => {}
        }
    }
}

async fn authenticate(wire: &mut Wire, user: &str, conn: &Conn) -> Result<(), SqlError> {
    let password = || {
        let password = super::passfile::password(conn);
        password.ok_or_else(|| SqlError::new(Stage::Connect, "no password supplied"))
    };
    let binding = conn.get("channel_binding").map_or("prefer", String::as_str);
    let only_scram = || SqlError::new(Stage::Connect, "channel binding required, but server did not ask for it");
    loop {
        match wire.receive().await? {
            Message::AuthenticationOk if binding == "require" => return Err(only_scram()),
            Message::AuthenticationOk => return Ok(()),
            Message::AuthenticationCleartextPassword | Message::AuthenticationMd5Password(_)
                if binding == "require" =>
            {
                return Err(only_scram());
            }
            Message::AuthenticationCleartextPassword => {
                let password = password()?;
                wire.send(|out| frontend::password_message(password.as_bytes(), out)).await?;
            }
            Message::AuthenticationMd5Password(body) => {
                let hash = md5_hash(user.as_bytes(), password()?.as_bytes(), body.salt());
                wire.send(|out| frontend::password_message(hash.as_bytes(), out)).await?;
            }
            Message::AuthenticationSasl(body) => {
                scram(wire, &body, &password()?, binding).await?;
                // The server's signature has been verified: what follows is AuthenticationOk.
                return match wire.receive().await? {
                    Message::AuthenticationOk => Ok(()),
                    other => Err(unexpected(&other)),
                };
            }
            other => return Err(unexpected(&other)),
        }
    }
}

/// An error of the server, or a message that has no place here.
fn unexpected(message: &Message) -> SqlError {
    match message {
        Message::ErrorResponse(body) => server_error(Stage::Connect, body),
        _ => SqlError::new(Stage::Connect, "authentication method is not supported"),
    }
}

async fn scram(wire: &mut Wire, offer: &AuthenticationSaslBody, password: &str, binding: &str) -> Result<(), SqlError> {
    let broken = |e: std::io::Error| SqlError::new(Stage::Connect, e.to_string());
    let offered: Vec<String> = offer.mechanisms().map(|m| Ok(m.to_owned())).collect().map_err(broken)?;
    let plus_offered = offered.iter().any(|m| m == sasl::SCRAM_SHA_256_PLUS);
    let proof = wire.binding.clone().filter(|_| binding != "disable");
    let (mechanism, channel) = match proof {
        Some(proof) if plus_offered => (sasl::SCRAM_SHA_256_PLUS, sasl::ChannelBinding::tls_server_end_point(proof)),
        _ if binding == "require" => {
            return Err(SqlError::new(Stage::Connect, "channel binding is required, but it is not possible here"));
        }
        // "We could, the server does not offer it": the server detects a downgrade by this.
        Some(_) => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unrequested()),
        None => (sasl::SCRAM_SHA_256, sasl::ChannelBinding::unsupported()),
    };
    if !offered.iter().any(|m| m == mechanism) {
        return Err(SqlError::new(Stage::Connect, "none of the server's SASL authentication mechanisms are supported"));
    }
    let mut scram = sasl::ScramSha256::new(password.as_bytes(), channel);
    wire.send(|out| frontend::sasl_initial_response(mechanism, scram.message(), out)).await?;
    match wire.receive().await? {
        Message::AuthenticationSaslContinue(body) => scram.update(body.data()).map_err(broken)?,
        other => return Err(unexpected(&other)),
    }
    wire.send(|out| frontend::sasl_response(scram.message(), out)).await?;
    match wire.receive().await? {
        Message::AuthenticationSaslFinal(body) => scram.finish(body.data()).map_err(broken),
        other => Err(unexpected(&other)),
    }
}

/// The own server's timeline by IDENTIFY_SYSTEM: on a standby the control file lags behind it.
pub async fn own_timeline(server: &Server) -> Result<Timeline, PgError> {
    let asked = async {
        let mut session = ReplicationSession::open(&server.local_replication_connection()).await?;
        session.identify_system().await
    };
    match asked.await {
        Ok(identity) => Ok(identity.timeline),
        Err(error) => {
            error!("Can not fetch local timeline and lsn from replication connection: {error}");
            Err(error.into())
        }
    }
}

/// Connection options towards another member with a user's login. The database is ours unless the member names one.
#[must_use]
pub fn member_connection(server: &Server, member: &Upstream, user: &crate::config::settings::PgUser) -> Conn {
    let mut conn = member.conn.clone();
    // The agent's own limits must not be changed by what another member publishes.
    for forbidden in ["options", "connect_timeout"] {
        conn.shift_remove(forbidden);
    }
    set_user(&mut conn, user);
    if conn.get("dbname").is_none_or(String::is_empty) {
        conn.insert("dbname".to_owned(), server.settings().postgresql.database.clone());
    }
    conn
}

/// The login for reading on a leader: the rewind user; before 11, where that user cannot exist, without `use_pg_rewind`
/// the replication user, since then nobody needs to have a superuser's access from another host.
fn leader_login(server: &Server) -> crate::config::settings::PgUser {
    let settings = server.settings();
    let old = server.major_version().is_some_and(|v| !v.at_least(110_000));
    let global = &settings.global;
    if old && !global.use_pg_rewind && global.remove_data_directory_on_diverged_timelines {
        server.replication_user()
    } else {
        server.rewind_user()
    }
}

/// Whether the server at the other end accepts writes (is not in recovery).
pub async fn is_primary(conn: &Conn) -> Result<bool, SqlError> {
    let session = Session::open(conn, &SessionOptions::short("")).await?;
    let rows = session.query(IN_RECOVERY).await?;
    let in_recovery = rows.first().is_some_and(|row| row.flag(0));
    if in_recovery {
        info!("Leader is still in_recovery and therefore can't be used for rewind");
    }
    Ok(!in_recovery)
}

/// With `target_session_attrs` when there is a choice of hosts: a single host is asked for its role, which tells more
/// than a refused connection.
pub fn aim_at_primary(conn: &mut Conn) {
    if conn.get("host").is_some_and(|hosts| hosts.contains(',')) {
        conn.insert("target_session_attrs".to_owned(), "read-write".to_owned());
    }
}

/// A leader's place in history (REW-03, REW-04).
pub async fn leader_point(server: &Server, leader: &Upstream) -> Result<LeaderPoint, PgError> {
    let mut conn = member_connection(server, leader, &leader_login(server));
    aim_at_primary(&mut conn);
    let read_write = is_primary(&conn).await.map_err(|error| {
        error!("Exception when working with leader: {error}");
        PgError::from(error)
    })?;
    let mut conn = member_connection(server, leader, &server.replication_user());
    conn.shift_remove("dbname");
    conn.shift_remove("target_session_attrs");
    place_in_history(&conn, read_write).await.map_err(|error| {
        error!("Exception when working with primary via replication connection: {error}");
        PgError::from(error)
    })
}

async fn place_in_history(conn: &Conn, read_write: bool) -> Result<LeaderPoint, SqlError> {
    let mut session = ReplicationSession::open(conn).await?;
    let identity = session.identify_system().await?;
    info!("primary_timeline={}", identity.timeline);
    let history = if identity.timeline.0 > 1 {
        let text = session.timeline_history(identity.timeline).await?;
        debug!("primary: history={text}");
        super::history::parse(&text).into_iter().map(|line| (line.timeline, line.lsn)).collect()
    } else {
        Vec::new()
    };
    Ok(LeaderPoint { read_write, timeline: identity.timeline, lsn: identity.lsn, history })
}
