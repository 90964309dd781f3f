//! Settings of the model's members, and the layers above them: nothing but what a simulation changes.

use super::model_peers::api_address;
use crate::test_settings;
use patroni::actors::config_store::ConfigSource;
use patroni::config::settings::Bootstrap;
use patroni::config::{Global, Settings, StandbyCluster};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The dynamic configuration of a primary cluster, or of a standby cluster.
pub fn dynamic_for(standby: bool) -> Map<String, Value> {
    let mut data = dynamic();
    if standby {
        data.insert("standby_cluster".to_owned(), json!({"host": super::standby::REMOTE}));
    }
    data
}

fn dynamic() -> Map<String, Value> {
    let value = json!({
        "ttl": 30, "loop_wait": 10, "retry_timeout": 10, "maximum_lag_on_failover": 1_048_576,
        "postgresql": {"use_pg_rewind": true, "use_slots": true}
    });
    value.as_object().cloned().unwrap()
}

/// The same with fail-safe mode on.
pub fn failsafe() -> Map<String, Value> {
    let mut data = dynamic();
    data.insert("failsafe_mode".to_owned(), true.into());
    data
}

fn global(data: &Map<String, Value>) -> Global {
    let seconds = |key: &str, usual: u64| Duration::from_secs(data.get(key).and_then(Value::as_u64).unwrap_or(usual));
    Global {
        ttl: seconds("ttl", 30),
        loop_wait: seconds("loop_wait", 10),
        retry_timeout: seconds("retry_timeout", 10),
        failsafe_mode: data.get("failsafe_mode").and_then(Value::as_bool).unwrap_or(false),
        pause: data.get("pause").and_then(Value::as_bool).unwrap_or(false),
        use_pg_rewind: true,
        standby_cluster: data
            .get("standby_cluster")
            .map(|section| StandbyCluster { host: Some(section["host"].to_string()), ..StandbyCluster::default() }),
        ..Global::default()
    }
}

/// The layers of one member.
pub struct ModelConfig {
    settings: Arc<Settings>,
    dynamic: Arc<Map<String, Value>>,
}

impl ModelConfig {
    pub fn new(settings: Arc<Settings>) -> Self {
        let dynamic = settings.bootstrap.as_ref().map(|b| b.dcs.clone()).unwrap_or_default();
        Self { settings, dynamic: Arc::new(dynamic) }
    }

    pub fn dynamic_now(&self) -> Arc<Map<String, Value>> {
        Arc::clone(&self.dynamic)
    }
}

impl ConfigSource for ModelConfig {
    fn reload(&mut self) -> Result<bool, String> {
        Ok(false)
    }

    fn set_dynamic(&mut self, data: &Map<String, Value>) -> Result<bool, String> {
        if *self.dynamic == *data {
            return Ok(false);
        }
        self.dynamic = Arc::new(data.clone());
        self.settings = Arc::new(Settings { global: global(data), ..(*self.settings).clone() });
        Ok(true)
    }

    fn save_cache(&mut self) -> Result<bool, String> {
        Ok(true)
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings)
    }

    fn dynamic(&self) -> Arc<Map<String, Value>> {
        Arc::clone(&self.dynamic)
    }
}

/// The settings of a member.
pub fn settings(name: &str, node: usize, dynamic: Map<String, Value>) -> Arc<Settings> {
    Arc::new(test_settings::settings(|s| {
        name.clone_into(&mut s.name);
        s.scope = "sim".to_owned();
        s.global = global(&dynamic);
        s.restapi.connect_address = api_address(node);
        s.bootstrap = Some(Bootstrap { dcs: dynamic.clone(), ..Bootstrap::default() });
        s.postgresql.connect_address = format!("10.0.0.{}:5432", node + 1);
    }))
}
