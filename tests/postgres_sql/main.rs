//! What the agent says to a real PostgreSQL server, and how it copes when that does not answer.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod node;
mod slot_cases;
#[path = "../common/settings.rs"]
mod test_settings;

use node::{Node, as_postgres, bin_dir};
use patroni::cluster::{Readiness, SlotPlan, StopMode, WantedSlot};
use patroni::config::settings::{Bootstrap, CustomMethod};
use patroni::postgres::connection::{self, Conn, Session, SessionOptions};
use patroni::postgres::replication::{self, ReplicationSession};
use patroni::postgres::{
    PgError, PostgresControl, RewindEnd, Server, bootstrap, controldata, create_replica, guc, readiness, rewind,
    single_user, slots, status, users,
};
use patroni::types::{Lsn, Timeline};
use rustix::process::Signal;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A flag that nobody raises.
fn never() -> (watch::Sender<bool>, watch::Receiver<bool>) {
    watch::channel(false)
}

async fn sql(server: &Server, text: &str) -> String {
    let session = connection::open_local(server, &SessionOptions::unlimited()).await.unwrap();
    let rows = session.query_within(text, Duration::from_secs(30)).await.unwrap();
    rows.first().and_then(|row| row.text(0)).unwrap_or_default().to_owned()
}

/// A standby of `primary` that streams.
async fn standby_of(primary: &Node) -> Node {
    let mut standby = Node::new("standby");
    let (_owner, cancel) = never();
    create_replica::create_replica(&standby.server, Some(&primary.upstream()), false, &cancel).await.unwrap();
    standby.follow(primary);
    standby.start(&[]);
    standby.wait(Readiness::Accepting).await;
    standby
}

/// Asks until the answer is as wanted.
async fn eventually<T: std::fmt::Debug>(what: &str, mut ask: impl AsyncFnMut() -> T, wanted: impl Fn(&T) -> bool) -> T {
    let mut last = None;
    for _ in 0..600 {
        let answer = ask().await;
        if wanted(&answer) {
            return answer;
        }
        last = Some(answer);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: {last:?}");
}

// rows: HA-46, RACE-06
#[test]
fn status_of_primary_and_standby() {
    as_postgres("status_of_primary_and_standby", async {
        let primary = Node::primary("primary").await;
        users::create_others(&primary.server).await.unwrap();
        let standby = standby_of(&primary).await;
        let seen = eventually(
            "a streaming standby",
            async || status::status(&primary.server).await.unwrap(),
            |s| s.replication.iter().any(|r| r.state == "streaming"),
        )
        .await;
        assert!(!seen.in_recovery && seen.timeline == Timeline(1) && seen.write_lsn > Lsn(0), "{seen:?}");
        assert_eq!((seen.receive_lsn, seen.replay_lsn, seen.control_timeline), (None, None, Some(Timeline(1))));
        let row = &seen.replication[0];
        assert_eq!((row.usename.as_deref(), row.application_name.as_str()), (Some("replicator"), "standby"));
        assert_eq!((row.client_addr.as_deref(), row.sync_state.as_str()), (Some("127.0.0.1"), "async"));
        let start = seen.postmaster_start_time.clone().unwrap();
        assert!(start.len() >= 25 && start.get(start.len() - 3..start.len() - 2) == Some(":"), "{start}");

        sql(&primary.server, "CREATE TABLE t AS SELECT 1").await;
        let target: Lsn = sql(&primary.server, "SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
        let seen = eventually(
            "replay",
            async || status::status(&standby.server).await.unwrap(),
            |s| s.replay_lsn.is_some_and(|lsn| lsn >= target) && s.replayed_timestamp.is_some(),
        )
        .await;
        assert!(seen.in_recovery && seen.timeline == Timeline(0) && !seen.replay_paused, "{seen:?}");
        assert!(seen.receive_lsn >= Some(target) && seen.position() >= target, "{seen:?}");
        let receiver = seen.receiver.unwrap();
        assert_eq!((receiver.status.as_str(), receiver.timeline), ("streaming", Timeline(1)));
        assert!(receiver.conninfo.unwrap().contains("user=replicator"));
        assert_eq!(seen.restore_command.as_deref(), Some(""));

        sql(&standby.server, "SELECT pg_wal_replay_pause()").await;
        assert!(status::status(&standby.server).await.unwrap().replay_paused);
        connection::resume_replay(&standby.server).await.unwrap();
        assert!(!status::status(&standby.server).await.unwrap().replay_paused);
        let error = connection::checkpoint_by(&standby.server.local_connection(), true, Duration::from_secs(9)).await;
        assert_eq!(error.unwrap_err().message, "is_in_recovery=true");
        connection::checkpoint(&primary.server, Duration::from_secs(30)).await.unwrap();
    });
}

#[test]
fn replication_connections() {
    as_postgres("replication_connections", async {
        let mut primary = Node::primary("primary").await;
        users::create_others(&primary.server).await.unwrap();
        assert_eq!(replication::own_timeline(&primary.server).await, Ok(Timeline(1)));
        let good = primary.server.local_replication_connection();
        let identity = ReplicationSession::open(&good).await.unwrap().identify_system().await.unwrap();
        assert!(identity.lsn > Lsn(0) && identity.system_id.len() > 10, "{identity:?}");

        let with = |pairs: &[(&str, &str)]| -> Conn {
            let mut conn = good.clone();
            conn.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
            conn
        };
        let error = ReplicationSession::open(&with(&[("password", "wrong")])).await.map(|_| ()).unwrap_err();
        assert!(error.is("28P01"), "{error}");
        let error = ReplicationSession::open(&with(&[("sslmode", "require")])).await.map(|_| ()).unwrap_err();
        assert!(error.message.contains("does not support SSL"), "{error}");
        let error = ReplicationSession::open(&with(&[("channel_binding", "require")])).await.map(|_| ()).unwrap_err();
        assert!(error.message.contains("channel binding"), "{error}");
        // By socket nobody asks for a password ("trust").
        let socket = primary.dir.path().to_str().unwrap().to_owned();
        std::fs::write(primary.data().join("pg_hba.conf"), format!("local replication all trust\n{}", node::HBA))
            .unwrap();
        sql(&primary.server, "SELECT pg_reload_conf()").await;
        let trusted = with(&[("host", &socket), ("password", "")]);
        let opened = async || ReplicationSession::open(&trusted).await.map(|_| ()).map_err(|e| e.to_string());
        eventually("trust", opened, Result::is_ok).await.unwrap();

        let mut session = ReplicationSession::open(&good).await.unwrap();
        let error = session.timeline_history(Timeline(7)).await.unwrap_err();
        assert_eq!(error.stage, patroni::postgres::sql_error::Stage::Statement, "{error}");
        // The session survives a refused command.
        assert_eq!(session.identify_system().await.unwrap().timeline, Timeline(1));

        let point = replication::leader_point(&primary.server, &primary.upstream()).await.unwrap();
        assert!(point.read_write && point.timeline == Timeline(1) && point.history.is_empty(), "{point:?}");
        sql(&primary.server, "SET password_encryption = 'md5'; ALTER ROLE replicator PASSWORD 'rep-pass'").await;
        primary.stop(Signal::INT);
        primary.start(&[]);
        primary.wait(Readiness::Accepting).await;
        assert_eq!(replication::own_timeline(&primary.server).await, Ok(Timeline(1)));
    });
}

#[test]
fn tls_modes() {
    as_postgres("tls_modes", async {
        let mut primary = Node::primary("primary").await;
        users::create_others(&primary.server).await.unwrap();
        primary.stop(Signal::INT);
        let dir = primary.dir.path().to_owned();
        let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        let (certificate, key) = (file("server.crt"), file("server.key"));
        let made = Command::new("openssl")
            .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=db.example"])
            .args(["-out", &certificate, "-keyout", &key])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let hba = node::HBA.replace("host ", "hostssl ") + "hostnossl all postgres 127.0.0.1/32 reject\n";
        std::fs::write(primary.data().join("pg_hba.conf"), hba).unwrap();
        primary.start(&["ssl=on", &format!("ssl_cert_file={certificate}"), &format!("ssl_key_file={key}")]);
        primary.wait(Readiness::Accepting).await;

        let other = file("other.crt");
        let made = Command::new("openssl")
            .args(["req", "-new", "-x509", "-days", "2", "-nodes", "-subj", "/CN=other", "-out", &other])
            .args(["-keyout", &file("other.key")])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let by_name = ("host", "db.example");
        let here = ("hostaddr", "127.0.0.1");
        for (pairs, works) in [
            (&[][..], true),
            (&[("sslmode", "disable")], false),
            (&[("sslmode", "allow")], true),
            (&[("sslmode", "require")], true),
            (&[("sslmode", "require"), ("sslrootcert", &certificate)], true),
            (&[("sslmode", "require"), ("sslrootcert", &other)], false),
            (&[("sslmode", "verify-ca"), ("sslrootcert", &certificate)], true),
            (&[("sslmode", "verify-ca"), ("sslrootcert", &other)], false),
            (&[("sslmode", "verify-full"), ("sslrootcert", &certificate)], false),
            (&[("sslmode", "verify-full"), ("sslrootcert", &certificate), by_name, here], true),
            (&[("sslmode", "require"), ("channel_binding", "require")], true),
        ] {
            for conn in [primary.server.local_connection(), primary.server.local_replication_connection()] {
                let mut conn: Conn = conn;
                conn.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
                let opened = if conn.get("user").map(String::as_str) == Some("replicator") {
                    ReplicationSession::open(&conn).await.map(|_| ())
                } else {
                    Session::open(&conn, &SessionOptions::short("test")).await.map(|_| ())
                };
                assert_eq!(opened.is_ok(), works, "{conn:?}: {opened:?}");
            }
        }
    });
}

#[test]
fn readiness_of_a_server_that_does_not_take_clients() {
    as_postgres("readiness_of_a_server_that_does_not_take_clients", async {
        let mut node = Node::primary("primary").await;
        node.stop(Signal::INT);
        assert_eq!(readiness::readiness(&node.server).await, Readiness::NoResponse);
        std::fs::write(node.data().join("standby.signal"), "").unwrap();
        // A standby without hot standby rejects as a server does that is still starting.
        node.start(&["hot_standby=off"]);
        node.wait(Readiness::Rejecting).await;
        let error = status::status(&node.server).await.unwrap_err();
        assert!(matches!(error, PgError::NoConnection(_)), "{error:?}");
    });
}

#[test]
fn a_frozen_server_does_not_freeze_the_agent() {
    as_postgres("a_frozen_server_does_not_freeze_the_agent", async {
        let node = Node::primary("primary").await;
        status::status(&node.server).await.unwrap();
        node.signal_all(Signal::STOP);
        let patience = Duration::from_secs(12);
        let answer = tokio::time::timeout(patience, status::status(&node.server)).await.expect("no deadline");
        assert!(matches!(answer, Err(PgError::NoConnection(_) | PgError::TimedOut(_))), "{answer:?}");
        assert_eq!(readiness::readiness(&node.server).await, Readiness::NoResponse);
        let timeline =
            tokio::time::timeout(patience, replication::own_timeline(&node.server)).await.expect("no deadline");
        assert!(timeline.is_err());
        let checkpoint = connection::checkpoint(&node.server, Duration::from_millis(300)).await;
        assert!(checkpoint.is_err());
        node.signal_all(Signal::CONT);
        node.wait(Readiness::Accepting).await;
        status::status(&node.server).await.unwrap();
        let error = connection::query(&node.server, "SELECT pg_sleep(10)").await.unwrap_err();
        assert!(error.is("57014"), "{error:?}");
        status::status(&node.server).await.unwrap();
    });
}

#[test]
fn a_restarted_server_is_reconnected_to() {
    as_postgres("a_restarted_server_is_reconnected_to", async {
        let mut node = Node::primary("primary").await;
        let before = status::status(&node.server).await.unwrap().postmaster_start_time;
        node.stop(Signal::INT);
        node.start(&[]);
        node.wait(Readiness::Accepting).await;
        // The session of before is broken: the second try opens another.
        assert_ne!(status::status(&node.server).await.unwrap().postmaster_start_time, before);
        assert_eq!(guc::show(&node.server, "wal_log_hints").await.unwrap(), "on");
        assert_eq!(guc::offline(&node.server, "wal_log_hints").await.unwrap().as_deref(), Some("on"));
        let rows = guc::settings(&node.server).await.unwrap();
        let row = rows.iter().find(|r| r.name == "max_connections").unwrap();
        assert_eq!((row.setting.as_str(), row.context.as_str()), ("100", "postmaster"));
        node::append(&node.data().join("postgresql.conf"), "max_connections = 50\n");
        sql(&node.server, "SELECT pg_reload_conf()").await;
        let pending = async || guc::pending_restart(&node.server).await.unwrap();
        eventually("pending_restart", pending, |rows| rows.iter().any(|r| r.name == "max_connections")).await;
    });
}

// rows: PAUSE-06, SLOT-01, SLOT-06, SLOT-10, SLOT-21
#[test]
fn physical_slots() {
    as_postgres("physical_slots", async {
        let node = Node::primary("primary").await;
        let server = &node.server;
        let plan = |names: &[(&str, Option<Lsn>)], drop_unknown| SlotPlan {
            slots: names.iter().map(|(name, lsn)| WantedSlot::physical(name, *lsn)).collect(),
            drop_unknown,
            ignore: vec![serde_json::json!({"name": "theirs", "type": "physical"})],
            ..SlotPlan::default()
        };
        let all = async || {
            sql(server, "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots").await
        };
        let made = slots::sync_slots(server, &plan(&[("a", None), ("b", None)], true)).await.unwrap().slots;
        assert_eq!(made.iter().map(|(name, _, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(made.iter().all(|(_, lsn, active)| lsn.is_some() && !active), "{made:?}");

        sql(server, "SELECT pg_create_physical_replication_slot('theirs')").await;
        sql(server, "SELECT pg_create_physical_replication_slot('odd')").await;
        sql(server, "SELECT pg_switch_wal()").await;
        sql(server, "CREATE TABLE t AS SELECT 1").await;
        let target: Lsn = sql(server, "SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
        // In pause nothing goes away.
        let kept = slots::sync_slots(server, &plan(&[("a", Some(target))], false)).await.unwrap();
        assert_eq!(kept.slots.len(), 1, "{kept:?}");
        assert_eq!(all().await, "a b odd theirs");
        let after = slots::sync_slots(server, &plan(&[("a", Some(target)), ("odd", None)], true)).await.unwrap().slots;
        assert_eq!(all().await, "a odd theirs");
        let lsn = |name: &str| after.iter().find(|(n, _, _)| n == name).unwrap().1;
        assert_eq!(lsn("a"), Some(target));
        assert!(after.len() == 2 && lsn("odd").is_some(), "{after:?}");
        // What fails is logged, the rest is done.
        let after = slots::sync_slots(server, &plan(&[("Not Valid", None), ("c", None)], true)).await.unwrap().slots;
        assert!(after.iter().any(|(name, _, _)| name == "c"), "{after:?}");
    });
}

// rows: BOOT-04
#[test]
fn users_of_a_new_cluster() {
    as_postgres("users_of_a_new_cluster", async {
        let node = Node::primary("primary").await;
        users::set_superuser(&node.server).await.unwrap();
        users::create_others(&node.server).await.unwrap();
        users::create_others(&node.server).await.unwrap();
        let role = "SELECT rolreplication::text || rolsuper::text || rolcanlogin::text FROM pg_authid WHERE rolname = ";
        assert_eq!(sql(&node.server, &format!("{role}'replicator'")).await, "truefalsetrue");
        assert_eq!(sql(&node.server, &format!("{role}'rewinder'")).await, "falsefalsetrue");
        let right = "SELECT has_function_privilege('rewinder', 'pg_read_binary_file(text)', 'execute')";
        assert_eq!(sql(&node.server, right).await, "t");
        let log = std::fs::read_to_string(node.dir.path().join("log")).unwrap();
        assert!(!log.contains("rep-pass"), "{log}");
    });
}

// rows: REW-03, REW-04, NEXT-02
#[test]
fn a_diverged_primary_is_rewound() {
    as_postgres("a_diverged_primary_is_rewound", async {
        let mut old = Node::primary("old").await;
        users::create_others(&old.server).await.unwrap();
        let mut new = standby_of(&old).await;
        sql(&old.server, "CREATE TABLE t (place text)").await;
        let target: Lsn = sql(&old.server, "SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
        let replayed = async || status::status(&new.server).await.unwrap();
        eventually("replay", replayed, |s| s.replay_lsn >= Some(target)).await;
        sql(&new.server, "SELECT pg_promote()").await;
        sql(&old.server, "INSERT INTO t VALUES ('old')").await;
        sql(&new.server, "INSERT INTO t VALUES ('new')").await;
        connection::checkpoint(&new.server, Duration::from_secs(30)).await.unwrap();
        let point = replication::leader_point(&old.server, &new.upstream()).await.unwrap();
        assert_eq!((point.timeline, point.history.len()), (Timeline(2), 1));
        assert!(point.read_write && point.history[0].1 >= target, "{point:?}");

        let (_owner, cancel) = never();
        assert!(rewind::works(&old.server).await);
        old.stop(Signal::KILL);
        // A killed primary must recover before it can be rewound.
        eventually(
            "the end of its backends",
            async || patroni::sys::server_processes(&old.data(), "postgres", None).len(),
            |left| *left == 0,
        )
        .await;
        single_user::crash_recovery(&old.server, &cancel).await.unwrap();
        let control = controldata::read(&old.server).await.unwrap();
        assert_eq!(control.state, patroni::cluster::ControlState::ShutDown);

        // pg_rewind itself judges the options that it gets.
        let set_options = |name: &str| {
            let mut settings = patroni::config::Settings::clone(&old.server.settings());
            settings.postgresql.rewind_options = vec![(name.to_owned(), None)];
            old.server.configure(Arc::new(settings));
        };
        set_options("no-such-option");
        assert!(matches!(rewind::run(&old.server, &new.upstream(), &cancel).await, RewindEnd::Failed(_)));
        set_options("progress");
        assert_eq!(rewind::run(&old.server, &new.upstream(), &cancel).await, RewindEnd::Done);
        let conf = old.data().join("postgresql.conf");
        std::fs::write(&conf, std::fs::read_to_string(&conf).unwrap().replace("primary_conninfo", "# old")).unwrap();
        old.follow(&new);
        old.start(&[]);
        old.wait(Readiness::Accepting).await;
        let rows = async || sql(&old.server, "SELECT string_agg(place, ',') FROM t").await;
        eventually("the new primary's row alone", rows, |rows| rows == "new").await;

        old.stop(Signal::INT);
        new.stop(Signal::INT);
        let end = rewind::run(&old.server, &new.upstream(), &cancel).await;
        assert!(matches!(end, RewindEnd::TryAgain(_)), "{end:?}");
    });
}

#[test]
fn a_copy_is_made_by_methods_in_order() {
    as_postgres("a_copy_is_made_by_methods_in_order", async {
        let primary = Node::primary("primary").await;
        users::create_others(&primary.server).await.unwrap();
        let copy = Node::new("copy");
        let mut settings = node::settings("copy", &copy.data(), copy.port);
        let options = serde_json::json!({"command": "sh -c 'mkdir -p \"$1\"; touch \"$1/half\"; exit 1' x"});
        let options = options.as_object().cloned().unwrap();
        settings.postgresql.create_replica_methods = vec![
            CustomMethod { name: "broken".to_owned(), options },
            CustomMethod { name: "basebackup".to_owned(), options: serde_json::Map::default() },
        ];
        let server = Server::new(Arc::new(settings), patroni::clock::Clock::system());
        let (owner, cancel) = never();
        create_replica::create_replica(&server, Some(&primary.upstream()), false, &cancel).await.unwrap();
        assert!(copy.data().join("PG_VERSION").exists() && !copy.data().join("half").exists());
        // A running server's directory is never wiped.
        let refused = create_replica::create_replica(&primary.server, Some(&primary.upstream()), true, &cancel).await;
        assert!(matches!(refused, Err(PgError::Program(_))), "{refused:?}");
        let nobody = create_replica::create_replica(&server, None, false, &cancel).await;
        assert!(nobody.is_err());
        assert!(copy.data().join("PG_VERSION").exists());
        owner.send(true).unwrap();
        let ended = create_replica::create_replica(&server, Some(&primary.upstream()), true, &cancel).await;
        assert_eq!(ended, Err(PgError::Cancelled));
        assert!(!copy.data().join("PG_VERSION").exists());
    });
}

// rows: BOOT-02, BOOT-06, BOOT-12
#[test]
fn a_new_cluster_is_bootstrapped() {
    as_postgres("a_new_cluster_is_bootstrapped", async {
        let mut node = Node::new("first");
        let mut settings = node::settings("first", &node.data(), node.port);
        let seen = node.dir.path().join("seen");
        settings.bootstrap = Some(Bootstrap {
            initdb: vec![("encoding".to_owned(), Some("UTF8".to_owned())), ("data-checksums".to_owned(), None)],
            pg_hba: node::HBA.lines().map(str::to_owned).collect(),
            post_bootstrap: Some(format!("sh -c 'echo \"$0 $PGPASSFILE $PGOPTIONS\" > {}'", seen.display())),
            ..Bootstrap::default()
        });
        node.server = Server::new(Arc::new(settings), patroni::clock::Clock::system());
        let (_owner, cancel) = never();
        bootstrap::initdb(&node.server, &cancel).await.unwrap();
        assert!(controldata::read(&node.server).await.unwrap().checksums);
        // initdb's own lines trust everybody and come first.
        std::fs::write(node.data().join("pg_hba.conf"), node::HBA).unwrap();
        node.start(&["listen_addresses=127.0.0.1"]);
        node.wait(Readiness::Accepting).await;
        bootstrap::post_bootstrap(&node.server, &cancel).await.unwrap();
        assert_eq!(replication::own_timeline(&node.server).await, Ok(Timeline(1)));
        let seen = std::fs::read_to_string(seen).unwrap();
        assert!(
            seen.starts_with("dbname=postgres user=postgres host=localhost") || seen.contains("user=postgres"),
            "{seen}"
        );
        assert!(!seen.contains("super-") && seen.contains("synchronous_commit=local"), "{seen}");
        assert!(seen.contains(".pgpass"), "{seen}");
        assert!(bin_dir().is_some());
    });
}

// rows: BOOT-08, BOOT-10
#[test]
fn a_custom_method_makes_a_cluster() {
    as_postgres("a_custom_method_makes_a_cluster", async {
        let mut node = Node::new("first");
        let mut settings = node::settings("first", &node.data(), node.port);
        let socket_dir = node.dir.path().display().to_string();
        settings.postgresql.parameters.insert("unix_socket_directories".to_owned(), socket_dir);
        settings.postgresql.parameters.insert("fsync".to_owned(), "off".to_owned());
        settings.postgresql.pg_hba = Some(node::HBA.lines().map(str::to_owned).collect());
        // A superuser without a password, as after a restore from a cluster with another one.
        let script = node.dir.path().join("method");
        let initdb = bin_dir().unwrap().join("initdb");
        let text = format!(
            "echo \"$@\" > {0}.args; exec {1} -A scram-sha-256 --no-sync -U postgres --pwfile=/dev/stdin -D {2} <<EOF\nother\nEOF\n",
            script.display(),
            initdb.display(),
            node.data().display()
        );
        std::fs::write(&script, text).unwrap();
        let options = serde_json::json!({
            "command": format!("sh {}", script.display()), "level": 3, "keep_existing_recovery_conf": false,
        });
        settings.bootstrap = Some(Bootstrap {
            method: Some(CustomMethod { name: "own".to_owned(), options: options.as_object().cloned().unwrap() }),
            ..Bootstrap::default()
        });
        node.server = Server::new(Arc::new(settings), patroni::clock::Clock::system());
        let (_owner, cancel) = never();
        let start = bootstrap::custom_bootstrap(&node.server, &cancel).await.unwrap();
        let args = std::fs::read_to_string(script.with_extension("args")).unwrap();
        assert_eq!(args.trim(), format!("--scope=batman --datadir={} --level=3", node.data().display()));
        node.server.write_config(&start).await.unwrap();
        let postmaster = node.server.launch(&start).await.unwrap();
        node.wait(Readiness::Accepting).await;
        PostgresControl::post_bootstrap(&node.server, cancel).await.unwrap();
        // The temporary trust is over, and the new passwords are good.
        let refused = async || {
            let mut conn = node.server.local_connection();
            conn.insert("password".to_owned(), "other".to_owned());
            Session::open(&conn, &SessionOptions::short("test")).await.is_err()
        };
        eventually("the end of trust", refused, |refused| *refused).await;
        assert_eq!(replication::own_timeline(&node.server).await, Ok(Timeline(1)));
        assert!(!node.server.status().await.unwrap().in_recovery);
        node.server.signal_stop(postmaster, StopMode::Fast).await.unwrap();
        tokio::time::timeout(Duration::from_secs(30), node.server.exited(postmaster)).await.unwrap();
    });
}
