//! What was written to the configuration files, and whether a change of settings changes them.
/// What was last written.
#[derive(Default)]
pub struct Written;
