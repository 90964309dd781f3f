//! `postgresql` (CFG-22, CFG-23) and `bootstrap` as typed settings.

use super::address::{join, netloc, split_host_port};
use super::loose::{Lines, Seconds, Text, Words};
use super::options::{self, REFUSED_BY_BASEBACKUP, REFUSED_BY_INITDB, REFUSED_BY_REWIND};
use super::parameters::{Parameters, canonical, is_recovery, spelled};
use super::python;
use super::reader::Section;
use super::roles::{self, ByRole};
use super::settings::{Bootstrap, CustomMethod, PgUser, Postgresql, Secret};
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Keys of a user beside name and password.
const USER_OPTIONS: [&str; 10] = [
    "sslmode",
    "sslcert",
    "sslkey",
    "sslpassword",
    "sslrootcert",
    "sslcrl",
    "sslcrldir",
    "gssencmode",
    "channel_binding",
    "sslnegotiation",
];
const DEFAULT_PORT: u16 = 5432;

/// Reads `postgresql`; Parameters are already `merged`. Problems are noted in the section.
pub(super) fn read(section: &Section<'_>, scope: &str, merged: &Parameters) -> Postgresql {
    let (listen_addresses, port) = listen(section);
    let data_dir = section.path("data_dir").unwrap_or_else(|| {
        section.missing("data_dir");
        PathBuf::new()
    });
    let config_dir = absolute(section.path("config_dir").as_ref().unwrap_or(&data_dir));
    let local_host = local_host(&listen_addresses);
    let own = |parameters: &mut IndexMap<String, String>| {
        parameters.insert("cluster_name".into(), scope.to_owned());
        parameters.insert("listen_addresses".into(), listen_addresses.clone());
        parameters.insert("port".into(), port.to_string());
    };
    let complete = |merged: &Parameters| server_parameters(section, merged, &config_dir, own);
    name_bad_values(section, merged);
    let (parameters, recovery_conf) = complete(merged);
    let users = section.section("authentication");
    if users.raw("replication").is_none() {
        users.missing("replication");
    }
    let mut settings = Postgresql {
        connect_address: address(section, "connect_address", port).unwrap_or_else(|| join(&local_host, port)),
        proxy_address: address(section, "proxy_address", port),
        listen_addresses: listen_addresses.clone(),
        port,
        config_dir: config_dir.clone(),
        data_dir,
        bin_dir: section.path("bin_dir"),
        bin_name: section.section("bin_name").texts(),
        pgpass: section.path("pgpass").as_deref().map(absolute),
        database: section.text("database").unwrap_or_else(|| "postgres".into()),
        superuser: user(&users.section("superuser")),
        replication: user(&users.section("replication")),
        rewind: users.raw("rewind").map(|_| user(&users.section("rewind"))),
        parameters,
        pg_hba: lines(section, "pg_hba"),
        pg_ident: lines(section, "pg_ident"),
        custom_conf: section.text("custom_conf"),
        recovery_conf,
        callbacks: section.section("callbacks").texts(),
        create_replica_methods: replica_methods(section),
        basebackup: program_options(section, "basebackup", &REFUSED_BY_BASEBACKUP),
        rewind_options: program_options(section, "rewind", &REFUSED_BY_REWIND),
        pg_ctl_timeout: section.get::<Seconds>("pg_ctl_timeout").map_or(Duration::from_secs(60), |time| time.0),
        use_unix_socket: section.flag("use_unix_socket"),
        use_unix_socket_repl: section.flag("use_unix_socket_repl"),
        before_stop: section.text("before_stop"),
        pre_promote: section.text("pre_promote"),
        krbsrvname: section.text("krbsrvname"),
        by_role: ByRole::default(),
    };
    settings.by_role = roles::read(section, &settings, merged, complete);
    settings
}

/// Reads `bootstrap`; `None` when there is no such section.
pub(super) fn bootstrap(section: &Section<'_>) -> Option<Bootstrap> {
    if !section.present() {
        return None;
    }
    let users = section.raw("users").is_some_and(python::truth);
    if users {
        section.warn(
            "User creation is not be supported starting from v4.0.0. Please use `bootstrap.post_bootstrap` script to \
             create users."
                .into(),
        );
    }
    let dcs = section.section("dcs").entries().map(|(key, value)| (key.clone(), value.clone())).collect();
    let method = section.text("method").filter(|name| name != "initdb").map(|name| {
        let section = section.section(&name);
        if !section.present() {
            section.missing("command");
        }
        CustomMethod { options: section.entries().map(|(k, v)| (k.clone(), v.clone())).collect(), name }
    });
    Some(Bootstrap {
        dcs,
        initdb: program_options(section, "initdb", &REFUSED_BY_INITDB),
        method,
        pg_hba: lines(section, "pg_hba").unwrap_or_default(),
        post_bootstrap: section.text("post_bootstrap").or_else(|| section.text("post_init")),
        users,
    })
}

fn listen(section: &Section<'_>) -> (String, u16) {
    let Some(Text(listen)) = section.required::<Text>("listen") else { return ("localhost".into(), DEFAULT_PORT) };
    split_host_port(&listen, DEFAULT_PORT).unwrap_or_else(|| {
        section.problem("listen", &format!("'{listen}' has no port number behind its last colon"));
        (listen, DEFAULT_PORT)
    })
}

/// Where the server can be reached from its own host: localhost when it listens there.
fn local_host(listen_addresses: &str) -> String {
    let mut hosts = listen_addresses.split(',').map(str::trim);
    let local = |host: &str| ["*", "localhost", "0.0.0.0", "127.0.0.1"].contains(&host.to_lowercase().as_str());
    if hosts.clone().any(local) { "localhost".into() } else { hosts.next().unwrap_or("localhost").to_owned() }
}

fn address(section: &Section<'_>, key: &str, port: u16) -> Option<String> {
    let address = section.text(key)?;
    let joined = netloc(&address, port);
    if joined.is_none() {
        section.problem(key, &format!("'{address}' has no port number behind its last colon"));
    }
    joined
}

fn name_bad_values(section: &Section<'_>, merged: &Parameters) {
    let given = section.section("parameters");
    for (name, value) in merged.entries().filter(|(_, value)| !value.is_null() && spelled(value).is_none()) {
        given.problem(name, &format!("{} is no value of a parameter", python::repr(value)));
    }
}

/// Server parameters with Patroni's own in place, and the recovery settings: those among the parameters replace
/// `recovery_conf`.
fn server_parameters(
    section: &Section<'_>,
    merged: &Parameters,
    config_dir: &Path,
    own: impl FnOnce(&mut IndexMap<String, String>),
) -> (IndexMap<String, String>, IndexMap<String, String>) {
    let mut parameters = IndexMap::new();
    let mut recovery = IndexMap::new();
    for (name, value) in merged.entries() {
        let Some(text) = spelled(value) else { continue };
        let name = canonical(name.clone());
        let place = if is_recovery(&name) { &mut recovery } else { &mut parameters };
        place.insert(name, text);
    }
    own(&mut parameters);
    for name in ["hba_file", "ident_file"] {
        if let Some(file) = parameters.get_mut(name) {
            *file = config_dir.join(&*file).to_string_lossy().into_owned();
        }
    }
    if recovery.is_empty() {
        recovery = section
            .section("recovery_conf")
            .entries()
            .filter_map(|(name, value)| Some((name.clone(), spelled(value)?)))
            .collect();
    }
    (parameters, recovery)
}

fn user(section: &Section<'_>) -> PgUser {
    let options = USER_OPTIONS.iter().filter_map(|key| Some(((*key).to_owned(), section.text(key)?))).collect();
    PgUser { username: section.text("username"), password: section.text("password").map(Secret::new), options }
}

fn replica_methods(section: &Section<'_>) -> Vec<CustomMethod> {
    let given = |key: &str| section.get::<Words>(key).map(|words| words.0).filter(|words| !words.is_empty());
    let names = given("create_replica_methods").or_else(|| given("create_replica_method"));
    methods(section, &names.unwrap_or_default())
}

/// The methods of these names, by default pg_basebackup, each with its section.
pub(super) fn methods(section: &Section<'_>, names: &[String]) -> Vec<CustomMethod> {
    let basebackup = ["basebackup".to_owned()];
    let names = if names.is_empty() { &basebackup } else { names };
    names.iter().map(|name| CustomMethod { options: method_options(section, name), name: name.clone() }).collect()
}

fn method_options(section: &Section<'_>, name: &str) -> Map<String, Value> {
    match section.raw(name) {
        Some(Value::Object(map)) => map.clone(),
        Some(list @ Value::Array(_)) => {
            let (options, _) = options::read(name, list, &[]);
            options.into_iter().map(|(key, value)| (key, value.map_or(Value::Null, Value::String))).collect()
        }
        _ => Map::new(),
    }
}

fn program_options(section: &Section<'_>, key: &str, refused: &[&str]) -> Vec<(String, Option<String>)> {
    let (options, complaints) = options::read(key, section.raw(key).unwrap_or(&Value::Null), refused);
    for complaint in complaints {
        section.warn(complaint);
    }
    options
}

fn absolute(path: impl AsRef<Path>) -> PathBuf {
    std::path::absolute(&path).unwrap_or_else(|_| path.as_ref().to_owned())
}

fn lines(section: &Section<'_>, key: &str) -> Option<Vec<String>> {
    section.get::<Lines>(key).map(|lines| lines.0).filter(|lines| !lines.is_empty())
}
