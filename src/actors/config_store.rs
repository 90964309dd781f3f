//! The config store: keeps the layers of the configuration, and tells everybody when other settings are in force.

use super::messages::{SettingsChanged, Ticket};
use crate::config::Settings;
use actix::{Actor, AsyncContext, Context, Handler, Message, Recipient};
use serde_json::{Map, Value};
use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

/// The cache of the dynamic configuration in the data directory (CFG-04).
pub const CACHE_FILE: &str = "patroni.dynamic.json";

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
                    // Reading files may hang, and nothing else may hang with it.
                    let reading = tokio::task::spawn_blocking(move || {
                        let result = source.reload();
                        (source, result)
                    });
                    ctx.spawn(actix::fut::ActorFutureExt::map(
                        actix::fut::wrap_future::<_, Self>(reading),
                        |read, act: &mut Self, ctx: &mut Context<Self>| match read {
                            Ok((source, result)) => act.reloaded(source, result, ctx),
                            Err(error) => tracing::error!("the configuration can be read no more: {error}"),
                        },
                    ));
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

    fn reloaded(&mut self, source: Box<dyn ConfigSource>, result: Result<bool, String>, ctx: &mut Context<Self>) {
        match result {
            Ok(true) => {
                let settings = source.settings();
                tell(&self.subscribers.all, &settings);
                tell(&self.subscribers.local_only, &settings);
            }
            Ok(false) => tracing::info!(target: "patroni.config", "No local configuration items changed."),
            Err(error) => {
                tracing::error!(target: "patroni.config", "Exception when reloading local configuration: {error}");
            }
        }
        self.source = Some(source);
        self.next(ctx);
    }

    /// Writes the cache file, beside everything else.
    fn save(&mut self, ctx: &mut Context<Self>) {
        let Some(source) = self.source.as_ref().filter(|_| self.unsaved) else { return };
        self.unsaved = false;
        let (settings, dynamic) = (source.settings(), source.dynamic());
        let writing = tokio::task::spawn_blocking(move || write_cache(&settings.postgresql.data_dir, dynamic.as_ref()));
        ctx.spawn(actix::fut::ActorFutureExt::map(
            actix::fut::wrap_future::<_, Self>(writing),
            |result, act: &mut Self, _ctx: &mut Context<Self>| {
                if let Ok(Err(error)) = result {
                    act.unsaved = true;
                    tracing::error!(target: "patroni.config", "Exception when saving file: {CACHE_FILE}: {error}");
                }
            },
        ));
    }
}

fn tell(subscribers: &[Recipient<SettingsChanged>], settings: &Arc<Settings>) {
    for subscriber in subscribers {
        subscriber.do_send(SettingsChanged(settings.clone()));
    }
}

/// Written aside and renamed, readable by whom the data directory is readable.
fn write_cache(data_dir: &Path, dynamic: &Map<String, Value>) -> std::io::Result<()> {
    let group_may_read = std::fs::metadata(data_dir)?.permissions().mode() & 0o050 == 0o050;
    let mode = if group_may_read { 0o640 } else { 0o600 };
    let aside = data_dir.join(format!("{CACHE_FILE}.new"));
    let mut file = std::fs::File::options().create(true).write(true).truncate(true).mode(mode).open(&aside)?;
    serde_json::to_writer(&mut file, dynamic)?;
    file.flush()?;
    file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    std::fs::rename(&aside, data_dir.join(CACHE_FILE))
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
        self.save(ctx);
    }
}

impl Handler<Subscribers> for ConfigStore {
    type Result = ();

    fn handle(&mut self, msg: Subscribers, _ctx: &mut Self::Context) {
        self.subscribers = msg;
    }
}
