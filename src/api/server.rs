//! The REST server: sockets, threads, start and stop.

use super::allowlist::Allowlist;
use super::routes::{self, App};
use super::{ApiError, Gateway, listen, tls};
use crate::config::Settings;
use crate::config::settings::RestApi;
use actix_web::dev::Extensions;
use actix_web::{HttpServer, web};
use std::any::Any;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Header and TLS handshake of a request must be there within this.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// An idle connection is kept for the next request for this long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Open requests get this long when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// More connections at once wait in the backlog.
const MAX_CONNECTIONS: usize = 512;

/// A running server. It stops when this is dropped, without waiting for open requests.
#[derive(Debug)]
pub struct ServerHandle {
    inner: actix_web::dev::ServerHandle,
    addresses: Vec<SocketAddr>,
    restapi: RestApi,
    fingerprint: Option<[u8; 32]>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Opens the sockets of `restapi.listen` and serves them on threads of their own: the answers go on when the
/// agent's main thread hangs. Returns when the sockets listen.
///
/// Passwords, allow-list and headers are read from the newest snapshot at each request; listening addresses and TLS
/// are fixed until [`ServerHandle::matches`] says that the server must be started anew.
///
/// # Errors
/// The setting that cannot be used.
pub fn start(settings: &Settings, gateway: Arc<dyn Gateway>) -> Result<ServerHandle, ApiError> {
    let restapi = settings.restapi.clone();
    let fingerprint = tls::fingerprint(&restapi);
    let acceptor = tls::acceptor(&restapi)?;
    let listeners = listen::open(&restapi.listen, restapi.request_queue_size.max(1))?;
    let allowlist = Allowlist::new(gateway.clock().clone());
    let app = web::Data::new(App { gateway, allowlist });
    let mut server =
        HttpServer::new(move || actix_web::App::new().app_data(app.clone()).default_service(web::to(routes::serve)))
            .workers(1)
            .worker_max_blocking_threads(2)
            .max_connections(MAX_CONNECTIONS)
            .backlog(restapi.request_queue_size.max(1))
            .keep_alive(KEEP_ALIVE)
            .client_request_timeout(CLIENT_PATIENCE)
            .client_disconnect_timeout(Duration::from_secs(1))
            .tls_handshake_timeout(CLIENT_PATIENCE)
            .shutdown_timeout(STOP_PATIENCE.as_secs())
            .on_connect(note_certificate)
            .disable_signals();
    let failed = |e: std::io::Error| ApiError::Server(e.to_string());
    let mut acceptor = acceptor;
    let listeners_left = listeners.len();
    for (index, listener) in listeners.into_iter().enumerate() {
        // Builders of acceptors cannot be copied: each further socket reads the files again.
        let own = if index + 1 == listeners_left { acceptor.take() } else { tls::acceptor(&restapi)? };
        server = match own {
            Some(tls) => server.listen_openssl(listener, tls),
            None => server.listen(listener),
        }
        .map_err(failed)?;
    }
    let addresses = server.addrs();
    let (inner, thread) = run(server.run())?;
    tracing::info!("REST API listens on {addresses:?}");
    Ok(ServerHandle { inner, addresses, restapi, fingerprint, thread: Some(thread) })
}

/// Runs the server on a thread with a small runtime of its own.
fn run(
    server: actix_web::dev::Server,
) -> Result<(actix_web::dev::ServerHandle, std::thread::JoinHandle<()>), ApiError> {
    let failed = |e: std::io::Error| ApiError::Server(e.to_string());
    let inner = server.handle();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    let thread = std::thread::Builder::new()
        .name("restapi".to_owned())
        .spawn(move || {
            if let Err(error) = runtime.block_on(server) {
                tracing::error!("REST API ended: {error}");
            }
        })
        .map_err(failed)?;
    Ok((inner, thread))
}

fn note_certificate(connection: &dyn Any, extensions: &mut Extensions) {
    type Tls = actix_tls::accept::openssl::TlsStream<actix_web::rt::net::TcpStream>;
    if let Some(tls) = connection.downcast_ref::<Tls>()
        && tls.ssl().peer_certificate().is_some()
        && tls.ssl().verify_result() == openssl::x509::X509VerifyResult::OK
    {
        extensions.insert(tls::ClientCertificate);
    }
}

impl ServerHandle {
    /// The addresses it listens on (with the real port where 0 was asked for).
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether a server started with these settings would be the same: listening address, TLS settings, and the
    /// content of the certificate files (API-48, API-49). Otherwise stop this one and start another.
    #[must_use]
    pub fn matches(&self, settings: &Settings) -> bool {
        let (old, new) = (&self.restapi, &settings.restapi);
        old.listen == new.listen
            && old.request_queue_size == new.request_queue_size
            && old.certfile == new.certfile
            && old.keyfile == new.keyfile
            && old.keyfile_password == new.keyfile_password
            && old.cafile == new.cafile
            && old.ciphers == new.ciphers
            && old.verify_client == new.verify_client
            && self.fingerprint == tls::fingerprint(new)
    }

    /// Whether its threads still serve.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }

    /// Closes the sockets, gives open requests two seconds, and returns when the server is gone (at the latest a
    /// second after that).
    pub async fn stop(mut self) {
        let patience = STOP_PATIENCE + Duration::from_secs(1);
        let stop = self.inner.stop(true);
        if tokio::time::timeout(patience, stop).await.is_err() {
            tracing::warn!("REST API did not stop within {} s", patience.as_secs());
        }
        self.thread = None;
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if self.thread.is_some() {
            // The command is sent at once; only the answer would have to be awaited.
            drop(self.inner.stop(false));
        }
    }
}
