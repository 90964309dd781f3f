//! The slot manager: brings physical slots to the plan of a cycle, one pass at a time.

use super::messages::{Execute, Executed};
use crate::cluster::SlotPlan;
use crate::ha::{Command, Outcome};
use crate::postgres::{PgError, PostgresControl};
use crate::types::Lsn;
use actix::{Actor, Context, Handler};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::time::timeout;
use tracing::{debug, info};

/// A pass that has not ended after this is given up: its connection may be dead.
const PASS_PATIENCE: Duration = Duration::from_secs(60);

type Slots = Vec<(String, Option<Lsn>, bool)>;

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
}

impl SlotManager {
    /// A manager of the slots of the server behind `control`.
    #[must_use]
    pub fn new(control: Rc<dyn PostgresControl>) -> Self {
        Self { pass: Rc::new(Pass { control, turn: Mutex::new(()), confirmed: RefCell::default() }) }
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
            if answer.send(pass.run(&plan).await).is_err() {
                debug!("a pass over the slots took longer than its cycle");
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
            Ok(Ok(slots)) => {
                self.confirm(&slots);
                Outcome::Slots(slots)
            }
            Ok(Err(PgError::NoConnection(reason))) => Outcome::Unreachable(reason),
            Ok(Err(error)) => Outcome::Failed(error.to_string()),
            Err(_) => Outcome::Unknown(format!("slots: no answer within {} s", PASS_PATIENCE.as_secs())),
        }
    }

    /// Says which slots came and went since the last pass.
    fn confirm(&self, slots: &Slots) {
        let names: BTreeSet<String> = slots.iter().map(|(name, ..)| name.clone()).collect();
        let before = self.confirmed.replace(names.clone());
        for name in names.difference(&before) {
            info!("physical slot {name} is there");
        }
        for name in before.difference(&names) {
            info!("physical slot {name} is gone");
        }
    }
}
