//! Settings of the model's members, and the layers above them: nothing but what a simulation changes.

use super::model_peers::api_address;
use crate::test_settings;
use patroni::actors::config_store::ConfigSource;
use patroni::config::settings::{Bootstrap, SynchronousMode};
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

/// What the operator wants of synchronous replication.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SyncWish {
    pub mode: SynchronousMode,
    pub strict: bool,
    pub count: u32,
}

/// None.
pub const NO_SYNC: SyncWish = SyncWish { mode: SynchronousMode::Off, strict: false, count: 1 };

impl SyncWish {
    pub fn draw(rng: &mut fastrand::Rng) -> Self {
        let mode = match rng.u32(0..7) {
            0..3 => SynchronousMode::On,
            3..6 => SynchronousMode::Quorum,
            _ => SynchronousMode::Off,
        };
        Self { mode, strict: rng.u32(0..3) == 0, count: rng.u32(1..=2) }
    }

    pub fn on(self) -> bool {
        self.mode != SynchronousMode::Off
    }

    /// Writes the keys.
    pub fn into_config(self, data: &mut Map<String, Value>) {
        let mode = match self.mode {
            SynchronousMode::Off => return,
            SynchronousMode::On => json!(true),
            SynchronousMode::Quorum => json!("quorum"),
        };
        data.insert("synchronous_mode".to_owned(), mode);
        data.insert("synchronous_mode_strict".to_owned(), self.strict.into());
        data.insert("synchronous_node_count".to_owned(), self.count.into());
    }

    fn of(data: &Map<String, Value>) -> Self {
        let mode = match data.get("synchronous_mode") {
            Some(Value::Bool(true)) => SynchronousMode::On,
            Some(Value::String(_)) => SynchronousMode::Quorum,
            _ => return NO_SYNC,
        };
        let count = data.get("synchronous_node_count").and_then(Value::as_u64).unwrap_or(1);
        let strict = data.get("synchronous_mode_strict").and_then(Value::as_bool).unwrap_or(false);
        Self { mode, strict, count: u32::try_from(count).unwrap() }
    }
}

fn global(data: &Map<String, Value>) -> Global {
    let sync = SyncWish::of(data);
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
        maximum_lag_on_failover: data.get("maximum_lag_on_failover").and_then(Value::as_u64).unwrap_or(1_048_576),
        synchronous_mode: sync.mode,
        synchronous_mode_strict: sync.strict,
        synchronous_node_count: sync.count,
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
