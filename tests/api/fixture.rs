//! A leader or a standby on 127.0.0.1, as the REST API sees it, for tests beside the code and in `tests/`.

use crate::test_settings;
use patroni::api::{Facts, Snapshot};
use patroni::cluster::{
    Cluster, ClusterConfig, ControlData, ControlState, DataDir, Leader, Member, MemberData, NodeStatus, PgState,
    Postmaster, Readiness, Revision, Role, ServerFacts, Status, WalReceiver,
};
use patroni::config::Settings;
use patroni::ha::ServerReport;
use patroni::types::{Lsn, Mono, PgVersion, SystemId, Timeline};
use serde_json::{Map, Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The moment of all fixtures.
pub const NOW: Mono = Mono(Duration::from_secs(1000));

pub fn object(value: Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

/// The agent `a`, on any free port.
pub fn settings() -> Settings {
    test_settings::settings(|s| s.restapi.listen = "127.0.0.1:0".into())
}

pub fn cluster() -> Cluster {
    let member = |name: &str, port: u16| Member {
        name: name.into(),
        revision: Revision(5),
        own_session: name == "a",
        data: MemberData {
            conn_url: Some(format!("postgres://127.0.0.1:{port}/postgres")),
            api_url: Some(format!("http://127.0.0.1:{}/patroni", port + 1000)),
            state: Some(PgState::Running),
            role: Some(if name == "a" { Role::Primary } else { Role::Replica }),
            timeline: Some(Timeline(2)),
            ..MemberData::default()
        },
    };
    Cluster {
        initialize: Some("7123456789012345678".into()),
        config: Some(ClusterConfig { revision: Revision(7), data: object(json!({"ttl": 30, "loop_wait": 10})) }),
        leader: Some(Leader { name: "a".into(), own_session: true, revision: Revision(6) }),
        status: Status { optime: Some(Lsn(5000)), ..Status::default() },
        members: vec![member("a", 5432), member("b", 5433)],
        ..Cluster::default()
    }
}

/// The snapshot of the leader `a`, its lease good for 20 s.
pub fn snapshot() -> Snapshot {
    Snapshot {
        settings: Arc::new(settings()),
        cluster: Some((Arc::new(cluster()), NOW)),
        dcs_last_seen: "2026-05-29T04:00:00Z".parse().ok(),
        lease_until: Some(NOW + Duration::from_secs(20)),
        server: ServerReport {
            state: PgState::Running,
            state_since: NOW,
            role: Role::Primary,
            facts: ServerFacts {
                at: NOW,
                data_dir: DataDir::Present(PgVersion::from_major("15")),
                postmaster: Some(Postmaster { pid: 1, start_ticks: 1 }),
                control: Some(control()),
                recovery_files: false,
                backup_label: false,
            },
            readiness: Readiness::Accepting,
            version: Some(PgVersion(150_018)),
            pending_restart: Default::default(),
            job: None,
            ended: Vec::new(),
            pg_rewind_works: true,
            no_clients: false,
        },
        status: None,
        replica_timeline: Some(Timeline(2)),
        scheduled_restart: None,
        cycle_started: NOW,
        watchdog_failed: false,
        failsafe_until: None,
        log_queue: (0, 0),
    }
}

fn control() -> ControlData {
    ControlData {
        system_id: Some(SystemId(7_123_456_789_012_345_678)),
        state: ControlState::InProduction,
        checkpoint_lsn: Lsn(1),
        redo_lsn: Lsn(1),
        timeline: Timeline(2),
        min_recovery_lsn: Lsn(0),
        min_recovery_timeline: Timeline(0),
        checksums: true,
        wal_log_hints: false,
        lines: Vec::new(),
    }
}

pub fn primary_status() -> NodeStatus {
    NodeStatus {
        timeline: Timeline(2),
        write_lsn: Lsn(5000),
        postmaster_start_time: Some("2026-05-29 04:32:31.12+00".into()),
        ..NodeStatus::default()
    }
}

pub fn standby_status() -> NodeStatus {
    NodeStatus {
        in_recovery: true,
        replay_lsn: Some(Lsn(4000)),
        receive_lsn: Some(Lsn(4500)),
        receiver: Some(WalReceiver {
            status: "streaming".into(),
            timeline: Timeline(2),
            latest_end_lsn: Some(Lsn(5100)),
            ..WalReceiver::default()
        }),
        restore_command: Some(String::new()),
        replayed_timestamp: Some("2026-05-29 06:32:31+02".into()),
        postmaster_start_time: Some("2026-05-29 04:32:31.123456+00".into()),
        ..NodeStatus::default()
    }
}

/// The standby `b` of the same cluster.
pub fn standby_snapshot() -> Snapshot {
    let mut snapshot = snapshot();
    snapshot.lease_until = None;
    snapshot.server.role = Role::Replica;
    Arc::make_mut(&mut snapshot.settings).name = "b".into();
    snapshot
}

/// What a request sees of the leader.
pub fn leader() -> Facts {
    Facts::new(Arc::new(snapshot()), Some(Arc::new(primary_status())), NOW)
}

/// What a request sees of the standby.
pub fn standby() -> Facts {
    Facts::new(Arc::new(standby_snapshot()), Some(Arc::new(standby_status())), NOW)
}
