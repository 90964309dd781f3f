//! Synchronous replication: what is common to its modes (ha-rules 8 to 10, 14, 15; SYNC-01 to SYNC-21).
//!
//! Two places have to agree: the list on the server says whom commits wait for, the `sync` key who may take over. They are
//! changed one after the other, the key only over the version that was read. A change without a clear answer may still
//! take effect, so that it is made impossible first (`settle`), and nothing is decided before.

use super::{sync_priority, sync_quorum};
use crate::cluster::{SyncNames, SyncState};
use crate::config::settings::SynchronousMode;
use crate::ha::cycle::{Cycle, Stop, describe};
use crate::ha::sync::names::Filler;
use crate::ha::sync::{NameSet, Observed, SyncMemory, Tracker, Wanted, names};
use crate::ha::{Command, Level, MAX_ROUNDS, Outcome, Request};
use crate::types::Mono;
use std::sync::Arc;
use std::time::Duration;

/// How soon what was not answered is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a standby that was put into the list is looked at in short intervals, and how short they are.
pub(super) const CONFIRM: Duration = Duration::from_secs(2);
pub(super) const LOOK: Duration = Duration::from_millis(500);
/// How soon a standby that leaves looks whether it has been released.
const LEAVE_LOOK: Duration = Duration::from_secs(2);
/// Questions that the rest of a cycle may need.
const RESERVED_ROUNDS: usize = 5;

// --- what is the case ---

/// The mode that is wanted. A standby cluster has none (SYNC-19); quorum needs a server that can wait for more than one.
pub(super) fn mode(cycle: &Cycle<'_>) -> SynchronousMode {
    let global = &cycle.view.global;
    match global.synchronous_mode {
        _ if global.standby_cluster.is_some() => SynchronousMode::Off,
        SynchronousMode::Quorum if !cycle.facts.version_at_least(90_600) => SynchronousMode::On,
        mode => mode,
    }
}

/// A mode is wanted, and a primary has put its name into the key.
pub(super) fn is_active(cycle: &Cycle<'_>) -> bool {
    mode(cycle) != SynchronousMode::Off && !cycle.cluster.sync.is_empty()
}

/// Quorum mode is wanted, and a primary has put its name into the key.
pub(super) fn quorum_is_active(cycle: &Cycle<'_>) -> bool {
    mode(cycle) == SynchronousMode::Quorum && !cycle.cluster.sync.is_empty()
}

/// Mode by priority is active, and the key does not know me: I may miss commits.
pub(super) fn excludes_me(cycle: &Cycle<'_>) -> bool {
    is_active(cycle) && mode(cycle) == SynchronousMode::On && !cycle.cluster.sync.matches(cycle.me(), true)
}

/// Voters and leader of the key.
pub(super) fn members(state: &SyncState) -> NameSet {
    state.sync_standby.iter().chain(&state.leader).collect()
}

/// The key's standbys.
pub(super) fn voters(state: &SyncState) -> NameSet {
    state.sync_standby.iter().collect()
}

// --- the primary's part ---

/// The holder of a renewed lock, whose server is a primary, deals with the mode.
pub(super) fn maintain(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    if !settle(cycle)? {
        return Ok(());
    }
    match mode(cycle) {
        SynchronousMode::Off => switch_off(cycle),
        SynchronousMode::On => sync_priority::maintain(cycle),
        SynchronousMode::Quorum => sync_quorum::maintain(cycle),
    }
}

/// Before a promotion. Returns whether the server may be promoted: the key says that nobody else may take over, or the
/// list already waits for as many as the key promises (ha-rules 10.3).
pub(super) fn before_promotion(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    forget(cycle);
    // Both places are written below, over whatever was not answered.
    cycle.memory.sync.unsettled = false;
    if mode(cycle) == SynchronousMode::Off {
        switch_off(cycle)?;
        return Ok(true);
    }
    let strict = cycle.view.global.synchronous_mode_strict;
    let version = cycle.facts.version;
    let mut others_may_take_over = quorum_is_active(cycle);
    let Some(text) = (if quorum_is_active(cycle) {
        sync_quorum::list_to_promote_with(cycle)?
    } else if mode(cycle) == SynchronousMode::Quorum {
        Some(names::any_of(usize::from(strict), &NameSet::default(), version, filler(cycle)))
    } else {
        let kept = kept_standbys(cycle);
        others_may_take_over |= !kept.is_empty();
        let state = SyncState { sync_standby: kept.to_vec(), ..alone(cycle) };
        write(cycle, state)?.then(|| names::all_of(&kept, version, strict.then(|| filler(cycle))))
    }) else {
        return Ok(false);
    };
    Ok(set_list(cycle, &text)? || !others_may_take_over && !cycle.memory.sync.unsettled)
}

/// Who is synchronous from the first moment of a promotion by priority on: nobody, or, where the names of a strict mode
/// are kept, all that have what the former leader acknowledged.
fn kept_standbys(cycle: &Cycle<'_>) -> NameSet {
    let state = &cycle.cluster.sync;
    if !cycle.view.global.keeps_sync_names() {
        return NameSet::default();
    }
    let others = members(state).without(cycle.me());
    // Before 9.6 a server waits for one standby only.
    if cycle.facts.version_at_least(90_600) || others.len() < 2 {
        return others;
    }
    let one = state.leader.as_deref().filter(|leader| others.contains(leader)).or_else(|| others.iter().next());
    one.into_iter().collect()
}

/// What a strict list has where it has no name.
pub(super) fn filler(cycle: &Cycle<'_>) -> Filler {
    if cycle.view.global.strict_placeholder { Filler::Nobody } else { Filler::Anybody }
}

/// A strict mode that keeps its names has no standby at present: the list stays as the key has it, and commits wait.
/// Returns whether that is so; then nothing else is to be done.
pub(super) fn hold(cycle: &mut Cycle<'_>, observed: &Observed, text: &str) -> Result<bool, Stop> {
    if !cycle.view.global.keeps_sync_names() || !observed.active.is_empty() {
        cycle.memory.sync.holding = false;
        return Ok(false);
    }
    let status = cycle.latest_status.as_deref().or(cycle.view.status.as_ref());
    let kept = status.is_some_and(|status| status.synchronous_standby_names == text);
    if !cycle.memory.sync.holding {
        let old = format!("Continue using old value of synchronous_standby_names=\"{text}\". ");
        let old = if kept && !voters(&cycle.cluster.sync).is_empty() { old } else { String::new() };
        cycle.warn(format!(
            "No active replication connections from Patroni members and synchronous_mode_strict is requested. \
             {old}Commits will be delayed."
        ));
        cycle.memory.sync.holding = true;
    }
    if !kept && may_go_on(cycle) {
        cycle.info(format!("Assigning synchronous_standby_names to {text}"));
        if set_list(cycle, text)? {
            // The tracker must see each list that there was.
            observe(cycle, mode(cycle) == SynchronousMode::Quorum);
        }
    }
    Ok(true)
}

/// Nobody but me.
pub(super) fn alone(cycle: &Cycle<'_>) -> SyncState {
    let leader = Some(cycle.me().to_owned());
    SyncState { leader, sync_standby: Vec::new(), quorum: 0, revision: cycle.cluster.sync.revision }
}

/// Activates the mode in an empty key. Without it a cluster that never had a standby would never have a key.
pub(super) fn activate(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    if !cycle.cluster.sync.is_empty() {
        return Ok(true);
    }
    let alone = alone(cycle);
    let written = write(cycle, alone)?;
    if written {
        cycle.info("Enabled synchronous replication");
    } else {
        cycle.warn("Updating sync state failed");
    }
    Ok(written)
}

/// The key goes first: then everybody may take over, as far as it concerns the rules. Then the user's list comes back.
fn switch_off(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    let state = cycle.cluster.sync.clone();
    let mut give_back = cycle.memory.sync.owned;
    if let Some(revision) = state.revision.filter(|_| !state.is_empty()) {
        match cycle.ask(Command::DeleteSync(revision))? {
            Outcome::Ok => {
                cycle.info("Disabled synchronous replication");
                Arc::make_mut(&mut cycle.cluster).sync = SyncState::default();
                give_back = true;
            }
            other => cycle.warn(format!("the sync key could not be deleted: {}", describe(&other))),
        }
    }
    if give_back && matches!(cycle.ask(Command::SetSyncNames(SyncNames::Users))?, Outcome::Status(_)) {
        cycle.memory.sync = SyncMemory { leaving_until: cycle.memory.sync.leaving_until, ..SyncMemory::default() };
    }
    Ok(())
}

// --- steps ---

/// What was asked for in an earlier cycle and not answered could take effect at any moment. Writing the key as it was
/// read gives it another version, over which the old write is refused; the list's owner ends one change before it begins
/// the next.
fn settle(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    if !cycle.memory.sync.unsettled {
        return Ok(true);
    }
    cycle.memory.sync.unsettled = false;
    let state = cycle.cluster.sync.clone();
    if state.revision.is_some() && !write(cycle, state)? {
        cycle.memory.sync.unsettled = true;
        return Ok(false);
    }
    let Some(status) = &cycle.view.status else { return Ok(false) };
    let text = status.synchronous_standby_names.clone();
    set_list(cycle, &text)
}

/// Writes the key over the version that was read. Anything but success ends all steps of this cycle; an outcome that is
/// unknown must be settled first.
pub(super) fn write(cycle: &mut Cycle<'_>, state: SyncState) -> Result<bool, Stop> {
    let outcome = cycle.ask(Command::WriteSync(state.clone()))?;
    if let Outcome::Written(revision) = outcome {
        Arc::make_mut(&mut cycle.cluster).sync = SyncState { revision: Some(revision), ..state };
        return Ok(true);
    }
    if outcome != Outcome::Conflict {
        cycle.log(Level::Error, format!("failed to write the sync key: {}", describe(&outcome)));
    }
    cycle.memory.sync.unsettled |= !matches!(outcome, Outcome::Conflict | Outcome::Unreachable(_));
    cycle.wake_within(RETRY);
    Ok(false)
}

/// Sets the list, and says whether the server has it.
pub(super) fn set_list(cycle: &mut Cycle<'_>, text: &str) -> Result<bool, Stop> {
    let outcome = cycle.ask(Command::SetSyncNames(SyncNames::Own(text.to_owned())))?;
    cycle.memory.sync.owned = true;
    let Outcome::Status(status) = outcome else {
        cycle.memory.sync.unsettled = true;
        cycle.log(Level::Error, format!("failed to set synchronous_standby_names: {}", describe(&outcome)));
        cycle.wake_within(RETRY);
        return Ok(false);
    };
    let taken = status.synchronous_standby_names == text;
    if !taken {
        cycle.warn(format!(
            "synchronous_standby_names should be '{text}', but PostgreSQL has '{}'",
            status.synchronous_standby_names
        ));
    }
    cycle.latest_status = Some(status);
    Ok(taken)
}

/// What the server says now.
pub(super) fn observe(cycle: &mut Cycle<'_>, quorum: bool) -> Option<Observed> {
    let status = cycle.latest_status.take().or_else(|| cycle.view.status.clone().map(Box::new))?;
    let several = cycle.facts.version_at_least(90_600);
    let global = &cycle.view.global;
    let wanted = Wanted {
        me: cycle.me(),
        quorum,
        count: if several { global.synchronous_node_count as usize } else { 1 },
        max_lag: global.maximum_lag_on_syncnode,
        knows_any: cycle.facts.version_at_least(100_000),
    };
    let cluster = Arc::clone(&cycle.cluster);
    let (observed, changed, error) = cycle.memory.sync.tracker.observe(&status, &cluster, wanted);
    cycle.latest_status = Some(status);
    if let Some(error) = error {
        cycle.warn(error);
    }
    if changed {
        cycle.tail(Command::ProduceWal);
    }
    Some(observed)
}

/// Whether there is room for another question about synchronous replication in this cycle. If not, the next one comes at
/// once.
pub(super) fn may_go_on(cycle: &mut Cycle<'_>) -> bool {
    let room = cycle.rounds() + RESERVED_ROUNDS < MAX_ROUNDS;
    if !room {
        cycle.wake_within(Duration::ZERO);
    }
    room
}

// --- the standby's part ---

/// In each cycle: who is no primary with the lock has nothing to remember of a primary.
pub(super) fn bookkeeping(cycle: &mut Cycle<'_>) {
    if !cycle.facts.is_primary || !cycle.facts.has_lock && cycle.view.cluster.is_ok() {
        forget(cycle);
    }
    let asked = cycle.view.requests.iter().any(|r| matches!(r.request, Request::Restart { .. }));
    let due = cycle.memory.scheduled_restart.as_ref().is_some_and(|restart| restart.at <= cycle.view.wall);
    if cycle.memory.process_end.is_none() && !asked && !due && cycle.view.server.job.is_none() {
        cycle.memory.sync.leaving_until = None;
    }
}

fn forget(cycle: &mut Cycle<'_>) {
    let sync = &mut cycle.memory.sync;
    sync.tracker = Tracker::default();
    sync.quorum_since = None;
    sync.confirm_until = None;
    sync.holding = false;
}

/// A standby waits for nobody. Its list is emptied, so that nobody wonders about it.
pub(super) fn empty_list_of_standby(cycle: &mut Cycle<'_>) {
    let listed = cycle.view.status.as_ref().is_some_and(|s| s.in_recovery && !s.synchronous_standby_names.is_empty());
    if listed && mode(cycle) != SynchronousMode::Off && !cycle.facts.has_lock && cycle.job.is_none() {
        cycle.memory.sync.owned = true;
        cycle.tail(Command::SetSyncNames(SyncNames::Own(String::new())));
    }
}

/// A synchronous standby that is about to stop asks to be released first, so that commits do not wait for it in vain
/// (SYNC-11). Returns whether it has to wait still.
pub(super) fn must_wait_for_release(cycle: &mut Cycle<'_>) -> bool {
    let wanted = mode(cycle) != SynchronousMode::Off && !cycle.facts.has_lock && !cycle.facts.is_primary;
    if !wanted || cycle.view.cluster.is_err() || !cycle.facts.running || cycle.view.me.tags.nosync() {
        return false;
    }
    let led = cycle.facts.leader.as_deref().is_some_and(|leader| cycle.cluster.sync.leader_matches(leader));
    if !led || !cycle.cluster.sync.matches(cycle.me(), false) {
        return false;
    }
    let (now, loop_wait) = (cycle.view.now, cycle.view.global.loop_wait);
    let until: Mono = *cycle.memory.sync.leaving_until.get_or_insert(now + loop_wait * 2);
    if now >= until {
        return false;
    }
    cycle.info("Waiting for primary to release us from synchronous standby");
    cycle.wake_within(LEAVE_LOOK.min(until.since(now)));
    true
}
