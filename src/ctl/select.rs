//! Which members a command means.

use super::console::Console;
use super::output::Format;
use super::{CtlError, rows};
use crate::cluster::{Cluster, Member, Role};
use clap::ValueEnum;

/// `--role` (CTL-22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs)]
pub enum RoleChoice {
    Leader,
    Primary,
    StandbyLeader,
    Replica,
    Standby,
    Any,
}

impl RoleChoice {
    fn name(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Primary => "primary",
            Self::StandbyLeader => "standby-leader",
            Self::Replica => "replica",
            Self::Standby => "standby",
            Self::Any => "any",
        }
    }
}

/// All members in this role, by the store.
#[must_use]
pub fn with_role(cluster: &Cluster, role: RoleChoice) -> Vec<&Member> {
    let leader = cluster.leader_name();
    let is_leader = |m: &&Member| Some(&m.name) == leader;
    let led_by = |test: fn(Option<Role>) -> bool| {
        cluster.members.iter().filter(is_leader).filter(|m| test(m.data.role)).collect()
    };
    match role {
        RoleChoice::Leader => led_by(|_| true),
        RoleChoice::Primary => led_by(|role| role != Some(Role::StandbyLeader)),
        RoleChoice::StandbyLeader => led_by(|role| role != Some(Role::Primary)),
        RoleChoice::Replica | RoleChoice::Standby => cluster.members.iter().filter(|m| !is_leader(m)).collect(),
        RoleChoice::Any => cluster.members.iter().collect(),
    }
}

/// The members that have a REST API, the leader first (CTL-26).
#[must_use]
pub fn leader_first(cluster: &Cluster) -> Vec<&Member> {
    let mut members: Vec<&Member> = cluster.members.iter().filter(|m| m.data.api_url.is_some()).collect();
    // The sort is stable: the others keep their order.
    members.sort_by_key(|m| Some(&m.name) != cluster.leader_name());
    members
}

/// What is to be done, and to whom.
pub struct Selection<'a> {
    /// Name of the cluster.
    pub cluster_name: &'a str,
    /// Names that were given.
    pub names: &'a [String],
    /// Role that was given.
    pub role: RoleChoice,
    /// `--force`.
    pub force: bool,
    /// reload, restart, reinitialize or flush.
    pub action: &'a str,
}

/// The members that are meant; prints the cluster first, and asks when it is not clear.
///
/// # Errors
/// Nobody is meant, or somebody who is no member.
pub fn members<'c>(
    console: &mut Console,
    cluster: &'c Cluster,
    selection: &Selection<'_>,
) -> Result<Vec<&'c Member>, CtlError> {
    let Selection { cluster_name, names, role, force, action } = *selection;
    let candidates = with_role(cluster, role);
    if names.is_empty() && candidates.is_empty() {
        return Err(CtlError::message(format!("{cluster_name} cluster doesn't have any members")));
    }
    console.write(&rows::members(cluster, cluster_name, false, Format::Pretty));
    let is_candidate = |name: &str| candidates.iter().any(|m| m.name.as_str() == name);
    if !names.is_empty() {
        let chosen: Vec<&Member> =
            candidates.iter().copied().filter(|m| names.iter().any(|n| n == m.name.as_str())).collect();
        if chosen.is_empty() {
            // A role from the command line stands in quotes, the fixed one of reinit does not.
            let role = if action == "reinitialize" { role.name().to_owned() } else { format!("'{}'", role.name()) };
            return Err(CtlError::message(format!("No {role} among provided members")));
        }
        return Ok(chosen);
    }
    if action != "reinitialize" {
        return Ok(candidates);
    }
    if force {
        return Ok(Vec::new());
    }
    let list: Vec<&str> = candidates.iter().map(|m| m.name.as_str()).collect();
    let question = format!("Which member do you want to {action} [{}]?", list.join(", "));
    let name = console.prompt(&question, Some(""))?;
    if !is_candidate(&name) {
        return Err(CtlError::message(format!("{name} is not a member of cluster")));
    }
    Ok(candidates.into_iter().filter(|m| m.name.as_str() == name).collect())
}

/// Asks whether to go on with these members.
///
/// # Errors
/// No.
pub fn confirm(console: &mut Console, members: &[&Member], force: bool, action: &str) -> Result<(), CtlError> {
    if force || console.confirm(&format!("Are you sure you want to {action} members {}?", names(members)))? {
        return Ok(());
    }
    Err(CtlError::message(format!("Aborted {action}")))
}

/// The names with commas.
#[must_use]
pub fn names(members: &[&Member]) -> String {
    members.iter().map(|m| m.name.as_str()).collect::<Vec<_>>().join(", ")
}
