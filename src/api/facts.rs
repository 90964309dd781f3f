//! What one request sees of the agent: a snapshot and the server's last answer, read once for codes and bodies.

use super::Snapshot;
use crate::cluster::{Cluster, MemberTags, NodeStatus, PgState, Role};
use crate::config::settings::SynchronousMode;
use crate::types::{Lsn, Mono, Timeline};
use serde_json::{Map, Value};
use std::sync::Arc;

/// The agent's state at one moment.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// The server's answer; `None` when it does not answer or is in no state to.
    pub status: Option<Arc<NodeStatus>>,
    /// The moment.
    pub now: Mono,
    /// The leader lock is ours at this moment.
    pub leader: bool,
    /// The cluster, if the last view of it is still valid (DCS-05).
    pub cluster: Option<Arc<Cluster>>,
}

impl Facts {
    /// Reads snapshot and answer at this moment.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>, status: Option<Arc<NodeStatus>>, now: Mono) -> Self {
        let leader = snapshot.lease_until.is_some_and(|until| until > now);
        let ttl = snapshot.settings.global.ttl;
        let cluster = snapshot.cluster.as_ref().filter(|(_, at)| now.since(*at) < ttl).map(|(c, _)| Arc::clone(c));
        let status = status.filter(|_| may_answer(snapshot.server.state));
        Self { snapshot, status, now, leader, cluster }
    }

    /// `role` of the status: by the server's own word where there is one.
    #[must_use]
    pub fn role(&self) -> Role {
        match &self.status {
            Some(status) if !status.in_recovery => Role::Primary,
            Some(_) if !self.standby_cluster() => Role::Replica,
            _ => self.snapshot.server.role,
        }
    }

    /// `state` of the status; `None` ("unknown"): it should answer and does not.
    #[must_use]
    pub fn state(&self) -> Option<PgState> {
        let state = self.snapshot.server.state;
        (self.status.is_some() || state != PgState::Running).then_some(state)
    }

    /// Maintenance mode.
    #[must_use]
    pub fn paused(&self) -> bool {
        self.snapshot.settings.global.pause
    }

    /// Fail-safe mode is active (FSM-10).
    #[must_use]
    pub fn failsafe_active(&self) -> bool {
        self.snapshot.failsafe_until.is_some_and(|until| until > self.now)
    }

    /// This is a standby cluster.
    #[must_use]
    pub fn standby_cluster(&self) -> bool {
        self.snapshot.settings.global.standby_cluster.is_some()
    }

    /// The mode in which this server is a synchronous standby; `Off`: it is none.
    #[must_use]
    pub fn synchronous_standby(&self) -> SynchronousMode {
        let settings = &self.snapshot.settings;
        let listed = self.cluster.as_ref().is_some_and(|c| c.sync.matches(&settings.name, false));
        if listed && self.status.is_some() && self.role() == Role::Replica && !self.standby_cluster() {
            settings.global.synchronous_mode
        } else {
            SynchronousMode::Off
        }
    }

    /// The end of the receiver's upstream, as it last told.
    #[must_use]
    pub fn upstream_end(&self) -> Lsn {
        self.standby().and_then(|s| s.receiver.as_ref()?.latest_end_lsn).unwrap_or_default()
    }

    /// The best known position of the leader.
    #[must_use]
    pub fn leader_position(&self) -> Lsn {
        self.cluster.as_ref().map_or(Lsn(0), |c| c.last_lsn()).max(self.upstream_end())
    }

    /// Replayed position of a standby, else 0.
    #[must_use]
    pub fn replayed(&self) -> Lsn {
        self.standby().and_then(|s| s.replay_lsn).unwrap_or_default()
    }

    /// Received position of a standby, else 0: what it replayed where nothing was received.
    #[must_use]
    pub fn received(&self) -> Lsn {
        let received = self.standby().and_then(|s| s.receive_lsn).filter(|l| l.0 != 0);
        received.unwrap_or_else(|| self.replayed())
    }

    /// The server's answer if it is a standby's.
    #[must_use]
    pub fn standby(&self) -> Option<&NodeStatus> {
        self.status.as_deref().filter(|s| s.in_recovery)
    }

    /// `streaming` or `in archive recovery`, of a standby from 9.6 on.
    #[must_use]
    pub fn replication_state(&self) -> Option<&'static str> {
        let standby = self.standby()?;
        let version = self.snapshot.server.version?;
        if !version.at_least(90_600) {
            return None;
        }
        if standby.receiver.as_ref().is_some_and(|r| r.status == "streaming") {
            return Some("streaming");
        }
        let restore = if version.at_least(120_000) {
            standby.restore_command.as_deref()
        } else {
            self.snapshot.settings.postgresql.recovery_conf.get("restore_command").map(String::as_str)
        };
        restore.is_some_and(|c| !c.is_empty()).then_some("in archive recovery")
    }

    /// The server's timeline.
    #[must_use]
    pub fn timeline(&self) -> Option<Timeline> {
        let status = self.status.as_deref()?;
        if !status.in_recovery {
            return Some(status.timeline);
        }
        let received = status.receiver.as_ref().map(|r| r.timeline).filter(|t| t.0 != 0);
        // Control data lag behind by a restartpoint: a member that has lost its sender must not seem to be behind.
        let known = || self.snapshot.replica_timeline.max(status.control_timeline).filter(|t| t.0 != 0);
        received.or_else(known)
    }

    /// Configured tags as they are shown: switches that are off are left out.
    #[must_use]
    pub fn tags(&self) -> Map<String, Value> {
        self.configured_tags().published().0
    }

    /// `noloadbalance`.
    #[must_use]
    pub fn noloadbalance(&self) -> bool {
        self.configured_tags().noloadbalance()
    }

    /// `failover_priority`, 0 for who must not lead.
    #[must_use]
    pub fn failover_priority(&self) -> i64 {
        self.configured_tags().failover_priority()
    }

    fn configured_tags(&self) -> MemberTags {
        MemberTags(self.snapshot.settings.tags.clone())
    }
}

/// Whether a server in this state is worth asking.
#[must_use]
pub fn may_answer(state: PgState) -> bool {
    matches!(state, PgState::Running | PgState::Restarting | PgState::Starting)
}
