//! Other members over HTTP, with the certificates that members use among themselves.

use super::peers::{PeerAnswer, PeerTransport};
use crate::config::Settings;
use crate::net::{ClientTls, HttpClient, HttpOptions, HttpRequest, KeyPair, Verify};
use async_trait::async_trait;
use hyper::Method;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

struct PeerHttp(HttpClient);

#[async_trait]
impl PeerTransport for PeerHttp {
    async fn get(&self, url: &str, patience: Duration) -> Result<Vec<u8>, String> {
        let request = HttpRequest { method: Method::GET, url, body: None, timeout: patience };
        self.0.send(request).await.map(|answer| answer.body).map_err(|error| error.to_string())
    }

    async fn post(&self, url: &str, body: &Value, patience: Duration) -> Result<PeerAnswer, String> {
        let request = HttpRequest { method: Method::POST, url, body: Some(body), timeout: patience };
        let answer = self.0.send(request).await.map_err(|error| error.to_string())?;
        let lsn = answer.headers.iter().find(|(name, _)| name == "lsn").map(|(_, value)| value.clone());
        Ok(PeerAnswer { status: answer.status, lsn, body: answer.text() })
    }
}

/// The way to other members by `ctl` and `restapi`. As in Patroni members trust each other's certificates only when they
/// have a client certificate of their own, and never look at host names.
#[must_use]
pub fn transport(settings: &Settings) -> Arc<dyn PeerTransport> {
    let ctl = &settings.ctl;
    let key_pair = ctl.certfile.clone().map(|cert| KeyPair {
        cert,
        key: ctl.keyfile.clone(),
        password: ctl.keyfile_password.as_ref().map(|p| p.reveal().to_owned()),
    });
    let tls = ClientTls {
        verify: if key_pair.is_some() { Verify::Chain } else { Verify::None },
        ca_file: ctl.cacert.clone().or_else(|| settings.restapi.cafile.clone()),
        key_pair,
        ciphers: None,
    };
    let user = ctl.authentication.as_ref().or(settings.restapi.authentication.as_ref());
    let basic_auth = user.map(|u| (u.username.clone(), u.password.reveal().to_owned()));
    Arc::new(PeerHttp(HttpClient::new(HttpOptions { tls, basic_auth })))
}
