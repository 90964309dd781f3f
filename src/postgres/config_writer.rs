//! postgresql.conf and the recovery files (PG-13 to PG-15, PG-21, PG-39).

use super::conf_file::{self, HEADER};
use super::files::{self, Step};
use super::parameters::{self, Parameters};
use super::recovery::{self, Recovery};
use super::{PgError, Server, StartAs, controldata, hba, known, pgpass, sync_names};
use crate::types::PgVersion;
use std::path::{Path, PathBuf};
use tracing::{info, warn};

/// Where the configuration that was there before the agent goes.
const BASE_CONF: &str = "postgresql.base.conf";

/// What a server of this directory is to be started with.
#[derive(Clone, Debug, PartialEq)]
pub struct Effective {
    /// Major version, by PG_VERSION.
    pub version: PgVersion,
    /// Server parameters.
    pub parameters: Parameters,
}

/// Path of postgresql.conf.
#[must_use]
pub fn postgresql_conf(server: &Server) -> PathBuf {
    server.config_dir().join("postgresql.conf")
}

/// Parameters for a start: those of the settings, on a standby raised to the limits in control data (PG-23), without
/// `hot_standby` where a custom bootstrap recovers and promotes by itself.
///
/// # Errors
/// [`PgError::File`] when there is no data directory of known version.
pub async fn effective(server: &Server, start: &StartAs) -> Result<Effective, PgError> {
    let version = known_version(server)?;
    let mut parameters = wanted_parameters(server, version).await;
    let recovers = *start != StartAs::Primary || has_recovery_file(server, version);
    let control = if recovers { controldata::read(server).await } else { None };
    if let Some(control) = control {
        parameters::raise_to_control_data(&mut parameters, &control.lines, version);
    }
    if promotes_by_itself(server, start, version) {
        parameters::set(&mut parameters, "hot_standby", "off".to_owned());
    }
    sync_names::apply(server, &mut parameters, Some(start), version);
    Ok(Effective { version, parameters })
}

/// Parameters of the settings for a server of this version, without those that it does not know.
pub(super) async fn wanted_parameters(server: &Server, version: PgVersion) -> Parameters {
    let mut parameters = parameters::server_parameters(&server.settings(), &server.config_dir(), Some(version));
    if server.enforce_feedback.get() {
        parameters::set(&mut parameters, "hot_standby_feedback", "on".to_owned());
    }
    known::remove_unknown(server, &mut parameters, version).await;
    parameters
}

fn known_version(server: &Server) -> Result<PgVersion, PgError> {
    let file = server.data_dir().join("PG_VERSION");
    server.major_version().ok_or_else(|| PgError::File(format!("no version can be read from {}", file.display())))
}

/// A hot standby would pause, or refuse to go on, when limits grew after the backup was made.
fn promotes_by_itself(server: &Server, start: &StartAs, version: PgVersion) -> bool {
    let custom = server.custom_bootstrap();
    match start {
        _ if !custom.running => false,
        _ if custom.keep_recovery_conf => true,
        StartAs::CustomRecovery { recovery } => {
            version.at_least(90_500) && !recovery.is_empty() && recovery::promotes_at_target(recovery)
        }
        _ => false,
    }
}

/// `standby.signal`, `recovery.signal` or `recovery.conf` is there: a start would recover.
#[must_use]
pub fn has_recovery_file(server: &Server, version: PgVersion) -> bool {
    recovery_files(version).iter().any(|name| server.has_file(name))
}

fn recovery_files(version: PgVersion) -> &'static [&'static str] {
    if version.at_least(120_000) { &["standby.signal", "recovery.signal"] } else { &["recovery.conf"] }
}

/// Removes the recovery files of all versions.
///
/// # Errors
/// [`PgError::File`].
pub fn remove_recovery_files(server: &Server) -> Result<(), PgError> {
    for name in ["recovery.conf", "standby.signal", "recovery.signal"] {
        files::remove(&server.data_dir().join(name))?;
    }
    server.written.borrow_mut().forget_recovery();
    Ok(())
}

/// Writes all files for the next start (or, with the same upstream, for a reload).
///
/// For [`StartAs::Primary`] recovery files are left as they are: a start "as it was" must never turn a standby into a
/// primary. The signal file is written first, so that a crash half-way leaves a standby, too.
///
/// # Errors
/// [`PgError::File`]; what was not written yet is as it was.
pub async fn write(server: &Server, start: &StartAs) -> Result<(), PgError> {
    let _turn = server.files_turn.lock().await;
    let Effective { version, parameters } = effective(server, start).await?;
    check_directories(server, &parameters)?;
    let recovery = if server.custom_bootstrap().keep_recovery_conf && server.custom_bootstrap().running {
        None
    } else {
        match start {
            StartAs::Primary => kept_recovery(server, version),
            StartAs::Standby { upstream } => Some(recovery::wanted(server, upstream.as_deref(), version)),
            StartAs::CustomRecovery { recovery } => Some(recovery::of_method(recovery)),
        }
    };
    let mut steps = Vec::new();
    if *start != StartAs::Primary
        && let Some(recovery) = &recovery
    {
        steps.extend(recovery_file_steps(server, recovery, version)?);
    }
    steps.extend(postgresql_conf_steps(server, &parameters, recovery.as_ref(), version)?);
    steps.extend(hba::steps(server, &parameters).await);
    files::carry_out(steps).await?;
    if !server.custom_bootstrap().running {
        save_backups(server).await;
    }
    server.written.borrow_mut().took_recovery(server, recovery, version);
    Ok(())
}

/// Recovery settings that a rewrite must keep: what was written last, or (after a restart of the agent) what the file says.
pub(super) fn kept_recovery(server: &Server, version: PgVersion) -> Option<Recovery> {
    if !version.at_least(120_000) || !has_recovery_file(server, version) {
        return None;
    }
    let known = server.written.borrow().recovery.clone();
    known.or_else(|| {
        let text = std::fs::read_to_string(postgresql_conf(server)).ok()?;
        Some(Recovery::of_file(&conf_file::parse(&text), server.has_file("standby.signal")))
    })
}

fn recovery_file_steps(server: &Server, recovery: &Recovery, version: PgVersion) -> Result<Vec<Step>, PgError> {
    let data_dir = server.data_dir();
    let mode = files::data_file_mode(&data_dir);
    let touch = |name: &str| Step::Touch { path: data_dir.join(name), mode };
    if !version.at_least(120_000) {
        let lines = recovery.lines(server, version)?;
        let lines: String = lines.iter().map(|(name, value)| conf_file::line(name, value)).collect();
        let content = format!("{HEADER}{lines}").into_bytes();
        return Ok(vec![Step::Write { path: data_dir.join("recovery.conf"), content, mode }]);
    }
    Ok(if recovery.standby {
        vec![touch("standby.signal")]
    } else {
        vec![touch("recovery.signal"), Step::Remove(data_dir.join("standby.signal"))]
    })
}

/// Steps that bring postgresql.conf to this content: the original is renamed to its base name once, and recovery parameters
/// leave postgresql.auto.conf, where they would win over ours.
pub(super) fn postgresql_conf_steps(
    server: &Server,
    parameters: &Parameters,
    recovery: Option<&Recovery>,
    version: PgVersion,
) -> Result<Vec<Step>, PgError> {
    let data_dir = server.data_dir();
    let path = postgresql_conf(server);
    let mode = |path: &Path| files::config_file_mode(&data_dir, path);
    let mut steps = base_conf_steps(server, &path, &mode)?;
    let content = render(server, parameters, recovery, version)?;
    if version.at_least(120_000) && !keeps_recovery(server) {
        steps.extend(auto_conf_step(&data_dir));
    }
    steps.push(Step::Write { mode: mode(&path), path, content: content.into_bytes() });
    Ok(steps)
}

fn keeps_recovery(server: &Server) -> bool {
    let custom = server.custom_bootstrap();
    custom.running && custom.keep_recovery_conf
}

fn base_conf_steps(server: &Server, path: &Path, mode: &dyn Fn(&Path) -> u32) -> Result<Vec<Step>, PgError> {
    let base = server.config_dir().join(BASE_CONF);
    if server.settings().postgresql.custom_conf.is_some() || base.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read(path).map_err(|e| PgError::File(format!("could not read {}: {e}", path.display())))?;
    if !text.starts_with(HEADER.as_bytes()) {
        return Ok(vec![Step::Rename { from: path.to_owned(), to: base }]);
    }
    // Ours already, and the base was lost: renaming it would let the file include itself.
    let backup = server.data_dir().join(format!("{BASE_CONF}.backup"));
    warn!("{} is missing, taking its backup", base.display());
    let content = std::fs::read(&backup).unwrap_or_default();
    Ok(vec![Step::Write { mode: mode(&base), path: base, content }])
}

fn render(
    server: &Server,
    parameters: &Parameters,
    recovery: Option<&Recovery>,
    version: PgVersion,
) -> Result<String, PgError> {
    let settings = server.settings();
    let custom_bootstrap = server.custom_bootstrap().running;
    let include = settings.postgresql.custom_conf.as_deref().unwrap_or(BASE_CONF);
    let mut text = format!("{HEADER}include {}\n\n", conf_file::quoted(include));
    let mut sorted: Vec<_> = parameters.iter().filter(|(name, _)| !recovery::is_recovery_parameter(name)).collect();
    sorted.sort();
    for (name, value) in sorted {
        // While trust opens the way for a custom bootstrap, the file that says so must be the one in force.
        if !(custom_bootstrap && name.eq_ignore_ascii_case("hba_file")) {
            text += &conf_file::line(name, value);
        }
    }
    let own = |name: &str| server.config_dir().join(name).to_string_lossy().into_owned();
    if custom_bootstrap || parameters::get(parameters, "hba_file").is_none() {
        text += &conf_file::line("hba_file", &own("pg_hba.conf"));
    }
    if parameters::get(parameters, "ident_file").is_none() {
        text += &conf_file::line("ident_file", &own("pg_ident.conf"));
    }
    if let Some(recovery) = recovery.filter(|_| version.at_least(120_000)) {
        text += "\n# recovery.conf\n";
        for (name, value) in recovery.lines(server, version)? {
            text += &conf_file::line(&name, &value);
        }
    }
    Ok(text)
}

fn auto_conf_step(data_dir: &Path) -> Option<Step> {
    let path = data_dir.join("postgresql.auto.conf");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(reason) => {
            if path.exists() {
                info!("Failed to read {}: {reason}", path.display());
            }
            return None;
        }
    };
    let foreign =
        |line: &&str| !conf_file::parse_line(line).is_some_and(|(name, _)| recovery::is_recovery_parameter(&name));
    let kept: Vec<&str> = text.split_inclusive('\n').filter(foreign).collect();
    let content = kept.concat().into_bytes();
    if content.len() == text.len() {
        return None;
    }
    Some(Step::Write { mode: files::data_file_mode(data_dir), path, content })
}

/// Creates the directories for sockets, statistics and the password file where they are missing.
fn check_directories(server: &Server, parameters: &Parameters) -> Result<(), PgError> {
    let data_dir = server.data_dir();
    let mode = if files::data_file_mode(&data_dir) == 0o640 { 0o750 } else { 0o700 };
    let sockets = parameters::get(parameters, "unix_socket_directories").unwrap_or_default();
    // A name with @ is an abstract socket.
    for name in sockets.split(',').map(str::trim).filter(|d| !d.is_empty() && !d.starts_with('@')) {
        files::ensure_directory(&data_dir.join(name), "is defined in unix_socket_directories", mode)?;
    }
    if let Some(name) = parameters::get(parameters, "stats_temp_directory").filter(|n| !n.is_empty()) {
        files::ensure_directory(&data_dir.join(name), "is defined in stats_temp_directory", mode)?;
    }
    let pgpass = pgpass::path(server);
    match pgpass.parent() {
        Some(directory) if server.settings().postgresql.krbsrvname.is_none() => {
            files::ensure_directory(directory, "is defined in `postgresql.pgpass`", mode)
        }
        _ => Ok(()),
    }
}

/// Files that are saved as `*.backup` in the data directory (PG-21).
fn saved_files(server: &Server) -> Vec<&'static str> {
    let settings = server.settings();
    let mut names = vec!["postgresql.conf"];
    if settings.postgresql.custom_conf.is_none() {
        names.push(BASE_CONF);
    }
    names.extend(hba::own_files(server));
    names
}

/// Copies the configuration files to `*.backup` in the data directory: a base backup skips links, and some tools copy no
/// configuration. A failure is only logged.
pub async fn save_backups(server: &Server) {
    let data_dir = server.data_dir();
    let mode = files::data_file_mode(&data_dir);
    let mut steps = Vec::new();
    for name in saved_files(server) {
        if let Ok(content) = std::fs::read(server.config_dir().join(name)) {
            steps.push(Step::Write { path: data_dir.join(format!("{name}.backup")), content, mode });
        }
    }
    if let Err(reason) = files::carry_out(steps).await {
        warn!("unable to create backup copies of configuration files: {reason}");
    }
}

/// Restores configuration files that are missing (after a clone) from their `*.backup`; an empty pg_ident.conf where there
/// is none.
///
/// # Errors
/// [`PgError::File`].
pub async fn restore_backups(server: &Server) -> Result<(), PgError> {
    let data_dir = server.data_dir();
    let mut steps = Vec::new();
    for name in saved_files(server) {
        let path = server.config_dir().join(name);
        if path.is_file() {
            continue;
        }
        let mode = files::config_file_mode(&data_dir, &path);
        match std::fs::read(data_dir.join(format!("{name}.backup"))) {
            Ok(content) => steps.push(Step::Write { path, content, mode }),
            Err(_) if name == "pg_ident.conf" => steps.push(Step::Touch { path, mode }),
            Err(_) => {}
        }
    }
    files::carry_out(steps).await.map(|_| ())
}

#[cfg(test)]
#[path = "config_writer_tests.rs"]
mod tests;
