//! Jobs of the supervisor on a paused clock, against a scripted PostgreSQL.

use super::messages::{Execute, Wake};
use super::scripted_postgres::{ScriptedPostgres, settings};
use super::test_stage::{SECOND, Stage, TICKET, ear, follow, ms, paused, stop, upstream};
use crate::cluster::{DataDir, PgState, Role, SlotKind, StopMode, WantedSlot};
use crate::ha::{Command, Job, JobPhase, JobResult, Outcome};
use crate::postgres::PgError;
use crate::types::Lsn;
use std::time::Duration;
use tokio::time::sleep;

#[test]
fn a_crashed_primary_starts_in_place() {
    paused(async {
        let mut stage = Stage::primary().await;
        stage.postgres.kill();
        stage.observe().await;
        let (result, report) = stage.run(Job::StartPrimary { timeout: 300 * SECOND }).await;
        assert_eq!(result, JobResult::Done);
        assert_eq!((report.state, report.role), (PgState::Running, Role::Primary));
        assert!(stage.heard(Wake::Job));
    });
}

#[test]
fn a_start_that_takes_longer_than_its_patience_goes_on_and_is_noticed_when_ready() {
    paused(async {
        let mut stage = Stage::stopped().await;
        stage.postgres.ready_after.set(20 * SECOND);
        let (result, report) = stage.run(follow(Some(5 * SECOND))).await;
        assert_eq!((result, report.state), (JobResult::StillStarting, PgState::Starting));
        sleep(SECOND).await;
        stage.heard(Wake::Job);
        while stage.wakes.recv().await != Some(Wake::Job) {}
        assert_eq!(stage.observe().await.state, PgState::Running);
    });
}

#[test]
fn a_postmaster_that_ends_before_it_is_ready_is_a_failed_start() {
    paused(async {
        let stage = Stage::stopped().await;
        stage.postgres.dies_at_start.set(true);
        let (result, report) = stage.run(follow(None)).await;
        assert!(matches!(result, JobResult::Failed(_)));
        assert_eq!((report.state, report.facts.postmaster), (PgState::StartFailed, None));
    });
}

#[test]
fn a_cancelled_start_leaves_no_server_behind() {
    paused(async {
        let stage = Stage::stopped().await;
        stage.postgres.ready_after.set(3600 * SECOND);
        stage.start(Job::StartPrimary { timeout: 300 * SECOND }).await;
        sleep(SECOND).await;
        assert_eq!(stage.execute(Command::CancelJob).await, Outcome::Ok);
        let (result, report) = stage.ended().await;
        assert_eq!((result, report.state), (JobResult::Cancelled, PgState::Stopped));
        assert!(!stage.postgres.is_alive());
    });
}

// rows: HA-10
#[test]
fn a_second_job_is_refused_while_one_runs_and_waits_for_one_that_is_cancelled() {
    paused(async {
        let stage = Stage::stopped().await;
        stage.postgres.ready_after.set(3600 * SECOND);
        stage.start(follow(None)).await;
        let refused = stage.execute(Command::StartJob(Job::CrashRecovery)).await;
        assert_eq!(refused, Outcome::Conflict);
        let (reply, mut answers) = ear();
        for command in [Command::CancelJob, Command::StartJob(Job::CrashRecovery)] {
            let reply = reply.clone();
            stage.supervisor.do_send(Execute { ticket: TICKET, command, budget: 5 * SECOND, reply });
        }
        let outcomes = [answers.recv().await.unwrap().outcome, answers.recv().await.unwrap().outcome];
        assert!(outcomes.contains(&Outcome::Ok), "{outcomes:?}");
        assert!(outcomes.iter().any(|o| matches!(o, Outcome::JobStarted(_))), "{outcomes:?}");
    });
}

// rows: HA-29, HA-38, CB-07
#[test]
fn a_clean_stop_tells_the_shutdown_point_before_the_postmaster_has_ended() {
    paused(async {
        let mut stage = Stage::primary().await;
        stage.postgres.fast_stop_takes.set(Some(30 * SECOND));
        stage.start(stop(StopMode::Fast, None)).await;
        sleep(SECOND).await;
        let report = stage.observe().await;
        assert_eq!((report.state, report.role), (PgState::Stopping, Role::Demoted));
        let phase = JobPhase::ShutDown { checkpoint: Lsn(1000), release: Lsn(960) };
        assert_eq!(report.job.unwrap().phase, phase);
        assert!(report.no_clients && stage.heard(Wake::Job));
        let (result, report) = stage.ended().await;
        assert_eq!(result, JobResult::Stopped { checkpoint: Lsn(1000), release: Lsn(960) });
        assert_eq!(report.state, PgState::Stopped);
        let order: Vec<_> = stage.postgres.called().into_iter().filter(|c| c != "configure").collect();
        let place = |call: &str| order.iter().position(|c| c == call).unwrap();
        assert!(place("checkpoint") < place("before_stop") && place("before_stop") < place("signal Fast"));
    });
}

// rows: HA-39
#[test]
fn a_stop_that_hangs_ends_with_immediate_and_then_with_sigkill() {
    paused(async {
        for (immediate_works, killed) in [(true, false), (false, true)] {
            let stage = Stage::primary().await;
            stage.postgres.fast_stop_takes.set(None);
            stage.postgres.immediate_works.set(immediate_works);
            let (result, report) = stage.run(stop(StopMode::Fast, Some(5 * SECOND))).await;
            assert_eq!((result, report.state), (JobResult::Done, PgState::Stopped));
            assert!(stage.postgres.was_called("signal Immediate"));
            assert_eq!(stage.postgres.was_called("kill_all"), killed);
        }
    });
}

#[test]
fn an_immediate_stop_needs_no_disk() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.look_hangs.set(true);
        stage.start(stop(StopMode::Immediate, None)).await;
        sleep(ms(200)).await;
        assert!(!stage.postgres.is_alive());
        assert!(!stage.postgres.was_called("checkpoint"));
    });
}

#[test]
fn a_graceful_stop_that_hangs_gives_way_to_an_immediate_one() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.fast_stop_takes.set(None);
        stage.start(stop(StopMode::Fast, None)).await;
        sleep(SECOND).await;
        assert_eq!(stage.execute(Command::CancelJob).await, Outcome::Ok);
        assert_eq!(stage.observe().await.state, PgState::Stopping);
        let (result, report) = stage.run(stop(StopMode::Immediate, None)).await;
        assert_eq!((result, report.state), (JobResult::Done, PgState::Stopped));
    });
}

// rows: HA-43
#[test]
fn promotion_goes_from_promoted_to_primary() {
    paused(async {
        let stage = Stage::stopped().await;
        stage.run(follow(None)).await;
        stage.postgres.promote_takes.set(ms(300));
        let (result, report) = stage.run(Job::Promote { wait: 10 * SECOND }).await;
        assert_eq!((result, report.role), (JobResult::Done, Role::Primary));
    });
}

// rows: HA-11, CB-06
#[test]
fn a_promotion_can_be_cancelled_until_the_script_has_passed_and_a_failed_script_stops_it() {
    paused(async {
        let stage = Stage::stopped().await;
        stage.run(follow(None)).await;
        *stage.postgres.pre_promote.borrow_mut() = Ok(60 * SECOND);
        stage.start(Job::Promote { wait: 10 * SECOND }).await;
        sleep(SECOND).await;
        assert_eq!(stage.observe().await.job.unwrap().phase, JobPhase::PrePromote);
        assert_eq!(stage.execute(Command::CancelJob).await, Outcome::Ok);
        assert_eq!(stage.ended().await.0, JobResult::Cancelled);
        *stage.postgres.pre_promote.borrow_mut() = Err(PgError::Program("exited with code=1".to_owned()));
        assert_eq!(stage.run(Job::Promote { wait: SECOND }).await.0, JobResult::PrePromoteFailed);
        assert!(!stage.postgres.was_called("promote"));
        *stage.postgres.pre_promote.borrow_mut() = Ok(Duration::ZERO);
        stage.postgres.promote_takes.set(2 * SECOND);
        stage.start(Job::Promote { wait: 10 * SECOND }).await;
        sleep(SECOND).await;
        assert!(matches!(stage.execute(Command::CancelJob).await, Outcome::Failed(_)));
        assert_eq!(stage.ended().await.0, JobResult::Done);
    });
}

#[test]
fn a_cancelled_copy_is_removed() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        postgres.data.set(false);
        let stage = Stage::with(postgres, settings(|_| ()));
        assert_eq!(stage.observe().await.role, Role::Uninitialized);
        let job = || Job::Clone { source: Some(upstream()), upstream: Some(upstream()), basebackup_only: false };
        stage.start(job()).await;
        sleep(SECOND).await;
        let report = stage.observe().await;
        assert_eq!((report.state, report.job.unwrap().phase), (PgState::CreatingReplica, JobPhase::Copying));
        stage.execute(Command::CancelJob).await;
        let (result, report) = stage.ended().await;
        assert_eq!((result, report.state), (JobResult::Cancelled, PgState::Stopped));
        assert_eq!(report.facts.data_dir, DataDir::Empty);
        let (result, report) = stage.run(job()).await;
        assert_eq!((result, report.state, report.role), (JobResult::Done, PgState::Running, Role::Replica));
    });
}

// rows: REW-13
#[test]
fn a_failed_copy_is_removed_and_a_new_copy_replaces_a_running_standby() {
    paused(async {
        let stage = Stage::stopped().await;
        stage.run(follow(None)).await;
        stage.postgres.copy_fails.set(true);
        let job = || Job::Reinitialize { source: Some(upstream()), upstream: Some(upstream()), basebackup_only: true };
        let (result, report) = stage.run(job()).await;
        assert!(matches!(result, JobResult::Failed(_)));
        assert_eq!(report.facts.data_dir, DataDir::Empty);
        stage.postgres.copy_fails.set(false);
        assert_eq!(stage.run(job()).await.0, JobResult::Done);
        assert!(stage.postgres.is_alive());
    });
}

#[test]
fn jobs_on_the_data_directory_stop_the_server_or_refuse() {
    paused(async {
        let stage = Stage::primary().await;
        assert!(matches!(stage.run(Job::RemoveData).await.0, JobResult::Failed(_)));
        assert!(matches!(stage.run(Job::CrashRecovery).await.0, JobResult::Failed(_)));
        assert_eq!(stage.run(Job::Rewind { upstream: upstream() }).await.0, JobResult::Done);
        assert_eq!(stage.run(Job::CrashRecovery).await.0, JobResult::Done);
        let (result, report) = stage.run(Job::MoveDataAside).await;
        assert_eq!((result, report.role), (JobResult::Done, Role::Uninitialized));
    });
}

#[test]
fn a_bootstrap_makes_starts_and_furnishes_a_cluster() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        postgres.data.set(false);
        let stage = Stage::with(postgres, settings(|_| ()));
        stage.observe().await;
        let (result, report) = stage.run(Job::Bootstrap).await;
        assert_eq!((result, report.state, report.role), (JobResult::Done, PgState::Running, Role::Primary));
        assert_eq!(stage.run(Job::PostBootstrap).await.0, JobResult::Done);
        let wanted = ["initdb", "write_config primary", "launch", "post_bootstrap", "checkpoint"];
        let calls = stage.postgres.called();
        let mut rest = calls.iter();
        assert!(wanted.iter().all(|w| rest.any(|c| c == w)), "{calls:?}");
    });
}

// rows: BOOT-09
#[test]
fn the_recovery_of_a_custom_bootstrap_is_not_repeated_by_a_later_restart() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        postgres.data.set(false);
        let method = crate::config::settings::CustomMethod { name: "own".to_owned(), ..Default::default() };
        let own = settings(|s| s.bootstrap.as_mut().unwrap().method = Some(method));
        let stage = Stage::with(postgres, own);
        stage.observe().await;
        let (result, report) = stage.run(Job::Bootstrap).await;
        assert_eq!((result, report.role), (JobResult::Done, Role::Replica));
        assert!(stage.postgres.was_called("write_config recovery"));
        assert_eq!(stage.run(Job::PostBootstrap).await.0, JobResult::Done);
        let before = stage.postgres.called().len();
        assert_eq!(stage.run(Job::Restart { timeout: None }).await.0, JobResult::Done);
        let later = stage.postgres.called().split_off(before);
        assert!(!later.contains(&"write_config recovery".to_owned()), "{later:?}");
    });
}

// rows: BOOT-10
#[test]
fn a_custom_bootstrap_may_end_in_a_restart_as_primary() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.restart_after_bootstrap.set(true);
        let (result, report) = stage.run(Job::PostBootstrap).await;
        assert_eq!((result, report.state, report.role), (JobResult::Done, PgState::Running, Role::Primary));
        let calls = stage.postgres.called();
        let place = |call: &str| calls.iter().position(|c| c == call).unwrap_or_else(|| panic!("{call}: {calls:?}"));
        assert!(place("post_bootstrap") < place("signal Fast") && place("signal Fast") < place("launch"));
    });
}

#[test]
fn a_restart_keeps_role_and_recovery_settings() {
    paused(async {
        let stage = Stage::primary().await;
        let (result, report) = stage.run(Job::Restart { timeout: None }).await;
        assert_eq!((result, report.state, report.role), (JobResult::Done, PgState::Running, Role::Primary));
        assert!(stage.postgres.was_called("checkpoint") && !stage.postgres.was_called("write_config primary"));
        let standby = Stage::stopped().await;
        standby.run(follow(None)).await;
        let (result, report) = standby.run(Job::Restart { timeout: None }).await;
        assert_eq!((result, report.role), (JobResult::Done, Role::Replica));
        assert!(standby.postgres.standby.get());
    });
}

#[test]
fn an_immediate_stop_takes_the_place_of_whatever_runs() {
    paused(async {
        for phase in [JobPhase::PrePromote, JobPhase::Promoting] {
            let stage = Stage::stopped().await;
            stage.run(follow(None)).await;
            let script = if phase == JobPhase::PrePromote { 60 * SECOND } else { Duration::ZERO };
            *stage.postgres.pre_promote.borrow_mut() = Ok(script);
            stage.postgres.promote_takes.set(20 * SECOND);
            stage.start(Job::Promote { wait: 10 * SECOND }).await;
            sleep(SECOND).await;
            assert_eq!(stage.observe().await.job.unwrap().phase, phase);
            let asked = stage.clock.mono();
            stage.start(stop(StopMode::Immediate, None)).await;
            sleep(SECOND).await;
            assert!(!stage.postgres.is_alive(), "{phase:?}");
            assert!(stage.clock.mono().since(asked) <= 2 * SECOND);
            let ended = stage.observe().await.ended;
            let results: Vec<&JobResult> = ended.iter().map(|end| &end.result).collect();
            assert_eq!(results, [&JobResult::Cancelled, &JobResult::Done]);
        }
        // A restart that waits for its clients, and a start that takes long.
        let stage = Stage::primary().await;
        stage.postgres.fast_stop_takes.set(None);
        stage.start(Job::Restart { timeout: None }).await;
        sleep(SECOND).await;
        stage.start(stop(StopMode::Immediate, None)).await;
        sleep(SECOND).await;
        assert!(!stage.postgres.is_alive());
        stage.postgres.ready_after.set(3600 * SECOND);
        stage.start(Job::StartPrimary { timeout: 300 * SECOND }).await;
        sleep(SECOND).await;
        stage.start(stop(StopMode::Immediate, None)).await;
        sleep(SECOND).await;
        assert!(!stage.postgres.is_alive());
        assert_eq!(stage.observe().await.state, PgState::Stopped);
    });
}

#[test]
fn a_copy_is_not_made_over_data_that_has_appeared() {
    paused(async {
        let stage = Stage::stopped().await;
        let job = Job::Clone { source: Some(upstream()), upstream: Some(upstream()), basebackup_only: false };
        let (result, report) = stage.run(job).await;
        assert!(matches!(result, JobResult::Failed(_)), "{result:?}");
        assert!(matches!(report.facts.data_dir, DataDir::Present(_)));
        assert!(!stage.postgres.was_called("remove_data"), "{:?}", stage.postgres.called());
    });
}

// rows: SLOT-15
#[test]
fn logical_slots_are_written_while_the_standby_is_stopped() {
    let copy = |lsn: Option<Lsn>| {
        let kind = SlotKind::Logical { database: "d".to_owned(), plugin: "p".to_owned() };
        let slots = vec![WantedSlot { kind, ..WantedSlot::physical("l", lsn) }];
        Job::CopySlots { upstream: upstream(), slots }
    };
    paused(async {
        let standby = Stage::stopped().await;
        standby.run(follow(None)).await;
        // Nothing to copy: the server runs on.
        standby.postgres.calls.borrow_mut().clear();
        assert_eq!(standby.run(copy(None)).await.0, JobResult::Done);
        assert!(!standby.postgres.was_called("launch"));
        let (result, report) = standby.run(copy(Some(Lsn(1)))).await;
        assert_eq!((result, report.state, report.role), (JobResult::Done, PgState::Running, Role::Replica));
        let calls = standby.postgres.called();
        let at = |wanted: &str| calls.iter().position(|c| c.starts_with(wanted)).unwrap_or_else(|| panic!("{calls:?}"));
        assert!(at("signal ") < at("write_slots l") && at("write_slots l") < at("launch"), "{calls:?}");
        // A primary is not stopped for it.
        let primary = Stage::primary().await;
        primary.postgres.calls.borrow_mut().clear();
        assert!(matches!(primary.run(copy(Some(Lsn(1)))).await.0, JobResult::Failed(_)));
        assert!(!primary.postgres.called().iter().any(|c| c.starts_with("signal ")));
    });
}
