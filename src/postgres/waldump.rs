//! pg_waldump.
