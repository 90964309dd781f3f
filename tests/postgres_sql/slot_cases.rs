//! Replication slots on real servers: what is dropped, what is made anew, what is left alone; logical slots on a standby.

use super::node::{Node, append, as_postgres, bin_dir};
use super::{eventually, never, sql};
use patroni::cluster::{Readiness, SlotKind, SlotPlan, WantedSlot};
use patroni::postgres::connection::{self, SessionOptions};
use patroni::postgres::{PostgresControl, Server, create_replica, slots, users};
use patroni::types::Lsn;
use rustix::process::Signal;
use std::process::{Command, Stdio};

fn physical(name: &str) -> WantedSlot {
    WantedSlot { expected_active: Some(false), ..WantedSlot::physical(name, None) }
}

fn logical(name: &str, plugin: &str, lsn: Option<Lsn>) -> WantedSlot {
    let kind = SlotKind::Logical { database: "postgres".to_owned(), plugin: plugin.to_owned() };
    WantedSlot { name: name.to_owned(), kind, lsn, expected_active: None }
}

fn on_primary(slots: Vec<WantedSlot>) -> SlotPlan {
    SlotPlan { slots, drop_unknown: true, primary: true, ..SlotPlan::default() }
}

async fn primary(parameters: &str) -> Node {
    let mut node = Node::primary("primary").await;
    users::create_others(&node.server).await.unwrap();
    node.stop(Signal::INT);
    append(&node.data().join("postgresql.conf"), parameters);
    node.start(&[]);
    node.wait(Readiness::Accepting).await;
    node
}

/// Name, type and plugin of all slots.
async fn all(server: &Server) -> String {
    let list = "SELECT string_agg(concat_ws(':', slot_name, slot_type, plugin), ' ' ORDER BY slot_name) \
        FROM pg_replication_slots";
    sql(server, list).await
}

// rows: SLOT-10, SLOT-11, SLOT-12, SLOT-15
#[test]
fn what_is_in_the_way_goes_and_what_is_used_stays() {
    as_postgres("slot_cases::what_is_in_the_way_goes_and_what_is_used_stays", async {
        let node = primary("wal_level = logical\n").await;
        let server = &node.server;
        let make = async |text: &str| {
            sql(server, text).await;
        };
        make("SELECT pg_create_logical_replication_slot('x', 'test_decoding')").await;
        make("SELECT pg_create_logical_replication_slot('y', 'pgoutput')").await;
        make("SELECT pg_create_physical_replication_slot('used')").await;
        make("SELECT pg_create_physical_replication_slot('idle')").await;
        let session = connection::open_local(server, &SessionOptions::unlimited()).await.unwrap();
        session.query("SELECT pg_create_physical_replication_slot('mine', true, true)").await.unwrap();
        let target = node.dir.path().join("received");
        std::fs::create_dir(&target).unwrap();
        let mut receiver = Command::new(bin_dir().unwrap().join("pg_receivewal"))
            .args(["--slot=used", "--no-password", "--host=127.0.0.1", "--username=replicator"])
            .arg(format!("--port={}", node.port))
            .arg(format!("--directory={}", target.display()))
            .env("PGPASSWORD", "rep-pass")
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'used'";
        eventually("a receiver", async || sql(server, active).await, |a| a == "t").await;

        // In pause nothing unknown goes, but what cannot be what it should be does.
        let wanted = || vec![physical("x"), logical("y", "test_decoding", None)];
        slots::sync_slots(server, &SlotPlan { drop_unknown: false, ..on_primary(wanted()) }).await.unwrap();
        let kept = "idle:physical mine:physical used:physical x:physical y:logical:test_decoding";
        assert_eq!(all(server).await, kept);
        slots::sync_slots(server, &on_primary(wanted())).await.unwrap();
        assert_eq!(all(server).await, "mine:physical used:physical x:physical y:logical:test_decoding");
        receiver.kill().unwrap();
        receiver.wait().unwrap();
        eventually("its end", async || sql(server, active).await, |a| a == "f").await;
        slots::sync_slots(server, &on_primary(wanted())).await.unwrap();
        assert_eq!(all(server).await, "mine:physical x:physical y:logical:test_decoding");
        drop(session);
    });
}

// rows: SLOT-08, SLOT-09, SLOT-21
#[test]
fn a_slot_that_keeps_nothing_is_made_anew() {
    as_postgres("slot_cases::a_slot_that_keeps_nothing_is_made_anew", async {
        let node = primary("max_slot_wal_keep_size = '1MB'\nmin_wal_size = '32MB'\nmax_wal_size = '32MB'\n").await;
        let server = &node.server;
        // Without its user's position an unused one is made anew anyway; here somebody is expected to come back.
        let used = |name| WantedSlot { expected_active: Some(true), ..physical(name) };
        let names = || vec![used("a"), used("theirs"), physical("raw")];
        let ignore = || vec![serde_json::json!({"name": "theirs", "type": "physical"})];
        for name in ["a", "theirs"] {
            sql(server, &format!("SELECT pg_create_physical_replication_slot('{name}', true)")).await;
        }
        let status =
            "SELECT string_agg(coalesce(wal_status, 'none'), ' ' ORDER BY slot_name) FROM pg_replication_slots";
        let wear = async || {
            sql(server, "CREATE TABLE t AS SELECT 1").await;
            sql(server, "SELECT pg_switch_wal()").await;
            sql(server, "DROP TABLE t").await;
            sql(server, "CHECKPOINT").await;
            sql(server, status).await
        };
        eventually("slots that are lost", wear, |status| status == "lost lost").await;
        sql(server, "SELECT pg_create_physical_replication_slot('raw')").await;
        assert_eq!(sql(server, status).await, "lost none lost");
        let pause = SlotPlan { drop_unknown: false, ignore: ignore(), ..on_primary(vec![used("a")]) };
        slots::sync_slots(server, &pause).await.unwrap();
        assert_eq!(sql(server, status).await, "lost none lost", "not in pause");
        let plan = SlotPlan { ignore: ignore(), ..on_primary(names()) };
        slots::sync_slots(server, &plan).await.unwrap();
        assert_eq!(sql(server, status).await, "reserved reserved lost");
    });
}

// rows: SLOT-07, SLOT-15, SLOT-16, SLOT-17
#[test]
fn logical_slots_are_copied_and_advanced_on_a_standby() {
    as_postgres("slot_cases::logical_slots_are_copied_and_advanced_on_a_standby", async {
        let first = primary("wal_level = logical\n").await;
        slots::sync_slots(&first.server, &on_primary(vec![physical("standby")])).await.unwrap();
        let mut second = Node::new("standby");
        let (_owner, cancel) = never();
        create_replica::create_replica(&second.server, Some(&first.upstream()), false, &cancel).await.unwrap();
        // After the copy was made, so that the standby has all that the slot needs.
        let made = on_primary(vec![logical("keep", "test_decoding", None), physical("standby")]);
        let made = slots::sync_slots(&first.server, &made).await.unwrap();
        assert_eq!(made.slots.len(), 2, "{made:?}");
        second.follow(&first);
        append(&second.data().join("postgresql.conf"), "primary_slot_name = 'standby'\nhot_standby_feedback = on\n");
        second.start(&[]);
        second.wait(Readiness::Accepting).await;

        // The shape must be that of the configuration, and only a primary has slots to copy.
        let (upstream, no_primary) = (first.upstream(), second.upstream());
        let read = async |plugin: &str, from| {
            let wanted = [logical("keep", plugin, None), logical("other", plugin, None)];
            second.server.read_slots(from, &wanted).await
        };
        assert!(read("pgoutput", &upstream).await.is_empty());
        assert!(read("test_decoding", &no_primary).await.is_empty());
        let copies = read("test_decoding", &upstream).await;
        assert_eq!(copies.iter().map(|copy| copy.name.as_str()).collect::<Vec<_>>(), ["keep"]);
        second.stop(Signal::INT);
        second.server.write_slots(&copies).await.unwrap();
        second.start(&[]);
        second.wait(Readiness::Accepting).await;
        assert_eq!(all(&second.server).await, "keep:logical:test_decoding");

        // It moves to what is published, and never past what is replayed.
        sql(&first.server, "CREATE TABLE t AS SELECT 1").await;
        let end: Lsn = sql(&first.server, "SELECT pg_current_wal_flush_lsn()").await.parse().unwrap();
        let replayed = "SELECT pg_last_wal_replay_lsn()";
        eventually(
            "replay",
            async || sql(&second.server, replayed).await.parse::<Lsn>().unwrap_or_default(),
            |lsn| *lsn >= end,
        )
        .await;
        let flushed = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'keep'";
        let before: Lsn = sql(&second.server, flushed).await.parse().unwrap();
        let plan = |lsn, replay| SlotPlan {
            slots: vec![logical("keep", "test_decoding", Some(lsn))],
            replay: Some(replay),
            ..SlotPlan::default()
        };
        for (lsn, replay, reached) in [(end, before, before), (end, end, end)] {
            let report = slots::sync_slots(&second.server, &plan(lsn, replay)).await.unwrap();
            assert_eq!((report.copy, report.unproven), (vec![], vec!["keep".to_owned()]));
            second.server.advance_slots(&plan(lsn, replay)).await;
            let now: Lsn = sql(&second.server, flushed).await.parse().unwrap();
            assert_eq!(now, reached);
        }

        // The standby goes: what its slot holds back is let go, once somebody leads for sure.
        let xmin = "SELECT coalesce(xmin::text, 'none') FROM pg_replication_slots WHERE slot_name = 'standby'";
        eventually("feedback", async || sql(&first.server, xmin).await, |x| x != "none").await;
        second.stop(Signal::INT);
        let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'standby'";
        eventually("the end of streaming", async || sql(&first.server, active).await, |a| a == "f").await;
        for (drop_xmin, gone) in [(false, false), (true, true)] {
            let wanted = vec![physical("standby"), logical("keep", "test_decoding", None)];
            slots::sync_slots(&first.server, &SlotPlan { drop_xmin, ..on_primary(wanted) }).await.unwrap();
            assert_eq!(sql(&first.server, xmin).await == "none", gone);
        }
    });
}
