//! PostgreSQL's parameters: which are controlled by the cluster (PG-09), their bounds and defaults (PG-10, PG-11), how
//! they are merged, and what they are called in which version (PG-12).

use super::loose::{parse_bool, parse_int};
use super::python;
use crate::types::PgVersion;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};

/// Parameters with values, by PostgreSQL's rule that the case of names does not matter. Order is kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Parameters(IndexMap<String, (String, Value)>);

impl Parameters {
    pub fn insert(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_ascii_lowercase(), (name.to_owned(), value));
    }

    pub fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.values().map(|(name, value)| (name, value))
    }
}

/// What a controlled parameter may be.
#[derive(Clone, Copy)]
enum Check {
    /// Set by Patroni alone.
    Never,
    WalLevel,
    True,
    Boolean,
    AtLeast(i64, Option<&'static str>),
}

struct Controlled {
    name: &'static str,
    default: Option<&'static str>,
    check: Check,
    since: u32,
}

const fn controlled(name: &'static str, default: Option<&'static str>, check: Check, since: u32) -> Controlled {
    Controlled { name, default, check, since }
}

/// Passed on the command line, in this order, so that ALTER SYSTEM cannot change them; set in the dynamic
/// configuration only. (The two for kept WAL are controlled but stand in the file.)
const CONTROLLED: [Controlled; 15] = [
    controlled("listen_addresses", None, Check::Never, 90_100),
    controlled("port", None, Check::Never, 90_100),
    controlled("cluster_name", None, Check::Never, 90_500),
    controlled("wal_level", Some("hot_standby"), Check::WalLevel, 90_100),
    controlled("hot_standby", Some("on"), Check::True, 90_100),
    controlled("max_connections", Some("100"), Check::AtLeast(25, None), 90_100),
    controlled("max_wal_senders", Some("10"), Check::AtLeast(3, None), 90_100),
    controlled("wal_keep_segments", Some("8"), Check::AtLeast(1, None), 90_100),
    controlled("wal_keep_size", Some("128MB"), Check::AtLeast(16, Some("MB")), 130_000),
    controlled("max_prepared_transactions", Some("0"), Check::AtLeast(0, None), 90_100),
    controlled("max_locks_per_transaction", Some("64"), Check::AtLeast(32, None), 90_100),
    controlled("track_commit_timestamp", Some("off"), Check::Boolean, 90_500),
    controlled("max_replication_slots", Some("10"), Check::AtLeast(4, None), 90_400),
    controlled("max_worker_processes", Some("8"), Check::AtLeast(2, None), 90_400),
    controlled("wal_log_hints", Some("on"), Check::Boolean, 90_400),
];

const KEPT_WAL: [&str; 2] = ["wal_keep_segments", "wal_keep_size"];

/// Recovery settings; under `parameters` they mean the same as under `recovery_conf`.
pub const RECOVERY_PARAMETERS: [&str; 18] = [
    "archive_cleanup_command",
    "pause_at_recovery_target",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "restore_command",
    "standby_mode",
    "trigger_file",
];

fn find(name: &str) -> Option<&'static Controlled> {
    CONTROLLED.iter().find(|parameter| parameter.name.eq_ignore_ascii_case(name))
}

/// Whether the parameter is only set through the dynamic configuration (or by Patroni alone).
#[must_use]
pub fn is_controlled(name: &str) -> bool {
    find(name).is_some()
}

/// Whether it is a recovery setting.
#[must_use]
pub fn is_recovery(name: &str) -> bool {
    RECOVERY_PARAMETERS.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Defaults, dynamic values within bounds, local values of what is not controlled; null removes.
pub(super) fn merge(
    dynamic: Option<&Map<String, Value>>,
    local: Option<&Map<String, Value>>,
    warnings: &mut Vec<String>,
) -> Parameters {
    let mut merged = Parameters::default();
    for parameter in &CONTROLLED {
        if let (Some(default), false) = (parameter.default, KEPT_WAL.contains(&parameter.name)) {
            merged.insert(parameter.name, json!(default));
        }
    }
    for (name, value) in dynamic.into_iter().flatten() {
        match find(name) {
            None => merged.insert(name, value.clone()),
            Some(parameter) => match checked(parameter, value) {
                Some(value) => merged.insert(name, value),
                None => warnings.push(format!(
                    "postgresql parameter {name}={} failed validation, defaulting to {}",
                    python::text(value),
                    parameter.default.unwrap_or("None")
                )),
            },
        }
    }
    for (name, value) in local.into_iter().flatten() {
        if find(name).is_none() {
            merged.insert(name, value.clone());
        }
    }
    merged
}

fn checked(parameter: &Controlled, value: &Value) -> Option<Value> {
    let accepted = || Some(value.clone());
    match parameter.check {
        Check::Never => None,
        Check::True => parse_bool(value).filter(|flag| *flag).and_then(|_| accepted()),
        Check::Boolean => parse_bool(value).and_then(|_| accepted()),
        Check::WalLevel => {
            let known =
                |text: &str| ["hot_standby", "replica", "logical"].iter().any(|level| level.eq_ignore_ascii_case(text));
            value.as_str().filter(|text| known(text)).and_then(|_| accepted())
        }
        Check::AtLeast(minimum, unit) => {
            parse_int(value, unit).filter(|number| *number >= minimum)?;
            parse_int(value, None).map_or_else(accepted, |number| Some(json!(number)))
        }
    }
}

/// A value as PostgreSQL spells it: booleans are on and off. `None` for null, lists and mappings.
#[must_use]
pub fn spelled(value: &Value) -> Option<String> {
    match value {
        Value::Bool(flag) => Some(if *flag { "on" } else { "off" }.into()),
        Value::String(text) => Some(text.clone()),
        Value::Number(_) => Some(python::text(value)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The parameters as a server of this version knows them: wal_level by its name there, the amount of kept WAL in
/// segments of 16 MB before 13 and as a size from 13, controlled parameters that it does not know left out.
#[must_use]
pub fn for_version(parameters: &IndexMap<String, String>, version: PgVersion) -> IndexMap<String, String> {
    let mut fitted = parameters.clone();
    let (level, old) = if version.at_least(90_600) { ("replica", "hot_standby") } else { ("hot_standby", "replica") };
    if let Some(value) = fitted.get_mut("wal_level")
        && value.eq_ignore_ascii_case(old)
    {
        level.clone_into(value);
    }
    if version.at_least(130_000) {
        let segments = take(&mut fitted, "wal_keep_segments").unwrap_or_else(|| "8".into());
        let segments = parse_int(&Value::String(segments), None).unwrap_or(8);
        let size = format!("{}MB", segments.saturating_mul(16));
        fitted.entry("wal_keep_size".into()).or_insert(size);
    } else {
        let size = take(&mut fitted, "wal_keep_size").unwrap_or_else(|| "128MB".into());
        let size = parse_int(&Value::String(size), Some("MB")).unwrap_or(0);
        fitted.entry("wal_keep_segments".into()).or_insert_with(|| (size.saturating_add(8) / 16).to_string());
    }
    fitted.retain(|name, _| find(name).is_none_or(|parameter| version.at_least(parameter.since)));
    fitted
}

fn take(parameters: &mut IndexMap<String, String>, name: &str) -> Option<String> {
    parameters.shift_remove(name)
}

/// Those parameters that go on the postmaster's command line (PG-02), in Patroni's order; each is passed as
/// `--name=value`.
#[must_use]
pub fn command_line(parameters: &IndexMap<String, String>) -> Vec<(&'static str, &str)> {
    CONTROLLED
        .iter()
        .filter(|parameter| !KEPT_WAL.contains(&parameter.name))
        .filter_map(|parameter| Some((parameter.name, parameters.get(parameter.name)?.as_str())))
        .collect()
}

/// Parameters that Patroni itself looks at.
const LOOKED_AT: [&str; 6] = [
    "hba_file",
    "ident_file",
    "unix_socket_directories",
    "stats_temp_directory",
    "synchronous_standby_names",
    "hot_standby_feedback",
];

/// The name in lower case if it is one that the agent looks at; PostgreSQL does not care, and others stay as written.
pub(super) fn canonical(name: String) -> String {
    let folded = name.to_ascii_lowercase();
    let known = is_controlled(&folded) || is_recovery(&folded) || LOOKED_AT.contains(&folded.as_str());
    if known { folded } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(dynamic: Value, local: Value) -> (IndexMap<String, String>, Vec<String>) {
        let mut warnings = Vec::new();
        let parameters = merge(dynamic.as_object(), local.as_object(), &mut warnings);
        let spelled = parameters.entries().filter_map(|(n, v)| Some((canonical(n.clone()), spelled(v)?))).collect();
        (spelled, warnings)
    }

    #[test]
    fn defaults_are_those_of_pg_11() {
        let (parameters, _) = merged(json!({}), json!({}));
        let wanted = [
            ("wal_level", "hot_standby"),
            ("hot_standby", "on"),
            ("max_connections", "100"),
            ("max_wal_senders", "10"),
            ("max_prepared_transactions", "0"),
            ("max_locks_per_transaction", "64"),
            ("track_commit_timestamp", "off"),
            ("max_replication_slots", "10"),
            ("max_worker_processes", "8"),
            ("wal_log_hints", "on"),
        ];
        assert_eq!(command_line(&parameters), wanted);
        assert_eq!(parameters.len(), wanted.len());
    }

    /// PG-10: the least values; what is lower falls back to the default with Patroni's warning.
    #[test]
    fn dynamic_values_stay_within_bounds() {
        for (name, value, wanted) in [
            ("max_connections", json!(25), Some("25")),
            ("max_connections", json!("30"), Some("30")),
            ("max_connections", json!(24), None),
            ("max_wal_senders", json!(3), Some("3")),
            ("max_wal_senders", json!(2), None),
            ("wal_keep_segments", json!(1), Some("1")),
            ("wal_keep_segments", json!(0), None),
            ("wal_keep_size", json!("16MB"), Some("16MB")),
            ("wal_keep_size", json!("1GB"), Some("1GB")),
            ("wal_keep_size", json!("8MB"), None),
            ("wal_keep_size", json!(32), Some("32")),
            ("max_prepared_transactions", json!(0), Some("0")),
            ("max_locks_per_transaction", json!(31), None),
            ("max_replication_slots", json!(3), None),
            ("max_worker_processes", json!(1), None),
            ("max_worker_processes", json!("many"), None),
            ("wal_level", json!("logical"), Some("logical")),
            ("wal_level", json!("minimal"), None),
            ("hot_standby", json!(true), Some("on")),
            ("hot_standby", json!("off"), None),
            ("wal_log_hints", json!("off"), Some("off")),
            ("wal_log_hints", json!("maybe"), None),
            ("track_commit_timestamp", json!(true), Some("on")),
            ("port", json!(5555), None),
            ("cluster_name", json!("x"), None),
            ("listen_addresses", json!("*"), None),
        ] {
            let (parameters, warnings) = merged(json!({name: value}), json!({}));
            let default = find(name).unwrap().default.unwrap_or("None");
            let fallback = if KEPT_WAL.contains(&name) { None } else { find(name).unwrap().default };
            assert_eq!(parameters.get(name).map(String::as_str), wanted.or(fallback), "{name}");
            let text = format!(
                "postgresql parameter {name}={} failed validation, defaulting to {default}",
                python::text(&value)
            );
            assert_eq!(warnings, if wanted.is_some() { vec![] } else { vec![text] }, "{name}");
        }
    }

    #[test]
    fn local_values_win_unless_controlled() {
        let (parameters, warnings) = merged(
            json!({"Work_Mem": "1MB", "max_connections": 50, "archive_mode": "on"}),
            json!({"work_mem": "2MB", "MAX_CONNECTIONS": 500, "archive_mode": null, "fsync": true}),
        );
        assert_eq!(parameters.get("work_mem").map(String::as_str), Some("2MB"));
        assert_eq!(parameters.get("Work_Mem"), None);
        assert_eq!(parameters.get("max_connections").map(String::as_str), Some("50"));
        assert_eq!(parameters.get("archive_mode"), None);
        assert_eq!(parameters.get("fsync").map(String::as_str), Some("on"));
        assert_eq!(warnings, Vec::<String>::new());
    }

    /// PG-12.
    #[test]
    fn names_and_units_follow_the_version() {
        let of = |entries: &[(&str, &str)], version| {
            let parameters = entries.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            for_version(&parameters, PgVersion(version)).into_iter().collect::<Vec<_>>()
        };
        let pairs = |entries: &[(&str, &str)]| {
            entries.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(of(&[("wal_level", "hot_standby")], 150_000)[0].1, "replica");
        assert_eq!(of(&[("wal_level", "replica")], 90_500)[0].1, "hot_standby");
        assert_eq!(of(&[("wal_level", "logical")], 150_000)[0].1, "logical");
        assert_eq!(of(&[("wal_keep_segments", "100")], 150_000), pairs(&[("wal_keep_size", "1600MB")]));
        assert_eq!(of(&[], 150_000), pairs(&[("wal_keep_size", "128MB")]));
        assert_eq!(
            of(&[("wal_keep_segments", "100"), ("wal_keep_size", "1GB")], 150_000),
            pairs(&[("wal_keep_size", "1GB")])
        );
        assert_eq!(of(&[("wal_keep_size", "1GB")], 120_000), pairs(&[("wal_keep_segments", "64")]));
        assert_eq!(of(&[], 120_000), pairs(&[("wal_keep_segments", "8")]));
        assert_eq!(of(&[("cluster_name", "x"), ("wal_log_hints", "on")], 90_300), pairs(&[("wal_keep_segments", "8")]));
    }
}
