//! Plain settings for tests of actors.

use crate::config::settings::{
    Ctl, Etcd3, Log, PgUser, Postgresql, RestApi, Store, VerifyClient, Watchdog, WatchdogMode,
};
use crate::config::{Global, Settings};
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Settings with Patroni's defaults.
pub(crate) fn settings() -> Arc<Settings> {
    Arc::new(Settings {
        scope: "batman".into(),
        namespace: "service".into(),
        name: "a".into(),
        global: Global::default(),
        restapi: RestApi {
            listen: "127.0.0.1:8008".into(),
            connect_address: "127.0.0.1:8008".into(),
            authentication: None,
            certfile: None,
            keyfile: None,
            keyfile_password: None,
            cafile: None,
            ciphers: None,
            verify_client: VerifyClient::None,
            allowlist: None,
            allowlist_include_members: false,
            http_extra_headers: IndexMap::new(),
            https_extra_headers: IndexMap::new(),
            request_queue_size: 5,
            server_tokens: "original".into(),
        },
        ctl: Ctl::default(),
        store: Store::Etcd3(Etcd3 {
            hosts: vec!["127.0.0.1:2379".into()],
            https: false,
            use_proxies: false,
            srv: None,
            srv_suffix: None,
            cacert: None,
            cert: None,
            key: None,
            authentication: None,
        }),
        bootstrap: None,
        postgresql: postgresql(),
        tags: Map::new(),
        watchdog: Watchdog {
            mode: WatchdogMode::Automatic,
            device: PathBuf::from("/dev/watchdog"),
            driver: "default".into(),
            safety_margin: 5,
        },
        log: log(),
    })
}

fn postgresql() -> Postgresql {
    Postgresql {
        listen_addresses: "127.0.0.1".into(),
        port: 5432,
        connect_address: "127.0.0.1:5432".into(),
        proxy_address: None,
        data_dir: PathBuf::from("/nonexistent/data"),
        config_dir: PathBuf::from("/nonexistent/data"),
        bin_dir: None,
        bin_name: IndexMap::new(),
        pgpass: None,
        database: "postgres".into(),
        superuser: PgUser::default(),
        replication: PgUser::default(),
        rewind: None,
        parameters: IndexMap::new(),
        pg_hba: None,
        pg_ident: None,
        custom_conf: None,
        recovery_conf: IndexMap::new(),
        callbacks: IndexMap::new(),
        create_replica_methods: Vec::new(),
        basebackup: Vec::new(),
        pg_ctl_timeout: Duration::from_secs(60),
        use_unix_socket: false,
        use_unix_socket_repl: false,
        before_stop: None,
        pre_promote: None,
        krbsrvname: None,
    }
}

fn log() -> Log {
    Log {
        json: false,
        level: "INFO".into(),
        traceback_level: "ERROR".into(),
        format: Value::String("%(asctime)s %(levelname)s: %(message)s".into()),
        dateformat: None,
        static_fields: Map::new(),
        max_queue_size: 1000,
        dir: None,
        file_num: 4,
        file_size: 25_000_000,
        mode: None,
        loggers: IndexMap::new(),
        deduplicate_heartbeat_logs: false,
    }
}
