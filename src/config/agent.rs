//! The agent's configuration: local layers, dynamic configuration, and the settings they make.

use super::build;
use super::cache;
use super::environment::{self, Setting};
use super::error::ConfigError;
use super::layers::Local;
use super::patch;
use super::settings::Settings;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Lines for the log, as warnings.
pub type Warnings = Vec<String>;

/// Everything the user wrote, and the settings in force. After an error the former state holds.
#[derive(Clone)]
pub struct Config {
    /// File or folder; `None`: environment only.
    path: Option<PathBuf>,
    environment: Vec<Setting>,
    local: Local,
    dynamic: Arc<Map<String, Value>>,
    settings: Arc<Settings>,
    /// Warnings that were given already: each is given once.
    given: HashSet<String>,
}

/// Without the values: passwords are among them.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Config {
    /// Reads file or folder with the environment over it (CFG-03); without an existing path `PATRONI_CONFIGURATION`
    /// (CFG-02) or, when that is not set, the environment alone. The dynamic configuration is empty at first: see
    /// [`Config::load_cache`].
    ///
    /// # Errors
    /// There is no configuration, it cannot be read, or it makes no settings.
    pub fn load<I>(path: Option<&Path>, environment: I) -> Result<(Self, Warnings), ConfigError>
    where
        I: IntoIterator<Item = (String, String)>,
    {
        let mut warnings = Vec::new();
        let variables: Vec<(String, String)> = environment.into_iter().collect();
        let whole = variables.iter().find(|(name, text)| name == environment::CONFIGURATION && !text.is_empty());
        let whole = whole.map(|(_, text)| text.clone());
        let (environment, bad_variables) = environment::read(variables);
        warnings.extend(bad_variables);
        let existing = path.filter(|path| path.exists());
        if let (Some(path), None) = (path, existing) {
            warnings.push(format!("configuration file {} does not exist", path.display()));
        }
        let local = match (existing, whole) {
            (Some(path), _) => Local::from_path(path, &environment)?,
            (None, Some(text)) => {
                if !environment.is_empty() {
                    warnings.push("PATRONI_CONFIGURATION is used: other PATRONI_ variables are ignored".into());
                }
                Local::from_text(&text, environment::CONFIGURATION)?
            }
            (None, None) => Local::from_environment(&environment),
        };
        if local.tree.is_empty() {
            return Err(match path.filter(|_| existing.is_none()) {
                Some(path) => ConfigError::Path(path.to_owned()),
                None => ConfigError::Empty,
            });
        }
        let dynamic = Arc::new(Map::new());
        let (settings, complaints) = build::settings(&local, &dynamic)?;
        warnings.extend(complaints);
        let given = warnings.iter().cloned().collect();
        let path = existing.map(Path::to_owned);
        Ok((Self { path, environment, local, dynamic, settings: Arc::new(settings), given }, warnings))
    }

    /// Reads the local layers again (CFG-05). Returns whether something changed. New warnings are logged.
    ///
    /// # Errors
    /// They cannot be read or make no settings; the former ones stay in force.
    pub fn reload(&mut self) -> Result<bool, ConfigError> {
        let Some(path) = &self.path else { return Ok(false) };
        let local = Local::from_path(path, &self.environment)?;
        if patch::same(&self.local.tree, &local.tree) {
            tracing::info!("No local configuration items changed.");
            return Ok(false);
        }
        let (settings, warnings) = build::settings(&local, &self.dynamic)?;
        self.local = local;
        self.settings = Arc::new(settings);
        self.warn(warnings);
        Ok(true)
    }

    /// Puts a dynamic configuration in force. Returns whether something changed. Values that cannot be used are
    /// replaced by their defaults or bounds with a warning in the log (CFG-30).
    ///
    /// # Errors
    /// It makes no settings; the former one stays in force.
    pub fn set_dynamic(&mut self, dynamic: &Map<String, Value>) -> Result<bool, ConfigError> {
        if patch::same(&self.dynamic, dynamic) {
            return Ok(false);
        }
        let (settings, warnings) = build::settings(&self.local, dynamic)?;
        self.dynamic = Arc::new(dynamic.clone());
        self.settings = Arc::new(settings);
        self.warn(warnings);
        Ok(true)
    }

    /// Takes `bootstrap.dcs` as the dynamic configuration when there is none yet: at start, when neither store nor
    /// cache have one. Returns whether something changed.
    ///
    /// # Errors
    /// As [`Config::set_dynamic`].
    pub fn use_bootstrap_dcs(&mut self) -> Result<bool, ConfigError> {
        match &self.settings.bootstrap {
            Some(bootstrap) if self.dynamic.is_empty() && !bootstrap.dcs.is_empty() => {
                let dcs = bootstrap.dcs.clone();
                self.set_dynamic(&dcs)
            }
            _ => Ok(false),
        }
    }

    /// Takes the dynamic configuration from the cache file in the data directory (CFG-04). Returns whether there was one.
    ///
    /// # Errors
    /// The file cannot be read or is no mapping in JSON; nothing changes then.
    pub fn load_cache(&mut self) -> Result<bool, ConfigError> {
        match cache::load(&self.settings.postgresql.data_dir)? {
            Some(dynamic) => self.set_dynamic(&dynamic).map(|_| true),
            None => Ok(false),
        }
    }

    /// Writes the dynamic configuration into the cache file; nothing is written while the data directory is missing or
    /// empty. Returns whether it was written.
    ///
    /// # Errors
    /// The file cannot be written; the old one stays as it is.
    pub fn save_cache(&self) -> Result<bool, ConfigError> {
        cache::save(&self.settings.postgresql.data_dir, &self.dynamic)
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.clone()
    }

    /// The dynamic configuration in force, as it was given.
    #[must_use]
    pub fn dynamic(&self) -> Arc<Map<String, Value>> {
        self.dynamic.clone()
    }

    /// The local configuration: files with the environment over them.
    #[must_use]
    pub fn local(&self) -> &Map<String, Value> {
        &self.local.tree
    }

    fn warn(&mut self, warnings: Warnings) {
        let current: HashSet<String> = warnings.iter().cloned().collect();
        for warning in warnings.iter().filter(|warning| !self.given.contains(*warning)) {
            tracing::warn!("{warning}");
        }
        self.given = current;
    }
}
