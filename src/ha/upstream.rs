//! Whom to stream from, and whom to copy.

use super::View;
use crate::cluster::{Cluster, Member, PgState, Role, Upstream, conn_kwargs, slot_name};
use indexmap::IndexMap;

/// What the server of the remote cluster is called in log lines.
const REMOTE: &str = "remote_member";

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

/// The server that a standby cluster follows (ha-rules 20); `None`: this is none. Without host and port it has no
/// connection, and all WAL comes from the archive.
#[must_use]
pub fn to_remote(view: &View) -> Option<Upstream> {
    let section = view.global.standby_cluster.as_ref()?;
    let address = [("host", &section.host), ("port", &section.port)];
    let slot = section.primary_slot_name.as_deref().filter(|_| view.global.use_slots);
    let mut recovery = archive(view);
    recovery.extend(given([("recovery_min_apply_delay", &section.recovery_min_apply_delay)]));
    let conn = given(address).collect();
    Some(Upstream { name: REMOTE.to_owned(), conn, slot: slot.map(slot_name), recovery, is_member: false })
}

/// How every member of a standby cluster gets at the remote archive.
fn archive(view: &View) -> IndexMap<String, String> {
    let section = view.global.standby_cluster.as_ref();
    let commands = section.map(|s| {
        given([("restore_command", &s.restore_command), ("archive_cleanup_command", &s.archive_cleanup_command)])
    });
    commands.into_iter().flatten().collect()
}

fn given<const N: usize>(pairs: [(&str, &Option<String>); N]) -> impl Iterator<Item = (String, String)> {
    pairs.map(|(key, value)| value.clone().map(|value| (key.to_owned(), value))).into_iter().flatten()
}

/// Whom I should follow (ha-rules 12): nobody with `nostream`; in a standby cluster the remote server, if I lead or, but
/// not in pause, nobody does; the member of `replicatefrom` when it has a key; else the leader. Never myself.
#[must_use]
pub fn to_follow(view: &View, cluster: &Cluster) -> Option<Upstream> {
    if view.me.tags.nostream() {
        return None;
    }
    let i_lead = cluster.leader_name().is_some_and(|name| *name == view.me.name.as_str());
    let nobody_leads = cluster.leader_name().is_none() && !view.global.pause;
    if view.global.standby_cluster.is_some() && (i_lead || nobody_leads) {
        return to_remote(view);
    }
    let preferred = view.me.tags.replicatefrom().filter(|name| *name != view.me.name);
    let member = preferred.and_then(|name| cluster.member(name)).or_else(|| cluster.leader_member())?;
    if member.name == view.me.name.as_str() {
        return None;
    }
    to_member(member, view).map(|upstream| Upstream { recovery: archive(view), ..upstream })
}

/// The role of who follows this server.
#[must_use]
pub fn role(whom: Option<&Upstream>, has_lock: bool) -> Role {
    if has_lock && whom.is_some_and(|upstream| !upstream.is_member) { Role::StandbyLeader } else { Role::Replica }
}

/// The other side of a divergence check or rewind: the remote server in a standby cluster, whoever leads here; else the
/// leader, with what it publishes. `None`: there is none that could be asked.
#[must_use]
pub fn to_compare(view: &View, cluster: &Cluster) -> Option<(Option<Member>, Upstream)> {
    if view.global.standby_cluster.is_some() {
        let remote = to_remote(view).filter(|remote| !remote.conn.is_empty())?;
        return Some((None, Upstream { slot: None, ..remote }));
    }
    to_leader(view, cluster).map(|(member, upstream)| (Some(member.clone()), upstream))
}

/// The leader as a source of whatever it has; never myself.
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
