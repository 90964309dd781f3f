//! Replication slots.
