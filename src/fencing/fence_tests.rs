use super::*;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};

/// A process that would run for longer than any test.
fn sleeper(command: &str) -> Child {
    Command::new("sh").args(["-c", command]).spawn().unwrap()
}

fn postmaster(child: &Child) -> Postmaster {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let ticks = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(19).unwrap();
    Postmaster { pid: i32::try_from(child.id()).unwrap(), start_ticks: ticks.parse().unwrap() }
}

fn lease(fence: &Fence, length: Duration) {
    // A tenth of the time to live is the margin: with none of it the deadline is the end of the lease.
    fence.lease(Clock::system().mono() + length, Duration::ZERO);
}

fn runs(child: &mut Child) -> bool {
    child.try_wait().unwrap().is_none()
}

#[test]
fn it_fires_when_the_lease_is_not_renewed() {
    let mut child = sleeper("exec sleep 1000");
    let fence = Fence::start().unwrap();
    lease(&fence, Duration::from_millis(200));
    fence.server(true, Some(postmaster(&child)));
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGQUIT));
    while fence.fired() == 0 {
        std::thread::yield_now();
    }
}

#[test]
fn it_kills_a_server_that_does_not_heed_the_signal_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("backend");
    let script = format!("trap '' QUIT; sleep 1000 & echo $! > {}; while true; do sleep 1000; done", file.display());
    let mut child = sleeper(&script);
    let backend = loop {
        if let Some(pid) = std::fs::read_to_string(&file).ok().and_then(|t| t.trim().parse::<i32>().ok()) {
            break pid;
        }
        std::thread::yield_now();
    };
    let fence = Fence::start().unwrap();
    lease(&fence, Duration::from_millis(100));
    fence.server(true, Some(postmaster(&child)));
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGKILL));
    let stat = std::fs::read_to_string(format!("/proc/{backend}/stat")).unwrap_or_default();
    assert!(stat.is_empty() || stat.contains(") Z "), "a backend was left: {stat}");
}

#[test]
fn it_waits_for_a_lease_that_is_renewed_and_leaves_alone_what_may_not_write() {
    let (mut renewed, mut standby, mut without) =
        (sleeper("exec sleep 1000"), sleeper("exec sleep 1000"), sleeper("exec sleep 1000"));
    let fences: Vec<Fence> = (0..4).map(|_| Fence::start().unwrap()).collect();
    lease(&fences[0], Duration::from_millis(100));
    fences[0].server(true, Some(postmaster(&renewed)));
    lease(&fences[0], Duration::from_secs(3600));
    lease(&fences[1], Duration::from_millis(100));
    fences[1].server(false, Some(postmaster(&standby)));
    fences[2].server(true, Some(postmaster(&without)));
    // The fourth fires after the others would have.
    let mut last = sleeper("exec sleep 1000");
    lease(&fences[3], Duration::from_millis(600));
    fences[3].server(true, Some(postmaster(&last)));
    last.wait().unwrap();
    assert!(runs(&mut renewed) && runs(&mut standby) && runs(&mut without));
    for mut child in [renewed, standby, without] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

#[test]
fn a_lease_of_former_times_does_not_fire_on_a_server_that_is_found_later() {
    let mut child = sleeper("exec sleep 1000");
    let fence = Fence::start().unwrap();
    lease(&fence, Duration::ZERO);
    fence.server(true, Some(postmaster(&child)));
    lease(&fence, Duration::from_millis(300));
    assert!(runs(&mut child));
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGQUIT));
}

#[test]
fn a_postmaster_that_becomes_known_after_the_deadline_is_stopped_at_once() {
    let mut child = sleeper("exec sleep 1000");
    let fence = Fence::start().unwrap();
    let end = Clock::system().mono() + Duration::from_millis(100);
    fence.lease(end, Duration::ZERO);
    fence.server(true, None);
    while Clock::system().mono() < end + Duration::from_millis(20) {
        std::thread::yield_now();
    }
    fence.server(true, Some(postmaster(&child)));
    assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGQUIT));
}

#[test]
fn a_server_that_has_ended_by_itself_is_no_case_for_the_fence() {
    let mut ended = sleeper("exec sleep 1000");
    let fence = Fence::start().unwrap();
    lease(&fence, Duration::from_millis(300));
    fence.server(true, Some(postmaster(&ended)));
    ended.kill().unwrap();
    ended.wait().unwrap();
    let mut other = sleeper("exec sleep 1000");
    let late = Clock::system().mono() + Duration::from_millis(400);
    while Clock::system().mono() < late {
        std::thread::yield_now();
    }
    assert_eq!(fence.fired(), 0);
    fence.server(true, Some(postmaster(&other)));
    assert_eq!(other.wait().unwrap().signal(), Some(libc::SIGQUIT), "the lease has run out for the next one too");
}
