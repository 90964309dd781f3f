//! Comparing a standby's actual recovery settings with the wanted ones (HA-26): does something differ, and is a reload
//! enough to change it?

use super::conf_file;
use super::config_writer::postgresql_conf;
use super::conninfo::{self, Conninfo};
use super::files::mtime;
use super::guc;
use super::recovery::{self, Recovery};
use super::values::{parse_bool, parse_int};
use super::{PgError, Server, parameters, pgpass, postmaster};
use crate::cluster::{Postmaster, Upstream, WalReceiver};
use crate::types::{Mono, PgVersion};
use indexmap::IndexMap;
use std::path::Path;
use std::time::Duration;

/// How long what was written counts as what the server has: a reload takes a moment.
const RELOAD_PATIENCE: Duration = Duration::from_secs(2);

/// May stand in an included file: if they do, and our settings say nothing, they are left alone.
const MAY_BE_INCLUDED: [&str; 5] = [
    "archive_cleanup_command",
    "promote_trigger_file",
    "recovery_end_command",
    "recovery_min_apply_delay",
    "restore_command",
];

/// One setting as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Actual {
    value: String,
    /// It changes with a restart only.
    restart: bool,
    /// It comes from another file than those that the agent writes or cleans.
    included: bool,
}

/// Recovery settings that a server was seen to have, and by what we would notice a change.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    settings: IndexMap<String, Actual>,
    stamp: Stamp,
    /// Set when this is what was written, and not yet confirmed by the server.
    written: Option<Mono>,
}

/// Times of change of postgresql.conf (or recovery.conf), postgresql.auto.conf and the password file; the postmaster.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    conf: Option<(i64, i64)>,
    auto: Option<(i64, i64)>,
    passfile: Option<(i64, i64)>,
    postmaster: Option<Postmaster>,
}

impl Stamp {
    fn now(server: &Server, version: PgVersion) -> Self {
        let data_dir = server.data_dir();
        let new = version.at_least(120_000);
        Self {
            conf: mtime(&if new { postgresql_conf(server) } else { data_dir.join("recovery.conf") }),
            auto: if new { mtime(&data_dir.join("postgresql.auto.conf")) } else { None },
            passfile: mtime(&pgpass::path(server)),
            postmaster: postmaster::find(server),
        }
    }
}

/// Whether a change of a setting needs a restart: before 12 always; 12 for the connection and restore_command, 13 for
/// restore_command; recovery targets always.
fn needs_restart(name: &str, version: PgVersion) -> bool {
    match name {
        "primary_conninfo" | "primary_slot_name" => !version.at_least(130_000),
        "restore_command" => !version.at_least(140_000),
        name => !version.at_least(120_000) || name.starts_with("recovery_target"),
    }
}

impl Seen {
    /// As if the server had taken what was just written. `None` when the files cannot be rendered.
    pub(super) fn as_written(server: &Server, recovery: &Recovery, version: PgVersion) -> Option<Self> {
        let lines = recovery.lines(server, version).ok()?;
        let settings = of_lines(&lines, version);
        Some(Self { settings, stamp: Stamp::now(server, version), written: Some(server.clock().mono()) })
    }
}

/// Settings by a file's lines; absent ones are empty.
fn of_lines(lines: &[(String, String)], version: PgVersion) -> IndexMap<String, Actual> {
    let actual = |name: &str, value: &str| {
        let actual = Actual { value: value.to_owned(), restart: needs_restart(name, version), included: false };
        (name.to_ascii_lowercase(), actual)
    };
    let mut found: IndexMap<String, Actual> = recovery::compared(version).map(|name| actual(name, "")).collect();
    found.extend(lines.iter().filter(|(n, _)| recovery::is_recovery_parameter(n)).map(|(n, v)| actual(n, v)));
    found
}

/// Compares: (something differs, a restart is needed for it).
///
/// # Errors
/// [`PgError::File`] without a data directory of known version; [`PgError::NoConnection`] or [`PgError::Sql`] when the
/// settings of a running server must be asked for and it does not answer.
pub async fn check(server: &Server, upstream: Option<&Upstream>) -> Result<(bool, bool), PgError> {
    let version =
        server.major_version().ok_or_else(|| PgError::File("the server's version is not known".to_owned()))?;
    let new = version.at_least(120_000);
    if !server.has_file(if new { "standby.signal" } else { "recovery.conf" }) {
        return Ok((true, true));
    }
    let answers = server.last_status().is_some();
    let Some(settings) = actual(server, version, answers).await? else { return Ok((true, true)) };
    let receiver = server.last_status().as_ref().and_then(|status| status.receiver.clone());
    let wanted = recovery::wanted(server, upstream, version);
    // A server that was taken over gets our settings by a reload, even if they look the same.
    let mut reload = new && answers && !server.written.borrow().joined;
    let mut restart = false;
    for (name, actual) in &settings {
        let omitted = parameters::get(&wanted.settings, name).is_none();
        if actual.included && omitted && MAY_BE_INCLUDED.contains(&name.as_str()) {
            continue;
        }
        if !same(name, actual, &wanted, receiver.as_ref(), version) {
            tracing::debug!("recovery setting {name} differs from what is wanted");
            if actual.restart { restart = true } else { reload = true }
        }
    }
    Ok((reload || restart, restart))
}

/// The settings as last seen, or looked at anew when something changed. `None`: the file cannot be understood.
async fn actual(
    server: &Server,
    version: PgVersion,
    answers: bool,
) -> Result<Option<IndexMap<String, Actual>>, PgError> {
    let stamp = Stamp::now(server, version);
    let known = server.written.borrow().seen.clone();
    if let Some(seen) = &known {
        let fresh = seen.written.is_some_and(|at| server.clock().mono().since(at) < RELOAD_PATIENCE);
        let confirmed = seen.written.is_none() || !version.at_least(120_000);
        let unchanged = seen.stamp == stamp && (fresh || confirmed);
        // While it starts, it has what was written for that start.
        if unchanged || !answers {
            return Ok(Some(seen.settings.clone()));
        }
    }
    let settings = if version.at_least(120_000) && answers {
        by_server(server, version).await?
    } else {
        match by_files(server, version) {
            Some(settings) => settings,
            None => return Ok(None),
        }
    };
    let seen = Seen { settings: settings.clone(), stamp, written: None };
    server.written.borrow_mut().seen = Some(seen);
    Ok(Some(settings))
}

async fn by_server(server: &Server, version: PgVersion) -> Result<IndexMap<String, Actual>, PgError> {
    let rows = guc::settings(server).await.map_err(PgError::from)?;
    let own = [postgresql_conf(server), server.data_dir().join("postgresql.auto.conf")];
    let names: Vec<&str> = recovery::compared(version).collect();
    let found = rows.into_iter().filter(|row| names.contains(&row.name.as_str())).map(|row| {
        let included = row.sourcefile.as_deref().is_none_or(|f| !own.iter().any(|o| o.as_path() == Path::new(f)));
        (row.name, Actual { value: row.setting, restart: row.context == "postmaster", included })
    });
    Ok(found.collect())
}

/// What the files say: recovery.conf, or postgresql.conf and then postgresql.auto.conf.
fn by_files(server: &Server, version: PgVersion) -> Option<IndexMap<String, Actual>> {
    if !version.at_least(120_000) {
        let text = std::fs::read_to_string(server.data_dir().join("recovery.conf")).ok()?;
        return Some(of_lines(&conf_file::parse(&text), version));
    }
    let mut lines = conf_file::parse(&std::fs::read_to_string(postgresql_conf(server)).ok()?);
    if let Ok(text) = std::fs::read_to_string(server.data_dir().join("postgresql.auto.conf")) {
        lines.extend(conf_file::parse(&text));
    }
    Some(of_lines(&lines, version))
}

fn same(name: &str, actual: &Actual, wanted: &Recovery, receiver: Option<&WalReceiver>, version: PgVersion) -> bool {
    let value = parameters::get(&wanted.settings, name);
    match name {
        "recovery_min_apply_delay" => {
            let delay = |text: &str| if text.is_empty() { Some(0) } else { parse_int(text, Some("ms")) };
            delay(&actual.value).is_some_and(|d| Some(d) == delay(value.unwrap_or_default()))
        }
        "standby_mode" => parse_bool(&actual.value) == Some(wanted.standby),
        "primary_conninfo" => {
            let given = if actual.value.is_empty() {
                Conninfo::new()
            } else {
                // What cannot be understood is broken, and certainly not what is wanted.
                match conninfo::parse_for_comparison(&actual.value) {
                    Some(conn) => conn,
                    None => return false,
                }
            };
            same_conninfo(given, wanted.primary_conninfo.as_ref(), receiver, version)
        }
        "primary_slot_name" if wanted.primary_conninfo.is_none() => true,
        "primary_slot_name" => {
            // A living receiver says what is really used.
            let used = receiver.filter(|r| r.slot_name.is_some() || r.conninfo.is_some());
            let used = used.map_or(actual.value.as_str(), |r| r.slot_name.as_deref().unwrap_or_default());
            used == value.unwrap_or_default()
        }
        _ => actual.value == value.unwrap_or_default(),
    }
}

/// Whether the actual connection has everything that is wanted. The receiver's own string counts when it lives; its password
/// is masked, and its database is always "replication". A password file is as good as the password if its lines fit.
fn same_conninfo(
    actual: Conninfo,
    wanted: Option<&Conninfo>,
    receiver: Option<&WalReceiver>,
    version: PgVersion,
) -> bool {
    let Some(wanted) = wanted else { return actual.is_empty() };
    if actual.is_empty() {
        return false;
    }
    let used = receiver.and_then(|r| r.conninfo.as_deref()).and_then(conninfo::parse_for_comparison);
    let mut actual = match used {
        Some(mut used) => {
            for keyword in ["dbname", "password"] {
                match actual.get(keyword) {
                    Some(value) => {
                        used.insert(keyword.to_owned(), value.clone());
                    }
                    None if keyword == "dbname" => {
                        used.shift_remove(keyword);
                    }
                    None => {}
                }
            }
            used
        }
        None => actual,
    };
    if let (Some(file), false, Some(password)) =
        (actual.get("passfile"), actual.contains_key("password"), wanted.get("password"))
    {
        if !pgpass::fits(file, wanted) {
            return false;
        }
        actual.insert("password".to_owned(), password.clone());
    }
    // The database matters from 17 on only (slot synchronisation).
    let matters = |keyword: &str| keyword != "dbname" || version.at_least(170_000);
    wanted.iter().filter(|(keyword, _)| matters(keyword)).all(|(keyword, value)| actual.get(keyword) == Some(value))
}

#[cfg(test)]
#[path = "recovery_check_tests.rs"]
mod tests;
