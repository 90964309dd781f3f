//! What every command works with: the store, the members' REST APIs, the console.

use super::CtlError;
use super::console::Console;
use crate::clock::Clock;
use crate::cluster::{Cluster, Member, ScheduleTime};
use crate::config::settings::Ctl;
use crate::dcs::{Dcs, DcsError};
use crate::net::http::{HttpClient, HttpError, HttpOptions, HttpRequest, HttpResponse};
use crate::net::tls::{ClientTls, KeyPair, Verify};
use hyper::Method;
use jiff::tz::TimeZone;
use serde_json::Value;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A request that is answered at once takes no longer.
pub const QUICK: Duration = Duration::from_secs(60);
/// A request that is answered when work is done.
pub const LONG: Duration = Duration::from_secs(3600);

/// How the store of a cluster is reached.
pub type OpenStore = Box<dyn Fn(&str) -> Result<Arc<dyn Dcs>, CtlError>>;

/// What the configuration says.
pub struct Setup {
    /// The cluster that is meant when none is named.
    pub scope: Option<String>,
    /// How members are called.
    pub ctl: Ctl,
    /// Budget of a store operation (`retry_timeout`).
    pub budget: Duration,
    /// `loop_wait` of the local configuration.
    pub loop_wait: Duration,
    /// Opens the store of a cluster.
    pub open: OpenStore,
}

/// What a command works with.
pub struct Context<'a> {
    setup: Setup,
    /// Output and questions.
    pub console: &'a mut Console,
    /// Time.
    pub clock: Clock,
    http: HttpClient,
    stores: HashMap<String, Arc<dyn Dcs>>,
}

impl<'a> Context<'a> {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(setup: Setup, console: &'a mut Console) -> Self {
        let http = HttpClient::new(http_options(&setup.ctl));
        Self { setup, console, clock: Clock::system(), http, stores: HashMap::new() }
    }

    /// The named cluster, else the configured one (CTL-02).
    ///
    /// # Errors
    /// There is neither.
    pub fn cluster_name(&self, given: Option<&String>) -> Result<String, CtlError> {
        let name = given.or(self.setup.scope.as_ref()).cloned();
        name.ok_or_else(|| CtlError::Usage("Missing argument 'CLUSTER_NAME'.".to_owned()))
    }

    /// The configured cluster.
    #[must_use]
    pub fn scope(&self) -> Option<&String> {
        self.setup.scope.as_ref()
    }

    /// Budget of a store operation.
    #[must_use]
    pub fn budget(&self) -> Duration {
        self.setup.budget
    }

    /// The cluster's `loop_wait`, else the configured one.
    #[must_use]
    pub fn loop_wait(&self, cluster: &Cluster) -> Duration {
        let seconds = cluster.config.as_ref().and_then(|c| c.data.get("loop_wait")).and_then(Value::as_u64);
        seconds.filter(|s| *s > 0).map_or(self.setup.loop_wait, Duration::from_secs)
    }

    /// The store of a cluster; opened once.
    ///
    /// # Errors
    /// The configuration does not allow it.
    pub fn store(&mut self, cluster: &str) -> Result<Arc<dyn Dcs>, CtlError> {
        if let Some(store) = self.stores.get(cluster) {
            return Ok(Arc::clone(store));
        }
        let store = (self.setup.open)(cluster)?;
        self.stores.insert(cluster.to_owned(), Arc::clone(&store));
        Ok(store)
    }

    /// Reads a cluster.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn load(&mut self, cluster: &str) -> Result<Cluster, CtlError> {
        let store = self.store(cluster)?;
        store.load(self.setup.budget).await.map_err(store_error)
    }

    /// Sends a request to a member.
    ///
    /// # Errors
    /// The member cannot be reached; a status code is no error.
    pub async fn request(
        &self,
        member: &Member,
        method: Method,
        endpoint: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<HttpResponse, HttpError> {
        let url = endpoint_url(member.data.api_url.as_deref().unwrap_or_default(), endpoint);
        tracing::debug!("{method} {url}");
        self.http.send(HttpRequest { method, url: &url, body, timeout }).await
    }

    /// As [`Context::request`], for commands that end when a member cannot be reached.
    ///
    /// # Errors
    /// With the member's name.
    pub async fn call(
        &self,
        member: &Member,
        method: Method,
        endpoint: &str,
        body: Option<&Value>,
        timeout: Duration,
    ) -> Result<HttpResponse, CtlError> {
        let answer = self.request(member, method, endpoint, body, timeout).await;
        answer.map_err(|e| CtlError::message(format!("member {}: {e}", member.name)))
    }

    /// The wall clock in the local time zone.
    #[must_use]
    pub fn local_now(&self) -> jiff::Zoned {
        self.clock.wall().to_zoned(TimeZone::system())
    }

    /// The time as it stands before results: to the hundredth of a millisecond, or to the second.
    #[must_use]
    pub fn timestamp(&self, fine: bool) -> String {
        let now = self.local_now();
        let seconds = now.strftime("%Y-%m-%d %H:%M:%S").to_string();
        if fine { format!("{seconds}.{:05}", now.subsec_nanosecond() / 10_000) } else { seconds }
    }

    /// An example for a time to come: in an hour.
    #[must_use]
    pub fn next_hour(&self) -> String {
        let later = self.local_now().checked_add(jiff::SignedDuration::from_hours(1));
        later.unwrap_or_else(|_| self.local_now()).strftime("%Y-%m-%dT%H:%M").to_string()
    }

    /// Reads `--scheduled`: `None` for now. A time without zone is local.
    ///
    /// # Errors
    /// It is no time.
    pub fn schedule(&self, text: Option<&str>) -> Result<Option<ScheduleTime>, CtlError> {
        let Some(text) = text.filter(|t| !t.is_empty() && *t != "now") else { return Ok(None) };
        let time = ScheduleTime::parse(text).and_then(|t| t.in_zone(&TimeZone::system()));
        time.map(Some).ok_or_else(|| {
            CtlError::message(format!(
                "Unable to parse scheduled timestamp ({text}). It should be in an unambiguous format (e.g. ISO 8601)"
            ))
        })
    }
}

/// How an error of the store is shown.
#[must_use]
pub fn store_error(error: DcsError) -> CtlError {
    CtlError::message(error.to_string())
}

fn endpoint_url(api_url: &str, endpoint: &str) -> String {
    let base = match api_url.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.split('/').next().unwrap_or_default()),
        None => api_url.to_owned(),
    };
    format!("{base}/{endpoint}")
}

fn http_options(ctl: &Ctl) -> HttpOptions {
    let key_pair = ctl.certfile.as_ref().map(|certificate| KeyPair {
        cert: certificate.clone(),
        key: ctl.keyfile.clone(),
        password: ctl.keyfile_password.as_ref().map(|p| p.reveal().to_owned()),
    });
    // With a client certificate "insecure" only means that names are not compared.
    let verify = match (ctl.insecure, &key_pair) {
        (false, _) => Verify::Full,
        (true, Some(_)) => Verify::Chain,
        (true, None) => Verify::None,
    };
    let tls = ClientTls { ca_file: ctl.cacert.clone(), key_pair, ciphers: None, verify };
    let basic_auth = ctl.authentication.as_ref().map(|a| (a.username.clone(), a.password.reveal().to_owned()));
    HttpOptions { tls, basic_auth }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_stand_beside_the_status() {
        for (api_url, url) in [
            ("http://127.0.0.1:8008/patroni", "http://127.0.0.1:8008/restart"),
            ("https://[::1]:8008/patroni", "https://[::1]:8008/restart"),
            ("http://h", "http://h/restart"),
        ] {
            assert_eq!(endpoint_url(api_url, "restart"), url);
        }
    }
}
