//! Synchronous replication: what was acknowledged is there after a failover.

use super::harness::{Cluster, Node};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Writes one row after the other until it is told to stop, and counts those that were acknowledged.
fn write_rows(node: &Node, stop: &AtomicBool, acknowledged: &AtomicU64) {
    while !stop.load(Ordering::Relaxed) {
        let next = acknowledged.load(Ordering::Relaxed) + 1;
        match node.sql(&format!("INSERT INTO acknowledged VALUES ({next})")) {
            Ok(_) => acknowledged.store(next, Ordering::Relaxed),
            Err(_) => return,
        }
    }
}

/// kill -9 of primary and agent under a writing client: every acknowledged row is on the new primary.
fn nothing_is_lost(test: &str, mode: serde_json::Value) {
    let Some(mut cluster) = Cluster::with_members(test, 3) else { return };
    let old = cluster.leader().unwrap();
    let config = json!({"synchronous_mode": mode, "maximum_lag_on_failover": 1_048_576});
    assert_eq!(cluster.nodes[old].send("PATCH", "/config", &config).code, 200);
    cluster.wait("a synchronous standby in the key", 30, || {
        cluster.key("sync").unwrap_or_default().contains("\"sync_standby\":\"postgres-")
    });
    cluster.nodes[old].sql("CREATE TABLE acknowledged (n bigint)").unwrap();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let (node, stop, acknowledged) = (&cluster.nodes[old], &stop, &acknowledged);
        scope.spawn(|| write_rows(node, stop, acknowledged));
        cluster.wait("some rows", 20, || acknowledged.load(Ordering::Relaxed) > 20);
        node.kill_postmaster();
        node.agent.signal("KILL");
        stop.store(true, Ordering::Relaxed);
    });
    let acknowledged = acknowledged.load(Ordering::Relaxed);
    let new = cluster.wait_other_leader(old, 60);
    let count = format!("SELECT count(DISTINCT n) FROM acknowledged WHERE n <= {acknowledged}");
    assert_eq!(cluster.nodes[new].sql(&count), Ok(acknowledged.to_string()), "{}", cluster.logs());
    cluster.nodes[old].start();
    cluster.wait("the key of the new primary with a standby", 40, || {
        let key = cluster.key("sync").unwrap_or_default();
        key.contains(&format!("\"leader\":\"{}\"", cluster.nodes[new].name)) && key.contains("\"sync_standby\":\"")
    });
    assert_eq!(cluster.writable(), [new]);
}

// rows: SYNC-02
#[test]
fn no_acknowledged_row_is_lost_by_priority() {
    nothing_is_lost("sync", json!(true));
}

// rows: SYNC-12
#[test]
fn no_acknowledged_row_is_lost_with_a_quorum() {
    nothing_is_lost("quorum", json!("quorum"));
}
