//! Keeps the REST server running: starts it, starts it anew when its sockets or certificates change, or when it broke.

use super::messages::SettingsChanged;
use crate::api::{Gateway, ServerHandle, server};
use crate::config::Settings;
use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use futures_util::future::LocalBoxFuture;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// A server that broke is started again after this.
const CHECK_EVERY: Duration = Duration::from_secs(5);

/// A running server.
pub trait RunningRest {
    /// Whether a server started with these settings would be the same.
    fn matches(&self, settings: &Settings) -> bool;

    /// Whether it still serves.
    fn is_running(&self) -> bool;

    /// Closes the sockets and gives open requests a little time; done when the server is gone.
    fn stop(self: Box<Self>) -> LocalBoxFuture<'static, ()>;
}

/// Starts a server. The error says which setting cannot be used.
pub type StartRest = fn(&Settings, Arc<dyn Gateway>) -> Result<Box<dyn RunningRest>, String>;

/// Starts the REST server of this program.
///
/// # Errors
/// The setting that cannot be used.
pub fn start(settings: &Settings, gateway: Arc<dyn Gateway>) -> Result<Box<dyn RunningRest>, String> {
    match server::start(settings, gateway) {
        Ok(handle) => Ok(Box::new(handle)),
        Err(error) => Err(error.to_string()),
    }
}

impl RunningRest for ServerHandle {
    fn matches(&self, settings: &Settings) -> bool {
        Self::matches(self, settings)
    }

    fn is_running(&self) -> bool {
        Self::is_running(self)
    }

    fn stop(self: Box<Self>) -> LocalBoxFuture<'static, ()> {
        Box::pin(Self::stop(*self))
    }
}

/// Stop the server for good.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopRest {
    /// Told when it is gone.
    pub done: oneshot::Sender<()>,
}

/// The actor.
pub struct RestServer {
    start: StartRest,
    gateway: Arc<dyn Gateway>,
    settings: Arc<Settings>,
    running: Option<Box<dyn RunningRest>>,
    /// One is being stopped, and another follows.
    replacing: bool,
    stopped: bool,
}

impl RestServer {
    /// Starts a server with these settings.
    ///
    /// # Errors
    /// The setting that cannot be used.
    pub fn new(start: StartRest, gateway: Arc<dyn Gateway>, settings: Arc<Settings>) -> Result<Self, String> {
        let running = Some(start(&settings, gateway.clone())?);
        Ok(Self { start, gateway, settings, running, replacing: false, stopped: false })
    }

    /// Starts a server if there should be one and is none.
    fn ensure(&mut self) {
        if self.stopped || self.replacing || self.running.as_ref().is_some_and(|r| r.is_running()) {
            return;
        }
        match (self.start)(&self.settings, self.gateway.clone()) {
            Ok(running) => self.running = Some(running),
            Err(error) => tracing::error!("REST API cannot be started: {error}"),
        }
    }
}

impl Actor for RestServer {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(CHECK_EVERY, |act, _ctx| act.ensure());
    }
}

impl Handler<SettingsChanged> for RestServer {
    type Result = ();

    fn handle(&mut self, msg: SettingsChanged, ctx: &mut Self::Context) {
        self.settings = msg.0;
        if self.replacing || self.stopped {
            return;
        }
        match self.running.take() {
            Some(running) if running.matches(&self.settings) => self.running = Some(running),
            Some(running) => {
                self.replacing = true;
                ctx.spawn(running.stop().into_actor(self).map(|(), act, _ctx| {
                    act.replacing = false;
                    act.ensure();
                }));
            }
            None => self.ensure(),
        }
    }
}

impl Handler<StopRest> for RestServer {
    type Result = ();

    fn handle(&mut self, msg: StopRest, _ctx: &mut Self::Context) {
        self.stopped = true;
        let running = self.running.take();
        actix::spawn(async move {
            if let Some(running) = running {
                running.stop().await;
            }
            if msg.done.send(()).is_err() {
                tracing::debug!("nobody waits for the end of the REST API any more");
            }
        });
    }
}
