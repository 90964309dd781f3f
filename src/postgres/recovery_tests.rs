use super::*;
use crate::clock::Clock;
use crate::config::Settings;
use crate::postgres::test_settings::{settings, upstream};
use std::sync::Arc;

fn server(dir: &std::path::Path, change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = settings(&dir.join("data"));
    change(&mut settings);
    Server::new(Arc::new(settings), Clock::system())
}

fn text(lines: &[(String, String)]) -> String {
    lines.iter().map(|(n, v)| format!("{n}={v}\n")).collect()
}

#[test]
fn a_standby_streams_with_a_password_file() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), |_| {});
    let wanted = wanted(&server, Some(&upstream("node2", 5433)), PgVersion(150_000));
    let passfile = dir.path().join("data.pgpass");
    let expected = format!(
        "primary_conninfo=dbname=postgres user=replicator passfile={} host=127.0.0.1 port=5433 sslmode=prefer \
         application_name=node1 gssencmode=prefer channel_binding=prefer\nprimary_slot_name=node1\nrecovery_target=\n\
         recovery_target_lsn=\nrecovery_target_name=\nrecovery_target_time=\nrecovery_target_timeline=latest\n\
         recovery_target_xid=\n",
        passfile.display()
    );
    assert_eq!(text(&wanted.lines(&server, PgVersion(150_000)).unwrap()), expected);
    assert_eq!(std::fs::read_to_string(&passfile).unwrap(), "127.0.0.1:5433:*:replicator:rep-pass\n");
    assert!(wanted.standby);
}

#[test]
fn old_versions_have_their_own_names() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), |s| {
        s.postgresql.recovery_conf.insert("promote_trigger_file".to_owned(), "/tmp/t".to_owned());
        s.postgresql.recovery_conf.insert("recovery_target_time".to_owned(), "yesterday".to_owned());
        s.postgresql.recovery_conf.insert("restore_command".to_owned(), "cp '%f' %p".to_owned());
    });
    let version = PgVersion(90_600);
    let found = wanted(&server, Some(&upstream("node2", 5433)), version).lines(&server, version).unwrap();
    assert_eq!(
        text(&found),
        "primary_conninfo=dbname=postgres user=replicator password=rep-pass host=127.0.0.1 port=5433 sslmode=prefer \
         application_name=node1\nprimary_slot_name=node1\nrecovery_target_timeline=latest\n\
         restore_command=cp '%f' %p\nstandby_mode=on\ntrigger_file=/tmp/t\n"
    );
    let newest = PgVersion(160_000);
    let names: Vec<String> =
        wanted(&server, None, newest).lines(&server, newest).unwrap().into_iter().map(|l| l.0).collect();
    assert!(
        !names.iter().any(|n| n.contains("trigger") || n.starts_with("primary") || n == "standby_mode"),
        "{names:?}"
    );
}

#[test]
fn nobody_follows_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), |_| {});
    let version = PgVersion(150_000);
    assert_eq!(wanted(&server, Some(&upstream("node1", 5433)), version).primary_conninfo, None);
    assert!(parameters::get(&wanted(&server, None, version).settings, "primary_slot_name").is_none());
}

// rows: STBY-02, STBY-05
#[test]
fn an_upstream_outside_the_cluster_must_be_writable_and_gives_its_commands() {
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), |s| {
        s.postgresql.recovery_conf.insert("restore_command".to_owned(), "own".to_owned());
    });
    let mut remote = upstream("remote member", 5433);
    remote.is_member = false;
    remote.conn.insert("host".to_owned(), "a,b".to_owned());
    remote.recovery.insert("restore_command".to_owned(), "theirs".to_owned());
    let version = PgVersion(150_000);
    let found = wanted(&server, Some(&remote), version);
    assert_eq!(found.primary_conninfo.unwrap().get("target_session_attrs").map(String::as_str), Some("read-write"));
    assert_eq!(parameters::get(&found.settings, "restore_command"), Some("theirs"));
}

#[test]
fn a_methods_own_section_is_no_standby() {
    let section = |pairs: &[(&str, &str)]| -> Parameters {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    let dir = tempfile::tempdir().unwrap();
    let server = server(dir.path(), |_| {});
    let given = section(&[("recovery_target_name", "x"), ("pause_at_recovery_target", "off"), ("nonsense", "1")]);
    let recovery = of_method(&given);
    assert!(!recovery.standby && promotes_at_target(&given));
    assert_eq!(
        text(&recovery.lines(&server, PgVersion(150_000)).unwrap()),
        "recovery_target_action=promote\nrecovery_target_name=x\n"
    );
    assert!(of_method(&section(&[("standby_mode", "on")])).standby);
    assert!(!promotes_at_target(&section(&[])));
    assert!(promotes_at_target(&section(&[("recovery_target_action", "promote")])));
}
