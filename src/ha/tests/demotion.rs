//! Demotions and the end of the process over several cycles (ha-rules 7).

use crate::cluster::*;
use crate::ha::memory::{DemoteMode, Memory};
use crate::ha::testing::*;
use crate::ha::{Command, Exit, Job, JobEnd, JobId, JobKind, JobPhase, JobReport, JobResult, Outcome, View};
use crate::types::Lsn;

fn leading() -> View {
    view().primary().member("b", 1000).leader("a")
}

fn both() -> World {
    world().peer(peer("b", 1000))
}

fn conflict() -> World {
    world().change(|w| w.renew = Some(Outcome::Conflict))
}

/// The memory after this cycle, in which job 41 was started.
fn after(view: &View, world: &World) -> (Memory, Job) {
    let course = run(view, world);
    (course.finish.memory.clone(), course.job().unwrap().clone())
}

/// A view in which the job of the former cycle runs.
fn running(view: View, (memory, job): (Memory, Job), phase: JobPhase) -> View {
    let since = view.now - secs(1);
    view.change(|v| {
        v.memory = memory;
        v.server.job = Some(JobReport { id: JobId(41), job, phase, since, cancelled: false });
    })
}

/// A view in which it has ended.
fn over(view: View, (memory, job): (Memory, Job), result: JobResult) -> View {
    let at = view.now;
    view.change(|v| {
        v.memory = memory;
        v.server.ended = vec![JobEnd { id: JobId(41), job, result, at }];
    })
}

fn stopped() -> JobResult {
    JobResult::Stopped { checkpoint: Lsn(1100), release: Lsn(1050) }
}

fn switchover() -> (Memory, Job) {
    after(&leading().failover(Some("a"), Some("b")), &both())
}

// rows: HA-28, HA-30, HA-38, CB-04
#[test]
fn a_switchover_releases_the_key_when_the_server_is_down() {
    let view = || leading().failover(Some("a"), Some("b"));
    // the stop runs: the lock is held
    for phase in [JobPhase::Working, JobPhase::Checkpoint, JobPhase::Stopping] {
        let course =
            says(running(view(), switchover(), phase), both(), "updated leader lock during switchover: demote");
        assert_eq!(course.asked, [Command::RenewLeader]);
    }
    // it is over
    let down = over(view().down(ControlState::ShutDown), switchover(), stopped());
    let course = says(down.clone(), both(), "waiting for a new leader after demotion");
    assert_eq!(course.release(), Some(Some(Lsn(1050))));
    assert_eq!(course.callbacks(), [(CallbackEvent::OnStop, Role::Primary)]);
    assert_eq!(course.finish.wake_in, Some(secs(2)));
    assert_eq!(course.finish.memory.lease_until, None);
    assert_eq!(course.member_key().unwrap().role, Some(Role::Demoted));
    assert!(course.logged("Leader key released"));

    // somebody leads: follow at once
    let waiting = |view: View| view.down(ControlState::ShutDown).change(|v| v.memory = course.finish.memory.clone());
    let led = waiting(self::view().leader("b")).change(|v| v.server.role = Role::Demoted);
    let follow = does(led, world(), "starting after demotion", Some(JobKind::Follow));
    assert!(matches!(follow.job(), Some(Job::Follow { upstream: Some(u), role: Role::Replica, .. }) if u.name == "b"));
    assert_eq!(follow.finish.memory.demotion, None);
    // scripts are told of the change of role, and of nothing else
    let memory = follow.finish.memory.clone();
    let started = over(self::view().leader("b"), (memory, follow.job().unwrap().clone()), JobResult::Done);
    assert_eq!(run(&started, &world()).callbacks(), [(CallbackEvent::OnRoleChange, Role::Replica)]);

    // nobody does: no race until the pause is over, then up without upstream
    let alone = || waiting(self::view().member("b", 1000));
    let early = says(alone().change(|v| v.now = v.now + secs(1)), world(), "waiting for a new leader after demotion");
    assert_eq!(early.finish.wake_in, Some(secs(1)));
    let late =
        does(alone().change(|v| v.now = v.now + secs(2)), world(), "starting after demotion", Some(JobKind::Follow));
    assert!(matches!(late.job(), Some(Job::Follow { upstream: None, .. })));
}

// rows: HA-29, HA-30
#[test]
fn the_key_is_released_early_while_archiving_holds_the_postmaster() {
    let phase = JobPhase::ShutDown { checkpoint: Lsn(1100), release: Lsn(1050) };
    let view = || running(leading().failover(Some("a"), Some("b")), switchover(), phase.clone());
    let course = run(&view(), &world().peer(peer("b", 1100)));
    assert_eq!(course.release(), Some(Some(Lsn(1050))));
    assert_eq!(course.member_key().unwrap().role, Some(Role::Demoted));
    let course = run(&view(), &world().peer(peer("b", 1099)));
    assert_eq!(course.release(), None, "the candidate has not received the checkpoint");
    // released: it is neither renewed nor released again
    let memory = run(&view(), &world().peer(peer("b", 1100))).finish.memory;
    let next = running(leading().leader("b"), (memory.clone(), switchover().1), phase.clone());
    assert!(
        !run(&next, &world()).asked.iter().any(|c| matches!(c, Command::RenewLeader | Command::ReleaseLeader { .. }))
    );
    let down = over(self::view().leader("b").down(ControlState::ShutDown), (memory, switchover().1), stopped());
    let course = does(down, world(), "starting after demotion", Some(JobKind::Follow));
    assert_eq!(course.release(), None);
}

#[test]
fn a_lock_that_is_lost_during_the_stop_makes_it_immediate() {
    let view = running(leading().failover(Some("a"), None), switchover(), JobPhase::Checkpoint);
    let course = run(&view, &conflict());
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    assert_eq!(course.finish.memory.demotion.as_ref().map(|d| d.mode), Some(DemoteMode::ImmediateNolock));
    let taken = running(leading().leader("b"), switchover(), JobPhase::Stopping);
    assert!(matches!(run(&taken, &world()).job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    // silence does not: the stop is under way, the fence looks after the lease
    let mute = world().change(|w| w.renew = Some(Outcome::Unknown("late".to_owned())));
    assert_eq!(run(&view, &mute).job(), None);
    assert_eq!(run(&view.silent(), &world()).job(), None);
}

// rows: HA-31
#[test]
fn a_stop_that_failed_keeps_the_key_and_becomes_immediate() {
    let failed = over(leading(), switchover(), JobResult::Failed("x".to_owned()));
    let course = run(&failed, &world());
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    assert_eq!(course.release(), None);
    // and again, not at once
    let again = over(leading(), after(&failed, &world()), JobResult::Failed("x".to_owned()));
    let course = says(again, world(), "waiting for a new leader after demotion");
    assert_eq!(course.release(), None);
    assert!(course.asked.contains(&Command::RenewLeader));
}

#[test]
fn a_refused_stop_cancels_the_job_and_is_asked_for_again() {
    let restart = leading().leader("b").job(Job::Restart { timeout: None }, JobPhase::Stopping);
    let refused = world().change(|w| w.job = Some(Outcome::Conflict));
    let course = run(&restart, &refused);
    assert!(course.finish.commands.contains(&Command::CancelJob));
    assert!(course.finish.wake_in.is_some());
    let next = restart.change(|v| v.memory = course.finish.memory);
    assert!(matches!(run(&next, &world()).job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
}

#[test]
fn without_the_lock_the_server_comes_back_at_once() {
    let began = after(&leading(), &conflict());
    let down = over(view().leader("b").down(ControlState::InProduction), began, JobResult::Done);
    let course = does(down, world(), "starting after demotion", Some(JobKind::Follow));
    assert!(matches!(course.job(), Some(Job::Follow { upstream: Some(u), .. }) if u.name == "b"));
    assert_eq!(course.release(), None);
}

#[test]
fn an_offline_demotion_ends_read_only_without_upstream() {
    let began = after(&leading().silent(), &world());
    assert!(began.0.lease_until.is_some(), "until the server is down");
    for view in [leading().silent(), leading(), view().leader("b")] {
        let down = over(view.down(ControlState::ShutDown), began.clone(), stopped());
        let course = does(down, world(), "starting after demotion", Some(JobKind::Follow));
        assert!(matches!(course.job(), Some(Job::Follow { upstream: None, .. })));
        assert_eq!((course.release(), course.finish.memory.lease_until), (None, None));
    }
    // the lock is not renewed by a primary that is being stopped for that
    let course = run(&running(leading(), began, JobPhase::Stopping), &world());
    assert!(!course.asked.contains(&Command::RenewLeader));
}

#[test]
fn an_old_primary_is_rewound_before_it_comes_back() {
    let down = over(leading().down(ControlState::ShutDown), switchover(), stopped());
    let memory = run(&down, &both()).finish.memory;
    let led = view().leader("b").down(ControlState::ShutDown).change(|v| {
        v.memory = memory;
        v.memory.rewind = crate::ha::rewind::RewindState::Check;
        v.global.use_pg_rewind = true;
        v.server.role = Role::Demoted;
    });
    let diverged = world().change(|w| {
        let history = vec![(crate::types::Timeline(1), Lsn(800))];
        let timeline = crate::types::Timeline(2);
        w.leader_point = Some(Outcome::LeaderPoint { read_write: true, timeline, lsn: Lsn(2000), history });
    });
    does(led, diverged, "running pg_rewind from b", Some(JobKind::Rewind));
}

#[test]
fn a_release_without_answer_is_repeated_and_never_renewed() {
    let mute = || both().change(|w| w.release = Some(Outcome::Unknown("late".to_owned())));
    let down = over(leading().down(ControlState::ShutDown), switchover(), stopped());
    let course = run(&down, &mute());
    let next = leading().down(ControlState::ShutDown).change(|v| {
        v.memory = course.finish.memory;
        v.now = v.now + secs(1);
    });
    let course = run(&next, &mute());
    assert_eq!(course.release(), Some(None));
    assert!(!course.asked.contains(&Command::RenewLeader));
}

// rows: HA-39
#[test]
fn a_stop_has_a_limit_only_in_a_synchronous_mode() {
    use crate::config::settings::SynchronousMode::{self, Off, On, Quorum};
    let limit = |mode: SynchronousMode, standby_cluster: bool, change: fn(View) -> View| {
        let view = change(leading()).change(|v| {
            v.global.primary_stop_timeout = Some(secs(15));
            v.global.synchronous_mode = mode;
            v.global.standby_cluster = standby_cluster.then(crate::config::StandbyCluster::default);
        });
        match run(&view, &both()).job() {
            Some(Job::Stop { mode: StopMode::Fast, timeout, .. }) => *timeout,
            other => panic!("{other:?}"),
        }
    };
    let changes: [fn(View) -> View; 3] = [|v| v.failover(Some("a"), None), ending, View::silent];
    for change in changes {
        assert_eq!(limit(Off, false, change), None);
        for mode in [On, Quorum] {
            assert_eq!(limit(mode, false, change), Some(secs(15)));
        }
    }
    assert_eq!(limit(On, true, ending), None, "a standby cluster has no synchronous mode");
}

// --- the end of the process ---

fn ending(view: View) -> View {
    view.change(|v| v.stopping = true)
}

fn ended_ok(course: &Course) {
    assert_eq!(course.finish.exit, Some(Exit { code: 0, reason: String::new(), leave_postgres: false }));
}

#[test]
fn the_end_of_a_replica() {
    let began = after(&ending(view().leader("b")), &world());
    let expected = Job::Stop { mode: StopMode::Fast, checkpoint: false, timeout: None, role: None };
    assert_eq!(began.1, expected);
    let course = says(running(ending(view().leader("b")), began.clone(), JobPhase::Stopping), world(), "");
    assert_eq!(course.finish.exit, None);
    let down =
        ending(view().leader("b").down(ControlState::ShutDownInRecovery).change(|v| v.server.state = PgState::Stopped));
    let course = says(over(down, began, JobResult::Done), world(), "");
    ended_ok(&course);
    assert_eq!(course.member_key().unwrap().state, Some(PgState::Stopped));
    assert_eq!(course.release(), None);
    ended_ok(&run(&ending(view().down(ControlState::ShutDown)), &world()));
}

// rows: HA-29, HA-31
#[test]
fn the_end_of_a_leader() {
    let began = after(&ending(leading()), &world());
    let phase = JobPhase::ShutDown { checkpoint: Lsn(1100), release: Lsn(1050) };
    // archiving: a candidate that has everything gets the key, otherwise the position is published
    let course = run(&running(ending(leading()), began.clone(), phase.clone()), &world().peer(peer("b", 1100)));
    assert_eq!((course.release(), course.finish.exit), (Some(Some(Lsn(1050))), None));
    let course = run(&running(ending(leading()), began.clone(), phase), &world().peer(peer("b", 1099)));
    assert_eq!((course.release(), course.status().and_then(|s| s.optime)), (None, Some(Lsn(1050))));
    // the stop: the lock is held
    let course = run(&running(ending(leading()), began.clone(), JobPhase::Stopping), &world());
    assert_eq!(course.asked, [Command::RenewLeader]);
    // down: the key goes
    let course = run(&over(ending(leading().down(ControlState::ShutDown)), began.clone(), stopped()), &world());
    assert_eq!(course.release(), Some(Some(Lsn(1050))));
    ended_ok(&course);
    // the stop failed: an immediate one, once; when that fails too the key stays
    let failed = || JobResult::Failed("x".to_owned());
    let course = run(&over(ending(leading()), began.clone(), failed()), &world());
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    assert_eq!((course.release(), course.finish.exit.clone()), (None, None));
    let escalated = after(&over(ending(leading()), began.clone(), failed()), &world());
    let course = run(&over(ending(leading()), escalated, failed()), &world());
    assert_eq!(course.release(), None);
    assert!(course.logged("PostgreSQL shutdown failed, leader key not removed."));
    assert!(course.finish.exit.is_some_and(|e| e.code != 0 && e.leave_postgres));
    // the lock is lost: immediate
    let course = run(&running(ending(leading()), began.clone(), JobPhase::Stopping), &conflict());
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    // the store is silent: the server is stopped all the same
    let course = run(&running(ending(leading()).silent(), began.clone(), JobPhase::Stopping), &world());
    assert_eq!((course.job(), course.finish.exit.clone()), (None, None));
    ended_ok(&run(&over(ending(leading().down(ControlState::ShutDown)).silent(), began, stopped()), &world()));
}

// rows: HA-41, PAUSE-08
#[test]
fn the_end_in_pause_leaves_everything() {
    let course = says(ending(leading().paused()), world(), "");
    assert!(course.logged("Leader key is not deleted and Postgresql is not stopped due paused state"));
    assert!(course.finish.exit.as_ref().is_some_and(|e| e.code == 0 && e.leave_postgres));
    assert_eq!((course.release(), course.job()), (None, None));
}

#[test]
fn the_end_cancels_long_work_first() {
    let course = run(&ending(view().leader("b").job(Job::CrashRecovery, JobPhase::Working)), &world());
    assert!(course.finish.commands.contains(&Command::CancelJob));
    assert_eq!((course.job(), course.finish.exit.clone()), (None, None));
}

#[test]
fn a_lease_is_not_shown_while_a_demotion_is_under_way() {
    let before = leading();
    assert!(run(&before, &both()).finish.memory.shown_lease().is_some());
    let silent = leading().silent();
    let course = run(&silent, &both());
    assert_eq!(course.sentence(), "demoted self because DCS is not accessible and I was a leader");
    assert!(course.finish.memory.lease_until.is_some(), "the fence needs it");
    assert_eq!(course.finish.memory.shown_lease(), None);
    let (memory, _) = switchover();
    assert_eq!(memory.shown_lease(), None);
}

// rows: REW-02
#[test]
fn a_divergence_is_looked_for_though_it_was_not_known_yet_whether_pg_rewind_works() {
    use crate::ha::rewind::RewindState;
    // The first cycle of a process that finds its server running as a primary, and another leader.
    let first = self::view().primary().leader("b").change(|v| {
        v.global.use_pg_rewind = true;
        v.server.pg_rewind_works = false;
        v.memory.rewind = RewindState::Initial;
    });
    let course = run(&first, &world());
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    // Started as a standby it may stream from the leader for a while, without any sign of the divergence.
    let diverged = world().change(|w| {
        let history = vec![(crate::types::Timeline(1), Lsn(800))];
        let timeline = crate::types::Timeline(2);
        w.own_timeline = Some(1);
        w.leader_point = Some(Outcome::LeaderPoint { read_write: true, timeline, lsn: Lsn(2000), history });
    });
    let standby = |works: bool| {
        let memory = Memory { demotion: None, ..course.finish.memory.clone() };
        self::view().leader("b").change(|v| {
            v.global.use_pg_rewind = true;
            v.server.pg_rewind_works = works;
            v.memory = memory;
        })
    };
    assert_eq!(run(&standby(false), &diverged).job(), None);
    does(standby(true), diverged, "running pg_rewind from b", Some(JobKind::Rewind));
}
