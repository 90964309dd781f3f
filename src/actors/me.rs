//! What the rules are told about the agent itself: taken from its settings.

use crate::cluster::MemberTags;
use crate::config::python::truth;
use crate::config::{Settings, settings::Store};
use crate::ha::Me;
use serde_json::{Map, Value};

/// Tags that are published only when they are on: off is their default.
const SWITCHES: [&str; 5] = ["clonefrom", "nofailover", "noloadbalance", "nosync", "nostream"];

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
        tags: published_tags(&settings.tags),
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

/// The tags of the member key (TAG-01): switches that are off are left out, unless they stand against a priority that
/// says otherwise and readers need both.
fn published_tags(tags: &Map<String, Value>) -> MemberTags {
    let shown = |name: &str, value: &Value| match name {
        _ if !SWITCHES.contains(&name) || truth(value) => true,
        "nofailover" => tags.contains_key("failover_priority"),
        "nosync" => tags.contains_key("sync_priority"),
        _ => false,
    };
    MemberTags(tags.iter().filter(|(n, v)| shown(n, v)).map(|(n, v)| (n.clone(), v.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn switches_that_are_off_are_not_published() {
        let Value::Object(tags) = json!({
            "nofailover": false, "nosync": false, "sync_priority": 2, "clonefrom": true, "noloadbalance": "", "dc": "east"
        }) else {
            unreachable!()
        };
        let shown: Vec<_> = published_tags(&tags).0.keys().cloned().collect();
        assert_eq!(shown, ["nosync", "sync_priority", "clonefrom", "dc"]);
    }

    #[test]
    fn addresses_become_urls() {
        assert_eq!(postgres_url("10.0.0.1:5432", "postgres"), "postgres://10.0.0.1:5432/postgres");
        assert_eq!(postgres_url("fe80::1:5433", "app"), "postgres://[fe80::1]:5433/app");
        assert_eq!(postgres_url("[::1]:5433", "app"), "postgres://[::1]:5433/app");
    }
}
