//! The keys of Patroni 4.1 and those of its next version that are obeyed, to find misspelt ones: unknown keys are ignored (CFG-28), but near misses are named.

use super::environment::{BINARIES, USER_KEYS};
use super::store::KNOWN as STORES;
use serde_json::{Map, Value};

const ROOT: &[&str] = &[
    "name",
    "namespace",
    "scope",
    "thread_pool_size",
    "thread_stack_size",
    "restapi",
    "ctl",
    "log",
    "bootstrap",
    "postgresql",
    "watchdog",
    "tags",
    "citus",
    "synchronous_mode_strict_placeholder",
];
const DYNAMIC: &[&str] = &[
    "ttl",
    "loop_wait",
    "retry_timeout",
    "maximum_lag_on_failover",
    "maximum_lag_on_syncnode",
    "max_timelines_history",
    "primary_start_timeout",
    "primary_stop_timeout",
    "master_start_timeout",
    "master_stop_timeout",
    "check_timeline",
    "pause",
    "failsafe_mode",
    "synchronous_mode",
    "synchronous_mode_strict",
    "synchronous_mode_strict_placeholder",
    "primary_race_backoff",
    "synchronous_node_count",
    "member_slots_ttl",
    "slots",
    "permanent_slots",
    "permanent_replication_slots",
    "ignore_slots",
    "standby_cluster",
    "postgresql",
];
const RESTAPI: &[&str] = &[
    "listen",
    "connect_address",
    "authentication",
    "certfile",
    "keyfile",
    "keyfile_password",
    "cafile",
    "ciphers",
    "verify_client",
    "allowlist",
    "allowlist_include_members",
    "http_extra_headers",
    "https_extra_headers",
    "request_queue_size",
    "thread_pool_size",
    "server_tokens",
];
const CTL: &[&str] = &["authentication", "insecure", "cacert", "certfile", "keyfile", "keyfile_password"];
const LOG: &[&str] = &[
    "type",
    "level",
    "traceback_level",
    "format",
    "dateformat",
    "static_fields",
    "max_queue_size",
    "dir",
    "file_num",
    "file_size",
    "mode",
    "loggers",
    "deduplicate_heartbeat_logs",
];
const POSTGRESQL: &[&str] = &[
    "listen",
    "connect_address",
    "proxy_address",
    "data_dir",
    "config_dir",
    "bin_dir",
    "bin_name",
    "pgpass",
    "authentication",
    "callbacks",
    "create_replica_methods",
    "create_replica_method",
    "parameters",
    "pg_hba",
    "pg_ident",
    "parameters_primary",
    "parameters_replica",
    "parameters_standby_leader",
    "pg_hba_primary",
    "pg_hba_replica",
    "pg_hba_standby_leader",
    "pg_ident_primary",
    "pg_ident_replica",
    "pg_ident_standby_leader",
    "custom_conf",
    "pg_ctl_timeout",
    "use_unix_socket",
    "use_unix_socket_repl",
    "recovery_conf",
    "before_stop",
    "pre_promote",
    "krbsrvname",
    "database",
    "use_slots",
    "use_pg_rewind",
    "basebackup",
    "rewind",
    "name",
    "remove_data_directory_on_rewind_failure",
    "remove_data_directory_on_diverged_timelines",
    "replication",
    "superuser",
    "pg_rewind",
];
const BOOTSTRAP: &[&str] = &["dcs", "initdb", "method", "pg_hba", "post_bootstrap", "post_init", "users"];
const ETCD3: &[&str] = &[
    "host",
    "hosts",
    "port",
    "url",
    "proxy",
    "srv",
    "srv_suffix",
    "discovery_srv",
    "srv_domain",
    "protocol",
    "use_proxies",
    "cacert",
    "cert",
    "key",
    "username",
    "password",
];
const WATCHDOG: &[&str] = &["mode", "device", "driver", "safety_margin"];
const TAGS: &[&str] = &[
    "clonefrom",
    "nofailover",
    "failover_priority",
    "noloadbalance",
    "nosync",
    "sync_priority",
    "nostream",
    "replicatefrom",
];
const CALLBACKS: &[&str] = &["on_reload", "on_restart", "on_role_change", "on_start", "on_stop"];

/// One line for each key that nobody knows but that looks like a known one.
pub(super) fn near_misses(local: &Map<String, Value>, dynamic: &Map<String, Value>) -> Vec<String> {
    let mut found = Vec::new();
    let root: Vec<&str> = ROOT.iter().chain(&STORES).chain(DYNAMIC).copied().collect();
    check("", local, &root, &mut found);
    let sections: [(&str, &[&str]); 10] = [
        ("restapi", RESTAPI),
        ("ctl", CTL),
        ("log", LOG),
        ("postgresql", POSTGRESQL),
        ("postgresql.authentication", &["superuser", "replication", "rewind"]),
        ("postgresql.callbacks", CALLBACKS),
        ("postgresql.bin_name", &BINARIES),
        ("bootstrap", BOOTSTRAP),
        ("etcd3", ETCD3),
        ("watchdog", WATCHDOG),
    ];
    for (path, known) in sections {
        check_at(path, local, known, &mut found);
    }
    for user in ["superuser", "replication", "rewind"] {
        check_at(&format!("postgresql.authentication.{user}"), local, &USER_KEYS, &mut found);
    }
    check_at("tags", local, TAGS, &mut found);
    check_at("bootstrap.dcs", local, DYNAMIC, &mut found);
    check_at("bootstrap.dcs.postgresql", local, POSTGRESQL, &mut found);
    check("", dynamic, DYNAMIC, &mut found);
    check_at("postgresql", dynamic, POSTGRESQL, &mut found);
    found
}

fn check_at(path: &str, tree: &Map<String, Value>, known: &[&str], found: &mut Vec<String>) {
    let mut map = Some(tree);
    for key in path.split('.') {
        map = map.and_then(|map| map.get(key)).and_then(Value::as_object);
    }
    if let Some(map) = map {
        check(path, map, known, found);
    }
}

fn check(path: &str, map: &Map<String, Value>, known: &[&str], found: &mut Vec<String>) {
    // Sections of replica methods, initdb and the like have names of the user's own.
    let mentioned = |name: &str| map.iter().any(|(_, value)| mentions(value, name));
    for key in map.keys().filter(|key| !known.contains(&key.as_str()) && !mentioned(key)) {
        let nearest = known.iter().map(|name| (distance(key, name), name)).min();
        if let Some((distance, name)) = nearest
            && distance <= 1 + usize::from(key.len() > 6)
            && key.len() > 3
        {
            let dot = if path.is_empty() { "" } else { "." };
            // Own tags are published all the same.
            let fate = if path == "tags" { "is a tag of your own" } else { "is ignored" };
            found.push(format!("unknown key {path}{dot}{key} {fate}; did you mean {name}?"));
        }
    }
}

/// Whether a value is this name or a list with it.
fn mentions(value: &Value, name: &str) -> bool {
    match value {
        Value::String(text) => text == name,
        Value::Array(items) => items.iter().any(|item| item.as_str() == Some(name)),
        _ => false,
    }
}

/// Edits between two words: insertions, deletions, replacements.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (line, a) in one.chars().enumerate() {
        let mut diagonal = line;
        let mut left = line + 1;
        for (column, b) in other.iter().enumerate() {
            let up = row.get(column + 1).copied().unwrap_or(usize::MAX - 1);
            let best = (diagonal + usize::from(a != *b)).min(left + 1).min(up + 1);
            if let Some(cell) = row.get_mut(column) {
                *cell = left;
            }
            diagonal = up;
            left = best;
        }
        if let Some(cell) = row.last_mut() {
            *cell = left;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn edits_are_counted() {
        for (one, other, edits) in [
            ("", "", 0),
            ("abc", "", 3),
            ("", "abc", 3),
            ("listen", "listen", 0),
            ("lisen", "listen", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(one, other), edits, "{one} {other}");
        }
    }

    #[test]
    fn misspelt_keys_are_named_and_others_ignored() {
        let local = json!({
            "scop": "x", "postgresql": {"data_dirr": "/x", "create_replica_methods": ["pgpass2"], "pgpass2": {},
                "wal_e": {}, "authentication": {"superuser": {"sslmod": "x"}}},
            "tags": {"nofailovr": true, "datacentre": 1}, "whatever": 1, "bootstrap": {"dcs": {"looop_wait": 3}}});
        let dynamic = json!({"maximum_lag_on_failove": 1, "own": 2});
        let wanted = [
            "unknown key scop is ignored; did you mean scope?",
            "unknown key postgresql.data_dirr is ignored; did you mean data_dir?",
            "unknown key postgresql.authentication.superuser.sslmod is ignored; did you mean sslmode?",
            "unknown key tags.nofailovr is a tag of your own; did you mean nofailover?",
            "unknown key bootstrap.dcs.looop_wait is ignored; did you mean loop_wait?",
            "unknown key maximum_lag_on_failove is ignored; did you mean maximum_lag_on_failover?",
        ];
        assert_eq!(near_misses(local.as_object().unwrap(), dynamic.as_object().unwrap()), wanted);
    }
}
