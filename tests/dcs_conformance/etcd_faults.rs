//! etcd dead, mute, stopped, behind a login, behind TLS; answers that get lost.

use crate::bench::{BUDGET, TTL, data, soon};
use crate::etcd::{Server, free_port, settings, store};
use crate::proxy::Proxy;
use etcd_client::{CompactionOptions, PermissionType};
use patroni::clock::Clock;
use patroni::config::settings::{BasicAuth, Etcd3, Secret};
use patroni::dcs::{ConnectError, Dcs, DcsError, connect};
use patroni::types::SystemId;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

fn member(name: &str, etcd: Etcd3) -> Arc<dyn Dcs> {
    let mut settings = settings("demo", name, etcd);
    settings.global.ttl = TTL * 6;
    connect(&settings, Clock::system()).unwrap()
}

fn unanswered<T: std::fmt::Debug>(result: Result<T, DcsError>) {
    assert!(matches!(result, Err(DcsError::Unreachable(_) | DcsError::Unknown(_))), "{result:?}");
}

/// Every kind of request, all of which must work.
async fn full_round(dcs: &dyn Dcs, budget: Duration) {
    dcs.load(budget).await.unwrap();
    dcs.touch_member(&data("x"), budget).await.unwrap();
    dcs.acquire_leader(budget).await.unwrap();
    dcs.renew_leader(budget).await.unwrap();
    dcs.write_config(&serde_json::Map::new(), None, budget).await.unwrap();
    dcs.release_leader(budget).await.unwrap();
    dcs.delete_cluster(budget).await.unwrap();
}

#[tokio::test]
async fn a_dead_endpoint_beside_a_living_one_costs_nothing() {
    let Some(server) = Server::start(&[]).await else { return };
    let dead = format!("127.0.0.1:{}", free_port());
    for hosts in [[dead.clone(), server.host()], [server.host(), dead]] {
        for name in ["a", "b"] {
            let dcs = member(name, store(&hosts));
            for _ in 0..4 {
                full_round(&*dcs, Duration::from_secs(4)).await;
            }
        }
    }
}

#[tokio::test]
async fn a_mute_endpoint_beside_a_living_one_costs_one_wait() {
    let Some(server) = Server::start(&[]).await else { return };
    // The kernel accepts connections, nobody reads.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mute_host = mute.local_addr().unwrap().to_string();
    for name in ["a", "b"] {
        let clock = Clock::system();
        let before = clock.mono();
        let etcd = Etcd3 { use_proxies: true, ..store(&[mute_host.clone(), server.host()]) };
        let dcs = member(name, etcd);
        for _ in 0..5 {
            full_round(&*dcs, Duration::from_secs(4)).await;
        }
        assert!(clock.mono().since(before) < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn without_any_endpoint_nothing_is_done_and_the_budget_is_kept() {
    let dcs = member("a", store(&[format!("127.0.0.1:{}", free_port())]));
    let (clock, budget) = (Clock::system(), Duration::from_millis(1500));
    let before = clock.mono();
    assert!(matches!(dcs.load(budget).await, Err(DcsError::Unreachable(_))));
    assert!(matches!(dcs.acquire_leader(budget).await, Err(DcsError::Unreachable(_))));
    assert!(matches!(dcs.renew_leader(budget).await, Err(DcsError::Unreachable(_))));
    assert!(matches!(dcs.initialize(None, true, budget).await, Err(DcsError::Unreachable(_))));
    assert!(matches!(dcs.touch_member(&data("x"), budget).await, Err(DcsError::Unreachable(_))));
    let config = dcs.write_config(&serde_json::Map::new(), None, budget).await;
    assert!(matches!(config, Err(DcsError::Unreachable(_))), "{config:?}");
    dcs.close(budget).await;
    assert!(clock.mono().since(before) < budget * 7 + Duration::from_secs(1));
    assert_eq!(dcs.last_seen(), None);
}

#[tokio::test]
async fn a_stopped_etcd_is_silent_and_works_again_when_it_goes_on() {
    let Some(server) = Server::start(&[]).await else { return };
    let dcs = member("a", store(&[server.host()]));
    dcs.acquire_leader(BUDGET).await.unwrap();
    dcs.load(BUDGET).await.unwrap();
    server.signal("STOP");
    let (clock, budget) = (Clock::system(), Duration::from_secs(2));
    for turn in 0..4 {
        let before = clock.mono();
        match turn {
            0 => assert!(matches!(dcs.renew_leader(budget).await, Err(DcsError::Unknown(_)))),
            1 => assert!(matches!(dcs.load(budget).await, Err(DcsError::Unreachable(_)))),
            2 => unanswered(dcs.write_config(&serde_json::Map::new(), None, budget).await),
            _ => unanswered(dcs.release_leader(budget).await),
        }
        assert!(clock.mono().since(before) < budget + Duration::from_millis(500), "turn {turn}");
    }
    server.signal("CONT");
    dcs.renew_leader(BUDGET).await.unwrap();
    assert!(dcs.load(BUDGET).await.unwrap().leader.is_some_and(|l| l.own_session));
}

#[tokio::test]
async fn the_return_of_etcd_wakes_and_nothing_was_lost() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let dcs = member("a", store(&[server.host()]));
    dcs.acquire_leader(BUDGET).await.unwrap();
    dcs.load(BUDGET).await.unwrap();
    // Opens the watch.
    assert!(tokio::time::timeout(Duration::from_millis(200), dcs.changed()).await.is_err());
    server.kill();
    assert!(matches!(dcs.load(Duration::from_millis(300)).await, Err(DcsError::Unreachable(_))));
    assert!(tokio::time::timeout(Duration::from_millis(300), dcs.changed()).await.is_err());
    let back = async { tokio::join!(dcs.changed(), server.restart()) };
    soon(back).await;
    dcs.renew_leader(BUDGET).await.unwrap();
    assert!(dcs.load(BUDGET).await.unwrap().leader.is_some_and(|l| l.own_session));
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_with_a_second_endpoint_found_out() {
    let Some(server) = Server::start(&[]).await else { return };
    let proxy = Proxy::start(server.host()).await;
    let budget = Duration::from_secs(2);
    let alone = Etcd3 { use_proxies: true, ..store(&[proxy.host()]) };
    let a = member("a", alone.clone());
    a.load(BUDGET).await.unwrap();
    proxy.swallow(true);
    assert!(matches!(
        a.initialize(Some(SystemId(7_123_456_789_012_345_678)), true, budget).await,
        Err(DcsError::Unknown(_))
    ));
    assert!(matches!(a.renew_leader(budget).await, Err(DcsError::Unreachable(_) | DcsError::Unknown(_))));
    proxy.swallow(false);
    assert!(a.load(BUDGET).await.unwrap().system_id().is_some());
    a.delete_cluster(BUDGET).await.unwrap();
    // Now the same with another way to etcd. Which of the two comes first depends on the name.
    for (name, hosts) in [("b", [proxy.host(), server.host()]), ("c", [server.host(), proxy.host()])] {
        let dcs = member(name, Etcd3 { use_proxies: true, ..store(&hosts) });
        dcs.touch_member(&data("x"), BUDGET).await.unwrap();
        dcs.load(BUDGET).await.unwrap();
        proxy.swallow(true);
        dcs.acquire_leader(BUDGET).await.unwrap();
        dcs.initialize(Some(SystemId(7_123_456_789_012_345_678)), true, BUDGET).await.unwrap();
        dcs.renew_leader(BUDGET).await.unwrap();
        proxy.swallow(false);
        dcs.release_leader(BUDGET).await.unwrap();
        dcs.delete_cluster(BUDGET).await.unwrap();
    }
}

#[tokio::test]
async fn the_members_of_etcd_are_found_out() {
    let Some(server) = Server::start(&[]).await else { return };
    let proxy = Proxy::start(server.host()).await;
    let dcs = member("a", store(&[proxy.host()]));
    dcs.load(BUDGET).await.unwrap();
    proxy.swallow_new(true);
    // The list comes beside the first read; the proxy is of no use any more.
    let found = async {
        while dcs.load(Duration::from_secs(3)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.swallow(true);
        dcs.touch_member(&data("x"), BUDGET).await.unwrap();
        dcs.acquire_leader(BUDGET).await.unwrap();
    };
    soon(found).await;
}

/// The one that leads, when all are at rest.
async fn leading(servers: &[Server]) -> usize {
    let finding = async {
        loop {
            for (index, server) in servers.iter().enumerate() {
                let status = server.client().await.status().await.unwrap();
                if status.leader() == status.header().unwrap().member_id() {
                    return index;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(finding).await
}

#[tokio::test]
async fn the_lock_outlives_elections_within_etcd() {
    let Some(servers) = Server::start_three().await else { return };
    let hosts: Vec<String> = servers.iter().map(Server::host).collect();
    let clock = Clock::system();
    let dcs = member("a", store(&hosts));
    dcs.acquire_leader(BUDGET).await.unwrap();
    let revision = dcs.load(BUDGET).await.unwrap().leader.unwrap().revision;
    for _ in 0..3 {
        let index = leading(&servers).await;
        servers[index].signal("STOP");
        let lease = dcs.renew_leader(BUDGET).await;
        let seen = dcs.load(BUDGET).await;
        servers[index].signal("CONT");
        assert!(lease.unwrap().until <= clock.mono() + TTL * 6);
        assert!(seen.unwrap().leader.is_some_and(|l| l.own_session && l.revision == revision));
    }
    // Two of three are needed.
    servers[0].signal("STOP");
    servers[1].signal("STOP");
    let budget = Duration::from_secs(4);
    let (renewed, seen) = (dcs.renew_leader(budget).await, dcs.load(budget).await);
    servers[0].signal("CONT");
    servers[1].signal("CONT");
    assert!(matches!(renewed, Err(DcsError::Unknown(_) | DcsError::Unreachable(_))), "{renewed:?}");
    assert!(matches!(seen, Err(DcsError::Unreachable(_))), "{seen:?}");
    dcs.renew_leader(BUDGET).await.unwrap();
}

#[tokio::test]
async fn the_watch_survives_compaction() {
    let Some(server) = Server::start(&[]).await else { return };
    let dcs = member("a", store(&[server.host()]));
    dcs.load(BUDGET).await.unwrap();
    let mut client = server.client().await;
    let mut revision = 0;
    for n in 0..5 {
        let put = client.put("/elsewhere", format!("{n}"), None).await.unwrap();
        revision = put.header().unwrap().revision();
    }
    client.compact(revision, Some(CompactionOptions::new().with_physical())).await.unwrap();
    // What the watch was to begin with is gone: that counts as a change, once.
    soon(dcs.changed()).await;
    dcs.load(BUDGET).await.unwrap();
    let put = async { drop(client.put("/service/demo/config", "{}", None).await.unwrap()) };
    soon(async { tokio::join!(dcs.changed(), put) }).await;
}

#[tokio::test]
async fn a_revoked_lease_is_replaced() {
    let Some(server) = Server::start(&[]).await else { return };
    let dcs = member("a", store(&[server.host()]));
    dcs.touch_member(&data("x"), BUDGET).await.unwrap();
    dcs.acquire_leader(BUDGET).await.unwrap();
    let mut client = server.client().await;
    let lease = client.get("/service/demo/leader", None).await.unwrap().kvs()[0].lease();
    client.lease_revoke(lease).await.unwrap();
    // The session believes in its lease still.
    dcs.touch_member(&data("y"), BUDGET).await.unwrap();
    dcs.renew_leader(BUDGET).await.unwrap();
    let cluster = dcs.load(BUDGET).await.unwrap();
    assert!(cluster.leader.is_some_and(|l| l.own_session) && cluster.members.iter().all(|m| m.own_session));
    assert_eq!(cluster.members.len(), 1);
}

fn with_login(hosts: &[String], username: &str, password: &str) -> Etcd3 {
    let login = BasicAuth { username: username.into(), password: Secret::new(password) };
    Etcd3 { authentication: Some(login), ..store(hosts) }
}

#[tokio::test]
async fn a_login_is_made_and_made_again() {
    let Some(mut server) = Server::start(&[]).await else { return };
    let good = with_login(&[server.host()], "root", "secret");
    // A login that is not wanted does no harm.
    full_round(&*member("a", good.clone()), BUDGET).await;
    let mut admin = server.client().await;
    admin.user_add("root", "secret", None).await.unwrap();
    admin.role_add("root").await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.auth_enable().await.unwrap();

    let dcs = member("a", good);
    full_round(&*dcs, BUDGET).await;
    for bad in [store(&[server.host()]), with_login(&[server.host()], "root", "wrong")] {
        let refused = member("b", bad).load(BUDGET).await;
        assert!(matches!(refused, Err(DcsError::Refused(_))), "{refused:?}");
    }
    // Tokens do not outlive the server.
    server.kill();
    server.restart().await;
    full_round(&*dcs, BUDGET).await;
    // A change of users makes tokens old.
    let options = etcd_client::ConnectOptions::new().with_user("root", "secret");
    let mut admin = etcd_client::Client::connect([server.host()], Some(options)).await.unwrap();
    admin.role_add("r").await.unwrap();
    let permission = etcd_client::Permission::new(PermissionType::Read, "/nothing");
    admin.role_grant_permission("r", permission).await.unwrap();
    full_round(&*dcs, BUDGET).await;
}

/// A certificate for 127.0.0.1 that is its own authority.
fn certificate(dir: &Path) {
    let status = std::process::Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=etcd"])
        .args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(dir)
        .stderr(std::process::Stdio::null())
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn tls_with_client_certificates_works_and_strangers_are_not_believed() {
    let (ours, others) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    certificate(ours.path());
    certificate(others.path());
    let (cert, key) = (ours.path().join("cert.pem"), ours.path().join("key.pem"));
    let args = [
        format!("--cert-file={}", cert.display()),
        format!("--key-file={}", key.display()),
        format!("--trusted-ca-file={}", cert.display()),
        "--client-cert-auth".to_owned(),
    ];
    let Some(server) = Server::start(&args.each_ref().map(String::as_str)).await else { return };
    let tls =
        Etcd3 { https: true, cacert: Some(cert.clone()), cert: Some(cert), key: Some(key), ..store(&[server.host()]) };
    full_round(&*member("a", tls.clone()), BUDGET).await;
    let budget = Duration::from_secs(2);
    let stranger = Etcd3 { cacert: Some(others.path().join("cert.pem")), ..tls.clone() };
    // No connection, so surely nothing was written.
    let unconnected = member("a", stranger).write_config(&serde_json::Map::new(), None, budget).await;
    assert!(matches!(unconnected, Err(DcsError::Unreachable(_))), "{unconnected:?}");
    let anonymous = Etcd3 { cert: None, key: None, ..tls.clone() };
    unanswered(member("a", anonymous).load(budget).await);
    let plain = Etcd3 { https: false, ..tls };
    unanswered(member("a", plain).load(budget).await);
}

#[test]
fn what_cannot_work_is_said_at_once() {
    let failure = |etcd| match connect(&settings("demo", "a", etcd), Clock::system()) {
        Ok(_) => panic!("it was taken"),
        Err(error) => error,
    };
    let srv = failure(Etcd3 { srv: Some("example.org".into()), ..store(&[]) });
    assert!(matches!(&srv, ConnectError::NotSupported(text) if text.contains("etcd3.srv")), "{srv}");
    assert!(matches!(failure(store(&[])), ConnectError::Invalid(_)));
    let tls = failure(Etcd3 { https: true, cacert: Some("/no/such/ca.pem".into()), ..store(&["h:1".into()]) });
    assert!(tls.to_string().contains("/no/such/ca.pem"), "{tls}");
}
