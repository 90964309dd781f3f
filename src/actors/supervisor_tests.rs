//! The supervisor on a paused clock, against a scripted PostgreSQL.

use super::messages::{LocalReread, Observe, Observed, SettingsChanged, Wake};
use super::scripted_postgres::{ScriptedPostgres, settings};
use super::test_stage::{SECOND, Stage, TICKET, ear, follow, paused, stop, upstream};
use crate::cluster::{DataDir, NodeStatus, PgState, Role, StopMode};
use crate::config::{RoleSettings, Settings};
use crate::ha::{Command, Job, JobKind, Outcome};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

#[test]
fn a_running_primary_is_adopted_and_its_files_are_brought_up_to_date() {
    paused(async {
        let stage = Stage::primary().await;
        let report = stage.observe().await;
        assert_eq!((report.state, report.role), (PgState::Running, Role::Primary));
        assert!(report.facts.postmaster.is_some());
        assert!(!stage.postgres.was_called("launch"));
        assert!(stage.postgres.was_called("rewrite_config") && stage.postgres.was_called("reload"));
    });
}

#[test]
fn a_running_standby_is_adopted_without_touching_its_files() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        postgres.standby.set(true);
        postgres.ready_after.set(Duration::ZERO);
        *postgres.status.borrow_mut() = Ok(NodeStatus { in_recovery: true, ..NodeStatus::default() });
        postgres.run();
        let report = Stage::with(postgres.clone(), settings(|_| ())).observe().await;
        assert_eq!((report.state, report.role), (PgState::Running, Role::Replica));
        assert!(!postgres.was_called("rewrite_config"));
    });
}

#[test]
fn a_stopped_primary_is_demoted_until_the_cluster_says_otherwise() {
    paused(async {
        let report = Stage::stopped().await.observe().await;
        assert_eq!((report.state, report.role), (PgState::Stopped, Role::Demoted));
    });
}

// rows: HA-42
#[test]
fn the_end_of_the_postmaster_wakes_a_cycle_at_once_and_is_a_crash() {
    paused(async {
        let mut stage = Stage::primary().await;
        stage.heard(Wake::Job);
        let before = stage.clock.mono();
        stage.postgres.kill();
        while stage.wakes.recv().await != Some(Wake::PostmasterExit) {}
        assert_eq!(stage.clock.mono(), before);
        let report = stage.observe().await;
        assert_eq!((report.state, report.role), (PgState::Crashed, Role::Primary));
        assert_eq!(report.facts.postmaster, None);
    });
}

// rows: PAUSE-13
#[test]
fn in_pause_a_server_stopped_by_hand_is_stopped_not_crashed() {
    paused(async {
        let stage = Stage::primary().await;
        stage.supervisor.do_send(SettingsChanged(settings(|s| s.global.pause = true)));
        sleep(SECOND).await;
        stage.postgres.kill();
        assert_eq!(stage.observe().await.state, PgState::Stopped);
    });
}

#[test]
fn news_of_a_pause_that_come_after_the_stop_excuse_it() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.kill();
        assert_eq!(stage.observe().await.state, PgState::Crashed);
        stage.supervisor.do_send(SettingsChanged(settings(|s| s.global.pause = true)));
        sleep(SECOND).await;
        assert_eq!(stage.observe().await.state, PgState::Stopped);
    });
}

#[test]
fn a_look_that_hangs_is_answered_with_the_last_facts_and_only_one_look_hangs() {
    paused(async {
        let stage = Stage::primary().await;
        let before = stage.observe().await.facts;
        stage.postgres.look_hangs.set(true);
        for _ in 0..3 {
            let asked = stage.clock.mono();
            assert_eq!(stage.observe().await.facts, before);
            assert_eq!(stage.clock.mono().since(asked), 2 * SECOND);
        }
    });
}

#[test]
fn changed_settings_are_written_reloaded_and_told_but_not_while_a_job_runs() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.fast_stop_takes.set(Some(30 * SECOND));
        stage.postgres.calls.borrow_mut().clear();
        stage.start(Job::Restart { timeout: None }).await;
        stage.supervisor.do_send(SettingsChanged(settings(|_| ())));
        sleep(20 * SECOND).await;
        assert!(stage.postgres.was_called("configure"));
        assert!(!stage.postgres.was_called("reload"));
        stage.ended().await;
        sleep(2 * SECOND).await;
        assert!(stage.postgres.was_called("reload"));
        assert!(stage.postgres.was_called("callback OnReload primary"));
        stage.postgres.config_changed.set(false);
        stage.postgres.calls.borrow_mut().clear();
        stage.supervisor.do_send(SettingsChanged(settings(|_| ())));
        sleep(2 * SECOND).await;
        assert!(stage.postgres.was_called("rewrite_config") && !stage.postgres.was_called("reload"));
    });
}

#[test]
fn short_commands_end_within_their_budget_and_tell_failures_apart() {
    paused(async {
        let stage = Stage::primary().await;
        let before = stage.clock.mono();
        assert!(matches!(stage.execute(Command::ResumeReplay).await, Outcome::Unknown(_)));
        assert_eq!(stage.clock.mono().since(before), 5 * SECOND);
        assert!(matches!(stage.execute(Command::QueryOwnTimeline).await, Outcome::Unreachable(_)));
        assert!(matches!(stage.execute(Command::QueryLeader(upstream())).await, Outcome::Failed(_)));
        assert!(matches!(stage.execute(Command::RenewLeader).await, Outcome::Failed(_)));
        let check = stage.execute(Command::CheckRecovery { upstream: None }).await;
        assert_eq!(check, Outcome::RecoveryCheck { change: true, restart: false });
        stage.execute(Command::SetRole(Role::Demoted)).await;
        assert_eq!(stage.observe().await.role, Role::Demoted);
        assert_eq!(stage.execute(Command::CancelJob).await, Outcome::Ok);
    });
}

#[test]
fn a_server_that_rejects_connections_again_is_starting() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.ready_after.set(30 * SECOND);
        stage.postgres.run();
        assert_eq!(stage.observe().await.state, PgState::Starting);
        sleep(31 * SECOND).await;
        assert_eq!(stage.observe().await.state, PgState::Running);
        assert_eq!(stage.observe().await.job.map(|j| j.job.kind()), None::<JobKind>);
    });
}

#[test]
fn before_the_first_look_has_ended_nothing_is_reported() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        postgres.ready_after.set(Duration::ZERO);
        postgres.run();
        postgres.look_hangs.set(true);
        let stage = Stage::with(postgres, settings(|_| ()));
        let (reply, mut answers) = ear::<Observed>();
        stage.supervisor.do_send(Observe { ticket: TICKET, reply });
        assert!(answers.recv().await.is_none(), "a data directory that nobody has seen was reported");
        stage.postgres.look_hangs.set(false);
        sleep(10 * SECOND).await;
        let report = stage.observe().await;
        assert!(matches!(report.facts.data_dir, DataDir::Present(_)) && report.facts.postmaster.is_some());
    });
}

#[test]
fn files_that_were_read_again_reload_the_server_although_none_of_ours_changed() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.config_changed.set(false);
        stage.postgres.calls.borrow_mut().clear();
        stage.supervisor.do_send(LocalReread);
        sleep(2 * SECOND).await;
        assert!(stage.postgres.was_called("rewrite_config") && stage.postgres.was_called("reload"));
        assert!(stage.postgres.was_called("callback OnReload primary"));
    });
}

/// `work_mem` is otherwise in each role.
fn settings_by_role() -> Arc<Settings> {
    settings(|s| {
        let of = |value: &str| {
            let mut parameters = s.postgresql.parameters.clone();
            parameters.insert("work_mem".to_owned(), value.to_owned());
            let recovery_conf = s.postgresql.recovery_conf.clone();
            Some(RoleSettings { parameters, recovery_conf, pg_hba: None, pg_ident: None })
        };
        (s.postgresql.by_role.primary, s.postgresql.by_role.replica) = (of("primary"), of("replica"));
    })
}

fn work_mem(stage: &Stage) -> Option<String> {
    let configured = stage.postgres.configured.borrow();
    configured.as_ref().and_then(|s| s.postgresql.parameters.get("work_mem").cloned())
}

// rows: NEXT-01
#[test]
fn the_server_has_the_settings_of_its_role() {
    paused(async {
        let stage = Stage::primary().await;
        assert_eq!(work_mem(&stage), None);
        stage.supervisor.do_send(SettingsChanged(settings_by_role()));
        sleep(2 * SECOND).await;
        assert_eq!(work_mem(&stage).as_deref(), Some("primary"));
        let called = |what: &str| stage.postgres.calls.borrow().iter().filter(|call| *call == what).count();

        // Stopped and started in another role: the files are written once, for that role, before the start.
        stage.run(stop(StopMode::Fast, None)).await;
        assert_eq!(work_mem(&stage).as_deref(), Some("replica"), "a demoted primary will be a replica");
        stage.postgres.calls.borrow_mut().clear();
        stage.run(follow(None)).await;
        sleep(2 * SECOND).await;
        assert_eq!(work_mem(&stage).as_deref(), Some("replica"));
        assert_eq!((called("write_config standby"), called("reload")), (1, 0), "{:?}", stage.postgres.called());

        // Another role of the running server: the files are brought up to date once the promotion is over.
        stage.postgres.calls.borrow_mut().clear();
        stage.run(Job::Promote { wait: 10 * SECOND }).await;
        assert_eq!(work_mem(&stage).as_deref(), Some("primary"));
        sleep(2 * SECOND).await;
        assert_eq!((called("rewrite_config"), called("reload")), (1, 1), "{:?}", stage.postgres.called());
        assert!(called("pending_restart") > 0 && stage.postgres.was_called("callback OnReload primary"));

        // No keys of this role, and later none at all.
        stage.execute(Command::SetRole(Role::StandbyLeader)).await;
        sleep(2 * SECOND).await;
        assert_eq!((work_mem(&stage), called("reload")), (None, 2));
        stage.supervisor.do_send(SettingsChanged(settings(|_| ())));
        sleep(2 * SECOND).await;
        stage.postgres.calls.borrow_mut().clear();
        stage.execute(Command::SetRole(Role::Replica)).await;
        sleep(2 * SECOND).await;
        assert_eq!(called("rewrite_config"), 0, "a role without settings of its own changes no file");
    });
}
