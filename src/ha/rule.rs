//! The rules by name: each ends a cycle with one sentence.

use serde::{Deserialize, Serialize};

/// Which rule ended a cycle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Rule {
    /// The store gave no view and nothing had to be done.
    StoreSilent,
}
