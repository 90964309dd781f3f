//! How a command ends badly.

/// Why a command ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CtlError {
    /// It cannot be done, or was refused.
    #[error("{0}")]
    Message(String),
    /// The arguments make no sense.
    #[error("{0}")]
    Usage(String),
    /// The input ended at a question.
    #[error("Aborted!")]
    Aborted,
}

impl CtlError {
    /// A refusal with its reason.
    #[must_use]
    pub fn message(text: impl Into<String>) -> Self {
        Self::Message(text.into())
    }

    /// The line on standard error.
    #[must_use]
    pub fn shown(&self) -> String {
        match self {
            Self::Aborted => self.to_string(),
            other => format!("Error: {other}"),
        }
    }

    /// The exit code (CTL-23).
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Usage(_)) { 2 } else { 1 }
    }
}
