//! The config store: keeps the layers of the configuration, and tells everybody when other settings are in force.

use super::messages::{LocalReread, SettingsChanged, Ticket};
use crate::config::Settings;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::sync::Arc;

/// The layers of the configuration. Errors are texts for the log; after an error the former state holds.
pub trait ConfigSource: Send {
    /// Reads the local layers again. Whether something changed.
    ///
    /// # Errors
    /// They cannot be read or make no valid settings.
    fn reload(&mut self) -> Result<bool, String>;

    /// Takes a dynamic configuration. Whether something changed.
    ///
    /// # Errors
    /// It makes no valid settings.
    fn set_dynamic(&mut self, data: &Map<String, Value>) -> Result<bool, String>;

    /// Writes the cache of the dynamic configuration (CFG-04). Whether it was written: not without a data directory.
    ///
    /// # Errors
    /// It cannot be written.
    fn save_cache(&mut self) -> Result<bool, String>;

    /// The settings in force.
    fn settings(&self) -> Arc<Settings>;

    /// The dynamic configuration in force.
    fn dynamic(&self) -> Arc<Map<String, Value>>;
}

/// Put this dynamic configuration in force (from the coordinator, when a cycle has read one that is new to it).
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct ApplyDynamic {
    /// Comes back with the answer.
    pub ticket: Ticket,
    /// The value of `config`.
    pub data: Map<String, Value>,
    /// To whom.
    pub reply: Recipient<DynamicApplied>,
}

/// What is in force after [`ApplyDynamic`], whether or not it could be obeyed.
#[derive(Clone, Debug, Message)]
#[rtype(result = "()")]
pub struct DynamicApplied {
    /// The question.
    pub ticket: Ticket,
    /// Settings in force.
    pub settings: Arc<Settings>,
    /// Dynamic configuration in force.
    pub dynamic: Arc<Map<String, Value>>,
}

/// Read the local configuration again (SIGHUP, POST /reload).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct ReloadLocal;

/// There is a data directory: the cache may be written (from the coordinator, after each cycle that saw one).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct DataDirSeen;

/// Who is told of other settings.
#[derive(Clone, Default, Message)]
#[rtype(result = "()")]
pub struct Subscribers {
    /// After every change.
    pub all: Vec<Recipient<SettingsChanged>>,
    /// Only after a change of the local layers; whoever sends [`ApplyDynamic`] gets its answer instead.
    pub local_only: Vec<Recipient<SettingsChanged>>,
    /// After every reading of the local layers, also of one that brought nothing new or failed.
    pub reread: Vec<Recipient<LocalReread>>,
}

/// The actor.
pub struct ConfigStore {
    /// Away while the local files are read.
    source: Option<Box<dyn ConfigSource>>,
    waiting: VecDeque<Work>,
    subscribers: Subscribers,
    unsaved: bool,
}

enum Work {
    Reload,
    Save,
    Apply(ApplyDynamic),
}

impl ConfigStore {
    /// A store of these layers. `unsaved`: the cache file does not hold the dynamic configuration in force.
    #[must_use]
    pub fn new(source: Box<dyn ConfigSource>, unsaved: bool) -> Self {
        Self { source: Some(source), waiting: VecDeque::new(), subscribers: Subscribers::default(), unsaved }
    }

    fn work(&mut self, work: Work, ctx: &mut Context<Self>) {
        self.waiting.push_back(work);
        self.next(ctx);
    }

    /// Does what waits, one after the other.
    fn next(&mut self, ctx: &mut Context<Self>) {
        while let Some(mut source) = self.source.take() {
            match self.waiting.pop_front() {
                None => {
                    self.source = Some(source);
                    return;
                }
                Some(Work::Apply(message)) => {
                    self.apply(source.as_mut(), message);
                    self.source = Some(source);
                }
                Some(Work::Reload) => {
                    aside(source, |source| source.reload(), Self::reloaded, ctx);
                    return;
                }
                Some(Work::Save) => {
                    aside(source, |source| source.save_cache(), Self::saved, ctx);
                    return;
                }
            }
        }
    }

    fn apply(&mut self, source: &mut dyn ConfigSource, message: ApplyDynamic) {
        let changed = source.set_dynamic(&message.data).unwrap_or_else(|error| {
            tracing::error!(target: "patroni.config", "Exception when setting dynamic_configuration: {error}");
            false
        });
        self.unsaved |= changed;
        let settings = source.settings();
        let dynamic = source.dynamic();
        message.reply.do_send(DynamicApplied { ticket: message.ticket, settings: settings.clone(), dynamic });
        if changed {
            tell(&self.subscribers.all, &settings);
        }
    }

    fn reloaded(&mut self, source: &dyn ConfigSource, result: Result<bool, String>) {
        match result {
            Ok(true) => {
                let settings = source.settings();
                tell(&self.subscribers.all, &settings);
                tell(&self.subscribers.local_only, &settings);
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(target: "patroni.config", "Exception when reloading local configuration: {error}");
            }
        }
        for subscriber in &self.subscribers.reread {
            subscriber.do_send(LocalReread);
        }
    }

    /// What was not written is written after a later cycle.
    fn saved(&mut self, _source: &dyn ConfigSource, result: Result<bool, String>) {
        match result {
            Ok(written) => self.unsaved |= !written,
            Err(error) => {
                self.unsaved = true;
                tracing::error!(target: "patroni.config", "Exception when saving file: {error}");
            }
        }
    }
}

/// Works on the files beside everything else: a disk may hang, and nothing else may hang with it.
fn aside(
    mut source: Box<dyn ConfigSource>,
    work: fn(&mut dyn ConfigSource) -> Result<bool, String>,
    then: fn(&mut ConfigStore, &dyn ConfigSource, Result<bool, String>),
    ctx: &mut Context<ConfigStore>,
) {
    let working = tokio::task::spawn_blocking(move || {
        let result = work(source.as_mut());
        (source, result)
    });
    let working = actix::fut::wrap_future::<_, ConfigStore>(working);
    ctx.spawn(working.map(move |ended, act, ctx| match ended {
        Ok((source, result)) => {
            then(act, source.as_ref(), result);
            act.source = Some(source);
            act.next(ctx);
        }
        Err(error) => {
            tracing::error!("the configuration is lost: {error}");
            ctx.stop();
        }
    }));
}

fn tell(subscribers: &[Recipient<SettingsChanged>], settings: &Arc<Settings>) {
    for subscriber in subscribers {
        subscriber.do_send(SettingsChanged(settings.clone()));
    }
}

impl Actor for ConfigStore {
    type Context = Context<Self>;
}

impl Handler<ApplyDynamic> for ConfigStore {
    type Result = ();

    fn handle(&mut self, msg: ApplyDynamic, ctx: &mut Self::Context) {
        self.work(Work::Apply(msg), ctx);
    }
}

impl Handler<ReloadLocal> for ConfigStore {
    type Result = ();

    fn handle(&mut self, _msg: ReloadLocal, ctx: &mut Self::Context) {
        if !self.waiting.iter().any(|w| matches!(w, Work::Reload)) {
            self.work(Work::Reload, ctx);
        }
    }
}

impl Handler<DataDirSeen> for ConfigStore {
    type Result = ();

    fn handle(&mut self, _msg: DataDirSeen, ctx: &mut Self::Context) {
        if std::mem::take(&mut self.unsaved) {
            self.work(Work::Save, ctx);
        }
    }
}

impl Handler<Subscribers> for ConfigStore {
    type Result = ();

    fn handle(&mut self, msg: Subscribers, _ctx: &mut Self::Context) {
        self.subscribers = msg;
    }
}

#[cfg(test)]
#[path = "config_store_tests.rs"]
mod tests;
