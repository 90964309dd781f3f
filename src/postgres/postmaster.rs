//! The postmaster process.
