use super::*;
use crate::cluster::{PendingRestartValue, PgState, ScheduledRestartData};
use serde_json::json;

const PYTHON: &str = concat!(
    r#"{"conn_url":"postgres://127.0.0.1:5432/postgres","api_url":"http://127.0.0.1:8008/patroni","#,
    r#""state":"running","role":"replica","version":"4.1.5","proxy_url":"postgres://127.0.0.1:6432/postgres","#,
    r#""tags":{"clonefrom":true,"nosync":"1"},"pending_restart":true,"#,
    r#""pending_restart_reason":{"max_connections":{"old_value":"100","new_value":"200"}},"#,
    r#""xlog_location":67108864,"replay_lsn":67108864,"receive_lsn":67108864,"replication_state":"streaming","#,
    r#""timeline":3,"scheduled_restart":{"schedule":"2026-11-20T10:00:00+00:00","#,
    r#""postmaster_start_time":"2026-11-19 10:00:00.123456+00:00","role":"replica"},"pause":true}"#
);

fn full() -> MemberData {
    MemberData {
        conn_url: Some("postgres://127.0.0.1:5432/postgres".into()),
        api_url: Some("http://127.0.0.1:8008/patroni".into()),
        state: Some(PgState::Running),
        role: Some(Role::Replica),
        version: Some("4.1.5".into()),
        proxy_url: Some("postgres://127.0.0.1:6432/postgres".into()),
        checkpoint_after_promote: None,
        tags: MemberTags(json!({"clonefrom": true, "nosync": "1"}).as_object().cloned().unwrap()),
        pending_restart: Some(true),
        pending_restart_reason: Some(
            [("max_connections".to_owned(), PendingRestartValue { old_value: "100".into(), new_value: "200".into() })]
                .into(),
        ),
        xlog_location: Some(Lsn(67_108_864)),
        replay_lsn: Some(Lsn(67_108_864)),
        receive_lsn: Some(Lsn(67_108_864)),
        replication_state: Some("streaming".into()),
        timeline: Some(Timeline(3)),
        scheduled_restart: Some(ScheduledRestartData {
            schedule: "2026-11-20T10:00:00+00:00".into(),
            postmaster_start_time: Some("2026-11-19 10:00:00.123456+00:00".into()),
            rest: json!({"role": "replica"}).as_object().cloned().unwrap(),
        }),
        pause: Some(true),
    }
}

#[test]
fn a_member_key_is_written_and_read_as_python_writes_it() {
    assert_eq!(full().to_json(), PYTHON);
    assert_eq!(MemberData::parse(PYTHON.as_bytes()), full());
    assert_eq!(MemberData::default().to_json(), "{}");
}

#[test]
fn the_old_form_is_a_url_with_the_api_address_as_application_name() {
    let data = MemberData::parse(b"postgres://u:p@host:5433/postgres?application_name=http://127.0.0.1:8011/patroni");
    assert_eq!(data.conn_url.as_deref(), Some("postgres://u:p@host:5433/postgres"));
    assert_eq!(data.api_url.as_deref(), Some("http://127.0.0.1:8011/patroni"));
    let bare = MemberData::parse(b"postgres://host/db");
    assert_eq!((bare.conn_url.as_deref(), bare.api_url), (Some("postgres://host/db"), None));
}

#[test]
fn odd_fields_count_as_absent_and_the_rest_is_kept() {
    let data = MemberData::parse(
        br#"{"conn_url":5,"state":"dancing","role":"master","tags":[],"xlog_location":"77","timeline":-1,"new":{}}"#,
    );
    assert_eq!(data, MemberData { role: Some(Role::Primary), xlog_location: Some(Lsn(77)), ..MemberData::default() });
    for garbage in ["", "{", "[]", "null", "5", "\"x\""] {
        assert_eq!(MemberData::parse(garbage.as_bytes()), MemberData::default(), "{garbage}");
    }
    let remote = MemberData::parse(br#"{"conn_kwargs":{"host":"::1","port":5433}}"#);
    assert_eq!(remote.conn_url.as_deref(), Some("postgresql://[::1]:5433"));
}

proptest::proptest! {
    #[test]
    fn no_bytes_break_the_reader(bytes: Vec<u8>) {
        let data = MemberData::parse(&bytes);
        proptest::prop_assert_eq!(MemberData::parse(data.to_json().as_bytes()), data);
    }

    #[test]
    fn urls_of_any_kind_do_not_break_the_reader(rest in ".*") {
        let _ = MemberData::parse(format!("postgres{rest}").as_bytes());
    }

    #[test]
    fn what_is_written_reads_the_same(url in "[ -~]{1,20}", lsn in 0..u64::try_from(i64::MAX).unwrap(), state in 0..15usize) {
        let data = MemberData {
            api_url: Some(url),
            state: Some(PgState::ALL[state]),
            xlog_location: Some(Lsn(lsn)),
            ..full()
        };
        proptest::prop_assert_eq!(MemberData::parse(data.to_json().as_bytes()), data);
    }
}
