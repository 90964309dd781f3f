use super::*;
use crate::clock::Clock;
use crate::cluster::NodeStatus;
use crate::postgres::config_writer;
use crate::postgres::test_settings::{settings, upstream};
use crate::postgres::{CustomBootstrap, StartAs};
use std::fs;
use std::sync::Arc;

struct Place {
    _dir: tempfile::TempDir,
    server: Server,
}

async fn standby(version: &str) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir_all(data.join("global")).unwrap();
    fs::write(data.join("PG_VERSION"), format!("{version}\n")).unwrap();
    fs::write(data.join("postgresql.conf"), "").unwrap();
    let server = Server::new(Arc::new(settings(&data)), Clock::system());
    assert_eq!(server.custom_bootstrap(), CustomBootstrap::default());
    follow(&server, 5433).await;
    Place { _dir: dir, server }
}

async fn follow(server: &Server, port: u16) {
    let upstream = Some(Box::new(upstream("node2", port)));
    config_writer::write(server, &StartAs::Standby { upstream }).await.unwrap();
}

fn answer(server: &Server, receiver: Option<WalReceiver>) {
    server.remember_status(Some(NodeStatus { in_recovery: true, receiver, ..NodeStatus::default() }));
}

async fn against(server: &Server, port: u16) -> (bool, bool) {
    check(server, Some(&upstream("node2", port))).await.unwrap()
}

#[tokio::test]
async fn what_was_written_is_what_is_wanted() {
    for version in ["9.6", "12", "13", "14", "17"] {
        let p = standby(version).await;
        assert_eq!(against(&p.server, 5433).await, (false, false), "{version}");
        answer(&p.server, None);
        assert_eq!(against(&p.server, 5433).await, (false, false), "{version}");
    }
}

// rows: HA-26
#[tokio::test]
async fn the_version_says_whether_a_reload_is_enough() {
    for (version, restart) in [("9.6", true), ("11", true), ("12", true), ("13", false), ("14", false), ("18", false)] {
        let p = standby(version).await;
        assert_eq!(against(&p.server, 5434).await, (true, restart), "{version}");
        assert_eq!(check(&p.server, None).await.unwrap(), (true, restart), "{version}");
    }
    for (version, restart) in [("11", true), ("12", true), ("13", true), ("14", false)] {
        let p = standby(version).await;
        let mut other = upstream("node2", 5433);
        other.recovery.insert("restore_command".to_owned(), "x".to_owned());
        assert_eq!(check(&p.server, Some(&other)).await.unwrap(), (true, restart), "{version}");
    }
}

#[tokio::test]
async fn without_signal_file_a_restart_is_needed() {
    for version in ["9.6", "15"] {
        let p = standby(version).await;
        for name in ["standby.signal", "recovery.conf"] {
            crate::postgres::files::remove(&p.server.data_dir().join(name)).unwrap();
        }
        assert_eq!(against(&p.server, 5433).await, (true, true));
    }
}

#[tokio::test]
async fn a_living_receiver_says_what_is_really_used() {
    let p = standby("15").await;
    let receiver = |port: u16, slot: Option<&str>| {
        let passfile = pgpass::path(&p.server);
        let conninfo = format!(
            "user=replicator passfile={} channel_binding=prefer dbname=replication host=127.0.0.1 port={port} \
             application_name=node1 fallback_application_name=batman sslmode=prefer gssencmode=prefer",
            passfile.display()
        );
        let slot_name = slot.map(str::to_owned);
        Some(WalReceiver { conninfo: Some(conninfo), slot_name, ..WalReceiver::default() })
    };
    answer(&p.server, receiver(5433, Some("node1")));
    assert_eq!(against(&p.server, 5433).await, (false, false));
    answer(&p.server, receiver(5434, Some("node1")));
    assert_eq!(against(&p.server, 5433).await, (true, false));
    answer(&p.server, receiver(5433, None));
    assert_eq!(against(&p.server, 5433).await, (true, false));
}

#[tokio::test]
async fn another_password_needs_another_password_file() {
    let p = standby("15").await;
    answer(&p.server, None);
    assert_eq!(against(&p.server, 5433).await, (false, false));
    fs::write(pgpass::path(&p.server), "elsewhere:1:*:x:y\n").unwrap();
    // The file's time changed: what the configuration says is read anew, here from the files, as no server answers.
    p.server.remember_status(None);
    p.server.written.borrow_mut().seen = None;
    assert_eq!(against(&p.server, 5433).await, (true, false));
}

#[tokio::test]
async fn a_new_agent_reads_the_files_of_a_server_that_starts() {
    let p = standby("15").await;
    let again = Server::new(p.server.settings(), Clock::system());
    assert_eq!(against(&again, 5433).await, (false, false));
    assert_eq!(against(&again, 5434).await, (true, false));
    let auto = p.server.data_dir().join("postgresql.auto.conf");
    fs::write(auto, "recovery_target_name = 'x'\n").unwrap();
    let third = Server::new(p.server.settings(), Clock::system());
    assert_eq!(against(&third, 5433).await, (true, true));
}

#[test]
fn delays_are_compared_by_value_and_included_settings_left_alone() {
    let version = PgVersion(150_000);
    let actual = |value: &str| Actual { value: value.to_owned(), ..Actual::default() };
    let wanted = |value: &str| {
        let settings = [("recovery_min_apply_delay".to_owned(), value.to_owned())].into_iter().collect();
        Recovery { standby: true, primary_conninfo: None, settings }
    };
    let same = |a: &str, w: &str| same("recovery_min_apply_delay", &actual(a), &wanted(w), None, version);
    assert!(same("5000", "5s") && same("", "0") && same("0", ""));
    assert!(!same("5000", "5min") && !same("x", "0"));
}
