//! What is written wrongly is named, and nothing is touched.

use super::harness::{Cluster, NodeOptions, shell};
use serde_json::{Value, json};

/// Starts the agent with a configuration that cannot work; its exit code and what it said.
fn refused(cluster: &mut Cluster, over: &Value) -> (i32, String) {
    let number = cluster.nodes.len();
    let index = cluster.prepare(NodeOptions::new(number).with(over.clone()));
    let node = &cluster.nodes[index];
    let command = format!("timeout 20 {}/bin/patroni {}", cluster.dir.display(), node.config_file.display());
    let result = shell(&cluster.dir, &command);
    assert!(!node.data_dir.exists(), "nothing was created: {over} {result:?}");
    result
}

#[test]
fn each_mistake_has_its_message() {
    let Some(mut cluster) = Cluster::new("bad") else { return };
    for (over, words) in [
        (json!({"scope": null}), vec!["scope"]),
        (json!({"name": null}), vec!["name"]),
        (json!({"etcd3": null}), vec!["etcd3"]),
        (json!({"postgresql": {"data_dir": null}}), vec!["postgresql", "data_dir"]),
        (json!({"postgresql": {"listen": "127.0.0.1:port"}}), vec!["postgresql.listen"]),
        (json!({"restapi": {"listen": "127.0.0.1:99999"}}), vec!["restapi.listen"]),
        (json!({"restapi": {"certfile": "/nowhere/cert.pem"}}), vec!["/nowhere/cert.pem"]),
    ] {
        let (code, text) = refused(&mut cluster, &over);
        assert_eq!(code, 1, "{over}: {text}");
        for word in words {
            assert!(text.contains(word), "{over}: '{word}' is not in: {text}");
        }
    }
}

#[test]
fn a_file_that_is_no_yaml_is_named_with_its_place() {
    let Some(cluster) = Cluster::new("yaml") else { return };
    let file = cluster.dir.join("broken.yml");
    std::fs::write(&file, "scope: batman\nname: [a\nrestapi: {\n").unwrap();
    let (code, text) =
        shell(&cluster.dir, &format!("timeout 20 {}/bin/patroni {}", cluster.dir.display(), file.display()));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("broken.yml") && text.contains("line"), "{text}");
    let (code, text) = shell(&cluster.dir, &format!("timeout 20 {}/bin/patroni /nowhere.yml", cluster.dir.display()));
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("/nowhere.yml"), "{text}");
}

#[test]
fn a_bad_file_on_reload_keeps_what_was_in_force() {
    let Some(cluster) = Cluster::with_members("reload", 1) else { return };
    let node = &cluster.nodes[0];
    let good = std::fs::read_to_string(&node.config_file).unwrap();
    std::fs::write(&node.config_file, "postgresql: [").unwrap();
    node.agent.signal("HUP");
    cluster.wait("a line about the broken file", 10, || {
        node.log().contains(node.config_file.file_name().unwrap().to_str().unwrap())
    });
    assert!(node.is_writable());
    assert_eq!(node.get("/primary").code, 200);

    std::fs::write(&node.config_file, good.replace("\"8MB\"", "\"9MB\"")).unwrap();
    node.agent.signal("HUP");
    cluster.wait("the pending restart", 20, || node.get("/patroni").json()["pending_restart"] == json!(true));
    cluster.wait("the member key to say so", 5, || {
        cluster.key("members/postgres-0").unwrap_or_default().contains("\"pending_restart\":true")
    });
    let (code, text) = cluster.ctl(&["restart", "batman", "postgres-0", "--pending", "--force"]);
    assert_eq!((code, text.contains("Success: restart on member postgres-0")), (0, true), "{text}");
    cluster.wait("the restart", 20, || node.sql("SHOW shared_buffers").is_ok_and(|r| r == "9MB"));
    cluster.wait("no pending restart", 20, || node.get("/patroni").json().get("pending_restart").is_none());
}
