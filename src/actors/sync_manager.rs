//! The sync-standby manager: owns `synchronous_standby_names` on the server. It writes the list that the rules made, has
//! the server take it in, and says what the server shows then. It decides nothing.

use super::messages::{Execute, Executed};
use crate::cluster::{NodeStatus, SyncNames};
use crate::ha::{Command, Outcome};
use crate::postgres::{PgError, PostgresControl};
use actix::{Actor, Context, Handler};
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// A change that has not ended after this is given up: the disk or the connection may be dead.
const CHANGE_PATIENCE: Duration = Duration::from_secs(60);
/// How often the server is asked whether it has taken the list in, and how many times.
const LOOK: Duration = Duration::from_millis(100);
const LOOKS: usize = 20;
/// After one process of the server has taken the list in, the others get this, until its position is asked for.
const SPREAD: Duration = Duration::from_millis(100);

/// The actor.
pub struct SyncManager {
    change: Rc<Change>,
}

struct Change {
    control: Rc<dyn PostgresControl>,
    /// Held while the list is changed: what a later command asks for is never undone by an earlier one.
    turn: Mutex<()>,
}

impl SyncManager {
    /// A manager of the list of the server behind `control`.
    #[must_use]
    pub fn new(control: Rc<dyn PostgresControl>) -> Self {
        Self { change: Rc::new(Change { control, turn: Mutex::new(()) }) }
    }
}

impl Actor for SyncManager {
    type Context = Context<Self>;
}

impl Handler<Execute> for SyncManager {
    type Result = ();

    /// A change that outlives its budget goes on: its outcome is unknown, and the next command waits for its turn.
    fn handle(&mut self, message: Execute, _: &mut Self::Context) {
        let Execute { ticket, command, budget, reply } = message;
        let (answer, outcome) = oneshot::channel();
        let change = Rc::clone(&self.change);
        actix::spawn(async move {
            let _turn = change.turn.lock().await;
            // Nobody waits any more: it was never begun, and another decision has been made since.
            if answer.is_closed() {
                return;
            }
            let carried_out = timeout(CHANGE_PATIENCE, change.carry_out(command)).await;
            let late =
                |_| Outcome::Unknown(format!("no answer from PostgreSQL within {} s", CHANGE_PATIENCE.as_secs()));
            if answer.send(carried_out.unwrap_or_else(late)).is_err() {
                debug!("a change of synchronous_standby_names took longer than its cycle");
            }
        });
        actix::spawn(async move {
            let silence = || Outcome::Unknown(format!("no answer from PostgreSQL within {} s", budget.as_secs_f32()));
            let outcome = timeout(budget, outcome).await.ok().and_then(Result::ok).unwrap_or_else(silence);
            reply.do_send(Executed { ticket, outcome });
        });
    }
}

impl Change {
    async fn carry_out(&self, command: Command) -> Outcome {
        let result = match &command {
            Command::SetSyncNames(names) => self.set(names).await,
            Command::ProduceWal => self.control.produce_wal().await.map(|()| Outcome::Ok),
            other => return Outcome::Failed(format!("not a command for the sync-standby manager: {other:?}")),
        };
        result.unwrap_or_else(|error| match error {
            // Perhaps the server reads the file later, when somebody else has it reload.
            PgError::NoConnection(reason) | PgError::TimedOut(reason) => Outcome::Unknown(reason),
            other => Outcome::Failed(other.to_string()),
        })
    }

    async fn set(&self, names: &SyncNames) -> Result<Outcome, PgError> {
        let changed = self.control.set_sync_names(names).await?;
        let before = self.control.status().await?;
        let SyncNames::Own(text) = names else {
            if changed {
                self.control.reload().await?;
            }
            return Ok(Outcome::Status(Box::new(before)));
        };
        if !changed && before.synchronous_standby_names == *text {
            return Ok(Outcome::Status(Box::new(before)));
        }
        // Perhaps an earlier change was written and never read.
        self.control.reload().await?;
        let status = self.taken_in(text).await?;
        Ok(Outcome::Status(Box::new(status)))
    }

    /// Waits until the server shows the text, and says what it shows at last.
    async fn taken_in(&self, text: &str) -> Result<NodeStatus, PgError> {
        for _ in 0..LOOKS {
            sleep(LOOK).await;
            let status = self.control.status().await?;
            if status.synchronous_standby_names == text {
                sleep(SPREAD).await;
                if !status.in_recovery
                    && let Err(error) = self.control.produce_wal().await
                {
                    debug!("no WAL could be written after a change of synchronous_standby_names: {error}");
                }
                return self.control.status().await;
            }
        }
        let status = self.control.status().await?;
        if status.synchronous_standby_names != text {
            let shown = &status.synchronous_standby_names;
            warn!("synchronous_standby_names should be '{text}', but the server has '{shown}'");
        }
        Ok(status)
    }
}

#[cfg(test)]
#[path = "sync_manager_tests.rs"]
mod tests;
