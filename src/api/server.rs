//! The REST server: sockets, thread, start and stop.

use super::allowlist::Allowlist;
use super::connections::Connections;
use super::routes::App;
use super::{ApiError, Gateway, listen, tls};
use crate::config::Settings;
use crate::config::settings::RestApi;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{oneshot, watch};

/// Open requests get this long when the server stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);
/// The last answers get this long to leave.
const FLUSH_PATIENCE: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    No,
    AfterRequests,
    AtOnce,
}

/// A running server. It stops when this is dropped, without waiting for open requests.
#[derive(Debug)]
pub struct ServerHandle {
    stop: watch::Sender<Stop>,
    ended: Option<oneshot::Receiver<()>>,
    addresses: Vec<SocketAddr>,
    restapi: RestApi,
    fingerprint: Option<[u8; 32]>,
    thread: std::thread::JoinHandle<()>,
}

/// Opens the sockets of `restapi.listen` and serves them on a thread of its own: the answers go on when the
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
    let failed = |e: std::io::Error| ApiError::Server(e.to_string());
    let addresses = listeners.iter().map(TcpListener::local_addr).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    let allowlist = Allowlist::new(gateway.clock().clone());
    let app = App { gateway, allowlist };
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build().map_err(failed)?;
    let (stop, stopping) = watch::channel(Stop::No);
    let (end, ended) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("restapi".to_owned())
        .spawn(move || {
            let connections = Connections::new(app, acceptor);
            let served = tokio::task::LocalSet::new().block_on(&runtime, serve(listeners, connections, stopping));
            if let Err(error) = served {
                tracing::error!("REST API ended: {error}");
            }
            // A name lookup that hangs must not hold up the end.
            runtime.shutdown_background();
            // Nobody may wait for it.
            let _ = end.send(());
        })
        .map_err(failed)?;
    tracing::info!("REST API listens on {addresses:?}");
    Ok(ServerHandle { stop, ended: Some(ended), addresses, restapi, fingerprint, thread })
}

/// Serves until it shall stop; connections end with the `LocalSet` around this.
async fn serve(
    listeners: Vec<TcpListener>,
    connections: Rc<Connections>,
    mut stopping: watch::Receiver<Stop>,
) -> std::io::Result<()> {
    let mut accepting = Vec::new();
    for listener in listeners {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        accepting.push(tokio::task::spawn_local(Rc::clone(&connections).accept(listener)));
    }
    // The sender's end is an order to stop as well.
    let how = stopping.wait_for(|stop| *stop != Stop::No).await.map_or(Stop::AtOnce, |stop| *stop);
    for task in accepting {
        task.abort();
        // Closes the socket before anything else is waited for.
        let _ = task.await;
    }
    if how == Stop::AfterRequests && tokio::time::timeout(STOP_PATIENCE, connections.idle()).await.is_ok() {
        tokio::time::sleep(FLUSH_PATIENCE).await;
    }
    Ok(())
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
        !self.thread.is_finished()
    }

    /// Closes the sockets, gives open requests two seconds, and returns when the server is gone (at the latest a
    /// second after that).
    pub async fn stop(mut self) {
        let patience = STOP_PATIENCE + Duration::from_secs(1);
        self.stop.send_replace(Stop::AfterRequests);
        if let Some(ended) = self.ended.take()
            && tokio::time::timeout(patience, ended).await.is_err()
        {
            tracing::warn!("REST API did not stop within {} s", patience.as_secs());
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.stop.send_if_modified(|stop| std::mem::replace(stop, Stop::AtOnce) == Stop::No);
    }
}
