//! Settings for tests.

use crate::config::Settings;
use crate::config::settings::{
    Ctl, Etcd3, Global, Log, PgUser, Postgresql, RestApi, Secret, Store, VerifyClient, Watchdog, WatchdogMode,
};
use indexmap::IndexMap;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Member `node1` of the cluster `batman` with its data in `data_dir`, everything else at its default.
pub(super) fn settings(data_dir: &Path) -> Settings {
    Settings {
        scope: "batman".to_owned(),
        namespace: "service".to_owned(),
        name: "node1".to_owned(),
        global: Global::default(),
        restapi: restapi(),
        ctl: Ctl::default(),
        store: Store::Etcd3(Etcd3 {
            hosts: vec!["127.0.0.1:2379".to_owned()],
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
        postgresql: postgresql(data_dir),
        tags: Map::new(),
        watchdog: Watchdog {
            mode: WatchdogMode::Off,
            device: PathBuf::from("/dev/watchdog"),
            driver: "default".to_owned(),
            safety_margin: 5,
        },
        log: log(),
    }
}

fn restapi() -> RestApi {
    RestApi {
        listen: "127.0.0.1:8008".to_owned(),
        connect_address: "127.0.0.1:8008".to_owned(),
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
        server_tokens: "original".to_owned(),
    }
}

fn postgresql(data_dir: &Path) -> Postgresql {
    Postgresql {
        listen_addresses: "127.0.0.1".to_owned(),
        port: 5432,
        connect_address: "127.0.0.1:5432".to_owned(),
        proxy_address: None,
        data_dir: data_dir.to_owned(),
        config_dir: data_dir.to_owned(),
        // No programs, whatever the machine has.
        bin_dir: Some(data_dir.with_extension("bin")),
        bin_name: IndexMap::new(),
        pgpass: Some(data_dir.with_extension("pgpass")),
        database: "postgres".to_owned(),
        superuser: user("postgres", "zalando"),
        replication: user("replicator", "rep-pass"),
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

fn user(name: &str, password: &str) -> PgUser {
    PgUser { username: Some(name.to_owned()), password: Some(Secret::new(password)), options: IndexMap::new() }
}

fn log() -> Log {
    Log {
        json: false,
        level: "INFO".to_owned(),
        traceback_level: "ERROR".to_owned(),
        format: Value::Null,
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

/// A member to follow, at this port of the local host, with our slot there.
pub(super) fn upstream(name: &str, port: u16) -> crate::cluster::Upstream {
    let conn = [("host", "127.0.0.1".to_owned()), ("port", port.to_string()), ("dbname", "postgres".to_owned())];
    crate::cluster::Upstream {
        name: name.to_owned(),
        conn: conn.map(|(k, v)| (k.to_owned(), v)).into_iter().collect(),
        slot: Some("node1".to_owned()),
        recovery: IndexMap::new(),
        is_member: true,
    }
}
