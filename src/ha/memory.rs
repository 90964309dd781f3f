//! What one cycle remembers for the next.

use super::{JobId, RequestId};
use crate::cluster::{Cluster, ScheduledRestartData};
use crate::types::{Mono, Timeline, Wall};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The rules' state between cycles. Only `lease_until`, `scheduled_restart` and `bootstrapping` are read elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// The leader key is mine until then ("leader flag").
    pub lease_until: Option<Mono>,
    /// The last view that had a leader.
    pub last_led: Option<Arc<Cluster>>,
    /// A restart for later.
    pub scheduled_restart: Option<ScheduledRestart>,
    /// This process bootstraps the cluster.
    pub bootstrapping: bool,
    /// Requests that are answered when a job ends.
    pub waiting: Vec<(JobId, RequestId)>,
    /// The timeline last seen on my server.
    pub last_timeline: Option<Timeline>,
}

/// A restart for later (HA-35).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ScheduledRestart {
    /// When.
    pub at: Wall,
    /// As shown in the member key.
    pub data: ScheduledRestartData,
}
