//! `patronictl dsn` (CTL-06).

use crate::cluster::host_and_port;
use crate::ctl::CtlError;
use crate::ctl::args::Dsn;
use crate::ctl::context::Context;
use crate::ctl::select::{self, RoleChoice};

/// Prints host and port of a member.
pub async fn run(context: &mut Context<'_>, args: &Dsn) -> Result<(), CtlError> {
    if args.member.is_some() && args.role.is_some() {
        return Err(CtlError::message("--role and --member are mutually exclusive options"));
    }
    let name = context.cluster_name(args.cluster_name.as_ref())?;
    let cluster = context.load(&name).await?;
    let role = args.role.unwrap_or(if args.member.is_some() { RoleChoice::Any } else { RoleChoice::Leader });
    let wanted = |name: &str| args.member.as_deref().is_none_or(|m| m == name);
    let member = select::with_role(&cluster, role).into_iter().find(|m| wanted(m.name.as_str()));
    let place = member.and_then(|m| m.data.conn_url.as_deref()).map(host_and_port);
    let Some((Some(host), Some(port))) = place else {
        return Err(CtlError::message("Can not find a suitable member"));
    };
    context.console.line(&format!("host={host} port={port}"));
    Ok(())
}
