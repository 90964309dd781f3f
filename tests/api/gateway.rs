//! An agent that answers from memory and notes what it was asked.

use super::fixture::{NOW, cluster, primary_status, standby_status};
use async_trait::async_trait;
use patroni::api::{Gateway, Snapshot, Verdict};
use patroni::clock::Clock;
use patroni::cluster::{Cluster, Failover, FailsafeCall, NodeStatus, PeerStatus, Revision, Role};
use patroni::dcs::{DcsError, FailoverRequest};
use patroni::ha::{Answer, AnswerKind, Request};
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub struct Fake {
    clock: Clock,
    state: Mutex<State>,
}

pub struct State {
    pub snapshot: Snapshot,
    pub cluster: Result<Cluster, DcsError>,
    pub answer: Answer,
    pub requests: Vec<Request>,
    pub peers: Vec<PeerStatus>,
    pub status_hangs: bool,
    pub write_fails: bool,
    /// Who leads after the failover key was written.
    pub switches_to: Option<&'static str>,
    pub written_config: Option<(Map<String, Value>, Option<u64>)>,
    pub written_failover: Option<(FailoverRequest, Option<u64>)>,
    pub reloads: u32,
    pub verdict: Verdict,
    pub calls: Vec<FailsafeCall>,
}

pub fn answer(kind: AnswerKind, text: &str) -> Answer {
    Answer { kind, text: text.to_owned() }
}

impl Fake {
    /// The fixture's moment becomes the present.
    pub fn new(mut snapshot: Snapshot) -> Arc<Self> {
        let clock = Clock::system();
        let now = clock.mono();
        let moved = |at: patroni::types::Mono| now + at.since(NOW);
        snapshot.lease_until = snapshot.lease_until.map(moved);
        snapshot.cluster = snapshot.cluster.map(|(c, at)| (c, moved(at)));
        snapshot.cycle_started = moved(snapshot.cycle_started);
        let state = State {
            snapshot,
            cluster: Ok(cluster()),
            answer: answer(AnswerKind::Done, ""),
            requests: Vec::new(),
            peers: Vec::new(),
            status_hangs: false,
            write_fails: false,
            switches_to: None,
            written_config: None,
            written_failover: None,
            reloads: 0,
            verdict: Verdict::Accepted(None),
            calls: Vec::new(),
        };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap())
    }
}

#[async_trait]
impl Gateway for Fake {
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::new(self.with(|s| s.snapshot.clone()))
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    async fn live_status(&self, _max_age: Duration, _patience: Duration) -> Option<Arc<NodeStatus>> {
        let (hangs, role) = self.with(|s| (s.status_hangs, s.snapshot.server.role));
        if hangs {
            std::future::pending::<()>().await;
        }
        Some(Arc::new(if role == Role::Primary { primary_status() } else { standby_status() }))
    }

    async fn load_cluster(&self) -> Result<Arc<Cluster>, DcsError> {
        self.with(|s| s.cluster.clone().map(Arc::new))
    }

    async fn request(&self, request: Request) -> Answer {
        self.with(|s| {
            if request != Request::Wake {
                s.requests.push(request);
            }
            s.answer.clone()
        })
    }

    async fn poll_peers(&self, members: Vec<(String, String)>) -> Vec<PeerStatus> {
        self.with(|s| s.peers.iter().filter(|p| members.iter().any(|(n, _)| *n == p.name)).cloned().collect())
    }

    async fn hear_primary(&self, call: FailsafeCall) -> Verdict {
        self.with(|s| {
            s.calls.push(call);
            s.verdict.clone()
        })
    }

    async fn write_failover(&self, request: FailoverRequest, expect: Option<Revision>) -> Result<(), DcsError> {
        self.with(|s| {
            if s.write_fails {
                return Err(DcsError::Unreachable("away".into()));
            }
            let cluster = s.cluster.as_mut().map_err(|e| e.clone())?;
            cluster.failover = Some(Failover {
                revision: Revision(9),
                leader: request.leader.clone(),
                candidate: request.candidate.clone(),
                scheduled_at: request.scheduled_at.as_ref().and_then(|t| t.parse().ok()),
                scheduled_text: request.scheduled_at.clone(),
            });
            if let (Some(name), Some(leader)) = (s.switches_to, &mut cluster.leader) {
                leader.name = name.into();
            }
            s.written_failover = Some((request, expect.map(|r| r.0)));
            Ok(())
        })
    }

    async fn write_config(&self, data: Map<String, Value>, expect: Option<Revision>) -> Result<(), DcsError> {
        self.with(|s| {
            if s.write_fails {
                return Err(DcsError::Conflict("changed".into()));
            }
            s.written_config = Some((data, expect.map(|r| r.0)));
            Ok(())
        })
    }

    fn reload(&self) {
        self.with(|s| s.reloads += 1);
    }
}
