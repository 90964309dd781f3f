//! Whom to stream from, and whom to copy.

use super::View;
use crate::cluster::{Cluster, Member, PgState, Upstream, conn_kwargs, slot_name};
use indexmap::IndexMap;

/// The connection to a member of this cluster; `None` when its key has no usable `conn_url`.
#[must_use]
pub fn to_member(member: &Member, view: &View) -> Option<Upstream> {
    Some(Upstream {
        name: member.name.as_str().to_owned(),
        conn: address(member.data.conn_url.as_deref()?)?,
        slot: view.global.use_slots.then(|| slot_name(&view.me.name)),
        recovery: IndexMap::new(),
        is_member: true,
    })
}

/// Whom I should follow (ha-rules 12): nobody with `nostream`; the member of `replicatefrom` when it has a key; else
/// the leader. Never myself.
#[must_use]
pub fn to_follow(view: &View, cluster: &Cluster) -> Option<Upstream> {
    if view.me.tags.nostream() {
        return None;
    }
    let preferred = view.me.tags.replicatefrom().filter(|name| *name != view.me.name);
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
        m.data.tags.clonefrom()
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

/// Host, port and database of a member's URL: as whom and how to connect is for our own settings to say.
fn address(url: &str) -> Option<IndexMap<String, String>> {
    let mut conn = conn_kwargs(url)?;
    conn.retain(|keyword, _| matches!(keyword.as_str(), "host" | "port" | "dbname"));
    conn.get_mut("host")?.make_ascii_lowercase();
    Some(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_and_not_as_whom() {
        let conn = address("postgres://u:p@Host:1/d?sslmode=disable").unwrap();
        let expected = [("host", "host"), ("port", "1"), ("dbname", "d")];
        assert_eq!(conn, expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into_iter().collect::<IndexMap<_, _>>());
        assert_eq!(address("host:5432"), None);
    }
}
