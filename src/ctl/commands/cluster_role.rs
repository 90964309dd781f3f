//! `patronictl demote-cluster` and `patronictl promote-cluster` (CTL-21).

use crate::cluster::{Cluster, Member, PgState, Role};
use crate::config::python::truth;
use crate::ctl::args::{DemoteCluster, PromoteCluster};
use crate::ctl::context::{Context, QUICK};
use crate::ctl::output::Format;
use crate::ctl::{CtlError, rows};
use hyper::Method;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How often the cluster is looked at until it has its role.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What is to become of the cluster.
enum Aim {
    /// A standby cluster with this section.
    Standby(Map<String, Value>),
    /// A cluster with a primary.
    Standalone,
}

impl Aim {
    /// "demot" or "promot": what all words of the texts begin with.
    fn stem(&self) -> &'static str {
        if matches!(self, Self::Standby(_)) { "demot" } else { "promot" }
    }

    fn role(&self) -> Role {
        if matches!(self, Self::Standby(_)) { Role::StandbyLeader } else { Role::Primary }
    }
}

/// Makes a standby cluster of a primary cluster.
pub async fn demote(context: &mut Context<'_>, args: &DemoteCluster) -> Result<(), CtlError> {
    let section = json!({"host": args.host, "port": args.port, "primary_slot_name": args.primary_slot_name,
        "restore_command": args.restore_command});
    let mut section = section.as_object().cloned().unwrap_or_default();
    section.retain(|_, value| truth(value));
    if !["host", "port", "restore_command"].into_iter().any(|key| section.contains_key(key)) {
        return Err(CtlError::message("At least --host, --port or --restore-command should be specified"));
    }
    let name = context.cluster_name(args.cluster_name.as_ref())?;
    change(context, &name, args.force, &Aim::Standby(section)).await
}

/// Makes a standby cluster stand alone.
pub async fn promote(context: &mut Context<'_>, args: &PromoteCluster) -> Result<(), CtlError> {
    let name = context.cluster_name(args.cluster_name.as_ref())?;
    change(context, &name, args.force, &Aim::Standalone).await
}

async fn change(context: &mut Context<'_>, name: &str, force: bool, aim: &Aim) -> Result<(), CtlError> {
    let stem = aim.stem();
    let cluster = context.load(name).await?;
    let Some(leader) = cluster.leader_name().filter(|leader| !leader.as_str().is_empty()) else {
        return Err(CtlError::message(format!("Cluster has no leader, {stem}ion is not possible")));
    };
    let leader = leader.as_str().to_owned();
    let member = cluster.leader_member();
    if member.and_then(|m| m.data.role) == Some(aim.role()) {
        return Err(CtlError::message("Cluster is already in the required state"));
    }
    context.console.line("Current cluster topology");
    context.console.write(&rows::members(&cluster, name, false, Format::Pretty));
    if !force && !context.console.confirm(&format!("Are you sure you want to {stem}e {name} cluster?"))? {
        return Err(CtlError::message(format!("Aborted cluster {stem}ion")));
    }
    patch(context, name, member, aim).await?;
    let cluster = wait(context, name, &leader, aim).await?;
    context.console.write(&rows::members(&cluster, name, false, Format::Pretty));
    Ok(())
}

async fn patch(context: &Context<'_>, name: &str, leader: Option<&Member>, aim: &Aim) -> Result<(), CtlError> {
    let failed = |reason: String| CtlError::message(format!("Failed to {}e {name} cluster: {reason}", aim.stem()));
    let section = match aim {
        Aim::Standby(section) => Value::from(section.clone()),
        Aim::Standalone => Value::Null,
    };
    let Some(leader) = leader else { return Err(failed("the leader has no member key".to_owned())) };
    let body = json!({ "standby_cluster": section });
    match context.request(leader, Method::PATCH, "config", Some(&body), QUICK).await {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => {
            let text = failed(format!("/config PATCH status code={}, ({})", answer.status, answer.text()));
            // The original puts its own refusal into its words for any failure.
            Err(failed(text.to_string()))
        }
        Err(error) => Err(failed(error.to_string())),
    }
}

/// Prints how far the cluster is until its leader runs in the new role, and the old leader runs.
async fn wait(context: &mut Context<'_>, name: &str, old: &str, aim: &Aim) -> Result<Cluster, CtlError> {
    loop {
        let cluster = context.load(name).await?;
        let leader = cluster.leader_member();
        let role = leader.and_then(|m| m.data.role);
        let state = leader.and_then(|m| m.data.state);
        let old_state = cluster.member(old).and_then(|m| m.data.state);
        let demotes = matches!(aim, Aim::Standby(_));
        let now = context.timestamp(false);
        let there = cluster.leader_name().is_some() && role == Some(aim.role()) && state == Some(PgState::Running);
        if there && (!demotes || old_state == Some(PgState::Running)) {
            context.console.line(&format!("{now} cluster is successfully {}ed", aim.stem()));
            return Ok(cluster);
        }
        let unlocked = if cluster.leader_name().is_none() { "True" } else { "False" };
        let (role, state) = (role.map_or("None", Role::as_str), state.map_or("None", PgState::as_str));
        let mut line = format!("{now} cluster is unlocked: {unlocked}, leader role: {role}, leader state: {state}");
        let other = cluster.leader_name().is_some_and(|leader| leader.as_str() != old);
        if let Some(old_state) = old_state.filter(|_| demotes && other) {
            line += &format!(", previous leader state: '{}'", old_state.as_str());
        }
        context.console.line(&line);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
