//! A primary cluster that becomes a standby cluster (ha-rules 7, demote-cluster).

use crate::cluster::*;
use crate::ha::memory::{DemoteMode, Memory};
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobEnd, JobId, JobKind, JobPhase, JobReport, JobResult, Outcome, View};
use crate::types::Lsn;

const BEGINS: &str = "cannot be a real primary in standby cluster";
const GOES_ON: &str = "updated leader lock during demoting to a standby cluster";

/// The primary of a cluster that has just got the section.
fn leading() -> View {
    view().primary().standby_cluster().member("b", 1100).leader("a")
}

fn begun(world: &World) -> (Memory, Job) {
    let course = run(&leading(), world);
    assert_eq!(course.sentence(), BEGINS);
    (course.finish.memory.clone(), course.job().unwrap().clone())
}

fn running(view: View, (memory, job): (Memory, Job), phase: JobPhase) -> View {
    let since = view.now;
    view.change(|v| {
        v.memory = memory;
        v.server.job = Some(JobReport { id: JobId(41), job, phase, since, cancelled: false });
    })
}

/// The server is down, and the job of the former cycle has ended so.
fn over(view: View, (memory, job): (Memory, Job), result: JobResult) -> View {
    let at = view.now;
    view.down(ControlState::ShutDown).change(|v| {
        v.memory = memory;
        v.server.role = Role::Demoted;
        v.server.state = PgState::Stopped;
        v.server.ended = vec![JobEnd { id: JobId(41), job, result, at }];
    })
}

fn stopped() -> JobResult {
    JobResult::Stopped { checkpoint: Lsn(1100), release: Lsn(1050) }
}

fn archiving() -> World {
    world().peer(peer("b", 1100)).change(|w| w.archives = true)
}

fn starts_as_standby_leader(course: &Course) -> bool {
    let remote = |u: &Option<Box<Upstream>>| u.as_ref().is_some_and(|u| !u.is_member);
    matches!(course.job(), Some(Job::Follow { upstream, role: Role::StandbyLeader, .. }) if remote(upstream))
}

// rows: STBY-08, HA-24
#[test]
fn the_primary_stops_fast_archives_and_starts_again_with_the_lock() {
    let course = does(leading(), archiving(), BEGINS, Some(JobKind::Stop));
    let stop = Job::Stop { mode: StopMode::Fast, checkpoint: false, timeout: None, role: Some(Role::Demoted) };
    assert_eq!(course.job(), Some(&stop));
    assert!(course.logged("Demoting self (demote-cluster)") && course.finish.memory.shown_lease().is_none());
    // While it stops the lock is renewed; it stays ours even when somebody else has received everything.
    let shut = JobPhase::ShutDown { checkpoint: Lsn(1100), release: Lsn(1050) };
    for phase in [JobPhase::Stopping, shut] {
        let course = says(running(leading(), begun(&archiving()), phase), archiving(), GOES_ON);
        assert_eq!(course.asked, [Command::RenewLeader]);
    }
    // Down: the last segment first.
    let down = over(leading(), begun(&archiving()), stopped());
    let course = does(down, archiving(), GOES_ON, Some(JobKind::ArchiveCheckpoint));
    assert_eq!(course.callbacks(), [(CallbackEvent::OnStop, Role::Primary)]);
    let archive = (course.finish.memory.clone(), Job::ArchiveCheckpoint);
    let stopped_view = || leading().down(ControlState::ShutDown).change(|v| v.server.role = Role::Demoted);
    let beside = running(stopped_view(), archive.clone(), JobPhase::Working);
    assert_eq!(says(beside, archiving(), GOES_ON).asked, [Command::RenewLeader]);
    // Then the standby leader, whether or not the archive took it. What is published is the checkpoint's place.
    for result in [JobResult::Done, JobResult::Failed("x".to_owned())] {
        let view = over(leading(), archive.clone(), result);
        let course = does(view, archiving(), "starting after demotion", Some(JobKind::Follow));
        assert!(starts_as_standby_leader(&course), "{:?}", course.job());
        assert_eq!((course.release(), course.callbacks()), (None, vec![]));
        assert_eq!(course.status().and_then(|s| s.optime), Some(Lsn(1100)));
        assert!(course.finish.memory.lease_until.is_some());
    }
}

// rows: STBY-08
#[test]
fn without_an_archive_the_lock_may_go_to_who_has_received_everything() {
    let plain = || world().peer(peer("b", 1100));
    let shut = JobPhase::ShutDown { checkpoint: Lsn(1100), release: Lsn(1050) };
    let course = run(&running(leading(), begun(&plain()), shut.clone()), &plain());
    assert_eq!(course.release(), Some(Some(Lsn(1100))), "where the checkpoint is, not the record before it");
    // Nobody has it: the lock stays, and nothing is archived.
    let behind = || world().peer(peer("b", 1099));
    assert_eq!(run(&running(leading(), begun(&behind()), shut), &behind()).release(), None);
    let down = over(leading(), begun(&behind()), stopped());
    let course = does(down, behind(), "starting after demotion", Some(JobKind::Follow));
    assert!(starts_as_standby_leader(&course));
    assert!(course.logged("Not archiving latest checkpoint WAL file. Archiving is not configured."));
    assert_eq!(course.callbacks(), [(CallbackEvent::OnStop, Role::Primary)]);
    // Released: as in a switchover others have two seconds.
    let (memory, job) = begun(&plain());
    let given =
        over(leading(), (memory, job), stopped()).change(|v| v.memory.demotion.as_mut().unwrap().released = true);
    let given = given.cluster_with(|c| c.leader = None);
    says(given.clone(), plain(), "waiting for a new leader after demotion");
    let course = does(given.leader("b"), plain(), "starting after demotion", Some(JobKind::Follow));
    assert!(matches!(course.job(), Some(Job::Follow { role: Role::Replica, .. })));
}

// rows: HA-24
#[test]
fn a_primary_without_the_lock_is_demoted_in_good_order() {
    let without = || view().primary().standby_cluster().leader("b");
    let course = does(without(), world(), "cannot be a real primary in a standby cluster", Some(JobKind::Stop));
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Fast, .. })));
    let memory = (course.finish.memory.clone(), course.job().unwrap().clone());
    // It may end so: nobody can be promoted here. Once the section is gone somebody can.
    let course = says(
        running(without(), memory.clone(), JobPhase::Stopping),
        world(),
        "demoting to a standby cluster in progress",
    );
    assert_eq!(course.asked, []);
    let detached = running(without(), memory.clone(), JobPhase::Stopping).change(|v| v.global.standby_cluster = None);
    let course = run(&detached, &world());
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })), "{:?}", course.job());
    // It starts below the leader.
    let down = over(without(), memory, stopped());
    let course = does(down, world(), "starting after demotion", Some(JobKind::Follow));
    assert!(matches!(course.job(), Some(Job::Follow { role: Role::Replica, .. })));
}

#[test]
fn a_stop_that_fails_becomes_an_immediate_one() {
    let (memory, job) = begun(&archiving());
    let failed = leading().change(|v| {
        let result = JobResult::Failed("x".to_owned());
        v.server.ended = vec![JobEnd { id: JobId(41), job, result, at: v.now }];
        v.memory = memory;
    });
    let course = run(&failed, &archiving());
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })), "{:?}", course.job());
    assert_eq!(course.finish.memory.demotion.as_ref().map(|d| d.mode), Some(DemoteMode::Immediate));
}

#[test]
fn in_pause_the_primary_stays() {
    says(leading().paused(), world(), "PAUSE: continue to run as primary without lock");
}

#[test]
fn what_would_become_a_primary_is_ended() {
    let demotes = |view: View| {
        let course = run(&view, &archiving());
        assert_eq!(course.finish.memory.demotion.as_ref().map(|d| d.mode), Some(DemoteMode::Cluster));
        assert_eq!(course.sentence(), BEGINS);
    };
    let standby = || view().standby_cluster().member("b", 1100).leader("a");
    let start = Job::StartPrimary { timeout: secs(300) };
    demotes(leading().starting(1).change(|v| v.memory.lease_until = None));
    demotes(leading().starting(1).job(start, JobPhase::WaitReady));
    demotes(leading().job(Job::Restart { timeout: None }, JobPhase::Working));
    let promote = Job::Promote { wait: secs(10) };
    let course = run(&standby().job(promote.clone(), JobPhase::PrePromote), &archiving());
    assert!(course.all().any(|c| *c == Command::CancelJob) && course.finish.memory.demotion.is_none());
    // The signal is given: once it is a primary it is demoted.
    let course = run(&standby().job(promote, JobPhase::Promoting), &archiving());
    assert!(!course.all().any(|c| *c == Command::CancelJob));
    demotes(leading().change(|v| v.server.role = Role::Promoted));
    let silent = run(&leading().silent(), &world());
    assert_eq!(silent.finish.memory.demotion.map(|d| d.mode), Some(DemoteMode::Offline));
    let lost = world().change(|w| w.renew = Some(Outcome::Conflict));
    assert_eq!(run(&leading(), &lost).finish.memory.demotion.map(|d| d.mode), Some(DemoteMode::ImmediateNolock));
}
