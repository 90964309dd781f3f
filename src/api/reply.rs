//! What goes back to a client, and the pages that explain an error.

use crate::cluster::json_text;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{HeaderName, HeaderValue};
use serde::Serialize;

/// An answer, before headers of the configuration are added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub code: u16,
    /// `Content-Type`; `None`: no body either.
    pub content_type: Option<&'static str>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: String,
}

impl Reply {
    /// A sentence for people and scripts.
    #[must_use]
    pub fn text(code: u16, body: impl Into<String>) -> Self {
        Self { code, content_type: Some("text/html"), headers: Vec::new(), body: body.into() }
    }

    /// JSON.
    #[must_use]
    pub fn json<T: Serialize + ?Sized>(code: u16, value: &T) -> Self {
        Self { content_type: Some("application/json"), ..Self::text(code, json_text(value)) }
    }

    /// Nothing but the code: health checks of load balancers and probes.
    #[must_use]
    pub fn bare(code: u16) -> Self {
        Self { content_type: None, ..Self::text(code, "") }
    }

    /// A page that explains the code, as HTTP libraries send it.
    #[must_use]
    pub fn error(code: u16) -> Self {
        let (message, explanation) = explain(code);
        Self::error_page(code, message, explanation)
    }

    /// 501 for a method that is not known at this path.
    #[must_use]
    pub fn unsupported(method: &str) -> Self {
        let shown: String = method.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_')).collect();
        Self::error_page(501, &format!("Unsupported method ('{shown}')"), explain(501).1)
    }

    /// The store does not answer a request that needs it.
    #[must_use]
    pub fn store_failed(error: &crate::dcs::DcsError) -> Self {
        tracing::warn!("the store could not be read for a REST request: {error}");
        Self::text(503, format!("DCS is not accessible: {error}"))
    }

    fn error_page(code: u16, message: &str, explanation: &str) -> Self {
        let body = format!(
            "<!DOCTYPE HTML>\n<html lang=\"en\">\n    <head>\n        <meta charset=\"utf-8\">\n        \
             <title>Error response</title>\n    </head>\n    <body>\n        <h1>Error response</h1>\n        \
             <p>Error code: {code}</p>\n        <p>Message: {message}.</p>\n        \
             <p>Error code explanation: {code} - {explanation}.</p>\n    </body>\n</html>\n"
        );
        Self { content_type: Some("text/html;charset=utf-8"), ..Self::text(code, body) }
    }

    /// As actix sends it, with the configured headers.
    #[must_use]
    pub fn into_response(self, extra: &[(String, String)], server: Option<&str>) -> HttpResponse {
        let mut builder =
            HttpResponse::build(StatusCode::from_u16(self.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR));
        if let Some(server) = server {
            builder.insert_header(("Server", server));
        }
        let Some(content_type) = self.content_type else { return builder.finish() };
        builder.insert_header(("Content-Type", content_type));
        for (name, value) in self.headers {
            builder.insert_header((name, value));
        }
        for (name, value) in extra {
            match (HeaderName::try_from(name.as_str()), HeaderValue::try_from(value.as_str())) {
                (Ok(name), Ok(value)) => {
                    builder.append_header((name, value));
                }
                _ => tracing::debug!("header {name:?} of restapi's extra headers is not valid in HTTP"),
            }
        }
        builder.body(self.body)
    }
}

fn explain(code: u16) -> (&'static str, &'static str) {
    match code {
        400 => ("Bad Request", "Bad request syntax or unsupported method"),
        408 => ("Request Timeout", "Request timed out; try again later"),
        409 => ("Conflict", "Request conflict"),
        411 => ("Length Required", "Client must specify Content-Length"),
        413 => ("Request Entity Too Large", "Entity is too large"),
        501 => ("Not Implemented", "Server does not support this operation"),
        502 => ("Bad Gateway", "Invalid responses from another server/proxy"),
        503 => ("Service Unavailable", "The server cannot process the request due to a high load"),
        _ => ("Internal Server Error", "Server got itself in trouble"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_page_names_code_and_reason() {
        let page = Reply::unsupported("POST<b>");
        assert_eq!((page.code, page.content_type), (501, Some("text/html;charset=utf-8")));
        assert!(page.body.contains("<p>Message: Unsupported method ('POSTb').</p>"), "{}", page.body);
        assert!(page.body.contains("<p>Error code explanation: 501 - Server does not support this operation.</p>"));
    }
}
