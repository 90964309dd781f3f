//! Warnings on standard error, in the form of Python's logging.

use std::fmt::Write as _;
use std::io::Write as _;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

/// Shows events up to a level.
struct Lines {
    level: Level,
}

/// Starts logging at the level of LOGLEVEL, PATRONI_LOGLEVEL or PATRONI_LOG_LEVEL (the last one set counts), by
/// default WARNING.
pub fn start() {
    let names = ["LOGLEVEL", "PATRONI_LOGLEVEL", "PATRONI_LOG_LEVEL"];
    let name = names.iter().filter_map(|name| std::env::var(name).ok()).next_back();
    let level = match name.as_deref().unwrap_or("WARNING").to_ascii_uppercase().as_str() {
        "DEBUG" | "NOTSET" => Level::DEBUG,
        "INFO" => Level::INFO,
        "ERROR" | "CRITICAL" | "FATAL" => Level::ERROR,
        _ => Level::WARN,
    };
    let subscriber = tracing_subscriber::registry().with(Lines { level });
    if let Err(error) = tracing::subscriber::set_global_default(subscriber) {
        writeln!(std::io::stderr(), "no log: {error}").ok();
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        // Other crates speak only when something is wrong.
        let limit = if meta.target().starts_with("patroni") { self.level } else { self.level.min(Level::WARN) };
        if *meta.level() > limit {
            return;
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        let level = match *meta.level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            _ => "DEBUG",
        };
        let now = crate::clock::Clock::system().wall().to_zoned(jiff::tz::TimeZone::system());
        let time = now.strftime("%Y-%m-%d %H:%M:%S");
        let millis = now.subsec_nanosecond() / 1_000_000;
        // There is nobody to tell that standard error is gone.
        writeln!(std::io::stderr(), "{time},{millis:03} - {level} - {}", message.0).ok();
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            write!(self.0, "{value:?}").ok();
        }
    }
}
