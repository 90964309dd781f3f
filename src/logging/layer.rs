//! Events of `tracing` to records.

use super::filter::logger_name;
use super::level::Level;
use super::queue::Shared;
use super::record::Record;
use crate::clock::Clock;
use serde_json::Value;
use std::fmt::Debug;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The layer that writes the log.
pub struct LogLayer {
    clock: Clock,
    shared: Arc<Shared>,
}

impl LogLayer {
    pub(super) fn new(clock: Clock, shared: Arc<Shared>) -> Self {
        Self { clock, shared }
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        // Only the event itself tells whether an error is critical.
        let level = match Level::of(*metadata.level()) {
            Level::Error => Level::Critical,
            level => level,
        };
        metadata.is_event() && self.shared.filter().enabled(&logger_name(metadata.target()), level)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.shared.filter().lowest() {
            Level::Debug => LevelFilter::TRACE,
            Level::Info => LevelFilter::INFO,
            Level::Warning => LevelFilter::WARN,
            Level::Error | Level::Critical => LevelFilter::ERROR,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut content = Content::default();
        event.record(&mut content);
        let level = if content.critical { Level::Critical } else { Level::of(*metadata.level()) };
        let name = logger_name(metadata.target());
        if !self.shared.filter().enabled(&name, level) {
            return;
        }
        let thread = std::thread::current();
        let thread_name = match thread.name() {
            Some("main") => "MainThread",
            Some(name) => name,
            None => "Thread",
        };
        self.shared.emit(Record {
            level,
            message: content.message(),
            name,
            pathname: metadata.file().unwrap_or(""),
            line: metadata.line().unwrap_or(0),
            thread: i64::from(rustix::thread::gettid().as_raw_nonzero().get()),
            thread_name: thread_name.to_owned(),
            time: self.clock.wall(),
            fields: content.fields,
        });
    }
}

/// What an event says.
#[derive(Default)]
struct Content {
    message: Option<String>,
    critical: bool,
    fields: Vec<(String, Value)>,
}

impl Content {
    /// The message; of an event without one its fields.
    fn message(&mut self) -> String {
        self.message.take().unwrap_or_else(|| {
            let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let fields: Vec<String> =
                self.fields.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
            fields.join(" ")
        })
    }

    fn add(&mut self, field: &Field, value: Value) {
        self.fields.push((field.name().to_owned(), value));
    }
}

impl Visit for Content {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = Some(text);
        } else {
            self.add(field, text.into());
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = Some(value.to_owned());
        } else {
            self.add(field, value.into());
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "critical" {
            self.critical = value;
        } else {
            self.add(field, value.into());
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, value.into());
    }
}
