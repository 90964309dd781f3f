//! What the leader publishes in `status`: its position, the positions of slots, the slots of members that are away
//! (SLOT-03, SLOT-04, SLOT-23).

use crate::cluster::slot_name;
use crate::cluster::{MemberTags, Role, Status};
use crate::ha::Command;
use crate::ha::cycle::Cycle;
use crate::ha::slot_plan::{Node, is_permanent_physical, is_published_permanent, retention};
use crate::types::Lsn;
use indexmap::IndexMap;
use std::sync::Arc;

/// The holder of a renewed lock publishes `status` at the end of the cycle, with the slots as they are then.
pub(super) fn write_status_later(cycle: &mut Cycle<'_>) {
    cycle.publish_status = true;
}

/// Publishes it if that is due.
pub(super) fn publish(cycle: &mut Cycle<'_>) {
    if !cycle.publish_status || !cycle.facts.is_leader {
        return;
    }
    cycle.publish_status = false;
    let Some(position) = cycle.facts.position.filter(|p| p.0 > 0) else { return };
    let slots = positions(cycle, position);
    let retain_slots = retained(cycle, &slots);
    let slots = Some(slots).filter(|s| !s.is_empty());
    cycle.tail(Command::WriteStatus(Status { optime: Some(position), slots, retain_slots }));
}

/// With retention all slots and my own; without it the permanent ones.
fn positions(cycle: &Cycle<'_>, position: Lsn) -> IndexMap<String, Lsn> {
    if !cycle.facts.version_at_least(110_000) {
        return IndexMap::new();
    }
    let all = all_positions(cycle, position).into_iter();
    if retention(cycle.view, &cycle.facts) {
        return all.collect();
    }
    let node = Node {
        view: cycle.view,
        cluster: &cycle.cluster,
        facts: &cycle.facts,
        name: cycle.me(),
        tags: &MemberTags::default(),
        role: Role::Replica,
    };
    all.filter(|(name, _)| is_published_permanent(node, name)).collect()
}

/// All slots that were there last, and my own under the name of the slot that others may keep for me.
pub(super) fn all_positions(cycle: &Cycle<'_>, position: Lsn) -> IndexMap<String, Lsn> {
    let there = cycle.memory.slots.iter().filter_map(|(name, lsn, _)| lsn.map(|lsn| (name.clone(), lsn)));
    there.chain([(slot_name(cycle.me()), position)]).collect()
}

/// Names of member slots, for `member_slots_ttl` after their member was last there.
fn retained(cycle: &mut Cycle<'_>, slots: &IndexMap<String, Lsn>) -> Option<Vec<String>> {
    let (now, ttl) = (cycle.view.now, cycle.view.global.member_slots_ttl);
    let cluster = Arc::clone(&cycle.cluster);
    let mut members: Vec<String> = Vec::new();
    let streaming = cluster.members.iter().filter(|m| !m.data.tags.nostream());
    members.extend(streaming.map(|m| slot_name(m.name.as_str())));
    if cluster.member(cycle.me()).is_none() {
        members.push(slot_name(cycle.me()));
    }
    for name in slots.keys().filter(|name| members.contains(name) && !is_permanent_physical(cycle.view, name)) {
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
