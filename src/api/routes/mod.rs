//! From a request to its handler. Handlers stand in one file a group.

mod config;
mod failsafe;
mod info;
mod reinitialize;
mod restart;
mod switchover;

use super::access::{self, Client, MembersCount};
use super::allowlist::Allowlist;
use super::call::{self, Body, Target};
use super::tls::ClientCertificate;
use super::{Facts, Gateway, Reply, Snapshot, facts, health, status};
use crate::config::settings::RestApi;
use crate::ha::{Answer, AnswerKind, Request};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// A server's answer that is younger than this is not asked for again.
const STATUS_AGE: Duration = Duration::from_millis(250);
/// How long a health check waits for the server: its answer must not depend on a frozen PostgreSQL.
const HEALTH_PATIENCE: Duration = Duration::from_millis(100);
/// How long a request for the status itself waits: other members read it in the leader race, which has 2 s.
const STATUS_PATIENCE: Duration = Duration::from_millis(500);
/// How long the coordinator may take to note a request that needs no work.
const NOTE_PATIENCE: Duration = Duration::from_secs(10);

/// What handlers share.
pub struct App {
    /// The agent.
    pub gateway: Arc<dyn Gateway>,
    /// Memory of the allow-list.
    pub allowlist: Allowlist,
}

/// What one handler works with.
pub struct Call<'a> {
    app: &'a App,
    request: &'a HttpRequest,
    target: Target,
    snapshot: Arc<Snapshot>,
}

/// How a handler ends early: with the reply that explains why.
type Refusal = Box<Reply>;

/// Answers one request.
pub async fn serve(request: HttpRequest, payload: web::Payload, app: web::Data<App>) -> HttpResponse {
    let started = app.gateway.clock().mono();
    let snapshot = app.gateway.snapshot();
    let call = Call {
        app: app.get_ref(),
        request: &request,
        target: Target::new(request.uri().path(), request.query_string()),
        snapshot: Arc::clone(&snapshot),
    };
    let reply = call.dispatch(payload).await.unwrap_or_else(|refusal| *refusal);
    let latency = app.gateway.clock().mono().since(started).as_secs_f64() * 1000.0;
    let (address, code) = (call.address_text(), reply.code);
    tracing::debug!(
        "API thread: {address} - - \"{} {} {:?}\" {code} - latency: {latency:.3} ms",
        request.method(),
        request.uri(),
        request.version()
    );
    let (extra, server) = headers(&snapshot.settings.restapi);
    reply.into_response(&extra, server.as_deref())
}

/// Headers of every full answer (API-46, API-47).
fn headers(restapi: &RestApi) -> (Vec<(String, String)>, Option<String>) {
    let mut extra = restapi.http_extra_headers.clone();
    if restapi.certfile.is_some() {
        extra.extend(restapi.https_extra_headers.clone());
    }
    let server = match restapi.server_tokens.to_ascii_lowercase().as_str() {
        "productonly" => Some("Patroni".to_owned()),
        "minimal" => Some(format!("Patroni/{}", crate::PATRONI_VERSION)),
        _ => None,
    };
    (extra.into_iter().collect(), server)
}

impl Call<'_> {
    /// Selects the handler by method and first part of the path; other GET, HEAD and OPTIONS are health checks, other
    /// methods are not known (API-37 to API-40).
    async fn dispatch(&self, payload: web::Payload) -> Result<Reply, Refusal> {
        let method = self.request.method();
        match (method.as_str(), self.target.endpoint()) {
            ("GET", "liveness") => Ok(Reply::bare(health::liveness(&self.snapshot, self.now()))),
            ("GET", "readiness") => Ok(self.readiness().await),
            ("GET", "patroni") => Ok(Reply::json(200, &status::status(&self.facts(STATUS_PATIENCE).await))),
            ("GET", "cluster") => info::cluster(self).await,
            ("GET", "history") => info::history(self).await,
            ("GET", "config") => config::get(self).await,
            ("GET", "metrics") => Ok(info::metrics(&self.facts(STATUS_PATIENCE).await)),
            ("GET", "failsafe") => Ok(failsafe::get(self)),
            ("GET", _) => {
                let facts = self.facts(HEALTH_PATIENCE).await;
                Ok(Reply::json(health::code(&self.target, &facts), &status::status(&facts)))
            }
            ("HEAD" | "OPTIONS", _) => {
                let facts = self.facts(HEALTH_PATIENCE).await;
                Ok(Reply::bare(health::code(&self.target, &facts)))
            }
            ("PATCH", "config") => config::patch(self, payload).await,
            ("PUT", "config") => config::put(self, payload).await,
            ("POST", "restart") => restart::post(self, payload).await,
            ("DELETE", "restart") => restart::delete(self).await,
            ("POST", "switchover") => switchover::post(self, payload, switchover::Action::Switchover).await,
            ("POST", "failover") => switchover::post(self, payload, switchover::Action::Failover).await,
            ("DELETE", "switchover") => switchover::delete(self).await,
            ("POST", "reinitialize") => reinitialize::post(self, payload).await,
            ("POST", "reload") => {
                self.authorize(MembersCount::AsConfigured).await?;
                self.app.gateway.reload();
                Ok(Reply::text(202, "reload scheduled"))
            }
            ("POST", "failsafe") => failsafe::post(self, payload).await,
            // Stops nothing where there are signals (API-36).
            ("POST", "sigterm") => {
                self.authorize(MembersCount::AsConfigured).await?;
                Ok(Reply::text(202, "shutdown scheduled"))
            }
            ("POST", "citus" | "mpp") => {
                self.authorize(MembersCount::AsConfigured).await?;
                self.worker_event(payload).await
            }
            _ => Ok(Reply::unsupported(method.as_str())),
        }
    }

    /// Events of Citus workers: nobody listens unless this member coordinates such a cluster (API-35).
    async fn worker_event(&self, payload: web::Payload) -> Result<Reply, Refusal> {
        self.json(payload, Body::Required).await?;
        Ok(Reply::text(200, "OK"))
    }

    async fn readiness(&self) -> Reply {
        let facts = self.facts(HEALTH_PATIENCE).await;
        match health::readiness(&self.target, &facts) {
            Ok(()) => Reply::bare(200),
            Err(reason) => {
                tracing::debug!("Readiness check failure: {reason}");
                Reply::bare(503)
            }
        }
    }

    fn now(&self) -> crate::types::Mono {
        self.app.gateway.clock().mono()
    }

    /// The agent's state, with an answer of the server if it gives one in time.
    async fn facts(&self, patience: Duration) -> Facts {
        let gateway = &self.app.gateway;
        let status = if facts::may_answer(self.snapshot.server.state) {
            // The guard holds even if the promise of the gateway does not.
            let answer = gateway.live_status(STATUS_AGE, patience);
            tokio::time::timeout(patience * 2, answer).await.unwrap_or_default()
        } else {
            None
        };
        // The lease may have ended while we waited.
        Facts::new(gateway.snapshot(), status, gateway.clock().mono())
    }

    async fn json(&self, payload: web::Payload, body: Body) -> Result<Map<String, Value>, Refusal> {
        call::read_json(self.request, payload, body).await
    }

    async fn authorize(&self, members: MembersCount) -> Result<(), Refusal> {
        let authorization = self.request.headers().get(header::AUTHORIZATION);
        let client = Client {
            address: self.request.peer_addr().map(|a| a.ip()),
            certificate: self.request.conn_data::<ClientCertificate>().is_some(),
            authorization: authorization.map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned()),
        };
        access::check(&client, &self.app.allowlist, &self.snapshot, members).await
    }

    /// Hands a request to the coordinator.
    async fn ask(&self, request: Request, patience: Duration) -> Result<Answer, Refusal> {
        let answer = tokio::time::timeout(patience, self.app.gateway.request(request)).await;
        answer.map_err(|_| Box::new(Reply::text(503, "no answer from the HA loop")))
    }

    /// Tells the coordinator to look now; nobody waits for it.
    fn wake(&self) {
        let gateway = Arc::clone(&self.app.gateway);
        actix_web::rt::spawn(async move {
            if tokio::time::timeout(NOTE_PATIENCE, gateway.request(Request::Wake)).await.is_err() {
                tracing::warn!("the HA loop could not be woken within {} s", NOTE_PATIENCE.as_secs());
            }
        });
    }

    fn address_text(&self) -> String {
        self.request.peer_addr().map_or_else(|| "-".to_owned(), |a| a.ip().to_string())
    }
}

/// The reply that an answer of the coordinator makes.
fn reply_of(answer: Answer) -> Reply {
    let code = match answer.kind {
        AnswerKind::Done => 200,
        AnswerKind::Scheduled => 202,
        AnswerKind::NotFound => 404,
        AnswerKind::Conflict => 409,
        AnswerKind::NotDone => 503,
    };
    Reply::text(code, answer.text)
}
