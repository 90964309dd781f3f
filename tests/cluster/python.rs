//! Members and tools of Python's Patroni beside ours. Skipped where Python Patroni is not installed.

use super::harness::{Cluster, NodeOptions, shell};
use serde_json::json;
use std::path::PathBuf;

/// The directory of Python Patroni's programs: `PATRONI_PYTHON_BIN`, or what scripts/python-patroni made.
fn python_bin() -> Option<PathBuf> {
    let given = std::env::var_os("PATRONI_PYTHON_BIN").map(PathBuf::from);
    let bin = given.unwrap_or_else(|| std::env::temp_dir().join("patroni-python-venv/bin"));
    if bin.join("patronictl").exists() {
        return Some(bin);
    }
    eprintln!("skipped: no Python Patroni in {} (scripts/python-patroni installs one)", bin.display());
    None
}

#[test]
fn a_python_member_follows_leads_and_gives_back() {
    let Some(bin) = python_bin() else { return };
    let Some(mut cluster) = Cluster::with_members("mixed", 1) else { return };
    let mut options = NodeOptions::new(1);
    options.program = Some(bin.join("patroni"));
    cluster.add(options);
    cluster.wait_streaming(1, 60);
    cluster.nodes[0].sql("CREATE TABLE t AS SELECT 1 AS x").unwrap();

    let switch = |from: usize, to: usize| {
        let body = json!({"leader": cluster.nodes[from].name, "candidate": cluster.nodes[to].name});
        let reply = cluster.nodes[from].send("POST", "/switchover", &body);
        assert_eq!(reply.code, 200, "{}\n{}", reply.body, cluster.logs());
        assert_eq!(cluster.wait_other_leader(from, 30), to);
        cluster.wait_streaming(1, 60);
    };
    switch(0, 1);
    cluster.nodes[1].sql("INSERT INTO t VALUES (2)").unwrap();
    switch(1, 0);
    assert_eq!(cluster.nodes[0].sql("SELECT count(*) FROM t"), Ok("2".to_owned()));
    assert_eq!(cluster.writable(), [0]);
}

/// The first member leads; one of the two is Python's.
fn without_store(test: &str, python: usize) {
    let Some(bin) = python_bin() else { return };
    let Some(mut cluster) = Cluster::new(test) else { return };
    for number in 0..2 {
        let mut options = NodeOptions::new(number).with(json!({"bootstrap": {"dcs": {"failsafe_mode": true}}}));
        options.program = (number == python).then(|| bin.join("patroni"));
        cluster.add(options);
        cluster.wait_leader(40);
    }
    cluster.wait_streaming(1, 60);
    let map = |n: usize| cluster.nodes[n].get("/failsafe").json().as_object().map_or(0, serde_json::Map::len);
    cluster.wait("the map", 15, || map(0) == 2 && map(1) == 2);
    let active = |n: usize| cluster.nodes[n].get("/patroni").body.contains("failsafe_mode_is_active");
    cluster.freeze_etcd();
    cluster.wait("failsafe mode", 14, || active(0) && active(1));
    std::thread::sleep(std::time::Duration::from_secs(12));
    assert!(cluster.writable() == [0] && active(0) && active(1), "{}", cluster.logs());
    cluster.thaw_etcd();
    cluster.wait("the end of it on the primary", 15, || !active(0));
    assert_eq!(cluster.writable(), [0]);
}

// rows: FSM-03, FSM-06
#[test]
fn a_python_member_leaves_our_primary_in_the_lead() {
    without_store("fsours", 1);
}

// rows: FSM-05, FSM-06, FSM-07
#[test]
fn our_member_leaves_a_python_primary_in_the_lead() {
    without_store("fstheirs", 0);
}

#[test]
fn both_patronictl_print_the_same_table() {
    let Some(bin) = python_bin() else { return };
    let Some(cluster) = Cluster::with_members("same", 2) else { return };
    for arguments in [
        "list batman",
        "topology batman",
        "list batman -f tsv",
        "list batman -f json",
        "history batman",
        "show-config batman",
    ] {
        let theirs = format!("{}/patronictl -c {} {arguments}", bin.display(), cluster.nodes[0].config_file.display());
        let ours = format!(
            "{}/bin/patronictl -c {} {arguments}",
            cluster.dir.display(),
            cluster.nodes[0].config_file.display()
        );
        let mut pair = (String::new(), String::new());
        // Positions move between two calls: the same moment has to be met once.
        let mut same = false;
        for _ in 0..20 {
            pair = (shell(&cluster.dir, &theirs).1, shell(&cluster.dir, &ours).1);
            same = pair.0 == pair.1;
            if same {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        assert!(same, "{arguments}:\n{}\n{}", pair.0, pair.1);
    }
}
