//! An old primary that wrote what the new one never saw.

use super::harness::{Cluster, NodeOptions};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// Two members with these local settings, and these dynamic ones of `postgresql`.
fn two(test: &str, local: impl Fn(&Cluster) -> Value, dynamic: Value) -> Option<Cluster> {
    let mut cluster = Cluster::new(test)?;
    let local = local(&cluster);
    cluster.add(NodeOptions::new(0).with(local.clone()));
    cluster.wait_leader(40);
    cluster.add(NodeOptions::new(1).with(local));
    cluster.wait_streaming(1, 60);
    let leader = cluster.leader().unwrap();
    assert_eq!(cluster.nodes[leader].send("PATCH", "/config", &json!({"postgresql": dynamic})).code, 200);
    Some(cluster)
}

/// A program for the members' configuration.
fn program(cluster: &Cluster, name: &str, text: &str) -> PathBuf {
    let file = cluster.dir.join(name);
    std::fs::write(&file, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    file
}

/// The old primary writes on while another one leads; then its agent comes back. The other's rows are all that is left.
fn diverge(cluster: &mut Cluster) -> usize {
    let old = cluster.leader().unwrap();
    let new = 1 - old;
    cluster.nodes[old].sql("CREATE TABLE t AS SELECT 'both' AS x").unwrap();
    cluster.wait("the table", 20, || cluster.nodes[new].sql("SELECT x FROM t").is_ok_and(|r| r == "both"));
    cluster.nodes[old].kill_agent();
    cluster.wait_other_leader(old, 60);
    cluster.nodes[old].sql("INSERT INTO t VALUES ('old')").unwrap();
    cluster.nodes[old].sql("CHECKPOINT").unwrap();
    cluster.nodes[new].sql("INSERT INTO t VALUES ('new')").unwrap();
    std::fs::write(cluster.nodes[old].data_dir.join("leftover"), "x").unwrap();
    cluster.nodes[old].start();
    cluster.wait_streaming(1, 90);
    let rows = "SELECT string_agg(x, ',' ORDER BY x) FROM t";
    cluster.wait("the new primary's rows", 20, || cluster.nodes[old].sql(rows).is_ok_and(|r| r == "both,new"));
    assert!(!cluster.nodes[old].data_dir.join("leftover").exists(), "{}", cluster.logs());
    old
}

// rows: REW-11
#[test]
fn what_may_not_be_rewound_is_copied_anew() {
    let settings = json!({"use_pg_rewind": false, "remove_data_directory_on_diverged_timelines": true});
    let Some(mut cluster) = two("diverged", |_| json!({}), settings) else { return };
    let old = diverge(&mut cluster);
    assert!(cluster.nodes[old].log().contains("reinitializing due to diverged timelines"), "{}", cluster.logs());
}

// rows: REW-10
#[test]
fn a_rewind_that_fails_is_followed_by_a_copy() {
    let settings = json!({"use_pg_rewind": true, "remove_data_directory_on_rewind_failure": true});
    let broken = |cluster: &Cluster| {
        let rewind = program(cluster, "pg_rewind", "test \"$1\" = --help");
        json!({"postgresql": {"bin_name": {"pg_rewind": rewind}}})
    };
    let Some(mut cluster) = two("norewind", broken, settings) else { return };
    let old = diverge(&mut cluster);
    let log = cluster.nodes[old].log();
    assert!(log.contains("Failed to rewind from healthy primary"), "{}", cluster.logs());
    assert!(log.contains("remove_data_directory_on_rewind_failure is set. removing..."), "{}", cluster.logs());
}

// rows: REW-12, REW-13
#[test]
fn reinitialize_from_the_leader_uses_no_other_method() {
    let methods = |cluster: &Cluster| {
        let note = cluster.dir.join("called");
        let own = program(cluster, "own", &format!("echo >> {}; exit 1", note.display()));
        json!({"postgresql": {"create_replica_methods": ["own", "basebackup"], "own": {"command": own}}})
    };
    let Some(cluster) = two("fromleader", methods, json!({})) else { return };
    let replica = &cluster.nodes[1 - cluster.leader().unwrap()];
    let calls = || std::fs::read_to_string(cluster.dir.join("called")).unwrap_or_default().lines().count();
    let first = calls();
    assert!(first > 0, "the first copy tried it: {}", cluster.logs());
    let copies = || replica.log().matches("replica has been created using basebackup").count();
    for (from_leader, own_calls) in [(true, first), (false, first + 1)] {
        let before = copies();
        let reply = replica.send("POST", "/reinitialize", &json!({"force": true, "from_leader": from_leader}));
        assert_eq!((reply.code, reply.body.as_str()), (200, "reinitialize started"));
        cluster.wait("the copy", 60, || copies() > before);
        cluster.wait_streaming(1, 60);
        assert_eq!(calls(), own_calls, "from_leader={from_leader}");
    }
    let (code, text) = cluster.ctl(&["reinit", "batman", &replica.name, "--force", "--from-leader", "--wait"]);
    assert_eq!((code, calls()), (0, first + 1), "{text}\n{}", cluster.logs());
    assert!(text.contains(&format!("Reinitialize is completed on: {}", replica.name)), "{text}");
}

// rows: REW-03, REW-05
#[test]
fn divergent_writes_are_rewound() {
    let Some(mut cluster) = Cluster::with_members("rewind", 2) else { return };
    let old = cluster.leader().unwrap();
    cluster.nodes[old].sql("CREATE TABLE t AS SELECT 'both' AS x").unwrap();
    let new = 1 - old;
    cluster
        .wait("the table on the standby", 10, || cluster.nodes[new].sql("SELECT x FROM t").is_ok_and(|r| r == "both"));

    // The agent dies, its PostgreSQL runs on; the other member takes over when the lease has ended.
    cluster.nodes[old].kill_agent();
    cluster.wait_other_leader(old, 60);
    cluster.nodes[old].sql("INSERT INTO t VALUES ('only on the old primary')").unwrap();
    cluster.nodes[old].sql("CHECKPOINT").unwrap();
    cluster.nodes[new].sql("INSERT INTO t VALUES ('only on the new primary')").unwrap();

    cluster.nodes[old].start();
    cluster.wait_streaming(1, 90);
    let rows = "SELECT string_agg(x, ',' ORDER BY x) FROM t";
    cluster.wait("the old primary to have the new one's rows", 20, || {
        cluster.nodes[old].sql(rows).is_ok_and(|r| r == "both,only on the new primary")
    });
    assert!(cluster.nodes[old].log().contains("running pg_rewind from"), "{}", cluster.logs());
    assert_eq!(cluster.writable(), [new]);
}

// rows: REW-12, REW-13
#[test]
fn reinitialize_copies_anew() {
    let Some(cluster) = Cluster::with_members("reinit", 2) else { return };
    let leader = cluster.leader().unwrap();
    let replica = &cluster.nodes[1 - leader];
    std::fs::write(replica.data_dir.join("leftover"), "x").unwrap();
    let reply = cluster.nodes[leader].send("POST", "/reinitialize", &serde_json::json!({}));
    assert_eq!((reply.code, reply.body.as_str()), (503, "I am the leader, can not reinitialize"));
    let (code, text) = cluster.ctl(&["reinit", "batman", &replica.name, "--force", "--wait"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    assert!(text.contains(&format!("Success: reinitialize for member {}", replica.name)), "{text}");
    assert!(!replica.data_dir.join("leftover").exists());
    cluster.wait_streaming(1, 40);
}
