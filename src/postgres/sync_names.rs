//! `synchronous_standby_names` belongs to the rules while a synchronous mode is on, and until they give it back (PG-27).

use super::connection::{forget_broken, heartbeat};
use super::parameters::{self, Parameters};
use super::{PgError, Server, StartAs, conf_file, config_files, config_writer};
use crate::cluster::SyncNames;
use crate::config::Settings;
use crate::config::settings::{STRICT_PLACEHOLDER_NAME, SynchronousMode};
use crate::types::PgVersion;

const NAME: &str = "synchronous_standby_names";

/// A transaction that takes an id writes a commit record; it must not wait for standbys itself.
const PRODUCE_WAL: &str = "DO $$BEGIN SET LOCAL synchronous_commit = 'off'; PERFORM pg_catalog.txid_current(); END$$";

/// Takes the value for this and all later versions of the files. Returns whether a file changed.
///
/// # Errors
/// [`PgError::File`]: nothing was written, and the value is the one before.
pub async fn set(server: &Server, names: &SyncNames) -> Result<bool, PgError> {
    let before = server.sync_names.replace(Some(names.clone()));
    let result = config_files::rewrite(server).await;
    if result.is_err() {
        server.sync_names.replace(before);
    }
    result
}

/// Writes a little WAL.
///
/// # Errors
/// [`PgError::NoConnection`] or [`PgError::Sql`].
pub async fn produce_wal(server: &Server) -> Result<(), PgError> {
    let session = heartbeat(server).await?;
    let result = session.query(PRODUCE_WAL).await;
    forget_broken(server, &session, result.as_ref().err()).await;
    result?;
    Ok(())
}

/// Puts the value into the parameters of a start, or of a rewrite (`None`).
pub(super) fn apply(server: &Server, parameters: &mut Parameters, start: Option<&StartAs>, version: PgVersion) {
    let settings = server.settings();
    let known = server.sync_names.borrow().clone();
    let value = match known {
        Some(SyncNames::Own(text)) => text,
        Some(SyncNames::Users) => return,
        None if !is_active(&settings) => return,
        None => unsaid(server, start, version),
    };
    if value.is_empty() {
        parameters::remove(parameters, NAME);
    } else {
        parameters::set(parameters, NAME, value);
    }
}

/// A synchronous mode is on, and the rules have not spoken yet in this process.
fn unsaid(server: &Server, start: Option<&StartAs>, version: PgVersion) -> String {
    let kept = match start {
        Some(StartAs::Standby { .. }) => return String::new(),
        Some(StartAs::CustomRecovery { .. }) => None,
        Some(StartAs::Primary) | None => in_file(server),
    };
    let strict = server.settings().global.synchronous_mode_strict;
    let standby = start.is_none() && config_writer::has_recovery_file(server, version);
    // A cluster that must not lose anything does not begin with commits that nobody else has (SYNC-08).
    let filler = if server.settings().global.strict_placeholder { STRICT_PLACEHOLDER_NAME } else { "*" };
    let filler = if strict && !standby { filler } else { "" };
    kept.filter(|text| !text.is_empty()).unwrap_or_else(|| filler.to_owned())
}

/// Whether the rules own the parameter by the settings: not in a standby cluster (SYNC-19).
fn is_active(settings: &Settings) -> bool {
    settings.global.synchronous_mode != SynchronousMode::Off && settings.global.standby_cluster.is_none()
}

/// What an earlier process of this agent wrote: commits of a running primary must go on waiting for the standbys that may
/// take over.
fn in_file(server: &Server) -> Option<String> {
    let text = std::fs::read_to_string(config_writer::postgresql_conf(server)).ok()?;
    if !text.starts_with(conf_file::HEADER) {
        return None;
    }
    conf_file::parse(&text).into_iter().rev().find(|(name, _)| name.eq_ignore_ascii_case(NAME)).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::postgres::test_settings;
    use std::sync::Arc;

    /// The value in a start or rewrite of a server whose files held `before`; `None`: it is not set.
    fn applied(change: impl FnOnce(&mut Settings), start: Option<&StartAs>, before: Option<&str>) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = test_settings::settings(dir.path());
        settings.global.synchronous_mode = SynchronousMode::On;
        change(&mut settings);
        if let Some(before) = before {
            let text = format!("{}{NAME} = '{before}'\n", conf_file::HEADER);
            std::fs::write(dir.path().join("postgresql.conf"), text).unwrap();
        }
        let server = Server::new(Arc::new(settings), Clock::system());
        let mut parameters = Parameters::default();
        parameters::set(&mut parameters, NAME, "of_the_user".to_owned());
        apply(&server, &mut parameters, start, PgVersion(150_000));
        parameters.get(NAME).cloned()
    }

    // rows: SYNC-01, SYNC-08, SYNC-19
    #[test]
    fn before_the_rules_have_spoken() {
        let strict = |s: &mut Settings| s.global.synchronous_mode_strict = true;
        let off = |s: &mut Settings| s.global.synchronous_mode = SynchronousMode::Off;
        let standby_cluster =
            |s: &mut Settings| s.global.standby_cluster = Some(crate::config::StandbyCluster::default());
        let (primary, standby) = (StartAs::Primary, StartAs::Standby { upstream: None });
        let restore = StartAs::CustomRecovery { recovery: indexmap::IndexMap::new() };
        for (what, value, wanted) in [
            ("off: the user's", applied(off, Some(&primary), Some("x")), Some("of_the_user")),
            ("a standby cluster: the user's", applied(standby_cluster, Some(&primary), None), Some("of_the_user")),
            ("a new cluster", applied(|_| (), Some(&primary), None), None),
            ("strict, a new cluster", applied(strict, Some(&primary), None), Some("*")),
            ("strict, a restored cluster", applied(strict, Some(&restore), Some("x")), Some("*")),
            ("what an earlier agent wrote", applied(strict, Some(&primary), Some("b")), Some("b")),
            ("strict, the list was empty", applied(strict, None, Some("")), Some("*")),
            ("a standby waits for nobody", applied(strict, Some(&standby), Some("b")), None),
        ] {
            assert_eq!(value.as_deref(), wanted, "{what}");
        }
    }
}
