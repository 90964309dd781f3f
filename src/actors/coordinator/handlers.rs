//! What the coordinator does with each message.

use super::conduct::{CONFIGURE, LOAD, OBSERVE, STATUS};
use super::{Coordinator, Partners, ReadJournal, StopAgent};
use crate::actors::config_store::{ApplyDynamic, DynamicApplied};
use crate::actors::messages::{
    Ask, ClusterLoaded, Executed, Observed, ServerMoved, SettingsChanged, StatusAnswered, Ticket, Wake,
};
use crate::actors::watchdog::WatchdogChanged;
use crate::cluster::ClusterConfig;
use crate::ha::{Answer, AnswerKind, Request, ServerReport, StoreFailure};
use actix::{AsyncContext, Context, Handler};
use std::time::Duration;

/// Settings are computed on the spot.
const CONFIGURE_BUDGET: Duration = Duration::from_secs(2);

impl Coordinator {
    /// Gives a dynamic configuration that is new to the config store. Whether its answer must be awaited.
    fn offer_config(&mut self, config: Option<&ClusterConfig>, ticket: Ticket, ctx: &mut Context<Self>) -> bool {
        let Some(config) = config.filter(|c| !c.data.is_empty() && self.config_applied.as_ref() != Some(c)) else {
            return false;
        };
        self.config_offered = Some(config.clone());
        self.deadline(ticket, CONFIGURE_BUDGET, ctx);
        let reply = ctx.address().recipient();
        self.partners.config.do_send(ApplyDynamic { ticket, data: config.data.clone(), reply });
        true
    }

    fn late(&self) {
        metrics::counter!("patroni_late_answers_total").increment(1);
    }
}

impl Handler<ClusterLoaded> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: ClusterLoaded, ctx: &mut Self::Context) {
        let awaited = |c: &mut super::OpenCycle| c.gather().is_some_and(|g| g.cluster.is_none());
        if !self.is_current(msg.ticket) || !self.cycle.as_mut().is_some_and(awaited) {
            self.late();
            return;
        }
        self.answered(LOAD, ctx);
        let waits = match &msg.result {
            Ok(cluster) => {
                self.publisher.cluster(cluster.clone(), self.clock.mono(), self.clock.wall());
                let ticket = Ticket { cycle: msg.ticket.cycle, index: CONFIGURE };
                self.offer_config(cluster.config.as_ref(), ticket, ctx)
            }
            Err(_) => false,
        };
        if let Some(gather) = self.cycle.as_mut().and_then(super::OpenCycle::gather) {
            gather.cluster = Some(msg.result.map_err(|error| StoreFailure { reason: error.to_string() }));
            gather.configured = !waits;
        }
        self.gathered(ctx);
    }
}

impl Handler<DynamicApplied> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: DynamicApplied, ctx: &mut Self::Context) {
        // Also when it comes late: settings are in force when they are in force.
        self.config_applied = self.config_offered.clone();
        self.dynamic = msg.dynamic;
        self.settings = msg.settings.clone();
        self.publisher.settings(msg.settings);
        if !self.is_current(msg.ticket) {
            return;
        }
        self.answered(CONFIGURE, ctx);
        if let Some(gather) = self.cycle.as_mut().and_then(super::OpenCycle::gather) {
            gather.configured = true;
        }
        self.gathered(ctx);
    }
}

impl Handler<Observed> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: Observed, ctx: &mut Self::Context) {
        let current = self.is_current(msg.ticket);
        // Reports come in the order in which they were made: even a late one is the newest.
        self.show_server(&msg.report);
        let Some(gather) = self.cycle.as_mut().and_then(super::OpenCycle::gather).filter(|_| current) else {
            self.ended.extend(msg.report.ended);
            self.late();
            return;
        };
        let earlier = gather.server.take().flatten().map(|r| r.ended).unwrap_or_default();
        let ended = earlier.into_iter().chain(msg.report.ended).collect();
        gather.server = Some(Some(ServerReport { ended, ..msg.report }));
        self.answered(OBSERVE, ctx);
        self.gathered(ctx);
    }
}

impl Handler<ServerMoved> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: ServerMoved, _ctx: &mut Self::Context) {
        self.show_server(&msg.0);
    }
}

impl Handler<StatusAnswered> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: StatusAnswered, ctx: &mut Self::Context) {
        let current = self.is_current(msg.ticket);
        let gather = self.cycle.as_mut().and_then(super::OpenCycle::gather).filter(|g| current && g.status.is_none());
        match gather {
            Some(gather) => {
                gather.status = Some(msg.status.clone());
                self.position = msg.status.as_ref().map(crate::cluster::NodeStatus::position).or(self.position);
                self.publisher.status(msg.status, self.clock.mono());
                self.answered(STATUS, ctx);
                self.gathered(ctx);
            }
            None => self.late(),
        }
    }
}

impl Handler<Executed> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: Executed, ctx: &mut Self::Context) {
        if self.is_current(msg.ticket) {
            self.outcome(msg.ticket.index, msg.outcome, ctx);
        } else {
            self.late();
        }
    }
}

impl Handler<Wake> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: Wake, ctx: &mut Self::Context) {
        if self.finished {
            return;
        }
        let at = self.schedule.woken(msg, self.clock.mono());
        if self.cycle.is_some() {
            if matches!(msg, Wake::Job | Wake::PostmasterExit) {
                self.look_again(ctx);
            }
            self.woken = Some(self.woken.map_or(at, |other| other.min(at)));
        } else {
            self.plan(at, true, ctx);
        }
    }
}

impl Handler<Ask> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: Ask, ctx: &mut Self::Context) {
        let taken = if msg.request == Request::Wake {
            let answer = Answer { kind: AnswerKind::Done, text: String::new() };
            if msg.answer.send(answer).is_err() {
                tracing::debug!("nobody waits for the answer of a request any more");
            }
            true
        } else {
            self.requests.add(msg.request, self.clock.mono(), msg.answer)
        };
        if taken {
            self.handle(Wake::Request, ctx);
        }
    }
}

impl Handler<SettingsChanged> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: SettingsChanged, ctx: &mut Self::Context) {
        self.settings = msg.0.clone();
        self.publisher.settings(msg.0);
        self.handle(Wake::Request, ctx);
    }
}

impl Handler<WatchdogChanged> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: WatchdogChanged, _ctx: &mut Self::Context) {
        self.watchdog = msg.0;
    }
}

impl Handler<StopAgent> for Coordinator {
    type Result = ();

    fn handle(&mut self, _msg: StopAgent, ctx: &mut Self::Context) {
        if !self.stopping {
            self.stopping = true;
            self.handle(Wake::Request, ctx);
        }
    }
}

impl Handler<Partners> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: Partners, _ctx: &mut Self::Context) {
        self.partners = msg;
    }
}

impl Handler<ReadJournal> for Coordinator {
    type Result = ();

    fn handle(&mut self, msg: ReadJournal, _ctx: &mut Self::Context) {
        if msg.answer.send(self.journal.lines()).is_err() {
            tracing::debug!("nobody waits for the journal any more");
        }
    }
}
