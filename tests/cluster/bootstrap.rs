//! From nothing to a running cluster.

use super::harness::{Cluster, NodeOptions};
use serde_json::{Value, json};

// rows: BOOT-01, BOOT-07
#[test]
fn three_members_from_nothing() {
    let Some(mut cluster) = Cluster::new("three") else { return };
    for n in 0..3 {
        cluster.add(NodeOptions::new(n));
    }
    let leader = cluster.wait_leader(40);
    cluster.wait_streaming(2, 60);

    // What is in the store is what Patroni's tools read.
    let system_id = cluster.key("initialize").unwrap();
    assert!(system_id.len() >= 10 && system_id.bytes().all(|b| b.is_ascii_digit()), "initialize = {system_id}");
    let config: Value = serde_json::from_str(&cluster.key("config").unwrap()).unwrap();
    assert_eq!(config["loop_wait"], json!(2));
    cluster.wait("all member keys to say running", 15, || {
        cluster.nodes.iter().all(|n| {
            let member = cluster.key(&format!("members/{}", n.name)).unwrap_or_default();
            member.contains(r#""state":"running""#) && member.contains(r#""version":"4.1.5""#)
        })
    });
    cluster.wait("the status key", 10, || cluster.key("status").unwrap_or_default().contains("optime"));

    // What the REST API says of each.
    cluster.wait("health checks to fit the roles", 15, || {
        cluster.nodes.iter().enumerate().all(|(i, n)| {
            let (primary, replica) = if i == leader { (200, 503) } else { (503, 200) };
            n.get("/primary").code == primary && n.get("/replica").code == replica && n.get("/health").code == 200
        })
    });
    let members = cluster.nodes[0].get("/cluster").json();
    assert_eq!(members["members"].as_array().unwrap().len(), 3, "{members}");

    // Writes arrive everywhere.
    cluster.nodes[leader].sql("CREATE TABLE t AS SELECT 42 AS answer").unwrap();
    for node in &cluster.nodes {
        cluster.wait("the row to arrive", 10, || node.sql("SELECT answer FROM t").is_ok_and(|r| r == "42"));
    }

    // Each member has a slot for each other one, and only one writes.
    let slots = cluster.nodes[leader].sql("SELECT count(*) FROM pg_replication_slots WHERE active").unwrap();
    assert_eq!(slots, "2");
    assert_eq!(cluster.writable(), [leader]);
}

// rows: CB-08, BOOT-05, BOOT-04, BOOT-06
#[test]
fn users_and_script_of_a_new_cluster() {
    let Some(mut cluster) = Cluster::new("users") else { return };
    let marker = cluster.dir.join("post_bootstrap.txt");
    let script = cluster.dir.join("post_bootstrap.sh");
    let text =
        format!("#!/bin/sh\necho \"$1\" > {}\npsql -w -d \"$1\" -c 'CREATE TABLE from_script ()'\n", marker.display());
    std::fs::write(&script, text).unwrap();
    std::process::Command::new("chmod").arg("755").arg(&script).status().unwrap();
    let users = json!({"admin": {"password": "admin"}});
    cluster.add(NodeOptions::new(0).with(json!({"bootstrap": {"post_bootstrap": script, "users": users}})));
    cluster.wait_leader(40);
    let node = &cluster.nodes[0];
    assert_eq!(node.sql("SELECT count(*) FROM from_script"), Ok("0".to_owned()));
    assert!(std::fs::read_to_string(marker).unwrap().contains(&node.pg_port.to_string()));
    assert!(node.log().contains("ERROR: User creation is not be supported starting from v4.0.0."), "{}", node.log());
    let roles = node.sql("SELECT string_agg(rolname || ':' || rolsuper || ':' || rolreplication, ' ' ORDER BY rolname) FROM pg_roles WHERE rolname !~ '^pg_'");
    assert_eq!(roles, Ok("postgres:true:true replicator:false:true rewinder:false:false".to_owned()));
}

#[test]
fn a_failed_bootstrap_cleans_up_and_gives_the_key_back() {
    let Some(mut cluster) = Cluster::new("failed") else { return };
    cluster.add(NodeOptions::new(0).with(json!({"bootstrap": {"post_bootstrap": "false"}})));
    let mut code = None;
    super::harness::wait_for("the agent to give up", 60, || {
        code = cluster.nodes[0].agent.ended();
        code.is_some()
    });
    assert_eq!(code, Some(1), "{}", cluster.logs());
    assert_eq!(cluster.key("initialize").unwrap_or_default(), "", "{}", cluster.logs());
    assert!(!cluster.nodes[0].data_dir.join("PG_VERSION").exists());
    let aside = cluster.nodes[0].data_dir.with_file_name("postgres-0.failed");
    assert!(aside.join("PG_VERSION").exists(), "the data directory was moved aside");

    // The next one may try.
    cluster.add(NodeOptions::new(1));
    assert_eq!(cluster.wait_leader(40), 1);
}

// rows: BOOT-20
#[test]
fn a_member_waits_while_there_is_nobody_to_copy() {
    let Some(mut cluster) = Cluster::new("waiting") else { return };
    // It may not lead, so it may not bootstrap either.
    cluster.add(NodeOptions::new(0).with(json!({"tags": {"nofailover": true}})));
    cluster.wait("the member to say that it waits", 20, || {
        cluster.nodes[0].log().contains("waiting for leader to bootstrap")
    });
    assert!(!cluster.nodes[0].data_dir.join("PG_VERSION").exists());
    cluster.add(NodeOptions::new(1));
    assert_eq!(cluster.wait_leader(40), 1);
    cluster.wait_streaming(1, 60);
}

// rows: TAG-04, TAG-06, BOOT-13
#[test]
fn a_clonefrom_member_is_copied_and_replicatefrom_cascades() {
    let Some(mut cluster) = Cluster::new("cascade") else { return };
    cluster.add(NodeOptions::new(0));
    cluster.wait_leader(40);
    cluster.add(NodeOptions::new(1).with(json!({"tags": {"clonefrom": true}})));
    cluster.wait_streaming(1, 60);
    cluster.wait("the source to be seen as running", 15, || {
        cluster.key("members/postgres-1").unwrap_or_default().contains(r#""state":"running""#)
    });
    cluster.add(NodeOptions::new(2).with(json!({"tags": {"replicatefrom": "postgres-1"}})));
    cluster.wait("the third to stream from the second", 60, || {
        let sql = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'";
        cluster.nodes[1].sql(sql).is_ok_and(|r| r == "postgres-2")
    });
    cluster.wait("the log to name the source", 10, || {
        cluster.nodes[2].log().contains("bootstrapped from replica 'postgres-1'")
    });
}
