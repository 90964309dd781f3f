//! What people do by hand in pause, and what the agents make of it.

use super::adopt::foreign_data_dir;
use super::harness::{Cluster, Node, pg_bin, shell, wait_for};
use serde_json::json;
use std::time::Duration;

fn pg_ctl(cluster: &Cluster, node: usize, action: &str) {
    let data = cluster.nodes[node].data_dir.display();
    let (code, text) = shell(&cluster.dir, &format!("{}/pg_ctl -D {data} -w {action}", pg_bin().display()));
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
}

fn pause(cluster: &Cluster, word: &str) {
    let (code, text) = cluster.ctl(&[word, "batman", "--wait"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
}

fn pending_restart(node: &Node) -> bool {
    node.get("/patroni").json()["pending_restart"] == json!(true)
}

// rows: PAUSE-01, PAUSE-05, PAUSE-10, PAUSE-12, PAUSE-14
#[test]
fn what_is_asked_for_in_pause_is_done() {
    let Some(cluster) = Cluster::with_members("asked", 2) else { return };
    let leader = cluster.leader().unwrap();
    let replica = 1 - leader;
    pause(&cluster, "pause");
    assert!(cluster.key("config").unwrap().contains("\"pause\":true"));
    for node in &cluster.nodes {
        assert!(cluster.key(&format!("members/{}", node.name)).unwrap().contains("\"pause\":true"));
        cluster.wait("a line of the cycle", 10, || node.log().contains("PAUSE: no action. I am ("));
    }

    // Parameters: written and reloaded, no restart.
    let before: Vec<_> = cluster.nodes.iter().map(Node::postmaster).collect();
    let change = json!({"postgresql": {"parameters": {"work_mem": "5MB", "max_connections": 120}}});
    assert_eq!(cluster.nodes[leader].send("PATCH", "/config", &change).code, 200);
    for node in &cluster.nodes {
        cluster.wait("the parameter", 15, || node.sql("SHOW work_mem").is_ok_and(|v| v == "5MB"));
        cluster.wait("the pending restart", 15, || pending_restart(node));
    }
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(cluster.nodes.iter().map(Node::postmaster).collect::<Vec<_>>(), before);

    // A restart; none for later.
    let reply = cluster.nodes[leader].send("POST", "/restart", &json!({}));
    assert_eq!(reply.code, 200, "{}\n{}", reply.body, cluster.logs());
    assert_eq!(cluster.nodes[leader].sql("SHOW max_connections"), Ok("120".to_owned()));
    assert_eq!(cluster.leader(), Some(leader));
    let later = json!({"schedule": "2099-01-01T00:00+00:00"});
    assert_eq!(cluster.nodes[leader].send("POST", "/restart", &later).code, 500);

    // A switchover to somebody; not to anybody.
    let (from, to) = (cluster.nodes[leader].name.clone(), cluster.nodes[replica].name.clone());
    assert_eq!(cluster.nodes[leader].send("POST", "/switchover", &json!({"leader": from})).code, 400);
    let reply = cluster.nodes[leader].send("POST", "/switchover", &json!({"leader": from, "candidate": to}));
    assert_eq!(reply.code, 200, "{}\n{}", reply.body, cluster.logs());
    assert_eq!(cluster.wait_leader(20), replica);
    cluster.wait_streaming(1, 60);

    // A new copy.
    std::fs::write(cluster.nodes[leader].data_dir.join("leftover"), "x").unwrap();
    let (code, text) = cluster.ctl(&["reinit", "batman", &from, "--force", "--wait"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    cluster.wait_streaming(1, 60);
    assert!(!cluster.nodes[leader].data_dir.join("leftover").exists());

    pause(&cluster, "resume");
    assert!(!cluster.key("config").unwrap().contains("pause"));
    assert_eq!(cluster.writable(), [replica]);
}

// rows: PAUSE-02, PAUSE-03, PAUSE-04, PAUSE-09, PAUSE-11, PAUSE-13
#[test]
fn what_is_done_by_hand_in_pause_is_respected() {
    let Some(cluster) = Cluster::with_members("byhand", 2) else { return };
    let old = cluster.leader().unwrap();
    let new = 1 - old;
    pause(&cluster, "pause");

    // The primary is stopped: its key is given up, nobody takes over, nothing is started.
    pg_ctl(&cluster, old, "-m fast stop");
    cluster.wait("the key to be given up", 15, || cluster.key("leader").as_deref() == Some(""));
    std::thread::sleep(Duration::from_secs(6));
    assert!(cluster.nodes[old].postmaster().is_none() && cluster.writable().is_empty(), "{}", cluster.logs());
    let status = cluster.nodes[old].get("/patroni").json();
    assert_eq!((&status["state"], &status["role"]), (&json!("stopped"), &json!("primary")), "{status}");

    // Started again it gets its key back.
    pg_ctl(&cluster, old, "-l /dev/null start");
    cluster.wait("the key to be taken", 15, || cluster.leader() == Some(old));
    cluster.wait_streaming(1, 30);

    // Another one is promoted by hand.
    pg_ctl(&cluster, old, "-m fast stop");
    cluster.wait("the key to be given up again", 15, || cluster.key("leader").as_deref() == Some(""));
    pg_ctl(&cluster, new, "promote");
    cluster.wait("the promoted one to lead", 15, || cluster.leader() == Some(new));
    cluster.wait("its API", 15, || cluster.nodes[new].get("/primary").code == 200);
    cluster.nodes[new].sql("CREATE TABLE t AS SELECT 1 AS x").unwrap();

    // A primary that was never asked for goes on without the key, until the pause is over.
    pg_ctl(&cluster, old, "-l /dev/null start");
    cluster.wait("two primaries", 15, || cluster.writable().len() == 2);
    cluster.nodes[old].sql("CREATE TABLE lost AS SELECT 1 AS x").unwrap();
    cluster.wait("the word about it", 15, || {
        cluster.nodes[old].log().contains("PAUSE: continue to run as primary without lock")
    });
    assert_eq!(cluster.nodes[old].get("/primary").code, 503);
    assert_eq!(cluster.leader(), Some(new));

    pause(&cluster, "resume");
    cluster.wait_streaming(1, 90);
    assert_eq!(cluster.writable(), [new]);
    assert_eq!(cluster.nodes[old].sql("SELECT x FROM t"), Ok("1".to_owned()));
}

// rows: HA-06, PAUSE-09
#[test]
fn another_database_put_in_place_in_pause_is_refused_after_it() {
    let Some(mut cluster) = Cluster::with_members("sysid", 2) else { return };
    let leader = cluster.leader().unwrap();
    let other = 1 - leader;
    pause(&cluster, "pause");
    pg_ctl(&cluster, other, "-m fast stop");
    let data = cluster.nodes[other].data_dir.clone();
    std::fs::rename(&data, data.with_extension("away")).unwrap();
    foreign_data_dir(&cluster, other);
    cluster
        .wait("the warning", 15, || cluster.nodes[other].log().contains("system ID has changed while in paused mode"));
    pause(&cluster, "resume");
    let mut code = None;
    wait_for("the agent to end", 40, || {
        code = cluster.nodes[other].agent.ended();
        code.is_some()
    });
    assert_eq!(code, Some(1), "{}", cluster.logs());
    assert!(data.join("PG_VERSION").exists());
    assert_eq!(cluster.writable(), [leader]);
}
