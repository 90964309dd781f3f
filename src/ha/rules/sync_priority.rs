//! `synchronous_mode: on`: commits wait for every standby of the list, and whoever is in the key has all of them
//! (ha-rules 14).

use super::sync;
use crate::cluster::SyncState;
use crate::ha::cycle::{Cycle, Stop};
use crate::ha::sync::{NameSet, Observed, names};

/// Brings list and key to the standbys that are there. A name is taken out of the key before the server ceases to wait
/// for it, and comes in only when it has confirmed everything since the server began to.
pub(super) fn maintain(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    if !sync::activate(cycle)? {
        return Ok(());
    }
    let Some(observed) = sync::observe(cycle, false) else { return Ok(()) };
    let Some(voters) = correct(cycle, &observed)? else { return Ok(()) };
    let held = names::all_of(&voters, cycle.facts.version, Some(sync::filler(cycle)));
    if sync::hold(cycle, &observed, &held)? {
        return Ok(());
    }
    let picked = &observed.active;
    let strict = cycle.view.global.synchronous_mode_strict;
    let star = picked.is_empty() && strict;
    let settled = *picked == voters && *picked == observed.listed && observed.num == picked.len();
    if settled && (observed.star || !star) {
        cycle.memory.sync.confirm_until = None;
        return Ok(());
    }
    let common = voters.intersection(&observed.confirmed);
    if common != voters {
        let text = "Updating synchronous privilege temporarily from";
        cycle.info(format!("{text} {} to {}", voters.as_list(), common.as_list()));
        if !write(cycle, &common)? {
            cycle.info("Synchronous replication key updated by someone else.");
            return Ok(());
        }
    }
    assign(cycle, &observed, &common, star)
}

/// A key of somebody else, or one that names standbys that are not confirmed, is corrected at once. `None`: it could not be.
fn correct(cycle: &mut Cycle<'_>, observed: &Observed) -> Result<Option<NameSet>, Stop> {
    let state = cycle.cluster.sync.clone();
    let mut voters = sync::voters(&state);
    if !state.leader_matches(cycle.me()) {
        let (leader, me) = (state.leader.unwrap_or_default(), cycle.me());
        cycle.warn(format!(
            "Inconsistent state of /sync key detected, leader = {leader} doesn't match {me}, \
             updating synchronous replication key"
        ));
        voters = NameSet::default();
        if !write(cycle, &voters)? {
            cycle.warn("Updating sync state failed");
            return Ok(None);
        }
    }
    if observed.active == voters && voters != observed.confirmed || cycle.cluster.sync.quorum != 0 {
        let confirmed = voters.intersection(&observed.confirmed);
        cycle.warn(format!(
            "Inconsistent state between synchronous_standby_names = {} and /sync = {} key detected, \
             updating synchronous replication key...",
            observed.confirmed.as_list(),
            voters.as_list()
        ));
        if !write(cycle, &confirmed)? {
            cycle.warn("Updating sync state failed");
            return Ok(None);
        }
        voters = confirmed;
    }
    Ok(Some(voters))
}

/// The list, then the key: with those that are confirmed by then.
fn assign(cycle: &mut Cycle<'_>, observed: &Observed, common: &NameSet, star: bool) -> Result<(), Stop> {
    let picked = &observed.active;
    if star {
        cycle.warn("No standbys available!");
    }
    let text = names::all_of(picked, cycle.facts.version, star.then(|| sync::filler(cycle)));
    let status = cycle.view.status.as_ref();
    let changes = status.is_none_or(|status| status.synchronous_standby_names != text);
    let mut now = observed.clone();
    if changes {
        let shown = if star { "['*']".to_owned() } else { picked.as_list() };
        cycle.info(format!("Assigning synchronous standby status to {shown}"));
        if !sync::set_list(cycle, &text)? {
            return Ok(());
        }
        cycle.memory.sync.confirm_until = Some(cycle.view.now + sync::CONFIRM);
        let Some(observed) = sync::observe(cycle, false) else { return Ok(()) };
        now = observed;
    }
    // The list was made of `picked`; who came or went since has its turn in the next cycle.
    let confirmed = now.confirmed.intersection(picked);
    if *picked != confirmed && cycle.memory.sync.confirm_until.is_some_and(|until| cycle.view.now < until) {
        cycle.wake_within(sync::LOOK);
    }
    if confirmed.is_empty() || confirmed == *common {
        return Ok(());
    }
    if write(cycle, &confirmed)? {
        cycle.info(format!("Synchronous standby status assigned to {}", confirmed.as_list()));
    } else {
        cycle.info("Synchronous replication key updated by someone else");
    }
    Ok(())
}

fn write(cycle: &mut Cycle<'_>, standbys: &NameSet) -> Result<bool, Stop> {
    let state = SyncState { sync_standby: standbys.to_vec(), ..sync::alone(cycle) };
    sync::write(cycle, state)
}
