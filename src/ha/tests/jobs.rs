//! Cycles beside a job (ha-rules 4.2) and what ended jobs tell the scripts (CB-*).

use crate::cluster::CallbackEvent::{OnReload, OnRestart, OnRoleChange, OnStart};
use crate::cluster::*;
use crate::ha::memory::StartEvent;
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobKind, JobPhase, JobResult, Outcome, View};

fn follow() -> Job {
    Job::Follow { upstream: None, role: Role::Replica, timeout: None }
}

fn promote() -> Job {
    Job::Promote { wait: secs(10) }
}

fn restart() -> Job {
    Job::Restart { timeout: Some(secs(300)) }
}

// rows: HA-10
#[test]
fn the_lock_is_renewed_beside_any_job() {
    for (job, action) in [
        (follow(), "restarting after failure"),
        (promote(), "promote"),
        (restart(), "restart"),
        (Job::StartPrimary { timeout: secs(300) }, "starting primary after failure"),
        (Job::CrashRecovery, "doing crash recovery in a single user mode"),
        (Job::Bootstrap, "bootstrap"),
        (Job::PostBootstrap, "post_bootstrap"),
    ] {
        let course = says(
            view().leader("a").job(job.clone(), JobPhase::Working),
            world(),
            &format!("updated leader lock during {action}"),
        );
        assert_eq!(course.asked, [Command::RenewLeader]);
        says(
            view().leader("b").job(job, JobPhase::Working),
            world(),
            match action {
                "promote" => "lost leader before promote".to_owned(),
                other => format!("{other} in progress"),
            }
            .as_str(),
        );
    }
    let named = view().leader("b").job(follow(), JobPhase::Working).change(|v| {
        v.memory.action = Some((crate::ha::JobId(40), "changing primary_conninfo and restarting".to_owned()));
    });
    says(named, world(), "changing primary_conninfo and restarting in progress");
    assert!(run(&view().job(follow(), JobPhase::Working), &world()).logged("not healthy enough for leader race"));
}

// rows: HA-10, HA-11
#[test]
fn nothing_becomes_a_primary_without_the_lock() {
    let lost = || world().change(|w| w.renew = Some(Outcome::Conflict));
    for view in [view().leader("b"), view(), view().leader("a")] {
        let course = says(view.clone().job(promote(), JobPhase::PrePromote), lost(), "lost leader before promote");
        assert!(course.finish.commands.contains(&Command::CancelJob));
        let course = does(
            view.job(promote(), JobPhase::Promoting),
            lost(),
            "lost leader lock during promote",
            Some(JobKind::Stop),
        );
        assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    }
    // promoted by hand while the script runs
    let by_hand = view().primary().leader("a").job(promote(), JobPhase::PrePromote);
    does(by_hand, lost(), "lost leader lock during promote", Some(JobKind::Stop));
    let down = |v: View| v.primary().down(ControlState::InProduction);
    for job in [restart(), Job::StartPrimary { timeout: secs(300) }] {
        let course = run(&down(view().leader("b")).job(job, JobPhase::WaitReady), &lost());
        assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    }
    // what makes no primary goes on, whatever the role was before
    for job in [follow(), Job::CrashRecovery] {
        assert_eq!(run(&down(view().leader("b")).job(job, JobPhase::Working), &lost()).job(), None);
    }
    says(view().leader("b").paused().job(promote(), JobPhase::PrePromote), lost(), "PAUSE: promote in progress");
}

// rows: HA-10
#[test]
fn crash_recovery_under_the_lock_has_limited_patience() {
    let recovering = |since: u64| {
        view()
            .primary()
            .member("b", 1000)
            .leader("a")
            .down(ControlState::InProduction)
            .job(Job::CrashRecovery, JobPhase::Working)
            .change(|v| v.memory.crash_recovery = Some(v.now - secs(since)))
    };
    let during = "updated leader lock during doing crash recovery in a single user mode";
    says(recovering(299), world().peer(peer("b", 1000)), during);
    says(recovering(300), world(), during);
    says(recovering(300).paused(), world().peer(peer("b", 1000)), &format!("PAUSE: {during}"));
    does(
        recovering(300),
        world().peer(peer("b", 1000)),
        "terminated crash recovery because of startup timeout",
        Some(JobKind::Stop),
    );
}

fn told(view: View) -> Vec<(CallbackEvent, Role)> {
    run(&view, &world()).callbacks()
}

// rows: CB-01, CB-04, CB-05
#[test]
fn scripts_are_told_once() {
    let standby = || view().leader("b");
    let event = |event| move |v: &mut View| v.memory.start_event = Some(event);
    let done = JobResult::Done;
    assert_eq!(told(standby()), []);
    assert_eq!(
        told(standby().ended(follow(), done.clone()).change(event(StartEvent::Start))),
        [(OnStart, Role::Replica)]
    );
    assert_eq!(
        told(standby().ended(restart(), done.clone()).change(event(StartEvent::Restart))),
        [(OnRestart, Role::Replica)]
    );
    let change = StartEvent::RoleChange(Role::Replica);
    assert_eq!(told(standby().ended(follow(), done.clone()).change(event(change))), [(OnRoleChange, Role::Replica)]);
    // not ready yet: told when it is
    let starting = || standby().starting(1).ended(follow(), JobResult::StillStarting);
    assert_eq!(told(starting().change(event(StartEvent::Start))), []);
    assert_eq!(told(starting().change(event(change))), [(OnRoleChange, Role::Replica)]);
    assert_eq!(told(standby().change(event(StartEvent::Start))), [(OnStart, Role::Replica)]);
    // a process that finds a server running
    let joining = |v: &mut View| v.memory.joined = false;
    assert_eq!(told(standby().change(joining)), [(OnReload, Role::Replica), (OnStart, Role::Replica)]);
    assert_eq!(told(view().primary().leader("a").change(joining)), [(OnStart, Role::Primary)]);
    // never while a cluster is being bootstrapped
    assert_eq!(told(view().primary().change(joining).change(|v| v.memory.bootstrapping = true)), []);
    // a promotion, as soon as it is signalled, once
    let promoting = || view().leader("a").job(promote(), JobPhase::Promoting);
    assert_eq!(told(promoting()), [(OnRoleChange, Role::Primary)]);
    let memory = run(&promoting(), &world()).finish.memory;
    assert_eq!(told(promoting().change(|v| v.memory = memory.clone())), []);
    assert_eq!(
        told(view().primary().leader("a").ended(promote(), done.clone()).change(|v| v.memory = memory.clone())),
        []
    );
    assert_eq!(told(view().primary().leader("a").ended(promote(), done)), [(OnRoleChange, Role::Primary)]);
    assert_eq!(told(view().leader("b").ended(promote(), JobResult::Cancelled)), []);
}

// rows: CB-01
#[test]
fn scripts_are_told_of_a_stop_on_the_way_to_something_else() {
    let reinit = || view().leader("b").request(crate::ha::Request::Reinitialize { force: false, from_leader: false });
    let lost = || view().leader("b").change(|v| v.server.facts.data_dir = DataDir::Empty);
    for (start, role) in [(reinit(), Role::Replica), (lost(), Role::Uninitialized)] {
        let began = run(&start, &world());
        assert_eq!(began.callbacks(), []);
        let memory = began.finish.memory.clone();
        let next = |view: View, memory: &crate::ha::Memory| view.change(|v| v.memory = memory.clone());
        let beside = |view: View| {
            let (job, phase) = (began.job().unwrap().clone(), JobPhase::Copying);
            view.job(job, phase).change(|v| v.server.job.as_mut().unwrap().id = crate::ha::JobId(41))
        };
        // the server runs still
        let course = run(&next(beside(view().leader("b")), &memory), &world());
        assert_eq!(course.callbacks(), []);
        // it is gone: at once, once
        let gone = || beside(view().leader("b").down(ControlState::ShutDown));
        let course = run(&next(gone(), &memory), &world());
        assert_eq!(course.callbacks(), [(CallbackEvent::OnStop, role)]);
        assert_eq!(run(&next(gone(), &course.finish.memory), &world()).callbacks(), []);
        // the job is over before anybody has looked: another server runs, or the same one
        let other = |v: &mut View| v.server.facts.postmaster = Some(Postmaster { pid: 101, start_ticks: 9 });
        let over = |view: View| next(view, &memory).change(|v| v.memory.start_event = None);
        assert_eq!(told(over(view().leader("b").change(other))), [(CallbackEvent::OnStop, role)]);
        assert_eq!(told(over(view().leader("b"))), []);
    }
    // nothing ran
    let stopped = reinit().change(|v| v.server.facts.postmaster = None).paused();
    assert_eq!(run(&stopped, &world()).finish.memory.stop_event, None);
}

// rows: HA-16
#[test]
fn a_fault_in_the_answers_ends_the_cycle_and_panics_nowhere() {
    let view = view().leader("a").change(|v| v.done = vec![(Command::AcquireLeader, Outcome::Ok)]);
    let crate::ha::Round::Done(finish) = crate::ha::decide(&view) else { panic!("asked on") };
    assert_eq!(finish.sentence, "Unexpected exception raised, please report it as a BUG");
}
