//! Dynamic configuration under the local one, key by key as Patroni does it (CFG-03, CFG-18, CFG-29).

use super::parameters::{self, Parameters};
use serde_json::{Map, Value};

/// Keys of `postgresql` that the dynamic configuration cannot set.
const LOCAL_ONLY: [&str; 7] =
    ["connect_address", "proxy_address", "listen", "config_dir", "data_dir", "pgpass", "authentication"];

/// Keys at the root that only the dynamic configuration sets.
const DYNAMIC_ONLY: [&str; 4] = ["ttl", "loop_wait", "retry_timeout", "standby_cluster"];

/// The merged tree; server parameters apart.
pub(super) struct Effective {
    pub root: Map<String, Value>,
    pub parameters: Parameters,
}

/// Merges; complaints about dynamic values go to `warnings`.
pub(super) fn merge(dynamic: &Map<String, Value>, local: &Map<String, Value>, warnings: &mut Vec<String>) -> Effective {
    let dynamic_pg = mapping(dynamic, "postgresql");
    let local_pg = mapping(local, "postgresql");
    let mut postgresql = Map::new();
    for (key, value) in dynamic_pg.into_iter().flatten() {
        if key != "parameters" && !LOCAL_ONLY.contains(&key.as_str()) {
            postgresql.insert(key.clone(), value.clone());
        }
    }
    for (key, value) in local_pg.into_iter().flatten() {
        // Slots are used by the whole cluster or not at all.
        if key != "parameters" && key != "use_slots" {
            postgresql.insert(key.clone(), value.clone());
        }
    }
    let dynamic_parameters = dynamic_pg.and_then(|pg| pg.get("parameters"));
    if dynamic_parameters.is_some_and(|value| !value.is_null() && !value.is_object()) {
        warnings.push("postgresql.parameters is not a dictionary, ignored (in the dynamic configuration)".into());
    }
    let parameters = parameters::merge(
        dynamic_parameters.and_then(Value::as_object),
        local_pg.and_then(|pg| pg.get("parameters")).and_then(Value::as_object),
        warnings,
    );
    let mut root: Map<String, Value> = local
        .iter()
        .filter(|(key, _)| !DYNAMIC_ONLY.contains(&key.as_str()) && *key != "postgresql")
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    old_authentication(&mut postgresql);
    if root.get("name").is_none_or(Value::is_null)
        && let Some(name) = postgresql.get("name")
    {
        root.insert("name".into(), name.clone());
    }
    if let Some(exhibitor) = root.get("zookeeper").and_then(|section| section.get("exhibitor")).cloned() {
        root.shift_remove("zookeeper");
        root.insert("exhibitor".into(), exhibitor);
    }
    root.insert("postgresql".into(), Value::Object(postgresql));
    Effective { root, parameters }
}

/// Users outside of `authentication` (CFG-29).
fn old_authentication(postgresql: &mut Map<String, Value>) {
    let rewind = postgresql.get("pg_rewind").cloned();
    if postgresql.get("authentication").is_none_or(Value::is_null) {
        let users = ["replication", "superuser"]
            .iter()
            .filter_map(|user| Some(((*user).to_owned(), postgresql.get(*user)?.clone())))
            .collect();
        postgresql.insert("use_pg_rewind".into(), Value::Bool(rewind.is_some()));
        postgresql.insert("authentication".into(), Value::Object(users));
    }
    if let (Some(rewind), Some(Value::Object(users))) = (rewind, postgresql.get_mut("authentication"))
        && !users.contains_key("superuser")
    {
        users.insert("superuser".into(), rewind);
    }
}

fn mapping<'a>(map: &'a Map<String, Value>, key: &str) -> Option<&'a Map<String, Value>> {
    map.get(key).and_then(Value::as_object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn merged(dynamic: Value, local: Value) -> Value {
        let (dynamic, local) = (dynamic.as_object().unwrap().clone(), local.as_object().unwrap().clone());
        Value::Object(merge(&dynamic, &local, &mut Vec::new()).root)
    }

    #[test]
    fn local_keys_win_and_some_cannot_be_dynamic() {
        let dynamic = json!({"ttl": 20, "tags": {"x": 1}, "postgresql": {
            "data_dir": "/evil", "listen": "x", "pg_hba": ["a"], "pg_ident": ["i"], "recovery_conf": {"a": 1, "b": 2},
            "use_slots": false, "authentication": {"superuser": {"username": "evil"}}}});
        let local = json!({"ttl": 99, "tags": {"y": 2}, "postgresql": {
            "data_dir": "/d", "pg_hba": ["b"], "recovery_conf": {"c": 3}, "use_slots": true, "authentication": {}}});
        let wanted = json!({"tags": {"y": 2}, "postgresql": {
            "pg_hba": ["b"], "pg_ident": ["i"], "recovery_conf": {"c": 3}, "use_slots": false, "data_dir": "/d",
            "authentication": {}}});
        assert_eq!(merged(dynamic, local), wanted);
    }

    #[test]
    fn old_layouts_are_understood() {
        let local =
            json!({"postgresql": {"name": "n", "replication": {"username": "r"}, "pg_rewind": {"username": "w"}}});
        let root = merged(json!({}), local);
        assert_eq!(root["name"], "n");
        assert_eq!(root["postgresql"]["use_pg_rewind"], true);
        let users = json!({"replication": {"username": "r"}, "superuser": {"username": "w"}});
        assert_eq!(root["postgresql"]["authentication"], users);
        let root = merged(json!({}), json!({"zookeeper": {"exhibitor": {"port": 1}}}));
        assert_eq!(root["exhibitor"], json!({"port": 1}));
        assert_eq!(root.get("zookeeper"), None);
    }
}
