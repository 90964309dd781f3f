//! Replica creation methods.
