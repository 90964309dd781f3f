//! patronictl and the REST API at work on a living cluster.

use super::harness::Cluster;
use serde_json::json;

// rows: HA-41, PAUSE-01, PAUSE-02, PAUSE-08, PAUSE-13
#[test]
fn pause_leaves_everything_alone_until_resume() {
    let Some(mut cluster) = Cluster::with_members("pause", 2) else { return };
    let leader = cluster.leader().unwrap();
    let replica = 1 - leader;
    let (code, text) = cluster.ctl(&["pause", "batman", "--wait"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    assert!(text.contains("Success: cluster management is paused"), "{text}");

    // A stopped standby stays stopped; an ended agent leaves its server running.
    let data = cluster.nodes[replica].data_dir.display().to_string();
    let pg_ctl = super::harness::pg_bin().join("pg_ctl");
    let (code, text) = super::harness::shell(&cluster.dir, &format!("{} -D {data} -m fast -w stop", pg_ctl.display()));
    assert_eq!(code, 0, "{text}");
    std::thread::sleep(std::time::Duration::from_secs(6));
    assert!(cluster.nodes[replica].postmaster().is_none());
    assert_eq!(cluster.nodes[leader].stop(), 0);
    assert!(cluster.nodes[leader].is_writable());
    cluster.nodes[leader].start();
    cluster.wait("the leader's API", 20, || cluster.nodes[leader].get("/primary").code == 200);

    let (code, text) = cluster.ctl(&["resume", "batman", "--wait"]);
    assert_eq!(code, 0, "{text}\n{}", cluster.logs());
    cluster.wait_streaming(1, 60);
    assert_eq!(cluster.writable(), [leader]);
}

#[test]
fn settings_are_shown_and_changed() {
    let Some(cluster) = Cluster::with_members("settings", 1) else { return };
    let node = &cluster.nodes[0];
    let (code, text) = cluster.ctl(&["show-config", "batman"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("loop_wait: 2\n") && text.contains("  use_pg_rewind: true\n"), "{text}");
    let (code, text) = cluster.ctl(&["edit-config", "batman", "-s", "ttl=25", "-p", "max_connections=60", "--force"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains("+ttl: 25") && text.contains("+    max_connections: 60"), "{text}");
    cluster.wait("a pending restart", 15, || node.get("/patroni").json()["pending_restart"] == json!(true));
    let reason = node.get("/patroni").json()["pending_restart_reason"]["max_connections"].clone();
    assert_eq!(reason, json!({"old_value": "100", "new_value": "60"}));

    let reply = node.send("POST", "/restart", &json!({"restart_pending": true}));
    assert_eq!((reply.code, reply.body.as_str()), (200, "restarted successfully"), "{}", cluster.logs());
    assert_eq!(node.sql("SHOW max_connections"), Ok("60".to_owned()));
    cluster.wait("no pending restart", 15, || node.get("/patroni").json().get("pending_restart").is_none());

    // PATCH merges, null deletes; PUT replaces.
    assert_eq!(node.send("PATCH", "/config", &json!({"ttl": null, "x": {"y": 1}})).code, 200);
    cluster.wait("the change to be seen", 10, || {
        let config = node.get("/config").json();
        (config.get("ttl"), &config["x"]["y"]) == (None, &json!(1))
    });
    assert_eq!(node.send("PATCH", "/config", &json!([1])).code, 400);
}

// rows: TAG-11, TAG-08
#[test]
fn tags_are_read_again() {
    let Some(cluster) = Cluster::with_members("tags", 1) else { return };
    let node = &cluster.nodes[0];
    let tags = |key: &str| {
        let key: serde_json::Value = serde_json::from_str(&cluster.key(key).unwrap_or_default()).unwrap_or_default();
        key["tags"].clone()
    };
    assert_eq!(tags("members/postgres-0"), json!(null));
    let mut config: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&node.config_file).unwrap()).unwrap();
    config["tags"] = json!({"zone": "eu", "size": 3, "nofailover": false, "noloadbalance": true});
    std::fs::write(&node.config_file, config.to_string()).unwrap();
    assert_eq!(node.send("POST", "/reload", &json!({})).code, 202);
    let wanted = json!({"zone": "eu", "size": 3, "noloadbalance": true});
    cluster.wait("the tags in the member key", 15, || tags("members/postgres-0") == wanted);
    assert_eq!(node.get("/patroni").json()["tags"], wanted);
    assert_eq!(node.get("/read-only?tag_zone=eu").code, 200);
    assert_eq!(node.get("/read-only?tag_zone=us").code, 503);
}

#[test]
fn tables_topology_and_metrics() {
    let Some(cluster) = Cluster::with_members("tables", 2) else { return };
    let leader = cluster.leader().unwrap();
    cluster.wait("both members to be seen as streaming", 20, || {
        let (code, text) = cluster.ctl(&["list", "batman"]);
        code == 0 && text.contains("streaming")
    });
    let (_, text) = cluster.ctl(&["list", "batman"]);
    let first = text.lines().next().unwrap();
    assert!(first.starts_with("+ Cluster: batman (") && first.ends_with('+'), "{text}");
    assert!(text.contains(&format!("| {} ", cluster.nodes[leader].name)), "{text}");
    let (code, json_text) = cluster.ctl(&["list", "batman", "-f", "json"]);
    assert_eq!(code, 0);
    let rows: serde_json::Value = serde_json::from_str(&json_text).unwrap();
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(rows[leader]["Role"], json!("Leader"));
    let (code, text) = cluster.ctl(&["topology", "batman"]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("+ {}", cluster.nodes[1 - leader].name)), "{text}");

    let metrics = cluster.nodes[leader].get("/metrics").body;
    for line in [
        "patroni_primary{scope=\"batman\",name=\"postgres-0\"} 1",
        "patroni_postgres_running{scope=\"batman\",name=\"postgres-0\"} 1",
    ] {
        assert!(leader != 0 || metrics.lines().any(|l| l == line), "{line} is not in {metrics}");
    }
}
