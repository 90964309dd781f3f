//! The cluster as fail-safe mode sees it: with the primary that has called in the lead (ha-rules 17).

use super::View;
use super::memory::{FailsafeCaller, FailsafeMemory};
use crate::cluster::{Cluster, Leader, Member, MemberData, PgState, Revision, Role};
use std::sync::Arc;

/// The primary to whom this member has promised the lead, as long as that promise holds. It holds whatever becomes of the
/// mode: the caller relies on it.
#[must_use]
pub fn caller(view: &View) -> Option<&FailsafeCaller> {
    view.caller.as_ref().filter(|c| c.until > view.now && c.call.name != view.me.name)
}

/// A reading of the store in which nobody leads gets the caller as its leader: there is one, only not in the store.
#[must_use]
pub fn with_caller(view: &View, cluster: Arc<Cluster>) -> Arc<Cluster> {
    match caller(view) {
        Some(caller) if cluster.is_unlocked() => Arc::new(led_by(caller, &cluster)),
        _ => cluster,
    }
}

/// The last view of a leader, brought up to date with what was heard without the store: what slots are kept by.
#[must_use]
pub fn without_store(view: &View, heard: &FailsafeMemory, last: &Cluster) -> Cluster {
    if let Some(caller) = caller(view) {
        return led_by(caller, last);
    }
    let mut cluster = last.clone();
    for member in cluster.members.iter_mut().filter(|m| m.data.tags.replicatefrom().is_some()) {
        if let Some(position) = heard.positions.get(member.name.as_str()) {
            member.data.xlog_location = Some(*position);
        }
    }
    cluster
}

fn led_by(caller: &FailsafeCaller, cluster: &Cluster) -> Cluster {
    let mut cluster = cluster.clone();
    let call = &caller.call;
    let name = call.name.as_str();
    cluster.leader = Some(Leader { name: name.into(), own_session: false, revision: Revision(0) });
    if call.slots.is_some() {
        cluster.status.slots.clone_from(&call.slots);
    }
    if cluster.member(name).is_none() {
        let data = MemberData { state: Some(PgState::Running), role: Some(Role::Primary), ..MemberData::default() };
        cluster.members.push(Member { name: name.into(), revision: Revision(0), own_session: false, data });
        cluster.members.sort_by(|a, b| a.name.cmp(&b.name));
    }
    for member in cluster.members.iter_mut().filter(|m| m.name == name) {
        member.data.conn_url = Some(call.conn_url.clone());
        member.data.api_url = Some(call.api_url.clone());
    }
    cluster
}
