//! No leader: am I the healthiest (ha-rules 5 and 8)?

use super::{candidates, failover, failsafe, leader, replica, sync};
use crate::cluster::{Cluster, Member, NodeStatus, PeerStatus};
use crate::ha::cycle::{Cycle, Lease, Maybe, Step, Stop};
use crate::ha::{Command, Outcome, Rule};
use crate::types::{Lsn, Timeline};
use indexmap::IndexMap;
use std::time::Duration;

/// Nobody has the lock.
pub(super) fn rule(cycle: &mut Cycle<'_>) -> Maybe {
    if !cycle.facts.unlocked {
        return Ok(None);
    }
    if let Some(left) = backoff(cycle) {
        cycle.wake_within(left);
        return Ok(Some(Rule::RaceBackoff(left.as_secs_f64().round() as u64)));
    }
    if !is_healthiest(cycle)? || !failsafe::may_race(cycle)? {
        return stand_back(cycle).map(Some);
    }
    match cycle.acquire()? {
        Some(lease) => won(cycle, lease).map(Some),
        None => {
            cycle.reload()?;
            replica::follow(cycle, Rule::LostRaceDemoted, Rule::LostRaceFollowing).map(Some)
        }
    }
}

/// How long a standby leaves the lost key alone still: its primary may only have an agent that hangs. It does so as long as
/// WAL comes in, within `primary_race_backoff`, and in any case for the first `loop_wait` of it, since the key may have run
/// out right after the cycle before.
fn backoff(cycle: &mut Cycle<'_>) -> Option<Duration> {
    let global = &cycle.view.global;
    let wanted = global.primary_race_backoff;
    let chosen = candidates::request(&cycle.cluster).and_then(|k| candidates::named(k.candidate.as_deref())).is_some();
    let before = cycle.view.memory.position?;
    if wanted.is_zero() || chosen || cycle.facts.paused || cycle.facts.is_primary || global.standby_cluster.is_some() {
        return None;
    }
    let since = *cycle.memory.backing_off_since.get_or_insert(cycle.view.now);
    let left = wanted.saturating_sub(cycle.view.now.since(since));
    let receives = |s: &NodeStatus| s.receiver.as_ref().is_some_and(|r| r.status == "streaming");
    let moves = cycle.view.status.as_ref().is_some_and(receives) && cycle.facts.position > Some(before);
    let first = left > wanted.saturating_sub(global.loop_wait);
    (!left.is_zero() && (moves || first)).then_some(left)
}

fn stand_back(cycle: &mut Cycle<'_>) -> Step {
    let key = candidates::request(&cycle.cluster);
    let chosen = key.is_some_and(|k| candidates::named(k.candidate.as_deref()).is_some());
    // A new leader by choice need not be ahead of everybody, and a member that never leads may be ahead of all.
    if chosen || cycle.facts.nofailover && !cycle.facts.paused {
        cycle.memory.rewind.arm(cycle.facts.wants_repair);
    }
    if cycle.facts.nofailover {
        return replica::follow(cycle, Rule::NotAllowedDemoted, Rule::NotAllowedFollowing);
    }
    replica::follow(cycle, Rule::NotHealthiestDemoted, Rule::NotHealthiestFollowing)
}

fn won(cycle: &mut Cycle<'_>, lease: Lease) -> Step {
    failsafe::end(cycle);
    if let Some(key) = candidates::request(&cycle.cluster).cloned() {
        let expect = Some(key.revision);
        let promotes = !cycle.in_standby_cluster();
        if cycle.facts.paused && promotes && key.leader.is_some() && key.candidate.is_some() {
            cycle.info("Updating failover key after acquiring leader lock...");
            // Without its time a request for later would be one for now.
            let (candidate, scheduled_at) = (key.candidate, key.scheduled_text);
            cycle.tail(Command::WriteFailover { leader: None, candidate, scheduled_at, expect });
        } else {
            cycle.info("Cleaning up failover key after acquiring leader lock...");
            cycle.tail(Command::WriteFailover { leader: None, candidate: None, scheduled_at: None, expect });
        }
    }
    if cycle.in_standby_cluster() {
        // Who leads it follows the remote server from now on.
        cycle.reload()?;
        return replica::follow(cycle, Rule::DemotingCluster, Rule::AcquiredStandbyLock);
    }
    leader::enforce(cycle, lease, Rule::AcquiredLock, Rule::Promoted)
}

/// The questions of ha-rules 8 in their order.
fn is_healthiest(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    if cycle.memory.no_race_until.is_some_and(|until| cycle.view.now < until) {
        let text = "backoff: skip leader race after pre_promote script failure and releasing the lock voluntarily";
        cycle.info(text);
        return Ok(false);
    }
    let key = candidates::request(&cycle.cluster).cloned();
    if let Some(key) = &key
        && cycle.facts.paused
        && !cycle.facts.nofailover
        && key.scheduled_at.is_none()
        && let Some(answer) = failover::without_leader(cycle, key)?
    {
        return Ok(answer);
    }
    if cycle.facts.starting {
        return Ok(false);
    }
    if cycle.facts.is_primary {
        return primary_may_lead(cycle);
    }
    if cycle.facts.paused || cycle.facts.nofailover {
        return Ok(false);
    }
    let chosen = key.as_ref().and_then(|k| candidates::named(k.candidate.as_deref())) == Some(cycle.me());
    if !chosen && must_await_members(cycle) {
        return Ok(false);
    }
    if let Some(key) = &key {
        // A switchover in a synchronous mode is a matter of synchronous members and the former leader.
        let switchover = candidates::named(key.leader.as_deref()).is_some();
        if switchover && sync::is_active(cycle) && !cycle.cluster.sync.matches(cycle.me(), true) {
            return Ok(false);
        }
        return Ok(failover::without_leader(cycle, key)?.unwrap_or(false));
    }
    if cycle.view.watchdog.required && !cycle.view.watchdog.healthy {
        cycle.warn("Watchdog device is not usable");
        return Ok(false);
    }
    if sync::excludes_me(cycle) {
        return Ok(false);
    }
    let last_led = cycle.memory.last_led.clone();
    let former = last_led.as_ref().and_then(|c| c.leader_name()).map(|n| n.as_str().to_owned());
    let mut members = known_members(last_led.as_deref(), failsafe::known_members(cycle), &cycle.cluster);
    if sync::is_active(cycle) {
        members.retain(|m| cycle.cluster.sync.matches(m.name.as_str(), true));
    }
    outranks_all(cycle, &members, true, former.as_deref())
}

/// A primary without any leader takes the lock back, unless the cluster has moved on without it.
fn primary_may_lead(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    if cycle.facts.paused {
        let mine = cycle.facts.system_id.map(|id| id.to_string());
        let initialize = cycle.cluster.initialize.as_deref().filter(|text| !text.is_empty());
        return Ok(initialize.is_none() || initialize == mine.as_deref());
    }
    let Some(status) = &cycle.view.status else { return Err(Stop::End(Box::new(Rule::ServerSilent))) };
    let (mine, cluster) = (status.timeline, cycle.facts.cluster_timeline);
    if mine < cluster {
        cycle.warn(format!("My timeline {mine} is behind last known cluster timeline {cluster}"));
        return Ok(false);
    }
    Ok(true)
}

/// Never ends the cycle: an agent that begins with a cluster that has lived before and sees nobody else in it gives the
/// others one `loop_wait` to publish their keys again. They may all have run out while the store was away, and whom
/// nobody sees, nobody asks for his position.
pub(super) fn begin_patience(cycle: &mut Cycle<'_>) -> Maybe {
    if cycle.memory.members_awaited.is_none() && cycle.view.cluster.is_ok() {
        let cluster = &cycle.cluster;
        let lived = cluster.initialize.as_ref().is_some_and(|text| !text.is_empty())
            || cluster.history.as_ref().is_some_and(|history| !history.lines.is_empty());
        let alone = cluster.members.iter().all(|m| m.name == cycle.me());
        let patience = if lived && alone { cycle.view.global.loop_wait } else { Duration::ZERO };
        cycle.memory.members_awaited = Some(cycle.view.now + patience);
    }
    Ok(None)
}

fn must_await_members(cycle: &mut Cycle<'_>) -> bool {
    let Some(until) = cycle.memory.members_awaited.filter(|until| cycle.view.now < *until) else { return false };
    cycle.info("No other member was there when I started, waiting for their keys before the leader race");
    cycle.wake_at(until);
    true
}

/// Members of the last view that had a leader, of the failsafe map and of the present view; later entries count.
fn known_members(last_led: Option<&Cluster>, map: Vec<Member>, now: &Cluster) -> Vec<Member> {
    let mut known: IndexMap<String, Member> = IndexMap::new();
    let before = last_led.map(|c| c.members.clone()).unwrap_or_default();
    for member in before.into_iter().chain(map).chain(now.members.iter().cloned()) {
        known.insert(member.name.as_str().to_owned(), member);
    }
    known.into_values().collect()
}

/// The detailed check (ha-rules 8.10): nobody who may lead is ahead, or at the same position with a higher priority, and
/// in quorum mode enough voters say so.
pub(super) fn outranks_all(
    cycle: &mut Cycle<'_>,
    members: &[Member],
    check_lag: bool,
    former_leader: Option<&str>,
) -> Result<bool, Stop> {
    let Some(position) = cycle.facts.position else { return Err(Stop::End(Box::new(Rule::ServerSilent))) };
    if check_lag && candidates::is_lagging(cycle, position) {
        cycle.info("My wal position exceeds maximum replication lag");
        return Ok(false);
    }
    if !is_on_cluster_timeline(cycle)? {
        return Ok(false);
    }
    let me = cycle.me();
    let voters = if sync::quorum_is_active(cycle) { Some(sync::members(&cycle.cluster.sync)) } else { None };
    let votes = |name: &str| voters.as_ref().is_some_and(|voters| voters.contains(name));
    let asked = |m: &&Member| {
        let may_count = !m.data.tags.nofailover() || votes(m.name.as_str());
        m.name != me && candidates::named(m.data.api_url.as_deref()).is_some() && may_count
    };
    let peers: Vec<Member> = members.iter().filter(asked).cloned().collect();
    let mine = cycle.view.me.tags.failover_priority();
    let active = sync::is_active(cycle);
    let state = cycle.cluster.sync.clone();
    // Whoever wrote the key may have more than everybody else, and be alive: it has its own chance.
    let former_leader = if active { state.leader.as_deref() } else { former_leader };
    let (mut collected, mut nobody_ahead) = (i64::from(votes(me)) - 1, true);
    for peer in candidates::poll(cycle, &peers)? {
        let name = &peer.name;
        if candidates::limitation(&peer).is_some() {
            if votes(name) && may_vote(cycle, &peer, position) && !is_newer(cycle, &peer) {
                cycle.info(format!("Got quorum vote from {name}"));
                collected += 1;
            }
            continue;
        }
        if peer.in_recovery == Some(false) {
            cycle.warn(format!("Primary ({name}) is still alive"));
            return Ok(false);
        }
        let left_behind = peer.timeline.is_some_and(|t| t.0 > 0 && t < cycle.facts.cluster_timeline);
        if left_behind && !cycle.in_standby_cluster() {
            // He may not lead either, however far he went on a timeline that the cluster has left.
            cycle.info(format!("Ignoring {name}: its timeline is behind the last known cluster timeline"));
            continue;
        }
        if peer.position > position || active && is_newer(cycle, &peer) {
            cycle.info(format!("Wal position of {name} is ahead of my wal position"));
            if !active || !state.leader_matches(name) {
                return Ok(false);
            }
            nobody_ahead = false;
            cycle.info("Ignoring the former leader being ahead of us");
            continue;
        }
        if peer.position.0 == 0 {
            continue;
        }
        let theirs = peer.tags.failover_priority();
        let mut yields = peer.position == position && theirs > mine;
        if yields && former_leader == Some(name.as_str()) {
            cycle.info(format!(
                "Ignoring former leader {name} having priority {theirs} higher than this nodes {mine} priority"
            ));
            yields = false;
        }
        if yields && (voters.is_none() || votes(name)) {
            cycle.info(format!(
                "{name} has equally tolerable WAL position and priority {theirs}, while this node has priority {mine}"
            ));
            return Ok(false);
        }
        if votes(name) {
            cycle.info(format!("Got quorum vote from {name}"));
            collected += 1;
        }
    }
    let own_key = nobody_ahead && state.leader.as_deref() == Some(me);
    Ok(voters.is_none() || collected >= i64::from(state.quorum) || own_key)
}

/// Whether a voter who may not lead himself says that I have whatever he has: he can confirm commits all the same.
fn may_vote(cycle: &Cycle<'_>, peer: &PeerStatus, position: Lsn) -> bool {
    let current = peer.timeline.is_none_or(|t| t.0 == 0 || t >= cycle.facts.cluster_timeline);
    let standby = peer.reachable && peer.in_recovery == Some(true);
    standby && current && peer.position.0 > 0 && peer.position <= position
}

/// Whether this member is on a timeline after mine: somebody was promoted whom I have not followed, so that positions
/// cannot be compared.
fn is_newer(cycle: &Cycle<'_>, peer: &PeerStatus) -> bool {
    let mine = cycle.memory.last_timeline.filter(|t| t.0 > 0);
    mine.zip(peer.timeline).is_some_and(|(mine, theirs)| theirs > mine)
}

/// What the members of the key say of me.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vote {
    /// Enough of them are not ahead of me, so that I have all acknowledged commits.
    Enough,
    /// Too few have answered.
    TooFew,
    /// Too few, and somebody is ahead of me.
    Behind,
}

/// With a quorum, asks the members of the key. For those who were chosen: nobody's priority counts, and with enough votes
/// whoever is ahead has nothing more that was acknowledged.
pub(super) fn vote(cycle: &mut Cycle<'_>) -> Result<Vote, Stop> {
    let Some(position) = cycle.facts.position else { return Err(Stop::End(Box::new(Rule::ServerSilent))) };
    is_on_cluster_timeline(cycle)?;
    let state = cycle.cluster.sync.clone();
    let voters = sync::members(&state);
    let me = cycle.me();
    let asked = |m: &&Member| {
        m.name != me && voters.contains(m.name.as_str()) && candidates::named(m.data.api_url.as_deref()).is_some()
    };
    let peers: Vec<Member> = cycle.cluster.members.iter().filter(asked).cloned().collect();
    let (mut votes, mut nobody_ahead) = (u32::from(voters.contains(me)), true);
    for peer in candidates::poll(cycle, &peers)? {
        if peer.position > position || is_newer(cycle, &peer) {
            cycle.info(format!("Wal position of {} is ahead of my wal position", peer.name));
            nobody_ahead = false;
        } else if may_vote(cycle, &peer, position) {
            cycle.info(format!("Got quorum vote from {}", peer.name));
            votes += 1;
        }
    }
    let enough = votes > state.quorum || nobody_ahead && state.leader_matches(me);
    Ok(match (enough, nobody_ahead) {
        (true, _) => Vote::Enough,
        (false, true) => Vote::TooFew,
        (false, false) => Vote::Behind,
    })
}

/// Whether my timeline is not behind `history` (invariant 7). Who does not know his timeline may lead, unless
/// `check_timeline` is on. A standby cluster does not write `history`: what stands there is from former times.
pub(super) fn is_on_cluster_timeline(cycle: &mut Cycle<'_>) -> Result<bool, Stop> {
    if cycle.in_standby_cluster() {
        return Ok(true);
    }
    let cluster = cycle.facts.cluster_timeline;
    let strict = cycle.view.global.check_timeline;
    if cluster.0 <= 1 && !strict {
        return Ok(true);
    }
    let mut mine = cycle.memory.last_timeline.filter(|t| *t == cluster && t.0 > 0);
    if mine.is_none()
        && let Outcome::Timeline(timeline) = cycle.ask(Command::QueryOwnTimeline)?
        && timeline != Timeline(0)
    {
        cycle.memory.last_timeline = Some(timeline);
        mine = Some(timeline);
    }
    match mine {
        None => {
            cycle.info("Can not figure out my timeline");
            Ok(!strict)
        }
        Some(mine) if mine < cluster => {
            cycle.info(format!("My timeline {mine} is behind last known cluster timeline {cluster}"));
            Ok(false)
        }
        Some(_) => Ok(true),
    }
}
