//! Members as a tree of who streams from whom.

use crate::cluster::MemberView;
use std::collections::HashSet;

/// Members below the one they stream from, their names indented. A member whose upstream is unknown stands below the
/// leader; members that stream from each other in a ring are left out.
#[must_use]
pub fn sort(members: Vec<MemberView>) -> Vec<MemberView> {
    let leader = members.iter().find(|m| m.is_leader()).cloned();
    let replicas: HashSet<String> = members.iter().filter(|m| !m.is_leader()).map(|m| m.name.clone()).collect();
    let parents: Vec<(Option<String>, MemberView)> = members
        .into_iter()
        .filter(|m| !m.is_leader())
        .map(|member| {
            let upstream = member.tags.get("replicatefrom").and_then(|v| v.as_str());
            let upstream = upstream.filter(|u| *u != member.name && replicas.contains(*u)).map(str::to_owned);
            (upstream.or_else(|| leader.as_ref().map(|l| l.name.clone())), member)
        })
        .collect();
    let mut out = Vec::new();
    let root = leader.as_ref().map(|l| l.name.clone());
    out.extend(leader);
    add_children(&mut out, root.as_deref(), 1, &parents);
    out
}

fn add_children(
    out: &mut Vec<MemberView>,
    parent: Option<&str>,
    level: usize,
    parents: &[(Option<String>, MemberView)],
) {
    for (_, child) in parents.iter().filter(|(p, _)| p.as_deref() == parent) {
        let name = format!("{}+ {}", " ".repeat((level - 1) * 2), child.name);
        out.push(MemberView { name, ..child.clone() });
        add_children(out, Some(&child.name), level + 1, parents);
    }
}
