//! pg_hba.conf and pg_ident.conf (PG-19).

use super::files::{self, Step};
use super::parameters::{self, Parameters};
use super::{PgError, Server};
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tracing::warn;

/// How long the look-up of the own host may take.
const LOOKUP_PATIENCE: Duration = Duration::from_secs(5);

/// Whether `hba_file` or `ident_file` of the settings leads to another file than `own` in the configuration directory.
fn points_elsewhere(server: &Server, parameter: &str, own: &str) -> bool {
    let settings = server.settings();
    let config_dir = server.config_dir();
    parameters::get(&settings.postgresql.parameters, parameter)
        .is_some_and(|p| config_dir.join(p) != config_dir.join(own))
}

/// The files of these two that the agent takes care of.
#[must_use]
pub fn own_files(server: &Server) -> Vec<&'static str> {
    let files = [("hba_file", "pg_hba.conf"), ("ident_file", "pg_ident.conf")];
    files.into_iter().filter(|(parameter, own)| !points_elsewhere(server, parameter, own)).map(|(_, own)| own).collect()
}

/// Steps that write both files where the settings list their lines. While a custom bootstrap runs nothing is known of
/// passwords: pg_hba.conf then trusts this machine.
pub(super) async fn steps(server: &Server, parameters: &Parameters) -> Vec<Step> {
    let settings = server.settings();
    let file = |name: &str, lines: &[String]| {
        let path = server.config_dir().join(name);
        let mode = files::config_file_mode(&server.data_dir(), &path);
        Step::Write { path, content: render(lines).into_bytes(), mode }
    };
    let given = |lines: &Option<Vec<String>>| lines.clone().filter(|l| !l.is_empty());
    let own = own_files(server);
    let mut steps = Vec::new();
    if server.custom_bootstrap().running {
        steps.push(file("pg_hba.conf", &trusted(server, parameters).await));
    } else if let Some(lines) = given(&settings.postgresql.pg_hba).filter(|_| own.contains(&"pg_hba.conf")) {
        steps.push(file("pg_hba.conf", &lines));
    }
    if let Some(lines) = given(&settings.postgresql.pg_ident).filter(|_| own.contains(&"pg_ident.conf")) {
        steps.push(file("pg_ident.conf", &lines));
    }
    steps
}

fn render(lines: &[String]) -> String {
    let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
    format!("{}{lines}", super::conf_file::HEADER)
}

/// Trust for the socket and for the addresses of the own host: for replication as the replication user, and for all
/// databases as the superuser.
async fn trusted(server: &Server, parameters: &Parameters) -> Vec<String> {
    let replication = server.replication_user().username.unwrap_or_else(|| "all".to_owned());
    let superuser = server.superuser().username.unwrap_or_else(|| "all".to_owned());
    let lines = |kind: &str, address: &str| {
        [
            format!("{kind}\treplication\t{}\t{address}\ttrust", quoted(&replication)),
            format!("{kind}\tall\t{}\t{address}\ttrust", quoted(&superuser)),
        ]
    };
    let mut found: Vec<String> = lines("local", "").into();
    let host = server.local_replication_connection().get("host").filter(|h| !h.starts_with('/')).cloned();
    let port = parameters::get(parameters, "port").and_then(|p| p.parse().ok()).unwrap_or(5432);
    for address in addresses(host, port).await {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        found.extend(lines("host", &format!("{address}/{bits}")));
    }
    found
}

/// A user name as pg_hba.conf takes it literally: `all`, `+role`, commas and blanks have a meaning there.
fn quoted(user: &str) -> String {
    let plain =
        !user.is_empty() && user.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.');
    if plain { user.to_owned() } else { format!("\"{user}\"") }
}

async fn addresses(host: Option<String>, port: u16) -> BTreeSet<IpAddr> {
    let Some(host) = host else { return BTreeSet::new() };
    let looked_up = tokio::time::timeout(LOOKUP_PATIENCE, tokio::net::lookup_host((host.as_str(), port))).await;
    match looked_up {
        Ok(Ok(found)) => found.map(|address| address.ip()).collect(),
        Ok(Err(reason)) => {
            warn!("could not resolve {host}: {reason}");
            BTreeSet::new()
        }
        Err(_) => {
            warn!("could not resolve {host} within {LOOKUP_PATIENCE:?}");
            BTreeSet::new()
        }
    }
}

/// Appends `bootstrap.pg_hba` to the file that initdb or a custom method wrote, unless `postgresql.pg_hba` replaces the file
/// anyway or `hba_file` leads elsewhere.
///
/// # Errors
/// [`PgError::File`]; the file is then as it was.
pub async fn append(server: &Server, lines: &[String]) -> Result<(), PgError> {
    let replaced = server.settings().postgresql.pg_hba.as_ref().is_some_and(|l| !l.is_empty());
    if replaced || !own_files(server).contains(&"pg_hba.conf") {
        return Ok(());
    }
    let path: PathBuf = server.config_dir().join("pg_hba.conf");
    let mut content = match std::fs::read(&path) {
        Ok(content) => content,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(PgError::File(format!("could not read {}: {error}", path.display()))),
    };
    content.extend(format!("\n{}\n", lines.join("\n")).bytes());
    let mode = files::config_file_mode(&server.data_dir(), &path);
    files::carry_out(vec![Step::Write { path, content, mode }]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::config::Settings;
    use crate::postgres::CustomBootstrap;
    use crate::postgres::test_settings::settings;
    use std::path::Path;
    use std::sync::Arc;

    fn server(dir: &Path, change: impl FnOnce(&mut Settings)) -> Server {
        let mut settings = settings(dir);
        change(&mut settings);
        Server::new(Arc::new(settings), Clock::system())
    }

    async fn written(server: &Server) -> Vec<(String, String)> {
        let steps = steps(server, &Parameters::new()).await;
        let file = |step: Step| match step {
            Step::Write { path, content, .. } => {
                (path.file_name().unwrap().to_str().unwrap().to_owned(), String::from_utf8(content).unwrap())
            }
            other => panic!("{other:?}"),
        };
        steps.into_iter().map(file).collect()
    }

    #[tokio::test]
    async fn lists_replace_the_files() {
        let dir = tempfile::tempdir().unwrap();
        assert!(written(&server(dir.path(), |_| {})).await.is_empty());
        let both = |s: &mut Settings| {
            s.postgresql.pg_hba = Some(vec!["local all all trust".to_owned(), "host all all all md5".to_owned()]);
            s.postgresql.pg_ident = Some(vec!["m a b".to_owned()]);
        };
        let found = written(&server(dir.path(), both)).await;
        let header = "# Do not edit this file manually!\n# It will be overwritten by Patroni!\n";
        assert_eq!(
            found[0],
            ("pg_hba.conf".to_owned(), format!("{header}local all all trust\nhost all all all md5\n"))
        );
        assert_eq!(found[1], ("pg_ident.conf".to_owned(), format!("{header}m a b\n")));
    }

    #[tokio::test]
    async fn files_elsewhere_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = |place: &'static str| {
            server(dir.path(), move |s| {
                s.postgresql.pg_hba = Some(vec!["x".to_owned()]);
                s.postgresql.parameters.insert("hba_file".to_owned(), place.to_owned());
            })
        };
        assert!(written(&elsewhere("/etc/hba")).await.is_empty());
        append(&elsewhere("/etc/hba"), &["y".to_owned()]).await.unwrap();
        assert!(!dir.path().join("pg_hba.conf").exists());
        assert_eq!(written(&elsewhere("pg_hba.conf")).await.len(), 1);
    }

    // rows: BOOT-10
    #[tokio::test]
    async fn a_custom_bootstrap_trusts_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let server = server(dir.path(), |s| {
            s.postgresql.pg_hba = Some(vec!["x".to_owned()]);
            s.postgresql.listen_addresses = "127.0.0.2".to_owned();
            s.postgresql.superuser.username = Some("all".to_owned());
            s.postgresql.replication.username = Some("my user".to_owned());
        });
        server.set_custom_bootstrap(CustomBootstrap { running: true, keep_recovery_conf: false });
        let (_, content) = written(&server).await.remove(0);
        let lines: Vec<&str> = content.lines().skip(2).collect();
        assert_eq!(
            lines,
            [
                "local\treplication\t\"my user\"\t\ttrust",
                "local\tall\tall\t\ttrust",
                "host\treplication\t\"my user\"\t127.0.0.2/32\ttrust",
                "host\tall\tall\t127.0.0.2/32\ttrust",
            ]
        );
    }

    #[tokio::test]
    async fn bootstrap_lines_are_appended() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("pg_hba.conf"), "first\n").unwrap();
        append(&server(dir.path(), |_| {}), &["a".to_owned(), "b".to_owned()]).await.unwrap();
        let content = std::fs::read_to_string(dir.path().join("pg_hba.conf")).unwrap();
        assert_eq!(content, "first\n\na\nb\n");
    }
}
