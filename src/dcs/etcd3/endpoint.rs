//! The client of one endpoint. Each has its own: a shared one hands requests to dead endpoints as well.

use super::channel;
use super::error::{AUTH_NOT_ENABLED, Failure};
use crate::config::settings::Etcd3;
use crate::net::{ClientTls, KeyPair, TlsError};
use etcd_client::{Client, ConnectOptions};
use std::time::Duration;

/// How to connect and log in.
pub(super) struct Access {
    login: Option<(String, String)>,
    tls: Option<ClientTls>,
}

impl Access {
    /// Reads the TLS files once, so that unfit ones are known at the start.
    pub(super) fn new(settings: &Etcd3) -> Result<Self, TlsError> {
        let key_pair = settings.cert.as_ref().map(|cert| KeyPair {
            cert: cert.clone(),
            key: settings.key.clone(),
            password: None,
        });
        let tls = ClientTls { ca_file: settings.cacert.clone(), key_pair, ..ClientTls::default() };
        let tls = settings.https.then_some(tls);
        if let Some(tls) = &tls {
            tls.connector()?;
        }
        let login = settings.authentication.as_ref().map(|a| (a.username.clone(), a.password.reveal().to_owned()));
        Ok(Self { login, tls })
    }

    /// A client that is logged in. Connects only when there is a login, else with the first request.
    pub(super) async fn client(&self, url: &str, connect_timeout: Duration) -> Result<Client, Failure> {
        let channel = channel::open(url, self.tls.as_ref(), connect_timeout)?;
        let options = ConnectOptions::new().with_require_leader(true);
        let mut client = Client::from_channel(channel, Some(options)).await.map_err(|e| Failure::of(&e))?;
        self.log_in(&mut client).await?;
        Ok(client)
    }

    /// Gets a (new) token, if a login is configured and wanted.
    pub(super) async fn log_in(&self, client: &mut Client) -> Result<(), Failure> {
        let Some(login) = &self.login else { return Ok(()) };
        tracing::info!("Trying to authenticate on Etcd...");
        match client.update_user(Some(login.clone())).await {
            Ok(()) => Ok(()),
            Err(error) if error.to_string().contains(AUTH_NOT_ENABLED) => {
                tracing::info!("Etcd authentication is not enabled");
                Ok(())
            }
            Err(error) => Err(match Failure::of(&error) {
                // Logging in does nothing that could be half done.
                Failure::Lost(text) | Failure::Login(text) => Failure::NotDone(text),
                other => other,
            }),
        }
    }

    pub(super) fn has_login(&self) -> bool {
        self.login.is_some()
    }
}
