//! Starting the postmaster (PG-02): detached, with the protected parameters on its command line.

use super::{PgError, Server, StartAs, config_writer, connection, parameters, postmaster};
use crate::cluster::Postmaster;
use crate::sys::detach::spawn_detached;
use std::ffi::OsString;
use std::process::Command;
use tracing::{debug, error, info};

/// Starts the server with the files as they are; does not wait until it is ready. If one runs already, that one is it.
///
/// # Errors
/// [`PgError::File`] without a data directory of known version, [`PgError::Program`] when it cannot be executed.
pub async fn launch(server: &Server, start: &StartAs) -> Result<Postmaster, PgError> {
    // Connections to the former server would only tell stale news.
    connection::close_all(server).await;
    if let Some(running) = postmaster::find(server) {
        error!("Cannot start PostgreSQL because one is already running.");
        return Ok(running);
    }
    postmaster::end_orphans(server).await?;
    let parameters = config_writer::effective(server, start).await?.parameters;
    let mut command = Command::new(server.bin("postgres"));
    let data_dir = server.data_dir();
    let config_file = config_writer::postgresql_conf(server);
    command.arg("-D").arg(&data_dir);
    command.arg(format!("--config-file={}", config_file.display()));
    command.args(parameters::command_line(&parameters));
    set_environment(&mut command, server);
    if let Some(pid) = postmaster::impostor(&data_dir) {
        // The server would take the stale pid file for another server's. Removing the file is no way out: its creation
        // by a server that starts just now could be missed.
        info!("Telling pg_ctl that it is safe to ignore postmaster.pid for process {pid}");
        command.env("PG_GRANDPARENT_PID", pid.to_string());
    }
    let words: Vec<_> = command.get_args().map(|w| w.to_string_lossy()).collect();
    debug!("Starting postgres: {} {}", command.get_program().display(), words.join(" "));
    let spawned = tokio::task::spawn_blocking(move || spawn_detached(&mut command));
    let started = spawned.await.map_err(|e| PgError::Program(e.to_string()))?;
    let started = started.map_err(|e| PgError::Program(format!("Failed to execute postgres: {e}")))?;
    info!("postmaster pid={}", started.pid);
    let found = Postmaster { pid: started.pid, start_ticks: started.start_ticks };
    server.postmaster.set(Some(found));
    Ok(found)
}

/// The agent's environment without what is the agent's alone.
fn set_environment(command: &mut Command, server: &Server) {
    command.env_clear().envs(std::env::vars_os().filter_map(|(name, value)| Some((kept(name)?, value))));
    if let Some(name) = &server.settings().postgresql.krbsrvname {
        command.env("PGKRBSRVNAME", name);
    }
}

/// Under which name a variable of the agent is handed on; `None`: it is not. Only the agent itself speaks to systemd.
fn kept(name: OsString) -> Option<OsString> {
    let text = name.to_string_lossy();
    if text == "NOTIFY_SOCKET" || text.starts_with("PATRONI_") || text.starts_with("KUBERNETES_") {
        return None;
    }
    if text == "MALLOC_ARENA_MAX" && std::env::var_os("PG_MALLOC_ARENA_MAX").is_some() {
        return None;
    }
    if text == "PG_MALLOC_ARENA_MAX" { Some(OsString::from("MALLOC_ARENA_MAX")) } else { Some(name) }
}

#[cfg(test)]
mod tests {
    use super::kept;
    use std::ffi::OsString;

    #[test]
    fn the_agents_own_variables_are_not_handed_on() {
        let handed = |name: &str| kept(OsString::from(name)).map(|n| n.into_string().unwrap());
        for own in ["NOTIFY_SOCKET", "PATRONI_SUPERUSER_PASSWORD", "KUBERNETES_SERVICE_HOST"] {
            assert_eq!(handed(own), None);
        }
        assert_eq!(handed("PATH").as_deref(), Some("PATH"));
        assert_eq!(handed("PG_MALLOC_ARENA_MAX").as_deref(), Some("MALLOC_ARENA_MAX"));
    }
}
