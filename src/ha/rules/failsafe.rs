//! Fail-safe mode (ha-rules 17): a primary without a store goes on as long as every member that could lead instead leaves
//! the lead to it; and those who do, do not race.

use super::{candidates, retention};
use crate::cluster::{Cluster, FailsafeCall, Member, MemberData, PgState, Revision, Role};
use crate::ha::cycle::{Cycle, Stop};
use crate::ha::{Command, Level, Outcome};
use indexmap::IndexMap;

/// The store was read: the map in it counts, and a process that reads it for the first time cannot know what an earlier one
/// has promised.
pub(super) fn remember(cycle: &mut Cycle<'_>) {
    let Ok(cluster) = &cycle.view.cluster else { return };
    cycle.memory.failsafe.members.clone_from(&cluster.failsafe);
    if cycle.memory.failsafe.promised_until.is_none() {
        cycle.memory.failsafe.promised_until = Some(cycle.view.now + cycle.view.global.ttl);
    }
}

/// The holder of a renewed lock needs no other right, and writes down who may lead (FSM-02).
pub(super) fn publish(cycle: &mut Cycle<'_>) {
    end(cycle);
    if !cycle.view.global.failsafe_mode {
        return;
    }
    let mut map: IndexMap<String, String> = IndexMap::new();
    for member in &cycle.cluster.members {
        if let Some(url) = candidates::named(member.data.api_url.as_deref()) {
            map.insert(member.name.as_str().to_owned(), url.to_owned());
        }
    }
    if !map.contains_key(cycle.me()) {
        map.insert(cycle.me().to_owned(), cycle.view.me.api_url.clone());
    }
    if cycle.cluster.failsafe.as_ref() == Some(&map) {
        return;
    }
    // Until it is read again either of the two may stand in the store: members of both have to agree. Who finds no map at
    // all may race, so one that was only written is nothing to rely on.
    if let Some(members) = &mut cycle.memory.failsafe.members {
        members.extend(map.clone());
    }
    cycle.tail(Command::WriteFailsafe(map));
}

/// The store answers again and says who leads.
pub(super) fn end(cycle: &mut Cycle<'_>) {
    cycle.memory.failsafe.until = None;
    cycle.memory.failsafe.positions.clear();
}

/// Whether this primary may go on without the store: it has the right to lead now, and all members of the map agree.
/// With an interrupted right somebody else may have led meanwhile, and agreement now would say nothing.
pub(super) fn goes_on(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    let view = cycle.view;
    let leads = cycle.facts.is_leader || view.cluster.is_ok() && cycle.facts.has_lock;
    let map = cycle.memory.failsafe.members.as_ref().filter(|map| map.contains_key(cycle.me()));
    let Some(map) = map.filter(|_| view.global.failsafe_mode) else { return Ok(false) };
    if !leads {
        cycle.log(Level::Error, "failsafe mode does not help: the right to lead has run out");
        return Ok(false);
    }
    let members: Vec<(String, String)> =
        map.iter().filter(|(name, _)| *name != cycle.me()).map(|(name, url)| (name.clone(), url.clone())).collect();
    let call = Box::new(FailsafeCall {
        name: view.me.name.clone(),
        conn_url: view.me.conn_url.clone(),
        api_url: view.me.api_url.clone(),
        slots: cycle.facts.position.map(|position| retention::all_positions(cycle, position)),
        ttl: Some(view.global.ttl),
    });
    let outcome = cycle.ask(Command::CallFailsafe { call, ttl: view.global.ttl, members })?;
    if outcome.right_to_lead().is_none() {
        return Ok(false);
    }
    cycle.right_renewed(&outcome);
    if let Outcome::Failsafe { answers, .. } = outcome {
        let positions = answers.into_iter().filter_map(|a| Some((a.name, a.position?)));
        cycle.memory.failsafe.positions = positions.collect();
    }
    Ok(true)
}

/// Whether this standby may take the lock as far as fail-safe mode is concerned (RACE-01): its name is in the map, and no
/// primary can rely on a promise that an earlier process of this member has given.
pub(super) fn may_race(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    let map = cycle.cluster.failsafe.clone().filter(|map| !map.is_empty() && cycle.view.global.failsafe_mode);
    let Some(map) = map.filter(|_| !cycle.facts.is_primary) else { return Ok(true) };
    if !map.contains_key(cycle.me()) {
        cycle.info("I am not in the failsafe map and take no part in the leader race");
        return Ok(false);
    }
    let Some(until) = cycle.memory.failsafe.promised_until.filter(|until| *until > cycle.view.now) else {
        return Ok(true);
    };
    let me = cycle.me();
    let suspects: Vec<Member> =
        members_of(&map).filter(|m| m.name != me && may_be_primary(&cycle.cluster, m.name.as_str())).collect();
    for peer in candidates::poll(cycle, &suspects)? {
        let name = &peer.name;
        if !peer.reachable {
            cycle.info(format!("{name} may lead by a promise that I gave before I was restarted: waiting for its end"));
            cycle.wake_at(until);
            return Ok(false);
        }
        if peer.in_recovery == Some(false) {
            cycle.warn(format!("Primary ({name}) is still alive"));
            return Ok(false);
        }
    }
    Ok(true)
}

/// A member whose key says that it is a standby, or stopped, has not become a primary since: that takes the lock.
fn may_be_primary(cluster: &Cluster, name: &str) -> bool {
    cluster.member(name).is_none_or(|m| {
        let stopped = m.data.state == Some(PgState::Stopped);
        let standby = matches!(m.data.role, Some(Role::Replica | Role::StandbyLeader | Role::Demoted));
        !stopped && !standby
    })
}

/// Members of the map that the store does not know any more: they are asked before anybody leads (RACE-07).
pub(super) fn known_members(cycle: &Cycle<'_>) -> Vec<Member> {
    let map = cycle.cluster.failsafe.as_ref().filter(|_| cycle.view.global.failsafe_mode);
    map.into_iter().flat_map(members_of).collect()
}

fn members_of(map: &IndexMap<String, String>) -> impl Iterator<Item = Member> {
    map.iter().map(|(name, url)| Member {
        name: name.as_str().into(),
        revision: Revision(0),
        own_session: false,
        data: MemberData { api_url: Some(url.clone()), ..MemberData::default() },
    })
}
