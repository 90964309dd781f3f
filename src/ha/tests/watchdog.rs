//! The watchdog in the rules (ha-rules 19): no leadership without a required one, and off where nothing is left to end.

use crate::cluster::*;
use crate::ha::memory::DemoteMode;
use crate::ha::testing::*;
use crate::ha::{Command, Exit, Job, JobEnd, JobId, JobKind, JobPhase, JobResult, Outcome, View, WatchdogReport};

const REQUIRED: WatchdogReport = WatchdogReport { required: true, active: false, healthy: true, wanted: true };
const COUNTING: WatchdogReport = WatchdogReport { active: true, ..REQUIRED };
const BROKEN: WatchdogReport = WatchdogReport { healthy: false, ..REQUIRED };
const AUTOMATIC: WatchdogReport = WatchdogReport { required: false, ..REQUIRED };
const LEADER: &str = "no action. I am (a), the leader with the lock";

fn with(watchdog: WatchdogReport, view: View) -> View {
    view.change(|v| v.watchdog = watchdog)
}

fn refusing() -> World {
    world().change(|w| w.watchdog = Some(Outcome::Failed("no".to_owned())))
}

fn disables(course: &Course) -> bool {
    course.all().any(|c| *c == Command::WatchdogDisable)
}

fn activates(course: &Course) -> bool {
    course.all().any(|c| *c == Command::WatchdogActivate)
}

// rows: WD-04
#[test]
fn it_is_activated_before_a_promotion() {
    let promoted = "promoted self to leader by acquiring session lock";
    for watchdog in [REQUIRED, AUTOMATIC] {
        let course = does(with(watchdog, view()), world(), promoted, Some(JobKind::Promote));
        let at = |which: &dyn Fn(&Command) -> bool| course.asked.iter().position(which).unwrap();
        let (lock, watchdog, promote) = (
            at(&|c| *c == Command::AcquireLeader),
            at(&|c| *c == Command::WatchdogActivate),
            at(&|c| matches!(c, Command::StartJob(_))),
        );
        assert!(lock < watchdog && watchdog < promote, "{:?}", course.asked);
    }
    // Nothing to activate, or done already.
    assert!(!activates(&run(&view(), &world())));
    assert!(!activates(&run(&with(COUNTING, view()), &world())));
}

// rows: WD-04
#[test]
fn a_standby_whose_required_watchdog_fails_gives_the_key_back() {
    let refused = "Not promoting self because watchdog could not be activated";
    let course = says(with(REQUIRED, view()), refusing(), refused);
    assert_eq!(course.release(), Some(None));
    assert!(disables(&course), "it may be armed by an answer that came too late");
    let course = says(with(REQUIRED, view().leader("a")), refusing(), refused);
    assert_eq!(course.release(), Some(None));
    let silent = world().change(|w| w.watchdog = Some(Outcome::Failed("no answer in time".to_owned())));
    says(with(REQUIRED, view()), silent, refused);
    // One that is not required is not missed.
    let promoted = "promoted self to leader by acquiring session lock";
    does(with(AUTOMATIC, view()), refusing(), promoted, Some(JobKind::Promote));
}

// rows: WD-04
#[test]
fn a_primary_whose_required_watchdog_fails_steps_down() {
    let leads = || view().primary().leader("a");
    assert!(activates(&says(with(REQUIRED, leads()), world(), LEADER)));
    let refused = "Demoting self because watchdog could not be activated";
    let course = does(with(REQUIRED, leads()), refusing(), refused, Some(JobKind::Stop));
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, role: Some(Role::Demoted), .. })));
    assert_eq!(course.release(), None, "the key is kept until the server is down");
    assert_eq!(course.finish.memory.demotion.as_ref().map(|d| d.mode), Some(DemoteMode::Immediate));
    says(with(AUTOMATIC, leads()), refusing(), LEADER);
    says(with(COUNTING, leads()), refusing(), LEADER);
    // in pause it is off, and nobody asks for it
    assert!(!activates(&says(with(REQUIRED, leads().paused()), refusing(), &format!("PAUSE: {LEADER}"))));
}

// rows: WD-07, RACE-01
#[test]
fn who_has_no_usable_watchdog_does_not_race() {
    let stands_back = "following a different leader because i am not the healthiest node";
    let course = says(with(BROKEN, view()), world(), stands_back);
    assert!(course.logged("Watchdog device is not usable"));
    assert!(!course.asked.contains(&Command::AcquireLeader));
    let unneeded = WatchdogReport { required: false, ..BROKEN };
    let promoted = "promoted self to leader by acquiring session lock";
    does(with(unneeded, view()), world(), promoted, Some(JobKind::Promote));
}

// rows: WD-07, RACE-01
#[test]
fn a_peer_without_its_watchdog_is_in_nobodys_way() {
    let promoted = "promoted self to leader by acquiring session lock";
    let rival = |failed| world().peer(PeerStatus { watchdog_failed: failed, ..peer("b", 2000) });
    does(view().member("b", 2000), rival(true), promoted, Some(JobKind::Promote));
    let stands_back = "following a different leader because i am not the healthiest node";
    says(view().member("b", 2000), rival(false), stands_back);
    // nor is it somebody to hand over to
    let asked = |failed| {
        let leads = view().primary().leader("a").member("b", 1000).failover(Some("a"), Some("b"));
        run(&leads, &world().peer(PeerStatus { watchdog_failed: failed, ..peer("b", 1000) })).job().is_some()
    };
    assert!(asked(false) && !asked(true));
}

// rows: PAUSE-07, WD-06
#[test]
fn a_pause_disables_it() {
    for view in [view().primary().leader("a"), view().leader("a"), view().leader("b")] {
        assert!(disables(&run(&with(COUNTING, view.paused()), &world())));
    }
    assert!(!disables(&run(&with(COUNTING, view().primary().leader("a")), &world())));
    assert!(!disables(&run(&with(REQUIRED, view().primary().leader("a").paused()), &world())), "it is not on");
}

fn demoting(no_clients: bool) -> View {
    let begun = run(&with(COUNTING, view().primary().leader("a").silent()), &world());
    let job = begun.job().cloned().unwrap();
    assert!(!disables(&begun), "sessions may write still");
    let view = with(COUNTING, view().primary().leader("a").silent()).job(job, JobPhase::Stopping);
    view.change(|v| {
        v.memory = begun.finish.memory.clone();
        if let Some(job) = v.server.job.as_mut() {
            job.id = JobId(41);
        }
        v.server.no_clients = no_clients;
    })
}

// rows: WD-06
#[test]
fn a_demotion_disables_it_once_no_session_is_left() {
    assert!(!disables(&run(&demoting(false), &world())));
    assert!(disables(&run(&demoting(true), &world())));
    // and at the latest when the server is down
    let view = demoting(false).down(ControlState::ShutDown).change(|v| {
        let job = v.server.job.take().unwrap().job;
        let result = JobResult::Stopped { checkpoint: crate::types::Lsn(1100), release: crate::types::Lsn(1050) };
        v.server.ended = vec![JobEnd { id: JobId(41), job, result, at: v.now }];
    });
    assert!(disables(&run(&view, &world())));
}

fn ending(no_clients: bool, phase: JobPhase) -> View {
    let begun = run(&with(COUNTING, view().primary().leader("a").change(|v| v.stopping = true)), &world());
    let job = begun.job().cloned().unwrap();
    assert!(!disables(&begun));
    with(COUNTING, view().primary().leader("a").job(job, phase)).change(|v| {
        v.memory = begun.finish.memory.clone();
        v.stopping = true;
        if let Some(job) = v.server.job.as_mut() {
            job.id = JobId(41);
        }
        v.server.no_clients = no_clients;
    })
}

// rows: WD-06
#[test]
fn the_end_of_the_process_disables_it_when_sessions_are_gone() {
    assert!(!disables(&run(&ending(false, JobPhase::Stopping), &world())));
    assert!(disables(&run(&ending(true, JobPhase::Stopping), &world())));
    let left = with(COUNTING, view().primary().leader("a").paused().change(|v| v.stopping = true));
    let course = run(&left, &world());
    assert!(disables(&course) && course.finish.exit.is_some());
}

// rows: WD-09
#[test]
fn a_stop_that_failed_leaves_it_running() {
    let failed = |escalated| {
        ending(false, JobPhase::Stopping).change(|v| {
            let job = v.server.job.take().unwrap().job;
            let result = JobResult::Failed("it hangs".to_owned());
            v.server.ended = vec![JobEnd { id: JobId(41), job, result, at: v.now }];
            if let Some(end) = v.memory.process_end.as_mut() {
                end.escalated = escalated;
            }
        })
    };
    let course = run(&failed(false), &world());
    assert!(course.job().is_some() && !disables(&course), "an immediate stop is tried first");
    let course = run(&failed(true), &world());
    assert!(course.logged("PostgreSQL shutdown failed, leader key not removed. Leaving watchdog running."));
    assert!(!disables(&course) && course.release().is_none());
    assert!(matches!(course.finish.exit, Some(Exit { code: 1, leave_postgres: true, .. })));
    let course = run(&with(REQUIRED, failed(true)), &world());
    assert!(course.logged("leader key not removed.") && !course.logged("Leaving watchdog running"));
}

// rows: WD-06
#[test]
fn it_is_disabled_where_there_is_nothing_to_end() {
    // the data directory is gone
    assert!(disables(&run(&with(COUNTING, view().empty().leader("a")), &world())));
    // the server did not start
    let failed = view().down(ControlState::InArchiveRecovery).leader("a").change(|v| v.memory.recovering = true);
    assert!(disables(&run(&with(COUNTING, failed), &world())));
    // a standby without the lock: nobody feeds it
    assert!(disables(&run(&with(COUNTING, view().leader("b")), &world())));
    // a crashed primary is started again under the lock: it stays
    let crashed = view().primary().leader("a").down(ControlState::InProduction);
    let course = run(&with(COUNTING, crashed), &world());
    assert_eq!((course.job().map(Job::kind), disables(&course)), (Some(JobKind::StartPrimary), false));
}

// rows: WD-04
#[test]
fn a_new_cluster_needs_it_before_its_keys_are_written() {
    let made = || {
        let view = view().primary().change(|v| {
            v.memory.bootstrapping = true;
            v.memory.post_bootstrap_done = true;
        });
        with(REQUIRED, view.cluster_with(|c| c.initialize = Some(String::new())))
    };
    assert!(activates(&says(made(), world(), "initialized a new cluster")));
    let course = run(&made(), &refusing());
    assert!(course.logged("Cancelling bootstrap because watchdog activation failed"));
    assert_eq!(course.job(), Some(&Job::MoveDataAside));
    let written = |c: &Command| matches!(c, Command::Initialize { .. } | Command::WriteConfig { .. });
    assert!(!course.all().any(written) && course.all().any(|c| *c == Command::CancelInitialize));
}
