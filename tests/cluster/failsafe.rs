//! Fail-safe mode: the store is gone, and the primary goes on as long as all members leave it the lead.

use super::harness::{Cluster, NodeOptions, Way};
use serde_json::json;
use std::time::{Duration, Instant};

/// Members whose leader has read the map of them all.
fn cluster(test: &str, count: usize, options: impl Fn(NodeOptions) -> NodeOptions) -> Option<Cluster> {
    let mut cluster = Cluster::new(test)?;
    for number in 0..count {
        let mode = json!({"bootstrap": {"dcs": {"failsafe_mode": true}}});
        cluster.add(options(NodeOptions::new(number).with(mode)));
        if number == 0 {
            cluster.wait_leader(40);
        }
    }
    cluster.wait("the map of all members", 60, || {
        (0..count).all(|n| cluster.nodes[n].get("/failsafe").json().as_object().is_some_and(|map| map.len() == count))
    });
    Some(cluster)
}

fn is_active(cluster: &Cluster, node: usize) -> bool {
    cluster.nodes[node].get("/patroni").json()["failsafe_mode_is_active"] == json!(true)
}

/// Looks for this long at who accepts writes: nobody but this one.
fn stays(cluster: &Cluster, leader: usize, time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        assert_eq!(cluster.writable(), [leader], "{}", cluster.logs());
        std::thread::sleep(Duration::from_millis(200));
    }
}

// rows: FSM-01, FSM-03, FSM-04, FSM-10, FSM-12
#[test]
fn a_single_member_goes_on_without_the_store() {
    let Some(mut cluster) = cluster("fs1", 1, |o| o) else { return };
    assert!(!cluster.nodes[0].log().contains("failsafe_mode is not supported"));
    let postmaster = cluster.nodes[0].postmaster();
    cluster.kill_etcd();
    cluster.wait("failsafe mode", 12, || is_active(&cluster, 0));
    // Longer than the lease (20 s) and the fence.
    stays(&cluster, 0, Duration::from_secs(24));
    let node = &cluster.nodes[0];
    assert_eq!((node.get("/primary").code, node.postmaster()), (200, postmaster), "{}", cluster.logs());
    assert!(
        node.get("/metrics").body.contains("patroni_failsafe_mode_is_active{scope=\"batman\",name=\"postgres-0\"} 1")
    );
    cluster.start_etcd_again();
    cluster.wait("the end of failsafe mode", 15, || !is_active(&cluster, 0));
    assert_eq!(cluster.nodes[0].postmaster(), postmaster);
    assert!(!cluster.nodes[0].log().contains("fence"), "{}", cluster.logs());
}

// rows: HA-13, FSM-03, FSM-05, FSM-06, FSM-07, FSM-10, FSM-11, FSM-12
#[test]
fn two_members_go_on_and_the_primary_steps_down_when_one_is_lost() {
    let Some(mut cluster) = cluster("fs2", 2, |o| o) else { return };
    let leader = cluster.leader().unwrap();
    let other = 1 - leader;
    let postmaster = cluster.nodes[leader].postmaster();
    cluster.nodes[leader].sql("CREATE TABLE t (x int)").unwrap();
    cluster.freeze_etcd();
    cluster.wait("failsafe mode", 14, || is_active(&cluster, leader) && is_active(&cluster, other));
    stays(&cluster, leader, Duration::from_secs(14));
    assert_eq!(cluster.nodes[leader].postmaster(), postmaster);
    cluster.nodes[leader].sql("INSERT INTO t VALUES (1)").unwrap();
    let replica = &cluster.nodes[other];
    cluster.wait("replication", 10, || replica.sql("SELECT count(*) FROM t").is_ok_and(|n| n == "1"));
    let call = json!({"name": "postgres-1", "conn_url": "postgres://x/x", "api_url": "http://x"});
    let refused = cluster.nodes[leader].send("POST", "/failsafe", &call);
    assert_eq!((refused.code, refused.body.as_str()), (500, "Running as a leader"));

    cluster.nodes[other].kill_agent();
    let lost = Instant::now();
    cluster.wait("the primary to be read-only", 19, || cluster.writable().is_empty());
    eprintln!("read-only {:?} after a member was lost (ttl 20 s)", lost.elapsed());
    assert_eq!(cluster.nodes[leader].get("/primary").code, 503);
    assert!(!is_active(&cluster, leader) && !cluster.nodes[leader].log().contains("fence:"), "{}", cluster.logs());
}

// rows: FSM-07, FSM-08
#[test]
fn a_primary_that_alone_lost_the_store_is_left_in_the_lead() {
    let Some(mut cluster) = Cluster::new("fsalone") else { return };
    let way = Way::to(cluster.etcd_port);
    let mode = json!({"bootstrap": {"dcs": {"failsafe_mode": true}}});
    let detour = json!({"etcd3": {"host": format!("127.0.0.1:{}", way.port), "use_proxies": true}});
    cluster.add(NodeOptions::new(0).with(mode.clone()).with(detour));
    cluster.wait_leader(40);
    cluster.add(NodeOptions::new(1).with(mode));
    cluster.wait_streaming(1, 60);
    cluster.wait("the map", 15, || (0..2).all(|n| cluster.nodes[n].get("/failsafe").body.contains("postgres-1")));
    way.cut();
    // The key runs out, and nobody takes it.
    cluster.wait("the key to run out", 30, || cluster.key("leader").is_some_and(|name| name.is_empty()));
    stays(&cluster, 0, Duration::from_secs(4));
    assert!(is_active(&cluster, 0) && is_active(&cluster, 1));
    assert_eq!(cluster.key("leader"), Some(String::new()));
    assert!(cluster.nodes[1].log().contains("following a leader (postgres-0)"), "{}", cluster.logs());
    // The one is gone for good: the other waits for the end of its promise, and leads.
    cluster.nodes[0].kill_agent();
    cluster.nodes[0].kill_postmaster();
    let gone = Instant::now();
    let new = cluster.wait_other_leader(0, 40);
    assert!(new == 1 && gone.elapsed() > Duration::from_secs(14), "{:?}: {}", gone.elapsed(), cluster.logs());
}

// rows: FSM-06, FSM-11, SLOT-06
#[test]
fn slots_of_three_members_move_on_without_the_store() {
    let cascade = |o: NodeOptions| match o.number {
        2 => o.with(json!({"tags": {"replicatefrom": "postgres-1"}})),
        _ => o,
    };
    // The third streams from the second.
    let Some(cluster) = cluster("fs3", 3, cascade) else { return };
    let position = |node: usize, slot: &str| -> u64 {
        let sql = format!("SELECT restart_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = '{slot}'");
        cluster.nodes[node].sql(&sql).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
    };
    let pairs = [(0, "postgres_2"), (1, "postgres_0"), (2, "postgres_1"), (2, "postgres_0")];
    cluster.wait("the slots", 30, || pairs.iter().all(|(node, slot)| position(*node, slot) > 0));
    cluster.freeze_etcd();
    cluster.wait("failsafe mode", 14, || (0..3).all(|n| is_active(&cluster, n)));
    cluster.nodes[0].sql("CREATE TABLE t AS SELECT generate_series(1, 20000) AS x").unwrap();
    let now = cluster.nodes[0].sql("SELECT pg_current_wal_lsn() - '0/0'").unwrap().parse::<u64>().unwrap();
    cluster.wait("the slots to follow", 20, || pairs.iter().all(|(node, slot)| position(*node, slot) >= now));
    assert_eq!(cluster.writable(), [0], "{}", cluster.logs());
}
