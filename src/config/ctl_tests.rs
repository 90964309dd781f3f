//! What patronictl is told.

use super::config_tests::variables;
use super::settings::Store;
use super::{ConfigError, CtlConfig};
use std::fs;

#[test]
fn patronictl_needs_little() {
    let ctl = CtlConfig::load(None, variables(&[("PATRONI_ETCD3_HOST", "h")]), None).unwrap();
    assert_eq!((ctl.scope, ctl.namespace.as_str()), (None, "service"));
    assert!(matches!(ctl.store, Ok(Store::Etcd3(etcd)) if etcd.hosts == ["h:2379"]));
    let ctl = CtlConfig::load(None, vec![], None).unwrap();
    assert!(matches!(ctl.store, Err(ConfigError::NoStore { .. })));
    let missing = std::path::Path::new("/nonexistent/ctl.yml");
    let error = CtlConfig::load(Some(missing), vec![], None).unwrap_err().to_string();
    assert!(error.starts_with("Provided config file /nonexistent/ctl.yml not existing or no read rights."), "{error}");
}

#[test]
fn patronictl_reads_its_own_file_and_the_store_of_its_url() {
    let home = tempfile::tempdir().unwrap();
    let folder = home.path().join(".config/patroni");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("patronictl.yaml"), "scope: s\nnamespace: /n\netcd3: {host: a}\nrestapi: {cafile: /ca}\n")
        .unwrap();
    let environment = variables(&[("HOME", home.path().to_str().unwrap())]);
    let ctl = CtlConfig::load(None, environment.clone(), None).unwrap();
    assert_eq!((ctl.scope.as_deref(), ctl.namespace.as_str()), (Some("s"), "/n"));
    assert_eq!(ctl.ctl.cacert.as_deref(), Some("/ca".as_ref()));
    for (url, hosts, namespace) in
        [("etcd3://b:1/ns", "b:1", "/ns"), ("etcd3://", "localhost:2379", "/n"), ("etcd3://[::1]:5/", "[::1]:5", "/n")]
    {
        let ctl = CtlConfig::load(None, environment.clone(), Some(url)).unwrap();
        let Ok(Store::Etcd3(etcd)) = ctl.store else { panic!("{url}") };
        assert_eq!((etcd.hosts.join(" ").as_str(), ctl.namespace.as_str()), (hosts, namespace));
    }
    let error = CtlConfig::load(None, environment.clone(), Some("redis://x")).unwrap_err();
    assert_eq!(error.to_string(), "Unknown dcs scheme: redis");
    let ctl = CtlConfig::load(None, environment, Some("localhost:8500")).unwrap();
    assert!(ctl.store.unwrap_err().to_string().contains("consul"));
}
