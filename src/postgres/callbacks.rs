//! Callbacks (CB-01 to CB-09).
/// The callback that runs.
#[derive(Default)]
pub struct Callbacks;
