//! Members and history of a cluster as rows.

use super::output::{Format, Rows};
use super::topology;
use crate::cluster::{Cluster, ClusterView, MemberView, Position, Positions};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Columns that are shown when somebody has something there, or when asked for.
const EXTRA: [&str; 4] = ["Pending restart", "Pending restart reason", "Scheduled restart", "Tags"];
/// Longer reasons are hidden in tables.
const REASON_LIMIT: usize = 50;

/// The members of a cluster, as `patronictl list` prints them (CTL-03, CTL-04), with the notes below the table.
#[must_use]
pub fn members(cluster: &Cluster, name: &str, extended: bool, format: Format) -> String {
    let view = ClusterView::of(cluster);
    let initialize = match cluster.initialize.as_deref() {
        None => "uninitialized",
        Some("") => "initializing",
        Some(id) => id,
    };
    let lag = if format.is_table() { ["Lag", "Lag"] } else { ["Receive Lag", "Replay Lag"] };
    let mut columns =
        vec!["Cluster", "Member", "Host", "Role", "State", "TL", "Receive LSN", lag[0], "Replay LSN", lag[1]];
    let extra: Vec<&'static str> =
        EXTRA.into_iter().filter(|c| extended || view.members.iter().any(|m| m.host.is_some() && has(m, c))).collect();
    columns.extend(&extra);
    let with_port = needs_port(&view.members);
    let notes = if format.is_table() { notes(&view) } else { String::new() };
    let members = if format == Format::Topology { topology::sort(view.members) } else { view.members };
    let rows = members.iter().map(|m| row(m, name, format, with_port, &extra)).collect();
    let title = format!(" Cluster: {name} ({initialize}) ");
    let rows = Rows { title, columns, right: &["Receive LSN", "Replay LSN", "Lag", "TL"], rows };
    format!("{}\n{notes}", rows.render(format))
}

/// The history of a cluster (CTL-20).
#[must_use]
pub fn history(cluster: &Cluster, format: Format) -> String {
    let lines = cluster.history.as_ref().map(|h| h.lines.as_slice()).unwrap_or_default();
    let rows = lines
        .iter()
        .map(|line| {
            let text = |t: &Option<String>| json!(t.as_deref().unwrap_or_default());
            vec![
                json!(line.timeline),
                json!(line.lsn),
                json!(line.reason),
                text(&line.timestamp),
                text(&line.new_leader),
            ]
        })
        .collect();
    let columns = vec!["TL", "LSN", "Reason", "Timestamp", "New Leader"];
    Rows { title: String::new(), columns, right: &["TL", "LSN"], rows }.render(format)
}

fn has(member: &MemberView, column: &str) -> bool {
    match column {
        "Pending restart" => member.pending_restart == Some(true),
        "Pending restart reason" => member.pending_restart_reason.as_ref().is_some_and(|r| !r.is_empty()),
        "Scheduled restart" => member.scheduled_restart.is_some(),
        _ => !member.tags.is_empty(),
    }
}

/// Ports are shown when one is unusual or two members share a host.
fn needs_port(members: &[MemberView]) -> bool {
    let hosts: Vec<&str> = members.iter().filter_map(|m| m.host.as_deref()).collect();
    let different: HashSet<&&str> = hosts.iter().collect();
    different.len() < hosts.len() || members.iter().any(|m| m.port.is_some_and(|p| p != 5432))
}

fn row(member: &MemberView, cluster: &str, format: Format, with_port: bool, extra: &[&str]) -> Vec<Value> {
    let host = match (&member.host, member.port) {
        (Some(host), Some(port)) if with_port => format!("{host}:{port}"),
        (host, _) => host.clone().unwrap_or_default(),
    };
    let [receive, replay] = positions(member);
    let mut row = vec![
        json!(cluster),
        json!(member.name),
        json!(host),
        json!(title_case(member.role)),
        json!(member.state),
        member.timeline.map_or_else(|| json!(""), |t| json!(t)),
    ];
    row.extend(receive);
    row.extend(replay);
    row.extend(extra.iter().map(|column| match *column {
        "Pending restart" => json!(if member.pending_restart == Some(true) { "*" } else { "" }),
        "Pending restart reason" => json!(reason(member, format)),
        "Scheduled restart" => json!(scheduled(member)),
        _ if member.tags.is_empty() => json!(""),
        _ => json!(member.tags),
    }));
    row
}

/// Received and replayed position, each with its lag in MB. Members that publish only one position are shown with it.
fn positions(member: &MemberView) -> [[Value; 2]; 2] {
    let cells = |position: Position| match position {
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some((lsn, lag)) => [json!(lsn.to_string()), json!((lag as f64 / 1_048_576.0).round_ties_even() as u64)],
        None => [json!("unknown"), json!("")],
    };
    match member.positions {
        None => [[json!(""), json!("")], [json!(""), json!("")]],
        Some(Positions { receive: None, replay: None, own }) if own.is_some() => {
            if member.state == "streaming" {
                [cells(own), cells(None)]
            } else {
                [cells(None), cells(own)]
            }
        }
        Some(Positions { receive, replay, .. }) => [cells(receive), cells(replay)],
    }
}

fn reason(member: &MemberView, format: Format) -> String {
    let reasons = member.pending_restart_reason.iter().flatten().map(|(name, change)| {
        let full = format!("{name}: {}->{}", change.old_value, change.new_value);
        if format.is_table() && full.chars().count() > REASON_LIMIT {
            format!("{name}: [hidden - too long]")
        } else {
            full
        }
    });
    reasons.collect::<Vec<_>>().join("\n")
}

fn scheduled(member: &MemberView) -> String {
    let Some(restart) = &member.scheduled_restart else { return String::new() };
    match restart.rest.get("postgres_version") {
        Some(version) => format!("{} if version < {}", restart.schedule, crate::config::python::text(version)),
        None => restart.schedule.clone(),
    }
}

fn title_case(role: &str) -> String {
    let capital = |word: &str| {
        let mut letters = word.chars();
        letters.next().map(|c| c.to_uppercase().chain(letters).collect::<String>()).unwrap_or_default()
    };
    role.split('_').map(capital).collect::<Vec<_>>().join(" ")
}

fn notes(view: &ClusterView) -> String {
    let mut out = String::new();
    if view.pause {
        out += " Maintenance mode: on\n";
    }
    if let Some(scheduled) = &view.scheduled_switchover {
        out += &format!(" Switchover scheduled at: {}\n", scheduled.at);
        for (key, name) in [("from", &scheduled.from), ("to", &scheduled.to)] {
            if let Some(name) = name {
                out += &format!("{key:>24}: {name}\n");
            }
        }
    }
    out
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
