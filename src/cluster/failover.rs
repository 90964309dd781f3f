//! `failover`: a manual failover or switchover that was asked for.

use super::Revision;
use crate::types::Wall;
use serde::{Deserialize, Serialize};

/// The request. Legacy text `leader:candidate` is readable too.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Failover {
    /// Version of the key.
    pub revision: Revision,
    /// Who should step down; absent for a manual failover.
    pub leader: Option<String>,
    /// Who should take over (`member` in the JSON).
    pub candidate: Option<String>,
    /// When.
    pub scheduled_at: Option<Wall>,
    /// `scheduled_at` as it was written, zone and all.
    pub scheduled_text: Option<String>,
}

impl Failover {
    /// Whether it asks for nothing (`{}`): the key is emptied after use, never deleted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.leader.is_none() && self.candidate.is_none() && self.scheduled_at.is_none()
    }
}
