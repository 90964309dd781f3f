//! The dynamic configuration: GET, PATCH and PUT /config (API-20 to API-22).

use super::{Call, Refusal, info};
use crate::api::Reply;
use crate::api::access::MembersCount;
use crate::api::call::Body;
use crate::config;
use crate::dcs::DcsError;
use actix_web::web::Payload;

/// GET: the configuration, 502 without one.
pub async fn get(call: &Call<'_>) -> Result<Reply, Refusal> {
    let cluster = info::known(call).await?;
    Ok(cluster.config.as_ref().map_or_else(|| Reply::error(502), |config| Reply::json(200, &config.data)))
}

/// PATCH: null removes, objects are merged. 409 when somebody else changed the configuration meanwhile.
pub async fn patch(call: &Call<'_>, payload: Payload) -> Result<Reply, Refusal> {
    call.authorize(MembersCount::AsConfigured).await?;
    let request = call.json(payload, Body::Required).await?;
    let cluster = info::load(call).await?;
    let Some(config) = &cluster.config else { return Ok(Reply::error(503)) };
    let mut data = config.data.clone();
    if config::patch(&mut data, &request) {
        let written = call.app.gateway.write_config(data.clone(), Some(config.revision)).await;
        if let Err(error) = written {
            return Ok(not_written(&error, 409));
        }
    }
    call.wake();
    Ok(Reply::json(200, &data))
}

/// PUT: replaces the configuration, whatever was there.
pub async fn put(call: &Call<'_>, payload: Payload) -> Result<Reply, Refusal> {
    call.authorize(MembersCount::AsConfigured).await?;
    let request = call.json(payload, Body::Required).await?;
    let cluster = info::load(call).await?;
    let same = cluster.config.as_ref().is_some_and(|config| config::same(&request, &config.data));
    if !same {
        if let Err(error) = call.app.gateway.write_config(request.clone(), None).await {
            return Ok(not_written(&error, 502));
        }
        call.wake();
    }
    Ok(Reply::json(200, &request))
}

fn not_written(error: &DcsError, code: u16) -> Reply {
    tracing::warn!("the configuration was not written: {error}");
    Reply::error(code)
}
