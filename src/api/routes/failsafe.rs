//! Fail-safe mode: GET and POST /failsafe (API-33, API-34).

use super::{Call, Refusal};
use crate::api::access::MembersCount;
use crate::api::call::Body;
use crate::api::{Reply, Verdict};
use crate::cluster::FailsafeCall;
use actix_web::web::Payload;

/// GET: the members that a primary without a store has to ask, as the store had them last; 502 without a map.
pub fn get(call: &Call<'_>) -> Reply {
    let failsafe = call.snapshot.cluster.as_ref().and_then(|(c, _)| c.failsafe.as_ref());
    failsafe.map_or_else(|| Reply::error(502), |map| Reply::json(200, map))
}

/// POST: a primary without a store asks to be left in the lead. 502 while the mode is off, 500 with the reason from who
/// does not agree.
pub async fn post(call: &Call<'_>, payload: Payload) -> Result<Reply, Refusal> {
    // Members have no rights of their own here: they send the password like everybody else.
    call.authorize(MembersCount::Never).await?;
    if !call.snapshot.settings.global.failsafe_mode {
        return Ok(Reply::error(502));
    }
    let body = call.json(payload, Body::Required).await?;
    let asked = match FailsafeCall::parse(&body) {
        Ok(asked) => asked,
        Err(error) => return Ok(Reply::text(400, error.to_string())),
    };
    Ok(match call.app.gateway.hear_primary(asked).await {
        Verdict::Accepted(position) => {
            let lsn = position.map(|lsn| ("lsn", lsn.0.to_string()));
            Reply { headers: lsn.into_iter().collect(), ..Reply::text(200, "Accepted") }
        }
        Verdict::Refused(reason) => Reply::text(500, reason),
    })
}
