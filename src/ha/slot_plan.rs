//! Which slots a node should have: of members, of members that are away, permanent ones (ha-rules 16).

use super::View;
use super::facts::Facts;
use super::permanent_slots::{fits_cluster, is_valid_name, kind};
use crate::cluster::slot_name;
use crate::cluster::{Cluster, Member, MemberTags, Role, SlotKind, WantedSlot};
use crate::config::python::{repr, text};
use crate::types::Lsn;
use serde_json::Value;
use std::collections::BTreeMap;

/// The node in question: myself, or a member that streams from me.
#[derive(Clone, Copy)]
pub struct Node<'a> {
    /// What is known.
    pub view: &'a View,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Facts of my server: the version counts.
    pub facts: &'a Facts,
    /// Its name.
    pub name: &'a str,
    /// Its tags.
    pub tags: &'a MemberTags,
    /// Its role.
    pub role: Role,
}

/// The slots that a node should have, and what stands against some of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The slots.
    pub slots: Vec<WantedSlot>,
    /// For the log.
    pub errors: Vec<String>,
}

impl Wanted {
    fn has(&self, name: &str) -> bool {
        self.slots.iter().any(|slot| slot.name == name)
    }
}

/// All slots that the node should have.
#[must_use]
pub fn wanted(node: Node<'_>) -> Wanted {
    let mut wanted = Wanted::default();
    if node.view.global.use_slots {
        add_members(node, &mut wanted);
        add_retained(node, &mut wanted);
        add_permanent(node, &mut wanted);
    }
    wanted
}

/// Member slots can be kept on every node and moved forward there (SLOT-02).
#[must_use]
pub fn retention(view: &View, facts: &Facts) -> bool {
    facts.version_at_least(110_000) && !view.global.member_slots_ttl.is_zero()
}

fn add_members(node: Node<'_>, wanted: &mut Wanted) {
    let retention = retention(node.view, node.facts);
    let nofailover = node.tags.nofailover();
    let mut owners: BTreeMap<String, Vec<&str>> = BTreeMap::from([(slot_name(node.name), vec![node.name])]);
    for member in &node.cluster.members {
        if member.name == node.name || member.data.tags.nostream() {
            continue;
        }
        let active = expected_active(node, member);
        let mine = member.data.tags.replicatefrom() == Some(node.name);
        if !(if retention { !nofailover || mine } else { active }) {
            continue;
        }
        let name = slot_name(member.name.as_str());
        let sharing = owners.entry(name.clone()).or_default();
        sharing.push(member.name.as_str());
        if sharing.len() == 1 {
            let lsn = if active { None } else { member_position(node, member, &name) };
            wanted.slots.push(WantedSlot { expected_active: Some(active), ..WantedSlot::physical(&name, lsn) });
        }
    }
    let shared: Vec<String> = owners
        .iter()
        .filter(|(_, names)| names.len() > 1)
        .map(|(slot, names)| format!("{} map to {slot}", names.join(", ")))
        .collect();
    if !shared.is_empty() {
        wanted.errors.push(format!("Following cluster members share a replication slot name: {}", shared.join("; ")));
    }
}

fn leads(role: Role) -> bool {
    matches!(role, Role::Primary | Role::StandbyLeader)
}

/// Whether this member streams from the node: from a leader those without another living source, elsewhere its own
/// children.
fn expected_active(node: Node<'_>, member: &Member) -> bool {
    let source = member.data.tags.replicatefrom();
    if leads(node.role) {
        source.is_none_or(|s| s == node.name || node.cluster.member(s).is_none())
    } else {
        source == Some(node.name) && node.facts.leader.as_deref().is_none_or(|l| member.name != l)
    }
}

/// Where an inactive slot should be: what the leader publishes, for a cascading member not less than its own position.
fn member_position(node: Node<'_>, member: &Member, slot: &str) -> Option<Lsn> {
    let cascades = member.data.tags.replicatefrom().is_some() || leader_is_old(node.cluster);
    let own = member.data.xlog_location.filter(|_| cascades);
    published(node.cluster, slot).max(own).filter(|lsn| lsn.0 > 0)
}

fn published(cluster: &Cluster, slot: &str) -> Option<Lsn> {
    cluster.status.slots.as_ref().and_then(|slots| slots.get(slot)).copied().filter(|lsn| lsn.0 > 0)
}

/// Leaders before version 4 publish no member slots.
fn leader_is_old(cluster: &Cluster) -> bool {
    let version = cluster.leader_member().and_then(|m| m.data.version.as_deref());
    version.and_then(|v| v.split('.').next()).and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 4)
}

fn add_retained(node: Node<'_>, wanted: &mut Wanted) {
    if node.tags.nofailover() {
        return;
    }
    let own = slot_name(node.name);
    for slot in node.cluster.status.retain_slots.iter().flatten() {
        if *slot != own && !wanted.has(slot) {
            wanted.slots.push(WantedSlot::physical(slot, None));
        }
    }
}

/// The permanent slots that concern the node, by name, value and kind. Logical ones are named for older servers too, so
/// that an error tells why they are missing.
fn permanent<'a>(node: Node<'a>) -> impl Iterator<Item = (&'a String, &'a Value, Option<SlotKind>)> {
    let global = &node.view.global;
    let standby_cluster = global.standby_cluster.is_some();
    let none = !global.use_slots || node.tags.nofailover();
    // Without a way to the primary there is no feedback to it, and logical slots would not be safe.
    let physical_only = standby_cluster || slot_on_primary(node.cluster, node.name, node.tags).is_none();
    let holder = if physical_only { Role::StandbyLeader } else { Role::Primary };
    let physical = node.facts.version_at_least(110_000) || node.role == holder;
    global.slots.iter().filter(move |_| !none).map(|(name, value)| (name, value, kind(value))).filter(
        move |(_, value, kind)| match kind {
            Some(SlotKind::Physical) => physical && fits_cluster(value, standby_cluster),
            _ => !physical_only,
        },
    )
}

fn add_permanent(node: Node<'_>, wanted: &mut Wanted) {
    let own = slot_name(node.name);
    let mut too_old = Vec::new();
    for (name, value, kind) in permanent(node) {
        match kind {
            _ if !is_valid_name(name) => {
                wanted.errors.push(format!("Invalid permanent replication slot name '{name}'"));
                let rule = "Slot name may only contain lower case letters, numbers, and the underscore chars";
                wanted.errors.push(rule.to_owned());
            }
            None => {
                let value = text(value);
                wanted.errors.push(format!("Bad value for slot '{name}' in permanent_slots: {value}"));
            }
            Some(SlotKind::Physical) if *name == own || wanted.has(name) => {}
            Some(SlotKind::Physical) => wanted.slots.push(permanent_physical(node, name)),
            Some(SlotKind::Logical { .. }) if !node.facts.version_at_least(110_000) => too_old.push(name.clone()),
            Some(SlotKind::Logical { .. }) if wanted.has(name) => wanted.errors.push(format!(
                "Permanent logical replication slot {{'{name}': {}}} is conflicting with physical replication slot for \
                 cluster member",
                repr(value)
            )),
            Some(kind) => {
                let lsn = published(node.cluster, name);
                wanted.slots.push(WantedSlot { name: name.clone(), kind, lsn, expected_active: None });
            }
        }
    }
    if !too_old.is_empty() {
        wanted.errors.push(format!(
            "Permanent logical replication slots supported by Patroni only starting from PostgreSQL 11. Following slots \
             will not be created: {}.",
            repr(&Value::from(too_old))
        ));
    }
}

/// On a leader a permanent slot is used, unless it is that of a member that streams from another.
fn permanent_physical(node: Node<'_>, name: &str) -> WantedSlot {
    let cascading = node
        .cluster
        .members
        .iter()
        .find(|m| slot_name(m.name.as_str()) == name && m.data.tags.replicatefrom().is_some());
    let active = leads(node.role) && cascading.is_none();
    let own = cascading.and_then(|m| m.data.xlog_location).filter(|lsn| lsn.0 > 0);
    let lsn = if active { None } else { published(node.cluster, name).max(own) };
    WantedSlot { expected_active: Some(active), ..WantedSlot::physical(name, lsn) }
}

/// Permanent slots whose positions are published although those of members are not, by name.
#[must_use]
pub fn is_published_permanent(node: Node<'_>, name: &str) -> bool {
    let of_member = || node.cluster.members.iter().any(|m| slot_name(m.name.as_str()) == name);
    permanent(node).any(|(permanent, _, kind)| match kind {
        Some(SlotKind::Physical) => permanent == name,
        Some(SlotKind::Logical { .. }) => permanent == name && !of_member(),
        None => false,
    })
}

/// Whether a permanent physical slot has this name: it is kept without a clock.
#[must_use]
pub fn is_permanent_physical(view: &View, name: &str) -> bool {
    let standby_cluster = view.global.standby_cluster.is_some();
    view.global
        .slots
        .get(name)
        .is_some_and(|value| kind(value) == Some(SlotKind::Physical) && fits_cluster(value, standby_cluster))
}

/// The physical slot on the primary that carries the feedback of this member: its own, or that of the member that
/// connects it to the primary; `None` when somebody on the way does not stream, or members stream in a circle.
#[must_use]
pub fn slot_on_primary(cluster: &Cluster, name: &str, member_tags: &MemberTags) -> Option<String> {
    let (mut name, mut member_tags) = (name, member_tags);
    let mut seen = vec![name];
    loop {
        if member_tags.nostream() {
            return None;
        }
        let source = member_tags.replicatefrom().filter(|source| *source != name);
        let Some(source) = source.and_then(|source| cluster.member(source)) else { return Some(slot_name(name)) };
        if seen.contains(&source.name.as_str()) {
            return None;
        }
        (name, member_tags) = (source.name.as_str(), &source.data.tags);
        seen.push(name);
    }
}

/// Whether `hot_standby_feedback` must be on: this node has logical slots to keep, or a member behind it (SLOT-22).
#[must_use]
pub fn needs_feedback(node: Node<'_>) -> bool {
    let global = &node.view.global;
    let possible = global.use_slots && global.standby_cluster.is_none() && node.facts.version_at_least(110_000);
    possible && carries_logical(node, node.cluster.members.len())
}

/// `depth` bounds the way along the cascade.
fn carries_logical(node: Node<'_>, depth: usize) -> bool {
    let replica = Node { role: Role::Replica, ..node };
    if wanted(replica).slots.iter().any(WantedSlot::is_logical) {
        return true;
    }
    if depth == 0 || slot_on_primary(node.cluster, node.name, node.tags).is_none() {
        return false;
    }
    let leader = node.facts.leader.as_deref();
    let children = node
        .cluster
        .members
        .iter()
        .filter(|m| m.data.tags.replicatefrom() == Some(node.name) && leader.is_none_or(|l| m.name != l));
    children.into_iter().any(|m| carries_logical(Node { name: m.name.as_str(), tags: &m.data.tags, ..node }, depth - 1))
}
