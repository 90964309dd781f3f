//! An old primary that wrote what the new one never saw.

use super::harness::Cluster;

#[test]
fn divergent_writes_are_rewound() {
    let Some(mut cluster) = Cluster::with_members("rewind", 2) else { return };
    let old = cluster.leader().unwrap();
    cluster.nodes[old].sql("CREATE TABLE t AS SELECT 'both' AS x").unwrap();
    let new = 1 - old;
    cluster
        .wait("the table on the standby", 10, || cluster.nodes[new].sql("SELECT x FROM t").is_ok_and(|r| r == "both"));

    // The agent dies, its PostgreSQL runs on; the other member takes over when the lease has ended.
    cluster.nodes[old].kill_agent();
    cluster.wait_other_leader(old, 60);
    cluster.nodes[old].sql("INSERT INTO t VALUES ('only on the old primary')").unwrap();
    cluster.nodes[old].sql("CHECKPOINT").unwrap();
    cluster.nodes[new].sql("INSERT INTO t VALUES ('only on the new primary')").unwrap();

    cluster.nodes[old].start();
    cluster.wait_streaming(1, 90);
    let rows = "SELECT string_agg(x, ',' ORDER BY x) FROM t";
    cluster.wait("the old primary to have the new one's rows", 20, || {
        cluster.nodes[old].sql(rows).is_ok_and(|r| r == "both,only on the new primary")
    });
    assert!(cluster.nodes[old].log().contains("running pg_rewind from"), "{}", cluster.logs());
    assert_eq!(cluster.writable(), [new]);
}

#[test]
fn reinitialize_copies_anew() {
    let Some(cluster) = Cluster::with_members("reinit", 2) else { return };
    let leader = cluster.leader().unwrap();
    let replica = &cluster.nodes[1 - leader];
    std::fs::write(replica.data_dir.join("leftover"), "x").unwrap();
    let reply = cluster.nodes[leader].send("POST", "/reinitialize", &serde_json::json!({}));
    assert_eq!((reply.code, reply.body.as_str()), (503, "I am the leader, can not reinitialize"));
    let (code, text) = cluster.ctl(&["reinit", "batman", &replica.name, "--force", "--wait"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    assert!(text.contains(&format!("Success: reinitialize for member {}", replica.name)), "{text}");
    assert!(!replica.data_dir.join("leftover").exists());
    cluster.wait_streaming(1, 40);
}
