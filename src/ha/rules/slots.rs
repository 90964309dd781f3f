//! Slots: when they are dealt with, and what comes of it (ha-rules 16). Which ones: `slot_plan`.

use crate::cluster::{Role, SlotPlan, SlotProof, SlotReport, WantedSlot};
use crate::config::python::repr;
use crate::ha::cycle::{Cycle, Step, Stop};
use crate::ha::facts::Facts;
use crate::ha::failsafe;
use crate::ha::memory::StartEvent;
use crate::ha::slot_plan::{self, Node};
use crate::ha::{Command, Job, JobKind, Level, Outcome, Rule, upstream};
use serde_json::Value;
use std::sync::Arc;

/// Plans and asks for the slots, unless that was done on the way or the server cannot be asked now.
pub(super) fn synchronize(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    if let Some(question) = question(cycle)
        && let Outcome::Slots(report) = cycle.ask(question)?
    {
        found(cycle, report);
    }
    super::retention::publish(cycle);
    Ok(())
}

/// The question about slots, once in a cycle with a server that answers and no job but a promotion.
pub(super) fn question(cycle: &mut Cycle<'_>) -> Option<Command> {
    if cycle.view.cluster.is_ok() { pass(cycle) } else { None }
}

/// Slots go on being kept without the store in fail-safe mode (HA-14, FSM-11): by the last view of a leader, and what was
/// heard since. None is copied.
pub(super) fn without_store(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    let last = cycle.memory.last_led.clone().filter(|_| cycle.view.global.failsafe_mode);
    let Some(last) = last else { return Ok(()) };
    let known = Arc::new(failsafe::without_store(cycle.view, &cycle.memory.failsafe, &last));
    let facts = Facts::new(cycle.view, &known, cycle.role);
    let (cluster, facts) = (std::mem::replace(&mut cycle.cluster, known), std::mem::replace(&mut cycle.facts, facts));
    let question = pass(cycle);
    (cycle.cluster, cycle.facts) = (cluster, facts);
    if let Some(question) = question
        && let Outcome::Slots(report) = cycle.ask(question)?
    {
        found(cycle, report);
    }
    cycle.slots_to_copy.clear();
    Ok(())
}

fn pass(cycle: &mut Cycle<'_>) -> Option<Command> {
    let promoting = cycle.memory.action.as_ref().is_some_and(|(_, name)| name == "promote");
    let free = cycle.job.is_none() || promoting && cycle.view.server.job.is_none();
    let busy = cycle.view.server.job.as_ref().is_some_and(|j| j.job.kind() != JobKind::Promote);
    let ready = cycle.facts.running && !cycle.facts.starting && cycle.view.status.is_some();
    let quiet = cycle.memory.demotion.is_none() && cycle.memory.process_end.is_none() && cycle.exit.is_none();
    let known = cycle.cluster.config.is_some();
    let wanted = ready && free && !busy && quiet && known && cycle.facts.version_at_least(90_400);
    if cycle.slots_done || !wanted || cycle.memory.bootstrapping {
        return None;
    }
    cycle.slots_done = true;
    let plan = plan(cycle);
    cycle.slots_to_copy = plan.logical().cloned().collect();
    Some(Command::SyncSlots(plan))
}

/// Remembers what is there and what is missing.
pub(super) fn found(cycle: &mut Cycle<'_>, report: SlotReport) {
    cycle.slots_to_copy.retain(|slot| report.copy.contains(&slot.name));
    cycle.memory.slots = report.slots;
    cycle.memory.unproven_slots = report.unproven;
}

fn plan(cycle: &mut Cycle<'_>) -> SlotPlan {
    let cluster = Arc::clone(&cycle.cluster);
    let view = cycle.view;
    let wanted = slot_plan::wanted(Node {
        view,
        cluster: &cluster,
        facts: &cycle.facts,
        name: cycle.me(),
        tags: &view.me.tags,
        role: cycle.role,
    });
    for error in wanted.errors {
        cycle.log(Level::Error, error);
    }
    let primary = cycle.facts.is_primary;
    let leads = !cycle.facts.unlocked && (!cycle.facts.has_lock || primary);
    let follows = !primary && wanted.slots.iter().any(WantedSlot::is_logical);
    let leader = upstream::to_leader(view, &cluster).filter(|_| follows).map(|(_, leader)| Box::new(leader));
    let slot = slot_plan::slot_on_primary(&cluster, cycle.me(), &view.me.tags);
    SlotPlan {
        slots: wanted.slots,
        drop_unknown: !cycle.facts.paused,
        drop_xmin: leads,
        primary,
        replay: view.status.as_ref().and_then(|s| s.replay_lsn).filter(|_| !primary),
        ignore: view.global.ignore_slots.clone(),
        proof: leader.map(|leader| SlotProof { leader, slot }),
    }
}

/// Starts the copy of logical slots that are missing here. Not in pause: it restarts the server.
pub(super) fn copy(cycle: &mut Cycle<'_>, rule: Rule) -> Step {
    let slots = std::mem::take(&mut cycle.slots_to_copy);
    let reloads = cycle.will(|c| matches!(c, Command::ReloadRecovery { .. }));
    let free = cycle.job.is_none() && cycle.view.server.job.is_none() && cycle.exit.is_none() && !reloads;
    let standby = !cycle.facts.is_primary && !cycle.facts.is_leader && !cycle.facts.has_lock;
    // A caller that has no store has more to do than to serve copies (SLOT-16).
    if slots.is_empty() || !free || !standby || cycle.facts.paused || failsafe::caller(cycle.view).is_some() {
        return Ok(rule);
    }
    let Some((_, leader)) = upstream::to_leader(cycle.view, &cycle.cluster) else { return Ok(rule) };
    let names = slots.iter().map(|slot| slot.name.clone()).collect();
    let job = Job::CopySlots { upstream: Box::new(leader), slots };
    if cycle.start("copy_logical_slots", job)?.is_err() {
        return Ok(rule);
    }
    cycle.memory.start_event = Some(StartEvent::Start);
    Ok(Rule::CopyingSlots(names))
}

/// The promotion has begun: whoever uses these slots may miss something (SLOT-18).
pub(super) fn warn_of_unproven(cycle: &mut Cycle<'_>) {
    let names = std::mem::take(&mut cycle.memory.unproven_slots);
    if !names.is_empty() {
        let names: Vec<String> = names.into_iter().map(|name| repr(&Value::from(name))).collect();
        let names = names.join(", ");
        cycle.warn(format!("Logical replication slots that might be unsafe to use after promote: {{{names}}}"));
    }
}

/// Has `hot_standby_feedback` turned on where logical slots depend on it (SLOT-22, PG-28).
pub(super) fn enforce_feedback(cycle: &mut Cycle<'_>) {
    if cycle.view.cluster.is_err() || cycle.cluster.config.is_none() {
        return;
    }
    let view = cycle.view;
    let node = Node {
        view,
        cluster: &cycle.cluster,
        facts: &cycle.facts,
        name: cycle.me(),
        tags: &view.me.tags,
        role: Role::Replica,
    };
    let wanted = slot_plan::needs_feedback(node);
    if wanted != cycle.memory.feedback {
        cycle.memory.feedback = wanted;
        cycle.tail(Command::EnforceFeedback(wanted));
    }
}
