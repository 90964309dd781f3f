//! The configuration as a whole: layers in, settings out.

use super::settings::*;
use super::*;
use serde_json::{Map, Value, json};
use std::fs;
use std::time::Duration;

pub(super) const MINIMAL: &str = "scope: batman
name: a
restapi: {listen: '127.0.0.1:8008'}
etcd3: {host: '127.0.0.1:2379'}
postgresql:
  listen: 127.0.0.1:5432
  data_dir: data/a
  authentication:
    replication: {username: replicator, password: rep-pass}
";

/// Has everything that Patroni's own sample files have.
pub(super) const SAMPLE: &str = include_str!("sample.yml");

pub(super) fn variables(entries: &[(&str, &str)]) -> Vec<(String, String)> {
    entries.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

pub(super) fn load(yaml: &str) -> Result<(Config, Warnings), ConfigError> {
    Config::load(None, variables(&[("PATRONI_CONFIGURATION", yaml)]))
}

pub(super) fn map(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

/// The minimal configuration with changes on top.
pub(super) fn with(changes: Value) -> Result<(Config, Warnings), ConfigError> {
    let mut tree = map(yaml::load(MINIMAL, "minimal").unwrap());
    patch(&mut tree, &map(changes));
    load(&yaml::dump(&Value::Object(tree), false))
}

fn settings_with(changes: Value) -> Settings {
    (*with(changes).unwrap().0.settings()).clone()
}

#[test]
fn the_sample_loads_without_a_warning() {
    let (config, warnings) = load(SAMPLE).unwrap();
    assert_eq!(warnings, Vec::<String>::new());
    let settings = config.settings();
    assert_eq!((settings.scope.as_str(), settings.name.as_str()), ("batman", "postgresql0"));
    assert_eq!(settings.restapi.api_url(), "http://127.0.0.1:8008/patroni");
    let postgresql = &settings.postgresql;
    assert_eq!((postgresql.listen_addresses.as_str(), postgresql.port), ("127.0.0.1", 5432));
    assert_eq!(postgresql.superuser.username.as_deref(), Some("postgres"));
    assert_eq!(postgresql.rewind.as_ref().unwrap().password.as_ref().unwrap().reveal(), "rewind_password");
    assert_eq!(postgresql.parameters["unix_socket_directories"], "..");
    let bootstrap = settings.bootstrap.as_ref().unwrap();
    assert_eq!(
        bootstrap.initdb,
        [("encoding".to_owned(), Some("UTF8".to_owned())), ("data-checksums".to_owned(), None)]
    );
    assert_eq!(bootstrap.dcs.keys().take(2).collect::<Vec<_>>(), ["ttl", "loop_wait"]);
    assert_eq!(settings.tags, map(json!({"noloadbalance": false, "clonefrom": false})));
}

#[test]
fn what_must_be_there_is_named() {
    for (changes, line) in [
        (json!({"scope": null}), "scope is missing"),
        (json!({"name": null}), "name is missing"),
        (json!({"restapi": null}), "restapi.listen is missing"),
        (json!({"postgresql": {"listen": null}}), "postgresql.listen is missing"),
        (json!({"postgresql": {"data_dir": null}}), "postgresql.data_dir is missing"),
        (json!({"postgresql": {"authentication": null}}), "postgresql.authentication.replication is missing"),
        (json!({"restapi": {"authentication": {"username": "u"}}}), "restapi.authentication.password is missing"),
    ] {
        assert_eq!(with(changes).unwrap_err(), ConfigError::Invalid(vec![line.into()]));
    }
}

#[test]
fn bad_local_values_name_key_reason_and_place() {
    for (changes, key, reason) in [
        (json!({"postgresql": {"listen": "a:b"}}), "postgresql.listen", "no port number"),
        (json!({"postgresql": {"connect_address": "h:port"}}), "postgresql.connect_address", "no port number"),
        (json!({"postgresql": {"pg_ctl_timeout": "soon"}}), "postgresql.pg_ctl_timeout", "time in seconds"),
        (json!({"postgresql": {"use_unix_socket": "maybe"}}), "postgresql.use_unix_socket", "boolean"),
        (json!({"postgresql": {"pg_hba": {"a": 1}}}), "postgresql.pg_hba", "list of texts"),
        (json!({"postgresql": {"callbacks": "x"}}), "postgresql.callbacks", "not a dictionary"),
        (json!({"postgresql": {"parameters": {"work_mem": [1]}}}), "postgresql.parameters.work_mem", "no value"),
        (json!({"restapi": {"listen": "here"}}), "restapi.listen", "expected <HOST>:<PORT>"),
        (json!({"restapi": {"verify_client": "yes"}}), "restapi.verify_client", "none, optional, required"),
        (json!({"restapi": {"request_queue_size": 5000}}), "restapi.request_queue_size", "between 0 and 4096"),
        (json!({"ctl": {"insecure": "perhaps"}}), "ctl.insecure", "boolean"),
        (json!({"log": {"level": "loud"}}), "log.level", "'LOUD' is none of"),
        (json!({"log": {"loggers": {"a": "loud"}}}), "log.loggers.a", "'LOUD' is none of"),
        (json!({"log": {"mode": 0o1000}}), "log.mode", "between 0 and 511"),
        (json!({"log": {"type": "xml"}}), "log.type", "plain, json"),
        (json!({"etcd3": {"host": null}}), "etcd3", "srv, hosts, host nor url"),
        (json!({"etcd3": {"host": "a:x"}}), "etcd3.host", "host:port"),
        (json!({"etcd3": {"url": "ftp://x"}}), "etcd3.url", "http[s]://host"),
        (json!({"postgresql": {"parameters": {"a.b": {}}}}), "postgresql.parameters.a.b", "in the local configuration"),
    ] {
        let Err(ConfigError::Invalid(lines)) = with(changes.clone()) else { panic!("{changes}") };
        let line = lines.join("; ");
        assert!(line.starts_with(key) && line.contains(reason), "{line}");
    }
    let text = with(json!({"ctl": {"insecure": "perhaps"}})).unwrap_err().to_string();
    assert!(text.ends_with("(in PATRONI_CONFIGURATION)"), "{text}");
}

/// DCS-01.
#[test]
fn without_a_usable_store_there_is_an_error() {
    let text = with(json!({"etcd3": null})).unwrap_err().to_string();
    let wanted =
        "Can not find suitable configuration of distributed configuration store\nAvailable implementations: etcd3";
    assert_eq!(text, wanted);
    let text = with(json!({"etcd3": null, "etcd": {"host": "a"}, "consul": {"host": "b"}})).unwrap_err().to_string();
    assert_eq!(text, format!("{wanted}\nconsul, etcd in the configuration, but not supported yet"));
}

/// DCS-12.
#[test]
fn etcd_endpoints_have_many_forms() {
    let etcd = |section: Value| {
        let Store::Etcd3(etcd) = settings_with(json!({"etcd3": section})).store;
        (etcd.hosts.join(" "), etcd.https, etcd.use_proxies)
    };
    for (section, hosts, https, proxies) in [
        (json!({"host": "h"}), "h:2379", false, false),
        (json!({"host": "h:1", "protocol": "https"}), "h:1", true, false),
        (json!({"host": "[::1]:1"}), "[::1]:1", false, false),
        (json!({"hosts": "a:1, b,c:3"}), "a:1 b:2379 c:3", false, false),
        (json!({"hosts": ["a:1", "b"], "port": 7, "use_proxies": "on"}), "a:1 b:7", false, true),
        (json!({"url": "https://u:p@h/x"}), "h:2379", true, false),
        (json!({"proxy": "http://h:80", "host": "x"}), "h:80", false, true),
    ] {
        assert_eq!(etcd(section), (hosts.to_owned(), https, proxies));
    }
    let Store::Etcd3(etcd) = settings_with(json!({"etcd3": {
        "host": null, "srv": "example.org", "srv_suffix": "x", "cacert": "/ca", "cert": "/c", "key": "/k",
        "username": "u", "password": "p"}}))
    .store;
    assert_eq!((etcd.srv.as_deref(), etcd.srv_suffix.as_deref()), (Some("example.org"), Some("x")));
    assert_eq!(etcd.authentication.unwrap().password.reveal(), "p");
    let Store::Etcd3(etcd) = settings_with(json!({"etcd3": {"url": "https://u:p@h"}})).store;
    assert_eq!(etcd.authentication.unwrap().username, "u");
}

#[test]
fn passwords_are_in_no_message() {
    let secret = "s3cret";
    for changes in [
        json!({"restapi": {"authentication": {"username": "u", "password": {"x": secret}}}}),
        json!({"postgresql": {"authentication": {"replication": {"password": [secret]}}}}),
        json!({"etcd3": {"url": format!("x://u:{secret}@h")}}),
    ] {
        let error = with(changes.clone()).unwrap_err();
        assert!(!format!("{error} {error:?}").contains(secret), "{error}");
    }
    let (config, _) = with(json!({"postgresql": {"authentication": {"replication": {"password": secret}}}})).unwrap();
    assert!(!format!("{config:?} {:?}", config.settings()).contains(secret));
}

#[test]
fn ctl_is_filled_from_restapi() {
    let restapi = json!({"authentication": {"username": "u", "password": "p"}, "cafile": "/ca", "certfile": "/c"});
    let settings = settings_with(json!({"restapi": restapi}));
    assert_eq!(settings.ctl.authentication, settings.restapi.authentication);
    assert_eq!(settings.ctl.cacert.as_deref(), Some("/ca".as_ref()));
    assert_eq!(settings.ctl.certfile, None);
    assert_eq!(settings.restapi.api_url(), "https://127.0.0.1:8008/patroni");
    let own = json!({"authentication": {"username": "v", "password": "q"}, "cacert": "/other", "insecure": "on"});
    let settings = settings_with(json!({"restapi": restapi, "ctl": own}));
    assert_eq!(settings.ctl.authentication.unwrap().username, "v");
    assert!(settings.ctl.insecure);
}

#[test]
fn addresses_have_their_defaults() {
    for (listen, connect, hosts, port, address) in [
        ("10.0.0.1:5433", None, "10.0.0.1", 5433, "10.0.0.1:5433"),
        ("10.0.0.1,127.0.0.1:5433", None, "10.0.0.1,127.0.0.1", 5433, "localhost:5433"),
        ("*", None, "*", 5432, "localhost:5432"),
        ("[::1]:5433", None, "::1", 5433, "[::1]:5433"),
        ("0.0.0.0:5433", Some("db1"), "0.0.0.0", 5433, "db1:5433"),
        ("0.0.0.0:5433", Some("[fe80::1]:6000"), "0.0.0.0", 5433, "[fe80::1]:6000"),
    ] {
        let pg = settings_with(json!({"postgresql": {"listen": listen, "connect_address": connect}})).postgresql;
        assert_eq!((pg.listen_addresses.as_str(), pg.port, pg.connect_address.as_str()), (hosts, port, address));
        assert_eq!(pg.parameters["listen_addresses"], hosts);
        assert_eq!(pg.parameters["port"], port.to_string());
        assert_eq!(pg.parameters["cluster_name"], "batman");
    }
}

#[test]
fn postgresql_has_all_its_keys() {
    let pg = settings_with(json!({"postgresql": {
        "proxy_address": "p:6432", "config_dir": "/etc/pg", "bin_dir": "/bin/pg", "bin_name": {"postgres": "pg"},
        "pgpass": "/tmp/pgpass", "database": "db", "custom_conf": "/c.conf", "krbsrvname": "k",
        "callbacks": {"on_start": "/cb start"}, "pg_ctl_timeout": "2min", "use_unix_socket": "on",
        "use_unix_socket_repl": true, "before_stop": "/b", "pre_promote": "/p", "pg_hba": ["a", "b"],
        "pg_ident": "one\ntwo\n", "recovery_conf": {"restore_command": "cp %f %p", "recovery_target_inclusive": true},
        "create_replica_methods": ["wal_e", "basebackup"], "wal_e": {"command": "/w", "no_leader": 1},
        "basebackup": ["verbose", {"max-rate": "100M"}, "pgdata"], "parameters": {"hba_file": "my.conf"},
        "rewind": ["progress", "dry-run", {"sync-method": "fsync"}],
        "authentication": {"superuser": {"username": "s", "sslmode": "require", "other": 1}}}}))
    .postgresql;
    assert_eq!(pg.proxy_address.as_deref(), Some("p:6432"));
    assert_eq!(pg.bin_name["postgres"], "pg");
    assert_eq!(pg.callbacks["on_start"], "/cb start");
    assert_eq!(pg.pg_ctl_timeout, Duration::from_secs(120));
    assert!(pg.use_unix_socket && pg.use_unix_socket_repl);
    assert_eq!(pg.pg_hba.unwrap(), ["a", "b"]);
    assert_eq!(pg.pg_ident.unwrap(), ["one", "two"]);
    assert_eq!(pg.recovery_conf["recovery_target_inclusive"], "on");
    assert_eq!(pg.create_replica_methods[0].options, map(json!({"command": "/w", "no_leader": 1})));
    let backup = map(json!({"verbose": null, "max-rate": "100M", "pgdata": null}));
    assert_eq!(pg.create_replica_methods[1].options, backup);
    assert_eq!(pg.basebackup, [("verbose".into(), None), ("max-rate".into(), Some("100M".into()))]);
    assert_eq!(pg.rewind_options, [("progress".into(), None), ("sync-method".into(), Some("fsync".into()))]);
    assert_eq!(pg.parameters["hba_file"], "/etc/pg/my.conf");
    assert_eq!(pg.superuser.options.into_iter().collect::<Vec<_>>(), [("sslmode".into(), "require".into())]);
    assert!(pg.config_dir.is_absolute());
}

#[test]
fn recovery_settings_among_parameters_replace_recovery_conf() {
    let pg = settings_with(json!({"postgresql": {
        "recovery_conf": {"recovery_end_command": "x"}, "parameters": {"restore_command": "cp"}}}))
    .postgresql;
    assert_eq!(pg.recovery_conf.into_iter().collect::<Vec<_>>(), [("restore_command".into(), "cp".into())]);
    assert_eq!(pg.parameters.get("restore_command"), None);
}

// rows: BOOT-15
#[test]
fn replica_methods_default_to_basebackup() {
    let names = |changes: Value| {
        let methods = settings_with(json!({"postgresql": changes})).postgresql.create_replica_methods;
        methods.into_iter().map(|method| method.name).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(names(json!({})), "basebackup");
    assert_eq!(names(json!({"create_replica_methods": []})), "basebackup");
    assert_eq!(names(json!({"create_replica_method": ["a", "b"]})), "a b");
}

// rows: WD-01, WD-02, WD-03
#[test]
fn the_watchdog_has_loose_spellings() {
    use WatchdogMode::{Automatic, Off, Required};
    let read = |section: Value| {
        let (config, warnings) = with(json!({"watchdog": section})).unwrap();
        let unknown = warnings.iter().find(|line| line.starts_with("Watchdog mode")).cloned();
        (config.settings().watchdog.clone(), unknown)
    };
    for (mode, wanted) in [
        (json!("automatic"), Automatic),
        (json!("Auto"), Automatic),
        (json!("required"), Required),
        (json!("REQUIRE"), Required),
        (json!("off"), Off),
        (json!("Disabled"), Off),
        (json!("disable"), Off),
        (json!(false), Off),
    ] {
        let (watchdog, unknown) = read(json!({"mode": mode}));
        assert_eq!((watchdog.mode, unknown), (wanted, None), "{mode}");
    }
    for mode in [json!(true), json!("Perhaps")] {
        let (watchdog, unknown) = read(json!({"mode": mode}));
        assert_eq!(watchdog.mode, Off);
        let shown = if mode == true { "true" } else { "perhaps" };
        assert_eq!(unknown, Some(format!("Watchdog mode {shown} not recognized, disabling watchdog")));
    }
    let (watchdog, _) = read(json!({}));
    assert_eq!((watchdog.mode, watchdog.safety_margin, watchdog.driver.as_str()), (Automatic, 5, "default"));
    assert_eq!(watchdog.device, std::path::Path::new("/dev/watchdog"));
    let given = json!({"device": "/dev/watchdog1", "driver": "testing", "safety_margin": "-1"});
    let (watchdog, _) = read(given);
    assert_eq!((watchdog.safety_margin, watchdog.driver.as_str()), (-1, "testing"));
    assert_eq!(watchdog.device, std::path::Path::new("/dev/watchdog1"));
    let error = with(json!({"watchdog": {"safety_margin": -2}})).unwrap_err().to_string();
    assert!(error.contains("watchdog.safety_margin"), "{error}");
}

// rows: STBY-02
#[test]
fn a_standby_cluster_has_its_own_replica_methods() {
    let (mut config, _) = load(MINIMAL).unwrap();
    let methods = |config: &Config| {
        let methods = config.settings().postgresql.create_replica_methods.clone();
        methods.into_iter().map(|m| (m.name, Value::from(m.options))).collect::<Vec<_>>()
    };
    let barman = json!({"create_replica_methods": ["other"], "barman": {"command": "/b"}});
    let section = json!({"host": "h", "create_replica_methods": ["barman", "basebackup"]});
    config.set_dynamic(&map(json!({"postgresql": barman, "standby_cluster": section}))).unwrap();
    let expected = [("barman".to_owned(), json!({"command": "/b"})), ("basebackup".to_owned(), json!({}))];
    assert_eq!(methods(&config), expected);
    config.set_dynamic(&map(json!({"postgresql": barman, "standby_cluster": {"host": "h"}}))).unwrap();
    assert_eq!(methods(&config), expected[1..]);
    config.set_dynamic(&map(json!({"postgresql": barman, "standby_cluster": null}))).unwrap();
    assert_eq!(methods(&config), [("other".to_owned(), json!({}))]);
}

// rows: TAG-10
#[test]
fn conflicting_tags_are_named() {
    for (tags, warning) in [
        (json!({"nofailover": true, "failover_priority": 1}), Some("nofailover: True and failover_priority: 1")),
        (json!({"nofailover": false, "failover_priority": "0"}), Some("nofailover: False and failover_priority: 0")),
        (json!({"nosync": true, "sync_priority": 2}), Some("nosync: True and sync_priority: 2")),
        (json!({"nofailover": true, "failover_priority": 0}), None),
        (json!({"failover_priority": 1}), None),
    ] {
        let (_, warnings) = with(json!({"tags": tags})).unwrap();
        let found = warnings.iter().find(|line| line.starts_with("Conflicting configuration between"));
        assert_eq!(found.is_some(), warning.is_some(), "{warnings:?}");
        assert!(warning.is_none_or(|text| found.unwrap().contains(text)), "{warnings:?}");
    }
}

#[test]
fn files_of_a_folder_are_merged_in_order_and_the_environment_is_on_top() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("10.yml"), MINIMAL).unwrap();
    fs::write(folder.path().join("20.yaml"), "name: b\ntags: {x: 1}\nrestapi: {certfile: /c}\n").unwrap();
    fs::write(folder.path().join("30.txt"), "name: c\n").unwrap();
    let environment = variables(&[("PATRONI_SCOPE", "robin"), ("PATRONI_RESTAPI_CERTFILE", "/d"), ("HOME", "/")]);
    let (config, _) = Config::load(Some(folder.path()), environment).unwrap();
    let settings = config.settings();
    assert_eq!((settings.scope.as_str(), settings.name.as_str()), ("robin", "b"));
    assert_eq!(settings.restapi.certfile.as_deref(), Some("/d".as_ref()));
    assert_eq!(settings.restapi.listen, "127.0.0.1:8008");
    let error = Config::load(Some(folder.path()), variables(&[("PATRONI_RESTAPI_VERIFY_CLIENT", "x")])).unwrap_err();
    let wanted = "restapi.verify_client: 'x' is none of none, optional, required (in environment variable \
                  PATRONI_RESTAPI_VERIFY_CLIENT)";
    assert_eq!(error.to_string(), wanted);
}

#[test]
fn sources_that_are_no_configuration_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yml");
    assert_eq!(Config::load(None, vec![]).unwrap_err(), ConfigError::Empty);
    assert_eq!(Config::load(Some(&file), vec![]).unwrap_err(), ConfigError::Path(file.clone()));
    for (text, wanted) in
        [("- a\n", "does not contain a dict"), ("", "does not contain a dict"), ("a: [\n", "p.yml, line")]
    {
        fs::write(&file, text).unwrap();
        let error = Config::load(Some(&file), vec![]).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    }
}

/// CFG-05.
#[test]
fn a_bad_file_at_reload_keeps_the_old_settings() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yml");
    fs::write(&file, MINIMAL).unwrap();
    let (mut config, _) = Config::load(Some(&file), vec![]).unwrap();
    assert_eq!(config.reload(), Ok(false));
    for bad in ["a: [", "scope: x", "- 1", &MINIMAL.replace("5432", "port")] {
        fs::write(&file, bad).unwrap();
        assert!(config.reload().is_err(), "{bad}");
        assert_eq!(config.settings().name, "a");
    }
    fs::write(&file, MINIMAL.replace("name: a", "name: b")).unwrap();
    assert_eq!(config.reload(), Ok(true));
    assert_eq!(config.settings().name, "b");
    fs::remove_file(&file).unwrap();
    assert!(config.reload().is_err());
    assert_eq!(config.settings().name, "b");
}

/// CFG-04.
#[test]
fn the_dynamic_configuration_is_cached_in_the_data_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let (mut config, _) = with(json!({"postgresql": {"data_dir": data}})).unwrap();
    assert_eq!((config.load_cache(), config.save_cache()), (Ok(false), Ok(false)));
    fs::create_dir(&data).unwrap();
    assert_eq!(config.save_cache(), Ok(false), "an empty data directory must stay empty");
    fs::write(data.join("PG_VERSION"), "15").unwrap();
    let dynamic = map(json!({"ttl": 40, "z": 1, "a": {"b": null}}));
    assert_eq!(config.set_dynamic(&dynamic), Ok(true));
    assert_eq!(config.set_dynamic(&dynamic), Ok(false));
    assert_eq!(config.save_cache(), Ok(true));
    let (mut other, _) = with(json!({"postgresql": {"data_dir": data}})).unwrap();
    assert_eq!(other.load_cache(), Ok(true));
    assert_eq!(other.dynamic().as_ref(), &dynamic);
    assert_eq!(other.settings().global.ttl, Duration::from_secs(40));
    assert_eq!(fs::read_dir(&data).unwrap().count(), 2);
    fs::write(data.join(cache::FILE), "[1").unwrap();
    assert!(other.load_cache().is_err());
    assert_eq!(other.dynamic().as_ref(), &dynamic);
}

// rows: BOOT-12
#[test]
fn bootstrap_dcs_is_the_first_dynamic_configuration() {
    let (mut config, _) = load(SAMPLE).unwrap();
    assert_eq!(config.use_bootstrap_dcs(), Ok(true));
    assert!(config.settings().global.use_pg_rewind);
    assert_eq!(config.settings().postgresql.pg_hba.as_ref().unwrap().len(), 2);
    assert_eq!(config.use_bootstrap_dcs(), Ok(false));
    let (mut config, _) = load(MINIMAL).unwrap();
    assert_eq!(config.use_bootstrap_dcs(), Ok(false));
}

// rows: BOOT-05
#[test]
fn keys_that_are_not_obeyed_are_named_once() {
    let (mut config, warnings) =
        with(json!({"citus": {"group": 1}, "bootstrap": {"method": "m", "m": {"command": "x"}, "users": {"a": 1}}}))
            .unwrap();
    for wanted in ["citus is not supported yet", "User creation is not be"] {
        assert_eq!(warnings.iter().filter(|line| line.starts_with(wanted)).count(), 1, "{warnings:?}");
    }
    assert_eq!(config.set_dynamic(&map(json!({"failsafe_mode": true}))), Ok(true));
    let settings = config.settings();
    let bootstrap = settings.bootstrap.as_ref().unwrap();
    assert!(bootstrap.method.as_ref().unwrap().name == "m" && bootstrap.users);
}

#[test]
fn the_configuration_can_be_read_on_another_thread() {
    fn sent<T: Send + 'static>(_: &T) {}
    sent(&load(MINIMAL).unwrap().0);
}
