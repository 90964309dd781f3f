//! The cluster as the store holds it: immutable values, their JSON and the layout of the keys. No I/O.
//!
//! Readers survive garbage: what cannot be understood counts as absent, as in Patroni.

mod conn_url;
mod dynamic;
mod failover;
mod failsafe;
mod history;
mod json;
mod json_text;
mod keys;
mod load;
mod member;
mod member_json;
mod node;
mod questions;
mod schedule;
mod slot;
mod slot_name;
mod status;
mod sync;
mod tags;
mod view;

pub use conn_url::conn_kwargs;
pub use dynamic::Modes;
pub use failover::Failover;
pub use failsafe::{FailsafeAnswer, FailsafeCall, FailsafeCallError};
pub use history::{History, HistoryLine};
pub use json::compact as compact_json;
pub use json_text::json_text;
pub use keys::Keys;
pub use load::RawKey;
pub use member::{
    Member, MemberData, MemberTags, PendingRestart, PendingRestartValue, PgState, Role, ScheduledRestartData,
};
pub use node::{
    CallbackEvent, ControlData, ControlState, DataDir, NodeStatus, PeerStatus, Postmaster, Readiness,
    ReplicationConnection, ServerFacts, StopMode, SyncNames, Upstream, WalReceiver,
};
pub use schedule::ScheduleTime;
pub use slot::{SlotCopy, SlotKind, SlotPlan, SlotProof, SlotReport, WantedSlot};
pub use slot_name::slot_name;
pub use status::Status;
pub use sync::SyncState;
pub use view::{ClusterView, MemberView, Position, Positions, ScheduledSwitchover, host_and_port};

use crate::types::{Lsn, MemberName, SystemId, Timeline};
use serde::{Deserialize, Serialize};

/// A version of one key, for compare-and-swap (etcd3: `mod_revision`). Opaque to all but its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Revision(pub u64);

/// Who holds the leader lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leader {
    /// The member's name: the plain text value of the key.
    pub name: MemberName,
    /// Whether the lock is bound to this very session or lease of ours.
    pub own_session: bool,
    /// Version of the `leader` key.
    pub revision: Revision,
}

/// The dynamic configuration as it stands under `config`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterConfig {
    /// Version of the `config` key.
    pub revision: Revision,
    /// The JSON object, keys in the order in which they were written; empty when the value was no object.
    pub data: serde_json::Map<String, serde_json::Value>,
}

/// One read of all keys of a cluster (ha-rules: "view" of the store).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// `initialize`: absent, empty while somebody bootstraps, or the system identifier.
    pub initialize: Option<String>,
    /// `config`.
    pub config: Option<ClusterConfig>,
    /// `leader`.
    pub leader: Option<Leader>,
    /// `status` (or the legacy `optime/leader`).
    pub status: Status,
    /// `members/*`, sorted by name.
    pub members: Vec<Member>,
    /// `failover`, when it asks for something or at least exists (then with its revision).
    pub failover: Option<Failover>,
    /// `sync`; empty when the key is absent.
    pub sync: SyncState,
    /// `history`.
    pub history: Option<History>,
    /// `failsafe`: member name to API address, when the value is an object.
    pub failsafe: Option<indexmap::IndexMap<String, String>>,
}

impl Cluster {
    /// Whether nobody holds the leader lock.
    #[must_use]
    pub fn is_unlocked(&self) -> bool {
        self.leader.as_ref().is_none_or(|l| l.name.as_str().is_empty())
    }

    /// The name of the lock holder.
    #[must_use]
    pub fn leader_name(&self) -> Option<&MemberName> {
        self.leader.as_ref().map(|l| &l.name).filter(|n| !n.as_str().is_empty())
    }

    /// The member with this name.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name.as_str() == name)
    }

    /// The member that holds the lock, if its key exists.
    #[must_use]
    pub fn leader_member(&self) -> Option<&Member> {
        self.leader_name().and_then(|n| self.member(n.as_str()))
    }

    /// `initialize` as a system identifier, if it is one.
    #[must_use]
    pub fn system_id(&self) -> Option<SystemId> {
        self.initialize.as_deref().and_then(SystemId::parse)
    }

    /// The timeline the cluster is on by its history: the last line's plus one, 1 for an empty history,
    /// 0 when `history` is missing or unreadable (ha-rules 1).
    #[must_use]
    pub fn timeline(&self) -> Timeline {
        self.history.as_ref().map_or(Timeline(0), History::next_timeline)
    }

    /// The last position that the leader published.
    #[must_use]
    pub fn last_lsn(&self) -> Lsn {
        self.status.optime.unwrap_or_default()
    }
}
