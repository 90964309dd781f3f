//! The watchdog actor: arms and disarms the device when the rules ask for it, feeds it when the right to lead was renewed,
//! and tells the rules how it stands. The device is driven by a thread of its own, which may hang.

use super::messages::{Execute, Executed, SettingsChanged};
use crate::clock::Clock;
use crate::config::Settings;
use crate::fencing::watchdog::{WatchdogAnswer, WatchdogLine, WatchdogOrder, WatchdogPlan};
use crate::ha::{Command, Outcome, WatchdogReport};
use crate::types::Mono;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient, WrapFuture};
use std::collections::VecDeque;
use std::time::Duration;

/// How often a required device that is not armed is looked at: it may come and go.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// A device that takes longer for one step counts as broken until it answers.
const HUNG_AFTER: Duration = Duration::from_secs(5);

/// The state of the watchdog (to the coordinator, on each change).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct WatchdogChanged(pub WatchdogReport);

/// The right to lead was renewed, by the store or by all members in its place (to the watchdog). Nothing else feeds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Message)]
#[rtype(result = "()")]
pub struct LeadRenewed {
    /// Until when.
    pub until: Mono,
}

/// The actor.
pub struct Watchdog {
    line: WatchdogLine,
    clock: Clock,
    plan: WatchdogPlan,
    coordinator: Recipient<WatchdogChanged>,
    reported: Option<WatchdogReport>,
    /// When the orders were given that are not answered, the oldest first.
    open: VecDeque<Mono>,
}

impl Watchdog {
    /// A watchdog that reports to the coordinator when it starts and whenever something changes.
    #[must_use]
    pub fn new(line: WatchdogLine, clock: Clock, settings: &Settings, coordinator: Recipient<WatchdogChanged>) -> Self {
        let plan = WatchdogPlan::new(settings);
        Self { line, clock, plan, coordinator, reported: None, open: VecDeque::new() }
    }

    /// Hands an order over; `then` gets its answer, or none when the device is too busy to take it.
    fn order(
        &mut self,
        order: WatchdogOrder,
        ctx: &mut Context<Self>,
        then: impl FnOnce(Option<WatchdogAnswer>) + 'static,
    ) {
        let Some(answered) = self.line.order(order) else {
            then(None);
            return;
        };
        self.open.push_back(self.clock.mono());
        ctx.spawn(answered.into_actor(self).map(move |answer, act, _ctx| {
            act.open.pop_front();
            if let Ok(WatchdogAnswer { state, .. }) = answer {
                act.report(WatchdogReport {
                    required: state.required,
                    active: state.active,
                    healthy: state.healthy,
                    wanted: state.wanted,
                });
            }
            // After the report: whoever gets the outcome knows the new state.
            then(answer.ok());
        }));
    }

    fn report(&mut self, report: WatchdogReport) {
        if self.reported != Some(report) {
            self.reported = Some(report);
            self.coordinator.do_send(WatchdogChanged(report));
        }
    }

    fn look(&mut self, ctx: &mut Context<Self>) {
        let required = self.plan.required();
        let now = self.clock.mono();
        match self.open.front() {
            Some(since) if now.since(*since) > HUNG_AFTER => {
                let report = WatchdogReport { required, active: false, healthy: !required, wanted: required };
                if self.reported != Some(report) {
                    tracing::error!(target: "patroni.watchdog.base", "The watchdog device does not answer");
                    self.report(report);
                }
            }
            Some(_) => {}
            None if required => self.order(WatchdogOrder::Look, ctx, |_| {}),
            None => {}
        }
    }
}

impl Actor for Watchdog {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        // Perhaps the line was at work for an actor before this one.
        self.order(WatchdogOrder::Adopt(Box::new(self.plan.clone())), ctx, |_| {});
        ctx.run_interval(LOOK_EVERY, Self::look);
    }
}

impl Handler<Execute> for Watchdog {
    type Result = ();

    fn handle(&mut self, msg: Execute, ctx: &mut Self::Context) {
        let Execute { ticket, command, budget, reply } = msg;
        let order = match command {
            Command::WatchdogActivate => WatchdogOrder::Activate { until: self.clock.mono() + budget },
            Command::WatchdogDisable => WatchdogOrder::Disable,
            other => {
                let outcome = Outcome::Failed(format!("not a command for the watchdog: {other:?}"));
                reply.do_send(Executed { ticket, outcome });
                return;
            }
        };
        self.order(order, ctx, move |answer| {
            let outcome = match answer {
                Some(WatchdogAnswer { done: true, .. }) => Outcome::Ok,
                Some(_) => Outcome::Failed("the watchdog could not be activated".to_owned()),
                None => Outcome::Failed("the watchdog device does not answer".to_owned()),
            };
            reply.do_send(Executed { ticket, outcome });
        });
    }
}

impl Handler<LeadRenewed> for Watchdog {
    type Result = ();

    fn handle(&mut self, msg: LeadRenewed, ctx: &mut Self::Context) {
        if self.reported.is_some_and(|report| report.active) {
            self.order(WatchdogOrder::Feed { until: msg.until }, ctx, |_| {});
        }
    }
}

impl Handler<SettingsChanged> for Watchdog {
    type Result = ();

    fn handle(&mut self, msg: SettingsChanged, ctx: &mut Self::Context) {
        let plan = WatchdogPlan::new(&msg.0);
        if plan != self.plan {
            self.plan = plan.clone();
            self.order(WatchdogOrder::Adopt(Box::new(plan)), ctx, |_| {});
        }
    }
}

#[cfg(test)]
#[path = "watchdog_tests.rs"]
mod tests;
