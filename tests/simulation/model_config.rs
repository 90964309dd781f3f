//! Settings of the model's members, and the layers above them: nothing but what a simulation changes.

use super::model_peers::api_address;
use patroni::actors::config_store::ConfigSource;
use patroni::config::settings::{
    Bootstrap, Ctl, Etcd3, Log, PgUser, Postgresql, RestApi, Store, VerifyClient, Watchdog, WatchdogMode,
};
use patroni::config::{Global, Settings};
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The first dynamic configuration.
pub fn dynamic() -> Map<String, Value> {
    let value = json!({
        "ttl": 30, "loop_wait": 10, "retry_timeout": 10, "maximum_lag_on_failover": 1_048_576,
        "postgresql": {"use_pg_rewind": true, "use_slots": true}
    });
    value.as_object().cloned().unwrap()
}

fn global(data: &Map<String, Value>) -> Global {
    let seconds = |key: &str, usual: u64| Duration::from_secs(data.get(key).and_then(Value::as_u64).unwrap_or(usual));
    Global {
        ttl: seconds("ttl", 30),
        loop_wait: seconds("loop_wait", 10),
        retry_timeout: seconds("retry_timeout", 10),
        pause: data.get("pause").and_then(Value::as_bool).unwrap_or(false),
        use_pg_rewind: true,
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
        Self { settings, dynamic: Arc::new(dynamic()) }
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
pub fn settings(name: &str, node: usize) -> Arc<Settings> {
    Arc::new(Settings {
        scope: "sim".to_owned(),
        namespace: "service".to_owned(),
        name: name.to_owned(),
        global: global(&dynamic()),
        restapi: RestApi {
            listen: "127.0.0.1:8008".to_owned(),
            connect_address: api_address(node),
            authentication: None,
            certfile: None,
            keyfile: None,
            keyfile_password: None,
            cafile: None,
            ciphers: None,
            verify_client: VerifyClient::None,
            allowlist: None,
            allowlist_include_members: false,
            http_extra_headers: indexmap::IndexMap::new(),
            https_extra_headers: indexmap::IndexMap::new(),
            request_queue_size: 5,
            server_tokens: "Minimal".to_owned(),
        },
        ctl: Ctl::default(),
        store: Store::Etcd3(Etcd3 {
            hosts: Vec::new(),
            https: false,
            use_proxies: false,
            srv: None,
            srv_suffix: None,
            cacert: None,
            cert: None,
            key: None,
            authentication: None,
        }),
        bootstrap: Some(Bootstrap { dcs: dynamic(), ..Bootstrap::default() }),
        postgresql: Postgresql {
            listen_addresses: "127.0.0.1".to_owned(),
            port: 5432,
            connect_address: format!("10.0.0.{}:5432", node + 1),
            proxy_address: None,
            data_dir: PathBuf::from("/data"),
            config_dir: PathBuf::from("/data"),
            bin_dir: None,
            bin_name: indexmap::IndexMap::new(),
            pgpass: None,
            database: "postgres".to_owned(),
            superuser: PgUser::default(),
            replication: PgUser::default(),
            rewind: None,
            parameters: indexmap::IndexMap::new(),
            pg_hba: None,
            pg_ident: None,
            custom_conf: None,
            recovery_conf: indexmap::IndexMap::new(),
            callbacks: indexmap::IndexMap::new(),
            create_replica_methods: Vec::new(),
            basebackup: Vec::new(),
            pg_ctl_timeout: Duration::from_secs(60),
            use_unix_socket: false,
            use_unix_socket_repl: false,
            before_stop: None,
            pre_promote: None,
            krbsrvname: None,
        },
        tags: serde_json::Map::new(),
        watchdog: Watchdog {
            mode: WatchdogMode::Off,
            device: PathBuf::from("/dev/watchdog"),
            driver: "default".to_owned(),
            safety_margin: 5,
        },
        log: Log {
            json: false,
            level: "INFO".to_owned(),
            traceback_level: "ERROR".to_owned(),
            format: serde_json::Value::Null,
            dateformat: None,
            static_fields: serde_json::Map::new(),
            max_queue_size: 1000,
            dir: None,
            file_num: 4,
            file_size: 25_000_000,
            mode: None,
            loggers: indexmap::IndexMap::new(),
            deduplicate_heartbeat_logs: false,
        },
    })
}
