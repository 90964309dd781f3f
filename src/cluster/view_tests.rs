use super::*;
use crate::cluster::{
    ClusterConfig, Failover, Leader, MemberData, MemberTags, PgState, Revision, Status, SyncState, json_text,
};
use crate::types::MemberName;

fn member(name: &str, port: u16, data: MemberData) -> Member {
    let data = MemberData {
        conn_url: Some(format!("postgres://127.0.0.1:{port}/postgres")),
        api_url: Some(format!("http://127.0.0.1:{}/patroni", port + 1000)),
        timeline: Some(Timeline(3)),
        ..data
    };
    Member { name: MemberName::new(name), revision: Revision(1), own_session: false, data }
}

fn cluster() -> Cluster {
    let mut tags = Map::new();
    tags.insert("clonefrom".into(), json!(true));
    Cluster {
        leader: Some(Leader { name: "a".into(), own_session: false, revision: Revision(2) }),
        status: Status { optime: Some(Lsn(0x300_0060)), ..Status::default() },
        members: vec![
            member(
                "b",
                5433,
                MemberData {
                    state: Some(PgState::Running),
                    replication_state: Some("streaming".into()),
                    xlog_location: Some(Lsn(0x300_0000)),
                    receive_lsn: Some(Lsn(0x300_0000)),
                    replay_lsn: Some(Lsn(0x400_0000)),
                    tags: MemberTags(tags),
                    ..MemberData::default()
                },
            ),
            member("a", 5432, MemberData { state: Some(PgState::Running), ..MemberData::default() }),
            Member {
                name: "c".into(),
                revision: Revision(3),
                own_session: false,
                data: MemberData { state: Some(PgState::CreatingReplica), ..MemberData::default() },
            },
        ],
        ..Cluster::default()
    }
}

#[test]
fn the_json_is_that_of_the_original() {
    assert_eq!(
        json_text(&ClusterView::of(&cluster()).to_json()),
        concat!(
            r#"{"members": [{"name": "a", "role": "leader", "state": "running", "api_url": "http://127.0.0.1:6432/patroni", "#,
            r#""host": "127.0.0.1", "port": 5432, "timeline": 3}, "#,
            r#"{"name": "b", "role": "replica", "state": "streaming", "api_url": "http://127.0.0.1:6433/patroni", "#,
            r#""host": "127.0.0.1", "port": 5433, "timeline": 3, "tags": {"clonefrom": true}, "receive_lag": 96, "#,
            r#""receive_lsn": "0/3000000", "replay_lag": 0, "replay_lsn": "0/4000000", "lag": 96, "lsn": "0/3000000"}, "#,
            r#"{"name": "c", "role": "replica", "state": "creating replica", "api_url": null, "receive_lsn": "unknown", "#,
            r#""receive_lag": "unknown", "replay_lsn": "unknown", "replay_lag": "unknown", "lsn": "unknown", "lag": "unknown"}]}"#
        )
    );
}

#[test]
fn modes_and_the_failover_key_show() {
    let mut paused = cluster();
    let data = json!({"pause": true, "synchronous_mode": true});
    paused.config = Some(ClusterConfig { revision: Revision(1), data: data.as_object().cloned().unwrap_or_default() });
    paused.sync = SyncState { leader: Some("a".into()), sync_standby: vec!["B".into()], ..SyncState::default() };
    paused.failover = Some(Failover {
        leader: Some("a".into()),
        scheduled_at: "2026-05-29T02:32:31Z".parse().ok(),
        scheduled_text: Some("2026-05-29T04:32:31+02:00".into()),
        ..Failover::default()
    });
    let view = ClusterView::of(&paused);
    assert_eq!(view.members.iter().map(|m| m.role).collect::<Vec<_>>(), ["leader", "sync_standby", "replica"]);
    let json = view.to_json();
    assert_eq!(json.get("pause"), Some(&json!(true)));
    assert_eq!(json.get("scheduled_switchover"), Some(&json!({"at": "2026-05-29T04:32:31+02:00", "from": "a"})));
}

#[test]
fn urls_are_taken_apart() {
    for (url, host, port) in [
        ("postgres://Host:5433/postgres", Some("host"), Some(5433)),
        ("postgres://u:p@10.0.0.1/db", Some("10.0.0.1"), Some(5432)),
        ("postgres://[FE80::1]:6000/db", Some("fe80::1"), Some(6000)),
        ("postgres://[::1]/db?x=1", Some("::1"), Some(5432)),
        ("postgres://h:x/db", Some("h"), None),
        ("nonsense", None, None),
    ] {
        assert_eq!(host_and_port(url), (host.map(str::to_owned), port), "{url}");
    }
}
