//! Parameters of the running server as `pg_settings` shows them, and of a stopped one as `postgres -C` prints them.

use super::connection::{self, heartbeat, literal};
use super::parameters::SettingRow;
use super::sql_error::SqlError;
use super::{PgError, Server};
use crate::sys;
use std::time::Duration;

/// All versions.
const SETTINGS: &str = "SELECT name, setting, unit, vartype, context, sourcefile FROM pg_catalog.pg_settings";
/// 9.5 and later: the files say otherwise than the running server, whoever changed them.
const PENDING: &str = "SELECT name, setting, unit, vartype, context, sourcefile FROM pg_catalog.pg_settings \
    WHERE pending_restart";

/// `postgres -C` starts the program, reads the files and ends.
const OFFLINE_PATIENCE: Duration = Duration::from_secs(10);

/// All parameters of the running server.
pub async fn settings(server: &Server) -> Result<Vec<SettingRow>, SqlError> {
    rows(server, SETTINGS).await
}

/// The parameters of which the server itself says that they need a restart; none before 9.5.
pub async fn pending_restart(server: &Server) -> Result<Vec<SettingRow>, SqlError> {
    if heartbeat(server).await?.version().at_least(90_500) { rows(server, PENDING).await } else { Ok(Vec::new()) }
}

async fn rows(server: &Server, sql: &str) -> Result<Vec<SettingRow>, SqlError> {
    let rows = connection::query(server, sql).await?;
    let text = |row: &connection::Row, column| row.text(column).unwrap_or_default().to_owned();
    let settings = rows.iter().map(|row| SettingRow {
        name: text(row, 0),
        setting: text(row, 1),
        unit: row.text(2).map(str::to_owned),
        vartype: text(row, 3),
        context: text(row, 4),
        sourcefile: row.text(5).map(str::to_owned),
    });
    Ok(settings.collect())
}

/// What SHOW prints for a parameter of the running server.
pub async fn show(server: &Server, name: &str) -> Result<String, SqlError> {
    let sql = format!("SELECT pg_catalog.current_setting({})", literal(name));
    let rows = connection::query(server, &sql).await?;
    Ok(rows.first().and_then(|row| row.text(0)).unwrap_or_default().to_owned())
}

/// A parameter of the stopped server by its files (`postgres -C`); `None` when it is empty.
pub async fn offline(server: &Server, name: &str) -> Result<Option<String>, PgError> {
    let config_file = server.config_dir().join("postgresql.conf");
    let mut command = tokio::process::Command::new(server.bin("postgres"));
    command.arg("-D").arg(server.data_dir()).args(["-C", name]);
    command.arg(format!("--config-file={}", config_file.display()));
    let failed = |reason: String| PgError::Program(format!("Failed to execute postgres -C {name}: {reason}"));
    let output = sys::output(&mut command, OFFLINE_PATIENCE).await.map_err(|e| failed(e.to_string()))?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let value = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Some(value).filter(|v| !v.is_empty()))
}
