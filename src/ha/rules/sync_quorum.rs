//! `synchronous_mode: quorum`: commits wait for any so many of the list, and whoever is elected has asked enough of the
//! key's voters to meet one of them (ha-rules 15). The steps are those of [`crate::ha::quorum`].

use super::sync;
use crate::cluster::SyncState;
use crate::ha::cycle::{Cycle, Stop};
use crate::ha::quorum::{Goal, QuorumState, Transition, transitions};
use crate::ha::sync::{NameSet, Observed, names};
use std::time::Duration;

/// How soon it is looked again while nobody has confirmed the list.
const RESTART: Duration = Duration::from_secs(1);

/// Brings list and key to the standbys that are there. After a promotion the others get `loop_wait` to come back.
pub(super) fn maintain(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    let (now, loop_wait) = (cycle.view.now, cycle.view.global.loop_wait);
    let since = *cycle.memory.sync.quorum_since.get_or_insert(now);
    let confirming = cycle.memory.sync.confirm_until.take().filter(|until| now < *until);
    // Where names are kept, nothing is given up for those that are not back yet.
    let patient = !cycle.view.global.keeps_sync_names();
    if patient && since != now && now.since(since) <= loop_wait && confirming.is_none() {
        return Ok(());
    }
    if !sync::activate(cycle)? {
        return Ok(());
    }
    let Some(observed) = sync::observe(cycle, true) else { return Ok(()) };
    if cycle.cluster.sync.leader_matches(cycle.me()) {
        let voters = sync::voters(&cycle.cluster.sync);
        let num = voters.len().saturating_sub(cycle.cluster.sync.quorum as usize).max(1);
        let held = names::any_of(num, &voters, cycle.facts.version, sync::filler(cycle));
        if sync::hold(cycle, &observed, &held)? {
            return Ok(());
        }
    }
    let (steps, broken) = transitions(state(cycle, &observed), goal(cycle, &observed));
    if let Some(why) = broken {
        cycle.warn(why);
    }
    for step in &steps {
        if !sync::may_go_on(cycle) {
            return Ok(());
        }
        let done = match step {
            Transition::Quorum { leader, quorum, voters } => write(cycle, leader, *quorum, voters)?,
            Transition::Sync { num, names } => set_list(cycle, *num, names)?,
            Transition::Restart => {
                cycle.memory.sync.confirm_until = Some(confirming.unwrap_or(now + loop_wait));
                cycle.wake_within(RESTART);
                true
            }
        };
        if !done {
            return Ok(());
        }
    }
    if !steps.iter().any(|step| matches!(step, Transition::Sync { .. })) {
        mind_strictness(cycle, &observed)?;
    }
    Ok(())
}

fn state(cycle: &Cycle<'_>, observed: &Observed) -> QuorumState {
    let state = &cycle.cluster.sync;
    QuorumState {
        leader: state.leader.clone().unwrap_or_default(),
        quorum: i64::from(state.quorum),
        voters: sync::voters(state),
        numsync: i64::try_from(observed.num).unwrap_or(i64::MAX),
        sync: observed.listed.clone(),
    }
}

fn goal(cycle: &Cycle<'_>, observed: &Observed) -> Goal {
    Goal {
        confirmed: i64::try_from(observed.confirmed.intersection(&observed.listed).len()).unwrap_or(i64::MAX),
        active: observed.active.clone(),
        sync_wanted: i64::from(cycle.view.global.synchronous_node_count),
        leader: cycle.me().to_owned(),
    }
}

fn write(cycle: &mut Cycle<'_>, leader: &str, quorum: i64, voters: &NameSet) -> Result<bool, Stop> {
    let (count, joined) = (voters.len(), voters.joined());
    cycle.info(format!("Setting leader to {leader}, quorum to {quorum} of {count} ({joined})"));
    let state = SyncState {
        leader: Some(leader.to_owned()),
        sync_standby: voters.to_vec(),
        quorum: u32::try_from(quorum).unwrap_or(0),
        revision: cycle.cluster.sync.revision,
    };
    let written = sync::write(cycle, state)?;
    if !written {
        cycle.info("Synchronous replication key updated by someone else.");
    }
    Ok(written)
}

fn set_list(cycle: &mut Cycle<'_>, num: i64, of: &NameSet) -> Result<bool, Stop> {
    let (count, joined) = (of.len(), of.joined());
    cycle.info(format!("Setting synchronous replication to {num} of {count} ({joined})"));
    let mut num = usize::try_from(num).unwrap_or(0);
    if cycle.view.global.synchronous_mode_strict && num < 1 {
        cycle.warn(format!(
            "Replication factor 2 requested, but {num} synchronous standbys available. Commits will be delayed."
        ));
        num = 1;
    }
    let text = names::any_of(num, of, cycle.facts.version, sync::filler(cycle));
    let set = sync::set_list(cycle, &text)?;
    if set {
        // The tracker must see each list that there was.
        sync::observe(cycle, true);
    }
    Ok(set)
}

/// `synchronous_mode_strict` was switched on or off while there is no standby.
fn mind_strictness(cycle: &mut Cycle<'_>, observed: &Observed) -> Result<(), Stop> {
    let strict = cycle.view.global.synchronous_mode_strict;
    let alone = observed.listed.is_empty() && observed.active.is_empty();
    // One that waits without a `*` waits for nobody that there is.
    let settled = if strict { observed.star } else { observed.num == 0 };
    if alone && !settled && sync::may_go_on(cycle) {
        set_list(cycle, 0, &NameSet::default())?;
    }
    Ok(())
}

/// The list for a promotion: as many of the key's other members as the key promises. The key is written as it is, so that
/// a late write of the old leader is refused from now on. `None`: somebody else wrote it.
pub(super) fn list_to_promote_with(cycle: &mut Cycle<'_>) -> Result<Option<String>, Stop> {
    let state = cycle.cluster.sync.clone();
    let members = sync::members(&state);
    let others = members.without(cycle.me());
    // From the outside it takes one more: I was no part of the vote.
    let own = i64::from(members.contains(cycle.me()));
    let num = i64::try_from(members.len()).unwrap_or(i64::MAX) - i64::from(state.quorum) - own;
    if !sync::write(cycle, state)? {
        return Ok(None);
    }
    let strict = cycle.view.global.synchronous_mode_strict;
    let least = i64::from(strict && (others.is_empty() || cycle.view.global.strict_placeholder));
    let num = usize::try_from(num.max(least)).unwrap_or(0);
    Ok(Some(names::any_of(num, &others, cycle.facts.version, sync::filler(cycle))))
}
