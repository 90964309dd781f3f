//! `patronictl switchover` and `patronictl failover` (CTL-12 to CTL-14).

use crate::cluster::{Cluster, Member, Modes};
use crate::ctl::args::{Failover, Switchover};
use crate::ctl::context::{Context, LONG, store_error};
use crate::ctl::output::Format;
use crate::ctl::{CtlError, rows};
use crate::dcs::FailoverRequest;
use crate::net::http::{HttpError, HttpResponse};
use hyper::Method;
use serde_json::{Map, Value, json};

/// What was asked for.
struct Wish<'a> {
    cluster: &'a str,
    switchover: bool,
    leader: Option<&'a str>,
    candidate: Option<&'a str>,
    scheduled: Option<&'a str>,
    force: bool,
}

impl Wish<'_> {
    fn action(&self) -> &'static str {
        if self.switchover { "switchover" } else { "failover" }
    }
}

/// The leader hands over.
pub async fn switchover(context: &mut Context<'_>, args: &Switchover) -> Result<(), CtlError> {
    let cluster = &context.cluster_name(args.cluster_name.as_ref())?;
    let (leader, candidate) = (args.leader.as_deref(), args.candidate.as_deref());
    let scheduled = args.scheduled.as_deref();
    run(context, &Wish { cluster, switchover: true, leader, candidate, scheduled, force: args.force }).await
}

/// Somebody takes over.
pub async fn failover(context: &mut Context<'_>, args: &Failover) -> Result<(), CtlError> {
    let cluster = &context.cluster_name(args.cluster_name.as_ref())?;
    let candidate = args.candidate.as_deref();
    let wish = Wish { cluster, switchover: false, leader: None, candidate, scheduled: None, force: args.force };
    run(context, &wish).await
}

async fn run(context: &mut Context<'_>, wish: &Wish<'_>) -> Result<(), CtlError> {
    let (name, action) = (wish.cluster, wish.action());
    let cluster = context.load(name).await?;
    context.console.line("Current cluster topology");
    context.console.write(&rows::members(&cluster, name, false, Format::Pretty));
    let request = complete(context, &cluster, wish)?;
    match send(context, &cluster, action, &request).await {
        Ok(answer) if matches!(answer.status, 200 | 202) => {
            let now = context.timestamp(true);
            context.console.line(&format!("{now} {}", answer.text()));
        }
        Ok(answer) => {
            let title = if wish.switchover { "Switchover" } else { "Failover" };
            context.console.line(&format!("{title} failed, details: {}, {}", answer.status, answer.text()));
            return Ok(());
        }
        Err(reason) => {
            tracing::error!("{reason}");
            tracing::warn!("Failing over to DCS");
            let now = context.timestamp(true);
            context.console.line(&format!("{now} Could not {action} using Patroni api, falling back to DCS"));
            let store = context.store(name)?;
            store.write_failover(&request, None, context.budget()).await.map_err(store_error)?;
        }
    }
    let cluster = context.load(name).await?;
    context.console.write(&rows::members(&cluster, name, false, Format::Pretty));
    Ok(())
}

/// Checks the wish and asks for what is missing.
fn complete(context: &mut Context<'_>, cluster: &Cluster, wish: &Wish<'_>) -> Result<FailoverRequest, CtlError> {
    let modes = Modes::of(cluster);
    let current = cluster.leader_name().map(|n| n.as_str());
    let leader = if wish.switchover { Some(ask_leader(context, current, modes, wish)?) } else { None };
    let candidate = ask_candidate(context, cluster, current, wish)?;
    if let Some(candidate) = candidate.as_deref().filter(|_| !wish.force && !wish.switchover) {
        let asynchronous = modes.synchronous && !cluster.sync.is_empty() && !cluster.sync.matches(candidate, true);
        let text = format!("Are you sure you want to failover to the asynchronous node {candidate}?");
        if asynchronous && !context.console.confirm(&text)? {
            return Err(CtlError::message("Aborting failover"));
        }
    }
    let scheduled_at = if wish.switchover { ask_time(context, modes, wish)? } else { None };
    if !wish.force {
        confirm(context, wish, current, scheduled_at.as_deref())?;
    }
    Ok(FailoverRequest { leader, candidate, scheduled_at })
}

fn ask_leader(
    context: &mut Context<'_>,
    current: Option<&str>,
    modes: Modes,
    wish: &Wish<'_>,
) -> Result<String, CtlError> {
    let current = current.ok_or_else(|| CtlError::message("This cluster has no leader"))?;
    let leader = match wish.leader {
        Some(leader) => leader.to_owned(),
        None if wish.force => current.to_owned(),
        None => {
            let question = if modes.standby_cluster { "Standby Leader" } else { "Primary" };
            context.console.prompt(question, Some(current))?
        }
    };
    if leader == current {
        return Ok(leader);
    }
    Err(CtlError::message(format!("Member {leader} is not the leader of cluster {}", wish.cluster)))
}

fn ask_candidate(
    context: &mut Context<'_>,
    cluster: &Cluster,
    current: Option<&str>,
    wish: &Wish<'_>,
) -> Result<Option<String>, CtlError> {
    let fit = |m: &&Member| Some(m.name.as_str()) != current && !m.data.tags.nofailover();
    let mut names: Vec<&str> = cluster.members.iter().filter(fit).map(|m| m.name.as_str()).collect();
    names.sort_unstable();
    if names.is_empty() {
        return Err(CtlError::message(format!("No candidates found to {} to", wish.action())));
    }
    let candidate = match wish.candidate {
        None if !wish.force => {
            let list = crate::config::python::repr(&json!(names));
            context.console.prompt(&format!("Candidate {list}"), Some(""))?
        }
        given => given.unwrap_or_default().to_owned(),
    };
    if candidate.is_empty() {
        if wish.switchover {
            return Ok(None);
        }
        return Err(CtlError::message("Failover could be performed only to a specific candidate"));
    }
    if names.contains(&candidate.as_str()) {
        return Ok(Some(candidate));
    }
    let name = wish.cluster;
    Err(CtlError::message(if Some(candidate.as_str()) == current {
        format!("Member {candidate} is already the leader of cluster {name}")
    } else {
        format!("Member {candidate} does not exist in cluster {name} or is tagged as nofailover")
    }))
}

fn ask_time(context: &mut Context<'_>, modes: Modes, wish: &Wish<'_>) -> Result<Option<String>, CtlError> {
    let asked = match wish.scheduled {
        None if !wish.force => {
            let question = format!("When should the switchover take place (e.g. {} ) ", context.next_hour());
            Some(context.console.prompt(&question, Some("now"))?)
        }
        given => given.map(str::to_owned),
    };
    let time = context.schedule(asked.as_deref())?;
    if time.is_some() && modes.paused {
        return Err(CtlError::message("Can't schedule switchover in the paused state"));
    }
    Ok(time.map(|t| t.isoformat()))
}

fn confirm(
    context: &mut Context<'_>,
    wish: &Wish<'_>,
    current: Option<&str>,
    scheduled_at: Option<&str>,
) -> Result<(), CtlError> {
    let (name, action) = (wish.cluster, wish.action());
    let demoting = current.map(|c| format!(", demoting current leader {c}")).unwrap_or_default();
    let (question, refusal) = match scheduled_at {
        Some(at) => (
            format!("Are you sure you want to schedule switchover of cluster {name} at {at}{demoting}?"),
            format!("Aborting scheduled {action}"),
        ),
        None => (format!("Are you sure you want to {action} cluster {name}{demoting}?"), format!("Aborting {action}")),
    };
    if context.console.confirm(&question)? { Ok(()) } else { Err(CtlError::message(refusal)) }
}

/// Asks the leader, or the candidate where there is no leader. `Err`: nobody could be asked.
async fn send(
    context: &Context<'_>,
    cluster: &Cluster,
    action: &str,
    request: &FailoverRequest,
) -> Result<HttpResponse, String> {
    let candidate = request.candidate.as_deref().and_then(|c| cluster.member(c));
    let member = cluster.leader_member().or(candidate).ok_or("there is no member to ask")?;
    let mut body = Map::new();
    body.insert("candidate".to_owned(), json!(request.candidate));
    for (key, value) in [("leader", &request.leader), ("scheduled_at", &request.scheduled_at)] {
        if let Some(value) = value {
            body.insert(key.to_owned(), json!(value));
        }
    }
    let body = Value::Object(body);
    let shown = |e: HttpError| e.to_string();
    let answer = context.request(member, Method::POST, action, Some(&body), LONG).await.map_err(shown)?;
    // Very old members know failover only.
    let unknown = answer.status == 501 && answer.text().contains("Server does not support this operation");
    if unknown && action == "switchover" {
        return context.request(member, Method::POST, "failover", Some(&body), LONG).await.map_err(shown);
    }
    Ok(answer)
}
