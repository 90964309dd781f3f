//! Restart, scheduled restart, reinitialize (HA-35, REW-12, API-23 to API-31).

use crate::cluster::*;
use crate::ha::memory::ScheduledRestart;
use crate::ha::request::RestartFilter;
use crate::ha::testing::*;
use crate::ha::{AnswerKind, Command, Job, JobId, JobKind, JobPhase, JobResult, Request, RequestId, View};

fn with(filter: RestartFilter) -> Request {
    let Request::Restart { schedule, schedule_text, timeout, body, .. } = restart_request() else { panic!() };
    Request::Restart { schedule, schedule_text, filter, timeout, body }
}

fn reinit(force: bool) -> Request {
    Request::Reinitialize { force, from_leader: false }
}

// rows: PAUSE-05
#[test]
fn a_restart_runs_and_is_answered_at_its_end() {
    for view in [view().leader("b"), view().primary().leader("a"), view().leader("b").paused()] {
        let paused = if view.global.pause { "PAUSE: " } else { "" };
        let course = does(
            view.clone().request(restart_request()),
            world(),
            &format!("{paused}restart initiated"),
            Some(JobKind::Restart),
        );
        assert_eq!(course.answer(), None);
        assert_eq!(course.finish.memory.waiting, [(JobId(41), RequestId(9))]);
        assert!(course.finish.memory.recovering);
        // it is not begun again by the request that waits
        let waiting = view.change(|v| v.memory = course.finish.memory).request(restart_request());
        let beside = run(&waiting.job(Job::Restart { timeout: None }, JobPhase::Working), &world());
        assert_eq!((beside.job(), beside.answer()), (None, None));
    }
    for (result, kind, text) in [
        (JobResult::Done, AnswerKind::Done, "restarted successfully"),
        (JobResult::StillStarting, AnswerKind::NotDone, "postgres is still starting"),
        (JobResult::Failed("x".to_owned()), AnswerKind::NotDone, "restart failed"),
        (JobResult::Cancelled, AnswerKind::NotDone, "restart failed"),
    ] {
        let view = view().leader("b").ended(Job::Restart { timeout: None }, result);
        let course = run(&view.change(|v| v.memory.waiting = vec![(JobId(40), RequestId(9))]), &world());
        assert_eq!(course.answer(), Some((kind, text)));
        assert!(course.finish.memory.waiting.is_empty());
    }
    // a stopped server in pause is started by it
    let stopped = view().leader("b").paused().down(ControlState::ShutDown).request(restart_request());
    does(stopped, world(), "PAUSE: restart initiated", Some(JobKind::Restart));
}

#[test]
fn conditions_of_a_restart() {
    let unmet = "restart conditions are not satisfied";
    let role = |role| RestartFilter { role: Some(role), ..RestartFilter::default() };
    let version = |v: &str| RestartFilter { postgres_version: Some(v.to_owned()), ..RestartFilter::default() };
    let pending = RestartFilter { restart_pending: true, ..RestartFilter::default() };
    for (filter, why) in [
        (role(Role::Primary), "host role mismatch"),
        (version("15.18"), "postgres version mismatch"),
        (version("14.9"), "postgres version mismatch"),
        (pending.clone(), "pending restart flag is not set"),
    ] {
        let course = run(&view().leader("b").request(with(filter)), &world());
        assert_eq!((course.job(), course.answer()), (None, Some((AnswerKind::NotDone, unmet))));
        assert!(course.logged(why));
    }
    let flagged = view().leader("b").change(|v| {
        let value = PendingRestartValue { old_value: "1".to_owned(), new_value: "2".to_owned() };
        v.server.pending_restart.insert("max_connections".to_owned(), value);
    });
    for filter in [role(Role::Replica), version("15.19"), pending] {
        assert!(run(&flagged.clone().request(with(filter)), &world()).job().is_some());
    }
}

// rows: REW-12
#[test]
fn requests_that_cannot_be_met_now() {
    let busy = view().leader("b").job(Job::CrashRecovery, JobPhase::Working);
    let text = "doing crash recovery in a single user mode already in progress";
    for request in [restart_request(), reinit(false)] {
        let course = run(&busy.clone().request(request.clone()), &world());
        assert_eq!(course.answer(), Some((AnswerKind::NotDone, text)));
        let course = run(&view().leader("b").silent().request(request.clone()), &world());
        assert_eq!(course.answer(), Some((AnswerKind::NotDone, "DCS is not accessible")));
        let course = run(&view().leader("b").change(|v| v.stopping = true).request(request), &world());
        assert_eq!(course.answer().map(|(kind, _)| kind), Some(AnswerKind::NotDone));
    }
    let course = run(&view().request(reinit(false)), &world());
    assert_eq!(course.answer(), Some((AnswerKind::NotDone, "Cluster has no leader, can not reinitialize")));
    let course = run(&view().primary().leader("a").request(reinit(true)), &world());
    assert_eq!(course.answer(), Some((AnswerKind::NotDone, "I am the leader, can not reinitialize")));
    assert_eq!(run(&view().leader("b").request(Request::Wake), &world()).answer(), Some((AnswerKind::Done, "")));
}

// rows: PAUSE-05, REW-12
#[test]
fn a_reinitialization_starts_or_waits_for_the_job_it_cancels() {
    for (view, sentence) in [
        (view().leader("b"), "reinitialize in progress"),
        (view().leader("b").paused(), "PAUSE: reinitialize in progress"),
    ] {
        let course = does(view.request(reinit(false)), world(), sentence, Some(JobKind::Reinitialize));
        assert_eq!(course.answer(), Some((AnswerKind::Done, "reinitialize started")));
    }
    let busy = view().leader("b").job(Job::CrashRecovery, JobPhase::Working).request(reinit(true));
    let course = run(&busy, &world());
    assert!(course.finish.commands.contains(&Command::CancelJob));
    assert_eq!(course.answer(), None);
    // a directory that cannot join can be replaced
    let broken = view().leader("b").change(|v| v.server.facts.control = None).request(reinit(false));
    does(broken, world(), "reinitialize in progress", Some(JobKind::Reinitialize));
    // the leader only, by pg_basebackup
    let offered = view().leader("b").member_with("c", |m| m.data.tags = tags(serde_json::json!({"clonefrom": true})));
    let from = |from_leader| {
        let course = run(&offered.clone().request(Request::Reinitialize { force: false, from_leader }), &world());
        match course.job() {
            Some(Job::Reinitialize { source: Some(s), basebackup_only, .. }) => (s.name.clone(), *basebackup_only),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((from(true), from(false)), (("b".to_owned(), true), ("c".to_owned(), false)));
}

fn scheduled(offset: i64, start_time: &str) -> View {
    view().leader("b").change(|v| {
        let data = ScheduledRestartData {
            schedule: "2026-05-01T12:00:00+00:00".to_owned(),
            postmaster_start_time: Some(start_time.to_owned()),
            rest: serde_json::Map::new(),
        };
        let at = v.wall + jiff::SignedDuration::from_secs(offset);
        v.memory.scheduled_restart = Some(ScheduledRestart { at, data });
    })
}

// rows: HA-35
#[test]
fn a_restart_for_later() {
    let Request::Restart { filter, timeout, .. } = restart_request() else { panic!() };
    let at = view().wall + jiff::SignedDuration::from_secs(3600);
    let body = serde_json::json!({"schedule": "x", "role": "replica"}).as_object().cloned().unwrap();
    let request = Request::Restart { schedule: Some(at), schedule_text: None, filter, timeout, body };
    let course = run(&view().leader("b").request(request.clone()), &world());
    assert_eq!(course.answer(), Some((AnswerKind::Scheduled, "Restart scheduled")));
    let shown = course.member_key().unwrap().scheduled_restart.clone().unwrap();
    assert_eq!(
        (shown.schedule.as_str(), shown.postmaster_start_time.as_deref()),
        ("2026-05-01T13:00:00+00:00", Some("then"))
    );
    assert_eq!(shown.rest.keys().collect::<Vec<_>>(), ["role"]);
    let again = view().leader("b").change(|v| v.memory = course.finish.memory.clone());
    let second = run(&again.clone().request(request), &world());
    assert_eq!(second.answer(), Some((AnswerKind::Conflict, "Another restart is already scheduled")));
    let course = run(&again.request(Request::CancelRestart), &world());
    assert_eq!(course.answer(), Some((AnswerKind::Done, "scheduled restart deleted")));
    assert_eq!(course.finish.memory.scheduled_restart, None);
    let course = run(&view().leader("b").request(Request::CancelRestart), &world());
    assert_eq!(course.answer(), Some((AnswerKind::NotFound, "no restarts are scheduled")));
}

// rows: HA-35, PAUSE-05
#[test]
fn a_scheduled_restart_has_its_window() {
    let kept = |course: &Course| course.finish.memory.scheduled_restart.is_some();
    let course = run(&scheduled(5, "then"), &world());
    assert_eq!((course.job(), course.finish.wake_in, kept(&course)), (None, Some(secs(5)), true));
    for offset in [0, -15] {
        let course = does(scheduled(offset, "then"), world(), "restart initiated", Some(JobKind::Restart));
        assert!(!kept(&course));
    }
    let course = run(&scheduled(-16, "then"), &world());
    assert_eq!((course.job(), kept(&course)), (None, false));
    // it lapses when the server was restarted meanwhile
    let course = run(&scheduled(0, "earlier"), &world());
    assert_eq!((course.job(), kept(&course)), (None, false));
    assert!(course.logged("Cancelling scheduled restart: postgres restart has already happened at then"));
    let course = run(&scheduled(0, "then").paused(), &world());
    assert_eq!((course.job(), kept(&course)), (None, true));
    // conditions are looked at when it is due
    let filtered = scheduled(0, "then").change(|v| {
        let restart = v.memory.scheduled_restart.as_mut().unwrap();
        restart.data.rest.insert("role".to_owned(), "primary".into());
    });
    let course = run(&filtered, &world());
    assert_eq!((course.job(), kept(&course)), (None, false));
    assert!(course.logged("Scheduled restart: restart conditions are not satisfied"));
    // without a leader, or without the store, it waits for its window to end
    let no_leader = |v: &mut View| *v = v.clone().cluster_with(|c| c.leader = None);
    for view in [scheduled(0, "then").change(no_leader), scheduled(0, "then").silent()] {
        let course = run(&view.tagged(serde_json::json!({"nofailover": true})), &world());
        assert_eq!((course.job(), kept(&course)), (None, true));
    }
}
