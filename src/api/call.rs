//! A request, taken apart: path, endpoint, query, JSON body.

use super::Reply;
use actix_web::http::header::CONTENT_LENGTH;
use actix_web::{HttpRequest, web};
use serde_json::{Map, Value};
use std::time::Duration;

/// The largest body that is read; the configuration of a cluster is far smaller.
const BODY_LIMIT: usize = 4 << 20;
/// A body that is longer under way is given up.
const BODY_PATIENCE: Duration = Duration::from_secs(10);

/// Where a request goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Path without query.
    pub path: String,
    /// Parameters in order, decoded; those without a value are left out.
    pub query: Vec<(String, String)>,
}

impl Target {
    /// Takes the path and query of a request apart. Nothing is refused.
    #[must_use]
    pub fn new(path: &str, query: &str) -> Self {
        let pairs = web::Query::<Vec<(String, String)>>::from_query(query).map(web::Query::into_inner);
        let query = pairs.unwrap_or_default().into_iter().filter(|(_, v)| !v.is_empty()).collect();
        let path = match path.trim_start_matches('/') {
            "" => "/".to_owned(),
            rest => format!("/{rest}"),
        };
        Self { path, query }
    }

    /// The first part of the path: it selects the handler.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.path.trim_start_matches('/').split('/').next().unwrap_or_default()
    }

    /// The first value of a parameter.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(k, _)| k == name).map(|(_, v)| v.as_str())
    }
}

/// Whether a request may come without a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// A JSON object that is not empty.
    Required,
    /// No or an empty body counts as an empty object.
    Optional,
}

/// Reads the body as a JSON object (API-41): 411 without a length, 400 for anything else than an object.
///
/// # Errors
/// The reply to send instead.
pub async fn read_json(
    request: &HttpRequest,
    payload: web::Payload,
    body: Body,
) -> Result<Map<String, Value>, Box<Reply>> {
    let Some(length) = request.headers().get(CONTENT_LENGTH) else {
        return if body == Body::Optional { Ok(Map::new()) } else { Err(Box::new(Reply::error(411))) };
    };
    let length = length.to_str().ok().and_then(|l| l.trim().parse::<usize>().ok());
    let length = length.ok_or_else(|| Box::new(Reply::error(400)))?;
    if length == 0 && body == Body::Optional {
        return Ok(Map::new());
    }
    if length > BODY_LIMIT {
        return Err(Box::new(Reply::error(413)));
    }
    let read = tokio::time::timeout(BODY_PATIENCE, payload.to_bytes_limited(BODY_LIMIT)).await;
    let bytes = match read {
        Ok(Ok(Ok(bytes))) => bytes,
        Ok(Ok(Err(_))) => return Err(Box::new(Reply::error(400))),
        Ok(Err(_)) => return Err(Box::new(Reply::error(413))),
        Err(_) => return Err(Box::new(Reply::error(408))),
    };
    parse_object(&bytes, body).ok_or_else(|| Box::new(Reply::error(400)))
}

fn parse_object(bytes: &[u8], body: Body) -> Option<Map<String, Value>> {
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(map)) if body == Body::Optional || !map.is_empty() => Some(map),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!("Bad request: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_taken_apart() {
        let target = Target::new("//replica/x", "lag=10MB&lag=1&tag_a=b%20c+d&empty=&bare");
        assert_eq!((target.path.as_str(), target.endpoint()), ("/replica/x", "replica"));
        assert_eq!(target.parameter("lag"), Some("10MB"));
        assert_eq!(target.parameter("tag_a"), Some("b c d"));
        assert_eq!((target.parameter("empty"), target.parameter("bare")), (None, None));
        assert_eq!((Target::new("", "").path.as_str(), Target::new("/", "").endpoint()), ("/", ""));
    }

    #[test]
    fn only_objects_are_bodies() {
        assert!(parse_object(b"{\"a\":1}", Body::Required).is_some());
        assert!(parse_object(b"{}", Body::Optional).is_some());
        for bad in ["", "{}", "[]", "1", "\"x\"", "{", "\u{fffd}"] {
            assert!(parse_object(bad.as_bytes(), Body::Required).is_none(), "{bad}");
        }
        let deep = "[".repeat(100_000);
        assert!(parse_object(deep.as_bytes(), Body::Required).is_none());
    }
}
