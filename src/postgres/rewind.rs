//! pg_rewind.
