//! The agent's configuration in the hands of the config store.

use super::config_store::ConfigSource;
use crate::config::{Config, Settings};
use serde_json::{Map, Value};
use std::sync::Arc;

impl ConfigSource for Config {
    fn reload(&mut self) -> Result<bool, String> {
        Self::reload(self).map_err(|error| error.to_string())
    }

    fn set_dynamic(&mut self, data: &Map<String, Value>) -> Result<bool, String> {
        Self::set_dynamic(self, data).map_err(|error| error.to_string())
    }

    fn save_cache(&mut self) -> Result<bool, String> {
        Self::save_cache(self).map_err(|error| error.to_string())
    }

    fn settings(&self) -> Arc<Settings> {
        Self::settings(self)
    }

    fn dynamic(&self) -> Arc<Map<String, Value>> {
        Self::dynamic(self)
    }
}
