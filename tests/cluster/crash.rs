//! What dies, and what comes of it.

use super::harness::{Cluster, shell};
use serde_json::json;
use std::time::{Duration, Instant};

// rows: HA-17
#[test]
fn a_killed_postmaster_is_started_again_at_once() {
    let Some(cluster) = Cluster::with_members("crash", 2) else { return };
    let leader = cluster.leader().unwrap();
    let node = &cluster.nodes[leader];
    let timeline = node.get("/patroni").json()["timeline"].clone();
    // Away from the loop: found by its exit, not by the next cycle.
    assert_eq!(node.send("PATCH", "/config", &json!({"loop_wait": 10, "ttl": 30})).code, 200);
    cluster.wait("the new loop_wait to be in force", 15, || {
        cluster.key("config").unwrap_or_default().contains("\"loop_wait\":10")
    });
    std::thread::sleep(Duration::from_secs(3));
    let started = Instant::now();
    node.kill_postmaster();
    cluster.wait("the server to be gone", 5, || !node.is_writable());
    cluster.wait("the server to take writes again", 20, || node.is_writable());
    let outage = started.elapsed();
    eprintln!("killed postmaster: {outage:?} until it accepts connections again");
    assert_eq!(cluster.leader(), Some(leader), "{}", cluster.logs());
    cluster.wait("the timeline to be the same", 15, || node.get("/patroni").json()["timeline"] == timeline);
    cluster.wait_streaming(1, 40);
}

// rows: HA-18
#[test]
fn with_primary_start_timeout_zero_another_member_takes_over() {
    let Some(cluster) = Cluster::with_members("crash0", 2) else { return };
    let old = cluster.leader().unwrap();
    assert_eq!(cluster.nodes[old].send("PATCH", "/config", &json!({"primary_start_timeout": 0})).code, 200);
    cluster.wait("the setting to arrive", 10, || {
        cluster.key("config").unwrap_or_default().contains("primary_start_timeout")
    });
    std::thread::sleep(Duration::from_secs(3));
    cluster.nodes[old].kill_postmaster();
    let new = cluster.wait_other_leader(old, 20);
    cluster.wait_streaming(1, 60);
    assert_eq!(cluster.writable(), [new]);
}

#[test]
fn agent_and_postmaster_killed() {
    let Some(mut cluster) = Cluster::with_members("kill9", 3) else { return };
    let old = cluster.leader().unwrap();
    cluster.nodes[old].sql("CREATE TABLE t AS SELECT 1 AS x").unwrap();
    cluster.nodes[old].kill_agent();
    cluster.nodes[old].kill_postmaster();
    let new = cluster.wait_other_leader(old, 60);
    cluster.nodes[new].sql("INSERT INTO t VALUES (2)").unwrap();
    cluster.wait_streaming(1, 40);

    // The dead one comes back as a standby of the new leader.
    cluster.nodes[old].start();
    cluster.wait_streaming(2, 60);
    let node = &cluster.nodes[old];
    cluster.wait("the new row on the old primary", 20, || node.sql("SELECT count(*) FROM t").is_ok_and(|r| r == "2"));
    assert_eq!(cluster.writable(), [new]);
}

// rows: BOOT-22
#[test]
fn a_killed_agent_leaves_postgresql_running_and_adopts_it_again() {
    let Some(mut cluster) = Cluster::with_members("adopt", 1) else { return };
    let before = cluster.nodes[0].postmaster().unwrap();
    cluster.nodes[0].kill_agent();
    assert!(cluster.nodes[0].is_writable());
    cluster.nodes[0].start();
    cluster.wait("the API to say primary", 30, || cluster.nodes[0].get("/primary").code == 200);
    assert_eq!(cluster.nodes[0].postmaster(), Some(before), "{}", cluster.logs());
}

// rows: HA-40
#[test]
fn sigterm_stops_postgresql_and_hands_over() {
    let Some(mut cluster) = Cluster::with_members("term", 2) else { return };
    let old = cluster.leader().unwrap();
    assert_eq!(cluster.nodes[old].stop(), 0, "{}", cluster.logs());
    assert!(cluster.nodes[old].postmaster().is_none());
    let stopped = Instant::now();
    let new = cluster.wait_other_leader(old, 15);
    eprintln!("handed over {:?} after the agent had ended", stopped.elapsed());
    cluster.nodes[old].start();
    cluster.wait_streaming(1, 60);
    assert_eq!(cluster.writable(), [new]);
}

// rows: HA-40, CB-07
#[test]
fn at_the_end_the_api_falls_silent_first() {
    let Some(mut cluster) = Cluster::new("order") else { return };
    let hold = format!("sh -c 'while [ -e {}/hold ]; do sleep 0.1; done'", cluster.dir.display());
    cluster.add(super::harness::NodeOptions::new(0).with(json!({"postgresql": {"before_stop": hold}})));
    cluster.wait_leader(40);
    std::fs::write(cluster.dir.join("hold"), "").unwrap();
    cluster.nodes[0].agent.signal("TERM");
    cluster.wait("the API to be gone", 10, || cluster.nodes[0].get("/primary").code == 0);
    std::thread::sleep(Duration::from_secs(2));
    assert!(cluster.nodes[0].is_writable(), "the hook runs before the stop\n{}", cluster.logs());
    assert_eq!(cluster.leader(), Some(0), "the key is held as long as the server runs");
    std::fs::remove_file(cluster.dir.join("hold")).unwrap();
    assert_eq!(cluster.nodes[0].stop(), 0);
    assert!(cluster.nodes[0].postmaster().is_none());
    assert_eq!(cluster.key("leader").as_deref(), Some(""));
    assert!(cluster.key("members/postgres-0").unwrap().contains("\"state\":\"stopped\""), "{}", cluster.logs());
}

#[test]
fn a_busy_backend_does_not_outlive_its_postmaster() {
    let Some(cluster) = Cluster::with_members("orphan", 1) else { return };
    let node = &cluster.nodes[0];
    node.sql("CREATE TABLE t(x int)").unwrap();
    let busy = "PGOPTIONS= PGPASSWORD=super psql -h 127.0.0.1 -U postgres -d postgres -p PORT \
         -c 'DO $$ BEGIN LOOP INSERT INTO t VALUES (1); COMMIT; END LOOP; END $$' >/dev/null 2>&1 & echo started";
    let (code, text) = shell(&cluster.dir, &busy.replace("PORT", &node.pg_port.to_string()));
    assert_eq!(code, 0, "{text}");
    let running = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'";
    let mut backend = String::new();
    cluster.wait("a busy backend", 10, || {
        backend = node.sql(running).unwrap_or_default();
        !backend.is_empty()
    });
    node.kill_postmaster();
    cluster.wait("the server to take writes again", 30, || node.is_writable());
    // Killed; perhaps not collected yet by whoever inherited it.
    let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}{}", cluster.logs());
    assert!(node.log().contains("outlived their postmaster"), "{}", cluster.logs());
    assert_eq!(cluster.leader(), Some(0));
}
