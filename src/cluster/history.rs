//! `history`: how the cluster came to its timeline.

use crate::types::{Lsn, Timeline};
use serde::{Deserialize, Serialize};

/// One change of timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// The timeline that ended.
    pub timeline: Timeline,
    /// Where it ended.
    pub lsn: Lsn,
    /// PostgreSQL's reason.
    pub reason: String,
    /// When, ISO 8601 with zone; only lines that an agent completed have it.
    pub timestamp: Option<String>,
    /// Who became leader then.
    pub new_leader: Option<String>,
}

/// The lines in order. In JSON a list of lists.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// The lines.
    pub lines: Vec<HistoryLine>,
}

impl History {
    /// The timeline after the last line; 1 for no lines.
    #[must_use]
    pub fn next_timeline(&self) -> Timeline {
        Timeline(self.lines.last().map_or(0, |l| l.timeline.0).saturating_add(1))
    }
}
