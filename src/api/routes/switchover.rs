//! POST /switchover, POST /failover, DELETE /switchover (API-26 to API-30).

use super::restart::parse_schedule;
use super::{Call, Refusal, info};
use crate::api::Reply;
use crate::api::access::MembersCount;
use crate::api::call::Body;
use crate::cluster::{Cluster, Modes, PeerStatus};
use crate::config::python::{text, truth};
use crate::dcs::FailoverRequest;
use crate::types::{Mono, Wall};
use actix_web::web::Payload;
use serde_json::{Map, Value};
use std::time::Duration;

/// How often the newest snapshot is looked at while a switchover runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often the store is read anyway: the snapshots of an agent in trouble may stand still.
const READ_EVERY: Duration = Duration::from_secs(1);

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The leader hands over.
    Switchover,
    /// Somebody takes over, with or without a leader.
    Failover,
}

impl Action {
    fn name(self) -> &'static str {
        match self {
            Self::Switchover => "switchover",
            Self::Failover => "failover",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Switchover => "Switchover",
            Self::Failover => "Failover",
        }
    }

    /// "Switched" or "Failed", as far as "Switch" or "Fail".
    fn verb(self) -> (&'static str, &'static str) {
        match self {
            Self::Switchover => ("Switch", "switch"),
            Self::Failover => ("Fail", "fail"),
        }
    }
}

/// What a body asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Wish {
    leader: Option<String>,
    candidate: Option<String>,
    scheduled_at: Option<Value>,
}

impl Wish {
    fn read(body: &Map<String, Value>) -> Self {
        let text = |key: &str| body.get(key).filter(|v| truth(v)).map(text);
        Self {
            leader: text("leader"),
            candidate: text("candidate").or_else(|| text("member")),
            scheduled_at: body.get("scheduled_at").filter(|v| truth(v)).cloned(),
        }
    }

    /// Checks what needs no question to other members. Returns the normal form of the schedule.
    fn check(&self, action: Action, paused: bool, now: Wall) -> Result<Option<String>, (u16, String)> {
        let refuse = |text: &str| Err((400, text.to_owned()));
        match action {
            Action::Failover if self.candidate.is_none() => {
                return refuse("Failover could be performed only to a specific candidate");
            }
            Action::Switchover if self.leader.is_none() => {
                return refuse("Switchover could be performed only from a specific leader");
            }
            _ => {}
        }
        let scheduled = match &self.scheduled_at {
            None => None,
            Some(_) if action == Action::Failover => return refuse("Failover can't be scheduled"),
            Some(_) if paused => return refuse("Can't schedule switchover in the paused state"),
            Some(at) => Some(parse_schedule(at, action.name(), now)?.1),
        };
        if paused && self.candidate.is_none() {
            return refuse("Switchover is possible only to a specific candidate in a paused state");
        }
        if self.leader == self.candidate {
            return refuse("Switchover target and source are the same");
        }
        Ok(scheduled)
    }
}

/// Starts a switchover or failover and waits for its end, or notes it for later.
pub async fn post(call: &Call<'_>, payload: Payload, action: Action) -> Result<Reply, Refusal> {
    call.authorize(MembersCount::AsConfigured).await?;
    let wish = Wish::read(&call.json(payload, Body::Required).await?);
    let cluster = info::load(call).await?;
    tracing::info!(
        "received {} request with leader={} candidate={} scheduled_at={}",
        action.name(),
        shown(wish.leader.as_deref()),
        shown(wish.candidate.as_deref()),
        shown(wish.scheduled_at.as_ref().and_then(|at| at.as_str())),
    );
    let gateway = &call.app.gateway;
    let scheduled_at = match wish.check(action, Modes::of(&cluster).paused, gateway.clock().wall()) {
        Ok(scheduled_at) => scheduled_at,
        Err((code, text)) => return Ok(Reply::text(code, text)),
    };
    let action = if action == Action::Failover && wish.leader.is_some() {
        tracing::warn!("received failover request with leader specified - performing switchover instead");
        Action::Switchover
    } else {
        action
    };
    let (leader, candidate) = (wish.leader.as_deref(), wish.candidate.as_deref());
    if scheduled_at.is_none() {
        let members = match good_members(&cluster, leader, candidate, action) {
            Ok(members) => members,
            Err(text) => return Ok(Reply::text(412, text)),
        };
        if !gateway.poll_peers(members).await.iter().any(may_take_over) {
            let text = format!("{} is not possible: no good candidates have been found", action.name());
            return Ok(Reply::text(412, text));
        }
    }
    let scheduled = scheduled_at.is_some();
    let request = FailoverRequest { leader: wish.leader.clone(), candidate: wish.candidate.clone(), scheduled_at };
    if let Err(error) = gateway.write_failover(request, None).await {
        tracing::warn!("the failover key was not written: {error}");
        return Ok(Reply::text(503, "failed to write failover key into DCS"));
    }
    let written = gateway.clock().mono();
    call.wake();
    if scheduled {
        return Ok(Reply::text(202, format!("{} scheduled", action.title())));
    }
    let old_leader = cluster.leader_name().map(ToString::to_string);
    Ok(wait_for_result(call, Watch { old_leader, candidate: wish.candidate, action, written }).await)
}

/// DELETE: forgets a scheduled switchover.
pub async fn delete(call: &Call<'_>) -> Result<Reply, Refusal> {
    call.authorize(MembersCount::AsConfigured).await?;
    let cluster = info::load(call).await?;
    let Some(failover) = cluster.failover.as_ref().filter(|f| f.scheduled_at.is_some()) else {
        return Ok(Reply::text(404, "no switchover is scheduled"));
    };
    match call.app.gateway.write_failover(FailoverRequest::default(), Some(failover.revision)).await {
        Ok(()) => Ok(Reply::text(200, "scheduled switchover deleted")),
        Err(error) => {
            tracing::warn!("the failover key was not written: {error}");
            Ok(Reply::error(409))
        }
    }
}

/// Who could take over by what the store says: names and addresses.
fn good_members(
    cluster: &Cluster,
    leader: Option<&str>,
    candidate: Option<&str>,
    action: Action,
) -> Result<Vec<(String, String)>, String> {
    let modes = Modes::of(cluster);
    let by_list = modes.synchronous && !modes.quorum;
    let current = cluster.leader_name().map(|n| n.as_str());
    if leader.is_some() && current != leader {
        return Err("leader name does not match".to_owned());
    }
    let pick = |test: &dyn Fn(&str) -> bool| -> Vec<(String, String)> {
        let members = cluster.members.iter().filter(|m| test(m.name.as_str()));
        members.map(|m| (m.name.to_string(), m.data.api_url.clone().unwrap_or_default())).collect()
    };
    let (members, reason) = match candidate {
        Some(name) => {
            if action == Action::Switchover && by_list && !cluster.sync.matches(name, false) {
                return Err("candidate name does not match with sync_standby".to_owned());
            }
            (pick(&|m| m == name), "candidate does not exists".to_owned())
        }
        None if by_list => {
            let reason = format!("{} is not possible: can not find sync_standby", action.name());
            (pick(&|m| cluster.sync.matches(m, false)), reason)
        }
        None => {
            let mut members = pick(&|m| Some(m) != current);
            members.retain(|(_, url)| current.is_none() || !url.is_empty());
            let reason = format!("{} is not possible: cluster does not have members except leader", action.name());
            (members, reason)
        }
    };
    if members.is_empty() { Err(reason) } else { Ok(members) }
}

/// Whether a member's answer says that it can be promoted.
fn may_take_over(peer: &PeerStatus) -> bool {
    peer.reachable && !peer.tags.nofailover() && !peer.watchdog_failed
}

/// A switchover that is under way.
struct Watch {
    old_leader: Option<String>,
    candidate: Option<String>,
    action: Action,
    written: Mono,
}

/// Waits until somebody else leads or the failover key is gone.
async fn wait_for_result(call: &Call<'_>, watch: Watch) -> Reply {
    let gateway = &call.app.gateway;
    let loop_wait = call.snapshot.settings.global.loop_wait;
    let end = watch.written + 2 * loop_wait.max(Duration::from_secs(10));
    let mut last_read = watch.written;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = gateway.clock().mono();
        let snapshot = gateway.snapshot();
        let news = snapshot.cluster.as_ref().filter(|(_, at)| *at > watch.written);
        let hint = news.is_some_and(|(cluster, _)| watch.result(cluster).is_some());
        // A view may have been read before the key was written although it came later: only a fresh read counts.
        if hint || now.since(last_read) >= READ_EVERY {
            last_read = now;
            match gateway.load_cluster().await {
                Ok(cluster) => {
                    if let Some(reply) = watch.result(&cluster) {
                        return reply;
                    }
                }
                Err(error) => {
                    tracing::debug!("Exception occurred during polling {} result: {error}", watch.action.name());
                }
            }
        }
        if gateway.clock().mono() >= end {
            return Reply::text(503, format!("{} status unknown", watch.action.title()));
        }
    }
}

impl Watch {
    fn result(&self, cluster: &Cluster) -> Option<Reply> {
        let (title, verb) = self.action.verb();
        if let Some(leader) = cluster.leader_name()
            && Some(leader.as_str()) != self.old_leader.as_deref()
        {
            return Some(match &self.candidate {
                Some(candidate) if candidate != leader.as_str() => {
                    Reply::text(200, format!("{title}ed over to \"{leader}\" instead of \"{candidate}\""))
                }
                _ => Reply::text(200, format!("Successfully {verb}ed over to \"{leader}\"")),
            });
        }
        let pending = cluster.failover.as_ref().is_some_and(|f| !f.is_empty());
        (!pending).then(|| Reply::text(503, format!("{} failed", self.action.title())))
    }
}

fn shown(value: Option<&str>) -> &str {
    value.unwrap_or("None")
}

#[cfg(test)]
#[path = "switchover_tests.rs"]
mod tests;
