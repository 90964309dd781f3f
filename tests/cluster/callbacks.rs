//! The user's scripts on a living cluster: what they are told, and what they may forbid.

use super::harness::{Cluster, NodeOptions};
use serde_json::{Value, json};

/// A member whose scripts write down what they are told.
fn member(cluster: &Cluster, number: usize) -> NodeOptions {
    let dir = cluster.dir.display();
    let tell = format!("sh {dir}/tell.sh {dir}/told-{number}");
    let events = ["on_start", "on_stop", "on_restart", "on_reload", "on_role_change"];
    let callbacks: serde_json::Map<String, Value> =
        events.into_iter().map(|event| (event.to_owned(), json!(tell))).collect();
    NodeOptions::new(number).with(json!({"postgresql": {
        "callbacks": callbacks,
        "before_stop": format!("{tell} before_stop"),
        "pre_promote": format!("sh -c 'test ! -e {dir}/forbidden-{number}'"),
    }}))
}

fn cluster(test: &str) -> Option<Cluster> {
    let cluster = Cluster::new(test)?;
    std::fs::write(cluster.dir.join("tell.sh"), "file=$1\nshift\necho \"$*\" >> $file\n").unwrap();
    Some(cluster)
}

/// What the scripts of a member were told, reloads apart; and forgets it.
fn told(cluster: &Cluster, number: usize) -> Vec<String> {
    let file = cluster.dir.join(format!("told-{number}"));
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    text.lines().filter(|line| !line.starts_with("on_reload")).map(str::to_owned).collect()
}

fn wait_told(cluster: &Cluster, number: usize, wanted: &[&str]) {
    let mut seen = Vec::new();
    let wait = std::panic::AssertUnwindSafe(|| {
        cluster.wait("the scripts to be told", 20, || {
            seen = told(cluster, number);
            seen == wanted
        });
    });
    if let Err(panic) = std::panic::catch_unwind(wait) {
        eprintln!("scripts of {number} were told {seen:#?} instead of {wanted:#?}");
        std::panic::resume_unwind(panic);
    }
    std::fs::remove_file(cluster.dir.join(format!("told-{number}"))).unwrap();
}

// rows: CB-01, CB-02, CB-04, CB-05, CB-07
#[test]
fn scripts_are_told_what_becomes_of_their_server() {
    let Some(mut cluster) = cluster("scripts") else { return };
    let options = member(&cluster, 0);
    cluster.add(options);
    cluster.wait_leader(40);
    wait_told(&cluster, 0, &["on_start primary batman"]);
    let options = member(&cluster, 1);
    cluster.add(options);
    cluster.wait_streaming(1, 60);
    wait_told(&cluster, 1, &["on_start replica batman"]);

    let reply = cluster.nodes[1].send("POST", "/restart", &json!({}));
    assert_eq!(reply.code, 200, "{}", reply.body);
    wait_told(&cluster, 1, &["before_stop", "on_restart replica batman"]);
    let change = json!({"postgresql": {"parameters": {"work_mem": "5MB"}}});
    assert_eq!(cluster.nodes[0].send("PATCH", "/config", &change).code, 200);
    for (number, line) in [(0, "on_reload primary batman\n"), (1, "on_reload replica batman\n")] {
        let file = cluster.dir.join(format!("told-{number}"));
        cluster.wait("the news of a reload", 15, || std::fs::read_to_string(&file).is_ok_and(|text| text == line));
    }

    let body = json!({"leader": "postgres-0", "candidate": "postgres-1"});
    let reply = cluster.nodes[0].send("POST", "/switchover", &body);
    assert_eq!(reply.code, 200, "{} {}", reply.body, cluster.logs());
    cluster.wait_streaming(1, 60);
    wait_told(&cluster, 0, &["before_stop", "on_stop primary batman", "on_role_change replica batman"]);
    wait_told(&cluster, 1, &["on_role_change primary batman"]);

    let reply = cluster.nodes[0].send("POST", "/reinitialize", &json!({}));
    assert_eq!(reply.code, 200, "{} {}", reply.body, cluster.logs());
    wait_told(&cluster, 0, &["before_stop", "on_stop replica batman", "on_start replica batman"]);
    cluster.wait_streaming(1, 60);

    assert_eq!(cluster.nodes[1].stop(), 0);
    wait_told(&cluster, 1, &["before_stop", "on_stop primary batman"]);
}

// rows: CB-06, RACE-02
#[test]
fn a_script_that_forbids_the_promotion_gives_the_key_back_for_a_while() {
    let Some(mut cluster) = cluster("forbidden") else { return };
    for number in 0..2 {
        let options = member(&cluster, number);
        cluster.add(options);
        cluster.wait_leader(40);
    }
    cluster.wait_streaming(1, 60);
    std::fs::write(cluster.dir.join("forbidden-1"), "").unwrap();
    cluster.nodes[0].kill_agent();
    cluster.nodes[0].kill_postmaster();
    cluster.wait("the promotion to be cancelled", 40, || {
        cluster.nodes[1].log().contains("Promotion cancelled because the pre-promote script failed")
    });
    cluster.wait("the key to be free", 5, || cluster.key("leader").as_deref() == Some(""));
    std::fs::remove_file(cluster.dir.join("forbidden-1")).unwrap();
    let cancelled = std::time::Instant::now();
    cluster.wait("the back-off in the log", 10, || cluster.nodes[1].log().contains("backoff: skip leader race"));
    // ttl is 20 s
    assert_eq!(cluster.wait_leader(40), 1);
    let waited = cancelled.elapsed().as_secs();
    assert!(waited >= 15, "took the key again after {waited} s\n{}", cluster.logs());
}
