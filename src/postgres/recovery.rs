//! Recovery settings.

/// Whether a parameter belongs to recovery.
#[must_use]
pub fn is_recovery_parameter(name: &str) -> bool {
    name.starts_with("recovery_")
}
