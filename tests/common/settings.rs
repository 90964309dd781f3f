//! Settings for tests, as the agent itself makes them of a short configuration file: everything that is not named here
//! has Patroni's default. Used by tests beside the code and in `tests/`.

use patroni::config::{Config, Settings};

const FILE: &str = "\
scope: batman
name: a
restapi:
  listen: 127.0.0.1:8008
etcd3:
  host: 127.0.0.1:2379
postgresql:
  listen: 127.0.0.1:5432
  data_dir: /nonexistent/data
  authentication:
    superuser:
      username: postgres
      password: zalando
    replication:
      username: replicator
      password: rep-pass
watchdog:
  mode: 'off'
";

/// Member `a` of the cluster `batman`, with what `change` does to it.
pub fn settings(change: impl FnOnce(&mut Settings)) -> Settings {
    let variables = [("PATRONI_CONFIGURATION".to_owned(), FILE.to_owned())];
    let (config, _) = Config::load(None, variables).unwrap();
    let mut settings = Settings::clone(&config.settings());
    change(&mut settings);
    settings
}
