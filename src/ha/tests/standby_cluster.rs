//! Standby clusters: who follows whom, in which role, and how they begin and end (ha-rules 20).

use crate::cluster::*;
use crate::ha::rewind::RewindState;
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobKind, JobResult, Outcome, View};
use crate::types::{Lsn, Timeline};
use serde_json::json;

const LEADS: &str = "no action. I am (a), the standby leader with the lock";
const FOLLOWS: &str = "no action. I am (a), a secondary, and following a standby leader (b)";

fn standby() -> View {
    view().standby_cluster().member("b", 1000)
}

/// The standby leader in good order.
fn leading() -> View {
    standby().leader("a").change(|v| v.server.role = Role::StandbyLeader)
}

/// A member below the standby leader.
fn following() -> View {
    standby().leader("b").member_with("b", |m| m.data.role = Some(Role::StandbyLeader))
}

fn texts(pairs: &[(&str, &str)]) -> indexmap::IndexMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// Whom the cycle compared the server's settings with.
fn wanted(course: &Course) -> Option<Upstream> {
    course.asked.iter().find_map(|c| match c {
        Command::CheckRecovery { upstream } => upstream.as_deref().cloned(),
        _ => None,
    })
}

fn changed(restart: bool) -> World {
    world().change(|w| w.recovery = Some((true, restart)))
}

fn point(read_write: bool, timeline: u32, history: &[(u32, u64)]) -> World {
    let history = history.iter().map(|(t, l)| (Timeline(*t), Lsn(*l))).collect();
    let point = Outcome::LeaderPoint { read_write, timeline: Timeline(timeline), lsn: Lsn(2000), history };
    world().change(|w| (w.leader_point, w.own_timeline) = (Some(point), Some(1)))
}

// rows: STBY-01, STBY-02
#[test]
fn the_leader_follows_the_remote_server() {
    let course = says(leading(), world(), LEADS);
    let remote = wanted(&course).unwrap();
    assert_eq!(remote.conn, texts(&[("host", "far,farther"), ("port", "5433")]));
    assert_eq!((remote.slot.as_deref(), remote.is_member), (Some("pm_1"), false));
    let recovery = [("restore_command", "fetch %f %p"), ("archive_cleanup_command", "clean %r")];
    let delay = ("recovery_min_apply_delay", "5min");
    assert_eq!(remote.recovery, texts(&[recovery[0], recovery[1], delay]));
    assert_eq!(course.member_key().unwrap().role, Some(Role::StandbyLeader));
    assert_eq!(course.status().unwrap().optime, Some(Lsn(1000)));
    let all = |c: &Command| matches!(c, Command::RenewLeader | Command::WriteHistory(_) | Command::WatchdogActivate);
    assert_eq!(course.all().filter(|c| all(c)).count(), 1, "the lock is renewed, no history is written");

    // without slots there is no slot; without a name neither
    let course = says(leading().change(|v| v.global.use_slots = false), world(), LEADS);
    assert_eq!(wanted(&course).unwrap().slot, None);
    let unnamed = |v: &mut View| v.global.standby_cluster.as_mut().unwrap().primary_slot_name = None;
    assert_eq!(wanted(&says(leading().change(unnamed), world(), LEADS)).unwrap().slot, None);
    // from the archive alone
    let archive = |v: &mut View| {
        let section = v.global.standby_cluster.as_mut().unwrap();
        (section.host, section.port) = (None, None);
    };
    assert!(wanted(&says(leading().change(archive), world(), LEADS)).unwrap().conn.is_empty());
}

// rows: STBY-03, STBY-04, HA-25
#[test]
fn others_follow_the_standby_leader_and_the_remote_archive() {
    let course = says(following(), world(), FOLLOWS);
    let leader = wanted(&course).unwrap();
    assert_eq!((leader.name.as_str(), leader.is_member, leader.slot.as_deref()), ("b", true, Some("a")));
    let recovery = [("restore_command", "fetch %f %p"), ("archive_cleanup_command", "clean %r")];
    assert_eq!(leader.recovery, texts(&recovery), "the delay is the leader's alone");
    assert_eq!(course.member_key().unwrap().role, Some(Role::Replica));
    let cascading = following().member("c", 1000).tagged(json!({"replicatefrom": "c"}));
    assert_eq!(wanted(&says(cascading, world(), FOLLOWS)).unwrap().name, "c");
    let alone = following().tagged(json!({"nostream": true}));
    assert_eq!(wanted(&says(alone, world(), FOLLOWS)), None);

    // nobody leads, and b is ahead: behind the remote server, but in pause everything stays
    let unlocked = standby().change(|v| v.memory.last_led = None);
    let ahead = world().peer(peer("b", 2000));
    let text = "following a different leader because i am not the healthiest node";
    assert_eq!(wanted(&says(unlocked, ahead, text)).unwrap().name, "remote_member");
}

// rows: STBY-10
#[test]
fn in_pause_without_a_leader_the_upstream_stays() {
    let course = says(standby().paused(), world(), "PAUSE: no action. I am (a)");
    assert_eq!(wanted(&course), None);
    assert!(!course.all().any(|c| matches!(c, Command::ReloadRecovery { .. })));
    // The leader of a paused standby cluster is no primary, and keeps the lock.
    let course = says(leading().paused(), world(), &format!("PAUSE: {LEADS}"));
    assert_eq!(course.release(), None);
}

#[test]
fn a_leader_without_address_is_not_followed() {
    let gone = following().cluster_with(|c| c.members.retain(|m| m.name != "b"));
    let course = says(gone, world(), "continue following the old known standby leader");
    assert_eq!(wanted(&course), None);
}

// rows: STBY-03
#[test]
fn the_winner_of_the_race_becomes_standby_leader_and_no_primary() {
    let won = standby().leader("a").cluster;
    let unlocked = || standby().history(&[(1, 10), (2, 20)]).change(|v| v.global.check_timeline = true);
    let behind = || peer("b", 900);
    let text = "promoted self to a standby leader by acquiring session lock";
    let w = world().peer(behind()).change(|w| w.reload = won.clone().ok());
    let course = says(unlocked(), w.clone(), text);
    assert_eq!(course.callbacks(), [(CallbackEvent::OnRoleChange, Role::StandbyLeader)]);
    assert_eq!(course.member_key().unwrap().role, Some(Role::StandbyLeader));
    assert!(!course.asked.contains(&Command::QueryOwnTimeline), "the history is from former times");
    // It has to change its upstream: a reload, or before PostgreSQL 13 a restart.
    let course = says(unlocked(), World { recovery: Some((true, false)), ..w.clone() }, text);
    assert_eq!(course.callbacks(), [(CallbackEvent::OnRoleChange, Role::StandbyLeader)]);
    let reload = |c: &&Command| matches!(c, Command::ReloadRecovery { role: Role::StandbyLeader, .. });
    assert_eq!(course.all().filter(reload).count(), 1);
    let restarted = does(unlocked(), World { recovery: Some((true, true)), ..w }, text, Some(JobKind::Follow));
    assert!(matches!(restarted.job(), Some(Job::Follow { role: Role::StandbyLeader, .. })));
    // In pause a switchover's key is used up at once: there is no promotion to wait for.
    let chosen = standby().paused().failover(Some("b"), Some("a"));
    let w = world().change(|w| w.reload = won.ok());
    let course = run(&chosen, &w);
    let emptied =
        Command::WriteFailover { leader: None, candidate: None, scheduled_at: None, expect: Some(Revision(3)) };
    assert!(course.all().any(|c| *c == emptied), "{:?}", course.finish.commands);
}

// rows: STBY-03
#[test]
fn a_former_standby_leader_is_told_to_scripts_as_replica() {
    let former = following().change(|v| v.server.role = Role::StandbyLeader);
    let course = says(former.clone(), changed(false), FOLLOWS);
    assert_eq!(course.callbacks(), [(CallbackEvent::OnRoleChange, Role::Replica)]);
    // The same upstream, the lock lost for a moment: nothing is told.
    let unlocked = standby().change(|v| v.server.role = Role::StandbyLeader);
    let course = run(&unlocked, &world().peer(peer("b", 2000)));
    assert_eq!((course.callbacks(), course.member_key().unwrap().role), (vec![], Some(Role::StandbyLeader)));
    let course = says(
        leading().change(|v| v.server.role = Role::Replica),
        world(),
        "promoted self to a standby leader because i had the session lock",
    );
    assert_eq!(course.callbacks(), [(CallbackEvent::OnRoleChange, Role::StandbyLeader)]);
}

// rows: STBY-07
#[test]
fn without_the_section_the_leader_is_promoted_without_a_race() {
    let detached = leading().change(|v| v.global.standby_cluster = None);
    let course =
        does(detached, world(), "promoted self to leader because I had the session lock", Some(JobKind::Promote));
    assert!(!course.asked.iter().any(|c| matches!(c, Command::PollPeers(_))));
}

// rows: SYNC-19, STBY-06
#[test]
fn synchronous_modes_and_logical_slots_are_not_for_standby_clusters() {
    let slots = json!({"l": {"type": "logical", "database": "d", "plugin": "p"}, "p": {"type": "physical"},
        "other": {"cluster_type": "primary"}, "own": {"cluster_type": "standby"}});
    let with = |view: View| {
        view.change(|v| {
            v.global.synchronous_mode = crate::config::settings::SynchronousMode::On;
            v.global.slots = slots.as_object().cloned().unwrap();
        })
    };
    for (view, text) in [(with(leading()), LEADS), (with(following()), FOLLOWS)] {
        let course = says(view, world(), text);
        let names: Vec<_> = course.slot_plan().unwrap().slots.iter().map(|s| s.name.clone()).collect();
        assert_eq!(names, ["b", "p", "own"]);
        let sync =
            |c: &&Command| matches!(c, Command::WriteSync(_) | Command::SetSyncNames(_) | Command::DeleteSync(_));
        assert_eq!(course.all().find(sync), None);
    }
}

// rows: STBY-11, REW-15
#[test]
fn a_promotion_of_the_remote_server_is_noticed_by_its_history_file() {
    let rewinds =
        |view: View| view.change(|v| (v.global.use_pg_rewind, v.memory.rewind) = (true, RewindState::NotNeed));
    let line = view().history(&[(1, 900)]).cluster.unwrap().history.clone();
    let promoted = |world: World| world.change(|w| w.history = line.clone());
    // Replayed up to 1000, the remote server left at 900: rewound from there, whoever leads here.
    for view in [rewinds(leading().member_with("a", |m| m.data.timeline = Some(Timeline(1)))), rewinds(following())] {
        let w = promoted(point(true, 2, &[(1, 900)]));
        let course = does(view, w, "running pg_rewind from remote_member", Some(JobKind::Rewind));
        let from = |j: &Job| matches!(j, Job::Rewind { upstream } if !upstream.is_member && upstream.slot.is_none());
        assert!(course.job().is_some_and(from));
    }
    // It was left at 1000: nothing is lost.
    let course = says(rewinds(leading()), promoted(point(true, 2, &[(1, 1000)])), LEADS);
    assert_eq!(course.finish.memory.rewind, RewindState::NotNeed);
    // A remote standby cannot be compared with: asked again.
    let course = says(rewinds(leading()), promoted(point(false, 2, &[])), LEADS);
    assert_eq!(course.finish.memory.rewind, RewindState::Check);
    // No history file, no question.
    let course =
        says(rewinds(leading()), point(true, 2, &[(1, 900)]).change(|w| w.history = Some(History::default())), LEADS);
    assert!(!course.asked.iter().any(|c| matches!(c, Command::QueryLeader(_))));
    // A new timeline of the leader has the same effect on who is below it.
    let grown = rewinds(following().member_with("b", |m| m.data.timeline = Some(Timeline(2))));
    let w = point(true, 2, &[(1, 900)]).change(|w| w.history = Some(History::default()));
    does(grown, w, "running pg_rewind from remote_member", Some(JobKind::Rewind));
}

// rows: REW-11
#[test]
fn a_diverged_member_of_a_standby_cluster_is_not_copied_anew() {
    let diverged = following().change(|v| {
        v.global.remove_data_directory_on_diverged_timelines = true;
        v.memory.rewind = RewindState::Check;
    });
    says(diverged, point(true, 2, &[(1, 900)]), FOLLOWS);
}

// rows: BOOT-19
#[test]
fn a_new_standby_cluster_is_a_copy_of_the_remote_server() {
    let new = || view().standby_cluster().empty().cluster_with(|c| c.initialize = None);
    let course = does(new(), world(), "trying to bootstrap a new standby leader", Some(JobKind::Clone));
    let Some(Job::Clone { source, upstream, .. }) = course.job().cloned() else { unreachable!() };
    assert!(source.as_ref().is_some_and(|s| !s.is_member) && source == upstream);
    let memory = course.finish.memory;
    let clone = Job::Clone { source, upstream, basebackup_only: false };

    let copied = view().standby_cluster().change(|v| v.memory = memory.clone());
    let done = copied.cluster_with(|c| (c.initialize, c.config) = (Some(String::new()), None));
    let course = says(done.ended(clone.clone(), JobResult::Done), world(), "initialized a new cluster");
    assert!(course.logged("bootstrapped clone from remote member postgresql://far,farther:5433"));
    assert_eq!(course.callbacks(), [(CallbackEvent::OnStart, Role::StandbyLeader)]);
    assert_eq!(course.member_key().unwrap().role, Some(Role::StandbyLeader));
    assert!(course.asked.contains(&Command::AcquireLeader));
    assert!(course.asked.iter().any(|c| matches!(c, Command::WriteConfig { .. })));

    let failed = new().change(|v| v.memory = memory).ended(clone, JobResult::Failed("x".to_owned()));
    let course = does(failed, world(), "", Some(JobKind::MoveDataAside));
    assert!(course.asked.contains(&Command::CancelInitialize));

    // Only an archive to restore from: methods that need no connection.
    let archive = |v: &mut View| v.global.standby_cluster.as_mut().unwrap().host = None;
    let no_port = |v: &mut View| v.global.standby_cluster.as_mut().unwrap().port = None;
    let course = run(&new().change(archive).change(no_port), &world());
    assert!(matches!(course.job(), Some(Job::Clone { source: None, upstream: Some(_), .. })));
    // Later members copy the leader; without one they wait.
    let member = || view().standby_cluster().empty();
    does(member().member("b", 1).leader("b"), world(), "trying to bootstrap from leader 'b'", Some(JobKind::Clone));
    says(member(), world(), "waiting for standby_leader to bootstrap");
}

// rows: STBY-04
#[test]
fn a_stopped_server_starts_behind_its_leader_or_the_remote_server() {
    let down = |view: View| view.down(ControlState::ShutDownInRecovery);
    let upstream = |course: &Course| match course.job() {
        Some(Job::Follow { upstream, role, .. }) => (upstream.as_ref().map(|u| u.name.clone()).unwrap(), *role),
        other => panic!("{other:?}"),
    };
    let remote = || "remote_member".to_owned();
    let text = "starting as a standby leader because i had the session lock";
    let course = does(down(leading()), world(), text, Some(JobKind::Follow));
    assert_eq!(upstream(&course), (remote(), Role::StandbyLeader));
    let text = "trying to follow a remote member because standby cluster is unhealthy";
    assert_eq!(upstream(&does(down(standby()), world(), text, Some(JobKind::Follow))), (remote(), Role::Replica));
    let course = does(down(following()), world(), "starting as a secondary", Some(JobKind::Follow));
    assert_eq!(upstream(&course), ("b".to_owned(), Role::Replica));
    // A primary that crashed when its cluster became a standby cluster is not started as a primary again.
    let crashed = view().primary().standby_cluster().member("b", 1000).leader("a").down(ControlState::InProduction);
    let text = "starting as a standby leader because i had the session lock";
    does(crashed, world(), text, Some(JobKind::Follow));
}
