//! A new cluster: initdb or a custom method, then users and the `post_bootstrap` script (BOOT-02 to BOOT-12).

use super::connection::close_all;
use super::create_replica::{after_creation, flag, python_text};
use super::program::Program;
use super::{
    Cancel, CustomBootstrap, PgError, Server, StartAs, config_files, config_writer, conninfo, files, hba, pgpass,
    postmaster, users,
};
use serde_json::{Map, Value};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use tracing::{error, info};

/// Options that the agent sets itself or that would leave no usable data directory.
const REFUSED: [&str; 5] = ["pgdata", "nosync", "pwfile", "sync-only", "version"];
/// Keys of a custom method's section that are not arguments of its command.
const RESERVED: [&str; 6] =
    ["command", "no_params", "keep_existing_recovery_conf", "recovery_conf", "scope", "datadir"];

/// Runs initdb with the configured options (BOOT-02), then adds `bootstrap.pg_hba` and saves the configuration files.
pub async fn initdb(server: &Server, cancel: &Cancel) -> Result<(), PgError> {
    let settings = server.settings();
    let options = settings.bootstrap.as_ref().map(|b| b.initdb.clone()).unwrap_or_default();
    let mut program = Program::of_server(server, "initdb").args(arguments(&options)?);
    let superuser = server.superuser();
    if let Some(name) = &superuser.username {
        program = program.arg(format!("--username={name}"));
    }
    let password_file = superuser.password.as_ref().map(|password| PasswordFile::write(password.reveal()));
    let password_file = password_file.transpose()?;
    if let Some(file) = &password_file {
        program = program.arg(format!("--pwfile={}", file.0.display()));
    }
    let finished = program.arg(server.data_dir()).run(cancel).await?;
    drop(password_file);
    if !finished.success() {
        return Err(PgError::Program(format!("initdb exited with code={}", finished.code)));
    }
    finish_files(server).await
}

fn arguments(options: &[(String, Option<String>)]) -> Result<Vec<String>, PgError> {
    let argument = |(name, value): &(String, Option<String>)| {
        if REFUSED.contains(&name.as_str()) {
            return Err(PgError::Program(format!("{name} option for initdb is not allowed")));
        }
        Ok(value.as_ref().map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")))
    };
    options.iter().map(argument).collect()
}

/// A file with a password, readable by its owner alone, removed when it goes out of use.
struct PasswordFile(PathBuf);

impl PasswordFile {
    fn write(password: &str) -> Result<Self, PgError> {
        let random: String = std::iter::repeat_with(fastrand::alphanumeric).take(16).collect();
        let path = std::env::temp_dir().join(format!("patroni-{random}"));
        let failed = |e: std::io::Error| PgError::File(format!("cannot write {}: {e}", path.display()));
        let mut file =
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let written = Self(path.clone());
        file.write_all(password.as_bytes()).map_err(failed)?;
        Ok(written)
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        if let Err(reason) = std::fs::remove_file(&self.0) {
            error!("cannot remove the password file {}: {reason}", self.0.display());
        }
    }
}

async fn finish_files(server: &Server) -> Result<(), PgError> {
    let settings = server.settings();
    let lines = settings.bootstrap.as_ref().map(|b| b.pg_hba.clone()).unwrap_or_default();
    hba::append(server, &lines).await?;
    config_writer::save_backups(server).await;
    Ok(())
}

/// Runs the custom bootstrap method (BOOT-08, BOOT-09). Returns how the server is to be started.
pub async fn custom_bootstrap(server: &Server, cancel: &Cancel) -> Result<StartAs, PgError> {
    let settings = server.settings();
    let method = settings.bootstrap.as_ref().and_then(|b| b.method.as_ref());
    let method = method.ok_or_else(|| PgError::Program("no custom bootstrap method is configured".to_owned()))?;
    let command = method.options.get("command").and_then(Value::as_str);
    let command =
        command.ok_or_else(|| PgError::Program(format!("bootstrap method {} has no command", method.name)))?;
    let keep_recovery_conf = flag(&method.options, "keep_existing_recovery_conf");
    server.set_custom_bootstrap(CustomBootstrap { running: true, keep_recovery_conf });
    let result = run_method(server, command, &method.options, cancel).await;
    if result.is_err() {
        server.set_custom_bootstrap(CustomBootstrap::default());
    }
    result
}

async fn run_method(
    server: &Server,
    command: &str,
    options: &Map<String, Value>,
    cancel: &Cancel,
) -> Result<StartAs, PgError> {
    let mut arguments = Vec::new();
    if !flag(options, "no_params") {
        arguments.push(format!("--scope={}", server.settings().scope));
        arguments.push(format!("--datadir={}", server.data_dir().display()));
    }
    let own = options.iter().filter(|(name, _)| !RESERVED.contains(&name.as_str()));
    arguments.extend(own.map(|(name, value)| format!("--{name}={}", python_text(value))));
    info!("Running custom bootstrap script: {command}");
    let finished = Program::command(server, command)?.args(arguments).run(cancel).await?;
    if !finished.success() {
        return Err(PgError::Program(format!("{command} exited with code={}", finished.code)));
    }
    after_creation(server).await?;
    let start = match options.get("recovery_conf").and_then(Value::as_object) {
        Some(recovery) => {
            let recovery = recovery.iter().map(|(name, value)| (name.clone(), python_text(value))).collect();
            StartAs::CustomRecovery { recovery }
        }
        None if server.custom_bootstrap().keep_recovery_conf => {
            StartAs::CustomRecovery { recovery: indexmap::IndexMap::new() }
        }
        None => {
            config_writer::remove_recovery_files(server)?;
            StartAs::Primary
        }
    };
    finish_files(server).await?;
    Ok(start)
}

/// Users and rights, with the user's script in between: it runs when the superuser can log in (BOOT-04, BOOT-06). Returns
/// whether the server must be restarted to have its final configuration.
pub async fn post_bootstrap(server: &Server, cancel: &Cancel) -> Result<bool, PgError> {
    users::set_superuser(server).await?;
    run_script(server, cancel).await?;
    users::create_others(server).await?;
    if server.settings().bootstrap.as_ref().is_some_and(|b| b.users) {
        error!(
            "User creation is not be supported starting from v4.0.0. Please use \"bootstrap.post_bootstrap\" script to \
             create users."
        );
    }
    let mut restart = false;
    if server.custom_bootstrap().running {
        restart = end_custom_bootstrap(server).await?;
    }
    // Sessions from before may have been let in without the password.
    close_all(server).await;
    Ok(restart)
}

/// Takes back the access without password that a custom bootstrap opened, and what was left of its recovery (BOOT-10).
/// Returns whether that takes a restart: `hba_file` leads elsewhere, or the recovery had to have other limits.
async fn end_custom_bootstrap(server: &Server) -> Result<bool, PgError> {
    server.set_custom_bootstrap(CustomBootstrap::default());
    let elsewhere = !hba::own_files(server).contains(&"pg_hba.conf");
    if elsewhere || server.settings().postgresql.pg_hba.is_none() {
        files::remove(&server.config_dir().join("pg_hba.conf"))?;
        config_writer::restore_backups(server).await?;
    }
    config_writer::remove_recovery_files(server)?;
    config_files::rewrite(server).await?;
    let pending = config_files::pending_restart(server).await?;
    postmaster::reload(server)?;
    Ok(elsewhere || !pending.is_empty())
}

async fn run_script(server: &Server, cancel: &Cancel) -> Result<(), PgError> {
    let settings = server.settings();
    let Some(command) = settings.bootstrap.as_ref().and_then(|b| b.post_bootstrap.as_deref()) else { return Ok(()) };
    let mut conn = server.local_connection();
    let connstring = {
        let mut shown = conn.clone();
        shown.shift_remove("password");
        conninfo::format(&shown, server.any_version().await)
    };
    conn.entry("host".to_owned()).or_insert_with(|| "localhost".to_owned());
    let mut program = Program::command(server, command)?
        .arg(connstring)
        .env("PGOPTIONS", "-c synchronous_commit=local -c statement_timeout=0");
    if let Some(file) = pgpass::write(server, &conn)? {
        program = program.env("PGPASSFILE", &file.to_string_lossy());
    }
    match program.run(cancel).await {
        Ok(finished) if finished.success() => Ok(()),
        Ok(finished) => {
            error!("post_init script {command} returned non-zero code {}", finished.code);
            Err(PgError::Program(format!("post_init script {command} returned non-zero code {}", finished.code)))
        }
        Err(PgError::Program(reason)) => {
            error!("post_init script {command} failed");
            Err(PgError::Program(reason))
        }
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // rows: BOOT-02
    #[test]
    fn initdb_options_become_arguments() {
        let options = |pairs: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect()
        };
        let given = options(&[("encoding", Some("UTF8")), ("data-checksums", None)]);
        assert_eq!(arguments(&given).unwrap(), ["--encoding=UTF8", "--data-checksums"]);
        let error = arguments(&options(&[("pwfile", Some("/x"))])).unwrap_err();
        assert_eq!(error.to_string(), "pwfile option for initdb is not allowed");
    }

    #[test]
    fn a_password_file_is_private_and_short_lived() {
        use std::os::unix::fs::PermissionsExt;
        let file = PasswordFile::write("secret").unwrap();
        let path = file.0.clone();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "secret");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }
}
