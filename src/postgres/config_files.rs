//! What was written to the configuration files, and their rewriting after a change of settings (PG-22, PG-25).

use super::files;
use super::guc;
use super::parameters::{self, Parameters, SettingRow};
use super::recovery::{Recovery, is_recovery_parameter};
use super::recovery_check::Seen;
use super::values::{readable, same_value};
use super::{PgError, Server, config_writer, hba, postmaster, sync_names};
use crate::cluster::{PendingRestart, PendingRestartValue};
use crate::types::PgVersion;
use tracing::{info, warn};

/// What was last written, and what the server was seen to have of it.
#[derive(Debug, Default)]
pub struct Written {
    /// Recovery settings; `None`: no standby, or not written by this agent process yet.
    pub(super) recovery: Option<Recovery>,
    /// The server's actual recovery settings, when they were looked at.
    pub(super) seen: Option<Seen>,
    /// This agent process has written recovery settings: before that, a running standby gets them by one reload at least.
    pub(super) joined: bool,
}

impl Written {
    /// The recovery files were removed.
    pub(super) fn forget_recovery(&mut self) {
        self.recovery = None;
        self.seen = None;
    }

    /// These recovery settings were written for the next start or reload.
    pub(super) fn took_recovery(&mut self, server: &Server, recovery: Option<Recovery>, version: PgVersion) {
        self.seen = recovery.as_ref().and_then(|r| Seen::as_written(server, r, version));
        self.recovery = recovery;
        self.joined = true;
    }
}

/// Rewrites the files after a change of settings. Returns whether any of them changed, so that the server must reload.
///
/// # Errors
/// [`PgError::File`].
pub async fn rewrite(server: &Server) -> Result<bool, PgError> {
    if server.custom_bootstrap().running {
        info!("Skipping PostgreSQL configuration update while in custom bootstrap.");
        return Ok(false);
    }
    let Some(version) = server.major_version() else { return Ok(false) };
    let _turn = server.files_turn.lock().await;
    let mut parameters = config_writer::wanted_parameters(server, version).await;
    sync_names::apply(server, &mut parameters, None, version);
    if postmaster::find(server).is_some() {
        match guc::settings(server).await {
            Ok(rows) => compare_with_server(&mut parameters, &rows),
            Err(reason) => warn!("could not compare parameters with the running server: {reason}"),
        }
    }
    let recovery = config_writer::kept_recovery(server, version);
    let mut steps = config_writer::postgresql_conf_steps(server, &parameters, recovery.as_ref(), version)?;
    steps.extend(hba::steps(server, &parameters).await);
    let changed = files::carry_out(steps).await?;
    if changed {
        config_writer::save_backups(server).await;
        let mut written = server.written.borrow_mut();
        if let (Some(recovery), true) = (&recovery, written.joined) {
            written.seen = Seen::as_written(server, recovery, version);
        }
    } else {
        info!("No PostgreSQL configuration items changed, nothing to reload.");
    }
    Ok(changed)
}

/// Logs what differs from the running server, and removes parameters that it does not know.
fn compare_with_server(parameters: &mut Parameters, rows: &[SettingRow]) {
    parameters.retain(|name, value| {
        if is_recovery_parameter(name) || name.eq_ignore_ascii_case("hot_standby") || name.contains('.') {
            return true;
        }
        let Some(row) = rows.iter().find(|r| r.name.eq_ignore_ascii_case(name)) else {
            warn!("Removing invalid parameter `{name}` from postgresql.parameters");
            return false;
        };
        let unit = row.unit.as_deref();
        if row.context != "internal" && !same_value(&row.vartype, unit, &row.setting, value) {
            let old = readable(&row.setting, &row.vartype, unit);
            let restart = if row.context == "postmaster" { " (restart might be required)" } else { "" };
            info!("Changed {} from '{old}' to '{value}'{restart}", row.name);
        }
        true
    });
}

/// Why a restart is pending: parameters whose file says otherwise than the running server (9.5+: whoever changed it), and
/// those of the command line that the settings have otherwise, above all limits that control data forced on a standby.
///
/// # Errors
/// [`PgError::NoConnection`] or [`PgError::Sql`] when the server cannot be asked.
pub async fn pending_restart(server: &Server) -> Result<PendingRestart, PgError> {
    let version = server.major_version();
    let wanted = parameters::server_parameters(&server.settings(), &server.config_dir(), version);
    let rows = guc::settings(server).await.map_err(PgError::from)?;
    let names = parameters::command_line_names();
    let asks_server = version.is_some_and(|v| v.at_least(90_500));
    let judged = |row: &&SettingRow| !asks_server || names.contains(&row.name.as_str());
    let judged: Vec<SettingRow> = rows.iter().filter(judged).cloned().collect();
    let mut pending = parameters::restart_needed(&judged, &wanted);
    let ignored = |name: &str| is_recovery_parameter(name) || name == "hot_standby";
    for row in guc::pending_restart(server).await.map_err(PgError::from)?.iter().filter(|r| !ignored(&r.name)) {
        if !pending.contains_key(&row.name) {
            let value = difference(server, row, &wanted).await;
            pending.insert(row.name.clone(), value);
        }
    }
    Ok(pending)
}

/// What the files say of a parameter: ours by the settings, any other by asking the program.
async fn difference(server: &Server, row: &SettingRow, wanted: &Parameters) -> PendingRestartValue {
    if let Some(value) = parameters::get(wanted, &row.name)
        && !same_value(&row.vartype, row.unit.as_deref(), &row.setting, value)
    {
        return parameters::difference(row, value);
    }
    let value = match guc::offline(server, &row.name).await {
        Ok(value) => value.unwrap_or_default(),
        Err(reason) => {
            warn!("{reason}");
            "?".to_owned()
        }
    };
    parameters::difference(row, &value)
}
