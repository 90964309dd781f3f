use super::*;
use crate::api::ServerHandle;
use crate::api::fixture;
use crate::clock::Clock;
use crate::cluster::{Keys, PeerStatus};
use crate::config::settings::Ctl;
use crate::ctl::args::Cli;
use crate::ctl::console::Console;
use crate::ctl::context::Setup;
use crate::dcs::memory::MemoryStore;
use crate::ha::{AnswerKind, Request};
use clap::Parser;
use gateway::{Fake, answer};
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[path = "../../tests/api/gateway.rs"]
#[allow(dead_code)]
mod gateway;

/// A cluster in memory whose two members share one REST server.
struct World {
    store: MemoryStore,
    fake: Arc<Fake>,
    _server: ServerHandle,
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<Vec<u8>>>);

impl Write for Output {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(buffer)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl World {
    fn new() -> Self {
        let fake = Fake::new(fixture::snapshot());
        let settings = fake.with(|s| Arc::clone(&s.snapshot.settings));
        let server = crate::api::server::start(&settings, fake.clone()).unwrap();
        let store = MemoryStore::new(Clock::system());
        let world = Self { store, fake, _server: server };
        world.put("initialize", "7123456789012345678");
        world.put("leader", "a");
        world.put("config", r#"{"loop_wait":10,"ttl":30,"postgresql":{"parameters":{"max_connections":100}}}"#);
        world.put("history", r#"[[1,25623960,"no recovery target specified","2026-05-29T04:00:00+00:00","a"]]"#);
        let url = format!("http://{}/patroni", world._server.addresses()[0]);
        for (name, port, role) in [("a", 5432, "primary"), ("b", 5433, "replica")] {
            let data = json!({"conn_url": format!("postgres://127.0.0.1:{port}/postgres"), "api_url": url,
                "state": "running", "role": role, "timeline": 1, "version": "4.1.5"});
            world.put(&format!("members/{name}"), &data.to_string());
        }
        world
    }

    fn put(&self, key: &str, value: &str) {
        self.store.put(&Keys::new("service", "batman").key(key), value);
    }

    fn value(&self, key: &str) -> Option<Value> {
        let text = self.store.entries().get(&Keys::new("service", "batman").key(key)).cloned()?;
        serde_json::from_str(&text).ok()
    }

    /// Runs `patronictl` with these arguments and answers; returns the output and the complaint.
    fn run(&self, arguments: &str, answers: &'static str) -> (String, Option<String>) {
        let cli = Cli::try_parse_from(std::iter::once("patronictl").chain(arguments.split(' '))).unwrap();
        let store = self.store.clone();
        let setup = Setup {
            scope: Some("batman".into()),
            ctl: Ctl::default(),
            budget: Duration::from_secs(5),
            loop_wait: Duration::from_secs(10),
            open: Box::new(move |scope| Ok(Arc::new(store.without_session(&Keys::new("service", scope))))),
        };
        let output = Output::default();
        let mut console = Console::scripted(answers, output.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(run(&cli.command, &mut Context::new(setup, &mut console)));
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        (text, result.err().map(|e| e.shown()))
    }

    /// The last line of the output of a command that succeeds.
    fn last_line(&self, arguments: &str, answers: &'static str) -> String {
        let (text, error) = self.run(arguments, answers);
        assert_eq!(error, None, "{arguments}: {text}");
        text.lines().last().unwrap_or_default().to_owned()
    }

    fn error(&self, arguments: &str, answers: &'static str) -> String {
        self.run(arguments, answers).1.unwrap_or_default()
    }
}

#[test]
fn reading_commands_print() {
    let world = World::new();
    let (list, error) = world.run("list", "");
    assert_eq!(error, None);
    assert!(list.starts_with("+ Cluster: batman (7123456789012345678) -"), "{list}");
    assert!(list.contains("| a      | 127.0.0.1:5432 | Leader  | running |  1 |"), "{list}");
    assert!(world.run("topology batman", "").0.contains("| + b    |"));
    assert!(world.last_line("history batman -f tsv", "").ends_with("2026-05-29T04:00:00+00:00\ta"));
    assert_eq!(
        world.run("show-config batman", "").0,
        "loop_wait: 10\npostgresql:\n  parameters:\n    max_connections: 100\nttl: 30\n\n"
    );
    assert_eq!(world.last_line("dsn", ""), "host=127.0.0.1 port=5432");
    assert_eq!(world.last_line("dsn -r replica", ""), "host=127.0.0.1 port=5433");
    assert_eq!(world.error("dsn -m x", ""), "Error: Can not find a suitable member");
    assert_eq!(world.run("version", "").0, "patronictl version 4.1.5\n");
    let versions = world.run("version batman", "").0;
    assert_eq!(versions.lines().last(), Some("b: Patroni 4.1.5 PostgreSQL 15.18"));
    assert_eq!(world.error("query batman -c select", ""), "Error: query is not supported yet");
}

#[test]
fn the_configuration_is_edited() {
    let world = World::new();
    let (text, error) = world.run("edit-config -s ttl=20 --force", "");
    assert_eq!(error, None);
    assert!(text.contains("\n-ttl: 30\n+ttl: 20\n") && text.ends_with("Configuration changed\n"), "{text}");
    assert_eq!(world.value("config").unwrap()["ttl"], 20);
    let (text, _) = world.run("edit-config -p superuser_reserved_connections=6 --force batman", "");
    assert!(text.contains("+    superuser_reserved_connections: 6\n"), "{text}");
    assert_eq!(world.last_line("edit-config -s ttl=20 --force", ""), "Not changed");
    assert_eq!(world.run("edit-config -q -s ttl=25 --force", "").0, "Configuration changed\n");
    assert_eq!(world.last_line("edit-config -s ttl=21", "n\n"), "Apply these changes? [y/N]: ");
    assert_eq!(world.value("config").unwrap()["ttl"], 25);
    assert_eq!(world.last_line("edit-config --apply -", "ttl: 40\n"), "Use --force option to apply changes");
    world.run("edit-config --replace - --force", "ttl: 40\n");
    assert_eq!(world.value("config"), Some(json!({"ttl": 40})));
    assert_eq!(world.error("edit-config -s ttl --force", ""), "Error: Invalid parameter setting ttl");
}

// rows: CTL-21, STBY-09
#[test]
fn the_cluster_is_demoted_and_promoted_through_its_leader() {
    let world = World::new();
    let nothing = "Error: At least --host, --port or --restore-command should be specified";
    assert_eq!(world.error("demote-cluster batman --primary-slot-name s --force", ""), nothing);
    assert_eq!(world.error("promote-cluster", ""), "Error: Cluster is already in the required state");
    let (text, error) = world.run("demote-cluster --host h", "n\n");
    assert!(text.starts_with("Current cluster topology\n+ Cluster: batman ("), "{text}");
    assert!(text.ends_with("Are you sure you want to demote batman cluster? [y/N]: "), "{text}");
    assert_eq!(error.as_deref(), Some("Error: Aborted cluster demotion"));
    assert!(world.fake.with(|s| s.written_config.is_none()));

    // The leader is asked; then the role in its key is waited for.
    let store = world.store.clone();
    let key = Keys::new("service", "batman").key("members/a");
    let entry = store.entries().get(&key).cloned().unwrap().replace("\"primary\"", "\"standby_leader\"");
    let change = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(300));
        store.put(&key, &entry);
    });
    let (text, error) =
        world.run("demote-cluster --force --host h --port 5433 --restore-command x --primary-slot-name s", "");
    change.join().unwrap();
    assert_eq!(error, None);
    let waiting = " cluster is unlocked: False, leader role: primary, leader state: running\n";
    assert!(text.contains(waiting) && text.contains(" cluster is successfully demoted\n"), "{text}");
    assert!(text.trim_end().ends_with('+'), "the members come last: {text}");
    let section = json!({"host": "h", "port": 5433, "primary_slot_name": "s", "restore_command": "x"});
    assert_eq!(world.fake.with(|s| s.written_config.take()).unwrap().0["standby_cluster"], section);
    assert_eq!(world.error("demote-cluster --port 1", ""), "Error: Cluster is already in the required state");
    assert_eq!(world.error("promote-cluster", "no\n"), "Error: Aborted cluster promotion");
    world.store.put(&Keys::new("service", "batman").key("leader"), "");
    assert_eq!(world.error("promote-cluster", ""), "Error: Cluster has no leader, promotion is not possible");
}

// rows: PAUSE-01
#[test]
fn pause_and_resume_go_through_the_api() {
    let world = World::new();
    assert_eq!(world.last_line("pause batman", ""), "Success: cluster management is paused");
    let written = world.fake.with(|s| s.written_config.take()).unwrap().0;
    assert_eq!(written.get("pause"), Some(&json!(true)));
    assert_eq!(world.error("resume", ""), "Error: Cluster is not paused");
    world.put("config", r#"{"pause":true}"#);
    assert_eq!(world.error("pause", ""), "Error: Cluster is already paused");
    world.fake.with(|s| s.cluster.as_mut().unwrap().config = None);
    let (text, error) = world.run("resume", "");
    assert_eq!(error, None, "that the API refuses is no error");
    assert!(text.starts_with("Failed: resume cluster management status code=503, (<!DOCTYPE HTML>"), "{text}");
    let waited = world.run("pause --wait", "");
    assert_eq!(waited.1.as_deref(), Some("Error: Cluster is already paused"));
}

#[test]
fn switchovers_ask_and_are_sent() {
    let world = World::new();
    world.fake.with(|s| s.peers = vec![PeerStatus { reachable: true, ..PeerStatus::unreachable("b") }]);
    world.fake.with(|s| s.switches_to = Some("b"));
    let (text, error) = world.run("switchover batman", "\nb\nnow\ny\n");
    assert_eq!(error, None, "{text}");
    assert!(text.starts_with("Current cluster topology\n+ Cluster: batman"), "{text}");
    assert!(text.contains("Primary [a]: Candidate ['b'] []: When should the switchover take place (e.g. "), "{text}");
    assert!(text.contains("Are you sure you want to switchover cluster batman, demoting current leader a? [y/N]: "));
    assert!(text.contains(" Successfully switched over to \"b\"\n+ Cluster"), "{text}");
    let scheduled = "switchover --primary a --candidate b --scheduled 2099-01-01T00:00:00.5+00:00 --force batman";
    world.fake.with(|s| s.cluster.as_mut().unwrap().leader.as_mut().unwrap().name = "a".into());
    assert!(world.run(scheduled, "").0.contains(" Switchover scheduled\n"));
    let request = world.fake.with(|s| s.written_failover.take()).unwrap().0;
    assert_eq!(request.scheduled_at.as_deref(), Some("2099-01-01T00:00:00.500000+00:00"));
    world.put("config", r#"{"pause":true}"#);
    assert_eq!(world.error(scheduled, ""), "Error: Can't schedule switchover in the paused state");
    for (arguments, answers, error) in [
        ("switchover --leader b --force", "", "Error: Member b is not the leader of cluster batman"),
        ("switchover --candidate a --force", "", "Error: Member a is already the leader of cluster batman"),
        (
            "switchover --candidate x --force",
            "",
            "Error: Member x does not exist in cluster batman or is tagged as nofailover",
        ),
        (
            "switchover --scheduled soon --force",
            "",
            "Error: Unable to parse scheduled timestamp (soon). It should be in an unambiguous format (e.g. ISO 8601)",
        ),
        ("failover --force", "", "Error: Failover could be performed only to a specific candidate"),
        ("failover --candidate b", "n\n", "Error: Aborting failover"),
        ("switchover", "", "Aborted!"),
    ] {
        assert_eq!(world.error(arguments, answers), error, "{arguments}");
    }
    world.store.delete(&Keys::new("service", "batman").key("members/b"));
    assert_eq!(world.error("switchover --force", ""), "Error: No candidates found to switchover to");
    world.store.delete(&Keys::new("service", "batman").key("leader"));
    assert_eq!(world.error("switchover --force", ""), "Error: This cluster has no leader");
}

#[test]
fn a_switchover_falls_back_to_the_store() {
    let world = World::new();
    let data = json!({"conn_url": "postgres://127.0.0.1:1/postgres", "api_url": "http://127.0.0.1:1/patroni"});
    world.put("members/a", &data.to_string());
    let (text, error) = world.run("switchover --force", "");
    assert_eq!(error, None);
    assert!(text.contains(" Could not switchover using Patroni api, falling back to DCS\n"), "{text}");
    assert_eq!(world.value("failover").unwrap()["leader"], "a");
}

// rows: QUIRK-12
#[test]
fn members_are_restarted_reloaded_and_copied() {
    let world = World::new();
    assert_eq!(world.last_line("restart batman b --force", ""), "Success: restart on member b");
    assert!(matches!(world.fake.with(|s| s.requests.pop()), Some(Request::Restart { .. })));
    assert_eq!(world.last_line("restart batman --pending --force", "").get(..2), Some("+-"), "nobody needs one");
    let (text, error) = world.run("restart batman a", "now\ny\n\n");
    assert_eq!(error, None, "{text}");
    assert!(text.contains("Are you sure you want to restart members a? [y/N]: "), "{text}");
    assert_eq!(world.error("restart batman a", "now\nn\n"), "Error: Aborted restart");
    assert_eq!(world.error("restart batman x --force", ""), "Error: No 'any' among provided members");
    assert_eq!(world.error("reinit batman a --force", ""), "Error: No replica among provided members");
    assert_eq!(
        world.error("restart batman --pg-version 10 --force", ""),
        "Error: Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: 10"
    );
    assert_eq!(
        world.last_line("reload batman a --force", ""),
        "Reload request received for member a and will be processed within 10 seconds"
    );
    world.fake.with(|s| s.answer = answer(AnswerKind::NotDone, "restart failed"));
    assert_eq!(
        world.last_line("restart batman a --force", ""),
        "Failed: restart for member a, status code=503, (restart failed)"
    );
    world.fake.with(|s| s.answer = answer(AnswerKind::Done, "reinitialize started"));
    let (text, _) = world.run("reinit batman b --force --from-leader --wait", "");
    assert!(
        text.ends_with(
            "Success: reinitialize for member b\nWaiting for reinitialize to complete on: b\n\
             Reinitialize is completed on: b\n"
        ),
        "{text}"
    );
    world.fake.with(|s| s.answer = answer(AnswerKind::NotDone, "restart already in progress"));
    let (text, _) = world.run("reinit batman", "b\ny\ny\n");
    assert!(text.contains("Do you want to cancel it and reinitialize anyway? [y/N]: "), "{text}");
    let forced = world.fake.with(|s| s.requests.pop());
    assert_eq!(forced, Some(Request::Reinitialize { force: true, from_leader: false }));
}

#[test]
fn scheduled_actions_are_flushed() {
    let world = World::new();
    assert_eq!(world.last_line("flush batman switchover", ""), "No pending scheduled switchover");
    assert_eq!(world.last_line("flush batman b restart --force", ""), "No scheduled restart for member b");
    assert!(world.error("flush batman b", "").starts_with("Error: Invalid value for 'TARGET': 'b'"));
    world.put("failover", r#"{"leader":"a","scheduled_at":"2099-01-01T00:00:00+00:00"}"#);
    assert_eq!(world.last_line("flush batman switchover", ""), "Failed: no switchover is scheduled");
}

#[test]
fn a_cluster_is_removed_only_with_all_confirmations() {
    let world = World::new();
    for (answers, error) in [
        ("x\n", "Error: Cluster names specified do not match"),
        ("batman\nyes\n", "Error: You did not exactly type \"Yes I am aware\""),
        ("batman\nYes I am aware\nb\n", "Error: You did not specify the current leader of the cluster"),
        ("batman\n", "Aborted!"),
    ] {
        assert_eq!(world.error("remove batman", answers), error);
    }
    assert!(!world.store.entries().is_empty());
    assert_eq!(world.run("remove batman", "batman\nYes I am aware\na\n").1, None);
    assert!(world.store.entries().is_empty());
}
