//! `patronictl pause` and `patronictl resume` (CTL-16).

use crate::cluster::{Cluster, Member, Modes};
use crate::ctl::CtlError;
use crate::ctl::args::Pause;
use crate::ctl::context::{Context, QUICK};
use crate::ctl::select;
use hyper::Method;
use serde_json::json;
use std::time::Duration;

/// How often the members are looked at with `--wait`.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Sets or removes `pause` through the first member that answers.
pub async fn run(context: &mut Context<'_>, args: &Pause, pause: bool) -> Result<(), CtlError> {
    let name = context.cluster_name(args.cluster_name.as_ref())?;
    let cluster = context.load(&name).await?;
    if Modes::of(&cluster).paused == pause {
        let word = if pause { "already" } else { "not" };
        return Err(CtlError::message(format!("Cluster is {word} paused")));
    }
    let body = json!({"pause": pause.then_some(true)});
    for member in select::leader_first(&cluster) {
        match context.request(member, Method::PATCH, "config", Some(&body), QUICK).await {
            Ok(answer) if answer.status == 200 && args.wait => return wait(context, &name, &cluster, pause).await,
            Ok(answer) if answer.status == 200 => success(context, pause),
            Ok(answer) => {
                let (word, status, text) = (if pause { "pause" } else { "resume" }, answer.status, answer.text());
                context.console.line(&format!("Failed: {word} cluster management status code={status}, ({text})"));
            }
            Err(error) => {
                tracing::warn!("{error}");
                tracing::warn!("Member {} is not accessible", member.name);
                continue;
            }
        }
        return Ok(());
    }
    Err(CtlError::message("Can not find accessible cluster member"))
}

fn success(context: &mut Context<'_>, pause: bool) {
    let word = if pause { "paused" } else { "resumed" };
    context.console.line(&format!("Success: cluster management is {word}"));
}

/// Waits until every member that was there has published the new state.
async fn wait(context: &mut Context<'_>, name: &str, before: &Cluster, pause: bool) -> Result<(), CtlError> {
    let word = if pause { "pause" } else { "resume" };
    context.console.line(&format!("'{word}' request sent, waiting until it is recognized by all nodes"));
    let loop_wait = context.loop_wait(before);
    let end = context.clock.mono() + loop_wait + Duration::from_secs(1);
    let known = |m: &Member| before.member(m.name.as_str()).filter(|k| k.data.api_url.is_some());
    loop {
        let cluster = context.load(name).await?;
        let members = cluster.members.iter();
        let mut late: Vec<&Member> =
            members.filter(|m| known(m).is_some() && m.data.pause.unwrap_or(false) != pause).collect();
        if late.is_empty() {
            break;
        }
        if context.clock.mono() >= end {
            // A member that has written nothing since is taken for dead.
            late.retain(|m| known(m).is_some_and(|k| k.revision != m.revision));
            if late.is_empty() {
                break;
            }
            let (names, seconds) = (select::names(&late), loop_wait.as_secs());
            context.console.line(&format!("{names} members didn't recognized pause state after {seconds} seconds"));
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    success(context, pause);
    Ok(())
}
