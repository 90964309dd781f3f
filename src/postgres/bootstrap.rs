//! New clusters: initdb and custom methods.
