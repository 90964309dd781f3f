use super::*;
use crate::cluster::{
    ClusterConfig, Failover, History, HistoryLine, Leader, Member, MemberData, Revision, Status, SyncState,
};
use crate::types::{Lsn, Timeline};

/// What the original printed.
fn golden(name: &str) -> String {
    let all: Value = serde_json::from_str(include_str!("../../tests/ctl/golden.json")).unwrap();
    all[name].as_str().unwrap().to_owned()
}

fn member(name: &str, data: Value) -> Member {
    let data = MemberData::parse(data.to_string().as_bytes());
    Member { name: name.into(), revision: Revision(1), own_session: false, data }
}

fn on_port(port: u16, mut more: Value) -> Value {
    let data = more.as_object_mut().unwrap();
    data.insert("conn_url".into(), json!(format!("postgres://127.0.0.1:{port}/postgres")));
    data.insert("api_url".into(), json!(format!("http://127.0.0.1:{}/patroni", port + 1000)));
    data.insert("timeline".into(), json!(2));
    more
}

fn config(data: Value) -> Option<ClusterConfig> {
    Some(ClusterConfig { revision: Revision(1), data: data.as_object().cloned().unwrap() })
}

fn full() -> Cluster {
    let reasons = json!({"max_connections": {"old_value": "100", "new_value": "200"}, "shared_preload_libraries":
        {"old_value": "pg_stat_statements", "new_value": "pg_stat_statements,auto_explain,x"}});
    let schedule = json!({"schedule": "2026-05-29T05:00:00+00:00", "postgres_version": "15.2",
        "postmaster_start_time": "x"});
    Cluster {
        initialize: Some("7123456789012345678".into()),
        config: config(json!({"pause": true})),
        leader: Some(Leader { name: "a".into(), own_session: false, revision: Revision(1) }),
        status: Status { optime: Some(Lsn(0x500_0000)), ..Status::default() },
        members: vec![
            member("a", on_port(5432, json!({"state": "running", "role": "primary"}))),
            member(
                "b",
                on_port(
                    5433,
                    json!({"state": "running", "role": "replica", "replication_state": "streaming",
                        "xlog_location": 0x300_0000, "receive_lsn": 0x300_0000, "replay_lsn": 0x200_0000,
                        "tags": {"clonefrom": true, "zone": "eu"}, "pending_restart": true,
                        "pending_restart_reason": reasons, "scheduled_restart": schedule}),
                ),
            ),
            member(
                "c",
                on_port(
                    5434,
                    json!({"state": "running", "role": "replica", "replication_state": "in archive recovery",
                        "tags": {"replicatefrom": "b"}}),
                ),
            ),
            member("d", json!({"state": "creating replica", "role": "uninitialized"})),
        ],
        failover: Some(Failover {
            leader: Some("a".into()),
            candidate: Some("b".into()),
            scheduled_at: "2026-05-29T05:00:00Z".parse().ok(),
            scheduled_text: Some("2026-05-29T05:00:00+00:00".into()),
            ..Failover::default()
        }),
        ..Cluster::default()
    }
}

fn single() -> Cluster {
    let mut data = on_port(
        5432,
        json!({"state": "stopped", "role": "replica", "receive_lsn": 0x700_0000,
        "replay_lsn": 0x700_0000, "xlog_location": 0x700_0000}),
    );
    data["conn_url"] = json!("postgres://10.0.0.1:5432/postgres");
    let status = Status { optime: Some(Lsn(0x500_0000)), ..Status::default() };
    Cluster { initialize: Some(String::new()), status, members: vec![member("x", data)], ..Cluster::default() }
}

fn sync() -> Cluster {
    let data = json!({"state": "running", "replication_state": "streaming", "xlog_location": 0x500_0000,
        "receive_lsn": 0x500_0000, "replay_lsn": 0x500_0000});
    Cluster {
        config: config(json!({"synchronous_mode": true})),
        members: vec![member("a", on_port(5432, json!({"state": "running"}))), member("b", on_port(5433, data))],
        failover: None,
        sync: SyncState { leader: Some("a".into()), sync_standby: vec!["b".into()], ..SyncState::default() },
        ..full()
    }
}

#[test]
fn members_are_printed_as_the_original_does() {
    for (name, cluster) in [("full", full()), ("single", single()), ("empty", Cluster::default()), ("sync", sync())] {
        for (format, word) in [
            (Format::Pretty, "pretty"),
            (Format::Tsv, "tsv"),
            (Format::Json, "json"),
            (Format::Yaml, "yaml"),
            (Format::Topology, "topology"),
        ] {
            for (extended, suffix) in [(false, ""), (true, "_extended")] {
                let case = format!("{name}_{word}{suffix}");
                let wanted = golden(&case);
                let text = members(&cluster, "batman", extended, format);
                assert_eq!(text, wanted, "{case}:\n{text}\n{wanted}");
            }
        }
    }
}

#[test]
fn history_is_printed_as_the_original_does() {
    let line = |timeline, lsn, rest: Option<(&str, &str)>| HistoryLine {
        timeline: Timeline(timeline),
        lsn: Lsn(lsn),
        reason: "no recovery target specified".into(),
        timestamp: rest.map(|r| r.0.to_owned()),
        new_leader: rest.map(|r| r.1.to_owned()),
    };
    let first = line(1, 25_623_960, Some(("2026-05-29T04:00:00.123456+00:00", "b")));
    let lines = vec![first, line(2, 25_624_000, None)];
    let cluster = Cluster { history: Some(History { lines }), ..Cluster::default() };
    for (format, word) in
        [(Format::Pretty, "pretty"), (Format::Tsv, "tsv"), (Format::Json, "json"), (Format::Yaml, "yaml")]
    {
        assert_eq!(history(&cluster, format) + "\n", golden(&format!("history_{word}")));
        assert_eq!(history(&Cluster::default(), format) + "\n", golden(&format!("nohistory_{word}")));
    }
}

#[test]
fn a_ring_of_upstreams_ends() {
    let upstream = |name: &str, from: &str| member(name, json!({"tags": {"replicatefrom": from}}));
    let cluster = Cluster { members: vec![upstream("a", "b"), upstream("b", "a")], ..Cluster::default() };
    assert!(!members(&cluster, "batman", false, Format::Topology).contains("+ a"));
}
