//! `history`: how the cluster came to its timeline (ha-rules 10, end; HA-32).

use crate::cluster::{History, HistoryLine};
use crate::ha::cycle::{Cycle, Stop};
use crate::ha::{Command, Outcome};
use crate::types::Timeline;

/// Writes `history` when it does not fit the primary's timeline.
pub(super) fn maintain(cycle: &mut Cycle<'_>, timeline: Timeline) -> Result<(), Stop> {
    let stored = cycle.cluster.history.clone().unwrap_or_default();
    if timeline.0 <= 1 {
        if timeline.0 == 1 && !stored.lines.is_empty() {
            cycle.tail(Command::WriteHistory(History::default()));
        }
        return Ok(());
    }
    let complete = |line: &HistoryLine| line.timestamp.is_some() && line.new_leader.is_some();
    let fits = |line: &HistoryLine| line.timeline.0 == timeline.0 - 1 && complete(line);
    if stored.lines.last().is_some_and(fits) {
        return Ok(());
    }
    if let Outcome::History(local) = cycle.ask(Command::ReadHistory(timeline))? {
        let history = merge(local, &stored, cycle.view.global.max_timelines_history);
        if !history.lines.is_empty() && Some(&history) != cycle.cluster.history.as_ref() {
            cycle.tail(Command::WriteHistory(history));
        }
    }
    Ok(())
}

/// The server's lines, with what the store knows besides about lines that are equal; the last `limit` (0: all).
fn merge(local: History, stored: &History, limit: u32) -> History {
    let total = local.lines.len();
    let keep = if limit == 0 { total } else { usize::try_from(limit).unwrap_or(total) };
    let enrich = |line: HistoryLine| {
        let known = stored.lines.iter().find(|s| s.timeline == line.timeline && s.lsn == line.lsn);
        match known {
            Some(known) if line.timestamp.is_none() => {
                HistoryLine { timestamp: known.timestamp.clone(), new_leader: known.new_leader.clone(), ..line }
            }
            _ => line,
        }
    };
    History { lines: local.lines.into_iter().skip(total.saturating_sub(keep)).map(enrich).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Lsn;

    fn line(timeline: u32, lsn: u64, by: Option<&str>) -> HistoryLine {
        HistoryLine {
            timeline: Timeline(timeline),
            lsn: Lsn(lsn),
            reason: "no recovery target specified".to_owned(),
            timestamp: by.map(|_| "2026-01-01T00:00:00+00:00".to_owned()),
            new_leader: by.map(str::to_owned),
        }
    }

    // rows: HA-32
    #[test]
    fn known_lines_keep_their_time_and_leader() {
        let stored = History { lines: vec![line(1, 10, Some("a")), line(2, 99, Some("b"))] };
        let local = || History { lines: vec![line(1, 10, None), line(2, 20, None), line(3, 30, Some("c"))] };
        let merged = merge(local(), &stored, 0);
        assert_eq!(merged.lines, [line(1, 10, Some("a")), line(2, 20, None), line(3, 30, Some("c"))]);
        assert_eq!(merge(local(), &stored, 1).lines, [line(3, 30, Some("c"))]);
        assert_eq!(merge(local(), &stored, 9).lines.len(), 3);
    }
}
