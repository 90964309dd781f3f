//! The conversation of a cycle, with every other actor played by the test on a paused clock.

use super::*;
use crate::actors::config_store::DynamicApplied;
use crate::actors::messages::{Ask, ClusterLoaded, Executed, Observed, SettingsChanged, StatusAnswered, Wake};
use crate::api::Snapshot;
use crate::cluster::{Cluster, FailsafeAnswer, FailsafeCall, NodeStatus, Revision};
use crate::fencing::NoFence;
use crate::ha::{
    Answer, AnswerKind, Command, Finish, Job, JobEnd, JobId, JobResult, LogLine, Outcome, Request, Rule, ServerReport,
};
use crate::test_settings::settings;
use crate::types::Wall;
use actix::{Addr, Handler};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// What the coordinator sent to others.
enum Got {
    Load(LoadCluster),
    Observe(Observe),
    Status(QueryStatus),
    Execute(Execute),
    Apply(ApplyDynamic),
    Done(Exit),
}

struct Probe(mpsc::UnboundedSender<Got>);

impl Actor for Probe {
    type Context = Context<Self>;
}

macro_rules! passes_on {
    ($($message:ty => $got:expr),*) => {$(
        impl Handler<$message> for Probe {
            type Result = ();
            fn handle(&mut self, msg: $message, _ctx: &mut Self::Context) {
                self.0.send($got(msg)).unwrap();
            }
        }
    )*};
}

passes_on!(LoadCluster => Got::Load, Observe => Got::Observe, QueryStatus => Got::Status, Execute => Got::Execute,
           ApplyDynamic => Got::Apply, AgentDone => |done: AgentDone| Got::Done(done.0));

/// Stands for the watchdog: hears until when the right to lead was renewed.
struct Fed(mpsc::UnboundedSender<Mono>);

impl Actor for Fed {
    type Context = Context<Self>;
}

impl Handler<LeadRenewed> for Fed {
    type Result = ();
    fn handle(&mut self, msg: LeadRenewed, _ctx: &mut Self::Context) {
        self.0.send(msg.until).unwrap();
    }
}

impl Handler<DataDirSeen> for Probe {
    type Result = ();
    fn handle(&mut self, _msg: DataDirSeen, _ctx: &mut Self::Context) {}
}

struct Rig {
    got: mpsc::UnboundedReceiver<Got>,
    fed: mpsc::UnboundedReceiver<Mono>,
    coordinator: Addr<Coordinator>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    clock: Clock,
    report: ServerReport,
}

fn rig(decide: fn(&View) -> Round) -> Rig {
    rig_with(decide, Box::new(NoFence))
}

fn rig_with(decide: fn(&View) -> Round, fence: Box<dyn Fencing>) -> Rig {
    let (sender, got) = mpsc::unbounded_channel();
    let probe = Probe(sender).start();
    let (feed, fed) = mpsc::unbounded_channel();
    let clock = Clock::tokio(Wall::UNIX_EPOCH);
    let (publisher, snapshots) = SnapshotPublisher::new(Arc::new(settings(|_| ())), clock.mono(), Arc::new(|| (0, 0)));
    let report = snapshots.borrow().server.clone();
    let partners = Partners {
        load: probe.clone().recipient(),
        store: probe.clone().recipient(),
        observe: probe.clone().recipient(),
        server: probe.clone().recipient(),
        status: probe.clone().recipient(),
        slots: probe.clone().recipient(),
        sync: probe.clone().recipient(),
        peers: probe.clone().recipient(),
        callbacks: probe.clone().recipient(),
        watchdog: probe.clone().recipient(),
        watchdog_feed: Fed(feed).start().recipient(),
        config: probe.clone().recipient(),
        data_dir_seen: probe.clone().recipient(),
    };
    let coordinator = Coordinator::new(Parts {
        clock: clock.clone(),
        decide,
        partners,
        fence,
        publisher,
        journal: Journal::in_memory(),
        guardian: probe.recipient(),
        settings: Arc::new(settings(|_| ())),
        dynamic: Arc::default(),
        memory: Memory::default(),
    })
    .start();
    Rig { got, fed, coordinator, snapshots, clock, report }
}

impl Rig {
    async fn next(&mut self) -> Got {
        tokio::time::timeout(Duration::from_secs(3600), self.got.recv()).await.unwrap().unwrap()
    }

    /// Receives the three questions of a cycle.
    async fn questions(&mut self) -> (LoadCluster, Observe, QueryStatus) {
        match (self.next().await, self.next().await, self.next().await) {
            (Got::Load(load), Got::Observe(observe), Got::Status(status)) => (load, observe, status),
            _ => panic!("a cycle asks for store, server and status"),
        }
    }

    /// Answers them, as an agent whose server does not run.
    async fn gather(&mut self) -> u64 {
        let (load, observe, status) = self.questions().await;
        load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(Arc::new(Cluster::default())) });
        observe.reply.do_send(Observed { ticket: observe.ticket, report: self.report.clone() });
        status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
        load.ticket.cycle
    }

    async fn command(&mut self) -> Execute {
        match self.next().await {
            Got::Execute(execute) => execute,
            _ => panic!("a command was expected"),
        }
    }

    /// Nothing more is sent within this time.
    async fn quiet(&mut self, time: Duration) {
        assert!(tokio::time::timeout(time, self.got.recv()).await.is_err(), "something was sent");
    }
}

fn answer(execute: &Execute, outcome: Outcome) {
    execute.reply.do_send(Executed { ticket: execute.ticket, outcome });
}

fn finish(memory: Memory) -> Finish {
    Finish {
        rule: Rule::StoreSilent,
        sentence: "nothing".to_owned(),
        log: Vec::new(),
        memory,
        commands: Vec::new(),
        answers: Vec::new(),
        wake_in: None,
        exit: None,
    }
}

fn need(commands: Vec<Command>) -> Round {
    Round::Need { commands, log: Vec::new() }
}

fn done(finish: Finish) -> Round {
    Round::Done(Box::new(finish))
}

/// Does nothing in each cycle.
fn idle(view: &View) -> Round {
    done(finish(view.memory.clone()))
}

/// Renews the lease, remembers it, and writes the status at the end.
fn leader(view: &View) -> Round {
    match view.done.first() {
        None => need(vec![Command::RenewLeader]),
        Some((_, Outcome::Leased { until })) => done(Finish {
            commands: vec![Command::CancelInitialize, Command::CancelJob],
            ..finish(Memory { lease_until: Some(*until), ..view.memory.clone() })
        }),
        Some(_) => done(finish(Memory { lease_until: None, ..view.memory.clone() })),
    }
}

fn on_paused_clock<F: Future<Output = ()>>(test: F) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix::System::with_tokio_rt(runtime).block_on(test);
}

#[test]
fn a_cycle_gathers_renews_writes_in_order_and_comes_again_on_schedule() {
    on_paused_clock(async {
        let mut rig = rig(leader);
        let start = rig.clock.mono();
        assert_eq!(rig.gather().await, 1);
        let renew = rig.command().await;
        assert_eq!((renew.command.clone(), renew.budget), (Command::RenewLeader, Duration::from_secs(10)));
        let until = rig.clock.mono() + Duration::from_secs(30);
        answer(&renew, Outcome::Leased { until });
        let first = rig.command().await;
        assert_eq!(rig.snapshots.borrow().lease_until, Some(until), "the lease is published before the cycle ends");
        assert_eq!(first.command, Command::CancelInitialize);
        rig.quiet(Duration::from_millis(500)).await;
        answer(&first, Outcome::Ok);
        let second = rig.command().await;
        assert_eq!(second.command, Command::CancelJob);
        answer(&second, Outcome::Ok);
        let (load, ..) = rig.questions().await;
        assert_eq!(load.ticket.cycle, 2);
        assert_eq!(rig.clock.mono().since(start), Duration::from_secs(10));
    });
}

/// Calls the members instead of the store.
fn calls(view: &View) -> Round {
    let (name, url) = ("a".to_owned(), "http://a".to_owned());
    let call = FailsafeCall { name, conn_url: url.clone(), api_url: url, slots: None, ttl: None };
    let command = Command::CallFailsafe { call: Box::new(call), ttl: Duration::from_secs(30), members: Vec::new() };
    if view.done.is_empty() { need(vec![command]) } else { done(finish(view.memory.clone())) }
}

// rows: FSM-09, WD-05
#[test]
fn the_watchdog_is_fed_by_the_word_of_all_members_too() {
    on_paused_clock(async {
        for accepted in [true, false] {
            let mut rig = rig(calls);
            rig.gather().await;
            let call = rig.command().await;
            let until = rig.clock.mono() + Duration::from_secs(30);
            let answers = vec![FailsafeAnswer { name: "b".to_owned(), accepted, position: None }];
            answer(&call, Outcome::Failsafe { until, answers });
            rig.quiet(Duration::from_millis(500)).await;
            assert_eq!(rig.fed.try_recv().ok(), accepted.then_some(until));
        }
    });
}

#[test]
fn a_store_that_does_not_answer_is_silence_after_retry_timeout() {
    fn rules(view: &View) -> Round {
        assert_eq!(view.cluster.as_ref().unwrap_err().reason, "no answer from the store in time");
        assert!(view.now.since(view.server.facts.at) >= Duration::from_secs(10));
        done(Finish { commands: vec![Command::WatchdogDisable], ..finish(view.memory.clone()) })
    }
    on_paused_clock(async {
        let mut rig = rig(rules);
        let (_load, observe, status) = rig.questions().await;
        observe.reply.do_send(Observed { ticket: observe.ticket, report: rig.report.clone() });
        status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
        assert_eq!(rig.command().await.command, Command::WatchdogDisable);
    });
}

#[test]
fn a_write_without_answer_is_unknown_and_its_late_answer_is_dropped() {
    on_paused_clock(async {
        let mut rig = rig(leader);
        rig.gather().await;
        let renew = rig.command().await;
        let (_, observe, _) = rig.questions().await;
        assert_eq!(observe.ticket.cycle, 2, "the first cycle has ended without an answer");
        answer(&renew, Outcome::Leased { until: rig.clock.mono() + Duration::from_secs(30) });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(rig.snapshots.borrow().lease_until, None);
    });
}

#[test]
fn without_a_report_of_the_server_nothing_is_decided_and_late_ended_jobs_are_kept() {
    fn rules(view: &View) -> Round {
        assert_eq!(view.cycle, 2);
        let ids: Vec<u64> = view.server.ended.iter().map(|e| e.id.0).collect();
        assert_eq!(ids, [1, 2]);
        done(Finish { commands: vec![Command::WatchdogDisable], ..finish(view.memory.clone()) })
    }
    let ended = |id, at| JobEnd { id: JobId(id), job: Job::CrashRecovery, result: JobResult::Done, at };
    on_paused_clock(async {
        let mut rig = rig(rules);
        let (load, observe, status) = rig.questions().await;
        load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(Arc::new(Cluster::default())) });
        status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
        tokio::time::sleep(Duration::from_secs(6)).await;
        let at = rig.clock.mono();
        let late = ServerReport { ended: vec![ended(1, at)], ..rig.report.clone() };
        observe.reply.do_send(Observed { ticket: observe.ticket, report: late });
        rig.report.ended = vec![ended(2, at)];
        rig.gather().await;
        assert_eq!(rig.command().await.command, Command::WatchdogDisable);
    });
}

// rows: HA-01
#[test]
fn wake_ups_coalesce_and_those_of_an_open_cycle_lead_to_one_more() {
    on_paused_clock(async {
        let mut rig = rig(idle);
        let (load, observe, status) = rig.questions().await;
        for _ in 0..3 {
            rig.coordinator.do_send(Wake::Store);
            rig.coordinator.do_send(Wake::Request);
        }
        rig.quiet(Duration::from_millis(100)).await;
        load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(Arc::new(Cluster::default())) });
        observe.reply.do_send(Observed { ticket: observe.ticket, report: rig.report.clone() });
        status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
        let before = rig.clock.mono();
        assert_eq!(rig.gather().await, 2);
        assert_eq!(rig.clock.mono().since(before), Duration::from_millis(20));
        rig.quiet(Duration::from_secs(10)).await;
        assert_eq!(rig.gather().await, 3, "on schedule, half a second late as no leader");
        rig.quiet(Duration::from_secs(1)).await;
        rig.coordinator.do_send(Wake::PostmasterExit);
        let before = rig.clock.mono();
        assert_eq!(rig.gather().await, 4);
        assert_eq!(rig.clock.mono(), before);
    });
}

#[test]
fn while_the_store_is_silent_the_server_is_looked_at_when_something_happens_to_it() {
    fn rules(view: &View) -> Round {
        let newest = view.server.state == crate::cluster::PgState::Crashed;
        let command =
            if newest && view.server.ended.len() == 2 { Command::WatchdogActivate } else { Command::WatchdogDisable };
        done(Finish { commands: vec![command], ..finish(view.memory.clone()) })
    }
    on_paused_clock(async {
        let mut rig = rig(rules);
        let (load, observe, status) = rig.questions().await;
        let ended =
            || vec![JobEnd { id: JobId(1), job: Job::CrashRecovery, result: JobResult::Done, at: Mono::default() }];
        let report = ServerReport { ended: ended(), ..rig.report.clone() };
        observe.reply.do_send(Observed { ticket: observe.ticket, report });
        status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
        rig.coordinator.do_send(Wake::Job);
        let Got::Observe(again) = rig.next().await else { panic!("the server was not looked at") };
        let state = crate::cluster::PgState::Crashed;
        again.reply.do_send(Observed {
            ticket: again.ticket,
            report: ServerReport { state, ended: ended(), ..rig.report.clone() },
        });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(rig.snapshots.borrow().server.state, state);
        load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(Arc::new(Cluster::default())) });
        assert_eq!(rig.command().await.command, Command::WatchdogActivate, "the newest report with all ends of jobs");
    });
}

#[test]
fn rules_that_come_to_no_end_are_stopped_and_the_next_cycle_comes() {
    fn rules(view: &View) -> Round {
        if view.cycle == 1 { need(vec![Command::WatchdogActivate]) } else { idle(view) }
    }
    on_paused_clock(async {
        let mut rig = rig(rules);
        rig.gather().await;
        for _ in 0..crate::ha::MAX_ROUNDS {
            let command = rig.command().await;
            answer(&command, Outcome::Ok);
        }
        assert_eq!(rig.gather().await, 2);
    });
}

// rows: HA-16
#[test]
fn rules_that_panic_cost_one_cycle() {
    fn rules(view: &View) -> Round {
        assert!(view.cycle != 1, "as if there were a bug");
        idle(view)
    }
    on_paused_clock(async {
        let mut rig = rig(rules);
        rig.gather().await;
        assert_eq!(rig.gather().await, 2);
        assert_eq!(rig.gather().await, 3);
    });
}

#[test]
fn a_stop_is_shown_to_the_rules_and_their_exit_ends_the_cycles() {
    fn rules(view: &View) -> Round {
        let exit = view.stopping.then(|| Exit { code: 0, reason: String::new(), leave_postgres: false });
        done(Finish { exit, ..finish(view.memory.clone()) })
    }
    on_paused_clock(async {
        let mut rig = rig(rules);
        rig.gather().await;
        rig.coordinator.do_send(StopAgent);
        rig.coordinator.do_send(StopAgent);
        rig.gather().await;
        let Got::Done(exit) = rig.next().await else { panic!("the guardian was not told") };
        assert_eq!(exit.code, 0);
        rig.coordinator.do_send(Wake::Store);
        rig.quiet(Duration::from_secs(60)).await;
    });
}

#[test]
fn a_request_reaches_the_rules_at_once_and_gets_its_answer() {
    fn rules(view: &View) -> Round {
        let say = |text: &str| Answer { kind: AnswerKind::Done, text: text.to_owned() };
        let answers = view.requests.iter().map(|r| (r.id, say("as you wish"))).collect();
        done(Finish {
            answers,
            log: vec![LogLine { level: crate::ha::Level::Info, text: "x".into() }],
            ..finish(view.memory.clone())
        })
    }
    on_paused_clock(async {
        let mut rig = rig(rules);
        rig.gather().await;
        let (sender, answered) = oneshot::channel();
        rig.coordinator.do_send(Ask { request: Request::CancelRestart, answer: sender });
        rig.gather().await;
        assert_eq!(answered.await.unwrap().text, "as you wish");
        let (sender, lines) = oneshot::channel();
        rig.coordinator.do_send(ReadJournal { answer: sender });
        assert_eq!(lines.await.unwrap().len(), 2);
    });
}

#[test]
fn a_new_dynamic_configuration_is_in_force_before_the_rules_are_asked() {
    fn rules(view: &View) -> Round {
        let obeyed = view.global.pause && view.me.dynamic_config.contains_key("pause");
        let command = if obeyed { Command::WatchdogActivate } else { Command::WatchdogDisable };
        done(Finish { commands: vec![command], ..finish(view.memory.clone()) })
    }
    on_paused_clock(async {
        let mut rig = rig(rules);
        let (load, observe, status) = rig.questions().await;
        observe.reply.do_send(Observed { ticket: observe.ticket, report: rig.report.clone() });
        status.reply.do_send(StatusAnswered { ticket: status.ticket, status: Some(NodeStatus::default()) });
        let data: Map<String, Value> = [("pause".to_owned(), Value::Bool(true))].into_iter().collect();
        let config = Some(ClusterConfig { revision: Revision(7), data: data.clone() });
        let cluster = Arc::new(Cluster { config, ..Cluster::default() });
        load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(cluster.clone()) });
        let Got::Apply(apply) = rig.next().await else { panic!("the config store was not asked") };
        let mut paused = (*Arc::new(settings(|_| ()))).clone();
        paused.global.pause = true;
        let applied = DynamicApplied { ticket: apply.ticket, settings: Arc::new(paused), dynamic: Arc::new(data) };
        apply.reply.do_send(applied);
        let command = rig.command().await;
        assert_eq!(command.command, Command::WatchdogActivate);
        answer(&command, Outcome::Ok);
        assert!(rig.snapshots.borrow().settings.global.pause);
        rig.coordinator.do_send(SettingsChanged(Arc::new(settings(|_| ()))));
        let (load, observe, status) = rig.questions().await;
        observe.reply.do_send(Observed { ticket: observe.ticket, report: rig.report.clone() });
        status.reply.do_send(StatusAnswered { ticket: status.ticket, status: None });
        load.reply.do_send(ClusterLoaded { ticket: load.ticket, result: Ok(cluster) });
        assert_eq!(
            rig.command().await.command,
            Command::WatchdogDisable,
            "the same configuration is not applied twice"
        );
    });
}

#[path = "lease_tests.rs"]
mod lease;

#[path = "failsafe_tests.rs"]
mod failsafe;
