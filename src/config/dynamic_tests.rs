//! Dynamic values: defaults, bounds, the timing rule, and nonsense.

use super::config_tests::{MINIMAL, SAMPLE, load, map};
use super::settings::SynchronousMode;
use super::{Global, StandbyCluster, parameters};
use crate::types::PgVersion;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::time::Duration;

fn global_with(dynamic: Value) -> (Global, Value) {
    let (mut config, _) = load(MINIMAL).unwrap();
    config.set_dynamic(&map(dynamic)).unwrap();
    (config.settings().global.clone(), json!(config.dynamic().as_ref()))
}

/// CFG-06 to CFG-17 and CFG-30: default, value, bounds, nonsense.
#[test]
fn dynamic_values_have_defaults_and_bounds() {
    assert_eq!(global_with(json!({"x": 1})).0, Global::default());
    let seconds = Duration::from_secs;
    type Case = (Value, fn(&mut Global));
    let cases: Vec<Case> = vec![
        (json!({"ttl": "40"}), |g| g.ttl = Duration::from_secs(40)),
        (json!({"ttl": "1min"}), |g| g.ttl = Duration::from_secs(60)),
        (json!({"ttl": "never"}), |_| {}),
        (json!({"ttl": null}), |_| {}),
        (json!({"loop_wait": 0}), |g| g.loop_wait = Duration::from_secs(1)),
        (json!({"retry_timeout": 1}), |g| g.retry_timeout = Duration::from_secs(3)),
        (json!({"maximum_lag_on_failover": "1kB"}), |g| g.maximum_lag_on_failover = 1024),
        (json!({"maximum_lag_on_failover": -5}), |g| g.maximum_lag_on_failover = 0),
        (json!({"maximum_lag_on_failover": [1]}), |_| {}),
        (json!({"maximum_lag_on_syncnode": 10}), |g| g.maximum_lag_on_syncnode = Some(10)),
        (json!({"maximum_lag_on_syncnode": 0}), |_| {}),
        (json!({"max_timelines_history": "3"}), |g| g.max_timelines_history = 3),
        (json!({"primary_start_timeout": 0}), |g| g.primary_start_timeout = Duration::ZERO),
        (json!({"master_start_timeout": 0}), |g| g.primary_start_timeout = Duration::ZERO),
        (json!({"primary_start_timeout": 5, "master_start_timeout": 0}), |g| {
            g.primary_start_timeout = Duration::from_secs(5);
        }),
        (json!({"master_stop_timeout": 7}), |g| g.primary_stop_timeout = Some(Duration::from_secs(7))),
        (json!({"synchronous_mode": "on"}), |g| g.synchronous_mode = SynchronousMode::On),
        (json!({"synchronous_mode": "Quorum"}), |g| g.synchronous_mode = SynchronousMode::Quorum),
        (json!({"synchronous_mode": "maybe"}), |_| {}),
        (json!({"synchronous_mode_strict": 1}), |g| g.synchronous_mode_strict = true),
        (json!({"synchronous_node_count": 0}), |_| {}),
        (json!({"synchronous_node_count": 2}), |g| g.synchronous_node_count = 2),
        (json!({"failsafe_mode": true}), |g| g.failsafe_mode = true),
        (json!({"check_timeline": "yes"}), |g| g.check_timeline = true),
        (json!({"pause": true}), |g| g.pause = true),
        (json!({"member_slots_ttl": "1h"}), |g| g.member_slots_ttl = Duration::from_secs(3600)),
        (json!({"postgresql": {"use_slots": "off"}}), |g| g.use_slots = false),
        (json!({"postgresql": {"use_pg_rewind": true}}), |g| g.use_pg_rewind = true),
        (json!({"postgresql": {"remove_data_directory_on_rewind_failure": "on"}}), |g| {
            g.remove_data_directory_on_rewind_failure = true;
        }),
        (json!({"postgresql": {"remove_data_directory_on_diverged_timelines": true}}), |g| {
            g.remove_data_directory_on_diverged_timelines = true;
        }),
        (json!({"postgresql": 5}), |_| {}),
        (json!({"standby_cluster": {"host": ""}}), |_| {}),
        (json!({"slots": "x", "ignore_slots": 3}), |_| {}),
    ];
    for (dynamic, change) in cases {
        let mut wanted = Global::default();
        change(&mut wanted);
        let (global, kept) = global_with(dynamic.clone());
        assert_eq!(global, wanted, "{dynamic}");
        assert_eq!(kept, dynamic, "what was given is kept as it is");
    }
    let (global, _) = global_with(json!({"standby_cluster": {"port": 1}, "slots": {"a": 1}, "ignore_slots": [{}]}));
    let standby = StandbyCluster { port: Some("1".to_owned()), ..StandbyCluster::default() };
    assert_eq!((global.standby_cluster.unwrap(), global.slots), (standby, map(json!({"a": 1}))));
    assert_eq!(global.ignore_slots, [json!({})]);
    assert_eq!(global_with(json!({"ttl": 10, "loop_wait": 5, "retry_timeout": 5})).0.ttl, seconds(20));
}

/// A mapping of known keys (of the root or of `postgresql`) to anything.
fn nonsense() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = || {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(|n| json!(n)),
            any::<f64>().prop_map(|n| json!(n)),
            "[ -~]{0,6}".prop_map(Value::String),
            "[0-9]{1,25}[a-zA-Z]{0,3}".prop_map(Value::String),
            Just(json!([])),
            Just(json!([{"a": 1}, 2, null])),
            Just(json!({"host": 1, "x": [null], "": {}})),
        ]
    };
    let keys = |names: &'static str| prop::sample::select(names.split(' ').map(str::to_owned).collect::<Vec<_>>());
    let root = keys(
        "ttl loop_wait retry_timeout maximum_lag_on_failover maximum_lag_on_syncnode max_timelines_history \
         primary_start_timeout master_stop_timeout check_timeline pause failsafe_mode synchronous_mode \
         synchronous_node_count member_slots_ttl slots ignore_slots standby_cluster postgresql other",
    );
    let pg = keys(
        "parameters pg_hba pg_ident callbacks create_replica_methods basebackup recovery_conf pg_ctl_timeout use_slots \
         use_pg_rewind pre_promote bin_name authentication listen data_dir custom_conf",
    );
    let guc = keys("max_connections wal_level hot_standby wal_keep_size port work_mem hba_file restore_command");
    let map = |key, value| prop::collection::vec((key, value), 0..8).prop_map(|e| e.into_iter().collect::<Map<_, _>>());
    (map(root, leaf().boxed()), map(pg, leaf().boxed()), map(guc, leaf().boxed())).prop_map(
        |(mut root, mut pg, guc)| {
            if !guc.is_empty() {
                pg.insert("parameters".into(), Value::Object(guc));
            }
            if !pg.is_empty() {
                root.insert("postgresql".into(), Value::Object(pg));
            }
            root
        },
    )
}

proptest! {
    /// CFG-30.
    #[test]
    fn no_dynamic_configuration_is_refused(dynamic in nonsense()) {
        let (mut config, _) = load(SAMPLE).unwrap();
        prop_assert!(config.set_dynamic(&dynamic).is_ok());
        let settings = config.settings();
        let global = &settings.global;
        prop_assert!(global.ttl >= Duration::from_secs(20) && global.loop_wait >= Duration::from_secs(1));
        prop_assert!(global.loop_wait + 2 * global.retry_timeout <= global.ttl);
        prop_assert_eq!(settings.postgresql.port, 5432);
        prop_assert_eq!(settings.postgresql.parameters["port"].as_str(), "5432");
        for version in [90_300, 120_000, 170_000] {
            let fitted = parameters::for_version(&settings.postgresql.parameters, PgVersion(version));
            prop_assert!(parameters::command_line(&fitted).iter().any(|(name, _)| *name == "max_connections"));
        }
    }
}

/// CFG-09.
#[test]
fn timing_is_corrected() {
    for (ttl, loop_wait, retry_timeout, wanted) in [
        (30, 10, 10, (30, 10, 10)),
        (30, 20, 10, (30, 10, 10)),
        (20, 10, 8, (20, 4, 8)),
        (20, 10, 10, (20, 1, 9)),
        (21, 10, 10, (21, 1, 10)),
        (30, 1, 100, (30, 1, 14)),
        (20, 4, 8, (20, 4, 8)),
    ] {
        let (global, _) = global_with(json!({"ttl": ttl, "loop_wait": loop_wait, "retry_timeout": retry_timeout}));
        let seconds = (global.ttl.as_secs(), global.loop_wait.as_secs(), global.retry_timeout.as_secs());
        assert_eq!(seconds, wanted, "{ttl} {loop_wait} {retry_timeout}");
    }
}
