//! Replication slots of members that are away, and logical slots that outlive a failover.

use super::harness::Cluster;
use serde_json::json;

fn slot_names(cluster: &Cluster, node: usize) -> String {
    let sql = "SELECT string_agg(slot_name, ' ' ORDER BY slot_name) FROM pg_replication_slots";
    cluster.nodes[node].sql(sql).unwrap_or_default()
}

// rows: SLOT-01, SLOT-03, SLOT-15, SLOT-18, SLOT-22
#[test]
fn slots_outlive_absence_and_failover() {
    let Some(mut cluster) = Cluster::with_members("slots", 2) else { return };
    let old = cluster.leader().unwrap();
    let new = 1 - old;
    let own = |n: usize| format!("postgres_{n}");

    // The member goes, then the leader's agent is restarted: the slot is still there many cycles later.
    cluster.nodes[new].stop();
    cluster.nodes[old].kill_agent();
    cluster.nodes[old].start();
    cluster
        .wait("the leader to lead on", 30, || cluster.nodes[old].log().matches("the leader with the lock").count() > 8);
    assert_eq!(slot_names(&cluster, old), own(new), "{}", cluster.logs());
    let status: serde_json::Value = serde_json::from_str(&cluster.key("status").unwrap()).unwrap();
    assert_eq!(status["retain_slots"], json!([own(0), own(1)]));
    cluster.nodes[new].start();
    cluster.wait_streaming(1, 60);

    // A permanent logical slot: made on the primary, copied to the standby, safe there after a while.
    let slots = json!({"keep": {"type": "logical", "database": "postgres", "plugin": "test_decoding"}, "files": 0});
    let config = json!({"slots": slots, "postgresql": {"parameters": {"wal_level": "logical"}}});
    assert_eq!(cluster.nodes[old].send("PATCH", "/config", &config).code, 200);
    cluster.wait("wal_level to wait for a restart", 20, || {
        cluster.nodes[old].get("/patroni").body.contains("pending_restart")
    });
    let (code, text) = cluster.ctl(&["restart", "batman", &cluster.nodes[old].name, "--force"]);
    assert_eq!(code, 0, "{text}");
    cluster.wait("the slots on the primary", 20, || slot_names(&cluster, old) == format!("files keep {}", own(new)));
    cluster.wait("the slots on the standby", 40, || slot_names(&cluster, new) == format!("files keep {}", own(old)));
    cluster.wait("the proof", 40, || {
        cluster.nodes[new].log().contains("Logical slot keep is safe to be used after a failover")
    });
    assert_eq!(cluster.nodes[new].sql("SHOW hot_standby_feedback").unwrap(), "on");

    // What its user has read is not read again on the standby; what comes after is, also when the primary is gone.
    let read =
        "SELECT string_agg(data, ' ') FROM pg_logical_slot_get_changes('keep', NULL, NULL, 'skip-empty-xacts', '1')";
    cluster.nodes[old].sql("CREATE TABLE t (x text)").unwrap();
    cluster.nodes[old].sql("INSERT INTO t VALUES ('first')").unwrap();
    assert!(cluster.nodes[old].sql(read).unwrap().contains("first"));
    let flushed = "SELECT confirmed_flush_lsn FROM pg_replication_slots WHERE slot_name = 'keep'";
    let position = cluster.nodes[old].sql(flushed).unwrap();
    cluster
        .wait("the standby's slot to follow", 30, || cluster.nodes[new].sql(flushed).is_ok_and(|lsn| lsn == position));
    cluster.nodes[old].sql("INSERT INTO t VALUES ('second')").unwrap();
    cluster.nodes[old].kill_agent();
    cluster.nodes[old].kill_postmaster();
    cluster.wait_other_leader(old, 60);
    let changes = cluster.nodes[new].sql(read).unwrap();
    assert!(changes.contains("second") && !changes.contains("first"), "{changes}");
    assert!(!cluster.nodes[new].log().contains("unsafe to use"), "{}", cluster.logs());
}
