//! How talking to a server goes wrong, in the cases that this floor tells apart.

use super::PgError;

/// A failed connection or statement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SqlError {
    /// At which point it failed.
    pub stage: Stage,
    /// SQLSTATE, when the server gave one.
    pub code: Option<String>,
    /// For the log.
    pub message: String,
}

/// Where an [`SqlError`] arose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The connection options cannot be used.
    Options,
    /// The TLS handshake.
    Tls,
    /// Establishing the connection.
    Connect,
    /// A statement was refused.
    Statement,
    /// The connection broke while a statement was under way.
    Lost,
    /// No answer in time.
    TimedOut,
}

impl SqlError {
    /// An error without SQLSTATE.
    pub fn new(stage: Stage, message: impl Into<String>) -> Self {
        Self { stage, code: None, message: message.into() }
    }

    /// Whether the server gave this SQLSTATE.
    #[must_use]
    pub fn is(&self, code: &str) -> bool {
        self.code.as_deref() == Some(code)
    }

    /// What the driver reports, told as libpq tells it.
    #[must_use]
    pub fn from_driver(stage: Stage, error: &tokio_postgres::Error) -> Self {
        if let Some(db) = error.as_db_error() {
            let message = format!("{}:  {}", db.severity(), db.message());
            return Self { stage, code: Some(db.code().code().to_owned()), message };
        }
        let mut message = error.to_string();
        // The handshake has no kind of its own in the driver; its text is what names it.
        let stage = if message.starts_with("error performing TLS handshake") { Stage::Tls } else { stage };
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            let text = cause.to_string();
            if !message.contains(&text) {
                message = format!("{message}: {text}");
            }
            source = cause.source();
        }
        Self::new(stage, message)
    }
}

impl From<SqlError> for PgError {
    fn from(error: SqlError) -> Self {
        match error.stage {
            Stage::Statement => Self::Sql(error.message),
            Stage::TimedOut => Self::TimedOut(error.message),
            Stage::Options | Stage::Tls | Stage::Connect | Stage::Lost => Self::NoConnection(error.message),
        }
    }
}
