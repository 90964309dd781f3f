//! The status query.
