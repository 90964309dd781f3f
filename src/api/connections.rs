//! The connections of the REST server: accepted, secured, and served by one HTTP service that lives as long as any of them.

use super::routes::{self, App};
use super::stream::Stream;
use super::tls::ClientCertificate;
use actix_http::HttpService;
use actix_service::{IntoServiceFactory, Service, ServiceFactory, map_config};
use actix_web::dev::{AppConfig, Extensions};
use actix_web::{HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use openssl::ssl::{Ssl, SslAcceptor};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Header and TLS handshake of a request must be there within this.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);
/// An idle connection is kept for the next request for this long.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// A client that does not close its side gets this.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);
/// More connections at once wait in the backlog.
const MAX_CONNECTIONS: usize = 512;
/// Pause when there are no file descriptors for another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

type Serve = dyn Fn(Stream, SocketAddr) -> LocalBoxFuture<'static, ()>;

/// Requests that are being answered.
#[derive(Default)]
struct Busy {
    count: Cell<usize>,
    idle: Notify,
}

struct Request(Rc<Busy>);

impl Busy {
    fn begin(self: &Rc<Self>) -> Request {
        self.count.set(self.count.get() + 1);
        Request(Rc::clone(self))
    }
}

impl Drop for Request {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get().saturating_sub(1));
        if self.0.count.get() == 0 {
            self.0.idle.notify_waiters();
        }
    }
}

/// What serves connections. It must be used within a `LocalSet`.
pub(super) struct Connections {
    app: web::Data<App>,
    tls: Option<SslAcceptor>,
    busy: Rc<Busy>,
    room: Arc<Semaphore>,
    /// An HTTP service keeps a clock that ticks twice a second: without connections there is none.
    service: RefCell<Weak<Serve>>,
}

impl Connections {
    pub(super) fn new(app: App, tls: Option<SslAcceptor>) -> Rc<Self> {
        Rc::new(Self {
            app: web::Data::new(app),
            tls,
            busy: Rc::default(),
            room: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            service: RefCell::new(Weak::<fn(Stream, SocketAddr) -> LocalBoxFuture<'static, ()>>::new()),
        })
    }

    /// Takes connections in, for ever.
    pub(super) async fn accept(self: Rc<Self>, listener: TcpListener) {
        let mut failing = false;
        loop {
            let Ok(room) = Arc::clone(&self.room).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((tcp, address)) => {
                    failing = false;
                    tokio::task::spawn_local(Rc::clone(&self).converse(tcp, address, room));
                }
                Err(error) => {
                    if !failing {
                        tracing::error!("REST API cannot take a connection: {error}");
                    }
                    failing = true;
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Done when no request is being answered any more.
    pub(super) async fn idle(&self) {
        let idle = self.busy.idle.notified();
        if self.busy.count.get() > 0 {
            idle.await;
        }
    }

    async fn converse(self: Rc<Self>, tcp: TcpStream, address: SocketAddr, _room: OwnedSemaphorePermit) {
        // Only latency suffers without it.
        let _ = tcp.set_nodelay(true);
        let stream = match &self.tls {
            None => Stream::Plain(tcp),
            Some(tls) => match tokio::time::timeout(CLIENT_PATIENCE, secure(tls, tcp)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!("REST API: {address}: no TLS connection: {error}"),
                Err(_) => return tracing::debug!("REST API: {address}: no TLS connection: timed out"),
            },
        };
        if let Some(serve) = self.service().await {
            serve(stream, address).await;
        }
    }

    async fn service(&self) -> Option<Rc<Serve>> {
        if let Some(service) = self.service.borrow().upgrade() {
            return Some(service);
        }
        let service = service(self.app.clone(), Rc::clone(&self.busy)).await?;
        *self.service.borrow_mut() = Rc::downgrade(&service);
        Some(service)
    }
}

async fn secure(tls: &SslAcceptor, tcp: TcpStream) -> Result<Stream, Box<dyn std::error::Error>> {
    let mut stream = tokio_openssl::SslStream::new(Ssl::new(tls.context())?, tcp)?;
    std::pin::Pin::new(&mut stream).accept().await?;
    Ok(Stream::Tls(Box::new(stream)))
}

async fn service(app: web::Data<App>, busy: Rc<Busy>) -> Option<Rc<Serve>> {
    let answer = move |request: HttpRequest, payload: web::Payload, app: web::Data<App>| {
        let request_under_way = busy.begin();
        async move {
            let response = routes::serve(request, payload, app).await;
            drop(request_under_way);
            response
        }
    };
    let app = actix_web::App::new().app_data(app).default_service(web::to(answer)).into_factory();
    let http = HttpService::build()
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(CLIENT_PATIENCE)
        .client_disconnect_timeout(CLOSE_PATIENCE)
        .on_connect_ext(|stream: &Stream, extensions: &mut Extensions| {
            if stream.is_verified() {
                extensions.insert(ClientCertificate);
            }
        })
        .h1(map_config(app, |()| AppConfig::default()));
    // Errors were logged by the factory.
    let http = Rc::new(http.new_service(()).await.ok()?);
    Some(Rc::new(move |stream, address| {
        let http = Rc::clone(&http);
        Box::pin(async move {
            if let Err(error) = call(&*http, (stream, Some(address))).await {
                tracing::debug!("REST API: {address}: {error}");
            }
        })
    }))
}

async fn call<S: Service<R>, R>(service: &S, request: R) -> Result<S::Response, S::Error> {
    std::future::poll_fn(|cx| service.poll_ready(cx)).await?;
    service.call(request).await
}
