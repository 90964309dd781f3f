//! Replication connections.
