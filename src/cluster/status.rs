//! `status`: the leader's position and the positions of slots.

use crate::types::Lsn;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

/// `{"optime":N,"slots":{name:lsn},"retain_slots":[...]}`; absent parts are left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Position of the leader.
    pub optime: Option<Lsn>,
    /// Positions of slots.
    pub slots: Option<IndexMap<String, Lsn>>,
    /// Member slots that are kept although their member is away.
    pub retain_slots: Option<Vec<String>>,
}
