//! Recovery settings of a standby or a restored server: which ones are wanted, and how they are written (PG-14).

use super::conninfo::{self, Conninfo};
use super::parameters::{self, Parameters};
use super::values::parse_bool;
use super::{PgError, Server, pgpass};
use crate::cluster::Upstream;
use crate::types::PgVersion;
use tracing::warn;

/// A recovery parameter with the versions that have it (from, and before).
type Known = (&'static str, u32, u32);

const LATER: u32 = u32::MAX;

/// All recovery parameters.
const KNOWN: [Known; 18] = [
    ("archive_cleanup_command", 90_300, LATER),
    ("pause_at_recovery_target", 90_300, 90_500),
    ("primary_conninfo", 90_300, LATER),
    ("primary_slot_name", 90_400, LATER),
    ("promote_trigger_file", 120_000, 160_000),
    ("recovery_end_command", 90_300, LATER),
    ("recovery_min_apply_delay", 90_400, LATER),
    ("recovery_target", 90_400, LATER),
    ("recovery_target_action", 90_500, LATER),
    ("recovery_target_inclusive", 90_300, LATER),
    ("recovery_target_lsn", 100_000, LATER),
    ("recovery_target_name", 90_400, LATER),
    ("recovery_target_time", 90_300, LATER),
    ("recovery_target_timeline", 90_300, LATER),
    ("recovery_target_xid", 90_300, LATER),
    ("restore_command", 90_300, LATER),
    ("standby_mode", 90_300, 120_000),
    ("trigger_file", 90_300, 120_000),
];

/// From 12 on these may stand in an included file and would stop or promote a standby: they are emptied.
const TARGETS: [&str; 5] =
    ["recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid", "recovery_target_lsn"];

/// Whether a parameter belongs to recovery in any version.
#[must_use]
pub fn is_recovery_parameter(name: &str) -> bool {
    KNOWN.iter().any(|(known, _, _)| known.eq_ignore_ascii_case(name))
}

/// Whether this version has the recovery parameter.
#[must_use]
pub fn exists_in(name: &str, version: PgVersion) -> bool {
    KNOWN
        .iter()
        .any(|(known, from, till)| known.eq_ignore_ascii_case(name) && version.at_least(*from) && version.0 < *till)
}

/// Names of the recovery parameters that a comparison looks at.
pub fn compared(version: PgVersion) -> impl Iterator<Item = &'static str> {
    let skipped = |name: &str| {
        matches!(
            name,
            "pause_at_recovery_target" | "recovery_target_inclusive" | "recovery_target_action" | "standby_mode"
        )
    };
    KNOWN.iter().map(|(name, _, _)| *name).filter(move |name| !skipped(name) && exists_in(name, version))
}

/// What a server recovers by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Recovery {
    /// It stays a standby (`standby.signal`, `standby_mode`), or recovers up to its target (`recovery.signal`).
    pub standby: bool,
    /// Whom it streams from, password in clear; `None`: nobody.
    pub primary_conninfo: Option<Conninfo>,
    /// All other settings.
    pub settings: Parameters,
}

/// What a standby that follows `upstream` should have.
#[must_use]
pub fn wanted(server: &Server, upstream: Option<&Upstream>, version: PgVersion) -> Recovery {
    let mut settings = configured(server, version);
    settings.retain(|name, _| {
        let name = name.to_ascii_lowercase();
        !name.starts_with("recovery_target") && name != "primary_conninfo" && name != "primary_slot_name"
    });
    parameters::set(&mut settings, "recovery_target_timeline", "latest".to_owned());
    if version.at_least(120_000) {
        for name in TARGETS {
            settings.insert(name.to_owned(), String::new());
        }
    }
    let primary_conninfo = conninfo::primary_conninfo(server, upstream, version);
    let slot = upstream.and_then(|u| u.slot.as_ref()).filter(|_| primary_conninfo.is_some());
    if let Some(slot) = slot.filter(|_| version.at_least(90_400)) {
        settings.insert("primary_slot_name".to_owned(), slot.clone());
    }
    for (name, value) in upstream.iter().flat_map(|u| &u.recovery).filter(|(_, value)| !value.is_empty()) {
        parameters::set(&mut settings, name, value.clone());
    }
    Recovery { standby: true, primary_conninfo, settings }
}

/// `recovery_conf` of the settings; recovery parameters among the server's parameters take its place. The trigger file has
/// the name that this version knows.
fn configured(server: &Server, version: PgVersion) -> Parameters {
    let settings = server.settings();
    let among: Parameters = settings
        .postgresql
        .parameters
        .iter()
        .filter(|(name, _)| is_recovery_parameter(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let mut found = if among.is_empty() { settings.postgresql.recovery_conf.clone() } else { among };
    let (wrong, right) = trigger_file_names(version);
    if let Some(value) = parameters::remove(&mut found, wrong).filter(|v| !v.is_empty())
        && parameters::get(&found, right).is_none()
    {
        found.insert(right.to_owned(), value);
    }
    found
}

/// The trigger file's parameter: its name in other versions and in this one.
fn trigger_file_names(version: PgVersion) -> (&'static str, &'static str) {
    let (old, new) = ("trigger_file", "promote_trigger_file");
    if version.at_least(120_000) { (old, new) } else { (new, old) }
}

/// Settings of a custom bootstrap method's `recovery_conf` section.
#[must_use]
pub fn of_method(section: &Parameters) -> Recovery {
    let mut settings = section.clone();
    let standby = parameters::remove(&mut settings, "standby_mode").as_deref().and_then(parse_bool) == Some(true);
    let primary_conninfo =
        parameters::remove(&mut settings, "primary_conninfo").and_then(|text| conninfo::parse(&text));
    Recovery { standby, primary_conninfo, settings }
}

impl Recovery {
    /// Reads what is written in a configuration file (see [`super::conf_file::parse`]): to keep it over a rewrite.
    #[must_use]
    pub fn of_file(content: &[(String, String)], standby: bool) -> Self {
        let own = content.iter().filter(|(name, _)| is_recovery_parameter(name));
        let section: Parameters = own.map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        Self { standby, ..of_method(&section) }
    }

    /// Names and values as this version's file gets them, sorted by name. Writes the password file, from version 10 on,
    /// so that the password does not stand in the file. What the version does not know is left out with a warning.
    ///
    /// # Errors
    /// [`PgError::File`] when the password file cannot be written.
    pub fn lines(&self, server: &Server, version: PgVersion) -> Result<Vec<(String, String)>, PgError> {
        let mut settings = self.settings.clone();
        rename_pause(&mut settings, version);
        if !version.at_least(120_000) && self.standby {
            settings.insert("standby_mode".to_owned(), "on".to_owned());
        }
        if let Some(conn) = &self.primary_conninfo {
            let mut conn = conn.clone();
            if version.at_least(100_000)
                && let Some(path) = pgpass::write(server, &conn)?
            {
                conn.insert("passfile".to_owned(), path.to_string_lossy().into_owned());
            }
            settings.insert("primary_conninfo".to_owned(), conninfo::format(&conn, version));
        }
        let mut lines: Vec<(String, String)> =
            settings.into_iter().filter(|(n, v)| is_writable(n, v, version)).collect();
        lines.sort();
        Ok(lines)
    }
}

fn is_writable(name: &str, value: &str, version: PgVersion) -> bool {
    let lower = name.to_ascii_lowercase();
    if !exists_in(name, version) {
        warn!("Removing unexpected parameter={name} value={value} from the config");
        return false;
    }
    let allowed = match lower.as_str() {
        "recovery_target" => value.is_empty() || value == "immediate",
        "recovery_target_action" => ["pause", "promote", "shutdown"].contains(&value),
        "pause_at_recovery_target" | "recovery_target_inclusive" | "standby_mode" => parse_bool(value).is_some(),
        "recovery_min_apply_delay" => super::values::parse_int(value, Some("ms")).is_some_and(|n| n >= 0),
        _ => true,
    };
    if !allowed {
        warn!("Removing parameter={name} from the config due to the invalid value={value}");
    }
    allowed
}

/// `pause_at_recovery_target` became `recovery_target_action` in 9.5.
fn rename_pause(settings: &mut Parameters, version: PgVersion) {
    if version.at_least(90_500) {
        let pause = parameters::remove(settings, "pause_at_recovery_target").as_deref().and_then(parse_bool);
        if let Some(pause) = pause.filter(|_| parameters::get(settings, "recovery_target_action").is_none()) {
            let action = if pause { "pause" } else { "promote" };
            settings.insert("recovery_target_action".to_owned(), action.to_owned());
        }
    } else {
        let action = parameters::remove(settings, "recovery_target_action");
        let promote = action.is_some_and(|a| a.eq_ignore_ascii_case("promote"));
        if promote && parameters::get(settings, "pause_at_recovery_target").is_none() {
            settings.insert("pause_at_recovery_target".to_owned(), "false".to_owned());
        }
    }
}

/// Whether a recovery by these settings ends in a promotion when its target is reached.
#[must_use]
pub fn promotes_at_target(section: &Parameters) -> bool {
    let pause = parameters::get(section, "pause_at_recovery_target").and_then(parse_bool);
    let default = if pause == Some(false) { "promote" } else { "pause" };
    parameters::get(section, "recovery_target_action").unwrap_or(default) == "promote"
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
