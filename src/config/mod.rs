//! What the user wrote: YAML, environment and the dynamic configuration, in layers, validated, as typed settings.

mod address;
mod agent;
mod build;
pub mod cache;
mod ctl;
mod effective;
pub mod environment;
mod error;
mod global;
mod known;
mod layers;
pub mod loose;
mod options;
pub mod parameters;
mod patch;
mod postgresql;
pub mod python;
mod reader;
mod roles;
mod sections;
pub mod settings;
mod standby_cluster;
mod store;
pub mod unsupported;
pub mod yaml;

pub use address::{netloc, split_host_port};
pub use agent::{Config, Warnings};
pub use ctl::{CtlConfig, for_editing};
pub use error::ConfigError;
pub use patch::{patch, same};
pub use roles::{ByRole, PgRole, RoleSettings};
pub use settings::{Global, Settings};
pub use standby_cluster::StandbyCluster;

#[cfg(test)]
mod config_tests;
#[cfg(test)]
mod ctl_tests;
#[cfg(test)]
mod dynamic_tests;
#[cfg(test)]
mod environment_tests;
