//! The connection to one etcd server: TCP without delay, TLS by OpenSSL, probes.

use super::error::Failure;
use crate::net::ClientTls;
use etcd_client::Channel;
use hyper_openssl::client::legacy::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use openssl::ssl::{SslConnector, SslMethod};
use std::time::Duration;
use tonic::transport::Endpoint;

/// A connection that has been silent for so long is probed, and given up when the probe is not answered in time:
/// a watch has no other way to notice that its server is gone.
const PROBE_AFTER: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// gRPC is spoken over HTTP/2 only (RFC 7301 names it so, behind its length).
const ALPN_HTTP_2: &[u8] = b"\x02h2";

/// A channel that connects with its first request.
///
/// # Errors
/// The address or the TLS files cannot be used.
pub(super) fn open(url: &str, tls: Option<&ClientTls>, connect_timeout: Duration) -> Result<Channel, Failure> {
    let endpoint =
        Endpoint::from_shared(url.to_owned()).map_err(|error| Failure::Refused(format!("{url}: {error}")))?;
    let endpoint = endpoint
        .connect_timeout(connect_timeout)
        .http2_keep_alive_interval(PROBE_AFTER)
        .keep_alive_timeout(PROBE_TIMEOUT)
        .keep_alive_while_idle(true);
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_keepalive(Some(PROBE_AFTER));
    // A request is several small writes: with Nagle's algorithm each waits 40 ms for the server's delayed ACK.
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(connect_timeout));
    Ok(Channel::Tonic(match tls {
        None => endpoint.connect_with_connector_lazy(tcp),
        Some(tls) => endpoint.connect_with_connector_lazy(with_tls(tcp, tls)?),
    }))
}

fn with_tls(tcp: HttpConnector, tls: &ClientTls) -> Result<HttpsConnector<HttpConnector>, Failure> {
    let refused = |text: String| Failure::Refused(text);
    let mut builder = SslConnector::builder(SslMethod::tls_client()).map_err(|e| refused(e.to_string()))?;
    builder.set_alpn_protos(ALPN_HTTP_2).map_err(|e| refused(e.to_string()))?;
    tls.apply(&mut builder).map_err(|e| refused(e.to_string()))?;
    HttpsConnector::with_connector(tcp, builder).map_err(|e| refused(e.to_string()))
}
