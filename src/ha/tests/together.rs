//! Three nodes together, on the simplest store and server that will do: the rules must bring the cluster to a leader
//! with two followers, from nothing and after each blow.

use crate::cluster::*;
use crate::ha::invariant::{NodeObservation, check_nodes};
use crate::ha::testing::*;
use crate::ha::{Command, Job, JobEnd, JobId, JobReport, JobResult, Outcome, View};
use crate::types::{Lsn, Mono, Timeline};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Clone, Debug)]
struct Node {
    view: View,
    job: Option<(JobId, Job)>,
    ended: Vec<JobEnd>,
    upstream: Option<String>,
    lsn: u64,
    timeline: u32,
    alive: bool,
    jobs: u64,
}

#[derive(Debug)]
struct World3 {
    now: u64,
    store: Cluster,
    lease: Mono,
    up: bool,
    nodes: BTreeMap<String, Node>,
    said: Vec<String>,
}

impl Node {
    fn new(name: &str) -> Self {
        let view = view().empty().change(|v| {
            v.me.name = name.to_owned();
            v.me.conn_url = format!("postgres://{name}:5432/postgres");
            v.me.api_url = format!("http://{name}:8008/patroni");
            v.global.use_pg_rewind = true;
        });
        Self { view, job: None, ended: vec![], upstream: None, lsn: 0, timeline: 0, alive: true, jobs: 0 }
    }

    fn running(&self) -> bool {
        self.view.server.facts.postmaster.is_some()
    }

    fn writable(&self) -> bool {
        self.running() && self.view.server.role == Role::Primary
    }

    fn start(&mut self, role: Role) {
        let template = view();
        self.view.server.facts.postmaster = template.server.facts.postmaster;
        self.view.server.facts.data_dir = template.server.facts.data_dir;
        self.view.server.state = PgState::Running;
        self.view.server.readiness = Readiness::Accepting;
        self.view.server.role = role;
        self.view.server.facts.recovery_files = role == Role::Replica;
        if self.view.server.facts.control.is_none() {
            self.view.server.facts.control = template.server.facts.control;
        }
        self.control(if role == Role::Primary { ControlState::InProduction } else { ControlState::InArchiveRecovery });
    }

    fn control(&mut self, state: ControlState) {
        let (lsn, timeline) = (Lsn(self.lsn), Timeline(self.timeline));
        if let Some(control) = &mut self.view.server.facts.control {
            (control.state, control.checkpoint_lsn, control.timeline) = (state, lsn, timeline);
            (control.min_recovery_lsn, control.min_recovery_timeline) = (lsn, timeline);
        }
    }

    fn down(&mut self, state: PgState, control: ControlState) {
        self.view.server.facts.postmaster = None;
        self.view.server.state = state;
        self.view.server.readiness = Readiness::NoResponse;
        self.control(control);
    }

    /// What the server says of itself.
    fn refresh(&mut self) {
        let upstream = self.upstream.is_some();
        let timeline = Timeline(self.timeline);
        self.view.status = self.running().then(|| {
            let base = if self.view.server.role == Role::Primary { view().primary() } else { view().replica(self.lsn) };
            let mut status = base.status.unwrap_or_default();
            status.write_lsn = Lsn(self.lsn);
            if !status.in_recovery {
                (status.timeline, status.control_timeline) = (timeline, Some(timeline));
            }
            status.receiver = status.receiver.filter(|_| upstream).map(|r| WalReceiver { timeline, ..r });
            status
        });
    }
}

impl World3 {
    fn new() -> Self {
        let nodes = ["a", "b", "c"].map(|n| (n.to_owned(), Node::new(n))).into_iter().collect();
        Self { now: 100_000, store: Cluster::default(), lease: Mono(secs(0)), up: true, nodes, said: vec![] }
    }

    fn answer(&mut self, me: &str, command: &Command) -> Outcome {
        let until = Mono(secs(self.now + 30));
        let lead = Leader { name: me.into(), own_session: true, revision: Revision(1) };
        let holder = self.store.leader_name().map(|n| n.as_str().to_owned());
        let of_store = !matches!(
            command,
            Command::StartJob(_)
                | Command::PollPeers(_)
                | Command::CheckRecovery { .. }
                | Command::SyncSlots(_)
                | Command::QueryOwnTimeline
                | Command::QueryLeader(_)
                | Command::Callback { .. }
                | Command::SetRole(_)
                | Command::ReloadRecovery { .. }
                | Command::QueryCheckpointEnd { .. }
                | Command::ReadHistory(_)
        );
        if of_store && !self.up {
            return Outcome::Unreachable("down".to_owned());
        }
        match command {
            Command::RenewLeader | Command::AcquireLeader => match holder.as_deref() {
                Some(other) if other != me || *command == Command::AcquireLeader => return Outcome::Conflict,
                _ => {
                    (self.store.leader, self.lease) = (Some(lead), until);
                    return Outcome::Leased { until };
                }
            },
            Command::ReleaseLeader { optime } if holder.as_deref() == Some(me) => {
                self.store.leader = None;
                self.store.status.optime = optime.or(self.store.status.optime);
            }
            Command::Initialize { create_only: true, .. } if self.store.initialize.is_some() => {
                return Outcome::Conflict;
            }
            Command::Initialize { system_id, .. } => {
                self.store.initialize = Some(system_id.map(|id| id.to_string()).unwrap_or_default());
            }
            Command::WriteConfig { data, .. } => {
                self.store.config = Some(ClusterConfig { revision: Revision(1), data: data.clone() });
            }
            Command::WriteFailover { leader, candidate, .. } => {
                let (leader, candidate) = (leader.clone(), candidate.clone());
                self.store.failover = Some(Failover { leader, candidate, ..Failover::default() });
            }
            Command::WriteStatus(status) => self.store.status = status.clone(),
            Command::WriteHistory(history) => self.store.history = Some(history.clone()),
            Command::TouchMember(data) => {
                self.store.members.retain(|m| m.name != me);
                let data = (**data).clone();
                let new = Member { name: me.into(), revision: Revision(1), own_session: true, data };
                self.store.members.push(new);
                self.store.members.sort_by(|x, y| x.name.cmp(&y.name));
            }
            Command::PollPeers(asked) => return Outcome::Peers(asked.iter().map(|(n, _)| self.poll(n)).collect()),
            Command::QueryLeader(upstream) => return self.leader_point(&upstream.name),
            _ => {}
        }
        self.server_answer(me, command)
    }

    fn server_answer(&mut self, me: &str, command: &Command) -> Outcome {
        let Some(node) = self.nodes.get_mut(me) else { return Outcome::Ok };
        match command {
            Command::StartJob(job) => {
                node.jobs += 1;
                node.job = Some((JobId(node.jobs), job.clone()));
                return Outcome::JobStarted(JobId(node.jobs));
            }
            Command::SetRole(role) => node.view.server.role = *role,
            Command::CheckRecovery { upstream } => {
                let change = node.upstream.as_deref() != upstream.as_ref().map(|u| u.name.as_str());
                return Outcome::RecoveryCheck { change, restart: false };
            }
            Command::ReloadRecovery { upstream, .. } => node.upstream = upstream.as_ref().map(|u| u.name.clone()),
            Command::QueryOwnTimeline => return Outcome::Timeline(Timeline(node.timeline)),
            Command::QueryCheckpointEnd { lsn, .. } => return Outcome::Lsn(*lsn),
            Command::ReadHistory(timeline) => {
                let lines = (1..timeline.0).map(|t| HistoryLine {
                    timeline: Timeline(t),
                    lsn: Lsn(1),
                    reason: String::new(),
                    timestamp: Some("t".to_owned()),
                    new_leader: Some(me.to_owned()),
                });
                return Outcome::History(History { lines: lines.collect() });
            }
            Command::SyncSlots(_) => return Outcome::Slots(SlotReport::default()),
            _ => {}
        }
        Outcome::Ok
    }

    fn poll(&self, name: &str) -> PeerStatus {
        let node = self.nodes.get(name).filter(|n| n.alive && n.running());
        node.map_or_else(
            || PeerStatus::unreachable(name),
            |n| PeerStatus { in_recovery: Some(!n.writable()), ..peer(name, if n.writable() { 0 } else { n.lsn }) },
        )
    }

    fn leader_point(&self, name: &str) -> Outcome {
        match self.nodes.get(name).filter(|n| n.alive && n.writable()) {
            None => Outcome::Unreachable("no".to_owned()),
            // Each timeline began where the leader stands now, less what it wrote since: enough for these tests.
            Some(n) => Outcome::LeaderPoint {
                read_write: true,
                timeline: Timeline(n.timeline),
                lsn: Lsn(n.lsn),
                history: (1..n.timeline).map(|t| (Timeline(t), Lsn(u64::from(t) * 1_000_000))).collect(),
            },
        }
    }

    /// Jobs take one second.
    fn finish_job(&mut self, name: &str) {
        let source: Option<(u64, u32)> =
            self.nodes.values().find(|n| n.alive && n.writable()).map(|n| (n.lsn, n.timeline));
        let Some(node) = self.nodes.get_mut(name) else { return };
        let Some((id, job)) = node.job.take() else { return };
        let mut result = JobResult::Done;
        match &job {
            Job::Bootstrap => {
                (node.lsn, node.timeline) = (100, 1);
                node.start(Role::Primary);
            }
            Job::StartPrimary { .. } => node.start(Role::Primary),
            Job::Follow { upstream, role, .. } => {
                node.upstream = upstream.as_ref().map(|u| u.name.clone());
                node.start(*role);
            }
            Job::Clone { source: from, upstream, .. } if from.is_some() && source.is_some() => {
                (node.lsn, node.timeline) = source.unwrap_or_default();
                node.upstream = upstream.as_ref().map(|u| u.name.clone());
                node.start(Role::Replica);
            }
            Job::Clone { .. } => result = JobResult::Failed("no source".to_owned()),
            Job::Stop { role, mode, .. } => {
                let primary = node.writable();
                let clean = if primary { ControlState::ShutDown } else { ControlState::ShutDownInRecovery };
                node.down(PgState::Stopped, if *mode == StopMode::Fast { clean } else { ControlState::InProduction });
                node.view.server.role = role.unwrap_or(node.view.server.role);
                if primary && *mode == StopMode::Fast {
                    result = JobResult::Stopped { checkpoint: Lsn(node.lsn), release: Lsn(node.lsn) };
                }
            }
            Job::Promote { .. } => {
                node.timeline += 1;
                node.lsn = node.lsn.max(u64::from(node.timeline - 1) * 1_000_000);
                node.upstream = None;
                node.start(Role::Primary);
            }
            Job::Rewind { .. } => match source {
                Some(point) => {
                    (node.lsn, node.timeline) = point;
                    node.down(PgState::Stopped, ControlState::ShutDownInRecovery);
                }
                None => result = JobResult::TryAgain("gone".to_owned()),
            },
            Job::CrashRecovery => node.control(ControlState::ShutDown),
            _ => {}
        }
        node.ended.push(JobEnd { id, job, result, at: Mono(secs(self.now)) });
    }

    fn replicate(&mut self) {
        let source: BTreeMap<String, (u64, u32)> = self
            .nodes
            .iter()
            .filter(|(_, n)| n.alive && n.writable())
            .map(|(name, n)| (name.clone(), (n.lsn, n.timeline)))
            .collect();
        for node in self.nodes.values_mut().filter(|n| n.running()) {
            let from = node.upstream.as_ref().and_then(|u| source.get(u));
            match from {
                Some((lsn, timeline)) if !node.writable() && node.timeline <= *timeline && node.lsn <= *lsn => {
                    (node.lsn, node.timeline) = (*lsn, *timeline);
                }
                _ if node.writable() => node.lsn += 7,
                _ => {}
            }
        }
    }
}

fn second(world: &RefCell<World3>) {
    world.borrow_mut().now += 1;
    let names: Vec<String> = world.borrow().nodes.keys().cloned().collect();
    for name in names {
        let view = {
            let mut w = world.borrow_mut();
            let now = w.now;
            if w.lease <= Mono(secs(now)) {
                w.store.leader = None;
            }
            let store = w.store.clone();
            let up = w.up;
            let Some(node) = w.nodes.get_mut(&name).filter(|n| n.alive) else { continue };
            node.refresh();
            let mut view = node.view.clone();
            view.now = Mono(secs(now));
            view.cycle = now;
            view.server.job = node.job.clone().map(|(id, job)| JobReport {
                id,
                job,
                phase: crate::ha::JobPhase::Working,
                since: Mono(secs(now - 1)),
                cancelled: false,
            });
            view.server.ended = std::mem::take(&mut node.ended);
            view.cluster = Ok(Arc::new(store));
            if up { view } else { view.silent() }
        };
        let course = drive(&view, |_, command| world.borrow_mut().answer(&name, command));
        let mut w = world.borrow_mut();
        for command in &course.finish.commands {
            w.answer(&name, command);
        }
        let line = format!("{} {name}: {}", w.now, course.sentence());
        w.said.push(line);
        if let Some(node) = w.nodes.get_mut(&name) {
            node.view.memory = course.finish.memory;
        }
    }
    let mut w = world.borrow_mut();
    w.replicate();
    let (now, released) = (Mono(secs(w.now)), None);
    let seen: Vec<NodeObservation> = w
        .nodes
        .iter()
        .map(|(name, n)| NodeObservation {
            name: name.clone(),
            writable: n.writable(),
            lease_until: n.view.memory.lease_until,
            timeline: Timeline(n.timeline),
            position: Lsn(n.lsn),
        })
        .collect();
    assert_eq!(check_nodes(&seen, now, released), [], "{:#?}", w.said);
    for name in ["a", "b", "c"] {
        // A job that was running at the begin of this second is over.
        w.finish_job(name);
    }
}

/// A leader that everybody else who lives follows on its timeline.
fn healthy(world: &RefCell<World3>) -> Option<String> {
    let w = world.borrow();
    let leader = w.store.leader_name()?.as_str().to_owned();
    let lead = w.nodes.get(&leader).filter(|n| n.alive && n.writable() && n.job.is_none())?;
    let follows = |(name, n): (&String, &Node)| {
        *name == leader
            || !n.alive
            || n.running() && n.job.is_none() && n.upstream.as_deref() == Some(&leader) && n.timeline == lead.timeline
    };
    w.nodes.iter().all(follows).then_some(leader)
}

#[track_caller]
fn settles(world: &RefCell<World3>, within: u64) -> String {
    for _ in 0..within {
        second(world);
        if let Some(leader) = healthy(world) {
            return leader;
        }
    }
    let w = world.borrow();
    panic!(
        "not healthy after {within} s:\n{}",
        w.said.iter().rev().take(40).rev().cloned().collect::<Vec<_>>().join("\n")
    )
}

fn cluster() -> RefCell<World3> {
    let world = RefCell::new(World3::new());
    assert_eq!(settles(&world, 20), "a");
    world
}

fn change(world: &RefCell<World3>, name: &str, f: impl FnOnce(&mut Node)) {
    world.borrow_mut().nodes.get_mut(name).map(f).unwrap();
}

#[test]
fn from_nothing_to_three() {
    let world = cluster();
    let w = world.borrow();
    assert_eq!(w.store.initialize, Some(SYSTEM_ID.to_string()));
    assert!(w.store.config.is_some());
}

#[test]
fn switchover_and_back() {
    let world = cluster();
    for (from, to) in [("a", "b"), ("b", "c"), ("c", "a")] {
        let (leader, candidate) = (Some(from.to_owned()), Some(to.to_owned()));
        world.borrow_mut().store.failover = Some(Failover { leader, candidate, ..Failover::default() });
        second(&world);
        second(&world);
        assert_eq!(settles(&world, 15), to);
        assert!(world.borrow().store.failover.as_ref().is_none_or(Failover::is_empty));
    }
}

#[test]
fn a_crashed_postmaster_is_started_in_place() {
    let world = cluster();
    change(&world, "a", |n| n.down(PgState::Crashed, ControlState::InProduction));
    assert_eq!(settles(&world, 5), "a");
}

#[test]
fn a_lost_node_is_replaced_and_comes_back_as_a_replica() {
    let world = cluster();
    change(&world, "a", |n| {
        n.alive = false;
        n.down(PgState::Crashed, ControlState::InProduction);
    });
    second(&world);
    let second_leader = settles(&world, 45);
    assert_ne!(second_leader, "a");
    change(&world, "a", |n| {
        n.alive = true;
        // What it had written and nobody received.
        n.lsn += 5_000_000;
        n.view.memory = crate::ha::Memory::default();
        n.view.server.role = Role::Demoted;
    });
    second(&world);
    assert_eq!(settles(&world, 30), second_leader);
    assert!(world.borrow().said.iter().any(|s| s.contains("a: running pg_rewind from")), "{:#?}", world.borrow().said);
}

#[test]
fn an_outage_of_the_store_ends_with_a_leader() {
    let world = cluster();
    world.borrow_mut().up = false;
    for _ in 0..60 {
        second(&world);
    }
    assert!(world.borrow().nodes.values().all(|n| n.running() && !n.writable()), "all are read-only");
    world.borrow_mut().up = true;
    settles(&world, 20);
}

#[test]
fn a_stolen_lock_demotes_the_old_leader() {
    let world = cluster();
    let stolen = Leader { name: "b".into(), own_session: false, revision: Revision(9) };
    world.borrow_mut().store.leader = Some(stolen);
    second(&world);
    assert_eq!(settles(&world, 20), "b");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig {
        failure_persistence: None, cases: super::properties::cases() / 20, ..Default::default()
    })]

    /// Whatever happens in whatever order: once it is over the cluster heals, and never were there two leaders.
    #[test]
    fn blows_in_any_order(blows in proptest::collection::vec((0usize..8, 0usize..3, 1u64..20), 1..10)) {
        beat(blows);
    }
}

/// The members that lag a timeline behind may not lead, and the former leader must not wait for them to.
#[test]
fn a_switchover_to_nobody_does_not_end_in_a_cluster_without_leader() {
    beat(vec![(2, 0, 14), (2, 1, 17), (5, 0, 1), (7, 0, 1)]);
}

fn beat(blows: Vec<(usize, usize, u64)>) {
    let world = cluster();
    for (blow, node, wait) in blows {
        let name = ["a", "b", "c"][node];
        match blow {
            0 | 1 => change(&world, name, |n| {
                if n.running() {
                    n.down(PgState::Crashed, ControlState::InProduction)
                }
            }),
            2 => change(&world, name, |n| n.alive = false),
            3 | 4 => change(&world, name, |n| n.alive = true),
            5 => {
                let up = world.borrow().up;
                world.borrow_mut().up = !up;
            }
            // The agent begins anew beside its server.
            6 => change(&world, name, |n| n.view.memory = crate::ha::Memory::default()),
            _ => {
                let leader = world.borrow().store.leader_name().map(|n| n.as_str().to_owned());
                world.borrow_mut().store.failover = Some(Failover { leader, ..Failover::default() });
            }
        }
        for _ in 0..wait {
            second(&world);
        }
    }
    world.borrow_mut().up = true;
    for name in ["a", "b", "c"] {
        change(&world, name, |n| n.alive = true);
    }
    settles(&world, 120);
}
