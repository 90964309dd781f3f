//! The members' REST API as other members reach it: GET on the `api_url` and POST /failsafe, over links that may be cut or slow.

use super::world::World;
use async_trait::async_trait;
use patroni::actors::messages::HearPrimary;
use patroni::actors::peers::{PeerAnswer, PeerTransport};
use patroni::api::{Snapshot, Verdict};
use patroni::cluster::{FailsafeCall, Role};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// What the agent of one node sends its questions through.
pub struct ModelPeers {
    pub world: Arc<World>,
    pub node: usize,
}

/// The address of a member's API.
pub fn api_address(node: usize) -> String {
    format!("10.0.0.{}:8008", node + 1)
}

fn node_of(url: &str) -> Option<usize> {
    let last = url.strip_prefix("http://10.0.0.")?.split(':').next()?;
    last.parse::<usize>().ok()?.checked_sub(1)
}

#[async_trait]
impl PeerTransport for ModelPeers {
    async fn get(&self, url: &str, patience: Duration) -> Result<Vec<u8>, String> {
        let other = node_of(url).ok_or_else(|| format!("no such host: {url}"))?;
        let (silent, delay) = {
            let mut world = self.world.lock();
            let most = if world.slow_peers { 3000 } else { 5 };
            let lost = world.slow_peers && world.rng.u32(0..4) == 0;
            (lost || !world.linked(self.node, other), world.span(1, most))
        };
        sleep(delay.min(patience)).await;
        if silent || delay >= patience {
            sleep(patience.saturating_sub(delay)).await;
            return Err("timed out".to_owned());
        }
        let frozen = {
            let world = self.world.lock();
            if !world.nodes[other].agent {
                return Err("connection refused".to_owned());
            }
            world.nodes[other].server.frozen
        };
        if frozen {
            // The API asks its server with a short patience and answers from memory.
            sleep(Duration::from_millis(500)).await;
        }
        answer(&self.world, other).map(|value| value.to_string().into_bytes())
    }

    async fn post(&self, url: &str, body: &Value, patience: Duration) -> Result<PeerAnswer, String> {
        let other = node_of(url).ok_or_else(|| format!("no such host: {url}"))?;
        let whole = async {
            self.way(other).await;
            let verdict = deliver(&self.world, self.node, other, body).await;
            self.way(other).await;
            verdict
        };
        timeout(patience, whole).await.unwrap_or_else(|_| Err("timed out".to_owned()))
    }
}

impl ModelPeers {
    /// One way of a message, which may never come to its end.
    async fn way(&self, other: usize) {
        let (silent, delay) = {
            let mut world = self.world.lock();
            let most = if world.slow_peers { 1500 } else { 5 };
            let lost = world.slow_peers && world.rng.u32(0..8) == 0;
            (lost, world.span(1, most))
        };
        sleep(delay).await;
        if silent || !self.world.lock().linked(self.node, other) {
            std::future::pending::<()>().await;
        }
    }
}

/// The member's REST API hears a primary without a store.
async fn deliver(world: &World, caller: usize, node: usize, body: &Value) -> Result<PeerAnswer, String> {
    let refused = || "connection refused".to_owned();
    let hear = {
        let inner = world.lock();
        let it = &inner.nodes[node];
        let hear = it.word.hear.clone().filter(|_| it.agent).ok_or_else(refused)?;
        let on = it.snapshot.as_ref().is_some_and(|s| s.borrow().settings.global.failsafe_mode);
        on.then_some(hear)
    };
    let reply = |status, lsn, body| Ok(PeerAnswer { status, lsn, body });
    let Some(hear) = hear else { return reply(502, None, String::new()) };
    let call = FailsafeCall::parse(body.as_object().unwrap()).unwrap();
    let ttl = call.ttl.unwrap();
    let (answer, verdict) = tokio::sync::oneshot::channel();
    let forgets = world.lock().failsafe.forgets;
    let verdict = if forgets {
        Verdict::Accepted(None)
    } else {
        hear.do_send(HearPrimary { call, answer });
        verdict.await.map_err(|_| refused())?
    };
    let now = world.now();
    match verdict {
        Verdict::Accepted(lsn) => {
            let mut inner = world.lock();
            inner.nodes[node].word.promise = Some((caller, now + ttl));
            let (name, to) = (inner.name(node), inner.name(caller));
            inner.log(now, format!("{name} leaves {to} in the lead"));
            reply(200, lsn.map(|lsn| lsn.0.to_string()), "Accepted".to_owned())
        }
        Verdict::Refused(text) => reply(500, None, text),
    }
}

/// What the member says of itself: its server asked now, the rest from its agent's snapshot.
fn answer(world: &World, node: usize) -> Result<Value, String> {
    let now = world.now();
    let inner = world.lock();
    let it = &inner.nodes[node];
    let snapshot: Arc<Snapshot> = it.snapshot.as_ref().map(|s| s.borrow().clone()).ok_or("connection refused")?;
    let state = snapshot.server.state.as_str();
    let tags = &snapshot.settings.tags;
    let mut body = json!({"state": state, "tags": tags, "patroni": {"version": "4.1.5", "name": it.name}});
    if it.server.ready(now)
        && let (Some(data), Some(process)) = (&it.server.data, &it.server.process)
    {
        let role = if process.in_recovery { Role::Replica } else { Role::Primary };
        body["role"] = json!(role.as_str());
        body["timeline"] = json!(inner.wal.timeline(data.end.branch));
        body["xlog"] = if process.in_recovery {
            json!({"received_location": data.end.lsn, "replayed_location": data.replayed, "paused": false})
        } else {
            json!({"location": data.end.lsn})
        };
    } else {
        body["role"] = json!(snapshot.server.role.as_str());
    }
    Ok(body)
}
