//! Requests with rotation of endpoints, retries, logins and deadlines.

use super::endpoint::Access;
use super::error::Failure;
use crate::clock::Clock;
use crate::dcs::DcsError;
use crate::dcs::failover::{Attempts, Next, Patience, Rotation, TermGuard};
use crate::types::Mono;
use etcd_client::{
    Client, DeleteResponse, Error, GetResponse, LeaseGrantResponse, PutResponse, ResponseHeader, TxnResponse,
};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::timeout;

/// Whether a request that got no answer may have changed something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    Read,
    Write,
}

/// How a call ended badly, for those who can do something about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// The lease is gone; nothing was done by this last try.
    LeaseNotFound,
    /// The caller's error.
    Dcs(DcsError),
}

/// A good end.
#[derive(Debug)]
pub(super) struct Reply<T> {
    pub response: T,
    /// The moment before this very request was sent.
    pub sent: Mono,
    /// Who answered.
    pub endpoint: String,
    /// The highest raft term that this endpoint had shown before; 0: none.
    pub term_before: u64,
    /// Its term now.
    pub term: u64,
    /// An earlier try of this call got no answer: what is found in the store may be its work.
    pub perhaps_done_before: bool,
}

pub(super) trait HasHeader {
    fn response_header(&self) -> Option<&ResponseHeader>;
}

macro_rules! has_header {
    ($($response:ty),*) => {
        $(impl HasHeader for $response {
            fn response_header(&self) -> Option<&ResponseHeader> {
                self.header()
            }
        })*
    };
}
has_header!(GetResponse, PutResponse, TxnResponse, DeleteResponse, LeaseGrantResponse);

impl HasHeader for () {
    fn response_header(&self) -> Option<&ResponseHeader> {
        None
    }
}

#[derive(Default)]
struct Known {
    client: Option<Client>,
    term: u64,
}

pub(super) struct Caller {
    access: Access,
    clock: Clock,
    rotation: Mutex<Rotation>,
    known: Mutex<HashMap<String, Known>>,
    guard: Mutex<TermGuard>,
}

/// What one call remembers between its tries.
struct Course {
    effect: Effect,
    lost: bool,
    logged_in_again: Vec<String>,
    first_failed: Option<String>,
    last: String,
}

impl Caller {
    pub(super) fn new(access: Access, clock: Clock, rotation: Rotation) -> Self {
        Self { access, clock, rotation: Mutex::new(rotation), known: Mutex::default(), guard: Mutex::default() }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn rotation(&self) -> MutexGuard<'_, Rotation> {
        locked(&self.rotation)
    }

    /// Asks endpoint after endpoint until one answers or the budget is spent. `request` may be sent several times.
    pub(super) async fn call<T, F, A>(
        &self,
        effect: Effect,
        patience: Patience,
        budget: Duration,
        request: F,
    ) -> Result<Reply<T>, CallError>
    where
        T: HasHeader,
        F: Fn(Client) -> A,
        A: Future<Output = Result<T, Error>>,
    {
        let mut attempts = Attempts::new(self.clock.mono(), budget, self.rotation().len(), patience);
        let mut course = Course::new(effect);
        loop {
            let time = match attempts.next(self.clock.mono()) {
                Next::GiveUp => return Err(CallError::Dcs(course.end())),
                Next::Pause(time) => {
                    tokio::time::sleep(time).await;
                    continue;
                }
                Next::Try(time) => time,
            };
            let Some(endpoint) = self.rotation().current().map(str::to_owned) else {
                return Err(CallError::Dcs(DcsError::Refused("etcd3: no host is configured".to_owned())));
            };
            match self.one_try(&endpoint, time, &request, &mut course).await {
                Ok(reply) => {
                    if course.first_failed.is_some_and(|failed| failed != endpoint) {
                        tracing::info!("Selected new etcd server {endpoint}");
                    }
                    return Ok(reply);
                }
                Err(Failure::LeaseNotFound) => return Err(CallError::LeaseNotFound),
                Err(Failure::Refused(text)) => return Err(CallError::Dcs(course.refused(text))),
                Err(failure) => {
                    course.report(&endpoint, failure.text());
                    course.lost |= matches!(failure, Failure::Lost(_));
                    course.last = format!("{endpoint}: {}", failure.text());
                    self.leave(&endpoint);
                }
            }
        }
    }

    /// One try at one endpoint, with at most one new login.
    async fn one_try<T, F, A>(
        &self,
        endpoint: &str,
        time: Duration,
        request: &F,
        course: &mut Course,
    ) -> Result<Reply<T>, Failure>
    where
        T: HasHeader,
        F: Fn(Client) -> A,
        A: Future<Output = Result<T, Error>>,
    {
        let until = self.clock.mono() + time;
        loop {
            let left = until.since(self.clock.mono());
            // Connecting gets less than the whole: then a host that is down is known to have done nothing.
            let client = timeout(left, self.client(endpoint, left.mul_f32(0.9)));
            let mut client = client.await.map_err(|_| Failure::NotDone("login timed out".to_owned()))??;
            let term_before = self.with_known(endpoint, |known| known.term);
            let sent = self.clock.mono();
            let answer = timeout(until.since(sent), request(client.clone())).await;
            let failure = match answer {
                Err(_) => Failure::Lost("timed out".to_owned()),
                Ok(Err(error)) => Failure::of(&error),
                Ok(Ok(response)) => {
                    let term = self.note_header(endpoint, response.response_header(), course.effect)?;
                    let perhaps_done_before = course.lost;
                    let endpoint = endpoint.to_owned();
                    return Ok(Reply { response, sent, endpoint, term_before, term, perhaps_done_before });
                }
            };
            let Failure::Login(text) = failure else { return Err(failure) };
            if !self.access.has_login() {
                return Err(Failure::Refused(format!("{text}; username or password not set")));
            }
            if course.logged_in_again.iter().any(|e| e == endpoint) {
                return Err(Failure::NotDone(text));
            }
            course.logged_in_again.push(endpoint.to_owned());
            tracing::error!("Login to Etcd has lapsed: {text}");
            let log_in = timeout(until.since(self.clock.mono()), self.access.log_in(&mut client));
            log_in.await.map_err(|_| Failure::NotDone("login timed out".to_owned()))??;
        }
    }

    /// The client of an endpoint, made if need be.
    pub(super) async fn client(&self, endpoint: &str, connect_timeout: Duration) -> Result<Client, Failure> {
        if let Some(client) = self.with_known(endpoint, |known| known.client.clone()) {
            return Ok(client);
        }
        let client = self.access.client(endpoint, connect_timeout).await?;
        self.with_known(endpoint, |known| known.client = Some(client.clone()));
        Ok(client)
    }

    /// Something is wrong with this endpoint: the next one is asked from now on, and this one by a new connection.
    pub(super) fn leave(&self, endpoint: &str) {
        self.forget_client(endpoint);
        self.rotation().failed(endpoint);
    }

    fn forget_client(&self, endpoint: &str) {
        self.with_known(endpoint, |known| known.client = None);
    }

    /// Takes note of the raft term; refuses what a member read that was left behind. What was written counts: it
    /// cannot have been without a majority.
    fn note_header(&self, endpoint: &str, header: Option<&ResponseHeader>, effect: Effect) -> Result<u64, Failure> {
        let Some(header) = header else { return Ok(self.with_known(endpoint, |known| known.term)) };
        let term = header.raft_term();
        // A member's idea of its own address ("localhost") may lead us into somebody else's etcd.
        let foreign = locked(&self.guard).is_other_cluster(header.cluster_id());
        if foreign && !self.rotation().is_configured(endpoint) {
            return Err(Failure::NotDone("it belongs to another Etcd cluster".to_owned()));
        }
        self.with_known(endpoint, |known| known.term = term);
        if locked(&self.guard).accept(header.cluster_id(), term) || effect == Effect::Write {
            return Ok(term);
        }
        Err(Failure::NotDone(format!("this Etcd node is stale: raft term {term}")))
    }

    fn with_known<T>(&self, endpoint: &str, use_it: impl FnOnce(&mut Known) -> T) -> T {
        use_it(locked(&self.known).entry(endpoint.to_owned()).or_default())
    }
}

impl Course {
    fn new(effect: Effect) -> Self {
        let last = "no time left".to_owned();
        Self { effect, lost: false, logged_in_again: Vec::new(), first_failed: None, last }
    }

    /// The first failure is worth a line; the many that follow while etcd is down are not.
    fn report(&mut self, endpoint: &str, text: &str) {
        if self.first_failed.is_none() {
            tracing::error!("Request to server {endpoint} failed: {text}");
            self.first_failed = Some(endpoint.to_owned());
        } else {
            tracing::debug!("Request to server {endpoint} failed: {text}");
        }
    }

    fn end(self) -> DcsError {
        let text = format!("Etcd is not responding properly: {}", self.last);
        if self.lost && self.effect == Effect::Write { DcsError::Unknown(text) } else { DcsError::Unreachable(text) }
    }

    fn refused(&self, text: String) -> DcsError {
        if self.lost && self.effect == Effect::Write { DcsError::Unknown(text) } else { DcsError::Refused(text) }
    }
}

/// The lock of a mutex whose holders cannot leave it half changed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
