//! Questions that a view of the cluster answers by itself.

use super::{Cluster, Member, PgState, Role, Upstream, conn_kwargs};
use indexmap::IndexMap;

impl Cluster {
    /// Whether the store holds nothing of this cluster.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The member with this name, else the one that holds the lock.
    #[must_use]
    pub fn member_or_leader(&self, name: &str) -> Option<&Member> {
        self.member(name).or_else(|| self.leader_member())
    }

    /// From whom `exclude` should copy: one of the running members that ask for it (`clonefrom`), neither `exclude` nor
    /// the leader; `pick` chooses among them (any number). Without such members the leader.
    #[must_use]
    pub fn clone_member(&self, exclude: &str, pick: usize) -> Option<&Member> {
        let leader = self.leader_name();
        let willing = |m: &&Member| m.clonefrom() && m.is_running() && m.name != *exclude && leader != Some(&m.name);
        let candidates: Vec<&Member> = self.members.iter().filter(willing).collect();
        let picked = pick.checked_rem(candidates.len()).and_then(|index| candidates.get(index).copied());
        picked.or_else(|| self.leader_member())
    }

    /// The oldest agent among the members that say their version.
    #[must_use]
    pub fn min_version(&self) -> Option<Vec<u32>> {
        self.members.iter().filter_map(Member::version).min()
    }
}

impl Member {
    /// Whether its server accepts connections, by its own word.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.data.state == Some(PgState::Running)
    }

    /// Whether it says to run as primary.
    #[must_use]
    pub fn is_primary(&self) -> bool {
        self.data.role == Some(Role::Primary)
    }

    /// Whether it wants to be copied from and says where.
    #[must_use]
    pub fn clonefrom(&self) -> bool {
        self.data.tags.clonefrom() && self.data.conn_url.is_some()
    }

    /// The version of its agent as numbers, when it is such.
    #[must_use]
    pub fn version(&self) -> Option<Vec<u32>> {
        self.data.version.as_deref()?.split('.').map(|part| part.parse().ok()).collect()
    }

    /// libpq keywords of its server: `host`, `port`, `dbname` and whatever else its URL has.
    #[must_use]
    pub fn conn_kwargs(&self) -> Option<IndexMap<String, String>> {
        conn_kwargs(self.data.conn_url.as_deref()?)
    }

    /// The member as a server to stream from. `None` when it does not say where its server is.
    #[must_use]
    pub fn upstream(&self, slot: Option<String>) -> Option<Upstream> {
        let mut conn = self.conn_kwargs()?;
        // The replication user logs in, and to no database.
        conn.retain(|keyword, _| !matches!(keyword.as_str(), "dbname" | "user" | "password"));
        Some(Upstream { name: self.name.to_string(), conn, slot, recovery: IndexMap::new(), is_member: true })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::{Leader, MemberData, MemberTags, Revision};
    use serde_json::json;

    fn member(name: &str, clonefrom: bool, state: PgState) -> Member {
        Member {
            name: name.into(),
            revision: Revision(1),
            own_session: false,
            data: MemberData {
                conn_url: Some(format!("postgres://{name}:5433/postgres")),
                state: Some(state),
                tags: MemberTags(json!({"clonefrom": clonefrom}).as_object().cloned().unwrap()),
                ..MemberData::default()
            },
        }
    }

    fn cluster() -> Cluster {
        Cluster {
            leader: Some(Leader { name: "a".into(), own_session: false, revision: Revision(1) }),
            members: vec![
                member("a", true, PgState::Running),
                member("b", true, PgState::Running),
                member("c", true, PgState::Stopped),
                member("d", false, PgState::Running),
                member("e", true, PgState::Running),
            ],
            ..Cluster::default()
        }
    }

    #[test]
    fn copies_come_from_a_willing_running_member_else_from_the_leader() {
        let c = cluster();
        let name = |exclude, pick| c.clone_member(exclude, pick).map(|m| m.name.to_string());
        assert_eq!(name("x", 0).as_deref(), Some("b"));
        assert_eq!(name("x", 1).as_deref(), Some("e"));
        assert_eq!(name("x", usize::MAX).as_deref(), Some("e"));
        assert_eq!(name("b", 0).as_deref(), Some("e"));
        let lonely = Cluster { members: c.members[..1].to_vec(), ..c.clone() };
        assert_eq!(lonely.clone_member("x", 5).map(|m| m.name.as_str()), Some("a"));
        assert_eq!(Cluster::default().clone_member("x", 0), None);
        assert_eq!(c.member_or_leader("zzz").map(|m| m.name.as_str()), Some("a"));
    }

    #[test]
    fn a_member_is_an_upstream_by_host_and_port() {
        let upstream = member("b", false, PgState::Running).upstream(Some("s".into())).unwrap();
        assert_eq!(serde_json::to_string(&upstream.conn).unwrap(), r#"{"host":"b","port":"5433"}"#);
        assert!(upstream.is_member && upstream.slot.as_deref() == Some("s"));
    }

    #[test]
    fn the_oldest_agent_is_found() {
        let mut c = cluster();
        for (m, version) in c.members.iter_mut().zip(["4.1.5", "2.0.2", "4.0", "x.1", "3.3.2"]) {
            m.data.version = Some(version.into());
        }
        assert_eq!(c.min_version(), Some(vec![2, 0, 2]));
        assert_eq!(Cluster::default().min_version(), None);
    }
}
