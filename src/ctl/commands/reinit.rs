//! `patronictl reinit` (CTL-11).

use super::report;
use crate::cluster::{Member, PgState};
use crate::ctl::CtlError;
use crate::ctl::args::Reinit;
use crate::ctl::context::{Context, QUICK};
use crate::ctl::select::{self, RoleChoice, Selection};
use hyper::Method;
use serde_json::json;
use std::time::Duration;

/// How often members are looked at with `--wait`.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks members to copy their data anew.
pub async fn run(context: &mut Context<'_>, args: &Reinit) -> Result<(), CtlError> {
    let cluster = context.load(&args.cluster_name).await?;
    let selection = Selection {
        cluster_name: &args.cluster_name,
        names: &args.member_names,
        role: RoleChoice::Replica,
        force: args.force,
        action: "reinitialize",
    };
    let members = select::members(context.console, &cluster, &selection)?;
    select::confirm(context.console, &members, args.force, "reinitialize")?;
    let mut started = Vec::new();
    for member in members {
        if start(context, args, member).await? && args.wait {
            started.push(member);
        }
    }
    wait(context, started).await
}

/// Starts it on one member; offers to cancel what runs there.
async fn start(context: &mut Context<'_>, args: &Reinit, member: &Member) -> Result<bool, CtlError> {
    let mut force = args.force;
    loop {
        let body = json!({"force": force, "from_leader": args.from_leader});
        let answer = context.call(member, Method::POST, "reinitialize", Some(&body), QUICK).await?;
        if report(context, &answer, member.name.as_str(), "reinitialize", false) {
            return Ok(true);
        }
        let busy = answer.text().ends_with(" already in progress");
        if force || !busy || !context.console.confirm("Do you want to cancel it and reinitialize anyway?")? {
            return Ok(false);
        }
        force = true;
    }
}

async fn wait(context: &mut Context<'_>, mut members: Vec<&Member>) -> Result<(), CtlError> {
    let mut shown = 0;
    while !members.is_empty() {
        if members.len() != shown {
            let names = select::names(&members);
            context.console.line(&format!("Waiting for reinitialize to complete on: {names}"));
            shown = members.len();
        }
        tokio::time::sleep(LOOK_EVERY).await;
        let mut left = Vec::new();
        for member in members {
            let answer = context.call(member, Method::GET, "patroni", None, QUICK).await?;
            let state = answer.json().and_then(|j| Some(j.get("state")?.as_str()?.to_owned()));
            if state.as_deref() == Some(PgState::CreatingReplica.as_str()) {
                left.push(member);
            } else {
                context.console.line(&format!("Reinitialize is completed on: {}", member.name));
            }
        }
        members = left;
    }
    Ok(())
}
