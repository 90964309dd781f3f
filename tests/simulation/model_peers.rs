//! The members' REST API as other members reach it: GET on the `api_url`, over links that may be cut or slow.

use super::world::World;
use async_trait::async_trait;
use patroni::actors::peers::PeerTransport;
use patroni::api::Snapshot;
use patroni::cluster::Role;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

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
