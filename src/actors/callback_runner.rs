//! Runs callbacks for the cycle. The edge keeps the rule "one at a time" (CB-03).

use super::messages::{Execute, Executed};
use crate::cluster::Role;
use crate::ha::{Command, Outcome};
use crate::postgres::PostgresControl;
use actix::{Actor, Context, Handler};
use std::rc::Rc;

/// The actor.
pub struct CallbackRunner {
    control: Rc<dyn PostgresControl>,
}

impl CallbackRunner {
    /// A runner of the callbacks that are configured behind `control`.
    #[must_use]
    pub fn new(control: Rc<dyn PostgresControl>) -> Self {
        Self { control }
    }
}

impl Actor for CallbackRunner {
    type Context = Context<Self>;
}

impl Handler<Execute> for CallbackRunner {
    type Result = ();

    fn handle(&mut self, message: Execute, _: &mut Self::Context) {
        let outcome = match message.command {
            Command::Callback { event, role } => {
                // Scripts do not know the word for the moment between (CB-02).
                let role = if role == Role::Promoted { Role::Primary } else { role };
                self.control.callback(event, role);
                Outcome::Ok
            }
            other => Outcome::Failed(format!("not a command for the callback runner: {other:?}")),
        };
        message.reply.do_send(Executed { ticket: message.ticket, outcome });
    }
}
