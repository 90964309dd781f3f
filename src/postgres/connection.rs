//! Connections to the own server.
/// Connections, one a purpose.
#[derive(Default)]
pub struct Connections;
