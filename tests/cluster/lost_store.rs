//! The store is gone and comes back.

use super::harness::{Cluster, NodeOptions};
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn the_primary_steps_down_before_its_lease_ends_and_comes_back() {
    let Some(cluster) = Cluster::with_members("lost", 2) else { return };
    let leader = cluster.leader().unwrap();
    let frozen = Instant::now();
    cluster.freeze_etcd();
    cluster.wait("the primary to be read-only", 20, || cluster.writable().is_empty());
    let after = frozen.elapsed();
    assert!(after < Duration::from_secs(20), "within the time to live, not {after:?}");
    eprintln!("read-only {after:?} after the store was gone (ttl 20 s)");
    cluster.wait("the API to say so", 10, || cluster.nodes.iter().all(|n| n.get("/primary").code == 503));
    // Nobody promotes meanwhile, and reads are served.
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(cluster.writable(), Vec::<usize>::new());
    cluster.wait("reads to be served", 20, || cluster.nodes.iter().all(|n| n.sql("SELECT 1").is_ok()));

    cluster.thaw_etcd();
    cluster.wait_leader(40);
    cluster.wait_streaming(1, 60);
    assert_eq!(cluster.writable().len(), 1, "first leader was {leader}");
}

#[test]
fn a_short_silence_changes_no_role() {
    let Some(cluster) = Cluster::with_members("blink", 2) else { return };
    let leader = cluster.leader().unwrap();
    let before = cluster.nodes[leader].postmaster();
    cluster.freeze_etcd();
    // Shorter than retry_timeout (3 s).
    std::thread::sleep(Duration::from_millis(1500));
    cluster.thaw_etcd();
    std::thread::sleep(Duration::from_secs(5));
    assert_eq!(cluster.leader(), Some(leader));
    assert_eq!(cluster.nodes[leader].postmaster(), before, "{}", cluster.logs());
    assert_eq!(cluster.writable(), [leader]);
}

#[test]
fn the_api_of_a_primary_that_steps_down_says_so_at_once() {
    let Some(mut cluster) = Cluster::new("lostapi") else { return };
    // The stop takes a while, and the lease lasts longer.
    let slow = json!({"bootstrap": {"dcs": {"ttl": 30}}, "postgresql": {"before_stop": "sleep 5"}});
    cluster.add(NodeOptions::new(0).with(slow));
    cluster.wait_leader(40);
    let node = &cluster.nodes[0];
    cluster.wait("the API to show the leader", 10, || node.get("/primary").code == 200);
    cluster.freeze_etcd();
    cluster.wait("the demotion", 20, || node.log().contains("Demoting self (offline)"));
    let began = Instant::now();
    cluster.wait("the API to say so", 3, || node.get("/primary").code == 503);
    assert!(cluster.nodes[0].is_writable(), "the stop is under way still: {:?}", began.elapsed());
    cluster.wait("the primary to be read-only", 20, || cluster.writable().is_empty());
    cluster.thaw_etcd();
}
