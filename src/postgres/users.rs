//! The database users of a new cluster (BOOT-04).

use super::connection::{Session, SessionOptions, identifier, literal, open_local};
use super::sql_error::SqlError;
use super::{PgError, Server};
use crate::config::settings::PgUser;
use std::time::Duration;
use tracing::{debug, warn};

/// All versions. `{who}` is the name as a literal, `{name}` as an identifier. A new cluster may wait for synchronous
/// standbys that do not exist yet, hence the local commit.
const CREATE_OR_ALTER: &str = "DO $patroni$
BEGIN
    SET local synchronous_commit = 'local';
    PERFORM * FROM pg_catalog.pg_authid WHERE rolname = {who};
    IF FOUND THEN
        ALTER ROLE {name} WITH {options};
    ELSE
        CREATE ROLE {name} WITH {options};
    END IF;
END;$patroni$";

/// 11 and later (before, only a superuser may call these functions).
const GRANT: &str = "DO $patroni$
BEGIN
    SET local synchronous_commit = 'local';
    GRANT EXECUTE ON function pg_catalog.{function} TO {name};
END;$patroni$";

/// What pg_rewind and the copy of logical slots call.
const REWIND_FUNCTIONS: [&str; 4] = [
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
];

/// So that no password gets into a log or a statistics view, whatever is configured.
const SILENCE: [&str; 5] = [
    "SET log_statement TO none",
    "SET log_min_duration_statement TO -1",
    "SET log_min_error_statement TO 'log'",
    "SET pg_stat_statements.track_utility to 'off'",
    "SET pgaudit.log TO none",
];

/// Creating roles is quick; this is for a busy disk.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sets the superuser's password, when name and password are configured.
pub async fn set_superuser(server: &Server) -> Result<(), PgError> {
    let user = server.superuser();
    if user.username.is_none() || user.password.is_none() {
        return Ok(());
    }
    let session = silent_session(server).await?;
    create_or_update(&session, &user, &["SUPERUSER"]).await?;
    Ok(())
}

/// Creates the replication user, and the rewind user with its rights.
pub async fn create_others(server: &Server) -> Result<(), PgError> {
    let session = silent_session(server).await?;
    create_or_update(&session, &server.replication_user(), &["REPLICATION"]).await?;
    let rewind = server.rewind_user();
    if rewind != server.superuser() {
        create_or_update(&session, &rewind, &[]).await?;
        if let Some(name) = &rewind.username {
            for function in REWIND_FUNCTIONS {
                let sql = GRANT.replace("{function}", function).replace("{name}", &identifier(name));
                session.query_within(&sql, PATIENCE).await?;
            }
        }
    }
    Ok(())
}

async fn silent_session(server: &Server) -> Result<Session, SqlError> {
    let session = open_local(server, &SessionOptions::unlimited()).await?;
    for sql in SILENCE {
        // A setting that this server refuses (an extension's, say) is no reason to leave the cluster without users.
        if let Err(error) = session.query(sql).await {
            warn!("{sql}: {error}");
        }
    }
    Ok(session)
}

async fn create_or_update(session: &Session, user: &PgUser, rights: &[&str]) -> Result<(), SqlError> {
    let Some(name) = user.username.as_deref().filter(|name| !name.is_empty()) else {
        debug!("a user without a name is not created");
        return Ok(());
    };
    session.query_within(&statement(name, user, rights), PATIENCE).await.map(|_| ())
}

fn statement(name: &str, user: &PgUser, rights: &[&str]) -> String {
    let mut options: Vec<String> = rights.iter().map(|right| (*right).to_owned()).collect();
    options.push("LOGIN".to_owned());
    if let Some(password) = user.password.as_ref().filter(|p| !p.reveal().is_empty()) {
        options.push(format!("PASSWORD {}", literal(password.reveal())));
    }
    // The user's texts come last, so that nothing within them is taken for a placeholder.
    let parts = CREATE_OR_ALTER.split('{').map(|part| match part.split_once('}') {
        Some(("who", rest)) => literal(name) + rest,
        Some(("name", rest)) => identifier(name) + rest,
        Some(("options", rest)) => options.join(" ") + rest,
        _ => part.to_owned(),
    });
    parts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Secret;

    #[test]
    fn names_and_passwords_are_quoted_and_nothing_in_them_is_expanded() {
        let user = PgUser { password: Some(Secret::new("o'{name}")), ..PgUser::default() };
        let sql = statement("we\"ird", &user, &["REPLICATION"]);
        assert!(sql.contains("rolname = 'we\"ird';"), "{sql}");
        assert!(sql.contains(r#"ALTER ROLE "we""ird" WITH REPLICATION LOGIN PASSWORD 'o''{name}';"#), "{sql}");
        assert!(sql.contains(r#"CREATE ROLE "we""ird" WITH REPLICATION LOGIN PASSWORD"#), "{sql}");
        let sql = statement("plain", &PgUser::default(), &[]);
        assert!(sql.contains("CREATE ROLE \"plain\" WITH LOGIN;"), "{sql}");
    }
}
