use super::*;
use crate::api::fixture::{NOW, leader, snapshot, standby};
use crate::cluster::PendingRestartValue;
use std::sync::Arc;

fn compare(facts: &Facts, golden: &str) {
    let page = render(facts);
    let theirs = page.get(..golden.len()).unwrap_or_default();
    for (ours, theirs) in theirs.lines().zip(golden.lines()) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(theirs, golden);
    assert!(page.get(golden.len()..).unwrap().starts_with("# HELP patroni_leader_lease_seconds "));
}

#[test]
fn the_originals_series_come_first_and_byte_for_byte() {
    compare(&leader(), include_str!("../../tests/api/golden/metrics_leader.txt"));
    compare(&standby(), include_str!("../../tests/api/golden/metrics_standby.txt"));
    let mut silent = snapshot();
    silent.cluster = None;
    Arc::make_mut(&mut silent.settings).global.pause = true;
    let value = PendingRestartValue { old_value: "1".into(), new_value: "2".into() };
    silent.server.pending_restart.insert("x".into(), value);
    let silent = Facts::new(Arc::new(silent), None, NOW);
    compare(&silent, include_str!("../../tests/api/golden/metrics_silent.txt"));
}
