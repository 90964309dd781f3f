//! The slot manager: brings slots to the plan of a cycle, one pass at a time; what may take long goes on beside the passes.

use super::messages::{Execute, Executed};
use crate::cluster::{SlotPlan, SlotReport};
use crate::ha::{Command, Outcome};
use crate::postgres::{PgError, PostgresControl};
use actix::{Actor, Context, Handler};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tracing::{debug, info};

/// A pass that has not ended after this is given up: its connection may be dead.
const PASS_PATIENCE: Duration = Duration::from_secs(60);

/// The actor.
pub struct SlotManager {
    pass: Rc<Pass>,
}

struct Pass {
    control: Rc<dyn PostgresControl>,
    /// Held while a pass runs.
    turn: Mutex<()>,
    /// Names that the server had after the last pass.
    confirmed: RefCell<BTreeSet<String>>,
    /// The newest plan whose logical slots are to be advanced.
    pending: RefCell<Option<SlotPlan>>,
    /// Logical slots are being advanced.
    advancing: Cell<bool>,
}

impl SlotManager {
    /// A manager of the slots of the server behind `control`.
    #[must_use]
    pub fn new(control: Rc<dyn PostgresControl>) -> Self {
        Self {
            pass: Rc::new(Pass {
                control,
                turn: Mutex::new(()),
                confirmed: RefCell::default(),
                pending: RefCell::default(),
                advancing: Cell::default(),
            }),
        }
    }
}

impl Actor for SlotManager {
    type Context = Context<Self>;
}

impl Handler<Execute> for SlotManager {
    type Result = ();

    /// A pass that outlives its budget goes on, and the next waits for its turn.
    fn handle(&mut self, message: Execute, _: &mut Self::Context) {
        let Execute { ticket, command, budget, reply } = message;
        let Command::SyncSlots(plan) = command else {
            let outcome = Outcome::Failed(format!("not a command for the slot manager: {command:?}"));
            return reply.do_send(Executed { ticket, outcome });
        };
        let (answer, outcome) = oneshot::channel();
        let pass = Rc::clone(&self.pass);
        actix::spawn(async move {
            let _turn = pass.turn.lock().await;
            // Nobody waits any more: a newer plan is under way.
            if answer.is_closed() {
                return;
            }
            let outcome = pass.run(&plan).await;
            let went_well = matches!(outcome, Outcome::Slots(_));
            if answer.send(outcome).is_err() {
                debug!("a pass over the slots took longer than its cycle");
            }
            if went_well {
                Pass::advance(&pass, plan);
            }
        });
        actix::spawn(async move {
            let silence = || Outcome::Unknown(format!("slots: no answer within {} s", budget.as_secs_f32()));
            let outcome = timeout(budget, outcome).await.ok().and_then(Result::ok).unwrap_or_else(silence);
            reply.do_send(Executed { ticket, outcome });
        });
    }
}

impl Pass {
    async fn run(&self, plan: &SlotPlan) -> Outcome {
        match timeout(PASS_PATIENCE, self.control.sync_slots(plan)).await {
            Ok(Ok(report)) => {
                self.confirm(&report);
                Outcome::Slots(report)
            }
            Ok(Err(PgError::NoConnection(reason))) => Outcome::Unreachable(reason),
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Unknown(format!("slots: no answer within {} s", PASS_PATIENCE.as_secs())),
        }
    }

    /// Advances the logical slots of a standby beside the passes, one work at a time: while it goes on, only the newest
    /// plan is kept for afterwards.
    fn advance(pass: &Rc<Self>, plan: SlotPlan) {
        let due = !plan.primary && plan.logical().next().is_some();
        pass.pending.replace(due.then_some(plan));
        if pass.advancing.replace(true) {
            return;
        }
        let pass = Rc::clone(pass);
        actix::spawn(async move {
            loop {
                let Some(plan) = pass.pending.take() else { break };
                pass.control.advance_slots(&plan).await;
            }
            pass.advancing.set(false);
        });
    }

    /// Says which slots came and went since the last pass.
    fn confirm(&self, report: &SlotReport) {
        let names: BTreeSet<String> = report.slots.iter().map(|(name, ..)| name.clone()).collect();
        let before = self.confirmed.replace(names.clone());
        for name in names.difference(&before) {
            info!("replication slot {name} is there");
        }
        for name in before.difference(&names) {
            info!("replication slot {name} is gone");
        }
    }
}
