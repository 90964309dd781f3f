//! `patronictl flush`: forgets scheduled restarts or the scheduled switchover (CTL-15).

use super::report;
use crate::cluster::Cluster;
use crate::ctl::CtlError;
use crate::ctl::args::Flush;
use crate::ctl::context::{Context, QUICK, store_error};
use crate::ctl::select::{self, Selection};
use crate::dcs::FailoverRequest;
use hyper::Method;

/// The last argument names what is forgotten.
pub async fn run(context: &mut Context<'_>, args: &Flush) -> Result<(), CtlError> {
    let (target, names) = args.members_and_target.split_last().unzip();
    let target = target.map_or("", String::as_str);
    if !matches!(target, "restart" | "switchover") {
        let wrong = format!("Invalid value for 'TARGET': '{target}' is not one of 'restart', 'switchover'.");
        return Err(CtlError::Usage(wrong));
    }
    let cluster = context.load(&args.cluster_name).await?;
    if target == "restart" {
        restarts(context, args, names.unwrap_or_default(), &cluster).await
    } else {
        switchover(context, args, &cluster).await
    }
}

async fn restarts(
    context: &mut Context<'_>,
    args: &Flush,
    names: &[String],
    cluster: &Cluster,
) -> Result<(), CtlError> {
    let (cluster_name, role, force) = (args.cluster_name.as_str(), args.role, args.force);
    let selection = Selection { cluster_name, names, role, force, action: "flush" };
    let members = select::members(context.console, cluster, &selection)?;
    select::confirm(context.console, &members, force, "flush")?;
    for member in members {
        if member.data.scheduled_restart.is_some() {
            let answer = context.call(member, Method::DELETE, "restart", None, QUICK).await?;
            report(context, &answer, member.name.as_str(), "flush scheduled restart", false);
        } else {
            context.console.line(&format!("No scheduled restart for member {}", member.name));
        }
    }
    Ok(())
}

async fn switchover(context: &mut Context<'_>, args: &Flush, cluster: &Cluster) -> Result<(), CtlError> {
    let Some(failover) = cluster.failover.as_ref().filter(|f| f.scheduled_at.is_some()) else {
        context.console.line("No pending scheduled switchover");
        return Ok(());
    };
    for member in select::leader_first(cluster) {
        match context.request(member, Method::DELETE, "switchover", None, QUICK).await {
            Ok(answer) if matches!(answer.status, 200 | 404) => {
                let prefix = if answer.status == 200 { "Success" } else { "Failed" };
                context.console.line(&format!("{prefix}: {}", answer.text()));
                return Ok(());
            }
            Ok(answer) => {
                let (name, status, text) = (&member.name, answer.status, answer.text());
                context.console.line(&format!("Failed: member={name}, status_code={status}, ({text})"));
            }
            Err(error) => {
                tracing::warn!("{error}");
                tracing::warn!("Member {} is not accessible", member.name);
            }
        }
    }
    tracing::warn!("Failing over to DCS");
    let (now, name) = (context.timestamp(true), &args.cluster_name);
    context.console.line(&format!("{now} Could not find any accessible member of cluster {name}"));
    let store = context.store(name)?;
    let empty = FailoverRequest::default();
    store.write_failover(&empty, Some(failover.revision), context.budget()).await.map_err(store_error)
}
