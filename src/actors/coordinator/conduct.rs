//! How a cycle is led: gather the view, ask the rules round by round, carry out what they end with, plan the next.

use super::cycle::{Asked, Gather, OpenCycle, Phase, Progress, complete_round};
use super::may_write::{makes_writable, may_write};
use super::routing::{FAILSAFE_BUDGET, Route, budget, route, silence};
use super::{AgentDone, Coordinator, cycle_log, lease_budget};
use crate::actors::config_store::DataDirSeen;
use crate::actors::journal::Record;
use crate::actors::me::me;
use crate::actors::messages::{Execute, Executed, LoadCluster, Observe, QueryStatus, Ticket};
use crate::cluster::Role;
use crate::ha::{Command, Finish, MAX_ROUNDS, Outcome, Round, ServerReport, StoreFailure, View};
use crate::types::Mono;
use actix::{AsyncContext, Context};
use std::collections::VecDeque;
use std::time::Duration;

/// Numbers of the questions with which every cycle begins.
pub(super) const LOAD: usize = 0;
pub(super) const OBSERVE: usize = 1;
pub(super) const STATUS: usize = 2;
pub(super) const CONFIGURE: usize = 3;

/// The server's patience: two tries of the status query.
const STATUS_BUDGET: Duration = Duration::from_secs(5);
/// What is computed or looked up on the spot.
const LOCAL_BUDGET: Duration = Duration::from_secs(5);
/// The asked actor's own, more telling answer may come this much after its budget.
const SLACK: Duration = Duration::from_millis(100);

type Ctx = Context<Coordinator>;

impl Coordinator {
    /// Begins a cycle, unless one is open: then another follows it.
    pub(super) fn begin(&mut self, woken: bool, ctx: &mut Ctx) {
        let now = self.clock.mono();
        if self.finished {
            return;
        }
        if self.cycle.is_some() {
            self.woken = Some(now);
            return;
        }
        self.number += 1;
        self.in_recovery = None;
        self.schedule.started(now, woken);
        self.publisher.cycle_started(now);
        let mut cycle = OpenCycle::new(self.number);
        let tickets = [LOAD, OBSERVE, STATUS, CONFIGURE].map(|_| cycle.ticket());
        self.cycle = Some(cycle);
        let [load, observe, status, _] = tickets;
        let store_budget = self.read_budget(now);
        self.deadline(load, store_budget, ctx);
        self.deadline(observe, LOCAL_BUDGET, ctx);
        self.deadline(status, STATUS_BUDGET, ctx);
        let reply = ctx.address();
        self.partners.load.do_send(LoadCluster {
            ticket: load,
            budget: store_budget,
            reply: reply.clone().recipient(),
        });
        self.partners.observe.do_send(Observe { ticket: observe, reply: reply.clone().recipient() });
        self.partners.status.do_send(QueryStatus { ticket: status, reply: reply.recipient() });
    }

    /// How long the read of a cycle may take.
    fn read_budget(&self, now: Mono) -> Duration {
        let usual = self.settings.global.retry_timeout;
        // A demotion that leaves the key alone goes on whatever the store says.
        let unneeded = self.memory.demotion.as_ref().is_some_and(|d| !d.mode.releases());
        let usual = if unneeded && self.store_silent { usual.min(lease_budget::GLANCE) } else { usual };
        lease_budget::for_others(usual, self.lease_left(now))
    }

    /// What is left of the right to lead of a server that accepts writes, for questions to the store: in fail-safe mode
    /// the members have to be asked after it.
    fn lease_left(&self, now: Mono) -> Option<Duration> {
        let calls = if self.settings.global.failsafe_mode { FAILSAFE_BUDGET } else { Duration::ZERO };
        self.left_but(calls, now)
    }

    fn left_but(&self, calls: Duration, now: Mono) -> Option<Duration> {
        let until = self.memory.leads_until().filter(|_| self.fenced_in)?;
        lease_budget::left(now, until, calls, &self.settings.global)
    }

    /// How long a command may take.
    fn command_budget(&self, command: &Command) -> Duration {
        let usual = budget(command, &self.settings.global);
        match (route(command), command) {
            (Route::Store, Command::RenewLeader) => {
                lease_budget::for_renewal(usual, self.lease_left(self.clock.mono()))
            }
            (_, Command::CallFailsafe { .. }) => {
                lease_budget::for_renewal(usual, self.left_but(Duration::ZERO, self.clock.mono()))
            }
            (Route::Store, _) => lease_budget::for_others(usual, self.lease_left(self.clock.mono())),
            _ => usual,
        }
    }

    /// Tells the fence, and remembers for the budgets, whether the server may write.
    fn guard(&mut self, may_write: bool) {
        self.may_write = may_write;
        self.fenced_in = may_write && !self.settings.global.pause;
        self.fence.server(self.fenced_in, self.postmaster);
    }

    /// Sets the deadline of a question.
    pub(super) fn deadline(&mut self, ticket: Ticket, budget: Duration, ctx: &mut Ctx) {
        let handle = ctx.run_later(budget.saturating_add(SLACK), move |act, ctx| act.passed(ticket, ctx));
        if let Some(old) = self.deadlines.insert(ticket.index, handle) {
            ctx.cancel_future(old);
        }
    }

    /// The question was answered.
    pub(super) fn answered(&mut self, index: usize, ctx: &mut Ctx) {
        if let Some(handle) = self.deadlines.remove(&index) {
            ctx.cancel_future(handle);
        }
    }

    /// A deadline has passed without an answer.
    fn passed(&mut self, ticket: Ticket, ctx: &mut Ctx) {
        if !self.is_current(ticket) {
            return;
        }
        self.deadlines.remove(&ticket.index);
        let Some(cycle) = self.cycle.as_mut() else { return };
        if let Some(gather) = cycle.gather() {
            silent_part(gather, ticket.index);
            self.gathered(ctx);
        } else if let Some(command) = cycle.awaited(ticket.index) {
            let outcome = silence(command);
            self.outcome(ticket.index, outcome, ctx);
        }
    }

    /// Asks the rules for the first time once all parts of the view are in.
    pub(super) fn gathered(&mut self, ctx: &mut Ctx) {
        let Some(cycle) = self.cycle.as_mut() else { return };
        let number = cycle.number;
        let Some(gather) = cycle.gather().filter(|g| g.is_complete()) else { return };
        let (cluster, report, status) = (gather.cluster.take(), gather.server.take(), gather.status.take());
        let (Some(cluster), Some(report), Some(status)) = (cluster, report, status) else { return };
        let Some(mut server) = report else {
            // Without a look at the server nobody may say that it is fit to lead: the lease is not renewed.
            self.give_up("PostgreSQL's supervisor did not report in time", ctx);
            return;
        };
        self.store_silent = cluster.is_err();
        server.ended.splice(0..0, self.ended.drain(..));
        self.in_recovery = status.as_ref().map(|s| s.in_recovery);
        self.show_server(&server);
        self.publisher.watchdog(self.watchdog);
        self.publisher.publish();
        let view = View {
            cycle: number,
            now: self.clock.mono(),
            wall: self.clock.wall(),
            me: me(&self.settings, &self.dynamic),
            global: self.settings.global.clone(),
            cluster,
            server,
            status,
            watchdog: self.watchdog,
            requests: self.requests.pending(),
            stopping: self.stopping,
            caller: self.caller.clone(),
            memory: self.memory.clone(),
            done: Vec::new(),
        };
        self.ask_rules(Box::new(view), ctx);
    }

    /// Looks at the server beside the questions of the open cycle, which may be waiting for a silent store: the fence
    /// has to know a new postmaster at once, and the REST API the new state.
    pub(super) fn look_again(&mut self, ctx: &mut Ctx) {
        if let Some(cycle) = &self.cycle {
            let ticket = Ticket { cycle: cycle.number, index: OBSERVE };
            self.partners.observe.do_send(Observe { ticket, reply: ctx.address().recipient() });
        }
    }

    /// Shows a report of the server to those who must not wait for the rules: the fence and the REST API.
    pub(super) fn show_server(&mut self, report: &ServerReport) {
        self.publisher.server(ServerReport { ended: Vec::new(), ..report.clone() });
        self.publisher.publish();
        self.postmaster = report.facts.postmaster;
        let may_write = may_write(report, self.in_recovery);
        self.guard(may_write);
        let fired = self.fence.fired();
        if fired != self.fenced {
            self.fenced = fired;
            cycle_log::critical("PostgreSQL was stopped by the fence: the leader lease had run out");
        }
    }

    /// Asks the rules and does what they say. A panic in them costs the cycle, and no more.
    fn ask_rules(&mut self, view: Box<View>, ctx: &mut Ctx) {
        let decide = self.decide;
        let Ok(round) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decide(&view))) else {
            self.give_up("the rules failed", ctx);
            return;
        };
        let Some(cycle) = self.cycle.as_mut() else { return };
        let log = match &round {
            Round::Need { log, .. } => log,
            Round::Done(finish) => &finish.log,
        };
        cycle_log::lines(log.get(cycle.printed..).unwrap_or_default());
        cycle.printed = log.len();
        match round {
            Round::Need { commands, .. } => self.carry_out(view, commands, ctx),
            Round::Done(finish) => self.finish(view, finish, ctx),
        }
    }

    /// Sends the commands of a round to their actors.
    fn carry_out(&mut self, view: Box<View>, commands: Vec<Command>, ctx: &mut Ctx) {
        let Some(cycle) = self.cycle.as_mut() else { return };
        if commands.is_empty() || cycle.rounds.len() >= MAX_ROUNDS {
            let reason = format!("the rules came to no end in {} rounds", cycle.rounds.len());
            self.give_up(&reason, ctx);
            return;
        }
        cycle.rounds.push(commands.len());
        let sent: Vec<(Ticket, Command)> = commands.into_iter().map(|c| (cycle.ticket(), c)).collect();
        let asked = |(ticket, command): &(Ticket, Command)| Asked {
            index: ticket.index,
            command: command.clone(),
            outcome: None,
        };
        cycle.phase = Phase::Round { view, asked: sent.iter().map(asked).collect() };
        for (ticket, command) in sent {
            self.send(ticket, command, ctx);
        }
    }

    /// Sends one command to its actor.
    fn send(&mut self, ticket: Ticket, command: Command, ctx: &mut Ctx) {
        if let Command::StartJob(job) = &command
            && makes_writable(job)
        {
            self.guard(true);
        }
        let budget = self.command_budget(&command);
        self.deadline(ticket, budget, ctx);
        if command == Command::AcquireLeader && self.left_another_in_the_lead() {
            // Since the view was made: the lock is as good as taken.
            let outcome = Outcome::Conflict;
            return ctx.address().do_send(Executed { ticket, outcome });
        }
        let actor = match route(&command) {
            Route::Store => &self.partners.store,
            Route::Peers => &self.partners.peers,
            Route::Server => &self.partners.server,
            Route::Slots => &self.partners.slots,
            Route::Sync => &self.partners.sync,
            Route::Callbacks => &self.partners.callbacks,
            Route::Watchdog => &self.partners.watchdog,
        };
        actor.do_send(Execute { ticket, command, budget, reply: ctx.address().recipient() });
    }

    /// Takes an outcome of the open cycle in.
    pub(super) fn outcome(&mut self, index: usize, outcome: Outcome, ctx: &mut Ctx) {
        let Some(cycle) = self.cycle.as_mut() else { return };
        let right = outcome.right_to_lead().map(|until| (until, outcome.clone()));
        let read = match &outcome {
            Outcome::Cluster(cluster) => Some(cluster.clone()),
            _ => None,
        };
        let progress = cycle.outcome(index, outcome);
        if progress == Progress::Stray {
            metrics::counter!("patroni_late_answers_total").increment(1);
            return;
        }
        self.answered(index, ctx);
        if let Some((until, outcome)) = right {
            // Not at the end of the cycle: the rest of it may take longer than the old lease lasts.
            self.right_to_lead(until, &outcome);
        }
        if let Some(cluster) = read {
            self.publisher.cluster(cluster, self.clock.mono(), self.clock.wall());
        }
        match progress {
            Progress::Stray | Progress::Waiting => {}
            Progress::RoundComplete => self.next_round(ctx),
            Progress::TailStep => self.tail_step(ctx),
        }
    }

    fn next_round(&mut self, ctx: &mut Ctx) {
        let Some(cycle) = self.cycle.as_mut() else { return };
        match std::mem::replace(&mut cycle.phase, Phase::Gather(Box::default())) {
            Phase::Round { view, asked } => self.ask_rules(complete_round(view, asked), ctx),
            other @ (Phase::Gather(_) | Phase::Tail { .. }) => cycle.phase = other,
        }
    }

    /// The decision is made: remember it, show it, and carry out its last commands.
    fn finish(&mut self, view: Box<View>, finish: Box<Finish>, ctx: &mut Ctx) {
        cycle_log::sentence(&finish.sentence);
        self.memory = finish.memory.clone();
        self.publisher.failsafe(self.shown_failsafe());
        self.publisher.lease(self.memory.shown_lease());
        self.publisher.scheduled_restart(self.memory.scheduled_restart.clone());
        self.publisher.replica_timeline(self.memory.last_timeline);
        self.publisher.publish();
        let left = VecDeque::from(finish.commands.clone());
        if let Some(cycle) = self.cycle.as_mut() {
            cycle.phase = Phase::Tail { view, finish, left, current: Box::default() };
        }
        self.tail_step(ctx);
    }

    /// Reports the command that was carried out, and goes on to the next one.
    fn tail_step(&mut self, ctx: &mut Ctx) {
        let Some(cycle) = self.cycle.as_mut() else { return };
        let ticket = cycle.ticket();
        let Phase::Tail { left, current, .. } = &mut cycle.phase else { return };
        if let Some(Asked { command, outcome: Some(outcome), .. }) = current.take() {
            cycle_log::tail_outcome(&command, &outcome);
        }
        match left.pop_front() {
            Some(command) => {
                **current = Some(Asked { index: ticket.index, command: command.clone(), outcome: None });
                self.send(ticket, command, ctx);
            }
            None => self.close(ctx),
        }
    }

    /// Ends a cycle that came to a decision.
    fn close(&mut self, ctx: &mut Ctx) {
        let Some(OpenCycle { rounds, phase, .. }) = self.cycle.take() else { return };
        let Phase::Tail { view, finish, .. } = phase else { return };
        self.publisher.publish();
        self.requests.settle(finish.answers.clone());
        let wake_in = finish.wake_in;
        let exit = finish.exit.clone();
        if view.server.role != Role::Uninitialized {
            self.partners.data_dir_seen.do_send(DataDirSeen);
        }
        self.journal.record(Record { view: *view, rounds, finish: *finish });
        metrics::counter!("patroni_cycles_total").increment(1);
        match exit {
            Some(exit) => {
                self.finished = true;
                if !exit.reason.is_empty() {
                    cycle_log::critical(&exit.reason);
                }
                self.guardian.do_send(AgentDone(exit));
            }
            None => self.plan_next(wake_in, ctx),
        }
    }

    /// Ends a cycle without a decision. Nothing is renewed; the next one begins from what is known then.
    fn give_up(&mut self, reason: &str, ctx: &mut Ctx) {
        if let Some(cycle) = self.cycle.take() {
            tracing::error!("Cycle {} was given up: {reason}", cycle.number);
            metrics::counter!("patroni_cycles_given_up_total").increment(1);
        }
        self.plan_next(None, ctx);
    }

    fn plan_next(&mut self, wake_in: Option<Duration>, ctx: &mut Ctx) {
        for (_, handle) in std::mem::take(&mut self.deadlines) {
            ctx.cancel_future(handle);
        }
        let now = self.clock.mono();
        let leads = self.memory.leads_until().is_some_and(|until| until > now);
        let due = self.schedule.after_cycle(now, self.settings.global.loop_wait, leads, wake_in);
        if due.overrun {
            tracing::warn!(target: "patroni.__main__", "Loop time exceeded, rescheduling immediately.");
        }
        self.plan(due.at, wake_in.is_some(), ctx);
        if let Some(at) = self.woken.take() {
            self.plan(at.max(now + super::schedule::MIN_GAP), true, ctx);
        }
    }
}

/// Marks the part of the view that did not come.
fn silent_part(gather: &mut Gather, index: usize) {
    match index {
        LOAD => {
            let reason = "no answer from the store in time".to_owned();
            gather.cluster = Some(Err(StoreFailure { reason }));
            gather.configured = true;
        }
        OBSERVE => gather.server = Some(None),
        STATUS => gather.status = Some(None),
        _ => gather.configured = true,
    }
}
