//! Server parameters.
