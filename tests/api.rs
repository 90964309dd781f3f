//! The REST API over real sockets, with a gateway that answers from memory.
#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "api/client.rs"]
mod client;
#[path = "api/fixture.rs"]
#[allow(dead_code)]
mod fixture;
#[path = "api/gateway.rs"]
mod gateway;
#[path = "common/settings.rs"]
mod test_settings;
#[path = "api/tls.rs"]
mod tls;

use client::{Reply, send};
use fixture::{object, snapshot, standby_snapshot};
use gateway::{Fake, answer};
use patroni::api::{Gateway, ServerHandle, Verdict};
use patroni::cluster::PeerStatus;
use patroni::config::settings::{BasicAuth, Secret};
use patroni::dcs::DcsError;
use patroni::ha::{AnswerKind, Request};
use patroni::types::Lsn;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn start(fake: &Arc<Fake>) -> ServerHandle {
    let settings = fake.with(|state| Arc::clone(&state.snapshot.settings));
    patroni::api::server::start(&settings, fake.clone()).unwrap()
}

fn ask(server: &ServerHandle, method: &str, path: &str, body: Option<Value>) -> Reply {
    send(server.addresses()[0], method, path, body.map(|b| b.to_string()).as_deref(), &[])
}

// rows: QUIRK-10, QUIRK-11
#[test]
fn health_checks_answer_get_head_and_options() {
    for (snapshot, good, bad) in [
        (
            snapshot(),
            vec!["/", "/primary", "/leader", "/xleaderx", "/health", "/read-only"],
            vec!["/replica", "/standby-leader", "/nosuch"],
        ),
        (
            standby_snapshot(),
            vec!["/replica", "/async", "/health", "/read-only", "/replica?lag=1MB"],
            vec!["/", "/leader", "/xleaderx", "/sync"],
        ),
    ] {
        let fake = Fake::new(snapshot);
        let server = start(&fake);
        for (path, code) in good.iter().map(|p| (p, 200)).chain(bad.iter().map(|p| (p, 503))) {
            let get = ask(&server, "GET", path, None);
            assert_eq!((get.code, get.header("content-type")), (code, Some("application/json")), "{path}");
            assert_eq!(get.json()["patroni"]["scope"], "batman");
            for method in ["HEAD", "OPTIONS"] {
                let reply = ask(&server, method, path, None);
                assert_eq!((reply.code, reply.body.as_str()), (code, ""), "{method} {path}");
            }
        }
        for path in ["/liveness", "/readiness"] {
            let reply = ask(&server, "GET", path, None);
            assert_eq!((reply.code, reply.body.as_str()), (200, ""), "{path}");
            assert_eq!(ask(&server, "HEAD", path, None).code, 503, "{path} is named for GET only");
        }
    }
}

#[test]
fn old_protocol_and_kept_connections_work() {
    let server = start(&Fake::new(snapshot()));
    let address = server.addresses()[0];
    let old = client::raw(address, "OPTIONS /primary HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 200 OK\r\n"), "{old}");
    let two = client::raw(
        address,
        "GET /patroni HTTP/1.1\r\nHost: x\r\n\r\nGET /replica HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    );
    assert_eq!((two.matches("HTTP/1.1 200 OK").count(), two.matches("HTTP/1.1 503 ").count()), (1, 1), "{two}");
}

#[test]
fn a_silent_server_does_not_hold_answers_back() {
    let fake = Fake::new(snapshot());
    fake.with(|state| state.status_hangs = true);
    let server = start(&fake);
    let reply = ask(&server, "GET", "/primary", None);
    assert_eq!((reply.code, reply.json()["state"].clone()), (200, json!("unknown")));
    assert_eq!(ask(&server, "GET", "/health", None).code, 503);
}

#[test]
fn views_of_the_cluster() {
    let fake = Fake::new(snapshot());
    let server = start(&fake);
    let cluster = ask(&server, "GET", "/cluster", None).json();
    assert_eq!(cluster["scope"], "batman");
    assert_eq!(cluster["members"][0]["role"], "leader");
    assert_eq!(ask(&server, "GET", "/history", None).body, "[]");
    assert_eq!(ask(&server, "GET", "/config", None).body, r#"{"ttl": 30, "loop_wait": 10}"#);
    let metrics = ask(&server, "GET", "/metrics", None);
    assert_eq!(metrics.header("content-type"), Some("text/plain"));
    assert!(metrics.body.contains("patroni_primary{scope=\"batman\",name=\"a\"} 1\n"));
    assert_eq!(ask(&server, "GET", "/failsafe", None).code, 502);
    fake.with(|state| state.cluster.as_mut().map(|c| c.config = None).unwrap_or_default());
    fake.with(|state| state.snapshot.cluster = None);
    assert_eq!(ask(&server, "GET", "/config", None).code, 502);
    fake.with(|state| state.cluster = Err(DcsError::Unreachable("etcd is away".into())));
    let reply = ask(&server, "GET", "/cluster", None);
    assert_eq!((reply.code, reply.body.as_str()), (503, "DCS is not accessible: etcd is away"));
}

// rows: FSM-05, FSM-06, API-33, API-34
#[test]
fn a_primary_without_a_store_is_heard() {
    let fake = Fake::new(standby_snapshot());
    let server = start(&fake);
    let body = json!({"name": "a", "conn_url": "postgres://a/x", "api_url": "http://a/patroni", "slots": {"b": 7}});
    let post = |body: &Value| ask(&server, "POST", "/failsafe", Some(body.clone()));
    assert_eq!(post(&body).code, 502, "the mode is off");
    fake.with(|s| Arc::make_mut(&mut s.snapshot.settings).global.failsafe_mode = true);
    let reply = post(&body);
    assert_eq!((reply.code, reply.body.as_str(), reply.header("lsn")), (200, "Accepted", None));
    fake.with(|s| s.verdict = Verdict::Accepted(Some(Lsn(67_108_864))));
    assert_eq!(post(&body).header("lsn"), Some("67108864"));
    fake.with(|s| s.verdict = Verdict::Refused("Running as a leader".to_owned()));
    let reply = post(&body);
    assert_eq!((reply.code, reply.body.as_str(), reply.header("lsn")), (500, "Running as a leader", None));
    assert_eq!(fake.with(|s| s.calls.len()), 3);
    assert_eq!(fake.with(|s| s.calls[0].to_json()), body);
    let reply = post(&json!({"name": "a", "conn_url": "postgres://a/x"}));
    assert_eq!((reply.code, reply.body.as_str()), (400, "failsafe: 'api_url' must be a text that is not empty"));
    assert_eq!(post(&json!({})).code, 400);
    assert_eq!(fake.with(|s| s.calls.len()), 3);
    // who has to be asked
    assert_eq!(ask(&server, "GET", "/failsafe", None).code, 502);
    let map = [("a", "http://a/patroni"), ("b", "http://b/patroni")].map(|(n, u)| (n.to_owned(), u.to_owned()));
    fake.with(|s| {
        let (cluster, _) = s.snapshot.cluster.as_mut().unwrap();
        Arc::make_mut(cluster).failsafe = Some(map.into_iter().collect());
    });
    let reply = ask(&server, "GET", "/failsafe", None);
    let text = r#"{"a": "http://a/patroni", "b": "http://b/patroni"}"#;
    assert_eq!((reply.code, reply.body.as_str()), (200, text));
}

// rows: FSM-10, MET-18, NEXT-07
#[test]
fn failsafe_mode_is_shown_until_it_ends() {
    let fake = Fake::new(standby_snapshot());
    let server = start(&fake);
    let shown = |path: &str| ask(&server, "GET", path, None).body;
    let metric = |name: &str| {
        let page = shown("/metrics");
        let line = page.lines().find(|l| l.starts_with(&format!("{name}{{"))).unwrap();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let all = || {
        ["is_active", "mode_enabled", "member"]
            .map(|n| metric(&format!("patroni_failsafe_{}", if n == "is_active" { "mode_is_active" } else { n })))
    };
    assert!(!shown("/patroni").contains("failsafe"));
    assert_eq!(all(), ["0", "0", "0"]);
    let now = fake.clock().mono();
    fake.with(|s| {
        s.snapshot.failsafe_until = Some(now + Duration::from_secs(60));
        Arc::make_mut(&mut s.snapshot.settings).global.failsafe_mode = true;
        let (cluster, _) = s.snapshot.cluster.as_mut().unwrap();
        Arc::make_mut(cluster).failsafe = Some([("b".to_owned(), String::new())].into_iter().collect());
    });
    assert!(shown("/primary").contains(r#""failsafe_mode_is_active": true"#));
    assert_eq!(all(), ["1", "1", "1"]);
    fake.with(|s| s.snapshot.failsafe_until = Some(now));
    assert!(!shown("/patroni").contains("failsafe"));
    assert_eq!(all(), ["0", "1", "1"]);
    assert_eq!(metric("patroni_failover_priority"), "1");
    fake.with(|s| {
        let tags = json!({"failover_priority": 5}).as_object().cloned().unwrap();
        Arc::make_mut(&mut s.snapshot.settings).tags = tags;
    });
    assert_eq!(metric("patroni_failover_priority"), "5");
}

#[test]
fn the_configuration_is_patched_and_replaced() {
    let fake = Fake::new(snapshot());
    let server = start(&fake);
    let reply = ask(&server, "PATCH", "/config", Some(json!({"loop_wait": null, "slots": {"a": {}}})));
    assert_eq!((reply.code, reply.body.as_str()), (200, r#"{"ttl": 30, "slots": {"a": {}}}"#));
    assert_eq!(fake.with(|s| s.written_config.take()), Some((object(json!({"ttl": 30, "slots": {"a": {}}})), Some(7))));
    assert_eq!(ask(&server, "PATCH", "/config", Some(json!({"ttl": "30"}))).code, 200);
    assert_eq!(fake.with(|s| s.written_config.take()), None, "nothing changed");
    assert_eq!(ask(&server, "PUT", "/config", Some(json!({"ttl": 20}))).body, r#"{"ttl": 20}"#);
    assert_eq!(fake.with(|s| s.written_config.take()), Some((object(json!({"ttl": 20})), None)));
    fake.with(|s| s.write_fails = true);
    assert_eq!(ask(&server, "PATCH", "/config", Some(json!({"ttl": 40}))).code, 409);
    assert_eq!(ask(&server, "PUT", "/config", Some(json!({"ttl": 40}))).code, 502);
    fake.with(|s| s.cluster.as_mut().map(|c| c.config = None).unwrap_or_default());
    assert_eq!(ask(&server, "PATCH", "/config", Some(json!({"ttl": 40}))).code, 503);
}

#[test]
fn bad_requests_are_refused() {
    let server = start(&Fake::new(snapshot()));
    let address = server.addresses()[0];
    for (method, path, body, code) in [
        ("PATCH", "/config", None, 411),
        ("PATCH", "/config", Some(""), 400),
        ("PATCH", "/config", Some("{}"), 400),
        ("PATCH", "/config", Some("[1]"), 400),
        ("PUT", "/config", Some("{\"a\":"), 400),
        ("POST", "/failover", Some(""), 400),
        ("POST", "/restart", Some("[]"), 400),
        ("POST", "/mpp", Some("{\"type\": \"x\"}"), 200),
        ("POST", "/citus", None, 411),
        ("POST", "/failsafe", Some("{}"), 502),
        ("POST", "/nosuch", Some("{}"), 501),
        ("POST", "/", Some("{}"), 501),
        ("TRACE", "/", None, 501),
        ("BREW", "/config", None, 501),
        ("DELETE", "/config", None, 501),
        ("POST", "/sigterm", None, 202),
    ] {
        let reply = send(address, method, path, body, &[]);
        assert_eq!(reply.code, code, "{method} {path} {body:?}: {}", reply.body);
    }
    let huge = send(address, "PUT", "/config", Some(&format!("{{\"a\": \"{}\"}}", "x".repeat(5 << 20))), &[]);
    assert_eq!(huge.code, 413);
    assert!(send(address, "POST", "/x", None, &[]).body.contains("Server does not support this operation"));
    let garbage = client::raw(address, "\u{1}\u{2} nonsense\r\n\r\n");
    assert!(garbage.is_empty() || garbage.starts_with("HTTP/1.1 400"), "{garbage}");
}

// rows: QUIRK-05
#[test]
fn unsafe_requests_need_the_password() {
    let mut snapshot = snapshot();
    Arc::make_mut(&mut snapshot.settings).restapi.authentication =
        Some(BasicAuth { username: "u".into(), password: Secret::new("p") });
    let fake = Fake::new(snapshot);
    let server = start(&fake);
    let address = server.addresses()[0];
    for (method, path) in [
        ("PATCH", "/config"),
        ("PUT", "/config"),
        ("POST", "/restart"),
        ("DELETE", "/restart"),
        ("POST", "/switchover"),
        ("POST", "/failover"),
        ("DELETE", "/switchover"),
        ("POST", "/reinitialize"),
        ("POST", "/reload"),
        ("POST", "/failsafe"),
        ("POST", "/sigterm"),
        ("POST", "/citus"),
        ("POST", "/mpp"),
    ] {
        let reply = send(address, method, path, Some("{}"), &[]);
        assert_eq!((reply.code, reply.body.as_str()), (401, "no auth header received"), "{method} {path}");
        assert_eq!(reply.header("www-authenticate"), Some("Basic realm=\"Patroni\""));
        let reply = send(address, method, path, Some("{}"), &["Authorization: Basic dTpx"]);
        assert_eq!((reply.code, reply.body.as_str()), (401, "not authenticated"), "{method} {path}");
    }
    let good = send(address, "POST", "/reload", None, &["Authorization: Basic dTpw"]);
    assert_eq!((good.code, good.body.as_str()), (202, "reload scheduled"));
    assert_eq!(fake.with(|s| s.reloads), 1);
    assert_eq!(ask(&server, "GET", "/config", None).code, 200, "reading is free");
    // A changed password counts at once.
    fake.with(|s| Arc::make_mut(&mut s.snapshot.settings).restapi.authentication = None);
    assert_eq!(ask(&server, "POST", "/reload", None).code, 202);
}

#[test]
fn the_allow_list_admits_its_addresses() {
    for (list, members, code) in [
        (None, false, 202),
        (Some(vec!["10.0.0.0/8"]), false, 403),
        (Some(vec!["10.0.0.0/8", "127.0.0.1"]), false, 202),
        (Some(vec!["localhost"]), false, 202),
        (Some(vec!["no.such.host.invalid"]), false, 403),
        (Some(vec!["10.0.0.0/8"]), true, 202),
        (None, true, 202),
    ] {
        let mut snapshot = snapshot();
        let restapi = &mut Arc::make_mut(&mut snapshot.settings).restapi;
        restapi.allowlist = list.clone().map(|l| l.into_iter().map(str::to_owned).collect());
        restapi.allowlist_include_members = members;
        let server = start(&Fake::new(snapshot));
        let reply = ask(&server, "POST", "/reload", None);
        assert_eq!(reply.code, code, "{list:?} {members}");
        assert_eq!(ask(&server, "GET", "/patroni", None).code, 200);
    }
}

// rows: QUIRK-04
#[test]
fn restarts_are_handed_to_the_coordinator() {
    let fake = Fake::new(snapshot());
    let server = start(&fake);
    for (kind, text, code) in [
        (AnswerKind::Done, "restarted successfully", 200),
        (AnswerKind::NotDone, "restart failed", 503),
        (AnswerKind::Scheduled, "Restart scheduled", 202),
        (AnswerKind::Conflict, "Another restart is already scheduled", 409),
    ] {
        fake.with(|s| s.answer = answer(kind, text));
        let reply = ask(&server, "POST", "/restart", Some(json!({"role": "primary", "restart_pending": "True"})));
        assert_eq!((reply.code, reply.body.as_str()), (code, text));
        let Some(Request::Restart { filter, .. }) = fake.with(|s| s.requests.pop()) else { panic!() };
        assert!(filter.restart_pending);
    }
    assert_eq!(ask(&server, "POST", "/restart", Some(json!({"role": "x"}))).code, 400);
    fake.with(|s| s.cluster.as_mut().unwrap().config.as_mut().unwrap().data = object(json!({"pause": true})));
    let reply = ask(&server, "POST", "/restart", Some(json!({"schedule": "2099-01-01T00:00:00Z"})));
    assert_eq!((reply.code, reply.body.as_str()), (500, "Can't schedule restart in the paused state"));
    assert!(fake.with(|s| s.requests.is_empty()));
    fake.with(|s| s.answer = answer(AnswerKind::NotFound, "?"));
    let reply = ask(&server, "DELETE", "/restart", None);
    assert_eq!((reply.code, reply.body.as_str()), (404, "no restarts are scheduled"));
    fake.with(|s| s.answer = answer(AnswerKind::NotDone, "I am the leader, can not reinitialize"));
    let reply = ask(&server, "POST", "/reinitialize", Some(json!({"force": "on", "from_leader": true})));
    assert_eq!((reply.code, reply.body.as_str()), (503, "I am the leader, can not reinitialize"));
    assert!(matches!(fake.with(|s| s.requests.pop()), Some(Request::Reinitialize { force: true, from_leader: true })));
    for (body, wanted) in
        [(json!({"from-leader": true}), true), (json!({"from-leader": "off"}), false), (json!({}), false)]
    {
        ask(&server, "POST", "/reinitialize", Some(body.clone()));
        let seen = fake.with(|s| s.requests.pop());
        assert_eq!(seen, Some(Request::Reinitialize { force: false, from_leader: wanted }), "{body}");
    }
}

#[test]
fn a_switchover_is_written_and_followed() {
    let fake = Fake::new(snapshot());
    let server = start(&fake);
    let wish = json!({"leader": "a", "candidate": "b"});
    let reply = ask(&server, "POST", "/switchover", Some(wish.clone()));
    assert_eq!(
        (reply.code, reply.body.as_str()),
        (412, "switchover is not possible: no good candidates have been found")
    );
    fake.with(|s| s.peers = vec![PeerStatus { reachable: true, ..PeerStatus::unreachable("b") }]);
    fake.with(|s| s.switches_to = Some("b"));
    let reply = ask(&server, "POST", "/switchover", Some(wish));
    assert_eq!((reply.code, reply.body.as_str()), (200, "Successfully switched over to \"b\""));
    let (request, expect) = fake.with(|s| s.written_failover.take()).unwrap();
    assert_eq!((request.leader.as_deref(), request.candidate.as_deref(), expect), (Some("a"), Some("b"), None));
    fake.with(|s| s.write_fails = true);
    let reply = ask(&server, "POST", "/failover", Some(json!({"candidate": "b"})));
    assert_eq!((reply.code, reply.body.as_str()), (503, "failed to write failover key into DCS"));
}

#[test]
fn a_scheduled_switchover_is_noted_and_forgotten() {
    let fake = Fake::new(snapshot());
    let server = start(&fake);
    assert_eq!(ask(&server, "DELETE", "/switchover", None).body, "no switchover is scheduled");
    let reply =
        ask(&server, "POST", "/switchover", Some(json!({"leader": "a", "scheduled_at": "2099-01-01T00:00:00+01:00"})));
    assert_eq!((reply.code, reply.body.as_str()), (202, "Switchover scheduled"));
    let (request, _) = fake.with(|s| s.written_failover.take()).unwrap();
    assert_eq!(request.scheduled_at.as_deref(), Some("2099-01-01T00:00:00+01:00"));
    let reply = ask(&server, "DELETE", "/switchover", None);
    assert_eq!((reply.code, reply.body.as_str()), (200, "scheduled switchover deleted"));
    assert_eq!(fake.with(|s| s.written_failover.take()).unwrap().1, Some(9));
}

#[tokio::test]
async fn a_server_stops_and_frees_its_port() {
    let server = start(&Fake::new(snapshot()));
    let address = server.addresses()[0];
    assert!(server.is_running());
    // A connection that is kept does not hold the server.
    let _idle = std::net::TcpStream::connect(address).unwrap();
    tokio::time::timeout(std::time::Duration::from_secs(4), server.stop()).await.unwrap();
    assert!(std::net::TcpListener::bind(address).is_ok());
}

#[test]
fn settings_of_listener_and_tls_ask_for_a_new_server() {
    let fake = Fake::new(snapshot());
    let server = start(&fake);
    let mut settings = fake.with(|s| (*s.snapshot.settings).clone());
    settings.restapi.authentication = Some(BasicAuth { username: "u".into(), password: Secret::new("p") });
    assert!(server.matches(&settings), "passwords are read at each request");
    settings.restapi.listen = "127.0.0.1:1".into();
    assert!(!server.matches(&settings));
}

#[test]
fn headers_are_added_and_the_server_names_itself() {
    let mut snapshot = snapshot();
    let restapi = &mut Arc::make_mut(&mut snapshot.settings).restapi;
    restapi.http_extra_headers.insert("X-One".into(), "1".into());
    restapi.http_extra_headers.insert("bad name".into(), "1".into());
    restapi.https_extra_headers.insert("X-Two".into(), "2".into());
    restapi.server_tokens = "Minimal".into();
    let server = start(&Fake::new(snapshot));
    let reply = ask(&server, "GET", "/patroni", None);
    assert_eq!(reply.header("x-one"), Some("1"));
    assert_eq!(reply.header("x-two"), None);
    assert_eq!(reply.header("server"), Some("Patroni/4.1.5"));
}
