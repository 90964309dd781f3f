//! `patroni replay`: decides recorded cycles again, and says whether the same comes out.

use super::journal::Record;
use crate::ha::{Command, Finish, Round, View};
use std::io::{BufRead, Write};

/// What came of a replay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Cycles that were decided again.
    pub cycles: usize,
    /// Those of which something else came out.
    pub different: usize,
    /// Lines that hold no cycle of this version.
    pub unreadable: usize,
}

/// Decides all cycles of a journal again, or those with the number `only`, and tells about each on `out`.
///
/// # Errors
/// The journal cannot be read or `out` not be written.
pub fn replay(
    journal: impl BufRead,
    only: Option<u64>,
    decide: fn(&View) -> Round,
    out: &mut impl Write,
) -> std::io::Result<Replayed> {
    let mut sum = Replayed::default();
    for (number, line) in journal.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        match serde_json::from_str::<Record>(&line) {
            Ok(record) if only.is_none_or(|cycle| cycle == record.view.cycle) => {
                let difference = compare(&record, decide);
                sum.cycles += 1;
                sum.different += usize::from(difference.is_some());
                tell(&record, difference.as_deref(), only.is_some(), out)?;
            }
            Ok(_) => {}
            Err(error) => {
                sum.unreadable += 1;
                writeln!(out, "line {}: no cycle of this version: {error}", number + 1)?;
            }
        }
    }
    Ok(sum)
}

/// `None`: the same comes out; else what differs first.
fn compare(record: &Record, decide: fn(&View) -> Round) -> Option<String> {
    let mut view = record.view.clone();
    let outcomes = std::mem::take(&mut view.done);
    let mut left = outcomes.into_iter();
    for (number, size) in record.rounds.iter().enumerate() {
        let recorded: Vec<_> = left.by_ref().take(*size).collect();
        let wanted: Vec<&Command> = recorded.iter().map(|(command, _)| command).collect();
        match decide(&view) {
            Round::Need { commands, .. } if commands.iter().eq(wanted.iter().copied()) => view.done.extend(recorded),
            other => return Some(format!("round {}: recorded {wanted:?}, now {}", number + 1, shown(&other))),
        }
    }
    match decide(&view) {
        Round::Done(finish) if *finish == record.finish => None,
        other => Some(format!("end: recorded {}, now {}", shown_finish(&record.finish), shown(&other))),
    }
}

fn shown(round: &Round) -> String {
    match round {
        Round::Need { commands, .. } => format!("{commands:?}"),
        Round::Done(finish) => shown_finish(finish),
    }
}

fn shown_finish(finish: &Finish) -> String {
    format!("{:?} with {:?}, memory {:?}", finish.rule, finish.commands, finish.memory)
}

fn tell(record: &Record, difference: Option<&str>, whole: bool, out: &mut impl Write) -> std::io::Result<()> {
    let Record { view, finish, .. } = record;
    let verdict = if difference.is_none() { "same" } else { "DIFFERENT" };
    writeln!(out, "cycle {} at {}: {verdict}: {:?}: {}", view.cycle, view.wall, finish.rule, finish.sentence)?;
    if let Some(difference) = difference {
        writeln!(out, "  {difference}")?;
    }
    if whole {
        for (command, outcome) in &view.done {
            writeln!(out, "  {command:?}\n    {outcome:?}")?;
        }
        for line in &finish.log {
            writeln!(out, "  {:?}: {}", line.level, line.text)?;
        }
        for command in &finish.commands {
            writeln!(out, "  at the end: {command:?}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
