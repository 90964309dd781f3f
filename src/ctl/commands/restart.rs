//! `patronictl restart` (CTL-10).

use super::report;
use crate::cluster::{Member, Modes, ScheduleTime};
use crate::ctl::CtlError;
use crate::ctl::args::Restart;
use crate::ctl::context::{Context, LONG, QUICK};
use crate::ctl::select::{self, Selection};
use crate::types::check_version;
use hyper::Method;
use serde_json::{Map, Value, json};

/// Restarts servers now, or has it done later.
pub async fn run(context: &mut Context<'_>, args: &Restart) -> Result<(), CtlError> {
    let cluster = context.load(&args.cluster_name).await?;
    let selection = Selection {
        cluster_name: &args.cluster_name,
        names: &args.member_names,
        role: args.role,
        force: args.force,
        action: "restart",
    };
    let mut members = select::members(context.console, &cluster, &selection)?;
    let scheduled = when(context, args)?;
    // Whether a scheduled restart is needed shows at its time.
    if args.pending && scheduled.is_none() {
        members.retain(|m| m.data.pending_restart.unwrap_or(false));
    }
    if args.any && !members.is_empty() {
        let chosen = fastrand::usize(..members.len());
        members = members.get(chosen).copied().into_iter().collect();
    }
    confirm(context, args, &members, scheduled)?;
    let body = body(context, args, scheduled)?;
    if scheduled.is_some() && Modes::of(&cluster).paused {
        return Err(CtlError::message("Can't schedule restart in the paused state"));
    }
    for member in members {
        one(context, args, member, &body).await?;
    }
    Ok(())
}

fn when(context: &mut Context<'_>, args: &Restart) -> Result<Option<ScheduleTime>, CtlError> {
    let asked = if args.scheduled.is_none() && !args.force {
        let question = format!("When should the restart take place (e.g. {}) ", context.next_hour());
        Some(context.console.prompt(&question, Some("now"))?)
    } else {
        args.scheduled.clone()
    };
    context.schedule(asked.as_deref())
}

fn confirm(
    context: &mut Context<'_>,
    args: &Restart,
    members: &[&Member],
    scheduled: Option<ScheduleTime>,
) -> Result<(), CtlError> {
    let Some(at) = scheduled else { return select::confirm(context.console, members, args.force, "restart") };
    let question = if args.pending {
        "The nodes needing a restart will be identified at the scheduled time, and might be different from the ones \
         showing pending restart right now. Is this fine?"
            .to_owned()
    } else {
        format!("Are you sure you want to schedule restart of members {} at {at}?", select::names(members))
    };
    if args.force || context.console.confirm(&question)? {
        return Ok(());
    }
    Err(CtlError::message("Aborted scheduled restart"))
}

fn body(context: &mut Context<'_>, args: &Restart, scheduled: Option<ScheduleTime>) -> Result<Value, CtlError> {
    let mut body = Map::new();
    if args.pending {
        body.insert("restart_pending".to_owned(), json!(true));
    }
    let version = match &args.pg_version {
        None if !args.force => {
            let question = "Restart if the PostgreSQL version is less than provided (e.g. 9.5.2) ";
            context.console.prompt(question, Some(""))?
        }
        given => given.clone().unwrap_or_default(),
    };
    if !version.is_empty() {
        check_version(&version).map_err(CtlError::message)?;
        body.insert("postgres_version".to_owned(), json!(version));
    }
    if let Some(at) = scheduled {
        body.insert("schedule".to_owned(), json!(at.isoformat()));
    }
    if let Some(timeout) = &args.timeout {
        body.insert("timeout".to_owned(), json!(timeout));
    }
    Ok(Value::Object(body))
}

async fn one(context: &mut Context<'_>, args: &Restart, member: &Member, body: &Value) -> Result<(), CtlError> {
    let name = &member.name;
    if body.get("schedule").is_some() && args.force && member.data.scheduled_restart.is_some() {
        let answer = context.call(member, Method::DELETE, "restart", None, QUICK).await?;
        report(context, &answer, name.as_str(), "flush scheduled restart", true);
    }
    let answer = context.call(member, Method::POST, "restart", Some(body), LONG).await?;
    let line = match answer.status {
        200 => format!("Success: restart on member {name}"),
        202 => format!("Success: restart scheduled on member {name}"),
        409 => format!("Failed: another restart is already scheduled on member {name}"),
        status => format!("Failed: restart for member {name}, status code={status}, ({})", answer.text()),
    };
    context.console.line(&line);
    Ok(())
}
