//! Server parameters that are in force: protected ones with their defaults and bounds, names by version, limits of a
//! standby, and what would need a restart (PG-09 to PG-12, PG-22, PG-23, PG-26).

use super::values::{parse_bool, parse_int, readable, same_value};
use crate::cluster::{PendingRestart, PendingRestartValue};
use crate::config::Settings;
use crate::types::PgVersion;
use indexmap::IndexMap;
use std::path::Path;
use tracing::{info, warn};

/// Parameters by name.
pub type Parameters = IndexMap<String, String>;

/// What values a protected parameter may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bound {
    /// Set by the agent alone.
    Own,
    /// One of these words.
    Words(&'static [&'static str]),
    /// Any boolean.
    Bool,
    /// A boolean that must be true.
    True,
    /// A number, at least this, in this unit.
    AtLeast(i64, Option<&'static str>),
}

/// A parameter that only the dynamic configuration may set and that the postmaster gets on its command line.
struct Protected {
    name: &'static str,
    default: &'static str,
    bound: Bound,
    /// First version that has it.
    since: u32,
}

const fn protected(name: &'static str, default: &'static str, bound: Bound, since: u32) -> Protected {
    Protected { name, default, bound, since }
}

/// In the order of the command line.
const PROTECTED: [Protected; 15] = [
    protected("listen_addresses", "", Bound::Own, 90_100),
    protected("port", "", Bound::Own, 90_100),
    protected("cluster_name", "", Bound::Own, 90_500),
    protected("wal_level", "hot_standby", Bound::Words(&["hot_standby", "replica", "logical"]), 90_100),
    protected("hot_standby", "on", Bound::True, 90_100),
    protected("max_connections", "100", Bound::AtLeast(25, None), 90_100),
    protected("max_wal_senders", "10", Bound::AtLeast(3, None), 90_100),
    protected("wal_keep_segments", "8", Bound::AtLeast(1, None), 90_100),
    protected("wal_keep_size", "128MB", Bound::AtLeast(16, Some("MB")), 130_000),
    protected("max_prepared_transactions", "0", Bound::AtLeast(0, None), 90_100),
    protected("max_locks_per_transaction", "64", Bound::AtLeast(32, None), 90_100),
    protected("track_commit_timestamp", "off", Bound::Bool, 90_500),
    protected("max_replication_slots", "10", Bound::AtLeast(4, None), 90_400),
    protected("max_worker_processes", "8", Bound::AtLeast(2, None), 90_400),
    protected("wal_log_hints", "on", Bound::Bool, 90_400),
];

/// Written to postgresql.conf only: they can be changed by a reload.
const NOT_ON_COMMAND_LINE: [&str; 2] = ["wal_keep_segments", "wal_keep_size"];

impl Protected {
    fn allows(&self, value: &str) -> bool {
        match self.bound {
            Bound::Own => true,
            Bound::Words(words) => words.iter().any(|w| value.eq_ignore_ascii_case(w)),
            Bound::Bool => parse_bool(value).is_some(),
            Bound::True => parse_bool(value) == Some(true),
            Bound::AtLeast(least, unit) => parse_int(value, unit).is_some_and(|n| n >= least),
        }
    }
}

/// The parameters for a server of this major version (`None`: not known yet, then all names stay): the settings' own,
/// `cluster_name`, `listen_addresses` and `port`, protected ones within bounds, renamed ones under the version's name,
/// `hba_file` and `ident_file` as absolute paths. Names keep the settings' order and spelling.
#[must_use]
pub fn server_parameters(settings: &Settings, config_dir: &Path, version: Option<PgVersion>) -> Parameters {
    let mut parameters = settings.postgresql.parameters.clone();
    set(&mut parameters, "cluster_name", settings.scope.clone());
    set(&mut parameters, "listen_addresses", settings.postgresql.listen_addresses.clone());
    set(&mut parameters, "port", settings.postgresql.port.to_string());
    keep_in_bounds(&mut parameters);
    if let Some(version) = version {
        rename_wal_level(&mut parameters, version);
        rename_wal_keep(&mut parameters, version);
        parameters.retain(|name, _| find(name).is_none_or(|p| version.at_least(p.since)));
    }
    for name in ["hba_file", "ident_file"] {
        if let Some(value) = get(&parameters, name) {
            let path = config_dir.join(value).to_string_lossy().into_owned();
            set(&mut parameters, name, path);
        }
    }
    parameters
}

/// The value of a parameter; names are compared without regard to case.
#[must_use]
pub fn get<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a str> {
    parameters.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
}

/// Sets a parameter, whatever the case of the name that stands there.
pub fn set(parameters: &mut Parameters, name: &str, value: String) {
    match parameters.iter_mut().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
        Some((_, old)) => *old = value,
        None => {
            parameters.insert(name.to_owned(), value);
        }
    }
}

/// Removes a parameter, whatever the case of its name.
pub fn remove(parameters: &mut Parameters, name: &str) -> Option<String> {
    let place = parameters.keys().position(|n| n.eq_ignore_ascii_case(name))?;
    parameters.shift_remove_index(place).map(|(_, value)| value)
}

fn find(name: &str) -> Option<&'static Protected> {
    PROTECTED.iter().find(|p| p.name.eq_ignore_ascii_case(name))
}

fn keep_in_bounds(parameters: &mut Parameters) {
    for protected in PROTECTED.iter().filter(|p| p.bound != Bound::Own) {
        let value = get(parameters, protected.name);
        let renamed = NOT_ON_COMMAND_LINE.contains(&protected.name);
        match value {
            Some(value) if !protected.allows(value) => {
                let (name, default) = (protected.name, protected.default);
                warn!("postgresql parameter {name}={value} failed validation, defaulting to {default}");
                set(parameters, name, default.to_owned());
            }
            None if !renamed => set(parameters, protected.name, protected.default.to_owned()),
            _ => {}
        }
    }
}

/// `hot_standby` became `replica` in 9.6.
fn rename_wal_level(parameters: &mut Parameters, version: PgVersion) {
    let (wrong, right) = if version.at_least(90_600) { ("hot_standby", "replica") } else { ("replica", "hot_standby") };
    if get(parameters, "wal_level").is_some_and(|v| v.eq_ignore_ascii_case(wrong)) {
        set(parameters, "wal_level", right.to_owned());
    }
}

/// `wal_keep_segments` became `wal_keep_size` in 13. Segments are taken for 16 MB each: whoever has others sets the right name.
fn rename_wal_keep(parameters: &mut Parameters, version: PgVersion) {
    if version.at_least(130_000) {
        let segments = remove(parameters, "wal_keep_segments").and_then(|v| parse_int(&v, None)).unwrap_or(8);
        if get(parameters, "wal_keep_size").is_none() {
            set(parameters, "wal_keep_size", format!("{}MB", segments.saturating_mul(16)));
        }
    } else {
        let size = remove(parameters, "wal_keep_size").and_then(|v| parse_int(&v, Some("MB"))).unwrap_or(128);
        if get(parameters, "wal_keep_segments").is_none() {
            set(parameters, "wal_keep_segments", (size.saturating_add(8) / 16).to_string());
        }
    }
}

/// The postmaster's options: `--name=value` of the protected parameters, in a fixed order.
#[must_use]
pub fn command_line(parameters: &Parameters) -> Vec<String> {
    let names = PROTECTED.iter().map(|p| p.name).filter(|n| !NOT_ON_COMMAND_LINE.contains(n));
    names.filter_map(|name| Some(format!("--{name}={}", get(parameters, name)?))).collect()
}

/// Names that stand on the command line, so that pg_settings never calls a change of theirs in a file pending.
#[must_use]
pub fn command_line_names() -> Vec<&'static str> {
    PROTECTED.iter().map(|p| p.name).filter(|n| !NOT_ON_COMMAND_LINE.contains(n)).collect()
}

/// Parameters that a standby must not have lower than its primary had, their names in control data, and their first version.
const STANDBY_LIMITS: [(&str, &str, u32); 5] = [
    ("max_connections", "max_connections setting", 0),
    ("max_prepared_transactions", "max_prepared_xacts setting", 0),
    ("max_locks_per_transaction", "max_locks_per_xact setting", 0),
    ("max_worker_processes", "max_worker_processes setting", 90_400),
    ("max_wal_senders", "max_wal_senders setting", 120_000),
];

/// Raises the limits of a standby to what control data has (`lines` as in [`crate::cluster::ControlData`]): it would not
/// start with less. A restart is then pending, as [`restart_needed`] finds.
pub fn raise_to_control_data(parameters: &mut Parameters, lines: &[(String, String)], version: PgVersion) {
    for (name, label, _) in STANDBY_LIMITS.iter().filter(|(_, _, since)| version.at_least(*since)) {
        let Some((_, text)) = lines.iter().find(|(l, _)| l == label) else {
            warn!("{label} is missing from pg_controldata output");
            continue;
        };
        let wanted = get(parameters, name).and_then(|v| parse_int(v, None));
        if let (Some(wanted), Some(control)) = (wanted, parse_int(text, None))
            && control > wanted
        {
            info!(
                "{name} value in pg_controldata: {control}, in the global configuration: {wanted}. \
                 pg_controldata value will be used. Setting 'Pending restart' flag"
            );
            set(parameters, name, control.to_string());
        }
    }
}

/// A row of pg_settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SettingRow {
    /// `name`.
    pub name: String,
    /// `setting`, in base units.
    pub setting: String,
    /// `unit`.
    pub unit: Option<String>,
    /// `vartype`.
    pub vartype: String,
    /// `context`.
    pub context: String,
    /// `sourcefile`; `None` when the value comes from no file.
    pub sourcefile: Option<String>,
}

/// Both values of a parameter as people write them (PG-22).
#[must_use]
pub fn difference(row: &SettingRow, wanted: &str) -> PendingRestartValue {
    let shown = |value: &str| readable(value, &row.vartype, row.unit.as_deref());
    let base = if row.vartype == "integer" { parse_int(wanted, row.unit.as_deref()) } else { None };
    let wanted = base.map_or_else(|| wanted.to_owned(), |n| n.to_string());
    PendingRestartValue { old_value: shown(&row.setting), new_value: shown(&wanted) }
}

/// Parameters of context `postmaster` that the running server has otherwise than wanted. `wal_buffers` -1 is compared by
/// its computed value (PG-26), for which `rows` should hold shared_buffers, wal_segment_size and wal_block_size too.
/// Recovery parameters and `hot_standby` are none of this function's business.
#[must_use]
pub fn restart_needed(rows: &[SettingRow], wanted: &Parameters) -> PendingRestart {
    let differing = rows.iter().filter(|r| r.context == "postmaster").filter_map(|row| {
        if row.name.eq_ignore_ascii_case("hot_standby") || super::recovery::is_recovery_parameter(&row.name) {
            return None;
        }
        let value = get(wanted, &row.name)?;
        let same = if row.name == "wal_buffers" {
            same_wal_buffers(rows, row, value)
        } else {
            same_value(&row.vartype, row.unit.as_deref(), &row.setting, value)
        };
        if same { None } else { Some((row.name.clone(), difference(row, value))) }
    });
    differing.collect()
}

/// -1 means 1/32 of shared_buffers, at least 8 blocks, at most one segment.
fn same_wal_buffers(rows: &[SettingRow], row: &SettingRow, wanted: &str) -> bool {
    let number = |name: &str| rows.iter().find(|r| r.name == name).and_then(|r| parse_int(&r.setting, None));
    let block = number("wal_block_size").unwrap_or(8192).max(1);
    // Bytes from 11 on; before that in blocks, which the unit says ("8kB").
    let segment = rows.iter().find(|r| r.name == "wal_segment_size").and_then(|r| {
        let unit = r.unit.as_deref().filter(|u| u.starts_with(|c: char| c.is_ascii_digit()));
        let size = unit.map_or(Some(1), |u| parse_int(u, Some("B")))?;
        Some(parse_int(&r.setting, None)?.saturating_mul(size) / block)
    });
    let computed = (number("shared_buffers").unwrap_or(16_384) / 32).max(8).min(segment.unwrap_or(2048));
    let value = |text: &str| {
        let number = parse_int(text, row.unit.as_deref());
        if number == Some(-1) { Some(computed) } else { number }
    };
    value(&row.setting).is_some_and(|n| Some(n) == value(wanted))
}

#[cfg(test)]
#[path = "parameters_tests.rs"]
mod tests;
