//! Where lines go and how they look; and which heartbeat lines are left out (LOG-07, QUIRK-09).

use super::LogError;
use super::date::DateFormat;
use super::file::{NAME, RotatingFile};
use super::filter::Filter;
use super::format::{self, Format};
use super::json::JsonFormat;
use super::level::Level;
use super::record::Record;
use crate::config::settings::Log;
use crate::types::Wall;
use std::io::Write;

/// Writes records.
pub(super) struct Output {
    sink: Sink,
    look: Look,
    date: DateFormat,
    started: Wall,
    heartbeat: Heartbeat,
}

enum Sink {
    StandardError,
    File(Box<RotatingFile>),
    #[cfg(test)]
    Memory(Box<dyn Write + Send>),
}

enum Look {
    Plain(Format),
    Json(JsonFormat),
}

/// At level INFO the line "Lock owner: ..." is only written when what follows is not the usual heartbeat.
#[derive(Default)]
struct Heartbeat {
    /// The level is INFO.
    quiet: bool,
    deduplicate: bool,
    held: Option<Record>,
    last: Option<String>,
}

impl Output {
    /// Standard error in Patroni's format.
    pub fn standard_error(started: Wall) -> Self {
        let (format, _) = format::plain(&serde_json::Value::Null);
        Self {
            sink: Sink::StandardError,
            look: Look::Plain(format),
            date: DateFormat::default(),
            started,
            heartbeat: Heartbeat { quiet: true, ..Heartbeat::default() },
        }
    }

    #[cfg(test)]
    pub fn set_memory(&mut self, writer: Box<dyn Write + Send>) {
        self.sink = Sink::Memory(writer);
    }

    /// Puts settings in force; returns warnings.
    pub fn configure(&mut self, log: &Log, filter: &Filter) -> Result<Vec<String>, LogError> {
        self.open(log)?;
        let mut warnings = Vec::new();
        self.date = DateFormat::new(log.dateformat.as_deref()).unwrap_or_else(|reason| {
            warnings.push(format!("log.dateformat cannot be used: {reason}"));
            DateFormat::default()
        });
        self.look = if log.json {
            let (format, complaints) = JsonFormat::new(&log.format, &log.static_fields);
            warnings.extend(complaints);
            Look::Json(format)
        } else {
            let (format, complaint) = format::plain(&log.format);
            warnings.extend(complaint);
            Look::Plain(format)
        };
        self.heartbeat.quiet = filter.root == Level::Info;
        self.heartbeat.deduplicate = log.deduplicate_heartbeat_logs;
        Ok(warnings)
    }

    fn open(&mut self, log: &Log) -> Result<(), LogError> {
        match (&log.dir, &mut self.sink) {
            #[cfg(test)]
            (None, Sink::Memory(_)) => {}
            (None, sink) => *sink = Sink::StandardError,
            (Some(directory), Sink::File(file)) if file.is_in(directory) => file.set_mode(log.mode),
            (Some(directory), sink) => {
                let failed =
                    |error: std::io::Error| LogError::File { path: directory.join(NAME), reason: error.to_string() };
                *sink = Sink::File(Box::new(RotatingFile::open(directory, log.mode).map_err(failed)?));
            }
        }
        if let Sink::File(file) = &mut self.sink {
            file.limit = log.file_size;
            file.backups = log.file_num;
        }
        Ok(())
    }

    /// Takes a record: writes it, and what had been held back, or holds it back.
    pub fn handle(&mut self, record: Record) {
        if !self.heartbeat.quiet {
            return self.write(&record);
        }
        if record.message.starts_with("Lock owner: ") {
            self.heartbeat.held = Some(record);
            return;
        }
        let follows = self.heartbeat.held.as_ref().is_some_and(|held| held.thread == record.thread);
        if let Some(held) = self.heartbeat.held.take_if(|_| follows) {
            if is_heartbeat(&record.message) {
                if self.heartbeat.deduplicate && self.heartbeat.last.as_ref() == Some(&record.message) {
                    return;
                }
                self.heartbeat.last = Some(record.message.clone());
            } else {
                self.heartbeat.last = None;
                self.write(&held);
            }
        }
        self.write(&record);
    }

    fn write(&mut self, record: &Record) {
        let asctime = || self.date.write(record.time);
        let field = |attribute| record.field(attribute, self.started, asctime);
        let mut line = match &self.look {
            Look::Plain(format) => format.write(field),
            Look::Json(format) => format.write(field, &record.fields),
        };
        line.push('\n');
        let written = match &mut self.sink {
            Sink::StandardError => std::io::stderr().write_all(line.as_bytes()),
            // What the file does not take (a full disk) goes to standard error.
            Sink::File(file) => file.write(line.as_bytes()).or_else(|_| std::io::stderr().write_all(line.as_bytes())),
            #[cfg(test)]
            Sink::Memory(writer) => writer.write_all(line.as_bytes()),
        };
        // Nobody is left to be told when standard error is closed.
        drop(written);
    }
}

fn is_heartbeat(message: &str) -> bool {
    message.starts_with("no action. ") || message.starts_with("PAUSE: no action")
}
