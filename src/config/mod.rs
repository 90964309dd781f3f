//! What the user wrote: YAML, environment and the dynamic configuration, in layers, validated, as typed settings.

pub mod settings;

pub use settings::{Global, Settings};
