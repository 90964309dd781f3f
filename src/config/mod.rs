//! What the user wrote: YAML, environment and the dynamic configuration, in layers, validated, as typed settings.

pub mod python;
pub mod settings;
pub mod yaml;

pub use settings::{Global, Settings};
