//! The log as a whole: events in, lines out.

use super::*;
use indexmap::IndexMap;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Condvar, Mutex};
use tracing::{debug, error, info, warn};

pub(super) fn settings() -> Log {
    Log { format: json!("%(levelname)s: %(message)s"), ..crate::test_settings::settings(|_| ()).log }
}

/// Memory that can refuse to go on.
#[derive(Clone, Default)]
struct Memory(Arc<(Mutex<Written>, Condvar)>);

#[derive(Default)]
struct Written {
    bytes: Vec<u8>,
    blocked: bool,
}

impl Memory {
    fn text(&self) -> String {
        String::from_utf8(self.0.0.lock().unwrap().bytes.clone()).unwrap()
    }

    fn block(&self, blocked: bool) {
        self.0.0.lock().unwrap().blocked = blocked;
        self.0.1.notify_all();
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut state = self.0.1.wait_while(self.0.0.lock().unwrap(), |state| state.blocked).unwrap();
        state.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs something under a log with these settings; what was written.
fn logged(log: &Log, action: impl FnOnce(&Logging)) -> String {
    let (layer, logging) = new(Clock::system());
    let memory = Memory::default();
    logging.shared.output().set_memory(Box::new(memory.clone()));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        logging.configure(log).unwrap();
        action(&logging);
    });
    memory.text()
}

fn with(change: impl FnOnce(&mut Log)) -> Log {
    let mut log = settings();
    change(&mut log);
    log
}

const SECOND: Duration = Duration::from_secs(10);

#[test]
fn levels_are_pythons() {
    let all = |level: &str| {
        logged(&with(|log| log.level = level.into()), |_| {
            tracing::trace!("t");
            debug!("d");
            info!("i");
            warn!("w");
            error!("e");
            crate::critical!("c {}", 1);
        })
    };
    let lines = ["DEBUG: t\n", "DEBUG: d\n", "INFO: i\n", "WARNING: w\n", "ERROR: e\n", "CRITICAL: c 1\n"];
    for (level, skipped) in
        [("DEBUG", 0), ("INFO", 2), ("WARN", 3), ("WARNING", 3), ("ERROR", 4), ("CRITICAL", 5), ("FATAL", 5)]
    {
        assert_eq!(all(level), lines[skipped..].concat(), "{level}");
    }
}

#[test]
fn the_default_format_is_patronis() {
    let text = logged(&with(|log| log.format = Value::Null), |_| info!("hello"));
    let (time, rest) = text.split_at(23);
    assert!(time.bytes().zip(b"2026-01-02 03:04:05,678".iter()).all(|(a, b)| a.is_ascii_digit() == b.is_ascii_digit()));
    assert_eq!(rest, " INFO: hello\n");
}

#[test]
fn all_attributes_can_be_named() {
    let format = "%(levelname)-8s|%(levelno)d|%(name)s|%(pathname)s|%(filename)s|%(module)s|%(funcName)s|%(message)s";
    let text = logged(&with(|log| log.format = json!(format)), |_| warn!(target: "patroni::ha::race", "x"));
    let path = file!();
    assert_eq!(text, format!("WARNING |30|patroni.ha.race|{path}|logging_tests.rs|logging_tests|race|x\n"));
    let format =
        "%(process)d|%(processName)s|%(thread)d|%(lineno)d|%(created)f|%(msecs)d|%(relativeCreated)d|%(taskName)s";
    let line = line!() + 1;
    let text = logged(&with(|log| log.format = json!(format)), |_| info!("x"));
    let parts: Vec<&str> = text.trim().split('|').collect();
    assert_eq!(parts[0], std::process::id().to_string());
    assert_eq!((parts[1], parts[7]), ("MainProcess", "None"));
    assert!(parts[2].parse::<u32>().unwrap() > 0);
    assert_eq!(parts[3], line.to_string());
    assert!(parts[4].parse::<f64>().unwrap() > 1.7e9 && parts[5].parse::<u32>().unwrap() < 1000);
}

#[test]
fn json_lines_have_the_fields_of_the_event() {
    let log = with(|log| {
        log.json = true;
        log.format = json!(["levelname", {"message": "text"}]);
        log.static_fields = json!({"app": "patroni"}).as_object().unwrap().clone();
    });
    let text = logged(&log, |_| info!(rule = "R1", lsn = 5_u64, "hi"));
    assert_eq!(
        text,
        "{\"levelname\": \"INFO\", \"text\": \"hi\", \"app\": \"patroni\", \"rule\": \"R1\", \"lsn\": 5}\n"
    );
}

#[test]
fn plain_lines_have_the_message_alone() {
    let text = logged(&settings(), |_| {
        info!(rule = "R1", "hi");
        info!(rule = "R2", lsn = 5);
    });
    assert_eq!(text, "INFO: hi\nINFO: rule=R2 lsn=5\n");
}

// rows: QUIRK-09
#[test]
fn lock_owner_lines_are_held_back_while_all_is_well() {
    let cycle = |end: &str| {
        info!("Lock owner: a; I am a");
        info!("{end}");
    };
    let run = |log: &Log| {
        logged(log, |_| {
            cycle("no action. I am (a), the leader with the lock");
            cycle("no action. I am (a), the leader with the lock");
            cycle("promoted self to leader by acquiring session lock");
            cycle("no action. I am (a), the leader with the lock");
            cycle("PAUSE: no action. I am (a)");
        })
    };
    let idle = "INFO: no action. I am (a), the leader with the lock\n";
    let promoted = "INFO: Lock owner: a; I am a\nINFO: promoted self to leader by acquiring session lock\n";
    let pause = "INFO: PAUSE: no action. I am (a)\n";
    assert_eq!(run(&settings()), [idle, idle, promoted, idle, pause].concat());
    let once = with(|log| log.deduplicate_heartbeat_logs = true);
    assert_eq!(run(&once), [idle, promoted, idle, pause].concat());
    let debug = with(|log| log.level = "DEBUG".into());
    assert_eq!(run(&debug).lines().count(), 10);
}

#[test]
fn settings_change_at_reload() {
    let text = logged(&settings(), |logging| {
        debug!("unseen");
        let quiet = with(|log| log.loggers = IndexMap::from([("patroni.logging".to_owned(), "ERROR".to_owned())]));
        logging.configure(&with(|log| log.level = "DEBUG".into())).unwrap();
        debug!("seen");
        logging.configure(&quiet).unwrap();
        warn!("unseen too");
        logging.configure(&with(|log| log.format = json!("%(message)s!"))).unwrap();
        info!("other format");
    });
    assert_eq!(text, "DEBUG: seen\nother format!\n");
}

#[test]
fn formats_that_cannot_be_obeyed_are_named() {
    let text = logged(
        &with(|log| {
            log.format = json!(["x"]);
            log.dateformat = Some("%!".into());
        }),
        |_| {},
    );
    assert!(text.contains("WARNING: log.dateformat cannot be used: "), "{text}");
    assert!(text.contains("Expected log format to be a string when log type is plain, but got \"list\""), "{text}");
}

#[test]
fn lines_go_to_a_file_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let in_file = with(|log| log.dir = Some(folder.path().to_owned()));
    logged(&settings(), |logging| {
        logging.configure(&in_file).unwrap();
        info!("in the file");
        let nowhere = with(|log| log.dir = Some(folder.path().join("missing")));
        let error = logging.configure(&nowhere).unwrap_err().to_string();
        assert!(error.contains("missing/patroni.log: No such file"), "{error}");
        info!("still there");
    });
    let text = std::fs::read_to_string(folder.path().join("patroni.log")).unwrap();
    assert_eq!(text, "INFO: in the file\nINFO: still there\n");
}

#[test]
fn the_writer_writes_all_before_it_ends() {
    let text = logged(&settings(), |logging| {
        logging.start().unwrap();
        for number in 0..500 {
            info!("{number}");
        }
        logging.shutdown(SECOND).unwrap();
        assert_eq!((logging.queue_size(), logging.records_lost()), (0, 0));
        info!("after the end");
    });
    assert_eq!(text.lines().count(), 501);
    assert!(text.ends_with("INFO: 499\nINFO: after the end\n"), "{text}");
}

#[test]
fn a_full_queue_loses_lines_and_says_so() {
    let (layer, logging) = new(Clock::system());
    let memory = Memory::default();
    logging.shared.output().set_memory(Box::new(memory.clone()));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        logging.configure(&with(|log| log.max_queue_size = 3)).unwrap();
        memory.block(true);
        logging.start().unwrap();
        info!("0");
        // The writer holds the first line in its hands: the queue has place for three more.
        while logging.queue_size() > 0 {
            std::thread::yield_now();
        }
        for number in 1..=5 {
            info!("{number}");
        }
        assert_eq!((logging.queue_size(), logging.records_lost()), (3, 2));
        assert!(matches!(logging.shutdown(SECOND), Err(LogError::Stuck)));
        memory.block(false);
        while logging.queue_size() > 0 {
            std::thread::yield_now();
        }
        info!("6");
        logging.shutdown(SECOND).unwrap();
        assert_eq!(logging.records_lost(), 0);
    });
    let lines = "INFO: 0\nINFO: 1\nINFO: 2\nINFO: 3\nINFO: 6\nWARNING: QueueHandler has lost 2 log records\n";
    assert_eq!(memory.text(), lines);
}

#[test]
fn a_stuck_writer_is_noticed_at_the_end() {
    let (layer, logging) = new(Clock::system());
    let memory = Memory::default();
    logging.shared.output().set_memory(Box::new(memory.clone()));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        memory.block(true);
        logging.start().unwrap();
        info!("0");
        assert!(matches!(logging.shutdown(Duration::from_millis(20)), Err(LogError::Stuck)));
    });
    memory.block(false);
}
