//! libpq keywords as a configuration of the driver.

use super::connection::{Conn, SessionOptions};
use super::passfile;
use super::sql_error::{SqlError, Stage};
use super::tls::{Attempt, Tls};
use super::wire::Endpoint;
use std::time::Duration;
use tokio_postgres::config::{ChannelBinding, SslMode, SslNegotiation, TargetSessionAttrs};

/// A connection without traffic is probed after this: a vanished host must not keep a session "open".
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);

/// Keywords that mean nothing to this client: decided elsewhere ([`Tls`], [`endpoints`]), or without effect here.
const OTHERS: [&str; 21] = [
    "host",
    "hostaddr",
    "port",
    "sslmode",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "sslnegotiation",
    "sslcompression",
    "gssencmode",
    "krbsrvname",
    "gsslib",
    "passfile",
    "fallback_application_name",
    "application_name",
    "connect_timeout",
    "client_encoding",
    "replication",
];

/// The driver's configuration for one attempt at all places.
pub(super) fn build(
    conn: &Conn,
    places: &[Endpoint],
    options: &SessionOptions,
    attempt: Attempt,
    tls: &Tls,
) -> Result<tokio_postgres::Config, SqlError> {
    let mut config = tokio_postgres::Config::new();
    for place in places {
        match place {
            Endpoint::Socket(dir, port) => config.host_path(dir).port(*port),
            Endpoint::Tcp { name, port, .. } => config.host(name).port(*port),
        };
    }
    add_addresses(&mut config, conn, places)?;
    if let Some(password) = passfile::password(conn) {
        config.password(password);
    }
    for (keyword, value) in conn {
        match keyword.as_str() {
            "user" => config.user(value),
            "password" => &mut config,
            "dbname" => config.dbname(value),
            "options" => &mut config,
            "target_session_attrs" => config.target_session_attrs(session_attrs(value)?),
            "channel_binding" => config.channel_binding(channel_binding(value)?),
            other if OTHERS.contains(&other) => &mut config,
            other => {
                let message = format!("connection option \"{other}\" is not supported");
                return Err(SqlError::new(Stage::Options, message));
            }
        };
    }
    config
        .options(session_settings(conn.get("options"), options.statement_timeout))
        .application_name(&options.application_name)
        .connect_timeout(options.connect_timeout)
        .tcp_user_timeout(options.connect_timeout)
        .keepalives(true)
        .keepalives_idle(KEEPALIVE_IDLE)
        .keepalives_interval(Duration::from_secs(1))
        .keepalives_retries(3)
        .ssl_negotiation(if tls.direct() { SslNegotiation::Direct } else { SslNegotiation::Postgres })
        .ssl_mode(match attempt {
            Attempt::Plain => SslMode::Disable,
            Attempt::IfOffered => SslMode::Prefer,
            Attempt::Required => SslMode::Require,
        });
    Ok(config)
}

/// The driver wants an address for every host as soon as one has `hostaddr`.
fn add_addresses(config: &mut tokio_postgres::Config, conn: &Conn, places: &[Endpoint]) -> Result<(), SqlError> {
    if conn.get("hostaddr").is_none_or(String::is_empty) {
        return Ok(());
    }
    for place in places {
        if let Endpoint::Tcp { address, .. } = place {
            let parsed = address
                .parse()
                .map_err(|_| SqlError::new(Stage::Options, format!("could not parse network address \"{address}\"")))?;
            config.hostaddr(parsed);
        }
    }
    Ok(())
}

/// Session settings by which answers do not depend on the server's configuration.
fn session_settings(given: Option<&String>, statement_timeout: Duration) -> String {
    let ours = format!(
        "-c statement_timeout={} -c pg_stat_statements.track=none -c DateStyle=ISO -c client_encoding=UTF8",
        statement_timeout.as_millis()
    );
    given.map_or_else(|| ours.clone(), |given| format!("{given} {ours}"))
}

fn session_attrs(value: &str) -> Result<TargetSessionAttrs, SqlError> {
    match value {
        "any" => Ok(TargetSessionAttrs::Any),
        "read-write" | "primary" => Ok(TargetSessionAttrs::ReadWrite),
        "read-only" | "standby" => Ok(TargetSessionAttrs::ReadOnly),
        other => Err(SqlError::new(Stage::Options, format!("invalid target_session_attrs value: \"{other}\""))),
    }
}

fn channel_binding(value: &str) -> Result<ChannelBinding, SqlError> {
    match value {
        "disable" => Ok(ChannelBinding::Disable),
        "prefer" => Ok(ChannelBinding::Prefer),
        "require" => Ok(ChannelBinding::Require),
        other => Err(SqlError::new(Stage::Options, format!("invalid channel_binding value: \"{other}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::endpoints;
    use super::*;

    fn conn(pairs: &[(&str, &str)]) -> Conn {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn config(pairs: &[(&str, &str)]) -> Result<tokio_postgres::Config, SqlError> {
        let conn = conn(pairs);
        let places = endpoints(&conn)?;
        let tls = Tls::of(&conn, false)?;
        build(&conn, &places, &SessionOptions::short("heartbeat"), Attempt::Plain, &tls)
    }

    #[test]
    fn libpq_keywords_reach_the_driver() {
        let config = config(&[
            ("host", "a,b"),
            ("port", "1,2"),
            ("user", "u"),
            ("dbname", "d"),
            ("sslcert", ""),
            ("target_session_attrs", "read-write"),
            ("options", "-c search_path=x"),
        ])
        .unwrap();
        assert_eq!(config.get_ports(), [1, 2]);
        assert_eq!(config.get_hosts().len(), 2);
        assert_eq!(config.get_user(), Some("u"));
        assert_eq!(config.get_application_name(), Some("Patroni heartbeat"));
        assert_eq!(config.get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        let options = config.get_options().unwrap();
        assert!(options.starts_with("-c search_path=x -c statement_timeout=2000 "), "{options}");
    }

    #[test]
    fn options_that_would_not_be_obeyed_are_refused() {
        for (pairs, part) in [
            (&[("service", "x")][..], "\"service\""),
            (&[("target_session_attrs", "x")], "target_session_attrs"),
            (&[("channel_binding", "x")], "channel_binding"),
            (&[("host", "a"), ("hostaddr", "x")], "network address"),
        ] {
            assert!(config(pairs).unwrap_err().message.contains(part), "{part}");
        }
    }
}
