//! `patronictl remove` (CTL-08).

use crate::ctl::args::Remove;
use crate::ctl::context::{Context, store_error};
use crate::ctl::{CtlError, rows};

/// Deletes every key of the cluster, after questions that no option skips.
pub async fn run(context: &mut Context<'_>, args: &Remove) -> Result<(), CtlError> {
    let name = &args.cluster_name;
    let cluster = context.load(name).await?;
    context.console.write(&rows::members(&cluster, name, false, args.format));
    if context.console.prompt("Please confirm the cluster name to remove", None)? != *name {
        return Err(CtlError::message("Cluster names specified do not match"));
    }
    let wanted = "Yes I am aware";
    let question = format!("You are about to remove all information in DCS for {name}, please type: \"{wanted}\"");
    if context.console.prompt(&question, None)? != wanted {
        return Err(CtlError::message(format!("You did not exactly type \"{wanted}\"")));
    }
    if let Some(leader) = cluster.leader_name() {
        let question = "This cluster currently is healthy. Please specify the leader name to continue";
        if context.console.prompt(question, None)? != leader.as_str() {
            return Err(CtlError::message("You did not specify the current leader of the cluster"));
        }
    }
    let store = context.store(name)?;
    store.delete_cluster(context.budget()).await.map_err(store_error)
}
