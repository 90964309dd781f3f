//! Has this server diverged from the leader? The decision of ha-rules 13 as a pure state machine.

use crate::cluster::{ControlData, ControlState};
use crate::types::{Lsn, Timeline};
use serde::{Deserialize, Serialize};

/// How far the question is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RewindState {
    /// Nobody asks.
    #[default]
    Initial,
    /// On a primary: control data shows the new timeline, others may rewind from here.
    Checkpoint,
    /// Armed: to be answered as soon as the leader can be asked.
    Check,
    /// Diverged.
    Need,
    /// Diverged on a timeline of the same number as the leader's. pg_rewind compares the numbers and finds nothing to do:
    /// only a new copy helps.
    Twin,
    /// Not diverged.
    NotNeed,
    /// pg_rewind did its work.
    Success,
    /// pg_rewind failed.
    Failed,
}

impl RewindState {
    /// Arms the question, unless the answer is known to be yes or nobody wants anything done about it (`wants_repair`).
    /// Whether something can be done is asked later: a process that has just begun may not know it yet.
    pub fn arm(&mut self, wants_repair: bool) {
        if wants_repair && *self != Self::Need {
            *self = Self::Check;
        }
    }

    /// Asked or answered with yes.
    #[must_use]
    pub fn is_needed(self) -> bool {
        matches!(self, Self::Check | Self::Need | Self::Twin)
    }

    /// pg_rewind has been run.
    #[must_use]
    pub fn executed(self) -> bool {
        matches!(self, Self::Success | Self::Failed)
    }
}

/// The end of a server's own history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPoint {
    /// It is or was a standby.
    pub in_recovery: bool,
    /// Its timeline.
    pub timeline: Timeline,
    /// A standby's last position, a former primary's last checkpoint.
    pub lsn: Lsn,
}

impl LocalPoint {
    /// The end of history of a stopped server. `None`: it was not shut down cleanly, nothing can be said.
    #[must_use]
    pub fn of_stopped(control: &ControlData) -> Option<Self> {
        let standby = matches!(control.state, ControlState::ShutDownInRecovery | ControlState::InArchiveRecovery);
        if standby && control.min_recovery_lsn.0 != 0 && control.min_recovery_timeline.0 != 0 {
            return Some(Self {
                in_recovery: true,
                timeline: control.min_recovery_timeline,
                lsn: control.min_recovery_lsn,
            });
        }
        // A standby without a recovery end was a primary when it went down.
        let primary = standby || control.state == ControlState::ShutDown;
        primary.then_some(Self { in_recovery: false, timeline: control.timeline, lsn: control.checkpoint_lsn })
    }
}

/// A leader's history: its timeline, and where the earlier ones ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderHistory<'a> {
    /// Its timeline.
    pub timeline: Timeline,
    /// Lines of its history file.
    pub lines: &'a [(Timeline, Lsn)],
}

/// What follows from both histories.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Diverged.
    Need,
    /// Not diverged.
    NotNeed,
    /// Not diverged if the checkpoint record ends exactly here.
    IfCheckpointEndsAt(Lsn),
}

/// Compares the local end of history with the leader's history. An empty history of a leader above timeline 1 says
/// nothing: `None`.
#[must_use]
pub fn compare(local: LocalPoint, leader: LeaderHistory<'_>) -> Option<Verdict> {
    match local.timeline.cmp(&leader.timeline) {
        std::cmp::Ordering::Greater => return Some(Verdict::Need),
        std::cmp::Ordering::Equal => return Some(Verdict::NotNeed),
        std::cmp::Ordering::Less if leader.lines.is_empty() => return None,
        std::cmp::Ordering::Less => {}
    }
    let line = leader.lines.iter().find(|(timeline, _)| *timeline == local.timeline);
    let Some((_, switch_point)) = line else { return Some(Verdict::Need) };
    let ahead = if local.in_recovery { local.lsn > *switch_point } else { local.lsn >= *switch_point };
    Some(match (ahead, local.in_recovery) {
        (true, _) => Verdict::Need,
        (false, true) => Verdict::NotNeed,
        (false, false) => Verdict::IfCheckpointEndsAt(*switch_point),
    })
}

/// Whether two timelines of the same number are different ones: they were begun at different points. A history that is
/// not there tells nothing.
#[must_use]
pub fn are_twins(local: &[(Timeline, Lsn)], leader: &[(Timeline, Lsn)]) -> bool {
    !local.is_empty() && !leader.is_empty() && local != leader
}

/// The lines of a leader's history around the local timeline, for the log.
#[must_use]
pub fn history_excerpt(local: Timeline, lines: &[(Timeline, Lsn)]) -> String {
    let at = lines.iter().position(|(timeline, _)| *timeline >= local).unwrap_or(lines.len());
    let end = if at + 4 >= lines.len() { lines.len() } else { at + 2 };
    let show = |(timeline, lsn): &(Timeline, Lsn)| format!("{timeline}\t{lsn}");
    let mut shown: Vec<String> = lines.iter().take(end).skip(at.saturating_sub(3)).map(show).collect();
    if let Some(last) = lines.last().filter(|_| end < lines.len()) {
        shown.extend(["...".to_owned(), show(last)]);
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(in_recovery: bool, timeline: u32, lsn: u64) -> LocalPoint {
        LocalPoint { in_recovery, timeline: Timeline(timeline), lsn: Lsn(lsn) }
    }

    // rows: REW-03
    #[test]
    fn divergence_is_found_by_timeline_and_switch_point() {
        let lines = [(Timeline(1), Lsn(100)), (Timeline(2), Lsn(200)), (Timeline(4), Lsn(300))];
        let leader = |timeline| LeaderHistory { timeline: Timeline(timeline), lines: &lines };
        for (local, timeline, verdict) in [
            (at(true, 6, 1), 5, Some(Verdict::Need)),
            (at(true, 5, 999), 5, Some(Verdict::NotNeed)),
            (at(true, 1, 99), 5, Some(Verdict::NotNeed)),
            (at(true, 1, 100), 5, Some(Verdict::NotNeed)),
            (at(true, 1, 101), 5, Some(Verdict::Need)),
            (at(true, 2, 200), 5, Some(Verdict::NotNeed)),
            (at(false, 2, 200), 5, Some(Verdict::Need)),
            (at(false, 2, 199), 5, Some(Verdict::IfCheckpointEndsAt(Lsn(200)))),
            (at(false, 4, 299), 5, Some(Verdict::IfCheckpointEndsAt(Lsn(300)))),
            (at(true, 3, 1), 5, Some(Verdict::Need)),
            (at(false, 3, 1), 5, Some(Verdict::Need)),
        ] {
            assert_eq!(compare(local, leader(timeline)), verdict, "{local:?}");
        }
        assert_eq!(compare(at(true, 1, 1), LeaderHistory { timeline: Timeline(2), lines: &[] }), None);
    }

    fn control(state: ControlState, min: (u64, u32)) -> ControlData {
        ControlData {
            system_id: None,
            state,
            checkpoint_lsn: Lsn(50),
            redo_lsn: Lsn(40),
            timeline: Timeline(3),
            min_recovery_lsn: Lsn(min.0),
            min_recovery_timeline: Timeline(min.1),
            checksums: true,
            wal_log_hints: false,
            lines: Vec::new(),
        }
    }

    // rows: REW-03
    #[test]
    fn a_stopped_server_tells_its_end_only_after_a_clean_stop() {
        use ControlState as S;
        for (state, min, point) in [
            (S::ShutDown, (0, 0), Some(at(false, 3, 50))),
            (S::ShutDownInRecovery, (70, 2), Some(at(true, 2, 70))),
            (S::InArchiveRecovery, (70, 2), Some(at(true, 2, 70))),
            (S::ShutDownInRecovery, (0, 2), Some(at(false, 3, 50))),
            (S::InArchiveRecovery, (70, 0), Some(at(false, 3, 50))),
            (S::InProduction, (0, 0), None),
            (S::InCrashRecovery, (0, 0), None),
            (S::ShuttingDown, (0, 0), None),
            (S::StartingUp, (0, 0), None),
            (S::Unrecognized, (0, 0), None),
        ] {
            assert_eq!(LocalPoint::of_stopped(&control(state, min)), point, "{state:?}");
        }
    }

    // rows: REW-02
    #[test]
    fn arming_respects_what_is_known_and_possible() {
        use RewindState as S;
        for (state, wants_repair, after) in [
            (S::Initial, true, S::Check),
            (S::Initial, false, S::Initial),
            (S::Checkpoint, true, S::Check),
            (S::Need, true, S::Need),
            (S::NotNeed, true, S::Check),
            (S::Failed, true, S::Check),
            (S::Success, false, S::Success),
        ] {
            let mut now = state;
            now.arm(wants_repair);
            assert_eq!(now, after, "{state:?}");
        }
    }
}
