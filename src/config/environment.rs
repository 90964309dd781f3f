//! The `PATRONI_*` variables (ENV-01 to ENV-10): which there are, where they belong and how their texts are read.

use super::loose::{parse_bool, parse_int};
use super::yaml;
use serde_json::{Map, Value};

/// Every variable of ours begins so.
pub const PREFIX: &str = "PATRONI_";
/// A whole configuration as YAML (CFG-02).
pub const CONFIGURATION: &str = "PATRONI_CONFIGURATION";

/// One variable that was understood.
#[derive(Clone, PartialEq)]
pub struct Setting {
    /// The variable's name.
    pub variable: String,
    /// Keys from the root.
    pub path: Vec<String>,
    /// The parsed value.
    pub value: Value,
}

impl Setting {
    /// The setting as a tree of its own.
    #[must_use]
    pub fn tree(&self) -> Map<String, Value> {
        let nested = self
            .path
            .iter()
            .rev()
            .fold(self.value.clone(), |value, key| Value::Object(std::iter::once((key.clone(), value)).collect()));
        match nested {
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Text,
    Flag,
    Integer,
    List,
    Dict,
    /// A %-style text, or a list of fields.
    LogFormat,
}

const GLOBAL: [&str; 6] =
    ["name", "namespace", "scope", "thread_pool_size", "thread_stack_size", "synchronous_mode_strict_placeholder"];

/// (section, keys) that are read as `PATRONI_<SECTION>_<KEY>`.
const SECTIONS: [(&str, &[(&str, Form)]); 5] = [
    (
        "restapi",
        &[
            ("listen", Form::Text),
            ("connect_address", Form::Text),
            ("certfile", Form::Text),
            ("keyfile", Form::Text),
            ("keyfile_password", Form::Text),
            ("cafile", Form::Text),
            ("ciphers", Form::Text),
            ("verify_client", Form::Text),
            ("http_extra_headers", Form::Dict),
            ("https_extra_headers", Form::Dict),
            ("allowlist", Form::List),
            ("allowlist_include_members", Form::Flag),
            ("request_queue_size", Form::Integer),
            ("server_tokens", Form::Text),
        ],
    ),
    (
        "ctl",
        &[
            ("insecure", Form::Flag),
            ("cacert", Form::Text),
            ("certfile", Form::Text),
            ("keyfile", Form::Text),
            ("keyfile_password", Form::Text),
        ],
    ),
    (
        "postgresql",
        &[
            ("listen", Form::Text),
            ("connect_address", Form::Text),
            ("proxy_address", Form::Text),
            ("config_dir", Form::Text),
            ("data_dir", Form::Text),
            ("pgpass", Form::Text),
            ("bin_dir", Form::Text),
        ],
    ),
    (
        "log",
        &[
            ("type", Form::Text),
            ("level", Form::Text),
            ("traceback_level", Form::Text),
            ("format", Form::LogFormat),
            ("dateformat", Form::Text),
            ("static_fields", Form::Dict),
            ("max_queue_size", Form::Integer),
            ("dir", Form::Text),
            ("mode", Form::Integer),
            ("file_size", Form::Integer),
            ("file_num", Form::Integer),
            ("loggers", Form::Dict),
            ("deduplicate_heartbeat_logs", Form::Flag),
        ],
    ),
    (
        "raft",
        &[
            ("data_dir", Form::Text),
            ("self_addr", Form::Text),
            ("partner_addrs", Form::List),
            ("password", Form::Text),
            ("bind_addr", Form::Text),
        ],
    ),
];

/// Other names of variables: older ones, and one that only Patroni's manual has. The second name wins.
const OTHER_NAMES: [(&str, &str); 4] = [
    ("LOGLEVEL", "LOG_LEVEL"),
    ("LOGFORMAT", "LOG_FORMAT"),
    ("LOG_DATEFMT", "LOG_DATEFORMAT"),
    ("POSTGRESQL_BIN_IS_READY", "POSTGRESQL_BIN_PG_ISREADY"),
];

pub(super) const BINARIES: [&str; 7] =
    ["pg_ctl", "initdb", "pg_controldata", "pg_basebackup", "postgres", "pg_isready", "pg_rewind"];

/// Keys of a user in `postgresql.authentication` that have variables.
pub(super) const USER_KEYS: [&str; 12] = [
    "username",
    "password",
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

/// Keys of stores (and of citus), read as `PATRONI_<ANY NAME>_<KEY>`.
const STORE_KEYS: [&str; 42] = [
    "HOST",
    "HOSTS",
    "PORT",
    "USE_PROXIES",
    "PROTOCOL",
    "SRV",
    "SRV_SUFFIX",
    "URL",
    "PROXY",
    "CACERT",
    "CERT",
    "KEY",
    "VERIFY",
    "TOKEN",
    "CHECKS",
    "DC",
    "CONSISTENCY",
    "REGISTER_SERVICE",
    "SERVICE_CHECK_INTERVAL",
    "SERVICE_CHECK_TLS_SERVER_NAME",
    "SERVICE_TAGS",
    "NAMESPACE",
    "CONTEXT",
    "USE_ENDPOINTS",
    "SCOPE_LABEL",
    "ROLE_LABEL",
    "POD_IP",
    "PORTS",
    "LABELS",
    "BYPASS_API_SERVICE",
    "RETRIABLE_HTTP_CODES",
    "KEY_PASSWORD",
    "USE_SSL",
    "SET_ACLS",
    "GROUP",
    "DATABASE",
    "LEADER_LABEL_VALUE",
    "FOLLOWER_LABEL_VALUE",
    "STANDBY_LEADER_LABEL_VALUE",
    "TMP_ROLE_LABEL",
    "AUTH_DATA",
    "BOOTSTRAP_LABELS",
];

/// Whether the agent reads this variable. Programs and scripts that it starts must not see it, since passwords are
/// among them.
#[must_use]
pub fn is_read(variable: &str) -> bool {
    variable == CONFIGURATION || place(variable).is_some() || other_name(variable).is_some()
}

/// The settings that the variables make, and what is wrong with some. Empty variables count as absent.
pub fn read<I>(variables: I) -> (Vec<Setting>, Vec<String>)
where
    I: IntoIterator<Item = (String, String)>,
{
    let mut variables: Vec<(String, String)> =
        variables.into_iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()).collect();
    variables.sort();
    let mut settings = Vec::new();
    let mut warnings = Vec::new();
    for (variable, text) in &variables {
        let name = match other_name(variable) {
            Some(new) if variables.iter().any(|(other, _)| *other == new) => continue,
            Some(new) => new,
            None => variable.clone(),
        };
        let Some((path, form)) = place(&name) else { continue };
        match parse(text, form) {
            Ok(Some(value)) => settings.push(Setting { variable: variable.clone(), path, value }),
            Ok(None) => {}
            Err(reason) => warnings.push(format!("environment variable {variable} is ignored: {reason}")),
        }
    }
    (settings, warnings)
}

fn other_name(variable: &str) -> Option<String> {
    let name = variable.strip_prefix(PREFIX)?;
    OTHER_NAMES.iter().find(|(other, _)| *other == name).map(|(_, new)| format!("{PREFIX}{new}"))
}

fn place(variable: &str) -> Option<(Vec<String>, Form)> {
    let name = variable.strip_prefix(PREFIX)?;
    let path = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<Vec<_>>();
    if let Some(key) = GLOBAL.iter().find(|key| key.to_uppercase() == name) {
        return Some((path(&[key]), Form::Text));
    }
    for (section, keys) in SECTIONS {
        let Some(rest) = name.strip_prefix(&section.to_uppercase()).and_then(|rest| rest.strip_prefix('_')) else {
            continue;
        };
        if let Some((key, form)) = keys.iter().find(|(key, _)| key.to_uppercase() == rest) {
            return Some((path(&[section, key]), *form));
        }
        if matches!(section, "restapi" | "ctl")
            && let Some(key) = USER_KEYS.iter().take(2).find(|key| key.to_uppercase() == rest)
        {
            return Some((path(&[section, "authentication", key]), Form::Text));
        }
    }
    if let Some(binary) = name.strip_prefix("POSTGRESQL_BIN_") {
        let binary = BINARIES.iter().find(|known| known.to_uppercase() == binary)?;
        return Some((path(&["postgresql", "bin_name", binary]), Form::Text));
    }
    for user in ["replication", "superuser", "rewind"] {
        let Some(rest) = name.strip_prefix(&user.to_uppercase()).and_then(|rest| rest.strip_prefix('_')) else {
            continue;
        };
        let key = USER_KEYS.iter().find(|key| key.to_uppercase() == rest)?;
        return Some((path(&["postgresql", "authentication", user, key]), Form::Text));
    }
    store_place(name)
}

fn store_place(name: &str) -> Option<(Vec<String>, Form)> {
    let (store, key) = name.split_once('_')?;
    let login = matches!(store, "ETCD" | "ETCD3") && matches!(key, "USERNAME" | "PASSWORD");
    if store.is_empty() || !(login || STORE_KEYS.contains(&key)) {
        return None;
    }
    let form = match (store, key) {
        ("CITUS", "GROUP") => Form::Integer,
        ("CITUS", "DATABASE") => Form::Text,
        ("CITUS", _) => return None,
        (_, "PORT") => Form::Integer,
        (_, "HOSTS" | "PORTS" | "CHECKS" | "SERVICE_TAGS" | "RETRIABLE_HTTP_CODES") => Form::List,
        (_, "LABELS" | "SET_ACLS" | "AUTH_DATA" | "BOOTSTRAP_LABELS") => Form::Dict,
        (_, "USE_PROXIES" | "REGISTER_SERVICE" | "USE_ENDPOINTS" | "BYPASS_API_SERVICE" | "VERIFY") => Form::Flag,
        _ => Form::Text,
    };
    Some((vec![store.to_lowercase(), key.to_lowercase()], form))
}

fn parse(text: &str, form: Form) -> Result<Option<Value>, String> {
    let string = || Value::String(text.to_owned());
    match form {
        Form::Text => Ok(Some(string())),
        Form::Flag => parse_bool(&string()).map(|flag| Some(Value::Bool(flag))).ok_or("it is not a boolean".into()),
        Form::Integer => {
            parse_int(&string(), None).map(|number| Some(number.into())).ok_or("it is not an integer".into())
        }
        Form::List => list(text).map(Some),
        Form::Dict => {
            let braced = if text.trim_start().starts_with('{') { text.to_owned() } else { format!("{{{text}}}") };
            yaml_value(&braced).map(|value| value.is_object().then_some(value))
        }
        Form::LogFormat if names_a_field(text) => Ok(Some(string())),
        Form::LogFormat => list(text).map(Some),
    }
}

/// Whether it has something like `%(message)`.
fn names_a_field(text: &str) -> bool {
    text.match_indices("%(").any(|(at, _)| {
        let rest = text.get(at + 2..).unwrap_or("");
        rest.find(')').is_some_and(|end| {
            end > 0 && rest.chars().take_while(|c| *c != ')').all(|c| c.is_alphanumeric() || c == '_')
        })
    })
}

fn list(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('-') || text.contains('[') {
        yaml_value(text)
    } else {
        yaml_value(&format!("[{text}]"))
    }
}

fn yaml_value(text: &str) -> Result<Value, String> {
    yaml::load(text, "its value").map_err(|error| error.to_string())
}
