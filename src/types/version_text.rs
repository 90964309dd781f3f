//! PostgreSQL versions as a filter of restarts.

/// Checks that a text is a full version: X.Y from 10 on, X.Y.Z before.
///
/// # Errors
/// What is wrong, for the client.
pub fn check_version(text: &str) -> Result<(), String> {
    let parts: Result<Vec<u32>, _> = text.split('.').map(|p| p.trim().parse::<u32>()).collect();
    match parts.as_deref() {
        Err(_) => Err(format!("Invalid PostgreSQL version: {text}")),
        Ok([major, _]) if *major >= 10 => Ok(()),
        Ok([_, _, _]) => Ok(()),
        Ok(_) => Err(format!("Invalid PostgreSQL version format: X.Y or X.Y.Z is accepted: {text}")),
    }
}
