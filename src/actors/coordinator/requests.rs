//! Requests of the REST API that wait for the rules to settle them.

use crate::ha::{Answer, AnswerKind, PendingRequest, Request, RequestId};
use crate::types::Mono;
use tokio::sync::oneshot;

/// More than this many open requests are turned away.
const MOST: usize = 64;

/// Open requests, oldest first.
#[derive(Debug, Default)]
pub(super) struct Requests {
    last_id: u64,
    open: Vec<(PendingRequest, oneshot::Sender<Answer>)>,
}

impl Requests {
    /// Keeps a request. Whether it was taken; otherwise it is answered already.
    pub(super) fn add(&mut self, request: Request, at: Mono, answer: oneshot::Sender<Answer>) -> bool {
        if self.open.len() >= MOST {
            let text = "too many requests are waiting".to_owned();
            send(answer, Answer { kind: AnswerKind::NotDone, text });
            return false;
        }
        self.last_id += 1;
        self.open.push((PendingRequest { id: RequestId(self.last_id), request, at }, answer));
        true
    }

    /// The requests for the view.
    pub(super) fn pending(&self) -> Vec<PendingRequest> {
        self.open.iter().map(|(request, _)| request.clone()).collect()
    }

    /// Gives these requests their answers.
    pub(super) fn settle(&mut self, answers: Vec<(RequestId, Answer)>) {
        for (id, answer) in answers {
            if let Some(at) = self.open.iter().position(|(request, _)| request.id == id) {
                send(self.open.remove(at).1, answer);
            }
        }
    }
}

/// A client that is gone gets no answer.
fn send(channel: oneshot::Sender<Answer>, answer: Answer) {
    if channel.send(answer).is_err() {
        tracing::debug!("nobody waits for the answer of a request any more");
    }
}
