//! One file a command.

mod cluster_role;
mod config;
mod dsn;
mod flush;
mod list;
mod pause;
mod reinit;
mod reload;
mod remove;
mod restart;
mod switchover;
mod version;

use super::args::Command;
use super::context::Context;
use super::{CtlError, rows};
use crate::net::http::HttpResponse;

/// Carries a command out.
///
/// # Errors
/// As the command tells.
pub async fn run(command: &Command, context: &mut Context<'_>) -> Result<(), CtlError> {
    match command {
        Command::Dsn(args) => dsn::run(context, args).await,
        Command::EditConfig(args) => config::edit(context, args).await,
        Command::Failover(args) => switchover::failover(context, args).await,
        Command::Flush(args) => flush::run(context, args).await,
        Command::History(args) => {
            let name = context.cluster_name(args.cluster_name.as_ref())?;
            let text = rows::history(&context.load(&name).await?, args.format);
            context.console.line(&text);
            Ok(())
        }
        Command::List(args) => list::list(context, args).await,
        Command::Pause(args) => pause::run(context, args, true).await,
        Command::Query(_) => unsupported("query"),
        Command::DemoteCluster(args) => cluster_role::demote(context, args).await,
        Command::PromoteCluster(args) => cluster_role::promote(context, args).await,
        Command::Reinit(args) => reinit::run(context, args).await,
        Command::Reload(args) => reload::run(context, args).await,
        Command::Remove(args) => remove::run(context, args).await,
        Command::Restart(args) => restart::run(context, args).await,
        Command::Resume(args) => pause::run(context, args, false).await,
        Command::ShowConfig(args) => config::show(context, args).await,
        Command::Switchover(args) => switchover::switchover(context, args).await,
        Command::Topology(args) => list::topology(context, args).await,
        Command::Version(args) => version::run(context, args).await,
    }
}

fn unsupported(command: &str) -> Result<(), CtlError> {
    Err(CtlError::message(format!("{command} is not supported yet")))
}

/// Prints how a request to a member ended; returns whether it was accepted.
fn report(context: &mut Context<'_>, answer: &HttpResponse, member: &str, action: &str, quiet: bool) -> bool {
    if answer.status >= 400 {
        let (status, text) = (answer.status, answer.text());
        context.console.line(&format!("Failed: {action} for member {member}, status code={status}, ({text})"));
        return false;
    }
    if !quiet {
        context.console.line(&format!("Success: {action} for member {member}"));
    }
    true
}

#[cfg(test)]
#[path = "../commands_tests.rs"]
mod tests;
