//! Empty and foreign data directories, bootstrap (ha-rules 4 steps 9 and 10, 21).

use crate::cluster::*;
use crate::ha::memory::ProcessEnd;
use crate::ha::testing::*;
use crate::ha::{Command, Exit, Job, JobKind, JobPhase, JobResult, Outcome, View};

fn nothing() -> View {
    view().empty().cluster_with(|c| {
        *c = Cluster::default();
    })
}

fn new_member() -> View {
    view().leader("b").empty()
}

// rows: PAUSE-02, BOOT-01
#[test]
fn who_initializes_a_cluster() {
    let course = does(nothing(), world(), "trying to bootstrap a new cluster", Some(JobKind::Bootstrap));
    assert_eq!(course.asked.first(), Some(&Command::Initialize { system_id: None, create_only: true }));
    assert!(course.finish.memory.bootstrapping);
    let taken = world().change(|w| w.initialize = Some(Outcome::Conflict));
    says(nothing(), taken, "failed to acquire initialize lock");
    let mute = world().change(|w| w.initialize = Some(Outcome::Unknown("late".to_owned())));
    says(nothing(), mute, "DCS is not accessible");
    let waiting = "waiting for leader to bootstrap";
    says(nothing().change(|v| v.me.may_bootstrap = false), world(), waiting);
    says(nothing().tagged(serde_json::json!({"nofailover": true})), world(), waiting);
    says(nothing().cluster_with(|c| c.initialize = Some(String::new())), world(), waiting);
    says(nothing().cluster_with(|c| c.initialize = Some(SYSTEM_ID.to_string())), world(), waiting);
    says(nothing().paused(), world(), "PAUSE: running with empty data directory");
    let refused = run(&nothing(), &world().change(|w| w.job = Some(Outcome::Conflict)));
    assert!(refused.finish.commands.contains(&Command::CancelInitialize) && !refused.finish.memory.bootstrapping);
}

// rows: TAG-04, BOOT-14, BOOT-13, BOOT-20
#[test]
fn whom_a_new_member_copies() {
    let course = does(new_member(), world(), "trying to bootstrap from leader 'b'", Some(JobKind::Clone));
    let Some(Job::Clone { source: Some(source), upstream: Some(upstream), .. }) = course.job() else { panic!() };
    assert_eq!((source.name.as_str(), upstream.name.as_str()), ("b", "b"));
    let offering =
        |name: &str, view: View| view.member_with(name, |m| m.data.tags = tags(serde_json::json!({"clonefrom": true})));
    let two = || offering("d", offering("c", new_member()));
    does(two().change(|v| v.cycle = 4), world(), "trying to bootstrap from replica 'c'", Some(JobKind::Clone));
    does(two().change(|v| v.cycle = 5), world(), "trying to bootstrap from replica 'd'", Some(JobKind::Clone));
    let stopped = offering("c", new_member()).member_with("c", |m| m.data.state = Some(PgState::Stopped));
    does(stopped, world(), "trying to bootstrap from leader 'b'", Some(JobKind::Clone));
    says(new_member().member_with("b", |m| m.data.conn_url = None), world(), "waiting for leader to bootstrap");
    let alone = || nothing().cluster_with(|c| c.initialize = Some(SYSTEM_ID.to_string()));
    let backup = |v: &mut View| v.me.replica_method_without_leader = true;
    does(alone().change(backup), world(), "trying to bootstrap (without leader)", Some(JobKind::Clone));
    says(
        nothing().cluster_with(|c| c.initialize = Some(String::new())).change(backup),
        world(),
        "waiting for leader to bootstrap",
    );
    // a failed copy is not repeated at once
    let job = Job::Clone { source: None, upstream: None, basebackup_only: false };
    let failed = new_member().ended(job, JobResult::Failed("x".to_owned()));
    assert_eq!(says(failed, world(), "waiting for leader to bootstrap").finish.wake_in, Some(secs(1)));
}

// rows: HA-09
#[test]
fn a_lost_data_directory_gives_the_lock_up() {
    let course = says(
        view().leader("a").empty(),
        world(),
        "released leader key voluntarily as data dir empty and currently leader",
    );
    assert_eq!(course.release(), Some(None));
    assert_eq!(course.member_key().unwrap().role, Some(Role::Uninitialized));
    let unreadable = |view: View| {
        view.empty().change(|v| {
            v.server.facts.data_dir = DataDir::Inaccessible("Permission denied".to_owned());
        })
    };
    says(
        unreadable(view().leader("a")),
        world(),
        "released leader key voluntarily as data dir not accessible and currently leader",
    );
    says(unreadable(view().leader("b")), world(), "data directory is not accessible: Permission denied");
    let running = view().leader("a").empty().change(|v| {
        v.server.facts.postmaster = Some(Postmaster { pid: 1, start_ticks: 1 });
    });
    assert_eq!(does(running, world(), "stop in progress", Some(JobKind::Stop)).release(), None, "the server first");
}

// rows: CB-05, BOOT-07
#[test]
fn a_bootstrap_goes_through_its_steps() {
    let fresh = || {
        view()
            .primary()
            .cluster_with(|c| {
                *c = Cluster { initialize: Some(String::new()), ..Cluster::default() };
            })
            .change(|v| {
                v.memory.bootstrapping = true;
                v.memory.joined = false;
            })
    };
    says(fresh().job(Job::Bootstrap, JobPhase::Working), world(), "bootstrap in progress");
    let course = does(
        fresh().ended(Job::Bootstrap, JobResult::Done),
        world(),
        "running post_bootstrap",
        Some(JobKind::PostBootstrap),
    );
    assert!(course.callbacks().is_empty());
    says(fresh().replica(1000), world(), "waiting for end of recovery after bootstrap");
    says(fresh().change(|v| v.status = None), world(), "waiting for end of recovery after bootstrap");
    let course = says(fresh().ended(Job::PostBootstrap, JobResult::Done), world(), "initialized a new cluster");
    let kinds: Vec<_> = course.asked.iter().map(std::mem::discriminant).collect();
    let expected = [
        Command::Initialize { system_id: Some(SYSTEM_ID), create_only: false },
        Command::WriteConfig { data: view().me.dynamic_config, expect: None },
        Command::AcquireLeader,
    ];
    assert_eq!(kinds[..3], expected.iter().map(std::mem::discriminant).collect::<Vec<_>>()[..]);
    assert_eq!(course.asked[0], expected[0]);
    assert_eq!(course.callbacks(), [(CallbackEvent::OnStart, Role::Primary)]);
    assert!(!course.finish.memory.bootstrapping && course.finish.memory.lease_until.is_some());
    // the store does not answer: again in the next cycle
    let mute = world().change(|w| w.initialize = Some(Outcome::Unreachable("no".to_owned())));
    let course = says(fresh().ended(Job::PostBootstrap, JobResult::Done), mute, "DCS is not accessible");
    assert!(course.finish.memory.bootstrapping && course.finish.memory.post_bootstrap_done);
}

// rows: BOOT-03
#[test]
fn a_failed_bootstrap_cleans_up_after_itself() {
    let fresh = || {
        view().primary().cluster_with(|c| c.initialize = Some(String::new())).change(|v| v.memory.bootstrapping = true)
    };
    for view in [
        fresh().ended(Job::Bootstrap, JobResult::Failed("initdb".to_owned())),
        fresh().ended(Job::Bootstrap, JobResult::Cancelled),
        fresh().ended(Job::PostBootstrap, JobResult::Failed("script".to_owned())),
        fresh().down(ControlState::InProduction),
    ] {
        let course = does(view, world(), "", Some(JobKind::MoveDataAside));
        assert!(course.asked.contains(&Command::CancelInitialize));
        assert_eq!(course.finish.exit, None);
    }
    let moved = fresh().empty().change(|v| v.memory.bootstrap_failed = true).ended(Job::MoveDataAside, JobResult::Done);
    let course = says(moved, world(), "");
    let reason = "Failed to bootstrap cluster".to_owned();
    assert_eq!(course.finish.exit, Some(Exit { code: 1, reason, leave_postgres: false }));
}

// rows: BOOT-08
#[test]
fn a_recovery_from_a_backup_has_all_the_time_it_takes() {
    let restored = || {
        let view = view().starting(400).cluster_with(|c| c.initialize = Some(String::new()));
        view.change(|v| v.memory.bootstrapping = true)
    };
    let waiting = "waiting for end of recovery after bootstrap";
    let course = says(restored().ended(Job::Bootstrap, JobResult::StillStarting), world(), waiting);
    assert!(!course.finish.memory.bootstrap_failed);
    assert_eq!(course.finish.wake_in, Some(secs(1)));
    says(restored(), world(), waiting);
}

// rows: BOOT-21
#[test]
fn the_end_of_the_process_gives_a_bootstrap_up() {
    let ending = |view: View| {
        let exit = Exit { code: 0, reason: String::new(), leave_postgres: false };
        view.cluster_with(|c| c.initialize = Some(String::new())).change(|v| {
            v.stopping = true;
            v.memory.bootstrapping = true;
            v.memory.process_end =
                Some(ProcessEnd { exit, stop: None, stopped: None, escalated: false, released: false });
        })
    };
    let cancels = |course: &Course| course.all().any(|c| *c == Command::CancelInitialize);
    // first the program that is making it
    let course = says(ending(view().empty().job(Job::Bootstrap, JobPhase::Working)), world(), "");
    assert!(course.finish.commands.contains(&Command::CancelJob) && !cancels(&course));
    assert_eq!(course.finish.exit, None);
    // then what it left, and the key that makes others wait
    let cut_short = || ending(view().down(ControlState::InProduction)).ended(Job::Bootstrap, JobResult::Cancelled);
    let course = does(cut_short(), world(), "", Some(JobKind::MoveDataAside));
    assert!(!cancels(&course) && course.finish.exit.is_none());
    let course = says(ending(view().empty().job(Job::MoveDataAside, JobPhase::Working)), world(), "");
    assert!(!course.finish.commands.contains(&Command::CancelJob) && course.finish.exit.is_none());
    for view in [
        ending(view().empty()),
        ending(view().empty()).ended(Job::MoveDataAside, JobResult::Done),
        cut_short().ended(Job::MoveDataAside, JobResult::Failed("disk".to_owned())),
    ] {
        let course = says(view, world(), "");
        assert!(cancels(&course));
        assert_eq!(course.finish.exit.as_ref().map(|e| e.code), Some(0));
    }
}

// rows: HA-06, HA-07, HA-08, PAUSE-03, PAUSE-09, BOOT-22
#[test]
fn existing_data_is_adopted_or_refused() {
    let fresh = |view: View| view.change(|v| v.memory.joined = false);
    let unknown = |initialize: Option<&str>| {
        let initialize = initialize.map(str::to_owned);
        fresh(view().primary().cluster_with(|c| c.initialize = initialize))
    };
    // a running primary brings its own cluster
    for (initialize, create_only) in [(None, true), (Some(""), false)] {
        let course = says(unknown(initialize), world(), "acquired session lock as a leader");
        assert_eq!(course.asked[0], Command::Initialize { system_id: Some(SYSTEM_ID), create_only });
        assert_eq!(course.callbacks(), [(CallbackEvent::OnStart, Role::Primary)]);
    }
    let taken = world().change(|w| w.initialize = Some(Outcome::Conflict));
    says(unknown(None), taken, "failed to acquire initialize lock");
    // a running standby does not
    let course = says(fresh(view().cluster_with(|c| c.initialize = None)), world(), "");
    let exit = course.finish.exit.unwrap();
    assert!(exit.code == 1 && exit.leave_postgres);
    // another cluster's data
    let foreign = |view: View| view.cluster_with(|c| c.initialize = Some("7999999999999999999".to_owned()));
    let course = does(foreign(view().leader("b")), world(), "", Some(JobKind::Stop));
    assert_eq!(course.finish.exit, None, "the server first");
    let course = says(foreign(view().leader("b")).down(ControlState::ShutDown), world(), "");
    let exit = course.finish.exit.unwrap();
    let reason =
        "system ID mismatch, node a belongs to a different cluster: 7999999999999999999 != 7000000000000000001";
    assert_eq!((exit.code, exit.leave_postgres, exit.reason.as_str()), (1, false, reason));
    let course = says(
        foreign(view().primary().leader("a").paused()),
        world(),
        "PAUSE: released leader key voluntarily due to the system ID mismatch",
    );
    assert_eq!(course.release(), Some(None));
    // the pause is over: the server is stopped, then the process ends
    let resumed = foreign(view().primary().leader("a")).change(|v| v.memory.was_paused = true);
    let stop = does(resumed, world(), "", Some(JobKind::Stop));
    let exit = stop.finish.memory.process_end.map(|end| end.exit).unwrap();
    assert_eq!((exit.code, exit.leave_postgres), (1, false));
    says(
        view().change(|v| v.server.facts.control = None),
        world(),
        "data dir for the cluster is not empty, but system ID is invalid; consider doing reinitialize",
    );
}
