//! Replication slots: what the rules want of them, and what a pass over them found.

use super::Upstream;
use crate::types::Lsn;
use serde::{Deserialize, Serialize};

/// What a slot is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotKind {
    /// Physical.
    Physical,
    /// Logical.
    Logical {
        /// Database.
        database: String,
        /// Output plugin.
        plugin: String,
    },
}

/// A slot that must exist.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WantedSlot {
    /// Name.
    pub name: String,
    /// What for.
    pub kind: SlotKind,
    /// Where an unused one should be by now; `None`: not known, or its user moves it.
    pub lsn: Option<Lsn>,
    /// Whether somebody is expected to use it on this node; `None`: nobody knows (a member that is away).
    pub expected_active: Option<bool>,
}

/// Slots as the rules want them (ha-rules 16).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotPlan {
    /// Slots that must exist.
    pub slots: Vec<WantedSlot>,
    /// Drop other inactive slots, and those that lost their WAL (never in pause).
    pub drop_unknown: bool,
    /// Drop unused physical slots that hold a transaction back (SLOT-07): somebody leads for sure.
    pub drop_xmin: bool,
    /// The server is a primary: missing logical slots are created; a standby copies and advances them.
    pub primary: bool,
    /// My replay position: a standby moves no logical slot past it.
    pub replay: Option<Lsn>,
    /// `ignore_slots` matchers.
    pub ignore: Vec<serde_json::Value>,
    /// Where logical slots on a standby are proven.
    pub proof: Option<SlotProof>,
}

/// Where a standby learns whether its logical slots are safe to use (SLOT-18).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SlotProof {
    /// The leader.
    pub leader: Box<Upstream>,
    /// The physical slot on the leader that carries this standby's feedback.
    pub slot: Option<String>,
}

/// What a pass over the slots found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SlotReport {
    /// Wanted slots that are there: name, position (`restart_lsn`, of logical ones `confirmed_flush_lsn`), active.
    pub slots: Vec<(String, Option<Lsn>, bool)>,
    /// Logical slots that must be copied from the primary.
    pub copy: Vec<String>,
    /// Logical slots that may be unsafe to use after a promotion.
    pub unproven: Vec<String>,
}

/// A logical slot as the primary keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotCopy {
    /// Name.
    pub name: String,
    /// Content of its state file.
    pub state: Vec<u8>,
}

impl WantedSlot {
    /// A physical slot whose user is not known.
    #[must_use]
    pub fn physical(name: &str, lsn: Option<Lsn>) -> Self {
        Self { name: name.to_owned(), kind: SlotKind::Physical, lsn, expected_active: None }
    }

    /// Whether it is a logical one.
    #[must_use]
    pub fn is_logical(&self) -> bool {
        self.kind != SlotKind::Physical
    }
}

impl SlotPlan {
    /// The wanted slot of this name.
    #[must_use]
    pub fn wanted(&self, name: &str) -> Option<&WantedSlot> {
        self.slots.iter().find(|slot| slot.name == name)
    }

    /// The logical slots among the wanted.
    pub fn logical(&self) -> impl Iterator<Item = &WantedSlot> {
        self.slots.iter().filter(|slot| slot.is_logical())
    }
}
