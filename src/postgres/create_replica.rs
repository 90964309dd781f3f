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
    data_dir::refuse_while_running(server)?;
    let settings = server.settings();
    let mut methods = settings.postgresql.create_replica_methods.clone();
    if basebackup_only || methods.is_empty() {
        methods = vec![CustomMethod { name: "basebackup".to_owned(), options: Map::new() }];
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
            basebackup(server, &place, cancel).await?
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
    data_dir::remove(server).await
}

async fn basebackup(server: &Server, place: &Source, cancel: &Cancel) -> Result<bool, PgError> {
    let options = basebackup_arguments(&server.settings().postgresql.basebackup, server_version(server).await);
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

/// Options of pg_basebackup as its arguments. Compression must be the server's (15+): the copy is to be a directory.
fn basebackup_arguments(options: &[(String, Option<String>)], version: PgVersion) -> Vec<String> {
    let mut arguments = Vec::new();
    for (name, value) in options {
        if name == "compress" && !version.at_least(150_000) {
            error!("{name} option for basebackup is not allowed");
        } else if name == "compress" && !value.as_deref().is_some_and(|v| v.starts_with("server")) {
            error!(
                "compress option for basebackup must use server-side compression (e.g., server-gzip, server-zstd). \
                 Client-side compression is not allowed."
            );
        } else {
            arguments.push(value.as_ref().map_or_else(|| format!("--{name}"), |value| format!("--{name}={value}")));
        }
    }
    arguments
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

    // rows: BOOT-17
    #[test]
    fn basebackup_gets_its_options_and_compression_only_from_the_server() {
        let options = |pairs: &[(&str, Option<&str>)]| -> Vec<(String, Option<String>)> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), v.map(str::to_owned))).collect()
        };
        let given = options(&[("verbose", None), ("max-rate", Some("100M")), ("compress", Some("server-gzip"))]);
        assert_eq!(basebackup_arguments(&given, PgVersion(140_000)), ["--verbose", "--max-rate=100M"]);
        let expected = ["--verbose", "--max-rate=100M", "--compress=server-gzip"];
        assert_eq!(basebackup_arguments(&given, PgVersion(150_000)), expected);
        let client_side = options(&[("compress", Some("gzip:9"))]);
        assert!(basebackup_arguments(&client_side, PgVersion(150_000)).is_empty());
    }

    // rows: BOOT-16
    #[test]
    fn custom_methods_get_their_keys_and_ours() {
        let given = [("scope", "batman"), ("connstring", "host=a")];
        let options = map(json!({"command": "/x", "no_leader": true, "level": 3, "scope": "other"}));
        let expected = ["--no_leader=True", "--level=3", "--scope=batman", "--connstring=host=a"];
        assert_eq!(method_arguments(&options, &given), expected);
        let options = map(json!({"command": "/x", "no_params": 1, "keep_data": true, "level": null}));
        assert_eq!(method_arguments(&options, &given), ["--level=None"]);
    }

    /// A server whose pg_basebackup is this script; it gets `--pgdata=...` as its first argument.
    fn server_with(script: &str, dir: &std::path::Path) -> Server {
        use std::os::unix::fs::PermissionsExt;
        let program = dir.join("pg_basebackup");
        std::fs::write(&program, format!("#!/bin/sh\ndata=${{1#--pgdata=}}\n{script}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut settings = super::super::test_settings::settings(&dir.join("data"));
        settings.postgresql.bin_name.insert("pg_basebackup".to_owned(), program.display().to_string());
        Server::new(std::sync::Arc::new(settings), crate::clock::Clock::system())
    }

    fn upstream() -> Upstream {
        let conn = [("host".to_owned(), "10.0.0.1".to_owned()), ("port".to_owned(), "5432".to_owned())];
        Upstream {
            name: "other".to_owned(),
            conn: conn.into_iter().collect(),
            slot: None,
            recovery: indexmap::IndexMap::new(),
            is_member: true,
        }
    }

    /// A server with these creation methods; `basebackup` is a program that fails.
    fn server_with_methods(dir: &std::path::Path, methods: &[(&str, Value)]) -> Server {
        let program = dir.join("pg_basebackup");
        write_script(&program, "echo basebackup >> ${1#--pgdata=}.calls; exit 1");
        let mut settings = super::super::test_settings::settings(&dir.join("data"));
        settings.postgresql.bin_name.insert("pg_basebackup".to_owned(), program.display().to_string());
        settings.postgresql.create_replica_methods = methods
            .iter()
            .map(|(name, options)| CustomMethod { name: (*name).to_owned(), options: map(options.clone()) })
            .collect();
        Server::new(std::sync::Arc::new(settings), crate::clock::Clock::system())
    }

    fn write_script(path: &std::path::Path, text: &str) {
        use std::os::unix::fs::PermissionsExt;
        std::fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A method that notes its name and what it finds, and leaves a file.
    fn method(dir: &std::path::Path, name: &str, code: u8) -> String {
        let path = dir.join(name);
        let data = dir.join("data");
        let (data, calls) = (data.display(), dir.join("data.calls"));
        let text = format!(
            "echo {name} $(ls {data} 2>/dev/null) >> {}; mkdir -p {data}; touch {data}/{name}; echo \"$@\" > {}.args; exit {code}",
            calls.display(),
            path.display()
        );
        write_script(&path, &text);
        path.display().to_string()
    }

    fn calls(dir: &std::path::Path) -> Vec<String> {
        let text = std::fs::read_to_string(dir.join("data.calls")).unwrap_or_default();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }

    fn never() -> (tokio::sync::watch::Sender<bool>, Cancel) {
        tokio::sync::watch::channel(false)
    }

    // rows: BOOT-15, BOOT-16
    #[tokio::test]
    async fn methods_are_tried_in_order_until_one_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        let server = server_with_methods(
            place,
            &[
                ("one", json!({"command": method(place, "one", 3)})),
                ("two", json!({"command": method(place, "two", 4), "keep_data": true, "no_params": true, "own": 1})),
                ("three", json!({"command": format!("{} 'a b'", method(place, "three", 0)), "level": "x"})),
                ("four", json!({"command": method(place, "four", 0)})),
            ],
        );
        std::fs::create_dir_all(place.join("data")).unwrap();
        std::fs::write(place.join("data/old"), "").unwrap();
        let (_owner, cancel) = never();
        let source = upstream();
        create_replica(&server, Some(&source), false, &cancel).await.unwrap();
        // Each finds an empty directory but the one that keeps what is there; what a failed one left is removed unless
        // it keeps its data.
        assert_eq!(calls(place), ["one", "two", "three"]);
        assert!(place.join("data/three").exists() && !place.join("data/two").exists());
        let args = |name: &str| std::fs::read_to_string(place.join(format!("{name}.args"))).unwrap();
        let data = place.join("data").display().to_string();
        let ours = format!("--scope=batman --role=replica --datadir={data} --connstring=");
        assert!(args("one").starts_with(&ours), "{}", args("one"));
        assert!(args("one").contains("host=10.0.0.1") && !args("one").contains("rep-pass"), "{}", args("one"));
        assert_eq!(args("two").trim(), "--own=1");
        assert!(args("three").starts_with(&format!("a b --level=x {ours}")), "{}", args("three"));
    }

    // rows: BOOT-16
    #[tokio::test]
    async fn a_method_may_keep_what_is_there_and_what_it_left() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        let keeps =
            |name: &str, code| (json!({"command": method(place, name, code), "keep_data": true}), name.to_owned());
        let (one, two) = (keeps("one", 1), keeps("two", 0));
        let server = server_with_methods(place, &[("one", one.0), ("two", two.0)]);
        std::fs::create_dir_all(place.join("data")).unwrap();
        std::fs::write(place.join("data/old"), "").unwrap();
        let (_owner, cancel) = never();
        create_replica(&server, Some(&upstream()), false, &cancel).await.unwrap();
        assert_eq!(calls(place), ["one old", "two old one"]);
        assert!(place.join("data/old").exists());
    }

    // rows: BOOT-14
    #[tokio::test]
    async fn without_a_leader_only_methods_that_need_none_run() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        let server = server_with_methods(
            place,
            &[
                ("basebackup", json!({"no_leader": true})),
                ("needs", json!({"command": method(place, "needs", 0)})),
                ("alone", json!({"command": method(place, "alone", 0), "no_leader": "1"})),
            ],
        );
        let (_owner, cancel) = never();
        create_replica(&server, None, false, &cancel).await.unwrap();
        assert_eq!(calls(place), ["alone"]);
        let args = std::fs::read_to_string(place.join("alone.args")).unwrap();
        assert!(args.contains("--no_leader=1") && args.trim().ends_with("--connstring="), "{args}");
        let none = server_with_methods(place, &[("needs", json!({"command": method(place, "needs", 0)}))]);
        let error = create_replica(&none, None, false, &cancel).await.unwrap_err().to_string();
        assert!(error.contains("without a leader"), "{error}");
    }

    // rows: BOOT-15, BOOT-17
    #[tokio::test]
    async fn basebackup_is_tried_twice_and_is_the_default_and_the_choice_from_a_leader() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        let (_owner, cancel) = never();
        let own = ("own", json!({"command": method(place, "own", 0)}));
        for (methods, only) in [(vec![], false), (vec![own], true)] {
            let server = server_with_methods(place, &methods);
            let began = crate::clock::Clock::system().mono();
            let error = create_replica(&server, Some(&upstream()), only, &cancel).await.unwrap_err().to_string();
            assert!(error.contains("basebackup"), "{error}");
            assert!(crate::clock::Clock::system().mono().since(began) >= RETRY_PAUSE);
            assert_eq!(calls(place), ["basebackup", "basebackup"]);
            std::fs::remove_file(place.join("data.calls")).unwrap();
        }
    }

    // rows: BOOT-18
    #[tokio::test]
    async fn after_a_copy_the_saved_files_are_back_and_nothing_promotes_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path();
        let data = place.join("data");
        let fills = place.join("fills");
        let text = format!(
            "mkdir -p {0}; echo 15 > {0}/PG_VERSION; echo saved > {0}/postgresql.conf.backup; echo hba > {0}/pg_hba.conf; \
             echo old > {0}/pg_hba.conf.backup; touch {0}/promote",
            data.display()
        );
        write_script(&fills, &text);
        let server = server_with_methods(place, &[("own", json!({"command": fills.display().to_string()}))]);
        let (_owner, cancel) = never();
        create_replica(&server, Some(&upstream()), false, &cancel).await.unwrap();
        let read = |name: &str| std::fs::read_to_string(data.join(name)).unwrap();
        assert_eq!((read("postgresql.conf"), read("pg_hba.conf")), ("saved\n".to_owned(), "hba\n".to_owned()));
        assert_eq!(read("pg_ident.conf"), "");
        assert!(!data.join("promote").exists());
    }

    // rows: BOOT-21
    #[tokio::test]
    async fn a_cancelled_copy_ends_at_once_and_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_with("mkdir -p $data; touch $data/half; sleep 1000", dir.path());
        let (owner, cancel) = tokio::sync::watch::channel(false);
        let source = upstream();
        let copy = create_replica(&server, Some(&source), false, &cancel);
        let half = dir.path().join("data/half");
        let canceller = async {
            while !half.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            owner.send(true).unwrap();
        };
        let both = async { tokio::join!(copy, canceller).0 };
        let result = tokio::time::timeout(Duration::from_secs(9), both).await.expect("it hangs");
        assert_eq!(result, Err(PgError::Cancelled));
        assert!(!half.exists());
    }

    #[tokio::test]
    async fn the_wait_between_tries_can_be_cancelled() {
        let dir = tempfile::tempdir().unwrap();
        let server = server_with("mkdir -p $data; touch $data/half ${data}.tried; exit 1", dir.path());
        let (owner, cancel) = tokio::sync::watch::channel(false);
        let source = upstream();
        let tried = dir.path().join("data.tried");
        let canceller = async {
            while !tried.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            owner.send(true).unwrap();
        };
        let both = async { tokio::join!(create_replica(&server, Some(&source), false, &cancel), canceller).0 };
        let result = tokio::time::timeout(Duration::from_secs(4), both).await.expect("it waits");
        assert_eq!(result, Err(PgError::Cancelled));
        assert!(!dir.path().join("data/half").exists());
        let passwords = std::fs::read_to_string(dir.path().join("data.pgpass")).unwrap();
        assert_eq!(passwords, "10.0.0.1:5432:*:replicator:rep-pass\n");
    }
}
