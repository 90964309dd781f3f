//! `standby_cluster`: the remote cluster that this one follows (STBY-01, STBY-02).

use super::loose::{Text, Words};
use super::python;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The section, when it makes the cluster a standby cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyCluster {
    /// `host`: where the remote primary is; several with commas.
    pub host: Option<String>,
    /// `port`: one, or one for each host.
    pub port: Option<String>,
    /// `primary_slot_name`: the slot there; `None`: no slot is used.
    pub primary_slot_name: Option<String>,
    /// `create_replica_methods`; empty: pg_basebackup.
    pub create_replica_methods: Vec<String>,
    /// `restore_command`.
    pub restore_command: Option<String>,
    /// `archive_cleanup_command`.
    pub archive_cleanup_command: Option<String>,
    /// `recovery_min_apply_delay`, of the standby leader alone.
    pub recovery_min_apply_delay: Option<String>,
}

impl StandbyCluster {
    /// Reads the section. `None`: it names neither host nor port nor restore_command, or is none. A value that cannot be
    /// used is left out with a warning and never makes a primary of the cluster; of an address nothing is left then.
    pub(super) fn read(section: &Value, warnings: &mut Vec<String>) -> Option<Self> {
        let section = section.as_object()?;
        let given = |key: &str| section.get(key).is_some_and(python::truth);
        if !["host", "port", "restore_command"].into_iter().any(given) {
            return None;
        }
        let mut text = |key: &str| text(section, key, warnings);
        let (host, port) = (text("host"), text("port"));
        let mut found = Self {
            primary_slot_name: text("primary_slot_name"),
            restore_command: text("restore_command"),
            archive_cleanup_command: text("archive_cleanup_command"),
            recovery_min_apply_delay: text("recovery_min_apply_delay"),
            ..Self::default()
        };
        found.create_replica_methods = words(section, "create_replica_methods", warnings);
        let bad_host = given("host") && host.is_none();
        let bad_port = given("port") && port.as_deref().is_none_or(|ports| !are_ports(ports));
        if bad_port && port.is_some() {
            warn("port", section.get("port"), "a port number", warnings);
        }
        if !bad_host && !bad_port {
            (found.host, found.port) = (host, port);
        }
        Some(found)
    }
}

fn are_ports(text: &str) -> bool {
    text.split(',').all(|port| port.trim().parse::<u16>().is_ok_and(|number| number > 0))
}

/// What is empty counts as absent.
fn text(section: &Map<String, Value>, key: &str, warnings: &mut Vec<String>) -> Option<String> {
    let value = section.get(key).filter(|value| python::truth(value))?;
    match Text::deserialize(value) {
        Ok(text) => Some(text.0),
        Err(_) => {
            warn(key, Some(value), "a text", warnings);
            None
        }
    }
}

fn words(section: &Map<String, Value>, key: &str, warnings: &mut Vec<String>) -> Vec<String> {
    let Some(value) = section.get(key).filter(|value| python::truth(value)) else { return Vec::new() };
    Words::deserialize(value).map(|words| words.0).unwrap_or_else(|_| {
        warn(key, Some(value), "a list of words", warnings);
        Vec::new()
    })
}

fn warn(key: &str, value: Option<&Value>, wanted: &str, warnings: &mut Vec<String>) {
    let value = python::repr(value.unwrap_or(&Value::Null));
    warnings.push(format!("standby_cluster.{key}={value} is not {wanted}, it is not used"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> (Option<StandbyCluster>, Vec<String>) {
        let mut warnings = Vec::new();
        (StandbyCluster::read(&value, &mut warnings), warnings)
    }

    // rows: STBY-01, STBY-02
    #[test]
    fn host_port_or_restore_command_make_a_standby_cluster() {
        for value in [
            json!(null),
            json!("x"),
            json!({}),
            json!({"host": "", "port": "", "restore_command": ""}),
            json!({"host": null, "primary_slot_name": "s", "archive_cleanup_command": "x"}),
        ] {
            assert_eq!(read(value.clone()), (None, vec![]), "{value}");
        }
        let text = |text: &str| Some(text.to_owned());
        let all = json!({"host": "a,b", "port": 5433, "primary_slot_name": "s", "create_replica_methods": ["x", "basebackup"],
            "restore_command": "cp %f %p", "archive_cleanup_command": "clean %r", "recovery_min_apply_delay": "5min"});
        let expected = StandbyCluster {
            host: text("a,b"),
            port: text("5433"),
            primary_slot_name: text("s"),
            create_replica_methods: vec!["x".to_owned(), "basebackup".to_owned()],
            restore_command: text("cp %f %p"),
            archive_cleanup_command: text("clean %r"),
            recovery_min_apply_delay: text("5min"),
        };
        assert_eq!(read(all), (Some(expected), vec![]));
        let port = StandbyCluster { port: text("1,2"), ..StandbyCluster::default() };
        assert_eq!(read(json!({"port": "1,2"})), (Some(port), vec![]));
        let archive = StandbyCluster { restore_command: text("x"), ..StandbyCluster::default() };
        assert_eq!(read(json!({"restore_command": "x", "host": ""})), (Some(archive), vec![]));
    }

    #[test]
    fn what_cannot_be_used_leaves_a_standby_cluster_without_address() {
        for (value, warning) in [
            (json!({"host": ["a"]}), "standby_cluster.host=['a'] is not a text, it is not used"),
            (json!({"host": "a", "port": 0.5}), "standby_cluster.port=0.5 is not a port number, it is not used"),
            (
                json!({"host": "a", "port": "5432,x"}),
                "standby_cluster.port='5432,x' is not a port number, it is not used",
            ),
            (json!({"port": 99999}), "standby_cluster.port=99999 is not a port number, it is not used"),
            (json!({"port": true}), "standby_cluster.port=True is not a text, it is not used"),
        ] {
            assert_eq!(read(value.clone()), (Some(StandbyCluster::default()), vec![warning.to_owned()]), "{value}");
        }
        let (found, warnings) =
            read(json!({"host": "a", "create_replica_methods": {"x": 1}, "primary_slot_name": [1]}));
        assert_eq!(found.unwrap().host.as_deref(), Some("a"));
        assert_eq!(warnings.len(), 2);
    }
}
