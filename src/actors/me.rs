//! What the rules are told about the agent itself: taken from its settings.

use crate::cluster::MemberTags;
use crate::config::python::truth;
use crate::config::{Settings, settings::Store};
use crate::ha::Me;
use serde_json::{Map, Value};

/// The agent as the rules see it. `dynamic`: `bootstrap.dcs`, or the dynamic configuration last seen.
#[must_use]
pub fn me(settings: &Settings, dynamic: &Map<String, Value>) -> Me {
    let postgresql = &settings.postgresql;
    let methods = &postgresql.create_replica_methods;
    Me {
        name: settings.name.clone(),
        conn_url: postgres_url(&postgresql.connect_address, &postgresql.database),
        api_url: settings.restapi.api_url(),
        proxy_url: postgresql.proxy_address.as_deref().map(|a| postgres_url(a, &postgresql.database)),
        tags: MemberTags(settings.tags.clone()).published(),
        may_bootstrap: settings.bootstrap.is_some(),
        dynamic_config: dynamic.clone(),
        replica_method_without_leader: methods.iter().any(|m| m.options.get("no_leader").is_some_and(truth)),
        has_pre_promote: postgresql.pre_promote.is_some(),
        store: match settings.store {
            Store::Etcd3(_) => "etcd3".to_owned(),
        },
    }
}

/// `postgres://host:port/database`; an IPv6 address gets its brackets.
fn postgres_url(address: &str, database: &str) -> String {
    let address = match address.rsplit_once(':') {
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        _ => address.to_owned(),
    };
    format!("postgres://{address}/{database}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() {
        assert_eq!(postgres_url("10.0.0.1:5432", "postgres"), "postgres://10.0.0.1:5432/postgres");
        assert_eq!(postgres_url("fe80::1:5433", "app"), "postgres://[fe80::1]:5433/app");
        assert_eq!(postgres_url("[::1]:5433", "app"), "postgres://[::1]:5433/app");
    }
}
