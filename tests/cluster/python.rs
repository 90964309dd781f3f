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
