//! Named facts of a view, computed once: what rules ask about.

use super::View;
use crate::cluster::{Cluster, DataDir, PgState, Readiness, Role};
use crate::types::{Lsn, PgVersion, SystemId, Timeline};

/// The facts of one view and one reading of the store.
#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    /// The cluster is paused.
    pub paused: bool,
    /// A postmaster lives.
    pub running: bool,
    /// It does not accept connections yet.
    pub starting: bool,
    /// It is a primary: by its answer, else by the role it had.
    pub is_primary: bool,
    /// The view says that the leader key is mine.
    pub has_lock: bool,
    /// Nobody holds the leader key.
    pub unlocked: bool,
    /// Who holds it.
    pub leader: Option<String>,
    /// Timeline that the leader publishes.
    pub leader_timeline: Option<Timeline>,
    /// Timeline of the cluster by its history (0: unknown).
    pub cluster_timeline: Timeline,
    /// My position, when the server answers.
    pub position: Option<Lsn>,
    /// Version of my server or of its data directory.
    pub version: Option<PgVersion>,
    /// System identifier of my data directory.
    pub system_id: Option<SystemId>,
    /// I must never lead.
    pub nofailover: bool,
    /// pg_rewind is allowed, there, and possible with this data directory (REW-01).
    pub can_rewind: bool,
    /// A diverged data directory may be rewound or made anew.
    pub can_repair: bool,
    /// The settings ask for pg_rewind or a new copy where histories diverge. Whether that works may not be known yet.
    pub wants_repair: bool,
    /// The leader flag: the right to lead has not run out.
    pub is_leader: bool,
}

impl Facts {
    /// Looks at a view, with `cluster` as the newest reading of the store and `role` as published now.
    #[must_use]
    pub fn new(view: &View, cluster: &Cluster, role: Role) -> Self {
        let server = &view.server;
        let running = server.facts.postmaster.is_some();
        let in_start = matches!(server.state, PgState::Starting | PgState::BootstrapStarting);
        let leader = cluster.leader_name().map(|name| name.as_str().to_owned());
        let control = server.facts.control.as_ref();
        let rewindable = control.is_some_and(|c| c.wal_log_hints || c.checksums);
        let can_rewind = view.global.use_pg_rewind && server.pg_rewind_works && rewindable;
        Self {
            paused: view.global.pause,
            running,
            starting: running && in_start && server.readiness != Readiness::Accepting,
            is_primary: running
                && view.status.as_ref().map_or(matches!(role, Role::Primary | Role::Promoted), |s| !s.in_recovery),
            has_lock: leader.as_deref() == Some(view.me.name.as_str()),
            unlocked: leader.is_none(),
            leader_timeline: cluster.leader_member().and_then(|m| m.data.timeline).filter(|t| t.0 > 0),
            leader,
            cluster_timeline: cluster.timeline(),
            position: view.status.as_ref().map(crate::cluster::NodeStatus::position),
            version: server.version.or(match &server.facts.data_dir {
                DataDir::Present(version) => *version,
                DataDir::Empty | DataDir::Inaccessible(_) => None,
            }),
            system_id: control.and_then(|c| c.system_id),
            nofailover: view.me.tags.nofailover(),
            can_rewind,
            wants_repair: view.global.use_pg_rewind || view.global.remove_data_directory_on_diverged_timelines,
            can_repair: can_rewind || view.global.remove_data_directory_on_diverged_timelines,
            is_leader: view.memory.leads_until().is_some_and(|until| until > view.now),
        }
    }

    /// Whether the server is of this version or newer; unknown counts as new.
    #[must_use]
    pub fn version_at_least(&self, number: u32) -> bool {
        self.version.is_none_or(|v| v.at_least(number))
    }
}
