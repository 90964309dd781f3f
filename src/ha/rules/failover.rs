//! Manual failover and switchover (ha-rules 9).

use super::{candidates, demote, race, restart, sync};
use crate::cluster::{Failover, Member};
use crate::config::settings::SynchronousMode;
use crate::ha::cycle::{Cycle, Maybe, Stop};
use crate::ha::memory::DemoteMode;
use crate::ha::{Command, Rule};

/// The leader's part (9.2), after its lock was renewed: begins a demotion, or clears a request that cannot be met.
pub(super) fn from_leader(cycle: &mut Cycle<'_>) -> Maybe {
    let Some(key) = candidates::request(&cycle.cluster).cloned() else { return Ok(None) };
    if cycle.facts.paused && !cycle.facts.is_primary {
        return Ok(None);
    }
    let action = candidates::action_name(&cycle.cluster);
    let bare = action.strip_prefix("manual ").unwrap_or(action);
    if let Some(at) = key.scheduled_at {
        let text = key.scheduled_text.clone();
        match restart::due(cycle, bare, at, text.as_deref()) {
            restart::Due::Now => {}
            restart::Due::Later => return Ok(None),
            restart::Due::Stale => {
                clear(cycle, &key);
                return Ok(None);
            }
        }
    }
    if begin(cycle, &key, action, bare)? {
        return Ok(Some(Rule::DemotingFor(action.to_owned())));
    }
    cycle.info("Cleaning up failover key");
    clear(cycle, &key);
    Ok(None)
}

fn begin(cycle: &mut Cycle<'_>, key: &Failover, action: &str, bare: &str) -> Result<bool, Stop> {
    let me = cycle.me();
    let title = candidates::title(action);
    let candidate = candidates::named(key.candidate.as_deref());
    if let Some(leader) = candidates::named(key.leader.as_deref()).filter(|leader| *leader != me) {
        cycle.warn(format!("{action}: leader name does not match: {leader} != {me}"));
    } else if candidate == Some(me) {
        cycle.warn(format!("{action}: I am already the leader, no need to {bare}"));
    } else if candidate.is_none() && cycle.facts.paused {
        cycle.warn(format!("{title} is possible only to a specific candidate in a paused state"));
    } else if candidates::exists(cycle, None, false)? {
        demote::begin(cycle, DemoteMode::Graceful)?;
        return Ok(true);
    } else {
        cycle.warn(format!("{action}: no healthy members found, {bare} is not possible"));
    }
    Ok(false)
}

fn clear(cycle: &mut Cycle<'_>, key: &Failover) {
    let expect = Some(key.revision);
    cycle.tail(Command::WriteFailover { leader: None, candidate: None, scheduled_at: None, expect });
}

/// Everybody's part once the leader has stepped down (9.3). `None`: the request was void, go on as without one.
pub(super) fn without_leader(cycle: &mut Cycle<'_>, key: &Failover) -> Result<Option<bool>, Stop> {
    let me = cycle.me();
    let action = candidates::action_name(&cycle.cluster);
    if let Some(candidate) = candidates::named(key.candidate.as_deref()) {
        if candidate == me {
            if !cycle.facts.paused && !race::is_on_cluster_timeline(cycle)? {
                cycle.warn(format!("{action}: I am behind the cluster's timeline and take over because I was chosen"));
            }
            let switchover = candidates::named(key.leader.as_deref()).is_some();
            if switchover && lacks_votes(cycle, key, action)? {
                return Ok(Some(false));
            }
            return Ok(Some(true));
        }
        let member = cycle.cluster.member(candidate).cloned();
        if cycle.facts.paused {
            if member.is_none() && cycle.facts.is_primary {
                cycle.warn(format!("{action}: removing failover key because failover candidate is not running"));
                clear(cycle, key);
                return Ok(None);
            }
            return Ok(Some(false));
        }
        let by_priority = sync::mode(cycle) == SynchronousMode::On;
        if by_priority && !cycle.cluster.sync.matches(me, true) {
            return Ok(Some(false));
        }
        if let Some(member) = member
            && candidate_takes_over(cycle, &member, action)?
        {
            return Ok(Some(false));
        }
    } else if cycle.facts.paused {
        return Ok(Some(false));
    }
    let leader = candidates::named(key.leader.as_deref());
    if leader == Some(me) {
        let unhealthy_candidate = candidates::named(key.candidate.as_deref()).is_some();
        let alone = !candidates::exists(cycle, None, unhealthy_candidate)?;
        if alone && lacks_votes(cycle, key, action)? {
            return Ok(Some(false));
        }
        return Ok(Some(alone && race::is_on_cluster_timeline(cycle)?));
    }
    let synchronous = sync::is_active(cycle);
    let other = |m: &&Member| {
        let counts = !synchronous || cycle.cluster.sync.matches(m.name.as_str(), false);
        leader.is_none_or(|l| m.name != l) && counts
    };
    let others: Vec<Member> = cycle.cluster.members.iter().filter(other).cloned().collect();
    race::outranks_all(cycle, &others, false, None).map(Some)
}

/// With a quorum, whoever was chosen, or wants the lock back, may lack acknowledged commits: the chosen one may have lost
/// its connection before the leader stopped, or have led since and left commits with others. When one of those is seen
/// ahead, the request goes, so that they may race.
fn lacks_votes(cycle: &mut Cycle<'_>, key: &Failover, action: &str) -> Result<bool, Stop> {
    let vote = if sync::quorum_is_active(cycle) { race::vote(cycle)? } else { race::Vote::Enough };
    match vote {
        race::Vote::Enough => return Ok(false),
        race::Vote::TooFew => cycle.warn(format!("{action}: too few votes, I may lack acknowledged commits")),
        race::Vote::Behind => {
            cycle.warn(format!("{action}: removing failover key because I may lack acknowledged commits"));
            clear(cycle, key);
        }
    }
    Ok(true)
}

fn candidate_takes_over(cycle: &mut Cycle<'_>, member: &Member, action: &str) -> Result<bool, Stop> {
    let me = cycle.me();
    for peer in candidates::poll(cycle, std::slice::from_ref(member))? {
        match candidates::limitation(&peer) {
            None => {
                cycle.info(format!("{action}: to {}, i am {me}", peer.name));
                return Ok(true);
            }
            Some(reason) => cycle.warn(format!("{action}: member {} is {reason}", peer.name)),
        }
    }
    Ok(false)
}
