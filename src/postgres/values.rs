//! Comparing parameter values.
