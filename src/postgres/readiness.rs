//! pg_isready: does the server accept connections? Nobody logs in for that.

use super::Server;
use super::sql_error::{SqlError, Stage};
use super::tls::{Attempt, Tls};
use super::wire::{Wire, endpoints, server_error};
use crate::cluster::Readiness;
use postgres_protocol::message::backend::Message;
use postgres_protocol::message::frontend;
use std::time::Duration;
use tracing::debug;

/// pg_isready's own default.
const PATIENCE: Duration = Duration::from_secs(3);
/// SQLSTATE cannot_connect_now: starting up, shutting down, in recovery without hot standby.
const CANNOT_CONNECT_NOW: &str = "57P03";

/// Asks the own server (PG-05).
pub async fn readiness(server: &Server) -> Readiness {
    let conn = server.local_connection();
    match tokio::time::timeout(PATIENCE, probe(&conn)).await {
        Ok(Ok(readiness)) => readiness,
        Ok(Err(error)) => {
            debug!("readiness: {error}");
            Readiness::NoResponse
        }
        Err(_) => Readiness::NoResponse,
    }
}

/// The server decides whether it can take a client before it asks who that is, so the start-up packet is enough, and
/// TLS is not needed for it.
async fn probe(conn: &super::connection::Conn) -> Result<Readiness, SqlError> {
    let mut last = SqlError::new(Stage::Connect, "no host");
    let tls = Tls::of(&super::connection::Conn::new(), true)?;
    for place in endpoints(conn)? {
        let asked = async {
            let mut wire = Wire::open(&place, Attempt::Plain, &tls).await?;
            let get = |name: &str, default| conn.get(name).map_or(default, String::as_str);
            let parameters = [("user", get("user", "postgres")), ("database", get("dbname", "postgres"))];
            wire.send(|out| frontend::startup_message(parameters, out)).await?;
            wire.receive().await
        };
        match asked.await {
            Ok(Message::ErrorResponse(body)) if server_error(Stage::Connect, &body).is(CANNOT_CONNECT_NOW) => {
                return Ok(Readiness::Rejecting);
            }
            // A request for a password, but also "no such role" or "no such entry in pg_hba.conf": it takes clients.
            Ok(_) => return Ok(Readiness::Accepting),
            Err(error) => last = error,
        }
    }
    Err(last)
}
