//! The supervisor, monitor and slot manager on a paused clock, against a scripted PostgreSQL.

use super::messages::{
    AskStatus, Execute, Executed, Observe, Observed, QueryStatus, SettingsChanged, StatusAnswered, Ticket, Wake,
};
use super::scripted_postgres::{ScriptedPostgres, settings};
use super::{CallbackRunner, PostgresMonitor, PostgresSupervisor, SlotManager};
use crate::clock::Clock;
use crate::cluster::{CallbackEvent, DataDir, NodeStatus, PgState, Role, SlotPlan, SlotReport, StopMode, Upstream, WantedSlot};
use crate::config::Settings;
use crate::ha::{Command, Job, JobKind, JobPhase, JobResult, Outcome, ServerReport};
use crate::postgres::PgError;
use crate::types::{Lsn, Wall};
use actix::{Actor, Addr, Context, Handler};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

const TICKET: Ticket = Ticket { cycle: 1, index: 0 };
const SECOND: Duration = Duration::from_secs(1);

fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Runs a test on an actix system whose clock moves only when everybody waits.
fn paused(test: impl Future<Output = ()>) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix::System::with_tokio_rt(runtime).block_on(test);
}

/// Stands for the coordinator: keeps what it is sent.
struct Ear<M>(mpsc::UnboundedSender<M>);

impl<M: 'static + Unpin> Actor for Ear<M> {
    type Context = Context<Self>;
}

macro_rules! hears {
    ($($message:ty),*) => {$(
        impl Handler<$message> for Ear<$message> {
            type Result = ();
            fn handle(&mut self, message: $message, _: &mut Self::Context) {
                self.0.send(message).ok();
            }
        }
    )*};
}
hears!(Executed, Observed, StatusAnswered, Wake);

fn ear<M>() -> (actix::Recipient<M>, mpsc::UnboundedReceiver<M>)
where
    M: actix::Message<Result = ()> + Send + Unpin + 'static,
    Ear<M>: Actor<Context = Context<Ear<M>>> + Handler<M>,
{
    let (send, receive) = mpsc::unbounded_channel();
    (Ear(send).start().recipient(), receive)
}

struct Stage {
    postgres: Rc<ScriptedPostgres>,
    clock: Clock,
    supervisor: Addr<PostgresSupervisor>,
    wakes: mpsc::UnboundedReceiver<Wake>,
}

impl Stage {
    fn with(postgres: Rc<ScriptedPostgres>, settings: Arc<Settings>) -> Self {
        let clock = Clock::tokio(Wall::UNIX_EPOCH);
        let (wake, wakes) = ear();
        let supervisor = PostgresSupervisor::new(postgres.clone(), clock.clone(), settings, wake).start();
        Self { postgres, clock, supervisor, wakes }
    }

    /// A primary that ran before the agent started.
    async fn primary() -> Self {
        let postgres = ScriptedPostgres::new();
        postgres.ready_after.set(Duration::ZERO);
        postgres.run();
        postgres.ready_after.set(ms(100));
        let stage = Self::with(postgres, settings(|_| ()));
        stage.observe().await;
        stage
    }

    /// A stopped server.
    async fn stopped() -> Self {
        let stage = Self::with(ScriptedPostgres::new(), settings(|_| ()));
        stage.observe().await;
        stage
    }

    async fn observe(&self) -> ServerReport {
        let (reply, mut answers) = ear();
        self.supervisor.do_send(Observe { ticket: TICKET, reply });
        answers.recv().await.unwrap().report
    }

    async fn execute(&self, command: Command) -> Outcome {
        let (reply, mut answers) = ear();
        self.supervisor.do_send(Execute { ticket: TICKET, command, budget: 5 * SECOND, reply });
        answers.recv().await.unwrap().outcome
    }

    async fn start(&self, job: Job) {
        let outcome = self.execute(Command::StartJob(job)).await;
        assert!(matches!(outcome, Outcome::JobStarted(_)), "{outcome:?}");
    }

    /// Runs a job to its end; returns how it ended, and the report that told it.
    async fn run(&self, job: Job) -> (JobResult, ServerReport) {
        self.start(job).await;
        self.ended().await
    }

    async fn ended(&self) -> (JobResult, ServerReport) {
        for _ in 0..1000 {
            let mut report = self.observe().await;
            if let Some(end) = report.ended.pop() {
                assert!(report.job.is_none());
                return (end.result, report);
            }
            sleep(ms(100)).await;
        }
        panic!("the job does not end");
    }

    fn heard(&mut self, wake: Wake) -> bool {
        std::iter::from_fn(|| self.wakes.try_recv().ok()).filter(|w| *w == wake).count() > 0
    }
}

fn upstream() -> Box<Upstream> {
    Box::new(Upstream {
        name: "b".to_owned(),
        conn: indexmap::IndexMap::new(),
        slot: None,
        recovery: indexmap::IndexMap::new(),
        is_member: true,
    })
}

fn follow(timeout: Option<Duration>) -> Job {
    Job::Follow { upstream: Some(upstream()), role: Role::Replica, timeout }
}

fn stop(mode: StopMode, timeout: Option<Duration>) -> Job {
    Job::Stop { mode, checkpoint: mode == StopMode::Fast, timeout, role: Some(Role::Demoted) }
}

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
fn questions_share_a_status_query_and_rest_is_not_kept_waiting() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.calls.borrow_mut().clear();
        let seen = stage.supervisor.clone().recipient();
        let monitor = PostgresMonitor::new(stage.postgres.clone(), stage.clock.clone(), seen).start();
        let (reply, mut answers) = ear();
        for _ in 0..3 {
            monitor.do_send(QueryStatus { ticket: TICKET, reply: reply.clone() });
        }
        for _ in 0..3 {
            assert!(answers.recv().await.unwrap().status.is_some());
        }
        assert_eq!(stage.postgres.called(), ["status"]);
        let ask = |max_age: Duration| {
            let (answer, given) = tokio::sync::oneshot::channel();
            monitor.do_send(AskStatus { max_age, patience: ms(500), answer });
            given
        };
        assert!(ask(SECOND).await.unwrap().is_some());
        assert_eq!(stage.postgres.called(), ["status"]);
        sleep(2 * SECOND).await;
        // Frozen: the last answer is better than none.
        stage.postgres.status_takes.set(3600 * SECOND);
        let before = stage.clock.mono();
        assert!(ask(SECOND).await.unwrap().is_some());
        assert_eq!(stage.clock.mono().since(before), ms(500));
        // The query is given up, and then there is no answer to repeat.
        sleep(20 * SECOND).await;
        assert!(ask(SECOND).await.unwrap().is_none());
    });
}

#[test]
fn one_pass_over_the_slots_at_a_time_and_each_within_its_budget() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        let slots = SlotManager::new(postgres.clone()).start();
        let (reply, mut answers) = ear();
        let plan = |name: &str| SlotPlan { slots: vec![WantedSlot::physical(name, None)], ..SlotPlan::default() };
        let there = |name: &str| {
            Outcome::Slots(SlotReport { slots: vec![(name.to_owned(), None, false)], ..SlotReport::default() })
        };
        let sync = |name: &str| {
            let command = Command::SyncSlots(plan(name));
            slots.do_send(Execute { ticket: TICKET, command, budget: 2 * SECOND, reply: reply.clone() });
        };
        sync("b");
        assert_eq!(answers.recv().await.unwrap().outcome, there("b"));
        postgres.slots_take.set(3 * SECOND);
        sync("b");
        sync("c");
        assert!(matches!(answers.recv().await.unwrap().outcome, Outcome::Unknown(_)));
        assert!(matches!(answers.recv().await.unwrap().outcome, Outcome::Unknown(_)));
        sleep(10 * SECOND).await;
        // The plan that nobody waited for any more was not carried out.
        assert_eq!(postgres.called().len(), 2);
        postgres.slots_take.set(ms(5));
        sync("d");
        assert_eq!(answers.recv().await.unwrap().outcome, there("d"));
    });
}

#[test]
fn callbacks_know_a_promoted_server_as_primary() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        let runner = CallbackRunner::new(postgres.clone()).start();
        let (reply, mut answers) = ear();
        let command = Command::Callback { event: CallbackEvent::OnRoleChange, role: Role::Promoted };
        runner.do_send(Execute { ticket: TICKET, command, budget: SECOND, reply });
        assert_eq!(answers.recv().await.unwrap().outcome, Outcome::Ok);
        assert_eq!(postgres.called(), ["callback OnRoleChange primary"]);
    });
}
