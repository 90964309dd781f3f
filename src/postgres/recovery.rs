//! Recovery settings.
