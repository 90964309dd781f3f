//! One line of the log before it is a text, with the attributes of Python's log records.

use super::level::Level;
use crate::config::python::float_repr;
use crate::types::Wall;
use serde_json::{Value, json};

/// What was logged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    pub level: Level,
    pub message: String,
    /// The logger, with dots.
    pub name: String,
    pub pathname: &'static str,
    pub line: u32,
    pub thread: i64,
    pub thread_name: String,
    pub time: Wall,
    /// Other fields of the event.
    pub fields: Vec<(String, Value)>,
}

/// An attribute that a format can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attribute {
    Name,
    LevelNumber,
    LevelName,
    PathName,
    FileName,
    Module,
    LineNumber,
    Function,
    Created,
    AscTime,
    Milliseconds,
    RelativeCreated,
    Thread,
    ThreadName,
    Process,
    ProcessName,
    TaskName,
    Message,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Field {
    Text(String),
    Integer(i64),
    Real(f64),
}

impl Attribute {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::Name,
            "levelno" => Self::LevelNumber,
            "levelname" => Self::LevelName,
            "pathname" => Self::PathName,
            "filename" => Self::FileName,
            "module" => Self::Module,
            "lineno" => Self::LineNumber,
            "funcName" => Self::Function,
            "created" => Self::Created,
            "asctime" => Self::AscTime,
            "msecs" => Self::Milliseconds,
            "relativeCreated" => Self::RelativeCreated,
            "thread" => Self::Thread,
            "threadName" => Self::ThreadName,
            "process" => Self::Process,
            "processName" => Self::ProcessName,
            "taskName" => Self::TaskName,
            "message" => Self::Message,
            _ => return None,
        })
    }
}

impl Record {
    /// The value of an attribute; the time as text is made by whoever knows its format. `started`: start of the log.
    pub fn field(&self, attribute: Attribute, started: Wall, asctime: impl FnOnce() -> String) -> Field {
        let file_name = || self.pathname.rsplit('/').next().unwrap_or("");
        let microseconds = self.time.as_microsecond();
        let text = |text: &str| Field::Text(text.to_owned());
        match attribute {
            Attribute::Name => text(&self.name),
            Attribute::LevelNumber => Field::Integer(self.level.number()),
            Attribute::LevelName => text(self.level.name()),
            Attribute::PathName => text(self.pathname),
            Attribute::FileName => text(file_name()),
            Attribute::Module => text(file_name().trim_end_matches(".rs")),
            Attribute::LineNumber => Field::Integer(i64::from(self.line)),
            // Events do not know their function; the last part of the logger's name comes nearest.
            Attribute::Function => text(self.name.rsplit('.').next().unwrap_or("")),
            Attribute::Created => Field::Real(thousandth(microseconds) / 1000.0),
            Attribute::AscTime => Field::Text(asctime()),
            Attribute::Milliseconds => Field::Real(thousandth(microseconds.rem_euclid(1_000_000)).floor()),
            Attribute::RelativeCreated => Field::Real(thousandth(microseconds - started.as_microsecond())),
            Attribute::Thread => Field::Integer(self.thread),
            Attribute::ThreadName => text(&self.thread_name),
            Attribute::Process => Field::Integer(i64::from(std::process::id())),
            Attribute::ProcessName => text("MainProcess"),
            Attribute::TaskName => text("None"),
            Attribute::Message => text(&self.message),
        }
    }
}

#[allow(clippy::cast_precision_loss)]
fn thousandth(number: i64) -> f64 {
    number as f64 / 1000.0
}

impl Field {
    /// As `%s` writes it.
    pub fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Integer(number) => number.to_string(),
            Self::Real(number) => float_repr(*number),
        }
    }

    pub fn json(&self) -> Value {
        match self {
            Self::Text(text) => json!(text),
            Self::Integer(number) => json!(number),
            Self::Real(number) => json!(number),
        }
    }
}
