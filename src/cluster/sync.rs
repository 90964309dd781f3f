//! `sync`: who may take over in synchronous mode.

use super::Revision;
use serde::{Deserialize, Serialize};

/// `{"leader":name,"quorum":n,"sync_standby":"a,b"|null}`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncState {
    /// Version of the key; `None` when it does not exist.
    pub revision: Option<Revision>,
    /// The primary that wrote it; `None` or empty: synchronous mode is not active.
    pub leader: Option<String>,
    /// Names, sorted.
    pub sync_standby: Vec<String>,
    /// Votes needed besides the candidate's own (quorum mode).
    pub quorum: u32,
}
