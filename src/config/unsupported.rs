//! The keys of Patroni 4.1 that are not obeyed yet, each with the sentence that the warning gives. `docs/differences.md`
//! has the same table (a test compares them); it must shrink to nothing.

use super::loose::parse_bool;
use super::python;
use super::store::KNOWN;
use serde_json::{Map, Value};

/// Why a key does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It will be obeyed.
    NotYet,
    /// There is nothing here that it could set.
    NoEffect,
}

/// Where a key stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    /// In the local configuration.
    Local,
    /// In the dynamic configuration.
    Dynamic,
}

/// A key that is not obeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Path of the key; a section stands for all keys in it.
    pub key: &'static str,
    /// Where it is set.
    pub layer: Layer,
    /// Why.
    pub reason: Reason,
}

const fn not_yet(key: &'static str, layer: Layer) -> Unsupported {
    Unsupported { key, layer, reason: Reason::NotYet }
}

const fn no_effect(key: &'static str) -> Unsupported {
    Unsupported { key, layer: Layer::Local, reason: Reason::NoEffect }
}

/// The table.
pub const UNSUPPORTED: [Unsupported; 11] = [
    not_yet("consul", Layer::Local),
    not_yet("etcd", Layer::Local),
    not_yet("exhibitor", Layer::Local),
    not_yet("kubernetes", Layer::Local),
    not_yet("raft", Layer::Local),
    not_yet("zookeeper", Layer::Local),
    not_yet("citus", Layer::Local),
    no_effect("thread_pool_size"),
    no_effect("thread_stack_size"),
    no_effect("restapi.thread_pool_size"),
    no_effect("log.traceback_level"),
];

/// One line for each key of the table that is set to something.
pub(super) fn warnings(local: &Map<String, Value>, dynamic: &Map<String, Value>) -> Vec<String> {
    UNSUPPORTED
        .iter()
        .filter(|entry| {
            let tree = if entry.layer == Layer::Local { local } else { dynamic };
            is_set(entry.key, tree)
        })
        .map(|entry| match (entry.reason, KNOWN.contains(&entry.key)) {
            (Reason::NotYet, false) => format!("{} is not supported yet", entry.key),
            (Reason::NotYet, true) => format!("{} is not supported yet as a configuration store", entry.key),
            (Reason::NoEffect, _) => format!("{} has no effect", entry.key),
        })
        .collect()
}

/// Whether a key has a value that asks for something; what says off does not.
fn is_set(key: &str, tree: &Map<String, Value>) -> bool {
    let mut path = key.split('.');
    let first = path.next().and_then(|name| tree.get(name));
    let Some(value) = path.try_fold(first, |value, name| value.map(|value| value.get(name))).flatten() else {
        return false;
    };
    match key {
        "log.traceback_level" => value.as_str().is_some_and(|level| !level.eq_ignore_ascii_case("error")),
        _ => python::truth(value) && parse_bool(value) != Some(false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(local: Value, dynamic: Value) -> Vec<String> {
        warnings(local.as_object().unwrap(), dynamic.as_object().unwrap())
    }

    #[test]
    fn each_key_has_one_line() {
        let local = json!({"etcd": {"host": "a"}, "citus": {"group": 0},
            "thread_pool_size": 6});
        let dynamic = json!({"standby_cluster": {"host": "a"}, "failsafe_mode": true});
        let wanted = [
            "etcd is not supported yet as a configuration store",
            "citus is not supported yet",
            "thread_pool_size has no effect",
        ];
        assert_eq!(of(local, dynamic), wanted);
    }

    #[test]
    fn what_is_off_is_not_named() {
        let local = json!({"etcd3": {"host": "a"}, "log": {"traceback_level": "ERROR"}});
        let dynamic = json!({"citus": {"group": 0}});
        assert_eq!(of(local, dynamic), Vec::<String>::new());
    }

    /// Rows of the table in the manual: | `key` | where | why |
    #[test]
    fn the_manual_has_the_same_table() {
        let manual = include_str!("../../docs/differences.md");
        let rows: Vec<(String, String, String)> = manual
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').map(str::trim).collect();
                (cells[1].trim_matches('`').to_owned(), cells[2].to_owned(), cells[3].to_owned())
            })
            .collect();
        let table: Vec<(String, String, String)> = UNSUPPORTED
            .iter()
            .map(|entry| {
                let layer = if entry.layer == Layer::Local { "local" } else { "dynamic" };
                let reason = if entry.reason == Reason::NotYet { "not supported yet" } else { "no effect" };
                (entry.key.to_owned(), layer.to_owned(), reason.to_owned())
            })
            .collect();
        assert_eq!(rows, table);
    }
}
