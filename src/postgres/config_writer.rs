//! Writing postgresql.conf and recovery settings.
