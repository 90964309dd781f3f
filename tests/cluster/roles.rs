//! Settings that hold in one role only, through a change of roles.

use super::harness::{Cluster, NodeOptions};
use serde_json::json;

const HBA: [&str; 3] = ["local all all trust", "host replication replicator all md5", "host all all all md5"];

// rows: NEXT-01
#[test]
fn each_member_has_the_settings_of_its_role_before_and_after_a_switchover() {
    let Some(mut cluster) = Cluster::new("roles") else { return };
    let dynamic = json!({
        "parameters": {"work_mem": "5MB"},
        "parameters_primary": {"work_mem": "6MB", "autovacuum_max_workers": 4, "max_connections": 77},
        "parameters_replica": {"work_mem": "7MB"},
    });
    let replica_lines: Vec<&str> = HBA.into_iter().chain(["local nobody nobody reject"]).collect();
    for number in 0..2 {
        let config = json!({
            "bootstrap": {"dcs": {"postgresql": dynamic}},
            "postgresql": {"pg_hba_replica": replica_lines, "pg_ident_primary": ["map system database"]},
        });
        cluster.add(NodeOptions::new(number).with(config));
        cluster.wait_leader(40);
    }
    cluster.wait_streaming(1, 60);
    let old = cluster.leader().unwrap();
    let new = 1 - old;
    let show = |node: usize, name: &str| cluster.nodes[node].sql(&format!("SHOW {name}")).unwrap_or_default();
    let file =
        |node: usize, name: &str| std::fs::read_to_string(cluster.nodes[node].data_dir.join(name)).unwrap_or_default();
    let in_place = |primary: usize, replica: usize| {
        show(primary, "work_mem") == "6MB"
            && show(replica, "work_mem") == "7MB"
            && !file(primary, "pg_hba.conf").contains("nobody")
            && file(replica, "pg_hba.conf").contains("local nobody nobody reject")
            && file(primary, "pg_ident.conf").contains("map system database")
    };
    cluster.wait("the settings of the first roles", 15, || in_place(old, new));
    assert_eq!(show(old, "max_connections"), "100", "what both must agree on is no matter of roles");
    assert!(cluster.nodes[old].log().contains("attempted to override protected parameter 'max_connections'"));

    let body = json!({"leader": cluster.nodes[old].name, "candidate": cluster.nodes[new].name});
    let reply = cluster.nodes[old].send("POST", "/switchover", &body);
    assert_eq!(reply.code, 200, "{} {}", reply.body, cluster.logs());
    cluster.wait_streaming(1, 60);
    cluster.wait("the settings of the new roles", 20, || in_place(new, old));

    // The new primary runs as it was started; the old one was started as a replica.
    let pending = |node: usize| cluster.nodes[node].get("/patroni").json()["pending_restart_reason"].clone();
    let wanted = json!({"autovacuum_max_workers": {"old_value": "3", "new_value": "4"}});
    cluster.wait("a pending restart of the new primary", 20, || pending(new) == wanted);
    assert_eq!((pending(old), show(old, "autovacuum_max_workers").as_str()), (json!(null), "3"), "{}", cluster.logs());
    let reply = cluster.nodes[new].send("POST", "/restart", &json!({"restart_pending": true}));
    assert_eq!((reply.code, show(new, "autovacuum_max_workers").as_str()), (200, "4"), "{}", cluster.logs());
    cluster.wait("no pending restart", 20, || pending(new) == json!(null));
}
