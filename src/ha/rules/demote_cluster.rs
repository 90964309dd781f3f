//! What is different in the demotion of a cluster that became a standby cluster (ha-rules 7 and 20): the shutdown
//! checkpoint goes to the archive, so that the remote side can replay it and nobody needs a rewind, and the leader stays
//! the leader.

use super::demote;
use crate::cluster::Status;
use crate::ha::cycle::{Cycle, Step, Stop};
use crate::ha::memory::{Archiving, Demotion};
use crate::ha::{Command, Job, JobResult, Outcome};

/// What log lines call it.
pub(super) const ACTION: &str = "demoting to a standby cluster";

/// Whether the segment of the shutdown checkpoint will have to be archived. Who could not be asked is taken for one that
/// archives: the job finds out.
pub(super) fn archiving(cycle: &mut Cycle<'_>) -> Result<Archiving, Stop> {
    let off = cycle.ask(Command::QueryArchiving)? == Outcome::Archiving(false);
    Ok(if off { Archiving::Off } else { Archiving::Due })
}

/// Whether the segment is on its way now.
pub(super) fn is_archiving(cycle: &Cycle<'_>, demotion: &Demotion) -> bool {
    matches!(demotion.archiving, Archiving::Begun(id) if cycle.job == Some(id))
}

/// The server is down: archive, publish where WAL ends, and start behind the remote server with the lock that is held
/// still.
pub(super) fn after_stop(cycle: &mut Cycle<'_>, demotion: &Demotion) -> Step {
    if !matches!(demotion.archiving, Archiving::Begun(_)) {
        demote::announce_stop(cycle, demotion);
        if begin_archiving(cycle, demotion)? {
            return Ok(demote::during_stop(cycle));
        }
    }
    if demotion.released {
        demote::begin_wait(cycle);
        return demote::wait_or_follow(cycle);
    }
    if let Some(JobResult::Stopped { checkpoint, .. }) = demotion.stopped
        && cycle.facts.has_lock
    {
        cycle.tail(Command::WriteStatus(Status { optime: Some(checkpoint), ..cycle.cluster.status.clone() }));
    }
    demote::follow(cycle)
}

/// A server that was not shut down cleanly has no checkpoint to archive.
fn begin_archiving(cycle: &mut Cycle<'_>, demotion: &Demotion) -> Result<bool, Stop> {
    if demotion.archiving == Archiving::Off {
        cycle.info("Not archiving latest checkpoint WAL file. Archiving is not configured.");
        return Ok(false);
    }
    if !matches!(demotion.stopped, Some(JobResult::Stopped { .. })) {
        return Ok(false);
    }
    let Ok(id) = cycle.start(ACTION, Job::ArchiveCheckpoint)? else { return Ok(false) };
    if let Some(now) = cycle.memory.demotion.as_mut() {
        now.archiving = Archiving::Begun(id);
    }
    Ok(true)
}
