//! Whom to stream from, whom to copy, and under which slot name.

use super::{View, tags};
use crate::cluster::{Cluster, Member, PgState, Upstream};
use indexmap::IndexMap;

/// The name of a member's slot: lower case, `-` and `.` become `_`, other characters `u` and four digits or more of
/// their code point, 63 characters at most.
#[must_use]
pub fn slot_name(member: &str) -> String {
    let mut name = String::new();
    for c in member.to_lowercase().chars() {
        match c {
            'a'..='z' | '0'..='9' | '_' => name.push(c),
            '-' | '.' => name.push('_'),
            other => name.push_str(&format!("u{:04}", u32::from(other))),
        }
    }
    name.chars().take(63).collect()
}

/// The connection to a member of this cluster; `None` when its key has no usable `conn_url`.
#[must_use]
pub fn to_member(member: &Member, view: &View) -> Option<Upstream> {
    Some(Upstream {
        name: member.name.as_str().to_owned(),
        conn: conn_of(member.data.conn_url.as_deref()?)?,
        slot: view.global.use_slots.then(|| slot_name(&view.me.name)),
        recovery: IndexMap::new(),
        is_member: true,
    })
}

/// Whom I should follow (ha-rules 12): nobody with `nostream`; the member of `replicatefrom` when it has a key; else
/// the leader. Never myself.
#[must_use]
pub fn to_follow(view: &View, cluster: &Cluster) -> Option<Upstream> {
    if tags::nostream(&view.me.tags) {
        return None;
    }
    let preferred = tags::replicatefrom(&view.me.tags).filter(|name| *name != view.me.name);
    let member = preferred.and_then(|name| cluster.member(name)).or_else(|| cluster.leader_member())?;
    if member.name == view.me.name.as_str() { None } else { to_member(member, view) }
}

/// The leader as the other side of a divergence check or rewind; never myself.
#[must_use]
pub fn to_leader<'c>(view: &View, cluster: &'c Cluster) -> Option<(&'c Member, Upstream)> {
    let member = cluster.leader_member().filter(|m| m.name != view.me.name.as_str())?;
    to_member(member, view).map(|upstream| (member, Upstream { slot: None, ..upstream }))
}

/// Whom to copy (BOOT-13): one of the running members that offer it, else the leader. The number of the cycle picks
/// among several. Returns the words for the log with it.
#[must_use]
pub fn to_clone(view: &View, cluster: &Cluster, from_leader: bool) -> Option<(String, Upstream)> {
    let leader = cluster.leader_name();
    let offers = |m: &&Member| {
        tags::clonefrom(&m.data.tags)
            && m.data.state == Some(PgState::Running)
            && m.name != view.me.name.as_str()
            && Some(&m.name) != leader
            && to_member(m, view).is_some()
    };
    let offering: Vec<&Member> = if from_leader { Vec::new() } else { cluster.members.iter().filter(offers).collect() };
    let picked = usize::try_from(view.cycle).unwrap_or(0).checked_rem(offering.len()).and_then(|i| offering.get(i));
    match picked {
        Some(member) => Some((format!("from replica '{}'", member.name), to_member(member, view)?)),
        None => {
            let member = cluster.leader_member().filter(|m| m.name != view.me.name.as_str())?;
            Some((format!("from leader '{}'", member.name), to_member(member, view)?))
        }
    }
}

/// Host, port and database of `postgres://host:port/database`; hosts may be IPv6 addresses in brackets.
fn conn_of(url: &str) -> Option<IndexMap<String, String>> {
    let (_, rest) = url.split_once("://")?;
    let rest = rest.split(['?', '#']).next()?;
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let address = authority.rsplit_once('@').map_or(authority, |(_, address)| address);
    let (host, port) = match address.strip_prefix('[') {
        Some(bracketed) => {
            let (host, after) = bracketed.split_once(']')?;
            (host, after.strip_prefix(':').unwrap_or(""))
        }
        None => address.rsplit_once(':').unwrap_or((address, "")),
    };
    if host.is_empty() {
        return None;
    }
    let port = if port.is_empty() { "5432" } else { port };
    let mut conn = IndexMap::from([("host".to_owned(), host.to_lowercase()), ("port".to_owned(), port.to_owned())]);
    if !database.is_empty() {
        conn.insert("dbname".to_owned(), database.to_owned());
    }
    Some(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_names_are_those_of_the_original() {
        for (member, slot) in [
            ("postgresql0", "postgresql0"),
            ("Node-1.example", "node_1_example"),
            ("a b", "au0032b"),
            ("ä", "u0228"),
            (&"x".repeat(70), &"x".repeat(63)),
        ] {
            assert_eq!(slot_name(member), slot);
        }
    }

    #[test]
    fn connection_urls_are_taken_apart() {
        for (url, host, port, database) in [
            ("postgres://127.0.0.1:5433/postgres", "127.0.0.1", "5433", Some("postgres")),
            ("postgres://[::1]:5434/db", "::1", "5434", Some("db")),
            ("postgres://Host/db", "host", "5432", Some("db")),
            ("postgres://host:5432", "host", "5432", None),
            ("postgres://u:p@host:1/d?application_name=x", "host", "1", Some("d")),
        ] {
            let conn = conn_of(url).unwrap();
            let get = |key: &str| conn.get(key).map(String::as_str);
            assert_eq!((get("host"), get("port"), get("dbname")), (Some(host), Some(port), database), "{url}");
        }
        for bad in ["", "host:5432", "postgres://", "postgres://:5432/x", "postgres://[::1/x"] {
            assert_eq!(conn_of(bad), None, "{bad}");
        }
    }
}
