//! Leadership handed over on request.

use super::harness::Cluster;
use serde_json::json;

// rows: HA-32, HA-38, RACE-15, RACE-21
#[test]
fn there_and_back_by_rest_and_by_patronictl() {
    let Some(cluster) = Cluster::with_members("switch", 3) else { return };
    let first = cluster.leader().unwrap();
    let second = (first + 1) % 3;
    cluster.nodes[first].sql("CREATE TABLE t AS SELECT 1 AS x").unwrap();

    let body = json!({"leader": cluster.nodes[first].name, "candidate": cluster.nodes[second].name});
    let reply = cluster.nodes[first].send("POST", "/switchover", &body);
    assert_eq!(reply.code, 200, "{} {}", reply.body, cluster.logs());
    assert_eq!(reply.body, format!("Successfully switched over to \"{}\"", cluster.nodes[second].name));
    assert_eq!(cluster.wait_other_leader(first, 20), second);
    cluster.nodes[second].sql("INSERT INTO t VALUES (2)").unwrap();
    cluster.wait_streaming(2, 60);

    let (from, to) = (cluster.nodes[second].name.clone(), cluster.nodes[first].name.clone());
    let (code, text) = cluster.ctl(&["switchover", "batman", "--primary", &from, "--candidate", &to, "--force"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    assert!(text.contains("Successfully switched over to"), "{text}");
    assert_eq!(cluster.wait_other_leader(second, 20), first);
    cluster.wait_streaming(2, 60);
    assert_eq!(cluster.nodes[first].sql("SELECT count(*) FROM t"), Ok("2".to_owned()));
    assert_eq!(cluster.writable(), [first]);

    // Two changes of timeline are in the history; the request is used up.
    cluster.wait("the history", 15, || {
        cluster.nodes[first].get("/history").json().as_array().is_some_and(|lines| lines.len() == 2)
    });
    assert_eq!(cluster.key("failover").as_deref(), Some("{}"));
}

#[test]
fn requests_that_cannot_be_met_are_refused_and_change_nothing() {
    let Some(cluster) = Cluster::with_members("refuse", 2) else { return };
    let leader = cluster.leader().unwrap();
    let replica = 1 - leader;
    let name = |i: usize| cluster.nodes[i].name.clone();
    let post = |path: &str, body| cluster.nodes[leader].send("POST", path, &body);

    assert_eq!(post("/failover", json!({})).code, 400);
    assert_eq!(post("/switchover", json!({"leader": name(replica)})).code, 412);
    assert_eq!(post("/switchover", json!({"leader": name(leader), "candidate": "nobody"})).code, 412);
    assert_eq!(post("/switchover", json!({"leader": name(leader), "candidate": name(leader)})).code, 400);
    let past = json!({"leader": name(leader), "scheduled_at": "2001-01-01T00:00:00+00"});
    assert_eq!(post("/switchover", past).code, 422);
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.writable(), [leader]);
}

// rows: HA-29, HA-30
#[test]
fn the_key_is_handed_over_while_archiving_holds_the_old_primary() {
    let Some(mut cluster) = Cluster::new("archive") else { return };
    let slow = cluster.dir.join("slow");
    let parameters =
        json!({"archive_mode": "on", "archive_command": format!("test ! -e {} || sleep 30", slow.display())});
    for number in 0..2 {
        let dcs = json!({"maximum_lag_on_failover": 0, "postgresql": {"parameters": parameters}});
        cluster.add(super::harness::NodeOptions::new(number).with(json!({"bootstrap": {"dcs": dcs}})));
        cluster.wait_leader(40);
    }
    cluster.wait_streaming(1, 60);
    let old = cluster.leader().unwrap();
    let postmaster = cluster.nodes[old].postmaster();
    std::fs::write(&slow, "").unwrap();
    let started = std::time::Instant::now();
    let body = json!({"leader": cluster.nodes[old].name, "candidate": cluster.nodes[1 - old].name});
    let reply = cluster.nodes[old].send("POST", "/switchover", &body);
    assert_eq!(reply.code, 200, "{}\n{}", reply.body, cluster.logs());
    cluster.wait_leader(10);
    eprintln!("handed over after {:?}", started.elapsed());
    assert_eq!(cluster.nodes[old].postmaster(), postmaster, "it archives still\n{}", cluster.logs());
    std::fs::remove_file(&slow).unwrap();
    cluster.wait_streaming(1, 90);
    assert!(!cluster.nodes[old].log().contains("running pg_rewind from"), "{}", cluster.logs());
}

// rows: TAG-01
#[test]
fn a_member_that_may_not_lead_is_not_taken() {
    let Some(mut cluster) = Cluster::with_members("nofailover", 1) else { return };
    let options = super::harness::NodeOptions::new(1).with(json!({"tags": {"nofailover": true}}));
    cluster.add(options);
    cluster.wait_streaming(1, 60);
    cluster.wait("its tag in the store", 15, || {
        cluster.key("members/postgres-1").unwrap_or_default().contains("nofailover")
    });
    let body = json!({"leader": "postgres-0", "candidate": "postgres-1"});
    let reply = cluster.nodes[0].send("POST", "/switchover", &body);
    assert_eq!(reply.code, 412, "{}", reply.body);
    cluster.nodes[0].kill_agent();
    cluster.nodes[0].kill_postmaster();
    // Longer than the lease: nobody takes over.
    std::thread::sleep(std::time::Duration::from_secs(25));
    assert_eq!(cluster.writable(), Vec::<usize>::new());
    cluster.nodes[0].start();
    assert_eq!(cluster.wait_leader(40), 0);
}

// rows: HA-34
#[test]
fn a_scheduled_switchover_happens_at_its_time() {
    let Some(cluster) = Cluster::with_members("schedule", 2) else { return };
    let old = cluster.leader().unwrap();
    let at = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(8);
    let body = json!({"leader": cluster.nodes[old].name, "scheduled_at": at.to_string()});
    let reply = cluster.nodes[old].send("POST", "/switchover", &body);
    assert_eq!(reply.code, 202, "{}", reply.body);
    assert!(cluster.nodes[old].get("/cluster").json()["scheduled_switchover"].is_object());
    cluster.wait_other_leader(old, 30);
    assert!(jiff::Timestamp::now() >= at, "not before its time");
    cluster.wait_streaming(1, 60);
}
