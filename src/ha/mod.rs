//! The rules: a pure function from what is known to what to do next. No I/O, no clock, no randomness.
//!
//! [`decide`] is asked again after each batch of outcomes, with the same [`View`] but for [`View::done`]; it walks the
//! same path through the rules, finds the answers it was missing, and comes to an end. A rule that needs an outcome
//! returns [`Round::Need`].

pub mod command;
mod cycle;
pub mod facts;
mod failsafe;
pub mod invariant;
pub mod memory;
pub mod permanent_slots;
pub mod quorum;
pub mod request;
pub mod rewind;
pub mod rule;
mod rules;
pub mod sentence;
mod slot_plan;
pub mod sync;
pub mod upstream;
pub mod view;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

pub use command::{Command, Job, JobEnd, JobId, JobKind, JobPhase, JobReport, JobResult, Outcome};
pub use memory::Memory;
pub use request::{Answer, AnswerKind, PendingRequest, Request, RequestId};
pub use rule::Rule;
pub use view::{Me, ServerReport, StoreFailure, View, WatchdogReport};

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// More rounds than this in one cycle is a bug: it is counted and the cycle ends.
pub const MAX_ROUNDS: usize = 16;

/// Decides what to do next. Deterministic: the same view gives the same round.
#[must_use]
pub fn decide(view: &View) -> Round {
    rules::walk(view)
}

/// The stages of a cycle in their order of precedence: name and what they do.
pub fn precedence() -> impl Iterator<Item = (&'static str, &'static str)> {
    rules::precedence()
}

/// What a cycle needs or came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Round {
    /// Carry these out at the same time, append each with its outcome to [`View::done`], and ask again. The fence must
    /// hear of an [`Outcome::Leased`] when it arrives, not at the end of the cycle: a promotion may follow in the same one.
    Need {
        /// What to carry out.
        commands: Vec<Command>,
        /// All lines logged so far in this cycle (a prefix of those of the next round).
        log: Vec<LogLine>,
    },
    /// The cycle is over.
    Done(Box<Finish>),
}

/// The end of a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finish {
    /// The rule that ended it; its sentence is the cycle's log line.
    pub rule: Rule,
    /// The cycle's log line (Patroni's text), rendered from the rule; empty for none.
    pub sentence: String,
    /// All further lines of this cycle.
    pub log: Vec<LogLine>,
    /// What to remember for the next cycle.
    pub memory: Memory,
    /// To carry out now, in order, outcomes only reported (the member key is the last).
    pub commands: Vec<Command>,
    /// Answers to requests that are settled.
    pub answers: Vec<(RequestId, Answer)>,
    /// The next cycle starts after this at the latest (`None`: on schedule, `loop_wait` after the start of this one).
    pub wake_in: Option<Duration>,
    /// The process must end.
    pub exit: Option<Exit>,
}

/// Why the process must end, after the commands of [`Finish`] have been carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code.
    pub code: i32,
    /// Line for the log, level critical.
    pub reason: String,
    /// Whether PostgreSQL must be left as it is.
    pub leave_postgres: bool,
}

/// Levels as Python's logging has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Level {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

/// A line for the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its level.
    pub level: Level,
    /// Its text.
    pub text: String,
}
