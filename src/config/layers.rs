//! The local layers: files under environment. figment knows which layer a value came from, for the error messages; an
//! ordered tree holds the values, since key order matters for tags and for the first dynamic configuration.

use super::environment::Setting;
use super::error::ConfigError;
use super::{patch, yaml};
use figment::value::Dict;
use figment::{Figment, Metadata, Profile, Provider};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// Local configuration with the provenance of each value.
#[derive(Clone, Default)]
pub(super) struct Local {
    pub tree: Map<String, Value>,
    layers: Figment,
}

impl Local {
    /// The environment alone.
    pub fn from_environment(settings: &[Setting]) -> Self {
        let mut local = Self::default();
        local.add_environment(settings);
        local
    }

    /// One text, as `PATRONI_CONFIGURATION` holds it.
    pub fn from_text(text: &str, name: &str) -> Result<Self, ConfigError> {
        let mut local = Self::default();
        local.add_text(text, name)?;
        Ok(local)
    }

    /// A file, or a folder of *.yml and *.yaml files in the order of their names (CFG-01), with the environment on top.
    pub fn from_path(path: &Path, settings: &[Setting]) -> Result<Self, ConfigError> {
        let mut local = Self::default();
        for file in files(path)? {
            let text = std::fs::read_to_string(&file)
                .map_err(|error| ConfigError::File { path: file.clone(), reason: error.to_string() })?;
            local.add_text(&text, &file.display().to_string())?;
        }
        local.add_environment(settings);
        Ok(local)
    }

    /// Where the value under this path comes from; `None` when it is not local.
    pub fn origin(&self, path: &str) -> Option<String> {
        self.layers.find_metadata(path).map(|metadata| metadata.name.to_string())
    }

    fn add_text(&mut self, text: &str, name: &str) -> Result<(), ConfigError> {
        let Value::Object(map) = yaml::load(text, name)? else {
            return Err(ConfigError::NoMapping(name.to_owned()));
        };
        self.add(map, name.to_owned());
        Ok(())
    }

    fn add_environment(&mut self, settings: &[Setting]) {
        for setting in settings {
            self.add(setting.tree(), format!("environment variable {}", setting.variable));
        }
    }

    fn add(&mut self, map: Map<String, Value>, name: String) {
        patch::patch(&mut self.tree, &map);
        self.layers = std::mem::take(&mut self.layers).merge(Layer { map, name });
    }
}

struct Layer {
    map: Map<String, Value>,
    name: String,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<figment::value::Map<Profile, Dict>, figment::Error> {
        let value = figment::value::Value::serialize(&self.map)?;
        let dict = value.into_dict().unwrap_or_default();
        Ok(std::iter::once((Profile::Default, dict)).collect())
    }
}

fn files(path: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |error: std::io::Error| ConfigError::File { path: path.to_owned(), reason: error.to_string() };
    if !path.is_dir() {
        return Err(ConfigError::Path(path.to_owned()));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let yaml = file.extension().is_some_and(|extension| extension == "yml" || extension == "yaml");
        if yaml && file.is_file() {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}
