//! Who could take over from me (ha-rules 9.2, step-down check).

use super::sync;
use crate::cluster::{Cluster, Failover, Member, PeerStatus};
use crate::config::settings::SynchronousMode;
use crate::ha::cycle::{Cycle, Stop};
use crate::ha::{Command, Outcome};
use crate::types::Lsn;

/// `failover`, `switchover` or `manual failover`: what the failover key asks for.
pub(super) fn action_name(cluster: &Cluster) -> &'static str {
    match &cluster.failover {
        Some(key) if !key.is_empty() => match named(key.leader.as_deref()) {
            Some(_) => "switchover",
            None => "manual failover",
        },
        _ => "failover",
    }
}

/// The failover key, when it asks for something.
pub(super) fn request(cluster: &Cluster) -> Option<&Failover> {
    cluster.failover.as_ref().filter(|key| !key.is_empty())
}

/// A name that is given and not empty.
pub(super) fn named(name: Option<&str>) -> Option<&str> {
    name.filter(|n| !n.is_empty())
}

/// Asks members for their status; the answers come in the order of the members.
pub(super) fn poll(cycle: &mut Cycle<'_>, members: &[Member]) -> Result<Vec<PeerStatus>, Stop> {
    if members.is_empty() {
        return Ok(Vec::new());
    }
    let url = |m: &Member| m.data.api_url.clone().unwrap_or_default();
    let asked: Vec<_> = members.iter().map(|m| (m.name.as_str().to_owned(), url(m))).collect();
    let answers = match cycle.ask(Command::PollPeers(asked))? {
        Outcome::Peers(answers) => answers,
        _ => Vec::new(),
    };
    let answer = |m: &Member| answers.iter().find(|p| m.name == p.name.as_str()).cloned();
    Ok(members.iter().map(|m| answer(m).unwrap_or_else(|| PeerStatus::unreachable(m.name.as_str()))).collect())
}

/// Why this member cannot take over, if so.
pub(super) fn limitation(peer: &PeerStatus) -> Option<&'static str> {
    if !peer.reachable {
        Some("not reachable")
    } else if peer.tags.nofailover() {
        Some("not allowed to promote")
    } else if peer.watchdog_failed {
        Some("not watchdog capable")
    } else {
        None
    }
}

/// Whether this position is too far behind the one that the leader published last.
pub(super) fn is_lagging(cycle: &Cycle<'_>, position: Lsn) -> bool {
    let last = cycle.cluster.status.optime.unwrap_or_default();
    last.ahead_of(position) > cycle.view.global.maximum_lag_on_failover
}

/// Whether somebody else could lead. With `reached` a member must have received this position; otherwise it must not
/// lag. `but_candidate` leaves the candidate of the failover key out; otherwise a candidate is the only one looked at.
/// In a synchronous mode only its members count, unless a failover (not a switchover) is asked for; with a quorum enough of
/// them are needed, unless the request names one.
pub(super) fn exists(cycle: &mut Cycle<'_>, reached: Option<Lsn>, but_candidate: bool) -> Result<bool, Stop> {
    let action = action_name(&cycle.cluster);
    let key = request(&cycle.cluster);
    let candidate = key.and_then(|k| named(k.candidate.as_deref()));
    let synchronous = sync::is_active(cycle);
    let manual = key.is_some_and(|k| named(k.leader.as_deref()).is_none());
    let chosen = candidate.is_some();
    let eligible = |m: &&Member| {
        let wanted =
            if but_candidate { candidate.is_none_or(|c| m.name != c) } else { candidate.is_none_or(|c| m.name == c) };
        m.name != cycle.view.me.name.as_str()
            && (!synchronous || manual || cycle.cluster.sync.matches(m.name.as_str(), false))
            && !m.data.tags.nofailover()
            && named(m.data.api_url.as_deref()).is_some()
            && wanted
    };
    let members: Vec<Member> = cycle.cluster.members.iter().filter(eligible).cloned().collect();
    if members.is_empty() {
        let text = match candidate {
            Some(name) if sync::mode(cycle) != SynchronousMode::Off => {
                let standbys = cycle.cluster.sync.sync_standby.join(",");
                let standbys = if standbys.is_empty() { "None" } else { standbys.as_str() };
                format!("{} candidate={name} does not match with sync_standbys={standbys}", title(action))
            }
            _ => format!("{action}: candidates list is empty"),
        };
        cycle.warn(text);
    }
    let mut found = 0_u32;
    for peer in poll(cycle, &members)? {
        found += u32::from(may_take_over(cycle, &peer, reached, chosen && !but_candidate));
    }
    let quorum = cycle.cluster.sync.quorum;
    if sync::quorum_is_active(cycle) && (!chosen || but_candidate) && found <= quorum {
        cycle.info(format!("Quorum requirement {quorum} can not be reached"));
        return Ok(false);
    }
    Ok(found > 0)
}

/// Each word with a capital.
pub(super) fn title(action: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
    };
    action.split(' ').map(capital).collect::<Vec<String>>().join(" ")
}

/// Whether this member would lead. One that is behind `history` does so only when it was `chosen` by name: whoever waited
/// for another one would wait for ever.
fn may_take_over(cycle: &mut Cycle<'_>, peer: &PeerStatus, reached: Option<Lsn>, chosen: bool) -> bool {
    let name = &peer.name;
    if let Some(reason) = limitation(peer) {
        cycle.info(format!("Member {name} is {reason}"));
        return false;
    }
    let behind = reached.map_or_else(|| is_lagging(cycle, peer.position), |lsn| peer.position < lsn);
    if behind {
        cycle.info(format!("Member {name} exceeds maximum replication lag"));
        return false;
    }
    let timeline = peer.timeline.unwrap_or_default();
    let current = cycle.facts.cluster_timeline;
    let (checked, strict) = (!cycle.in_standby_cluster(), cycle.view.global.check_timeline);
    let behind = timeline.0 == 0 && strict || timeline.0 > 0 && timeline < current && (strict || !chosen);
    if checked && behind {
        cycle.info(format!("Timeline {timeline} of member {name} is behind the cluster timeline {current}"));
        return false;
    }
    true
}
