use super::*;
use crate::test_settings::settings;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

fn pipe(dir: &Path) -> std::path::PathBuf {
    let path = dir.join("watchdog");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    path
}

fn line(device: &Path) -> WatchdogLine {
    let plan = WatchdogPlan::new(&settings(|s| {
        s.watchdog.mode = crate::config::settings::WatchdogMode::Required;
        s.watchdog.driver = "testing".to_owned();
        s.watchdog.device = device.to_owned();
    }));
    WatchdogLine::start(plan, Clock::system()).unwrap()
}

fn soon() -> Mono {
    Clock::system().mono() + Duration::from_secs(60)
}

async fn done(line: &WatchdogLine, order: WatchdogOrder) -> WatchdogAnswer {
    tokio::time::timeout(Duration::from_secs(60), line.order(order).unwrap()).await.unwrap().unwrap()
}

/// Reads from a pipe until as many bytes are there.
fn read(pipe: &mut std::fs::File, count: usize) -> String {
    let mut bytes = vec![0; count];
    pipe.read_exact(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

// rows: WD-02, WD-05, WD-06
#[tokio::test]
async fn the_testing_driver_writes_to_a_pipe_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let path = pipe(dir.path());
    let line = line(&path);
    let reader = std::thread::spawn(move || std::fs::File::open(path).unwrap());
    let answer = done(&line, WatchdogOrder::Activate { until: soon() }).await;
    let mut pipe = reader.join().unwrap();
    assert!(answer.done && answer.state.active && answer.state.healthy);
    assert_eq!(read(&mut pipe, 12), "Ctimeout=25\n");
    done(&line, WatchdogOrder::Feed { until: soon() }).await;
    assert_eq!(read(&mut pipe, 1), "1");
    // The right has ended: this process was frozen, and feeds nothing any more.
    assert!(!done(&line, WatchdogOrder::Feed { until: Clock::system().mono() }).await.done);
    assert!(!done(&line, WatchdogOrder::Disable).await.state.active);
    let mut rest = String::new();
    pipe.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "V");
}

#[tokio::test]
async fn a_device_that_hangs_blocks_nobody_and_is_disarmed_when_it_answers_too_late() {
    let dir = tempfile::tempdir().unwrap();
    let path = pipe(dir.path());
    let line = line(&path);
    // Nobody reads: the open hangs.
    let activated = line.order(WatchdogOrder::Activate { until: Clock::system().mono() }).unwrap();
    let waiting: Vec<_> = std::iter::from_fn(|| line.order(WatchdogOrder::Look)).take(1000).collect();
    assert!((1..=LONGEST_QUEUE + 1).contains(&waiting.len()), "orders do not pile up: {}", waiting.len());
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    let answer = tokio::time::timeout(Duration::from_secs(60), activated).await.unwrap().unwrap();
    assert!(!answer.done && !answer.state.active);
    assert_eq!(reader.join().unwrap(), "Ctimeout=25\nV");
    for waiting in waiting {
        assert!(waiting.await.unwrap().done);
    }
}

// rows: WD-09
#[tokio::test]
async fn the_end_of_the_thread_says_no_last_word() {
    let dir = tempfile::tempdir().unwrap();
    let path = pipe(dir.path());
    let line = line(&path);
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        std::fs::File::open(path).unwrap().read_to_string(&mut text).unwrap();
        text
    });
    assert!(done(&line, WatchdogOrder::Activate { until: soon() }).await.done);
    drop(line);
    assert_eq!(reader.join().unwrap(), "Ctimeout=25\n");
}
