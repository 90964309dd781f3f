//! Every variable has its place and form.

use super::environment::{PREFIX, is_read, read};
use serde_json::{Map, Value, json};

fn tree(variables: &[(&str, &str)]) -> (Value, Vec<String>) {
    let (settings, warnings) = read(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    let mut tree = Map::new();
    for setting in settings {
        super::patch(&mut tree, &setting.tree());
    }
    (Value::Object(tree), warnings)
}

/// One row a rule of ENV-01 to ENV-10.
// rows: QUIRK-01, QUIRK-02, QUIRK-03
#[test]
fn variables_have_their_places_and_forms() {
    for (variable, text, wanted) in [
        ("NAME", "a", json!({"name": "a"})),
        ("SCOPE", "batman", json!({"scope": "batman"})),
        ("NAMESPACE", "/x/", json!({"namespace": "/x/"})),
        ("THREAD_POOL_SIZE", "7", json!({"thread_pool_size": "7"})),
        ("RESTAPI_LISTEN", "0.0.0.0:8008", json!({"restapi": {"listen": "0.0.0.0:8008"}})),
        ("RESTAPI_USERNAME", "u", json!({"restapi": {"authentication": {"username": "u"}}})),
        ("RESTAPI_ALLOWLIST", "127.0.0.1, ::1", json!({"restapi": {"allowlist": ["127.0.0.1", "::1"]}})),
        ("RESTAPI_ALLOWLIST_INCLUDE_MEMBERS", "on", json!({"restapi": {"allowlist_include_members": true}})),
        ("RESTAPI_REQUEST_QUEUE_SIZE", "6", json!({"restapi": {"request_queue_size": 6}})),
        ("RESTAPI_HTTP_EXTRA_HEADERS", "a: b", json!({"restapi": {"http_extra_headers": {"a": "b"}}})),
        ("RESTAPI_HTTPS_EXTRA_HEADERS", "{a: 1}", json!({"restapi": {"https_extra_headers": {"a": 1}}})),
        ("CTL_INSECURE", "on", json!({"ctl": {"insecure": true}})),
        ("CTL_PASSWORD", "p", json!({"ctl": {"authentication": {"password": "p"}}})),
        ("POSTGRESQL_DATA_DIR", "/d", json!({"postgresql": {"data_dir": "/d"}})),
        ("POSTGRESQL_BIN_PG_ISREADY", "x", json!({"postgresql": {"bin_name": {"pg_isready": "x"}}})),
        ("POSTGRESQL_BIN_IS_READY", "x", json!({"postgresql": {"bin_name": {"pg_isready": "x"}}})),
        ("RESTAPI_THREAD_POOL_SIZE", "7", json!({})),
        ("RETRIABLE_HTTP_CODES", "500", json!({})),
        ("SUPERUSER_SSLCRLDIR", "/c", json!({"postgresql": {"authentication": {"superuser": {"sslcrldir": "/c"}}}})),
        ("REWIND_USERNAME", "r", json!({"postgresql": {"authentication": {"rewind": {"username": "r"}}}})),
        ("LOG_LEVEL", "DEBUG", json!({"log": {"level": "DEBUG"}})),
        ("LOGLEVEL", "DEBUG", json!({"log": {"level": "DEBUG"}})),
        ("LOG_DATEFMT", "%H", json!({"log": {"dateformat": "%H"}})),
        ("LOG_FORMAT", "%(message)s", json!({"log": {"format": "%(message)s"}})),
        ("LOG_FORMAT", "message, {name: n}", json!({"log": {"format": ["message", {"name": "n"}]}})),
        ("LOG_MODE", "0600", json!({"log": {"mode": 384}})),
        ("LOG_LOGGERS", "patroni.ha: DEBUG", json!({"log": {"loggers": {"patroni.ha": "DEBUG"}}})),
        ("LOG_DEDUPLICATE_HEARTBEAT_LOGS", "yes", json!({"log": {"deduplicate_heartbeat_logs": true}})),
        ("ETCD3_HOST", "127.0.0.1:2379", json!({"etcd3": {"host": "127.0.0.1:2379"}})),
        ("ETCD3_HOSTS", "'a:1',b:2", json!({"etcd3": {"hosts": ["a:1", "b:2"]}})),
        ("ETCD3_HOSTS", "- a:1\n- b:2", json!({"etcd3": {"hosts": ["a:1", "b:2"]}})),
        ("ETCD3_USE_PROXIES", "true", json!({"etcd3": {"use_proxies": true}})),
        ("ETCD3_USERNAME", "u", json!({"etcd3": {"username": "u"}})),
        ("ZOOKEEPER_HOSTS", "'localhost:2181'", json!({"zookeeper": {"hosts": ["localhost:2181"]}})),
        ("EXHIBITOR_PORT", "8181", json!({"exhibitor": {"port": 8181}})),
        ("KUBERNETES_LABELS", "a: b", json!({"kubernetes": {"labels": {"a": "b"}}})),
        ("CITUS_GROUP", "0", json!({"citus": {"group": 0}})),
        ("RAFT_PARTNER_ADDRS", "'a:1','b:2'", json!({"raft": {"partner_addrs": ["a:1", "b:2"]}})),
        ("FOO", "x", json!({})),
        ("CONSUL_USERNAME", "x", json!({})),
        ("CITUS_HOST", "x", json!({})),
        ("SCOPE", "", json!({})),
    ] {
        let name = format!("{PREFIX}{variable}");
        assert_eq!(tree(&[(&name, text)]), (wanted, vec![]), "{name}={text}");
    }
}

#[test]
fn a_variable_that_cannot_be_read_is_named() {
    for (variable, text) in
        [("PATRONI_CTL_INSECURE", "maybe"), ("PATRONI_ETCD3_PORT", "x"), ("PATRONI_LOG_LOGGERS", "[}")]
    {
        let (tree, warnings) = tree(&[(variable, text)]);
        assert_eq!(tree, json!({}));
        assert!(warnings[0].contains(variable), "{warnings:?}");
    }
}

#[test]
fn the_newer_name_wins() {
    let variables = [("PATRONI_LOGLEVEL", "DEBUG"), ("PATRONI_LOG_LEVEL", "ERROR")];
    assert_eq!(tree(&variables).0, json!({"log": {"level": "ERROR"}}));
}

#[test]
fn what_is_read_is_hidden_from_children() {
    for variable in ["PATRONI_REPLICATION_PASSWORD", "PATRONI_CONFIGURATION", "PATRONI_LOGLEVEL", "PATRONI_X_HOST"] {
        assert!(is_read(variable), "{variable}");
    }
    for variable in ["PATH", "PATRONI_FOO", "PATRONI_", "XPATRONI_NAME"] {
        assert!(!is_read(variable), "{variable}");
    }
}
