//! A required watchdog, with the driver that writes to a named pipe.

use super::harness::{Cluster, NodeOptions, shell};
use serde_json::{Value, json};
use std::io::Read;
use std::sync::{Arc, Mutex};

/// Reads the pipe of a member until the agent is gone, and collects what is written.
fn reader(cluster: &Cluster) -> (Value, Arc<Mutex<String>>) {
    let pipe = cluster.dir.join("watchdog");
    let (code, text) = shell(&cluster.dir, "mkfifo watchdog");
    assert_eq!(code, 0, "{text}");
    let seen = Arc::new(Mutex::new(String::new()));
    let (collected, path) = (Arc::clone(&seen), pipe.clone());
    std::thread::spawn(move || {
        // A writer of our own keeps the pipe open over the closes of the agent.
        let mut file = std::fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
        let mut bytes = [0; 64];
        while let Ok(count) = file.read(&mut bytes) {
            collected.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    (json!({"watchdog": {"driver": "testing", "device": pipe, "mode": "require"}}), seen)
}

// rows: WD-04, WD-05, WD-06, PAUSE-07
#[test]
fn a_leader_feeds_it_while_it_leads_and_closes_it_in_pause_and_at_the_end() {
    let Some(mut cluster) = Cluster::new("watched") else { return };
    let (section, seen) = reader(&cluster);
    let has = |text: &str| seen.lock().unwrap().contains(text);
    cluster.add(NodeOptions::new(0).with(section));
    cluster.wait_leader(40);
    cluster.wait("the device to be set and fed", 20, || has("Ctimeout=15\n11"));
    assert!(cluster.nodes[0].get("/patroni").json().get("watchdog_failed").is_none());
    assert_eq!(cluster.ctl(&["edit-config", "batman", "-s", "ttl=25", "--force"]).0, 0);
    cluster.wait("the other time-out", 20, || has("Ctimeout=20\n1"));
    assert!(!has("V"));
    assert_eq!(cluster.ctl(&["pause", "batman"]).0, 0);
    cluster.wait("the end of the watch", 20, || has("V"));
    seen.lock().unwrap().clear();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(*seen.lock().unwrap(), "", "nothing is fed in pause");
    assert_eq!(cluster.ctl(&["resume", "batman"]).0, 0);
    cluster.wait("the watch to go on", 20, || has("Ctimeout=20\n11"));
    // A frozen agent feeds nothing.
    cluster.nodes[0].agent.signal("STOP");
    std::thread::sleep(std::time::Duration::from_millis(200));
    seen.lock().unwrap().clear();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(*seen.lock().unwrap(), "");
    cluster.nodes[0].agent.signal("CONT");
    cluster.wait("the watch to go on", 20, || has("1"));
    assert_eq!(cluster.nodes[0].stop(), 0);
    cluster.wait("the last word", 5, || seen.lock().unwrap().ends_with('V'));
}

// rows: WD-07, RACE-01
#[test]
fn without_its_device_a_member_does_not_lead_and_says_so() {
    let Some(mut cluster) = Cluster::new("unwatched") else { return };
    let missing = json!({"watchdog": {"device": cluster.dir.join("nothing"), "mode": "required"}});
    cluster.add(NodeOptions::new(0));
    cluster.wait_leader(40);
    cluster.add(NodeOptions::new(1).with(missing.clone()));
    cluster.wait_streaming(1, 60);
    cluster.wait("the failure in the status", 15, || {
        cluster.nodes[1].get("/patroni").json()["watchdog_failed"] == json!(true)
    });
    // Nobody is left who could take over.
    let (_, text) = cluster.ctl(&["switchover", "batman", "--candidate", "postgres-1", "--force"]);
    assert!(text.contains("no good candidates"), "{text}");
    cluster.nodes[0].stop();
    cluster.wait("the race", 40, || cluster.nodes[1].log().contains("Watchdog device is not usable"));
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(cluster.writable(), Vec::<usize>::new(), "{}", cluster.logs());
    cluster.nodes[0].start();
    assert_eq!(cluster.wait_leader(40), 0);
}

// rows: WD-04
#[test]
fn a_primary_that_is_to_have_one_and_has_none_steps_down() {
    let Some(mut cluster) = Cluster::with_members("nodog", 2) else { return };
    let leader = cluster.leader().unwrap();
    let file = cluster.nodes[leader].config_file.clone();
    let mut config: Value = serde_json::from_str(&std::fs::read_to_string(&file).unwrap()).unwrap();
    config["watchdog"] = json!({"mode": "required", "device": cluster.dir.join("nothing")});
    std::fs::write(&file, config.to_string()).unwrap();
    assert_eq!(cluster.nodes[leader].send("POST", "/reload", &json!({})).code, 202);
    let new = cluster.wait_other_leader(leader, 40);
    assert_ne!(new, leader);
    let log = cluster.nodes[leader].log();
    assert!(log.contains("Demoting self because watchdog could not be activated"), "{log}");
    assert!(log.contains("Configuration requires watchdog, but watchdog could not be configured."), "{log}");
    cluster.wait_streaming(1, 60);
    cluster.nodes[new].stop();
}
