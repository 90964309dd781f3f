//! POST /reinitialize (API-31).

use super::{Call, NOTE_PATIENCE, Refusal, reply_of};
use crate::api::Reply;
use crate::api::access::MembersCount;
use crate::api::call::Body;
use crate::config::loose::parse_bool;
use crate::ha::Request;
use actix_web::web::Payload;

/// Hands the wish to the coordinator, which starts it or says why not.
pub async fn post(call: &Call<'_>, payload: Payload) -> Result<Reply, Refusal> {
    call.authorize(MembersCount::AsConfigured).await?;
    let body = call.json(payload, Body::Optional).await?;
    tracing::debug!("received reinitialize request: {body:?}");
    let flag = |name: &str| body.get(name).and_then(parse_bool).unwrap_or(false);
    // Patroni's manual spells it with a dash.
    let from_leader = flag("from_leader") || flag("from-leader");
    let request = Request::Reinitialize { force: flag("force"), from_leader };
    Ok(reply_of(call.ask(request, NOTE_PATIENCE * 6).await?))
}
