//! Python Patroni reads what we wrote, and we read what it wrote. `PATRONI_PYTHON` names a Python interpreter that has
//! the package `patroni`; without it the test is skipped.

use crate::bench::{BUDGET, TTL};
use crate::etcd::{Server, settings, store};
use patroni::clock::Clock;
use patroni::cluster::{History, MemberData, MemberTags, PgState, Role, Status, SyncState};
use patroni::dcs::{FailoverRequest, connect};
use patroni::types::{Lsn, SystemId, Timeline};
use serde_json::{Value, json};
use std::process::Command;

/// Prints its view, then takes over as member `py` and writes keys of its own.
const SCRIPT: &str = r#"
import json, sys
from patroni.dcs import get_dcs
host = sys.argv[1]
dcs = get_dcs({'scope': 'demo', 'name': 'py', 'ttl': 30, 'loop_wait': 10, 'retry_timeout': 10, 'etcd3': {'host': host}})
c = dcs.get_cluster()
print(json.dumps({
    'initialize': c.initialize, 'config': c.config.data, 'leader': c.leader.name, 'lsn': c.status.last_lsn,
    'slots': c.status.slots, 'retain': c.status.retain_slots,
    'members': {m.name: [m.data, m.conn_kwargs(), m.api_url, m.nofailover, m.failover_priority] for m in c.members},
    'failover': [c.failover.leader, c.failover.candidate, c.failover.scheduled_at.isoformat()],
    'sync': [c.sync.leader, c.sync.sync_standby, c.sync.quorum], 'timeline': c.timeline, 'failsafe': c.failsafe}))
dcs.touch_member({'conn_url': 'postgres://127.0.0.1:5433/postgres', 'api_url': 'http://127.0.0.1:8009/patroni',
                  'state': 'running', 'role': 'replica', 'version': '4.1.5', 'tags': {'clonefrom': True},
                  'xlog_location': 77, 'replication_state': 'streaming', 'timeline': 2})
dcs.manual_failover('a', 'py', None, c.failover.version)
dcs.write_status({'optime': 88, 'slots': {'py': 80}, 'retain_slots': ['py']})
dcs.set_config_value(json.dumps({'ttl': 31}), c.config.version)
dcs.write_sync_state('a', {'py'}, 1, c.sync.version)
"#;

#[tokio::test]
async fn python_members_and_we_understand_each_other() {
    let Ok(python) = std::env::var("PATRONI_PYTHON") else {
        println!("skipped: PATRONI_PYTHON is not set");
        return;
    };
    let Some(server) = Server::start(&[]).await else { return };
    let mut settings = settings("demo", "a", store(&[server.host()]));
    settings.global.ttl = TTL * 6;
    let dcs = connect(&settings, Clock::system()).unwrap();
    let tags = json!({"nofailover": false, "failover_priority": "2"}).as_object().cloned().unwrap();
    let member = MemberData {
        conn_url: Some("postgres://[::1]:5432/postgres".into()),
        api_url: Some("http://[::1]:8008/patroni".into()),
        state: Some(PgState::Running),
        role: Some(Role::Primary),
        version: Some("4.1.5".into()),
        tags: MemberTags(tags).published(),
        xlog_location: Some(Lsn(67_108_864)),
        timeline: Some(Timeline(2)),
        ..MemberData::default()
    };
    dcs.touch_member(&member, BUDGET).await.unwrap();
    dcs.acquire_leader(BUDGET).await.unwrap();
    dcs.initialize(Some(SystemId(7_123_456_789_012_345_678)), true, BUDGET).await.unwrap();
    let config = json!({"ttl": 30, "postgresql": {"parameters": {"é": "x"}}});
    dcs.write_config(config.as_object().unwrap(), None, BUDGET).await.unwrap();
    let status = Status {
        optime: Some(Lsn(5)),
        slots: Some([("s".to_owned(), Lsn(4))].into()),
        retain_slots: Some(vec!["s".into()]),
    };
    dcs.write_status(&status, BUDGET).await.unwrap();
    let request = FailoverRequest {
        leader: Some("a".into()),
        candidate: Some("py".into()),
        scheduled_at: Some("2030-01-01T00:00:00+02:00".into()),
    };
    dcs.write_failover(&request, None, BUDGET).await.unwrap();
    let sync =
        SyncState { leader: Some("a".into()), sync_standby: vec!["z".into(), "y".into()], ..SyncState::default() };
    dcs.write_sync(&sync, BUDGET).await.unwrap();
    let history = History::from_file("1\t0/3000060\tno recovery target specified\n");
    dcs.write_history(&history, BUDGET).await.unwrap();
    dcs.write_failsafe(json!({"a": "u"}).as_object().unwrap(), BUDGET).await.unwrap();

    let output = Command::new(python).args(["-c", SCRIPT, &server.host()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let member: Value = serde_json::from_str(&member.to_json()).unwrap();
    let conn = json!({"host": "::1", "port": 5432, "dbname": "postgres"});
    let expected = json!({
        "initialize": "7123456789012345678", "config": config, "leader": "a", "lsn": 5, "slots": {"s": 4},
        "retain": ["s"], "failover": ["a", "py", "2030-01-01T00:00:00+02:00"], "sync": ["a", "y,z", 0],
        "timeline": 2, "failsafe": {"a": "u"}, "members": {"a": seen["members"]["a"]},
    });
    assert_eq!(seen, expected);
    let a = &seen["members"]["a"];
    for (key, value) in member.as_object().unwrap() {
        assert_eq!(&a[0][key], value, "{key}");
    }
    assert_eq!((&a[1], &a[2], &a[3], &a[4]), (&conn, &json!("http://[::1]:8008/patroni"), &json!(false), &json!(2)));

    let cluster = dcs.load(BUDGET).await.unwrap();
    let py = cluster.member("py").unwrap();
    assert!(py.is_running() && py.clonefrom() && !py.own_session);
    assert_eq!((py.data.xlog_location, py.data.timeline), (Some(Lsn(77)), Some(Timeline(2))));
    assert_eq!(cluster.failover.as_ref().unwrap().candidate.as_deref(), Some("py"));
    assert_eq!(cluster.status.to_json(), r#"{"optime":88,"slots":{"py":80},"retain_slots":["py"]}"#);
    assert_eq!(cluster.config.unwrap().data["ttl"], json!(31));
    assert!(cluster.sync.matches("PY", false) && cluster.sync.quorum == 1);
    dcs.renew_leader(BUDGET).await.unwrap();
}
