//! Asks other members for their status over their REST API, all at once.

use super::messages::{Execute, Executed};
use crate::clock::Clock;
use crate::cluster::{MemberTags, PeerStatus, Role};
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
    fn an_answer_without_positions_is_no_answer() {
        for body in ["", "[]", "{}", r#"{"role":"replica","wal":{}}"#, r#"{"role":"replica","xlog":7}"#, "<html>"] {
            assert_eq!(read(body), None, "{body}");
        }
        let newer = r#"{"role":"replica","wal":{"replayed_location":4},"watchdog_failed":true}"#;
        assert!(read(newer).unwrap().watchdog_failed);
    }
}
