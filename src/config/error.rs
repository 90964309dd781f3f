//! What can be wrong with a configuration.

use super::yaml::YamlError;
use std::path::PathBuf;

/// Why there is no configuration; the text names file, key and reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Neither file nor environment say anything.
    #[error("Config is empty.")]
    Empty,
    /// The path is neither a file nor a folder.
    #[error("config path {0} is neither directory nor file")]
    Path(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// A file is not YAML.
    #[error(transparent)]
    Yaml(#[from] YamlError),
    /// A file holds something else than a mapping.
    #[error("invalid config file {0}: it does not contain a dict")]
    NoMapping(String),
    /// Values that cannot be used; a line for each.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
    /// No section of a store that can be used (DCS-01).
    #[error(
        "Can not find suitable configuration of distributed configuration store\nAvailable implementations: {list}{hint}",
        list = super::store::AVAILABLE.join(", ")
    )]
    NoStore {
        /// Which sections are there that cannot be used.
        hint: String,
    },
    /// The file given to patronictl is missing.
    #[error("Provided config file {0} not existing or no read rights. Check the -c/--config-file parameter")]
    NoCtlFile(PathBuf),
    /// `patronictl -d` with a store that does not exist.
    #[error("Unknown dcs scheme: {0}")]
    DcsScheme(String),
}
