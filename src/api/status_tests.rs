use super::*;
use crate::api::fixture::{NOW, leader, object, primary_status, snapshot, standby, standby_snapshot, standby_status};
use crate::cluster::{PendingRestartValue, PgState, Role, ScheduledRestartData, SyncState, json_text};
use crate::ha::memory::ScheduledRestart;
use crate::types::Timeline;
use std::sync::Arc;

#[test]
fn a_leader_shows_all_its_fields_in_order() {
    let mut snapshot = snapshot();
    let settings = Arc::make_mut(&mut snapshot.settings);
    settings.global.pause = true;
    settings.tags = object(json!({"clonefrom": false, "zone": "eu", "nofailover": false, "failover_priority": "1"}));
    snapshot
        .server
        .pending_restart
        .insert("max_connections".into(), PendingRestartValue { old_value: "100".into(), new_value: "200".into() });
    snapshot.scheduled_restart = Some(ScheduledRestart {
        at: "2026-05-29T05:00:00Z".parse().unwrap(),
        data: ScheduledRestartData {
            schedule: "2026-05-29T05:00:00+00:00".into(),
            postmaster_start_time: Some("x".into()),
            rest: object(json!({"restart_pending": true})),
        },
    });
    snapshot.watchdog_failed = true;
    snapshot.log_queue = (3, 1);
    let mut server = primary_status();
    server.replication.push(ReplicationConnection {
        usename: Some("replicator".into()),
        application_name: "b".into(),
        client_addr: None,
        state: "streaming".into(),
        sync_state: "async".into(),
        sync_priority: 0,
        write_lsn: None,
        flush_lsn: None,
        replay_lsn: None,
        pid: 7,
    });
    let facts = Facts::new(Arc::new(snapshot), Some(Arc::new(server)), NOW);
    assert_eq!(
        json_text(&status(&facts)),
        concat!(
            r#"{"state": "running", "postmaster_start_time": "2026-05-29 04:32:31.120000+00:00", "role": "primary", "#,
            r#""server_version": 150018, "xlog": {"location": 5000}, "timeline": 2, "replication": [{"usename": "#,
            r#""replicator", "application_name": "b", "client_addr": null, "state": "streaming", "sync_state": "async", "#,
            r#""sync_priority": 0}], "pause": true, "dcs_last_seen": 1780027200, "tags": {"zone": "eu", "#,
            r#""nofailover": false, "failover_priority": "1"}, "database_system_identifier": "7123456789012345678", "#,
            r#""pending_restart": true, "pending_restart_reason": {"max_connections": {"old_value": "100", "#,
            r#""new_value": "200"}}, "patroni": {"version": "4.1.5", "scope": "batman", "name": "a"}, "#,
            r#""scheduled_restart": {"schedule": "2026-05-29T05:00:00+00:00", "restart_pending": true}, "#,
            r#""watchdog_failed": true, "logger_queue_size": 3, "logger_records_lost": 1}"#
        )
    );
}

// rows: HA-44
#[test]
fn a_standby_that_has_lost_its_sender_keeps_its_timeline() {
    let shown = |received: Option<u32>, known: Option<u32>, control: u32| {
        let mut snapshot = standby_snapshot();
        snapshot.replica_timeline = known.map(Timeline);
        let mut server = standby_status();
        server.control_timeline = Some(Timeline(control));
        match (received, server.receiver.as_mut()) {
            (Some(timeline), Some(receiver)) => receiver.timeline = Timeline(timeline),
            _ => server.receiver = None,
        }
        Facts::new(Arc::new(snapshot), Some(Arc::new(server)), NOW).timeline()
    };
    assert_eq!(shown(Some(3), Some(2), 1), Some(Timeline(3)));
    assert_eq!(shown(Some(0), Some(2), 1), Some(Timeline(2)), "nothing was received yet");
    assert_eq!(shown(None, Some(2), 1), Some(Timeline(2)), "control data is behind until the next restartpoint");
    assert_eq!(shown(None, Some(1), 2), Some(Timeline(2)), "it was a primary since");
    assert_eq!(shown(None, None, 2), Some(Timeline(2)));
}

#[test]
fn a_standby_shows_its_positions() {
    assert_eq!(
        json_text(&status(&standby())),
        concat!(
            r#"{"state": "running", "postmaster_start_time": "2026-05-29 04:32:31.123456+00:00", "role": "replica", "#,
            r#""server_version": 150018, "xlog": {"received_location": 4500, "replayed_location": 4000, "#,
            r#""replayed_timestamp": "2026-05-29 06:32:31+02:00", "paused": false}, "timeline": 2, "#,
            r#""replication_state": "streaming", "dcs_last_seen": 1780027200, "#,
            r#""database_system_identifier": "7123456789012345678", "#,
            r#""patroni": {"version": "4.1.5", "scope": "batman", "name": "b"}}"#
        )
    );
}

// rows: QUIRK-18
#[test]
fn a_server_that_does_not_answer_is_unknown() {
    let silent = Facts::new(Arc::new(standby_snapshot()), None, NOW);
    let json = status(&silent);
    assert_eq!((json.get("state"), json.get("role")), (Some(&json!("unknown")), Some(&json!("replica"))));
    assert_eq!(json.get("xlog"), None);
    let mut stopped = standby_snapshot();
    (stopped.server.state, stopped.server.role) = (PgState::Stopped, Role::Demoted);
    stopped.cluster = None;
    // An answer that came before the server was stopped does not count.
    let json = status(&Facts::new(Arc::new(stopped), leader().status, NOW));
    assert_eq!(
        json_text(&json),
        concat!(
            r#"{"state": "stopped", "role": "demoted", "cluster_unlocked": true, "dcs_last_seen": 1780027200, "#,
            r#""database_system_identifier": "7123456789012345678", "#,
            r#""patroni": {"version": "4.1.5", "scope": "batman", "name": "b"}}"#
        )
    );
}

// rows: SYNC-20
#[test]
fn a_synchronous_standby_says_so() {
    for (mode, listed, shown) in [
        (SynchronousMode::On, "b", Some("sync_standby")),
        (SynchronousMode::Quorum, "b", Some("quorum_standby")),
        (SynchronousMode::On, "c", None),
        (SynchronousMode::Off, "b", None),
    ] {
        let mut snapshot = standby_snapshot();
        Arc::make_mut(&mut snapshot.settings).global.synchronous_mode = mode;
        let (cluster, _) = snapshot.cluster.as_mut().unwrap();
        Arc::make_mut(cluster).sync =
            SyncState { leader: Some("a".into()), sync_standby: vec![listed.into()], ..SyncState::default() };
        let text = json_text(&status(&Facts::new(Arc::new(snapshot), Some(Arc::new(standby_status())), NOW)));
        for key in ["sync_standby", "quorum_standby"] {
            assert_eq!(text.contains(&format!("\"{key}\": true")), shown == Some(key), "{mode:?} {listed}: {text}");
        }
    }
}
