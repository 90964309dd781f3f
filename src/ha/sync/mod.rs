//! Synchronous replication as values: which standbys could be synchronous, which are, and the texts that say so.
//!
//! The rules that act on it are in `rules/sync*.rs`; the steps of the quorum mode come from [`super::quorum`].

mod name_set;
pub mod names;
mod tracker;

pub use name_set::NameSet;
pub use tracker::{Observed, Tracker, Wanted};

use crate::types::Mono;
use serde::{Deserialize, Serialize};

/// What a primary remembers of synchronous replication between cycles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyncMemory {
    /// Which standbys have confirmed what.
    pub tracker: Tracker,
    /// The list of names is set by the rules: it must be given back when the mode is switched off.
    pub owned: bool,
    /// A write of the `sync` key or a change of the list was not answered: it may take effect still. Nothing is decided
    /// before a later write has made that impossible.
    pub unsettled: bool,
    /// Until then the confirmation of a new list is looked for at short intervals.
    pub confirm_until: Option<Mono>,
    /// When this primary first dealt with quorum mode.
    pub quorum_since: Option<Mono>,
    /// The log was told that a strict mode keeps its names while no standby is there.
    pub holding: bool,
    /// A standby that ends or restarts asks to be released until then.
    pub leaving_until: Option<Mono>,
}
