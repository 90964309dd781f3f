//! What tests of the actors on the server share: a paused clock, ears for answers, and a supervisor over a scripted PostgreSQL.

use super::PostgresSupervisor;
use super::messages::{Execute, Executed, Observe, Observed, StatusAnswered, Ticket, Wake};
use super::scripted_postgres::{ScriptedPostgres, settings};
use crate::clock::Clock;
use crate::cluster::{Role, StopMode, Upstream};
use crate::config::Settings;
use crate::ha::{Command, Job, JobResult, Outcome, ServerReport};
use crate::types::Wall;
use actix::{Actor, Addr, Context, Handler};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;

pub(super) const TICKET: Ticket = Ticket { cycle: 1, index: 0 };
pub(super) const SECOND: Duration = Duration::from_secs(1);

pub(super) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// Runs a test on an actix system whose clock moves only when everybody waits.
pub(super) fn paused(test: impl Future<Output = ()>) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix::System::with_tokio_rt(runtime).block_on(test);
}

/// Stands for the coordinator: keeps what it is sent.
pub(super) struct Ear<M>(mpsc::UnboundedSender<M>);

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

pub(super) fn ear<M>() -> (actix::Recipient<M>, mpsc::UnboundedReceiver<M>)
where
    M: actix::Message<Result = ()> + Send + Unpin + 'static,
    Ear<M>: Actor<Context = Context<Ear<M>>> + Handler<M>,
{
    let (send, receive) = mpsc::unbounded_channel();
    (Ear(send).start().recipient(), receive)
}

pub(super) struct Stage {
    pub postgres: Rc<ScriptedPostgres>,
    pub clock: Clock,
    pub supervisor: Addr<PostgresSupervisor>,
    pub wakes: mpsc::UnboundedReceiver<Wake>,
}

impl Stage {
    pub fn with(postgres: Rc<ScriptedPostgres>, settings: Arc<Settings>) -> Self {
        let clock = Clock::tokio(Wall::UNIX_EPOCH);
        let (wake, wakes) = ear();
        let supervisor = PostgresSupervisor::new(postgres.clone(), clock.clone(), settings, wake).start();
        Self { postgres, clock, supervisor, wakes }
    }

    /// A primary that ran before the agent started.
    pub async fn primary() -> Self {
        let postgres = ScriptedPostgres::new();
        postgres.ready_after.set(Duration::ZERO);
        postgres.run();
        postgres.ready_after.set(ms(100));
        let stage = Self::with(postgres, settings(|_| ()));
        stage.observe().await;
        stage
    }

    /// A stopped server.
    pub async fn stopped() -> Self {
        let stage = Self::with(ScriptedPostgres::new(), settings(|_| ()));
        stage.observe().await;
        stage
    }

    pub async fn observe(&self) -> ServerReport {
        let (reply, mut answers) = ear();
        self.supervisor.do_send(Observe { ticket: TICKET, reply });
        answers.recv().await.unwrap().report
    }

    pub async fn execute(&self, command: Command) -> Outcome {
        let (reply, mut answers) = ear();
        self.supervisor.do_send(Execute { ticket: TICKET, command, budget: 5 * SECOND, reply });
        answers.recv().await.unwrap().outcome
    }

    pub async fn start(&self, job: Job) {
        let outcome = self.execute(Command::StartJob(job)).await;
        assert!(matches!(outcome, Outcome::JobStarted(_)), "{outcome:?}");
    }

    /// Runs a job to its end; returns how it ended, and the report that told it.
    pub async fn run(&self, job: Job) -> (JobResult, ServerReport) {
        self.start(job).await;
        self.ended().await
    }

    pub async fn ended(&self) -> (JobResult, ServerReport) {
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

    pub fn heard(&mut self, wake: Wake) -> bool {
        std::iter::from_fn(|| self.wakes.try_recv().ok()).filter(|w| *w == wake).count() > 0
    }
}

pub(super) fn upstream() -> Box<Upstream> {
    Box::new(Upstream {
        name: "b".to_owned(),
        conn: indexmap::IndexMap::new(),
        slot: None,
        recovery: indexmap::IndexMap::new(),
        is_member: true,
    })
}

pub(super) fn follow(timeout: Option<Duration>) -> Job {
    Job::Follow { upstream: Some(upstream()), role: Role::Replica, timeout }
}

pub(super) fn stop(mode: StopMode, timeout: Option<Duration>) -> Job {
    Job::Stop { mode, checkpoint: mode == StopMode::Fast, timeout, role: Some(Role::Demoted) }
}
