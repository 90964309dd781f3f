//! `patronictl reload` (CTL-09).

use crate::ctl::CtlError;
use crate::ctl::args::Reload;
use crate::ctl::context::{Context, QUICK};
use crate::ctl::select::{self, Selection};
use hyper::Method;

/// Asks members to read their local configuration again.
pub async fn run(context: &mut Context<'_>, args: &Reload) -> Result<(), CtlError> {
    let cluster = context.load(&args.cluster_name).await?;
    let selection = Selection {
        cluster_name: &args.cluster_name,
        names: &args.member_names,
        role: args.role,
        force: args.force,
        action: "reload",
    };
    let members = select::members(context.console, &cluster, &selection)?;
    select::confirm(context.console, &members, args.force, "reload")?;
    let seconds = context.loop_wait(&cluster).as_secs();
    for member in members {
        let (name, answer) = (&member.name, context.call(member, Method::POST, "reload", None, QUICK).await?);
        let line = match answer.status {
            200 => format!("No changes to apply on member {name}"),
            202 => format!("Reload request received for member {name} and will be processed within {seconds} seconds"),
            status => format!("Failed: reload for member {name}, status code={status}, ({})", answer.text()),
        };
        context.console.line(&line);
    }
    Ok(())
}
