//! Parameters of the running server as `pg_settings` shows them, and of a stopped one as `postgres -C` prints them.

use super::connection::{self, forget_broken, heartbeat, literal};
use super::sql_error::SqlError;
use super::{PgError, Server};
use std::time::Duration;

/// 9.5 and later; `pending_restart` arrived with it.
const SETTINGS_95: &str = "SELECT name, setting, vartype, unit, min_val, max_val, enumvals, context, boot_val, \
    reset_val, sourcefile, pending_restart FROM pg_catalog.pg_settings";
/// Before 9.5.
const SETTINGS_93: &str = "SELECT name, setting, vartype, unit, min_val, max_val, enumvals, context, boot_val, \
    reset_val, sourcefile, false FROM pg_catalog.pg_settings";

/// `postgres -C` starts the program, reads the files and ends.
const OFFLINE_PATIENCE: Duration = Duration::from_secs(10);

/// A row of `pg_settings`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingRow {
    /// `name`.
    pub name: String,
    /// `setting`, in `unit`.
    pub setting: String,
    /// `vartype`: bool, integer, real, string or enum.
    pub vartype: String,
    /// `unit`: "8kB", "ms", ...
    pub unit: Option<String>,
    /// `min_val`.
    pub min_val: Option<String>,
    /// `max_val`.
    pub max_val: Option<String>,
    /// `enumvals`.
    pub enumvals: Vec<String>,
    /// `context`: postmaster, sighup, ...
    pub context: String,
    /// `boot_val`.
    pub boot_val: Option<String>,
    /// `reset_val`.
    pub reset_val: Option<String>,
    /// `sourcefile`.
    pub sourcefile: Option<String>,
    /// `pending_restart` (9.5+, else false): the file says otherwise than the running server.
    pub pending_restart: bool,
}

/// All parameters of the running server.
pub async fn settings(server: &Server) -> Result<Vec<SettingRow>, SqlError> {
    let session = heartbeat(server).await?;
    let sql = if session.version().at_least(90_500) { SETTINGS_95 } else { SETTINGS_93 };
    let result = session.query(sql).await;
    forget_broken(server, &session, result.as_ref().err()).await;
    let rows = result?;
    let text = |row: &connection::Row, column| row.text(column).unwrap_or_default().to_owned();
    let maybe = |row: &connection::Row, column| row.text(column).map(str::to_owned);
    let settings = rows.iter().map(|row| SettingRow {
        name: text(row, 0),
        setting: text(row, 1),
        vartype: text(row, 2),
        unit: maybe(row, 3),
        min_val: maybe(row, 4),
        max_val: maybe(row, 5),
        enumvals: array(row.text(6).unwrap_or_default()),
        context: text(row, 7),
        boot_val: maybe(row, 8),
        reset_val: maybe(row, 9),
        sourcefile: maybe(row, 10),
        pending_restart: row.flag(11),
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
    command.stdin(std::process::Stdio::null()).kill_on_drop(true);
    let failed = |reason: String| PgError::Program(format!("Failed to execute postgres -C {name}: {reason}"));
    let output = match tokio::time::timeout(OFFLINE_PATIENCE, command.output()).await {
        Ok(output) => output.map_err(|e| failed(e.to_string()))?,
        Err(_) => return Err(failed("no end within 10 seconds".to_owned())),
    };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    let value = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Ok(Some(value).filter(|v| !v.is_empty()))
}

/// The elements of a one-dimensional array in PostgreSQL's text form.
fn array(text: &str) -> Vec<String> {
    let Some(inner) = text.strip_prefix('{').and_then(|t| t.strip_suffix('}')) else { return Vec::new() };
    let mut elements = Vec::new();
    let (mut element, mut quoted, mut escaped) = (String::new(), false, false);
    for c in inner.chars() {
        match c {
            _ if escaped => {
                element.push(c);
                escaped = false;
            }
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => elements.push(std::mem::take(&mut element)),
            _ => element.push(c),
        }
    }
    if !inner.is_empty() {
        elements.push(element);
    }
    elements
}

#[cfg(test)]
mod tests {
    use super::array;

    #[test]
    fn arrays_are_read_from_their_text_form() {
        assert_eq!(array("{minimal,replica,logical}"), ["minimal", "replica", "logical"]);
        assert_eq!(array(r#"{"a b","c\"d",e}"#), ["a b", "c\"d", "e"]);
        assert_eq!(array(r#"{"a,b",""}"#), ["a,b", ""]);
        assert!(array("{}").is_empty() && array("").is_empty());
    }
}
