//! The journal and its replay.

use super::*;
use crate::actors::journal::Journal;
use crate::actors::me::me;
use crate::actors::snapshot_publisher::SnapshotPublisher;
use crate::cluster::Cluster;
use crate::ha::{Memory, Outcome, Rule, WatchdogReport};
use crate::test_settings::settings;
use crate::types::{Mono, Wall};
use std::sync::Arc;
use std::time::Duration;

fn view(cycle: u64) -> View {
    let settings = Arc::new(settings(|_| ()));
    let now = Mono(Duration::from_secs(1000 + cycle * 10));
    let (_publisher, snapshots) = SnapshotPublisher::new(settings.clone(), now, Arc::new(|| (0, 0)));
    let server = snapshots.borrow().server.clone();
    View {
        cycle,
        now,
        wall: Wall::UNIX_EPOCH,
        me: me(&settings, &serde_json::Map::new()),
        global: settings.global.clone(),
        cluster: Ok(Arc::new(Cluster::default())),
        server,
        status: None,
        watchdog: WatchdogReport::default(),
        requests: Vec::new(),
        stopping: false,
        caller: None,
        memory: Memory::default(),
        done: Vec::new(),
    }
}

fn decide(view: &View) -> Round {
    match view.done.len() {
        0 => Round::Need { commands: vec![Command::AcquireLeader, Command::CancelJob], log: Vec::new() },
        _ => Round::Done(Box::new(Finish {
            rule: Rule::StoreSilent,
            sentence: format!("{:?}", view.done[0].1),
            log: Vec::new(),
            memory: view.memory.clone(),
            commands: vec![Command::WatchdogDisable],
            answers: Vec::new(),
            wake_in: None,
            exit: None,
        })),
    }
}

fn record(cycle: u64, outcome: Outcome) -> Record {
    let mut view = view(cycle);
    view.done = vec![(Command::AcquireLeader, outcome), (Command::CancelJob, Outcome::Ok)];
    let Round::Done(finish) = decide(&view) else { unreachable!() };
    Record { view, rounds: vec![2], finish: *finish }
}

fn numbers(journal: &Journal) -> Vec<u64> {
    let number = |line: &Arc<str>| serde_json::from_str::<Record>(line).unwrap().view.cycle;
    journal.lines().iter().map(number).collect()
}

#[test]
fn quiet_cycles_are_kept_only_before_an_event_and_at_the_end() {
    let mut journal = Journal::in_memory();
    for cycle in 1..=5 {
        journal.record(record(cycle, Outcome::Ok));
    }
    assert_eq!(numbers(&journal), [1, 5]);
    journal.record(record(6, Outcome::Conflict));
    journal.record(record(7, Outcome::Conflict));
    assert_eq!(numbers(&journal), [1, 5, 6, 7]);
}

#[test]
fn the_ring_is_bounded() {
    let mut journal = Journal::in_memory();
    for cycle in 1..=2000 {
        journal.record(record(cycle, Outcome::Failed(format!("{cycle}"))));
    }
    let lines = journal.lines();
    assert!(lines.len() <= 500 && lines.iter().map(|l| l.len()).sum::<usize>() <= 300_000);
    assert_eq!(numbers(&journal).last(), Some(&2000));
}

#[test]
fn a_recorded_cycle_is_decided_in_the_same_way_again() {
    let mut journal = Journal::in_memory();
    journal.record(record(1, Outcome::Ok));
    journal.record(record(2, Outcome::Conflict));
    let text = journal.lines().join("\n") + "\nno cycle\n";
    let mut out = Vec::new();
    let sum = replay(text.as_bytes(), None, decide, &mut out).unwrap();
    assert_eq!(sum, Replayed { cycles: 2, different: 0, unreadable: 1 });
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains("cycle 2 at 1970-01-01T00:00:00Z: same: StoreSilent: Conflict"), "{out}");
    let one = replay(text.as_bytes(), Some(2), decide, &mut Vec::new()).unwrap();
    assert_eq!(one.cycles, 1);
}

#[test]
fn other_rules_are_noticed_in_rounds_and_at_the_end() {
    fn other_command(view: &View) -> Round {
        if view.done.is_empty() {
            return Round::Need { commands: vec![Command::RenewLeader, Command::CancelJob], log: Vec::new() };
        }
        decide(view)
    }
    fn other_end(view: &View) -> Round {
        match decide(view) {
            Round::Done(mut finish) => {
                finish.wake_in = Some(Duration::from_secs(1));
                Round::Done(finish)
            }
            need => need,
        }
    }
    let text = serde_json::to_string(&record(1, Outcome::Ok)).unwrap();
    for (rules, place) in [(other_command as fn(&View) -> Round, "round 1"), (other_end, "end")] {
        let mut out = Vec::new();
        assert_eq!(replay(text.as_bytes(), None, rules, &mut out).unwrap().different, 1);
        assert!(String::from_utf8(out).unwrap().contains(place));
    }
}

#[test]
fn a_journal_in_a_directory_is_written_there() {
    let directory = tempfile::tempdir().unwrap();
    let mut journal = Journal::in_directory(directory.path()).unwrap();
    journal.record(record(1, Outcome::Ok));
    drop(journal);
    let file = directory.path().join("patroni.journal");
    let text = loop {
        let text = std::fs::read_to_string(&file).unwrap_or_default();
        if text.ends_with('\n') {
            break text;
        }
        std::thread::yield_now();
    };
    assert_eq!(replay(text.as_bytes(), None, decide, &mut Vec::new()).unwrap().cycles, 1);
}
