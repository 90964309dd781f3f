//! Slots of members, and what `status` says about them (ha-rules 16; SLOT-01 to SLOT-05, SLOT-23).
//! (Permanent and logical slots join here.)

use crate::cluster::{Member, SlotPlan, Status};
use crate::ha::cycle::{Cycle, Stop};
use crate::ha::upstream::slot_name;
use crate::ha::{Command, JobKind, Outcome, tags};
use crate::types::Lsn;
use indexmap::IndexMap;

/// Plans and asks for the slots, unless that was done on the way or the server cannot be asked now.
pub(super) fn synchronize(cycle: &mut Cycle<'_>) -> Result<(), Stop> {
    if let Some(question) = question(cycle)
        && let Outcome::Slots(found) = cycle.ask(question)?
    {
        self::found(cycle, found);
    }
    publish(cycle);
    Ok(())
}

/// The question about slots, once in a cycle with a server that answers and no job but a promotion.
pub(super) fn question(cycle: &mut Cycle<'_>) -> Option<Command> {
    let promoting = cycle.memory.action.as_ref().is_some_and(|(_, name)| name == "promote");
    let free = cycle.job.is_none() || promoting && cycle.view.server.job.is_none();
    let busy = cycle.view.server.job.as_ref().is_some_and(|j| j.job.kind() != JobKind::Promote);
    let ready = cycle.facts.running && !cycle.facts.starting && cycle.view.status.is_some();
    let quiet = cycle.memory.demotion.is_none() && cycle.memory.process_end.is_none() && cycle.exit.is_none();
    let known = cycle.view.cluster.is_ok() && cycle.cluster.config.is_some();
    let wanted = ready && free && !busy && quiet && known && cycle.facts.version_at_least(90_400);
    if cycle.slots_done || !wanted || cycle.memory.bootstrapping {
        return None;
    }
    cycle.slots_done = true;
    Some(Command::SyncSlots(plan(cycle)))
}

/// Remembers what is there.
pub(super) fn found(cycle: &mut Cycle<'_>, slots: Vec<(String, Option<Lsn>, bool)>) {
    cycle.memory.slots = slots;
}

/// Member slots can be kept on every node and moved forward there.
fn retention(cycle: &Cycle<'_>) -> bool {
    cycle.facts.version_at_least(110_000) && !cycle.view.global.member_slots_ttl.is_zero()
}

fn plan(cycle: &mut Cycle<'_>) -> SlotPlan {
    let global = &cycle.view.global;
    let mut plan =
        SlotPlan { physical: Vec::new(), drop_unknown: !cycle.facts.paused, ignore: global.ignore_slots.clone() };
    if !global.use_slots {
        return plan;
    }
    let me = cycle.me();
    let mine = slot_name(me);
    let cluster = std::sync::Arc::clone(&cycle.cluster);
    let retention = retention(cycle);
    for member in &cluster.members {
        if member.name == me || tags::nostream(&member.data.tags) {
            continue;
        }
        let active = expected_active(cycle, member);
        let wanted = if retention {
            !cycle.facts.nofailover || tags::replicatefrom(&member.data.tags) == Some(me)
        } else {
            active
        };
        if !wanted {
            continue;
        }
        let slot = slot_name(member.name.as_str());
        if slot == mine || plan.physical.iter().any(|(name, _)| *name == slot) {
            let text =
                format!("Following cluster members share a replication slot name: {} map to {slot}", member.name);
            cycle.log(crate::ha::Level::Error, text);
            continue;
        }
        let lsn = if active { None } else { published_lsn(cycle, member, &slot) };
        plan.physical.push((slot, lsn));
    }
    if !cycle.facts.nofailover {
        for slot in cluster.status.retain_slots.iter().flatten() {
            if *slot != mine && plan.physical.iter().all(|(name, _)| name != slot) {
                plan.physical.push((slot.clone(), None));
            }
        }
    }
    plan
}

/// Whether this member streams from me: on the leader those without another living source, elsewhere my own children.
fn expected_active(cycle: &Cycle<'_>, member: &Member) -> bool {
    let source = tags::replicatefrom(&member.data.tags);
    let leads = matches!(cycle.role, crate::cluster::Role::Primary | crate::cluster::Role::StandbyLeader);
    if leads {
        source.is_none_or(|s| s == cycle.me() || cycle.cluster.member(s).is_none())
    } else {
        source == Some(cycle.me()) && cycle.facts.leader.as_deref().is_none_or(|l| member.name != l)
    }
}

/// Where an inactive slot should be: what the leader publishes, for a cascading member not less than its own position.
fn published_lsn(cycle: &Cycle<'_>, member: &Member, slot: &str) -> Option<Lsn> {
    let published = cycle.cluster.status.slots.as_ref().and_then(|slots| slots.get(slot)).copied();
    let cascades = tags::replicatefrom(&member.data.tags).is_some() || is_old(cycle);
    let own = member.data.xlog_location.filter(|_| cascades);
    published.max(own).filter(|lsn| lsn.0 > 0)
}

/// Leaders before version 4 publish no member slots.
fn is_old(cycle: &Cycle<'_>) -> bool {
    let version = cycle.cluster.leader_member().and_then(|m| m.data.version.as_deref());
    version.and_then(|v| v.split('.').next()).and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 4)
}

/// The holder of a renewed lock publishes `status` at the end of the cycle, with the slots as they are then.
pub(super) fn write_status_later(cycle: &mut Cycle<'_>) {
    cycle.publish_status = true;
}

fn publish(cycle: &mut Cycle<'_>) {
    if !cycle.publish_status || !cycle.facts.is_leader {
        return;
    }
    cycle.publish_status = false;
    let Some(position) = cycle.facts.position.filter(|p| p.0 > 0) else { return };
    let slots = positions(cycle, position);
    let retain_slots = retained(cycle, &slots);
    let slots = Some(slots).filter(|s| !s.is_empty() && retention(cycle));
    cycle.tail(Command::WriteStatus(Status { optime: Some(position), slots, retain_slots }));
}

fn positions(cycle: &Cycle<'_>, position: Lsn) -> IndexMap<String, Lsn> {
    if !cycle.facts.version_at_least(110_000) {
        return IndexMap::new();
    }
    let there = cycle.memory.slots.iter().filter_map(|(name, lsn, _)| lsn.map(|lsn| (name.clone(), lsn)));
    there.chain([(slot_name(cycle.me()), position)]).collect()
}

/// Names of member slots, for `member_slots_ttl` after their member was last there (SLOT-03).
fn retained(cycle: &mut Cycle<'_>, slots: &IndexMap<String, Lsn>) -> Option<Vec<String>> {
    let (now, ttl) = (cycle.view.now, cycle.view.global.member_slots_ttl);
    let cluster = std::sync::Arc::clone(&cycle.cluster);
    let mut members: Vec<String> = Vec::new();
    let streaming = cluster.members.iter().filter(|m| !tags::nostream(&m.data.tags));
    members.extend(streaming.map(|m| slot_name(m.name.as_str())));
    if cluster.member(cycle.me()).is_none() {
        members.push(slot_name(cycle.me()));
    }
    for name in slots.keys().filter(|name| members.contains(name)) {
        cycle.memory.retain_slots.insert(name.clone(), now);
    }
    let expired: Vec<String> =
        cycle.memory.retain_slots.iter().filter(|(_, seen)| now.since(**seen) >= ttl).map(|(n, _)| n.clone()).collect();
    for name in expired {
        cycle.memory.retain_slots.shift_remove(&name);
        let text =
            format!("Replication slot '{name}' for absent cluster member is expired after {} sec.", ttl.as_secs());
        cycle.info(text);
    }
    let mut names: Vec<String> = cycle.memory.retain_slots.keys().cloned().collect();
    names.sort_unstable();
    Some(names).filter(|n| !n.is_empty())
}
