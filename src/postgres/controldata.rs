//! pg_controldata.
/// Result of the last run.
#[derive(Default)]
pub struct ControlCache;
