//! The postgres monitor: owns the status query. Whoever asks while one runs shares its answer.

use super::messages::{AskStatus, QueryStatus, StatusAnswered, StatusSeen};
use crate::clock::Clock;
use crate::cluster::NodeStatus;
use crate::postgres::{PgError, PostgresControl};
use crate::types::Mono;
use actix::{Actor, AsyncContext, Context, Handler, Message, Recipient};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

/// The query ends by itself after two attempts of 5 s; a connection that hangs beyond that is given up.
const QUERY_PATIENCE: Duration = Duration::from_secs(12);

/// The actor.
pub struct PostgresMonitor {
    control: Rc<dyn PostgresControl>,
    clock: Clock,
    supervisor: Recipient<StatusSeen>,
    /// The last answer and when it came; `None`: the server did not answer the last time it was asked.
    last: Option<(Arc<NodeStatus>, Mono)>,
    /// Those who wait for the query that runs; `None`: none runs.
    running: Option<Waiting>,
    next_ask: u64,
    /// Why there was no answer, as last said in the log: it is said once.
    complaint: Option<String>,
}

#[derive(Default)]
struct Waiting {
    cycles: Vec<QueryStatus>,
    asks: Vec<(u64, oneshot::Sender<Option<Arc<NodeStatus>>>)>,
}

/// The query ended.
#[derive(Message)]
#[rtype(result = "()")]
struct Queried(Result<NodeStatus, PgError>);

/// A question of the REST API has waited long enough.
#[derive(Message)]
#[rtype(result = "()")]
struct Impatient(u64);

impl PostgresMonitor {
    /// A monitor of the server behind `control`; `supervisor` is told after each query whether the server answered.
    #[must_use]
    pub fn new(control: Rc<dyn PostgresControl>, clock: Clock, supervisor: Recipient<StatusSeen>) -> Self {
        Self { control, clock, supervisor, last: None, running: None, next_ask: 0, complaint: None }
    }

    /// A server that is down, starts or stops is no news; a wrong password or a server that hangs is.
    fn complain(&mut self, reason: &str) {
        debug!("no status: {reason}");
        let expected = ["refused", "No such file", "the database system is"];
        if !expected.iter().any(|text| reason.contains(text)) && self.complaint.as_deref() != Some(reason) {
            warn!("PostgreSQL does not tell its status: {reason}");
            self.complaint = Some(reason.to_owned());
        }
    }

    /// The list of those who wait, with a query under way.
    fn join(&mut self, context: &mut Context<Self>) -> &mut Waiting {
        let (control, me) = (Rc::clone(&self.control), context.address());
        self.running.get_or_insert_with(|| {
            actix::spawn(async move {
                let result = timeout(QUERY_PATIENCE, control.status()).await;
                let silence = || Err(PgError::TimedOut("the status query hangs".to_owned()));
                me.do_send(Queried(result.unwrap_or_else(|_| silence())));
            });
            Waiting::default()
        })
    }
}

impl Actor for PostgresMonitor {
    type Context = Context<Self>;
}

impl Handler<QueryStatus> for PostgresMonitor {
    type Result = ();

    fn handle(&mut self, message: QueryStatus, context: &mut Self::Context) {
        self.join(context).cycles.push(message);
    }
}

impl Handler<AskStatus> for PostgresMonitor {
    type Result = ();

    fn handle(&mut self, message: AskStatus, context: &mut Self::Context) {
        let now = self.clock.mono();
        if let Some((status, at)) = &self.last
            && now.since(*at) <= message.max_age
        {
            return give(message.answer, Some(Arc::clone(status)));
        }
        let id = self.next_ask;
        self.next_ask += 1;
        self.join(context).asks.push((id, message.answer));
        context.notify_later(Impatient(id), message.patience);
    }
}

impl Handler<Impatient> for PostgresMonitor {
    type Result = ();

    fn handle(&mut self, message: Impatient, _: &mut Self::Context) {
        let last = self.last.as_ref().map(|(status, _)| Arc::clone(status));
        let Some(waiting) = &mut self.running else { return };
        if let Some(place) = waiting.asks.iter().position(|(id, _)| *id == message.0) {
            give(waiting.asks.swap_remove(place).1, last);
        }
    }
}

impl Handler<Queried> for PostgresMonitor {
    type Result = ();

    fn handle(&mut self, message: Queried, _: &mut Self::Context) {
        let Some(waiting) = self.running.take() else { return };
        self.last = match message.0 {
            Ok(status) => {
                self.complaint = None;
                Some((Arc::new(status), self.clock.mono()))
            }
            Err(error) => {
                self.complain(&error.to_string());
                None
            }
        };
        self.supervisor.do_send(StatusSeen { answered: self.last.is_some() });
        let status = self.last.as_ref().map(|(status, _)| Arc::clone(status));
        for question in waiting.cycles {
            let status = status.as_deref().cloned();
            question.reply.do_send(StatusAnswered { ticket: question.ticket, status });
        }
        for (_, answer) in waiting.asks {
            give(answer, status.clone());
        }
    }
}

/// The one who asked may have gone away.
fn give(answer: oneshot::Sender<Option<Arc<NodeStatus>>>, status: Option<Arc<NodeStatus>>) {
    if answer.send(status).is_err() {
        debug!("nobody waits for the status any more");
    }
}
