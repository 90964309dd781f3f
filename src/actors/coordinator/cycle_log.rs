//! The lines of a cycle in the log, under the names of Patroni's loggers, by which `log.loggers` sets levels.

use crate::ha::{Command, Level, LogLine, Outcome};

/// Logs lines of the rules.
pub(super) fn lines(lines: &[LogLine]) {
    for line in lines {
        let text = line.text.as_str();
        match line.level {
            Level::Debug => tracing::debug!(target: "patroni.ha", "{text}"),
            Level::Info => tracing::info!(target: "patroni.ha", "{text}"),
            Level::Warning => tracing::warn!(target: "patroni.ha", "{text}"),
            Level::Error => tracing::error!(target: "patroni.ha", "{text}"),
            Level::Critical => tracing::error!(target: "patroni.ha", critical = true, "{text}"),
        }
    }
}

/// Logs the sentence of a cycle.
pub(super) fn sentence(sentence: &str) {
    if !sentence.is_empty() {
        tracing::info!(target: "patroni.__main__", "{sentence}");
    }
}

/// Logs why the process ends.
pub(super) fn critical(text: &str) {
    tracing::error!(target: "patroni.__main__", critical = true, "{text}");
}

/// Logs what went wrong with a command whose outcome no rule reads.
pub(super) fn tail_outcome(command: &Command, outcome: &Outcome) {
    match outcome {
        Outcome::Unreachable(reason) | Outcome::Unknown(reason) | Outcome::Failed(reason) => {
            tracing::warn!("{} did not work: {reason}", name(command));
        }
        Outcome::Conflict => tracing::warn!("{} was refused: somebody else was first", name(command)),
        _ => {}
    }
}

/// The name of a command, without its values.
fn name(command: &Command) -> String {
    let text = format!("{command:?}");
    text.chars().take_while(char::is_ascii_alphanumeric).collect()
}
