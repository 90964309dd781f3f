use super::*;
use crate::api::fixture::{NOW, leader, object, primary_status, snapshot, standby, standby_snapshot, standby_status};
use crate::cluster::{NodeStatus, SyncState};
use crate::config::StandbyCluster;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

const PATHS: [&str; 22] = [
    "/",
    "/primary",
    "/master",
    "/read-write",
    "/leader",
    "/standby-leader",
    "/standby_leader",
    "/replica",
    "/read-only",
    "/sync",
    "/synchronous",
    "/quorum",
    "/async",
    "/asynchronous",
    "/read-only-sync",
    "/read-only-synchronous",
    "/read-only-quorum",
    "/health",
    "/patroni-health",
    "/xleaderx",
    "/foo",
    "/sync/",
];

/// The paths that give 200.
fn fits(facts: &Facts) -> Vec<&'static str> {
    PATHS.into_iter().filter(|path| code(&Target::new(path, ""), facts) == 200).collect()
}

fn facts(snapshot: Snapshot, status: Option<NodeStatus>) -> Facts {
    Facts::new(Arc::new(snapshot), status.map(Arc::new), NOW)
}

const LEADER: [&str; 11] = [
    "/",
    "/primary",
    "/master",
    "/read-write",
    "/leader",
    "/read-only",
    "/read-only-sync",
    "/read-only-synchronous",
    "/read-only-quorum",
    "/health",
    "/patroni-health",
];

#[test]
fn a_leader_is_primary_as_long_as_its_lease_holds() {
    let mut wanted = LEADER.to_vec();
    wanted.push("/xleaderx");
    assert_eq!(fits(&leader()), wanted);
    let mut expired = leader();
    expired = Facts::new(expired.snapshot, expired.status, NOW + Duration::from_secs(20));
    assert_eq!(fits(&expired), ["/health", "/patroni-health"]);
    let frozen = facts(snapshot(), None);
    assert_eq!(code(&Target::new("/primary", ""), &frozen), 200, "a frozen server does not take the lock away");
    assert_eq!(code(&Target::new("/health", ""), &frozen), 503);
}

// rows: TAG-03
#[test]
fn a_standby_is_a_replica() {
    let replica = ["/replica", "/read-only", "/async", "/asynchronous", "/health", "/patroni-health"];
    assert_eq!(fits(&standby()), replica);
    for change in [(|s: &mut Snapshot| s.server.state = PgState::Starting) as fn(&mut Snapshot), |s| {
        Arc::make_mut(&mut s.settings).tags = object(json!({"noloadbalance": true}))
    }] {
        let mut snapshot = standby_snapshot();
        change(&mut snapshot);
        let fits = fits(&facts(snapshot, Some(standby_status())));
        assert!(!fits.contains(&"/replica") && !fits.contains(&"/read-only") && !fits.contains(&"/async"), "{fits:?}");
    }
    let mut no_store = standby_snapshot();
    no_store.cluster = None;
    assert_eq!(
        fits(&facts(no_store, Some(standby_status()))),
        ["/replica", "/read-only", "/health", "/patroni-health"]
    );
}

// rows: SYNC-20
#[test]
fn synchronous_standbys_are_told_apart() {
    for (mode, sync, wanted) in [
        (SynchronousMode::On, "b", vec!["/replica", "/sync", "/synchronous", "/read-only-sync"]),
        (SynchronousMode::Quorum, "b", vec!["/replica", "/quorum", "/read-only-quorum"]),
        (SynchronousMode::On, "c", vec!["/replica", "/async", "/asynchronous"]),
        (SynchronousMode::Off, "b", vec!["/replica", "/async", "/asynchronous"]),
    ] {
        let mut snapshot = standby_snapshot();
        Arc::make_mut(&mut snapshot.settings).global.synchronous_mode = mode;
        let (cluster, _) = snapshot.cluster.as_mut().unwrap();
        Arc::make_mut(cluster).sync =
            SyncState { leader: Some("a".into()), sync_standby: vec![sync.into()], ..SyncState::default() };
        let fits = fits(&facts(snapshot, Some(standby_status())));
        for path in ["/replica", "/sync", "/synchronous", "/read-only-sync", "/quorum", "/read-only-quorum", "/async"] {
            assert_eq!(fits.contains(&path), wanted.contains(&path), "{mode:?} {sync} {path}");
        }
    }
}

// rows: STBY-03, API-04
#[test]
fn a_standby_cluster_has_a_standby_leader() {
    let mut snapshot = snapshot();
    Arc::make_mut(&mut snapshot.settings).global.standby_cluster = Some(StandbyCluster::default());
    snapshot.server.role = Role::StandbyLeader;
    let fits = fits(&facts(snapshot, Some(standby_status())));
    assert_eq!(
        fits,
        [
            "/leader",
            "/standby-leader",
            "/standby_leader",
            "/read-only",
            "/read-only-sync",
            "/read-only-synchronous",
            "/read-only-quorum",
            "/health",
            "/patroni-health",
            "/xleaderx"
        ]
    );
}

#[test]
fn without_a_view_in_pause_the_role_decides() {
    let mut snapshot = snapshot();
    snapshot.lease_until = None;
    snapshot.cluster = snapshot.cluster.map(|(c, at)| (c, at - Duration::from_secs(30)));
    let target = Target::new("/primary", "");
    assert_eq!(code(&target, &facts(snapshot.clone(), Some(primary_status()))), 503);
    Arc::make_mut(&mut snapshot.settings).global.pause = true;
    assert_eq!(code(&target, &facts(snapshot.clone(), Some(primary_status()))), 200);
    assert_eq!(code(&target, &facts(snapshot, Some(standby_status()))), 503);
}

// rows: TAG-08, QUIRK-13
#[test]
fn lag_and_tags_are_conditions() {
    // The leader is at 5100 (the receiver's word), replayed is 4000.
    for (query, wanted) in [
        ("lag=1100", 200),
        ("lag=1099", 503),
        ("lag=1kB", 503),
        ("lag=1MB", 200),
        ("lag=x", 200),
        ("lag=", 200),
        ("lag=-1", 503),
        ("tag_zone=eu", 200),
        ("tag_zone=us", 503),
        ("tag_zone=eu&tag_zone=us", 200),
        ("tag_nosuch=eu", 503),
        ("tag_clonefrom=true", 200),
        ("tag_number=5", 200),
    ] {
        let mut snapshot = standby_snapshot();
        Arc::make_mut(&mut snapshot.settings).tags = object(json!({"zone": "eu", "clonefrom": true, "number": 5}));
        let facts = facts(snapshot, Some(standby_status()));
        assert_eq!(code(&Target::new("/replica", query), &facts), wanted, "{query}");
    }
    assert_eq!(code(&Target::new("/primary", "tag_zone=us"), &leader()), 200, "leaders are not asked for tags");
}

// rows: NEXT-08
#[test]
fn a_replica_may_be_asked_for_its_replication_state() {
    let streaming = standby_status();
    let restore = Some("cp %f %p".to_owned());
    let archive = NodeStatus { receiver: None, restore_command: restore, ..standby_status() };
    let neither = NodeStatus { receiver: None, ..standby_status() };
    for (status, name) in [(streaming, "streaming"), (archive, "in archive recovery"), (neither, "")] {
        let facts = facts(standby_snapshot(), Some(status));
        for wanted in ["streaming", "in archive recovery", "in%20archive%20recovery", "Streaming", "other"] {
            let query = format!("replication_state={wanted}");
            let code = |path: &str| code(&Target::new(path, &query), &facts);
            let expected = if wanted.replace("%20", " ") == name { 200 } else { 503 };
            assert_eq!(code("/replica"), expected, "{name}: {wanted}");
            // Whatever asks for a replica asks for this one.
            assert_eq!((code("/read-only"), code("/async")), (expected, expected), "{name}: {wanted}");
            assert_eq!(code("/health"), 200);
        }
        assert_eq!(
            code(&Target::new("/replica", "replication_state="), &facts),
            200,
            "an empty value asks for nothing"
        );
    }
    let primary = code(&Target::new("/read-only", "replication_state=streaming"), &leader());
    assert_eq!(primary, 200, "a leader is not asked");
}

#[test]
fn liveness_fails_when_the_cycle_hangs() {
    for (seconds, primary, standby) in [(0, 200, 200), (29, 200, 200), (30, 503, 200), (59, 503, 200), (60, 503, 503)] {
        let now = NOW + Duration::from_secs(seconds);
        assert_eq!(liveness(&snapshot(), now), primary, "primary after {seconds} s");
        assert_eq!(liveness(&standby_snapshot(), now), standby, "standby after {seconds} s");
    }
    let mut paused = snapshot();
    Arc::make_mut(&mut paused.settings).global.pause = true;
    assert_eq!(liveness(&paused, NOW + Duration::from_secs(9999)), 200);
}

#[test]
fn readiness_asks_for_a_streaming_standby_that_keeps_up() {
    let ready = |query: &str, facts: &Facts| readiness(&Target::new("/readiness", query), facts);
    assert_eq!(ready("", &leader()), Ok(()));
    assert_eq!(ready("", &standby()), Ok(()));
    assert_eq!(ready("lag=1100", &standby()), Ok(()));
    let late = Err("Replication apply lag 1100 exceeds maximum allowable 1000".to_owned());
    assert_eq!(ready("lag=1000", &standby()), late);
    assert_eq!(ready("lag=600&mode=write", &standby()), Ok(()));
    let mut stopped = standby_snapshot();
    stopped.server.state = PgState::Stopped;
    assert_eq!(ready("", &facts(stopped, None)), Err("PostgreSQL is not running".into()));
    let archive = NodeStatus { receiver: None, ..standby_status() };
    let wanted = Err("PostgreSQL replication state is not streaming".to_owned());
    assert_eq!(ready("", &facts(standby_snapshot(), Some(archive))), wanted);
    let mut no_store = standby_snapshot();
    no_store.cluster = None;
    assert_eq!(ready("", &facts(no_store.clone(), Some(standby_status()))), Ok(()), "the receiver knows the end");
    let mut deaf = standby_status();
    deaf.receiver.as_mut().unwrap().latest_end_lsn = None;
    assert_eq!(ready("", &facts(no_store.clone(), Some(deaf.clone()))), Err("DCS is not accessible".into()));
    no_store.failsafe_until = Some(NOW + Duration::from_secs(1));
    assert_eq!(ready("", &facts(no_store, Some(deaf))), Ok(()));
}
