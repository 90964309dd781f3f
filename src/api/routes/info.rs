//! What can be read of cluster and agent: /cluster, /history, /metrics.

use super::{Call, Refusal};
use crate::api::{Facts, Reply, metrics, own_metrics};
use crate::cluster::{Cluster, ClusterView, HistoryLine};
use serde_json::{Value, json};
use std::sync::Arc;

/// GET /cluster: the members, from a fresh read.
pub async fn cluster(call: &Call<'_>) -> Result<Reply, Refusal> {
    let cluster = load(call).await?;
    let mut view = ClusterView::of(&cluster).to_json();
    view.insert("scope".to_owned(), json!(call.snapshot.settings.scope));
    Ok(Reply::json(200, &view))
}

/// GET /history: list of lists.
pub async fn history(call: &Call<'_>) -> Result<Reply, Refusal> {
    let cluster = known(call).await?;
    let lines = cluster.history.as_ref().map(|h| h.lines.as_slice()).unwrap_or_default();
    Ok(Reply::json(200, &lines.iter().map(line).collect::<Vec<_>>()))
}

/// GET /metrics.
pub fn metrics(facts: &Facts) -> Reply {
    Reply { content_type: Some("text/plain"), ..Reply::text(200, metrics::render(facts) + &own_metrics::render()) }
}

/// Reads the store now.
pub async fn load(call: &Call<'_>) -> Result<Arc<Cluster>, Refusal> {
    call.app.gateway.load_cluster().await.map_err(|e| Box::new(Reply::store_failed(&e)))
}

/// The cluster as it is known, if that is still valid; else read now.
pub async fn known(call: &Call<'_>) -> Result<Arc<Cluster>, Refusal> {
    let now = call.app.gateway.clock().mono();
    match Facts::new(Arc::clone(&call.snapshot), None, now).cluster {
        Some(cluster) => Ok(cluster),
        None => load(call).await,
    }
}

fn line(line: &HistoryLine) -> Value {
    let mut out = vec![json!(line.timeline), json!(line.lsn), json!(line.reason)];
    if let Some(timestamp) = &line.timestamp {
        out.push(json!(timestamp));
        if let Some(leader) = &line.new_leader {
            out.push(json!(leader));
        }
    }
    Value::Array(out)
}
