//! Making a copy of another member: methods in order, pg_basebackup among them (BOOT-13 to BOOT-18, BOOT-21).

use super::program::{Program, pause};
use super::replication::member_connection;
use super::{Cancel, PgError, Server, config_writer, conninfo, data_dir, pgpass};
use crate::cluster::{DataDir, Upstream};
use crate::config::settings::CustomMethod;
use crate::types::PgVersion;
use serde_json::{Map, Value};
use std::time::Duration;
use tracing::{error, info, warn};

/// How often pg_basebackup is tried, and how long to wait between tries.
const TRIES: usize = 2;
const RETRY_PAUSE: Duration = Duration::from_secs(5);
/// What would break the call: the agent sets these itself, or the result would be no data directory.
const REFUSED: [&str; 11] = [
    "pgdata",
    "format",
    "wal-method",
    "xlog-method",
    "gzip",
    "version",
    "dbname",
    "host",
    "port",
    "username",
    "password",
];

/// Where to copy from: connection string without password, environment with the password file.
struct Source {
    connstring: String,
    environment: Vec<(String, String)>,
}

/// Fills the data directory from `source` by the configured methods in order, or by pg_basebackup alone. Whatever a
/// failed method leaves is removed, unless it has `keep_data`. Afterwards the saved configuration files are in place.
pub async fn create_replica(
    server: &Server,
    source: Option<&Upstream>,
    basebackup_only: bool,
    cancel: &Cancel,
) -> Result<(), PgError> {
    refuse_when_running(server)?;
    let settings = server.settings();
    let basebackup = || CustomMethod { name: "basebackup".to_owned(), options: Map::new() };
    let configured = &settings.postgresql.create_replica_methods;
    let mut methods = if configured.is_empty() { vec![basebackup()] } else { configured.clone() };
    if basebackup_only {
        let own = methods.into_iter().find(|method| method.name == "basebackup");
        methods = vec![own.unwrap_or_else(basebackup)];
    }
    let place = match source {
        Some(source) => describe(server, source).await?,
        None => {
            methods.retain(|method| method.name != "basebackup" && flag(&method.options, "no_leader"));
            Source { connstring: String::new(), environment: Vec::new() }
        }
    };
    for method in &methods {
        let done = if method.name == "basebackup" {
            basebackup_method(server, method, &place, cancel).await?
        } else {
            custom_method(server, method, &place, cancel).await?
        };
        if done {
            info!("replica has been created using {}", method.name);
            return after_creation(server).await;
        }
    }
    let names: Vec<_> = methods.iter().map(|method| method.name.as_str()).collect();
    Err(PgError::Program(if names.is_empty() {
        "no replica creation method works without a leader".to_owned()
    } else {
        format!("replica could not be created using {}", names.join(", "))
    }))
}

/// The data directory of a running server is never touched.
fn refuse_when_running(server: &Server) -> Result<(), PgError> {
    let dir = server.data_dir();
    let program = server.bin("postgres");
    let name = program.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    match crate::sys::server_processes(&dir, &name, None).first() {
        Some(process) => {
            let reason = format!("{} is in use by process {}", dir.display(), process.pid);
            error!("{reason}");
            Err(PgError::File(reason))
        }
        None => Ok(()),
    }
}

async fn describe(server: &Server, source: &Upstream) -> Result<Source, PgError> {
    let mut conn = member_connection(server, source, &server.replication_user());
    let passfile = pgpass::write(server, &conn)?;
    conn.shift_remove("password");
    let connstring = conninfo::format(&conn, server_version(server).await);
    let environment = passfile.map(|file| ("PGPASSFILE".to_owned(), file.to_string_lossy().into_owned()));
    Ok(Source { connstring, environment: environment.into_iter().collect() })
}

/// The version of the programs: the data directory is empty or to be replaced.
async fn server_version(server: &Server) -> PgVersion {
    match server.program_version().await {
        Some(version) => version,
        None => server.any_version().await,
    }
}

fn is_empty(server: &Server) -> bool {
    data_dir::look(&server.data_dir()) == DataDir::Empty
}

/// Removes what is in the data directory.
async fn wipe(server: &Server) -> Result<(), PgError> {
    if is_empty(server) {
        return Ok(());
    }
    refuse_when_running(server)?;
    data_dir::remove(server).await
}

async fn basebackup_method(
    server: &Server,
    method: &CustomMethod,
    place: &Source,
    cancel: &Cancel,
) -> Result<bool, PgError> {
    let options = basebackup_options(&method.options, server_version(server).await);
    for attempt in 1..=TRIES {
        wipe(server).await?;
        let program = Program::of_server(server, "pg_basebackup")
            .arg(format!("--pgdata={}", server.data_dir().display()))
            .args(["-X", "stream"])
            .arg(format!("--dbname={}", place.connstring))
            .args(&options)
            .envs(place.environment.clone());
        match program.run(cancel).await {
            Ok(finished) if finished.success() => return Ok(true),
            Ok(finished) => {
                error!("Error when fetching backup: pg_basebackup exited with code={}", finished.code);
            }
            Err(PgError::Cancelled) => return cancelled(server).await,
            Err(reason) => error!("Error when fetching backup with pg_basebackup: {reason}"),
        }
        if attempt < TRIES {
            warn!("Trying again in 5 seconds");
            if pause(RETRY_PAUSE, cancel).await.is_err() {
                return cancelled(server).await;
            }
        }
    }
    wipe(server).await?;
    Ok(false)
}

/// Half a copy is of no use to anybody.
async fn cancelled(server: &Server) -> Result<bool, PgError> {
    wipe(server).await?;
    Err(PgError::Cancelled)
}

/// Options of pg_basebackup as its arguments: `--name=value`, a switch for null. Refused ones are left out with an error.
fn basebackup_options(options: &Map<String, Value>, version: PgVersion) -> Vec<String> {
    let mut arguments = Vec::new();
    for (name, value) in options {
        if REFUSED.contains(&name.as_str()) || (name == "compress" && !version.at_least(150_000)) {
            error!("{name} option for basebackup is not allowed");
            continue;
        }
        let value = match value {
            Value::Null => {
                arguments.push(format!("--{name}"));
                continue;
            }
            Value::String(text) => unquote(text),
            other => python_text(other),
        };
        if name == "compress" && !value.starts_with("server") {
            error!(
                "compress option for basebackup must use server-side compression (e.g., server-gzip, server-zstd). \
                 Client-side compression is not allowed."
            );
            continue;
        }
        arguments.push(format!("--{name}={value}"));
    }
    arguments
}

/// A value that is one word in quotes, without them.
fn unquote(text: &str) -> String {
    match shlex::split(text) {
        Some(words) if words.len() == 1 => words.into_iter().next().unwrap_or_default(),
        _ => text.to_owned(),
    }
}

async fn custom_method(
    server: &Server,
    method: &CustomMethod,
    place: &Source,
    cancel: &Cancel,
) -> Result<bool, PgError> {
    let keep_data = flag(&method.options, "keep_data");
    if keep_data && !is_empty(server) {
        info!("Leaving data directory uncleaned");
    } else {
        wipe(server).await?;
    }
    let command = method.options.get("command").and_then(Value::as_str).unwrap_or(&method.name);
    let arguments = method_arguments(
        &method.options,
        &[
            ("scope", &server.settings().scope),
            ("role", "replica"),
            ("datadir", &server.data_dir().to_string_lossy()),
            ("connstring", &place.connstring),
        ],
    );
    let run = async {
        let program = Program::command(server, command)?.args(arguments).envs(place.environment.clone());
        program.run(cancel).await
    };
    let mut was_cancelled = false;
    match run.await {
        Ok(finished) if finished.success() => return Ok(true),
        Ok(finished) => {
            error!("Error creating replica using method {}: {command} exited with code={}", method.name, finished.code)
        }
        Err(PgError::Cancelled) => was_cancelled = true,
        Err(reason) => error!("Error creating replica using method {}: {reason}", method.name),
    }
    if !keep_data {
        wipe(server).await?;
    }
    if was_cancelled { Err(PgError::Cancelled) } else { Ok(false) }
}

/// `--key=value` for every key of the section and for the given ones; with `no_params` only for own keys.
fn method_arguments(options: &Map<String, Value>, given: &[(&str, &str)]) -> Vec<String> {
    let mut all: Map<String, Value> = options.clone();
    all.shift_remove("command");
    if flag(options, "no_params") {
        for name in ["no_params", "no_leader", "keep_data"] {
            all.shift_remove(name);
        }
    } else {
        for (name, value) in given {
            all.insert((*name).to_owned(), Value::from(*value));
        }
    }
    all.iter().map(|(name, value)| format!("--{name}={}", python_text(value))).collect()
}

/// A value as scripts written for Patroni get it: Python's text of it.
pub(super) fn python_text(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Whether an option is there and counts as true.
pub(super) fn flag(options: &Map<String, Value>, name: &str) -> bool {
    match options.get(name) {
        None | Some(Value::Null) => false,
        Some(Value::Bool(value)) => *value,
        Some(Value::Number(number)) => number.as_f64() != Some(0.0),
        Some(Value::String(text)) => !text.is_empty(),
        Some(Value::Array(items)) => !items.is_empty(),
        Some(Value::Object(fields)) => !fields.is_empty(),
    }
}

/// Brings back the configuration files as they were saved on the source, and makes sure that no trigger file promotes
/// the copy as soon as it is started (BOOT-18).
pub(super) async fn after_creation(server: &Server) -> Result<(), PgError> {
    config_writer::restore_backups(server).await?;
    let settings = server.settings();
    let recovery = &settings.postgresql.recovery_conf;
    let new_name = server.major_version().is_none_or(|v| v.at_least(120_000));
    let parameter = if new_name { "promote_trigger_file" } else { "trigger_file" };
    let trigger = recovery.get(parameter).map(String::as_str).filter(|t| !t.is_empty()).unwrap_or("promote");
    super::files::remove(&server.data_dir().join(trigger))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn basebackup_gets_its_allowed_options() {
        let options = map(json!({
            "verbose": null, "max-rate": "100M", "checkpoint": "\"fast\"", "waldir": "/wal dir", "pgdata": "/x",
            "compress": "server-gzip",
        }));
        let expected = ["--verbose", "--max-rate=100M", "--checkpoint=fast", "--waldir=/wal dir"];
        assert_eq!(basebackup_options(&options, PgVersion(140_000)), expected);
        assert_eq!(basebackup_options(&options, PgVersion(150_000)).last().unwrap(), "--compress=server-gzip");
        let client_side = map(json!({"compress": "gzip:9"}));
        assert!(basebackup_options(&client_side, PgVersion(150_000)).is_empty());
    }

    #[test]
    fn custom_methods_get_their_keys_and_ours() {
        let given = [("scope", "batman"), ("connstring", "host=a")];
        let options = map(json!({"command": "/x", "no_leader": true, "level": 3, "scope": "other"}));
        let expected = ["--no_leader=True", "--level=3", "--scope=batman", "--connstring=host=a"];
        assert_eq!(method_arguments(&options, &given), expected);
        let options = map(json!({"command": "/x", "no_params": 1, "keep_data": true, "level": null}));
        assert_eq!(method_arguments(&options, &given), ["--level=None"]);
    }
}
