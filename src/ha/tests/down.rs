//! The server is down or starts (ha-rules 4.3, 11, 13).

use crate::cluster::ControlState as S;
use crate::cluster::*;
use crate::ha::rewind::RewindState;
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobKind, JobResult, Outcome, View};
use crate::types::{Lsn, Timeline};

const SECONDARY: &str = "starting as a secondary";
const IN_PLACE: &str = "starting primary after failure";
const READ_ONLY: &str = "starting as readonly because i had the session lock";
const SINGLE_USER: &str = "doing crash recovery in a single user mode";

fn crashed(state: S) -> View {
    view().primary().member("b", 1000).leader("a").down(state)
}

fn standby_down(state: S) -> View {
    view().leader("b").down(state)
}

// rows: HA-17, HA-21
#[test]
fn a_crashed_primary_is_started_in_place_under_the_lock() {
    for state in [S::InProduction, S::InCrashRecovery, S::ShuttingDown, S::ShutDown] {
        let course = does(crashed(state), world(), IN_PLACE, Some(JobKind::StartPrimary));
        assert_eq!(course.job(), Some(&Job::StartPrimary { timeout: secs(300) }));
        assert!(course.finish.memory.recovering);
        assert!(course.logged("pg_controldata:"));
    }
    // only when it surely was a primary a moment ago
    does(crashed(S::ShutDown).change(|v| v.server.role = Role::Demoted), world(), READ_ONLY, Some(JobKind::Follow));
    does(
        crashed(S::ShutDown).change(|v| v.server.facts.recovery_files = true),
        world(),
        READ_ONLY,
        Some(JobKind::Follow),
    );
    does(crashed(S::ShutDown).change(|v| v.server.state = PgState::Stopped), world(), READ_ONLY, Some(JobKind::Follow));
    let course = does(crashed(S::ShutDownInRecovery), world(), READ_ONLY, Some(JobKind::Follow));
    assert!(matches!(course.job(), Some(Job::Follow { upstream: None, .. })));
}

// rows: HA-18
#[test]
fn fail_over_first_when_told_so() {
    let view = || crashed(S::InProduction).change(|v| v.global.primary_start_timeout = secs(0));
    let fail_over = "stopped PostgreSQL to fail over after a crash";
    let course = says(view(), world().peer(peer("b", 1000)), fail_over);
    assert_eq!(course.release(), Some(None));
    assert_eq!(course.finish.wake_in, Some(secs(2)));
    // nobody can: recovered here
    does(view(), world(), READ_ONLY, Some(JobKind::Follow));
}

#[test]
fn without_a_renewed_lock_nothing_starts_as_a_primary() {
    let lost = || {
        world().change(|w| {
            w.renew = Some(Outcome::Conflict);
            w.reload = view().leader("b").cluster.ok();
        })
    };
    let course = does(crashed(S::ShutDown), lost(), SECONDARY, Some(JobKind::Follow));
    assert!(matches!(course.job(), Some(Job::Follow { upstream: Some(u), .. }) if u.name == "b"));
    let silent = world().change(|w| w.renew = Some(Outcome::Unknown("late".to_owned())));
    says(crashed(S::InProduction), silent, "DCS is not accessible");
    let unlocked = view().primary().down(S::InProduction);
    does(unlocked, world(), SINGLE_USER, Some(JobKind::CrashRecovery));
}

// rows: HA-20
#[test]
fn crash_recovery_is_done_once_and_where_it_is_of_use() {
    for state in [S::InProduction, S::ShuttingDown, S::InCrashRecovery] {
        does(view().down(state), world(), SINGLE_USER, Some(JobKind::CrashRecovery));
        does(standby_down(state), world(), SECONDARY, Some(JobKind::Follow));
        let rewind = standby_down(state).change(|v| v.global.use_pg_rewind = true);
        does(rewind, world(), SINGLE_USER, Some(JobKind::CrashRecovery));
        let again = view().down(state).change(|v| v.memory.crash_recovery = Some(v.now));
        does(again, world(), SECONDARY, Some(JobKind::Follow));
        let restored = view().down(state).change(|v| v.server.facts.backup_label = true);
        assert!(does(restored, world(), SECONDARY, Some(JobKind::Follow)).logged("backup_label exists"));
    }
    does(view().down(S::ShutDown), world(), SECONDARY, Some(JobKind::Follow));
}

// rows: REW-01, REW-02, REW-03
#[test]
fn an_old_primary_is_rewound_before_it_follows() {
    let old = |state| {
        standby_down(state)
            .member_with("b", |m| m.data.timeline = Some(Timeline(2)))
            .change(|v| v.global.use_pg_rewind = true)
    };
    let leader = |switch: u64| {
        world().change(|w| {
            w.leader_point = Some(Outcome::LeaderPoint {
                read_write: true,
                timeline: Timeline(2),
                lsn: Lsn(5000),
                history: vec![(Timeline(1), Lsn(switch))],
            });
        })
    };
    does(old(S::ShutDown), leader(900), "running pg_rewind from b", Some(JobKind::Rewind));
    // the checkpoint record at 900 ends where the new timeline begins
    let fits = leader(950).change(|w| w.checkpoint_end = Some(950));
    let course = does(old(S::ShutDown), fits, SECONDARY, Some(JobKind::Follow));
    assert_eq!(course.finish.memory.rewind, RewindState::NotNeed);
    let beyond = leader(950).change(|w| w.checkpoint_end = Some(960));
    does(old(S::ShutDown), beyond, "running pg_rewind from b", Some(JobKind::Rewind));
    does(old(S::ShutDown), leader(950), "running pg_rewind from b", Some(JobKind::Rewind));
    // a standby: its recovery end counts
    does(old(S::ShutDownInRecovery), leader(1000), SECONDARY, Some(JobKind::Follow));
    does(old(S::ShutDownInRecovery), leader(999), "running pg_rewind from b", Some(JobKind::Rewind));
    does(old(S::InArchiveRecovery), leader(999), SINGLE_USER, Some(JobKind::CrashRecovery));
    let tried = old(S::InArchiveRecovery).change(|v| v.memory.crash_recovery = Some(v.now));
    does(tried, leader(999), "running pg_rewind from b", Some(JobKind::Rewind));
    // pg_rewind cannot be used
    for change in [
        (|v: &mut View| v.global.use_pg_rewind = false) as fn(&mut View),
        |v| v.server.pg_rewind_works = false,
        |v| v.server.facts.control.as_mut().unwrap().checksums = false,
    ] {
        does(old(S::ShutDown).change(change), leader(900), SECONDARY, Some(JobKind::Follow));
    }
    // after a rewind it is started, without another check
    let rewound = old(S::ShutDownInRecovery).ended(rewind_job(), JobResult::Done);
    does(rewound, leader(1), SECONDARY, Some(JobKind::Follow));
}

fn rewind_job() -> Job {
    let upstream = Upstream {
        name: "b".to_owned(),
        conn: conn("b"),
        slot: None,
        recovery: indexmap::IndexMap::new(),
        is_member: true,
    };
    Job::Rewind { upstream: Box::new(upstream) }
}

// rows: REW-10
#[test]
fn a_failed_rewind_follows_the_settings() {
    let failed =
        |result| standby_down(S::ShutDown).change(|v| v.global.use_pg_rewind = true).ended(rewind_job(), result);
    let hard = || failed(JobResult::Failed("x".to_owned()));
    does(hard(), world(), SECONDARY, Some(JobKind::Follow));
    assert_eq!(run(&hard(), &world()).finish.memory.rewind, RewindState::Failed);
    for set in [(|v: &mut View| v.global.remove_data_directory_on_rewind_failure = true) as fn(&mut View), |v| {
        v.global.remove_data_directory_on_diverged_timelines = true
    }] {
        let course =
            does(hard().change(set), world(), "removing data directory after failed rewind", Some(JobKind::RemoveData));
        assert_eq!(course.finish.memory.rewind, RewindState::Initial);
    }
    // nothing is removed in pause, nor afterwards for a reason from before it
    let paused = hard().change(|v| {
        v.global.remove_data_directory_on_rewind_failure = true;
        v.global.pause = true;
    });
    let course = run(&paused, &world());
    assert_ne!(course.job().map(Job::kind), Some(JobKind::RemoveData));
    let mut resumed = standby_down(S::ShutDown);
    resumed = resumed.change(|v| {
        v.memory.was_paused = true;
        v.memory.remove_data = true;
    });
    assert_ne!(run(&resumed, &world()).job().map(Job::kind), Some(JobKind::RemoveData));
    // the leader was gone: again, but not at once
    let again = failed(JobResult::TryAgain("gone".to_owned())).change(|v| v.memory.rewind = RewindState::Need);
    let course = says(again, world(), "running pg_rewind from b");
    assert_eq!(course.finish.wake_in, Some(secs(1)));
    // unless the attempt spoiled the control file
    let spoiled = failed(JobResult::TryAgain("gone".to_owned()))
        .change(|v| v.server.facts.control.as_mut().unwrap().checksums = false);
    assert_eq!(run(&spoiled, &world()).finish.memory.rewind, RewindState::Failed);
}

// rows: HA-22
#[test]
fn a_start_that_failed_is_looked_back_on() {
    let follow = || Job::Follow { upstream: None, role: Role::Replica, timeout: None };
    let failed = || JobResult::Failed("x".to_owned());
    let recovering = |v: &mut View| v.memory.recovering = true;
    let course = says(
        standby_down(S::ShutDown).ended(follow(), failed()).change(recovering),
        world(),
        "failed to start postgres",
    );
    assert_eq!(course.finish.memory.start_not_before, Some(view().now + secs(1)));
    let course = says(
        crashed(S::InProduction).ended(Job::StartPrimary { timeout: secs(300) }, failed()).change(recovering),
        world(),
        "removed leader key after trying and failing to start postgres",
    );
    assert_eq!(course.release(), Some(None));
    assert_eq!(course.callbacks(), [(CallbackEvent::OnRoleChange, Role::Demoted)]);
    // the next attempt waits, longer each time
    let course = says(
        standby_down(S::ShutDown).change(|v| v.memory.start_not_before = Some(v.now + secs(3))),
        world(),
        "failed to start postgres",
    );
    assert_eq!(course.finish.wake_in, Some(secs(3)));
    let often = standby_down(S::ShutDown).ended(follow(), failed()).change(|v| v.memory.failed_starts = 9);
    assert_eq!(run(&often, &world()).finish.memory.start_not_before, Some(view().now + secs(10)));
    // a start that went well
    let course =
        run(&view().leader("b").change(recovering).change(|v| v.memory.crash_recovery = Some(v.now)), &world());
    assert!(!course.finish.memory.recovering && course.finish.memory.crash_recovery.is_none());
    let success = view().leader("b").change(recovering).change(|v| v.memory.rewind = RewindState::Success);
    assert_eq!(run(&success, &world()).finish.memory.rewind, RewindState::Initial);
}

// rows: PAUSE-02, PAUSE-04
#[test]
fn pause_leaves_a_stopped_server_alone() {
    says(standby_down(S::ShutDown).paused(), world(), "PAUSE: postgres is not running");
    let course =
        says(crashed(S::InProduction).paused(), world(), "PAUSE: removed leader lock because postgres is not running");
    assert_eq!(course.release(), Some(None));
    let armed = |state| {
        standby_down(S::ShutDown).paused().change(move |v| {
            v.global.use_pg_rewind = true;
            v.memory.rewind = state;
        })
    };
    says(armed(RewindState::Need), world(), "PAUSE: postgres is not running");
    // left by a switchover within this pause
    let ours = |state| armed(state).change(|v| v.memory.switched_over_in_pause = true);
    does(ours(RewindState::Need), world(), "PAUSE: running pg_rewind from b", Some(JobKind::Rewind));
    does(ours(RewindState::Success), world(), "PAUSE: starting as a secondary", Some(JobKind::Follow));
    says(ours(RewindState::Failed), world(), "PAUSE: postgres is not running");
}

// rows: HA-19
#[test]
fn a_start_under_the_lock_has_limited_patience() {
    let starting = |since| view().primary().member("b", 1000).leader("a").starting(since);
    let course = says(starting(100), world(), "PostgreSQL is still starting up, 200 seconds until timeout");
    assert!(course.asked.contains(&Command::RenewLeader));
    says(
        starting(300),
        world(),
        "primary start has timed out, but continuing to wait because failover is not possible",
    );
    let course = does(
        starting(300),
        world().peer(peer("b", 1000)),
        "stopped PostgreSQL because of startup timeout",
        Some(JobKind::Stop),
    );
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    does(
        starting(1),
        world().change(|w| w.renew = Some(Outcome::Conflict)),
        "stopped PostgreSQL while starting up because leader key was lost",
        Some(JobKind::Stop),
    );
    let short = starting(100).change(|v| v.memory.start_timeout = Some(secs(60)));
    does(short, world().peer(peer("b", 1000)), "stopped PostgreSQL because of startup timeout", Some(JobKind::Stop));
    does(
        starting(1).failover(Some("a"), None),
        world().peer(peer("b", 1000)),
        "switchover: demoting myself",
        Some(JobKind::Stop),
    );
    // a standby goes on as usual
    let course =
        says(view().leader("b").starting(999), world(), "no action. I am (a), a secondary, and following a leader (b)");
    assert!(course.logged("Still starting up as a standby."));
}
