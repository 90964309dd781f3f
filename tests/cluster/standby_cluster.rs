//! A primary cluster and a standby cluster on one etcd, in different scopes.

use super::harness::{Cluster, NodeOptions};
use serde_json::{Value, json};

/// A member of the scope "far" whose first configuration makes it a standby cluster of the first member.
fn far(cluster: &Cluster, number: usize) -> NodeOptions {
    let section = json!({"host": "127.0.0.1", "port": cluster.nodes[0].pg_port, "primary_slot_name": "far",
        "create_replica_methods": ["basebackup"]});
    let dcs = json!({"synchronous_mode": true, "standby_cluster": section});
    NodeOptions::new(number).with(json!({"scope": "far", "bootstrap": {"dcs": dcs}}))
}

fn far_key(cluster: &Cluster, key: &str) -> Value {
    let text = cluster.etcd_get(&format!("/service/far/{key}")).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

fn leads_far(cluster: &Cluster, node: usize) -> bool {
    cluster.nodes[node].get("/standby_leader").code == 200
}

/// Whether this member streams from that one.
fn streams(cluster: &Cluster, member: usize, from: usize) -> bool {
    let name = &cluster.nodes[member].name;
    let sql =
        format!("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming' AND application_name = '{name}'");
    cluster.nodes[from].sql(&sql).is_ok_and(|n| n == "1")
}

fn sees(cluster: &Cluster, node: usize, rows: &str) -> bool {
    cluster.nodes[node].sql("SELECT count(*) FROM t").is_ok_and(|n| n == rows)
}

// rows: STBY-01, STBY-02, STBY-03, STBY-04, STBY-06, STBY-07, STBY-09, BOOT-19, API-04, MET-06, CTL-21
#[test]
fn a_standby_cluster_is_made_switched_over_and_promoted() {
    let Some(mut cluster) = Cluster::with_members("far", 1) else { return };
    let slots = json!({"slots": {"far": {"type": "physical"}}});
    assert_eq!(cluster.nodes[0].send("PATCH", "/config", &slots).code, 200);
    cluster.nodes[0].sql("CREATE TABLE t AS SELECT 1 AS x").unwrap();
    cluster.wait("the slot", 15, || {
        cluster.nodes[0].sql("SELECT count(*) FROM pg_replication_slots").is_ok_and(|n| n == "1")
    });

    // Made: a copy of the primary that streams by the named slot and is nobody's primary.
    let first = cluster.add(far(&cluster, 1));
    cluster.wait("the standby leader", 40, || leads_far(&cluster, first) && streams(&cluster, first, 0));
    let active = "SELECT active FROM pg_replication_slots WHERE slot_name = 'far'";
    assert_eq!(cluster.nodes[0].sql(active).as_deref(), Ok("t"));
    for (path, code) in [("/leader", 200), ("/standby-leader", 200), ("/primary", 503), ("/replica", 503)] {
        assert_eq!(cluster.nodes[first].get(path).code, code, "{path}");
    }
    assert_eq!(far_key(&cluster, "initialize"), far_id(&cluster));
    assert_eq!(far_key(&cluster, "members/postgres-1")["role"], "standby_leader");
    assert!(
        cluster.nodes[first]
            .get("/metrics")
            .body
            .contains("patroni_standby_leader{scope=\"far\",name=\"postgres-1\"} 1")
    );
    let second = cluster.add(far(&cluster, 2));
    cluster.wait("the member below it", 40, || streams(&cluster, second, first));
    cluster.wait("the data", 15, || sees(&cluster, second, "1"));
    assert!(cluster.ctl(&["list", "far"]).1.contains("Standby Leader"));
    assert_eq!((far_key(&cluster, "sync"), far_key(&cluster, "history")), (json!(""), json!("")));

    // Switched over.
    let (code, text) = cluster.ctl(&["switchover", "far", "--force"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    cluster.wait("the other to lead", 20, || leads_far(&cluster, second) && streams(&cluster, second, 0));
    cluster.wait("the first below it", 30, || streams(&cluster, first, second));
    assert_eq!(cluster.writable(), [0]);

    // Promoted, without a race.
    assert_eq!(
        cluster.ctl(&["promote-cluster", "batman", "--force"]).1,
        "Error: Cluster is already in the required state\n"
    );
    let (code, text) = cluster.ctl(&["promote-cluster", "far", "--force"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    assert!(text.contains(" cluster is successfully promoted\n"), "{text}");
    assert_eq!(far_key(&cluster, "config").get("standby_cluster"), None);
    cluster.nodes[second].sql("INSERT INTO t VALUES (2)").unwrap();
    cluster.wait("the new data", 20, || sees(&cluster, first, "2"));
    assert_eq!(cluster.nodes[second].get("/primary").code, 200);
    assert!(sees(&cluster, 0, "1"), "the clusters are two");
}

fn far_id(cluster: &Cluster) -> Value {
    serde_json::from_str(&cluster.key("initialize").unwrap()).unwrap()
}

// rows: STBY-08, STBY-09, HA-24, CTL-21
#[test]
fn a_primary_cluster_changes_places_with_its_standby_cluster_without_rewind() {
    let Some(mut cluster) = Cluster::new("places") else { return };
    let archive = cluster.dir.join("archive");
    let (code, text) = super::harness::shell(&cluster.dir, &format!("mkdir {}", archive.display()));
    assert_eq!(code, 0, "{text}");
    let at = archive.display();
    let store = format!("test -f {at}/%f || cp %p {at}/%f");
    let parameters = json!({"archive_mode": "on", "archive_command": store});
    let archiving = |o: NodeOptions| o.with(json!({"bootstrap": {"dcs": {"postgresql": {"parameters": parameters}}}}));
    for n in 0..2 {
        cluster.add(archiving(NodeOptions::new(n)));
        if n == 0 {
            cluster.wait_leader(40);
        }
    }
    cluster.wait_streaming(1, 60);
    let old = cluster.leader().unwrap();
    cluster.nodes[old].sql("CREATE TABLE t AS SELECT 1 AS x").unwrap();
    let patch = |section: Value| json!({"standby_cluster": section});
    let without_slot = json!({"scope": "far", "bootstrap": {"dcs": {"standby_cluster": {"primary_slot_name": null}}}});
    let far = cluster.add(archiving(far(&cluster, 2)).with(without_slot));
    cluster.wait("the standby leader", 40, || leads_far(&cluster, far));
    let restore = format!("cp {at}/%f %p");
    let from_archive = patch(json!({"host": null, "port": null, "restore_command": restore}));
    assert_eq!(cluster.nodes[far].send("PATCH", "/config", &from_archive).code, 200);
    cluster.wait("archive recovery", 20, || {
        cluster.nodes[far].get("/patroni").json()["replication_state"] == "in archive recovery"
    });

    // Demoted: nobody is a primary, the leader is still the leader.
    let port = cluster.nodes[far].pg_port.to_string();
    let demote =
        ["demote-cluster", "batman", "--force", "--host", "127.0.0.1", "--port", &port, "--restore-command", &restore];
    let (code, text) = cluster.ctl(&demote);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    assert!(text.contains(" cluster is successfully demoted\n"), "{text}");
    assert_eq!(cluster.writable(), Vec::<usize>::new());
    assert_eq!((cluster.leader(), leads_far(&cluster, old)), (Some(old), true));
    assert!(cluster.nodes[old].log().contains("Demoting self (demote-cluster)"));

    // The other side has everything; what it writes from now on comes back here.
    assert_eq!(cluster.nodes[far].send("PATCH", "/config", &patch(Value::Null)).code, 200);
    cluster.wait("the promotion", 30, || cluster.nodes[far].is_writable());
    cluster.nodes[far].sql("INSERT INTO t VALUES (2)").unwrap();
    cluster.wait("it to come back", 30, || sees(&cluster, old, "2") && sees(&cluster, 1 - old, "2"));
    assert_eq!(cluster.writable(), [far]);
    for node in [old, 1 - old] {
        assert!(!cluster.nodes[node].log().contains("running pg_rewind"), "{}", cluster.logs());
    }
}
