//! Asks other members over their REST API, all at once: for their status, and to be left in the lead without a store.

use super::messages::{Execute, Executed};
use crate::clock::Clock;
use crate::cluster::{FailsafeAnswer, MemberTags, PeerStatus, Role};
use crate::ha::{Command, Outcome};
use crate::types::{Lsn, Timeline, Wall};
use actix::{Actor, Context, Handler, Message};
use async_trait::async_trait;
use futures_util::future::join_all;
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// All members answer within this or count as unreachable (ha-rules 2).
pub const POLL_PATIENCE: Duration = Duration::from_secs(2);

/// How members are reached: HTTP with the certificates of `ctl`, or a model.
#[async_trait]
pub trait PeerTransport: Send + Sync {
    /// GET. The body of an answer with any status code, or why there is none.
    async fn get(&self, url: &str, patience: Duration) -> Result<Vec<u8>, String>;

    /// POST. The answer with any status code, or why there is none.
    async fn post(&self, url: &str, body: &Value, patience: Duration) -> Result<PeerAnswer, String>;
}

/// What a member answered to a POST.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAnswer {
    /// The status code.
    pub status: u16,
    /// The header `lsn`.
    pub lsn: Option<String>,
    /// The body.
    pub body: String,
}

/// Ask members on behalf of the REST API.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct AskPeers {
    /// Names and API addresses.
    pub members: Vec<(String, String)>,
    /// Where the answers go, in the same order.
    pub answer: oneshot::Sender<Vec<PeerStatus>>,
}

/// Other certificates or settings are in force.
#[derive(Clone, Message)]
#[rtype(result = "()")]
pub struct UseTransport(pub Arc<dyn PeerTransport>);

/// The actor.
pub struct Peers {
    clock: Clock,
    transport: Arc<dyn PeerTransport>,
}

impl Peers {
    /// Peers that are reached by this transport.
    #[must_use]
    pub fn new(clock: Clock, transport: Arc<dyn PeerTransport>) -> Self {
        Self { clock, transport }
    }
}

impl Actor for Peers {
    type Context = Context<Self>;
}

impl Handler<Execute> for Peers {
    type Result = ();

    fn handle(&mut self, msg: Execute, _ctx: &mut Self::Context) {
        let (transport, clock) = (self.transport.clone(), self.clock.clone());
        actix::spawn(async move {
            let outcome = match &msg.command {
                Command::PollPeers(members) => Outcome::Peers(poll(transport.as_ref(), &clock, members).await),
                Command::CallFailsafe { call, ttl, members } => {
                    // From before the first member is asked, so that every promise outlives the right to lead.
                    let until = clock.mono() + *ttl;
                    let answers = call_all(transport.as_ref(), &call.to_json(), members, msg.budget).await;
                    Outcome::Failsafe { until, answers }
                }
                other => Outcome::Failed(format!("not a command for peers: {other:?}")),
            };
            msg.reply.do_send(Executed { ticket: msg.ticket, outcome });
        });
    }
}

impl Handler<AskPeers> for Peers {
    type Result = ();

    fn handle(&mut self, msg: AskPeers, _ctx: &mut Self::Context) {
        let (transport, clock) = (self.transport.clone(), self.clock.clone());
        actix::spawn(async move {
            let answers = poll(transport.as_ref(), &clock, &msg.members).await;
            if msg.answer.send(answers).is_err() {
                tracing::debug!("nobody waits for the members' answers any more");
            }
        });
    }
}

impl Handler<UseTransport> for Peers {
    type Result = ();

    fn handle(&mut self, msg: UseTransport, _ctx: &mut Self::Context) {
        self.transport = msg.0;
    }
}

async fn poll(transport: &dyn PeerTransport, clock: &Clock, members: &[(String, String)]) -> Vec<PeerStatus> {
    join_all(members.iter().map(|(name, url)| ask(transport, clock, name, url))).await
}

async fn ask(transport: &dyn PeerTransport, clock: &Clock, name: &str, url: &str) -> PeerStatus {
    let late = || Err(format!("no answer within {} s", POLL_PATIENCE.as_secs()));
    let answer =
        tokio::time::timeout(POLL_PATIENCE, transport.get(url, POLL_PATIENCE)).await.unwrap_or_else(|_| late());
    match answer {
        Ok(body) => {
            tracing::info!(target: "patroni.ha", "Got response from {name} {url}: {}", String::from_utf8_lossy(&body).trim_end());
            parse(name, &body, clock.wall()).unwrap_or_else(|| PeerStatus::unreachable(name))
        }
        Err(error) => {
            tracing::warn!(target: "patroni.ha", "Request failed to {name}: GET {url} ({error})");
            PeerStatus::unreachable(name)
        }
    }
}

/// Calls all members at once; each has two tries within the budget.
async fn call_all(
    transport: &dyn PeerTransport,
    body: &Value,
    members: &[(String, String)],
    budget: Duration,
) -> Vec<FailsafeAnswer> {
    let patience = POLL_PATIENCE.min(budget / 2);
    join_all(members.iter().map(|(name, url)| call(transport, body, name, url, patience))).await
}

async fn call(
    transport: &dyn PeerTransport,
    body: &Value,
    name: &str,
    url: &str,
    patience: Duration,
) -> FailsafeAnswer {
    let url = endpoint(url, "failsafe");
    let late = || Err(format!("no answer within {} s", patience.as_secs_f32()));
    let attempt = || tokio::time::timeout(patience, transport.post(&url, body, patience));
    // A member that refuses connections may only be restarting: the second try does not follow on the heels of the first.
    let pause = tokio::time::sleep(patience / 2);
    let mut answer = attempt().await.unwrap_or_else(|_| late());
    if answer.is_err() {
        pause.await;
        answer = attempt().await.unwrap_or_else(|_| late());
    }
    let (accepted, position) = match answer {
        Ok(PeerAnswer { status, lsn, body }) => {
            tracing::info!(target: "patroni.ha", "Got response from {name} {url}: {body}");
            (status == 200 && body == "Accepted", lsn.and_then(|text| text.trim().parse().ok()).map(Lsn))
        }
        Err(error) => {
            tracing::warn!(target: "patroni.ha", "Request failed to {name}: POST {url} ({error})");
            (false, None)
        }
    };
    FailsafeAnswer { name: name.to_owned(), accepted, position: position.filter(|lsn| lsn.0 > 0) }
}

/// Another path at the host of a member's `api_url`.
fn endpoint(api_url: &str, path: &str) -> String {
    let host = api_url.find("://").map_or(0, |at| at + 3);
    let end = api_url.get(host..).and_then(|rest| rest.find('/')).map_or(api_url.len(), |at| host + at);
    format!("{}/{path}", api_url.get(..end).unwrap_or(api_url))
}

/// Reads a member's answer (ha-rules 8.10). `None`: it lacks what a member that can be counted on must have.
fn parse(name: &str, body: &[u8], now: Wall) -> Option<PeerStatus> {
    let Value::Object(answer) = serde_json::from_slice(body).ok()? else { return None };
    let filled = |key: &str| answer.get(key).and_then(Value::as_object).filter(|o| !o.is_empty());
    // Agents before 4.1 call it `xlog`, and then an empty one will do.
    let wal = filled("wal").or_else(|| answer.get("xlog").and_then(Value::as_object))?;
    let role = answer.get("role").and_then(|r| serde_json::from_value::<Role>(r.clone()).ok());
    let in_recovery = !(position(wal, "location") > Lsn(0) || role == Some(Role::Primary));
    let standby = position(wal, "received_location").max(position(wal, "replayed_location"));
    Some(PeerStatus {
        name: name.to_owned(),
        reachable: true,
        in_recovery: Some(in_recovery),
        position: if in_recovery { standby } else { Lsn(0) },
        timeline: answer.get("timeline").and_then(Value::as_u64).and_then(|t| u32::try_from(t).ok()).map(Timeline),
        tags: MemberTags(answer.get("tags").and_then(Value::as_object).cloned().unwrap_or_default()),
        watchdog_failed: answer.get("watchdog_failed").and_then(Value::as_bool).unwrap_or(false),
        role,
        at: Some(now),
    })
}

fn position(wal: &Map<String, Value>, key: &str) -> Lsn {
    Lsn(wal.get(key).and_then(Value::as_u64).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str) -> Option<PeerStatus> {
        parse("b", body.as_bytes(), Wall::UNIX_EPOCH)
    }

    /// Answers after a while, or never; counts how often it is asked.
    struct Slow(std::sync::Mutex<Vec<String>>);

    #[async_trait]
    impl PeerTransport for Slow {
        async fn get(&self, url: &str, _: Duration) -> Result<Vec<u8>, String> {
            self.0.lock().unwrap().push(url.to_owned());
            match url {
                "dead" => Err("connection refused".to_owned()),
                "mute" => std::future::pending().await,
                _ => {
                    tokio::time::sleep(Duration::from_millis(1900)).await;
                    Ok(br#"{"role":"replica","xlog":{"received_location":7}}"#.to_vec())
                }
            }
        }

        async fn post(&self, url: &str, _: &Value, _: Duration) -> Result<PeerAnswer, String> {
            Err(format!("nobody calls {url}"))
        }
    }

    // rows: RACE-07, QUIRK-16
    #[tokio::test(start_paused = true)]
    async fn all_are_asked_once_at_the_same_time_and_whoever_is_late_is_out_of_reach() {
        let transport = Slow(std::sync::Mutex::default());
        let clock = Clock::tokio(Wall::UNIX_EPOCH);
        let urls = ["mute", "dead", "1", "2", "3", "4", "5", "6", "7"];
        let members: Vec<(String, String)> = urls.iter().map(|url| (format!("m{url}"), (*url).to_owned())).collect();
        let started = clock.mono();
        let answers = poll(&transport, &clock, &members).await;
        assert_eq!(clock.mono().since(started), POLL_PATIENCE, "two seconds for all of them, however many");
        let reached: Vec<(&str, bool)> = answers.iter().map(|a| (a.name.as_str(), a.reachable)).collect();
        assert_eq!(reached[..3], [("mmute", false), ("mdead", false), ("m1", true)]);
        assert!(answers[2..].iter().all(|a| a.reachable && a.position == Lsn(7)));
        let mut asked = transport.0.into_inner().unwrap();
        asked.sort_unstable();
        assert_eq!(asked, ["1", "2", "3", "4", "5", "6", "7", "dead", "mute"]);
    }

    #[test]
    fn a_standby_is_as_far_as_it_has_received_or_replayed() {
        let body = r#"{"role":"replica","timeline":3,"tags":{"nofailover":true},
                       "xlog":{"received_location":70,"replayed_location":80,"paused":false}}"#;
        let peer = read(body).unwrap();
        assert!(peer.reachable);
        assert_eq!((peer.in_recovery, peer.position, peer.timeline), (Some(true), Lsn(80), Some(Timeline(3))));
        assert_eq!(peer.tags.0.get("nofailover"), Some(&Value::Bool(true)));
    }

    #[test]
    fn a_primary_is_known_by_its_location_or_its_role() {
        for body in [
            r#"{"role":"replica","xlog":{"location":5}}"#,
            r#"{"role":"master","xlog":{}}"#,
            r#"{"role":"primary","wal":{"received_location":9}}"#,
        ] {
            let peer = read(body).unwrap();
            assert_eq!((peer.in_recovery, peer.position), (Some(false), Lsn(0)), "{body}");
        }
    }

    #[test]
    fn paths_stand_beside_the_address_of_a_member() {
        for url in ["http://10.0.0.1:8008/patroni", "http://10.0.0.1:8008", "http://10.0.0.1:8008/a/b"] {
            assert_eq!(endpoint(url, "failsafe"), "http://10.0.0.1:8008/failsafe");
        }
        assert_eq!(endpoint("https://[::1]:8008/patroni", "failsafe"), "https://[::1]:8008/failsafe");
        assert_eq!(endpoint("nonsense", "x"), "nonsense/x");
    }

    /// A member that answers as its URL says, after so many failures.
    struct Scripted(std::sync::Mutex<u32>);

    #[async_trait]
    impl PeerTransport for Scripted {
        async fn get(&self, _: &str, _: Duration) -> Result<Vec<u8>, String> {
            Err("no GET".to_owned())
        }

        async fn post(&self, url: &str, body: &Value, _: Duration) -> Result<PeerAnswer, String> {
            assert_eq!(body["name"], "a");
            let left = {
                let mut left = self.0.lock().unwrap();
                *left = left.saturating_sub(1);
                *left
            };
            let answer =
                |status, body: &str| Ok(PeerAnswer { status, lsn: Some("70".to_owned()), body: body.to_owned() });
            match url {
                "http://yes/failsafe" => answer(200, "Accepted"),
                "http://no/failsafe" => answer(500, "Running as a leader"),
                "http://odd/failsafe" => answer(200, "accepted"),
                "http://slow/failsafe" => std::future::pending().await,
                _ if left > 0 => Err("broken".to_owned()),
                _ => answer(200, "Accepted"),
            }
        }
    }

    // rows: FSM-03, FSM-06
    #[tokio::test(start_paused = true)]
    async fn a_round_of_calls_takes_two_tries_and_no_longer_than_its_budget() {
        let call = |url: &'static str, failures| async move {
            let members = [("b".to_owned(), format!("http://{url}/patroni"))];
            let body = serde_json::json!({"name": "a"});
            call_all(&Scripted(std::sync::Mutex::new(failures)), &body, &members, Duration::from_secs(4))
                .await
                .remove(0)
        };
        let yes = call("yes", 0).await;
        assert_eq!((yes.accepted, yes.position), (true, Some(Lsn(70))));
        assert!(!call("no", 0).await.accepted && !call("odd", 0).await.accepted);
        assert!(call("flaky", 2).await.accepted && !call("flaky", 3).await.accepted);
        let clock = Clock::tokio(Wall::UNIX_EPOCH);
        let began = clock.mono();
        assert!(!call("slow", 0).await.accepted);
        assert_eq!(clock.mono().since(began), Duration::from_secs(4));
        let began = clock.mono();
        assert!(!call("flaky", 3).await.accepted);
        assert_eq!(clock.mono().since(began), Duration::from_secs(1), "the second try waits a little");
    }

    // rows: QUIRK-14
    #[tokio::test(start_paused = true)]
    async fn a_try_has_two_seconds_however_much_time_there_is() {
        for (budget, each) in [(4_200, 2_000), (60_000, 2_000), (2_000, 1_000)] {
            let clock = Clock::tokio(Wall::UNIX_EPOCH);
            let members = [("b".to_owned(), "http://slow/patroni".to_owned())];
            let body = serde_json::json!({"name": "a"});
            let transport = Scripted(std::sync::Mutex::default());
            let began = clock.mono();
            let answers = call_all(&transport, &body, &members, Duration::from_millis(budget)).await;
            assert!(!answers[0].accepted);
            assert_eq!(clock.mono().since(began), Duration::from_millis(2 * each), "{budget}");
        }
    }

    #[test]
    fn an_answer_without_positions_is_no_answer() {
        for body in ["", "[]", "{}", r#"{"role":"replica","wal":{}}"#, r#"{"role":"replica","xlog":7}"#, "<html>"] {
            assert_eq!(read(body), None, "{body}");
        }
        let newer = r#"{"role":"replica","wal":{"replayed_location":4},"watchdog_failed":true}"#;
        assert!(read(newer).unwrap().watchdog_failed);
    }
}
