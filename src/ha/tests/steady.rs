//! Servers that run: the leader, the replica, silence of the store, pause (ha-rules 4, 6, 10, 12, 18).

use crate::cluster::*;
use crate::ha::rewind::RewindState;
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobKind, JobPhase, JobResult, Outcome, Rule, View};
use crate::types::{Lsn, Timeline};

const LEADER: &str = "no action. I am (a), the leader with the lock";
const REPLICA: &str = "no action. I am (a), a secondary, and following a leader (b)";

fn conflict(world: World) -> World {
    world.change(|w| w.renew = Some(Outcome::Conflict))
}

fn mute(world: World) -> World {
    world.change(|w| w.renew = Some(Outcome::Unknown("late".to_owned())))
}

// rows: HA-23, PAUSE-11
#[test]
fn the_leader_renews_and_stays() {
    let course = says(view().primary().leader("a"), world(), LEADER);
    assert_eq!(course.asked.first(), Some(&Command::RenewLeader));
    assert_eq!(course.finish.memory.lease_until, Some(view().now + secs(30)));
    assert!(course.logged("Lock owner: a; I am a"));
    says(view().primary().leader("a").member("b", 900), world(), LEADER);
    says(view().primary().leader("a").paused(), world(), &format!("PAUSE: {LEADER}"));
    // promoted by hand: the role is taken over
    let course = says(view().primary().leader("a").change(|v| v.server.role = Role::Replica), world(), LEADER);
    assert!(course.finish.commands.contains(&Command::SetRole(Role::Primary)));
    assert_eq!(course.member_key().unwrap().role, Some(Role::Primary));
}

#[test]
fn the_leader_of_a_member_that_starts_produces_wal() {
    let helped = |state| {
        let view = view().primary().leader("a").member_with("b", |m| m.data.state = Some(state));
        run(&view, &world()).finish.commands.contains(&Command::ProduceWal)
    };
    assert!(helped(PgState::Starting));
    assert!(!helped(PgState::Running) && !helped(PgState::Stopped));
}

// rows: HA-15
#[test]
fn a_leader_without_answer_of_its_server_keeps_the_lock() {
    let silent = "Error communicating with PostgreSQL. Will try again later";
    let course = says(view().primary().leader("a").change(|v| v.status = None), world(), silent);
    assert!(course.asked.contains(&Command::RenewLeader));
    says(view().leader("a").change(|v| v.status = None), world(), silent);
    // a standby does not care
    says(view().leader("b").change(|v| v.status = None), world(), REPLICA);
}

// rows: HA-12
#[test]
fn a_lost_lock_stops_a_primary_at_once() {
    let lost = "demoted self because failed to update leader lock in DCS";
    let course = does(view().primary().leader("a"), conflict(world()), lost, Some(JobKind::Stop));
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, role: Some(Role::Demoted), .. })));
    assert_eq!(course.release(), None);
    assert_eq!(course.finish.memory.lease_until, None);
    says(view().leader("a"), conflict(world()), "not promoting because failed to update leader lock in DCS");
    says(
        view().primary().leader("a").paused(),
        conflict(world()),
        "PAUSE: continue to run as primary after failing to update leader lock in DCS",
    );
}

#[test]
fn silence_is_not_loss() {
    let down = "demoted self because DCS is not accessible and I was a leader";
    for view in [view().primary().silent(), view().primary().leader("a").silent()] {
        let course = does(view, world(), down, Some(JobKind::Stop));
        let stop = course.job().unwrap();
        assert!(matches!(stop, Job::Stop { mode: StopMode::Fast, checkpoint: false, .. }), "{stop:?}");
        assert_eq!(course.release(), None);
        assert_eq!(course.member_key(), None, "the store is silent");
    }
    for (answer, why) in [
        (Outcome::Unknown("late".to_owned()), "unknown"),
        (Outcome::Unreachable("no".to_owned()), "unreachable"),
        (Outcome::Failed("permission denied".to_owned()), "refused is not lost"),
    ] {
        let world = world().change(|w| w.renew = Some(answer));
        let course = does(view().primary().leader("a"), world, down, Some(JobKind::Stop));
        assert!(
            course.finish.memory.lease_until.is_some(),
            "{why}: the fence needs the lease until the server is down"
        );
    }
    says(view().silent(), world(), "DCS is not accessible");
    says(view().leader("a"), mute(world()), "DCS is not accessible");
    says(view().primary().paused().silent(), world(), "PAUSE: DCS is not accessible");
    says(view().primary().leader("a").paused(), mute(world()), "PAUSE: DCS is not accessible");
    says(view().down(ControlState::ShutDown).silent(), world(), "DCS is not accessible");
    says(view().primary().silent().change(|v| v.memory.bootstrapping = true), world(), "DCS is not accessible");
}

#[test]
fn a_promotion_is_called_off_when_the_store_falls_silent() {
    let promote = Job::Promote { wait: secs(10) };
    let course = says(view().silent().job(promote.clone(), JobPhase::PrePromote), world(), "DCS is not accessible");
    assert!(course.finish.commands.contains(&Command::CancelJob));
    let course = run(&view().silent().job(promote, JobPhase::Promoting), &world());
    assert_eq!(course.finish.rule, Rule::DemotedOffline);
}

#[test]
fn a_primary_without_the_lock_is_demoted() {
    let demoted = "demoting self because I do not have the lock and I was a leader";
    let course = does(view().primary().leader("b"), world(), demoted, Some(JobKind::Stop));
    assert!(matches!(course.job(), Some(Job::Stop { mode: StopMode::Immediate, .. })));
    // known by its role alone
    does(view().primary().leader("b").change(|v| v.status = None), world(), demoted, Some(JobKind::Stop));
    // a promotion that was signalled
    does(view().leader("b").change(|v| v.server.role = Role::Promoted), world(), demoted, Some(JobKind::Stop));
    says(view().primary().leader("b").paused(), world(), "PAUSE: continue to run as primary without lock");
}

// rows: HA-21
#[test]
fn a_standby_with_the_lock_is_promoted() {
    let promoted = "promoted self to leader because I had the session lock";
    let course = does(view().leader("a"), world(), promoted, Some(JobKind::Promote));
    assert_eq!(course.asked.iter().position(|c| *c == Command::RenewLeader), Some(0));
    assert_eq!(course.finish.memory.rewind, RewindState::Initial);
    // the signal was given before
    says(view().leader("a").change(|v| v.server.role = Role::Promoted), world(), LEADER);
    // another job is in the way
    let world = world().change(|w| w.job = Some(Outcome::Conflict));
    let course = run(&view().leader("a"), &world);
    assert!(matches!(course.finish.rule, Rule::JobRefused(..)));
}

// rows: RACE-02, CB-06
#[test]
fn a_failed_pre_promote_script_gives_the_lock_up() {
    let promote = || Job::Promote { wait: secs(10) };
    let view = view().leader("a").ended(promote(), JobResult::PrePromoteFailed);
    let course = says(view, world(), "Promotion cancelled because the pre-promote script failed");
    assert_eq!(course.release(), Some(None));
    assert_eq!(course.finish.memory.no_race_until, Some(self::view().now + secs(30)));
    // a promotion that failed otherwise is tried again, not at once
    let view = self::view().leader("a").ended(promote(), JobResult::Failed("x".to_owned()));
    let course = says(view, world(), "promote in progress");
    assert_eq!(course.finish.wake_in, Some(secs(1)));
}

// rows: HA-04, HA-05
#[test]
fn the_leader_repairs_missing_keys() {
    let view = view().primary().leader("a").cluster_with(|c| {
        c.initialize = None;
        c.config = None;
    });
    let course = says(view, world(), LEADER);
    let initialize = Command::Initialize { system_id: Some(SYSTEM_ID), create_only: true };
    assert!(course.finish.commands.contains(&initialize));
    assert!(course.finish.commands.iter().any(|c| matches!(c, Command::WriteConfig { expect: None, .. })));
    let view = self::view().primary().leader("a").cluster_with(|c| c.initialize = Some("garbage".to_owned()));
    let initialize = Command::Initialize { system_id: Some(SYSTEM_ID), create_only: false };
    assert!(says(view, world(), LEADER).finish.commands.contains(&initialize));
    let course = does(
        self::view().primary().leader("a").cluster_with(|c| c.config = None),
        conflict(world()),
        "demoted self because failed to update leader lock in DCS",
        Some(JobKind::Stop),
    );
    assert!(!course.all().any(|c| matches!(c, Command::WriteConfig { .. })), "not without the lock");
}

// rows: HA-32
#[test]
fn history_follows_the_timeline() {
    let on = |timeline: u32| {
        view().primary().leader("a").change(|v| {
            if let Some(status) = &mut v.status {
                status.timeline = Timeline(timeline);
                status.control_timeline = Some(Timeline(timeline));
            }
        })
    };
    let history = |lines: &[(u32, u64)]| view().history(lines).cluster.unwrap().history.clone().unwrap();
    let written = |course: &Course| {
        course.finish.commands.iter().find_map(|c| match c {
            Command::WriteHistory(history) => Some(history.lines.len()),
            _ => None,
        })
    };
    let world = || world().change(|w| w.history = Some(history(&[(1, 10), (2, 20)])));
    assert_eq!(written(&says(on(1), world(), LEADER)), None);
    assert_eq!(written(&says(on(1).history(&[(1, 10)]), world(), LEADER)), Some(0));
    assert_eq!(written(&says(on(3), world(), LEADER)), Some(2));
    assert_eq!(written(&says(on(3).history(&[(1, 10)]), world(), LEADER)), Some(2));
    let course = says(on(3).history(&[(1, 10), (2, 20)]), world(), LEADER);
    assert!(!course.asked.iter().any(|c| matches!(c, Command::ReadHistory(_))));
    let trimmed = on(3).change(|v| v.global.max_timelines_history = 1);
    assert_eq!(written(&says(trimmed, world(), LEADER)), Some(1));
    assert_eq!(written(&says(on(3), self::world(), LEADER)), None, "no history file yet");
}

// rows: HA-33
#[test]
fn a_new_primary_runs_a_checkpoint() {
    let fresh = |control: u32| {
        view().primary().leader("a").change(|v| {
            v.memory.rewind = RewindState::Initial;
            v.status.as_mut().unwrap().control_timeline = Some(Timeline(control));
        })
    };
    let course = says(fresh(0), world(), LEADER);
    assert!(course.finish.commands.contains(&Command::CheckpointAfterPromote));
    assert_eq!(course.member_key().unwrap().checkpoint_after_promote, Some(false));
    let course = says(fresh(1), world(), LEADER);
    assert!(!course.finish.commands.contains(&Command::CheckpointAfterPromote));
    assert_eq!(course.member_key().unwrap().checkpoint_after_promote, None);
}

// rows: HA-26
#[test]
fn a_replica_follows() {
    let change = |change, restart| world().change(|w| w.recovery = Some((change, restart)));
    let course = says(view().leader("b"), change(false, false), REPLICA);
    assert!(!course.finish.commands.iter().any(|c| matches!(c, Command::ReloadRecovery { .. })));
    let course = says(view().leader("b"), change(true, false), REPLICA);
    assert!(course.finish.commands.iter().any(|c| matches!(c, Command::ReloadRecovery { .. })));
    assert_eq!(course.callbacks(), [(CallbackEvent::OnReload, Role::Replica)]);
    let course = does(view().leader("b"), change(true, true), REPLICA, Some(JobKind::Follow));
    let Some(Job::Follow { upstream: Some(upstream), role: Role::Replica, .. }) = course.job() else { panic!() };
    assert_eq!((upstream.name.as_str(), upstream.slot.as_deref(), &upstream.conn), ("b", Some("a"), &conn("b")));
    // slots are off
    let course = run(&view().leader("b").change(|v| v.global.use_slots = false), &change(true, true));
    assert!(matches!(course.job(), Some(Job::Follow { upstream: Some(u), .. }) if u.slot.is_none()));
    // found running: its files are written once
    let course = says(view().leader("b").change(|v| v.memory.joined = false), change(false, false), REPLICA);
    assert!(course.finish.commands.iter().any(|c| matches!(c, Command::ReloadRecovery { .. })));
    assert_eq!(course.callbacks().last(), Some(&(CallbackEvent::OnStart, Role::Replica)));
}

// rows: TAG-06, TAG-07
#[test]
fn whom_a_replica_follows() {
    let followed = |view: View| {
        let course = run(&view, &world());
        course.asked.iter().find_map(|c| match c {
            Command::CheckRecovery { upstream } => Some(upstream.as_ref().map(|u| u.name.clone())),
            _ => None,
        })
    };
    let cluster = || view().leader("b").member("c", 1000);
    let json = |name: &str| serde_json::json!({ "replicatefrom": name });
    for (view, whom) in [
        (cluster(), Some(Some("b"))),
        (cluster().tagged(json("c")), Some(Some("c"))),
        (cluster().tagged(json("gone")), Some(Some("b"))),
        (cluster().tagged(json("a")), Some(Some("b"))),
        (cluster().tagged(serde_json::json!({"nostream": true})), Some(None)),
        (cluster().member_with("b", |m| m.data.conn_url = None), Some(None)),
    ] {
        assert_eq!(followed(view), whom.map(|w| w.map(str::to_owned)));
    }
    // between two leaders the upstream is kept; a cascading replica looks after its own
    let leaderless = || view().member("b", 2000).tagged(serde_json::json!({"nofailover": true}));
    assert_eq!(followed(leaderless()), None);
    assert_eq!(
        followed(leaderless().tagged(serde_json::json!({"nofailover": true, "replicatefrom": "b"}))),
        Some(Some("b".to_owned()))
    );
}

// rows: HA-46
#[test]
fn replay_that_stands_still_is_resumed() {
    let halted = || view().leader("b").change(|v| v.status.as_mut().unwrap().replay_paused = true);
    let resumes = |view| run(&view, &world()).finish.commands.contains(&Command::ResumeReplay);
    assert!(resumes(halted()));
    assert!(!resumes(halted().paused()));
    assert!(!resumes(halted().change(|v| v.server.version = Some(crate::types::PgVersion(130_000)))));
    assert!(!resumes(view().leader("b")));
}

// rows: PAUSE-02, PAUSE-03, PAUSE-04, PAUSE-09, PAUSE-12
#[test]
fn pause_leaves_servers_alone() {
    says(view().leader("a").paused(), world(), "PAUSE: removed leader lock because postgres is not running as primary");
    says(view().paused(), world(), "PAUSE: no action. I am (a)");
    says(view().leader("b").paused(), world(), &format!("PAUSE: {REPLICA}"));
    let course = says(view().primary().paused(), world(), "PAUSE: acquired session lock as a leader");
    assert!(course.asked.contains(&Command::AcquireLeader));
    let other = view().primary().paused().cluster_with(|c| c.initialize = Some("7999999999999999999".to_owned()));
    let course = says(other, world(), "PAUSE: continue to run as primary without lock");
    assert!(course.logged("system ID has changed while in paused mode"));
    // leaving pause: divergence is looked at anew
    let answered = |v: &mut View| {
        v.memory.was_paused = true;
        v.memory.rewind = RewindState::Failed;
    };
    let course = run(&view().leader("b").change(answered), &world());
    assert_eq!(course.finish.memory.rewind, RewindState::Initial);
    assert!(!course.finish.memory.was_paused);
    // so is the checkpoint of a primary that was promoted by hand
    let promoted = |v: &mut View| {
        v.memory.was_paused = true;
        v.status.as_mut().unwrap().timeline = Timeline(2);
    };
    let course = run(&view().primary().leader("a").change(promoted), &world());
    assert!(course.finish.commands.contains(&Command::CheckpointAfterPromote));
}

// rows: REW-02, REW-03, REW-04, REW-05, REW-11, REW-14
#[test]
fn divergence_is_looked_at_when_the_leader_is_on_a_newer_timeline() {
    let point = |lines: Vec<(Timeline, Lsn)>, timeline: u32| {
        Some(Outcome::LeaderPoint { read_write: true, timeline: Timeline(timeline), lsn: Lsn(3000), history: lines })
    };
    let behind = || {
        view().leader("b").member_with("b", |m| {
            m.data.role = Some(Role::Primary);
            m.data.timeline = Some(Timeline(2));
        })
    };
    let rewinding = || behind().change(|v| v.global.use_pg_rewind = true);
    let diverged = || {
        world().change(|w| {
            w.own_timeline = Some(1);
            w.leader_point = point(vec![(Timeline(1), Lsn(500))], 2);
        })
    };
    let straight = || {
        world().change(|w| {
            w.own_timeline = Some(1);
            w.leader_point = point(vec![(Timeline(1), Lsn(1000))], 2);
        })
    };
    does(rewinding(), diverged(), "running pg_rewind from b", Some(JobKind::Rewind));
    assert_eq!(says(rewinding(), straight(), REPLICA).finish.memory.rewind, RewindState::NotNeed);
    says(behind(), diverged(), REPLICA);
    let remove = behind().change(|v| v.global.remove_data_directory_on_diverged_timelines = true);
    does(remove, diverged(), "reinitializing due to diverged timelines", Some(JobKind::Reinitialize));
    // what a standby cluster's primary has become is no reason to throw data away
    let elsewhere = behind().change(|v| {
        v.global.remove_data_directory_on_diverged_timelines = true;
        v.global.standby_cluster = Some(crate::config::StandbyCluster::default());
    });
    assert_eq!(run(&elsewhere, &diverged()).job().map(crate::ha::Job::kind), None);
    // a cascading member compares itself with the leader, not with its upstream
    let cascading = rewinding().member("c", 1000).tagged(serde_json::json!({"replicatefrom": "c"}));
    let course = does(cascading, diverged(), "running pg_rewind from b", Some(JobKind::Rewind));
    let asks = |c: &crate::ha::Command| matches!(c, crate::ha::Command::QueryLeader(u) if u.name == "b");
    assert!(course.asked.iter().any(asks));
    // the leader has not run its checkpoint yet
    let early = rewinding().member_with("b", |m| {
        m.data.role = Some(Role::Primary);
        m.data.timeline = Some(Timeline(2));
        m.data.checkpoint_after_promote = Some(false);
    });
    assert!(says(early, diverged(), "running pg_rewind from b").logged("Waiting for checkpoint on b before rewind"));
    // the leader is no primary yet
    let standby = rewinding().member_with("b", |m| m.data.role = Some(Role::Replica));
    assert_eq!(says(standby, diverged(), REPLICA).finish.memory.rewind, RewindState::Check);
    // answers are missing
    for world in [world(), straight().change(|w| w.own_timeline = None)] {
        assert_eq!(says(rewinding(), world, REPLICA).finish.memory.rewind, RewindState::Check);
    }
    let recovering = diverged().change(|w| {
        w.leader_point =
            Some(Outcome::LeaderPoint { read_write: false, timeline: Timeline(2), lsn: Lsn(1), history: vec![] });
    });
    assert_eq!(says(rewinding(), recovering, REPLICA).finish.memory.rewind, RewindState::Check);
    // not in pause
    says(rewinding().paused(), diverged(), &format!("PAUSE: {REPLICA}"));
}

#[test]
fn timelines_of_the_same_number_that_began_elsewhere_are_twins() {
    let twin = |switch_point: u64| {
        world().change(|w| {
            w.own_timeline = Some(2);
            let history = vec![(Timeline(1), Lsn(500))];
            w.leader_point =
                Some(Outcome::LeaderPoint { read_write: true, timeline: Timeline(2), lsn: Lsn(3000), history });
            let own = view().history(&[(1, switch_point)]).cluster.ok().and_then(|c| c.history.clone());
            w.history = own;
        })
    };
    let armed = || {
        view().leader("b").member_with("b", |m| m.data.role = Some(Role::Primary)).change(|v| {
            v.global.use_pg_rewind = true;
            v.memory.rewind = RewindState::Check;
        })
    };
    let course = says(armed(), twin(500), REPLICA);
    assert_eq!(course.finish.memory.rewind, RewindState::NotNeed);
    assert!(course.asked.contains(&crate::ha::Command::ReadHistory(Timeline(2))));
    // pg_rewind finds nothing to do between timelines of one number, so it is not asked to
    let course = says(armed(), twin(400), REPLICA);
    assert_eq!(course.finish.memory.rewind, RewindState::Twin);
    assert!(course.logged("Timeline 2 of the leader was begun at another point than mine"));
    let allowed = armed().change(|v| v.global.remove_data_directory_on_diverged_timelines = true);
    does(allowed, twin(400), "reinitializing due to diverged timelines", Some(JobKind::Reinitialize));
    // a history that is missing tells nothing, and without a question nobody asks
    let unknown = says(armed(), twin(400).change(|w| w.history = None), REPLICA);
    assert_eq!(unknown.finish.memory.rewind, RewindState::NotNeed);
    let unarmed = says(armed().change(|v| v.memory.rewind = RewindState::NotNeed), twin(400), REPLICA);
    assert!(!unarmed.asked.iter().any(|c| matches!(c, crate::ha::Command::ReadHistory(_))));
}
