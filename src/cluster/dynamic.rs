//! What the dynamic configuration in the store says about the cluster's mode, for readers without local settings.

use super::Cluster;
use crate::config::loose::parse_bool;
use crate::config::python::truth;
use serde_json::Value;

/// Modes of a cluster by its `config` key alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Modes {
    /// `pause`.
    pub paused: bool,
    /// `standby_cluster` has a host, a port or a restore_command.
    pub standby_cluster: bool,
    /// `synchronous_mode` is on or quorum, in a cluster that is no standby cluster.
    pub synchronous: bool,
    /// `synchronous_mode` is quorum, likewise.
    pub quorum: bool,
}

impl Modes {
    /// The modes of this cluster; all off without a configuration.
    #[must_use]
    pub fn of(cluster: &Cluster) -> Self {
        let Some(config) = &cluster.config else { return Self::default() };
        let standby_cluster = config
            .data
            .get("standby_cluster")
            .and_then(Value::as_object)
            .is_some_and(|s| ["host", "port", "restore_command"].iter().any(|k| s.get(*k).is_some_and(truth)));
        let mode = config.data.get("synchronous_mode");
        let quorum = mode.and_then(Value::as_str).is_some_and(|m| m.eq_ignore_ascii_case("quorum"));
        Self {
            paused: config.data.get("pause").and_then(parse_bool).unwrap_or(false),
            standby_cluster,
            synchronous: !standby_cluster && (quorum || mode.and_then(parse_bool).unwrap_or(false)),
            quorum: !standby_cluster && quorum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::ClusterConfig;
    use serde_json::json;

    #[test]
    fn modes_come_from_the_config_key() {
        let modes = |config: Value| {
            let data = config.as_object().cloned().unwrap_or_default();
            Modes::of(&Cluster {
                config: Some(ClusterConfig { revision: super::super::Revision(1), data }),
                ..Cluster::default()
            })
        };
        assert_eq!(modes(json!({})), Modes::default());
        assert!(modes(json!({"pause": "on"})).paused && !modes(json!({"pause": "maybe"})).paused);
        let quorum = modes(json!({"synchronous_mode": "Quorum"}));
        assert!(quorum.synchronous && quorum.quorum);
        let on = modes(json!({"synchronous_mode": true}));
        assert!(on.synchronous && !on.quorum);
        let standby = modes(json!({"synchronous_mode": true, "standby_cluster": {"host": "a"}}));
        assert!(standby.standby_cluster && !standby.synchronous);
        assert!(!modes(json!({"standby_cluster": {"primary_slot_name": "a"}})).standby_cluster);
    }
}
