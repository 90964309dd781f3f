//! A small HTTP/1.1 client: one connection a request, a deadline over all of it, bounded answers.

use super::tls::{ClientTls, TlsError, Verify};
use base64::Engine;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri};
use hyper_util::rt::TokioIo;
use openssl::ssl::SslConnector;
use serde_json::Value;
use std::pin::Pin;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_openssl::SslStream;

/// An answer larger than this is an error.
const BODY_LIMIT: usize = 8 * 1024 * 1024;

/// What servers see in their logs.
const AGENT: &str = "Patroni/4.1.5";

/// How a request ended badly.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address makes no sense.
    #[error("'{url}' is not an address: {reason}")]
    Url {
        /// The address.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// No connection: surely nothing was asked.
    #[error("cannot connect to {host}: {error}")]
    Connect {
        /// host:port
        host: String,
        /// Why.
        error: std::io::Error,
    },
    /// No trusted connection: surely nothing was asked.
    #[error("TLS with {host}: {error}")]
    Handshake {
        /// host:port
        host: String,
        /// Why.
        error: String,
    },
    /// Our own TLS files are unfit.
    #[error("{0}")]
    Tls(String),
    /// The connection broke or the answer is no HTTP: perhaps done.
    #[error("no answer from {host}: {error}")]
    Exchange {
        /// host:port
        host: String,
        /// Why.
        error: String,
    },
    /// No (whole) answer in time: perhaps done.
    #[error("no answer from {host} within {} s", .timeout.as_secs_f64())]
    Timeout {
        /// host:port
        host: String,
        /// The time given.
        timeout: Duration,
    },
    /// The answer is larger than any that makes sense.
    #[error("the answer of {0} is too large")]
    TooLarge(String),
}

/// What all requests of a client share.
#[derive(Clone, Default)]
pub struct HttpOptions {
    /// For https.
    pub tls: ClientTls,
    /// User and password, sent with every request.
    pub basic_auth: Option<(String, String)>,
}

/// One request.
#[derive(Clone, Debug)]
pub struct HttpRequest<'a> {
    /// GET, POST, PUT, PATCH, DELETE, OPTIONS, HEAD.
    pub method: Method,
    /// `http://host:port/path?query` or `https://...`; IPv6 addresses in brackets.
    pub url: &'a str,
    /// Sent as `application/json`.
    pub body: Option<&'a Value>,
    /// For all of it: name lookup, connection, handshake, answer.
    pub timeout: Duration,
}

/// The answer, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status code.
    pub status: u16,
    /// Header fields, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// The body as JSON, if it is such.
    #[must_use]
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header field; `name` in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Sends requests. Cheap to keep: the TLS context is built when https is first spoken, and then kept.
pub struct HttpClient {
    tls: ClientTls,
    connector: OnceLock<Result<SslConnector, String>>,
    authorization: Option<HeaderValue>,
}

struct Target {
    uri: Uri,
    https: bool,
    /// Without brackets.
    host: String,
    port: u16,
    /// host:port, for messages.
    shown: String,
}

impl HttpClient {
    /// A client; no file is read yet.
    #[must_use]
    pub fn new(options: HttpOptions) -> Self {
        let authorization = options.basic_auth.and_then(|(user, password)| {
            let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            let mut value = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { tls: options.tls, connector: OnceLock::new(), authorization }
    }

    /// Reads the TLS files now rather than with the first https request.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn check_tls(&self) -> Result<(), TlsError> {
        self.tls.connector().map(|_| ())
    }

    /// Sends a request and reads the whole answer. Dropping the future closes the connection.
    ///
    /// # Errors
    /// As [`HttpError`] tells; a status code is no error.
    pub async fn send(&self, request: HttpRequest<'_>) -> Result<HttpResponse, HttpError> {
        let target = Target::parse(request.url)?;
        let timeout = request.timeout;
        match tokio::time::timeout(timeout, self.exchange(&target, request)).await {
            Ok(result) => result,
            Err(_) => Err(HttpError::Timeout { host: target.shown, timeout }),
        }
    }

    async fn exchange(&self, target: &Target, request: HttpRequest<'_>) -> Result<HttpResponse, HttpError> {
        let message = self.message(target, &request)?;
        let connect = |error| HttpError::Connect { host: target.shown.clone(), error };
        let tcp = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(connect)?;
        tcp.set_nodelay(true).map_err(connect)?;
        if target.https {
            talk(self.handshake(target, tcp).await?, message, target).await
        } else {
            talk(tcp, message, target).await
        }
    }

    fn message(&self, target: &Target, request: &HttpRequest<'_>) -> Result<Request<Full<Bytes>>, HttpError> {
        let path = target.uri.path_and_query().map_or("/", |p| p.as_str());
        let host = target.uri.authority().map_or("", |a| a.as_str().rsplit('@').next().unwrap_or_default());
        let mut message = Request::builder()
            .method(request.method.clone())
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(CONNECTION, "close");
        if let Some(value) = &self.authorization {
            message = message.header(AUTHORIZATION, value);
        }
        if request.body.is_some() {
            message = message.header(CONTENT_TYPE, "application/json");
        }
        let body = request.body.map(|value| Bytes::from(value.to_string())).unwrap_or_default();
        message.body(Full::new(body)).map_err(|e| HttpError::Url { url: request.url.to_owned(), reason: e.to_string() })
    }

    async fn handshake(&self, target: &Target, tcp: TcpStream) -> Result<SslStream<TcpStream>, HttpError> {
        let built = self.connector.get_or_init(|| self.tls.connector().map_err(|e| e.to_string()));
        let connector = built.as_ref().map_err(|e| HttpError::Tls(e.clone()))?;
        let failed = |error: String| HttpError::Handshake { host: target.shown.clone(), error };
        let mut configuration = connector.configure().map_err(|e| failed(e.to_string()))?;
        configuration.set_verify_hostname(self.tls.verify == Verify::Full);
        let ssl = configuration.into_ssl(&target.host).map_err(|e| failed(e.to_string()))?;
        let mut stream = SslStream::new(ssl, tcp).map_err(|e| failed(e.to_string()))?;
        match Pin::new(&mut stream).connect().await {
            Ok(()) => Ok(stream),
            Err(error) => {
                let reason = stream.ssl().verify_result();
                let untrusted = reason != openssl::x509::X509VerifyResult::OK && self.tls.verify != Verify::None;
                Err(failed(if untrusted { reason.to_string() } else { error.to_string() }))
            }
        }
    }
}

impl Target {
    fn parse(url: &str) -> Result<Self, HttpError> {
        let bad = |reason: &str| HttpError::Url { url: url.to_owned(), reason: reason.to_owned() };
        let uri: Uri = url.parse().map_err(|e: hyper::http::uri::InvalidUri| bad(&e.to_string()))?;
        let https = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(bad("it must start with http:// or https://")),
        };
        let host = uri.host().filter(|h| !h.is_empty()).ok_or_else(|| bad("it has no host"))?;
        let after_host = uri.authority().and_then(|a| a.as_str().rsplit_once(host)).map_or("", |(_, rest)| rest);
        let port = match uri.port_u16() {
            Some(port) => port,
            None if after_host.is_empty() => {
                if https {
                    443
                } else {
                    80
                }
            }
            None => return Err(bad("its port is no number")),
        };
        let shown = format!("{host}:{port}");
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        Ok(Self { uri, https, host, port, shown })
    }
}

/// Sends the message and reads the answer, driving the connection in this very task: nothing outlives the request.
async fn talk<S>(stream: S, message: Request<Full<Bytes>>, target: &Target) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let broken = |error: hyper::Error| HttpError::Exchange { host: target.shown.clone(), error: full_text(&error) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let driver = async move {
        if let Err(error) = connection.await {
            tracing::debug!("connection to {}: {error}", target.shown);
        }
        // The answer may still wait to be read.
        std::future::pending::<()>().await
    };
    let exchange = async {
        let response = sender.send_request(message).await.map_err(broken)?;
        read(response, target).await
    };
    tokio::select! {
        result = exchange => result,
        () = driver => Err(HttpError::Exchange { host: target.shown.clone(), error: "connection ended".to_owned() }),
    }
}

async fn read(response: Response<Incoming>, target: &Target) -> Result<HttpResponse, HttpError> {
    let (head, body) = response.into_parts();
    let body = Limited::new(body, BODY_LIMIT).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            HttpError::TooLarge(target.shown.clone())
        } else {
            HttpError::Exchange { host: target.shown.clone(), error: full_text(error.as_ref()) }
        }
    })?;
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    Ok(HttpResponse { status: head.status.as_u16(), headers, body: body.to_bytes().to_vec() })
}

/// An error with its causes.
fn full_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;
