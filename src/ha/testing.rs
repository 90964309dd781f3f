//! Builders of views for table tests, and a driver that answers a walk's questions from a script.

use super::invariant::check_round;
use super::{
    Answer, AnswerKind, Command, Finish, Job, JobEnd, JobId, JobKind, JobPhase, JobReport, JobResult, Me, Memory,
    Outcome, PendingRequest, Request, RequestId, Round, Rule, ServerReport, StoreFailure, View, WatchdogReport, decide,
};
use crate::cluster::*;
use crate::config::Global;
use crate::types::{Lsn, Mono, PgVersion, SystemId, Timeline, Wall};
use indexmap::IndexMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) const SYSTEM_ID: SystemId = SystemId(7_000_000_000_000_000_001);

pub(super) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A healthy standby `a` (timeline 1, position 1000) of a cluster without members: rows change it.
pub(super) fn view() -> View {
    let me = Me {
        name: "a".to_owned(),
        conn_url: "postgres://10.0.0.1:5432/postgres".to_owned(),
        api_url: "http://10.0.0.1:8008/patroni".to_owned(),
        proxy_url: None,
        tags: MemberTags::default(),
        may_bootstrap: true,
        dynamic_config: [("ttl".to_owned(), 30.into())].into_iter().collect(),
        replica_method_without_leader: false,
        has_pre_promote: false,
        store: "etcd3".to_owned(),
    };
    let view = View {
        cycle: 7,
        now: Mono(secs(100_000)),
        wall: "2026-05-01T12:00:00Z".parse::<Wall>().unwrap(),
        me,
        global: Global::default(),
        cluster: Ok(Arc::new(Cluster {
            initialize: Some(SYSTEM_ID.to_string()),
            config: Some(ClusterConfig {
                revision: Revision(1),
                data: [("ttl".to_owned(), 30.into())].into_iter().collect(),
            }),
            history: Some(History::default()),
            status: Status { optime: Some(Lsn(1000)), ..Status::default() },
            ..Cluster::default()
        })),
        server: server(),
        status: None,
        watchdog: WatchdogReport::default(),
        requests: Vec::new(),
        stopping: false,
        memory: Memory { joined: true, ..Memory::default() },
        done: Vec::new(),
    };
    view.replica(1000).member("a", 1000)
}

fn server() -> ServerReport {
    ServerReport {
        state: PgState::Running,
        state_since: Mono(secs(99_900)),
        role: Role::Replica,
        facts: ServerFacts {
            at: Mono(secs(100_000)),
            data_dir: DataDir::Present(Some(PgVersion(150_000))),
            postmaster: Some(Postmaster { pid: 100, start_ticks: 1 }),
            control: Some(ControlData {
                system_id: Some(SYSTEM_ID),
                state: ControlState::InArchiveRecovery,
                checkpoint_lsn: Lsn(900),
                redo_lsn: Lsn(900),
                timeline: Timeline(1),
                min_recovery_lsn: Lsn(1000),
                min_recovery_timeline: Timeline(1),
                checksums: true,
                wal_log_hints: false,
                lines: vec![("Database cluster state".to_owned(), "in archive recovery".to_owned())],
            }),
            recovery_files: true,
            backup_label: false,
        },
        readiness: Readiness::Accepting,
        version: Some(PgVersion(150_018)),
        pending_restart: PendingRestart::default(),
        job: None,
        ended: Vec::new(),
        pg_rewind_works: true,
        no_clients: false,
    }
}

/// A member as another agent publishes it.
pub(super) fn member(name: &str, lsn: u64) -> Member {
    Member {
        name: name.into(),
        revision: Revision(1),
        own_session: false,
        data: MemberData {
            conn_url: Some(format!("postgres://{name}:5432/postgres")),
            api_url: Some(format!("http://{name}:8008/patroni")),
            state: Some(PgState::Running),
            role: Some(Role::Replica),
            version: Some("4.1.5".to_owned()),
            xlog_location: Some(Lsn(lsn)),
            timeline: Some(Timeline(1)),
            ..MemberData::default()
        },
    }
}

pub(super) fn tags(json: serde_json::Value) -> MemberTags {
    MemberTags(json.as_object().cloned().unwrap())
}

/// The changes that rows are made of.
impl View {
    pub(super) fn change(mut self, f: impl FnOnce(&mut View)) -> Self {
        f(&mut self);
        self
    }

    pub(super) fn cluster_with(mut self, f: impl FnOnce(&mut Cluster)) -> Self {
        let mut cluster = self.cluster.as_ref().map(|c| (**c).clone()).unwrap_or_default();
        f(&mut cluster);
        self.cluster = Ok(Arc::new(cluster));
        self
    }

    pub(super) fn member(self, name: &str, lsn: u64) -> Self {
        self.member_with(name, |m| m.data.xlog_location = Some(Lsn(lsn)))
    }

    pub(super) fn member_with(self, name: &str, f: impl FnOnce(&mut Member)) -> Self {
        self.cluster_with(|c| {
            let mut new = member(name, 1000);
            if let Some(at) = c.members.iter().position(|m| m.name == name) {
                new = c.members.remove(at);
            }
            f(&mut new);
            c.members.push(new);
            c.members.sort_by(|x, y| x.name.cmp(&y.name));
        })
    }

    /// This member leads; when it is not me it is a primary with a key.
    pub(super) fn leader(self, name: &str) -> Self {
        let me = self.me.name.clone();
        let view = self.member_with(name, |m| m.data.role = Some(Role::Primary));
        let view = view.cluster_with(|c| {
            c.leader = Some(Leader { name: name.into(), own_session: name == me, revision: Revision(5) });
        });
        if name == me { view.change(|v| v.memory.lease_until = Some(v.now + secs(20))) } else { view }
    }

    pub(super) fn primary(mut self) -> Self {
        self.server.role = Role::Primary;
        self.server.facts.recovery_files = false;
        if let Some(control) = &mut self.server.facts.control {
            control.state = ControlState::InProduction;
        }
        self.memory.rewind = super::rewind::RewindState::Checkpoint;
        self.status = Some(NodeStatus {
            timeline: Timeline(1),
            control_timeline: Some(Timeline(1)),
            write_lsn: Lsn(1000),
            postmaster_start_time: Some("then".to_owned()),
            ..NodeStatus::default()
        });
        self
    }

    pub(super) fn replica(mut self, lsn: u64) -> Self {
        self.server.role = Role::Replica;
        self.status = Some(NodeStatus {
            in_recovery: true,
            replay_lsn: Some(Lsn(lsn)),
            receive_lsn: Some(Lsn(lsn)),
            receiver: Some(WalReceiver {
                status: "streaming".to_owned(),
                timeline: Timeline(1),
                ..WalReceiver::default()
            }),
            postmaster_start_time: Some("then".to_owned()),
            ..NodeStatus::default()
        });
        self
    }

    /// No postmaster; control data says this.
    pub(super) fn down(mut self, state: ControlState) -> Self {
        self.server.facts.postmaster = None;
        self.server.state = PgState::Crashed;
        self.server.readiness = Readiness::NoResponse;
        self.status = None;
        if let Some(control) = &mut self.server.facts.control {
            control.state = state;
        }
        self
    }

    /// The postmaster lives and does not accept connections, for so long.
    pub(super) fn starting(mut self, since: u64) -> Self {
        self.server.state = PgState::Starting;
        self.server.state_since = self.now - secs(since);
        self.server.readiness = Readiness::Rejecting;
        self.status = None;
        self
    }

    pub(super) fn empty(self) -> Self {
        self.down(ControlState::ShutDown).change(|v| {
            v.server.facts.data_dir = DataDir::Empty;
            v.server.facts.control = None;
            v.server.state = PgState::Stopped;
            v.server.role = Role::Uninitialized;
            v.memory.joined = false;
        })
    }

    pub(super) fn silent(mut self) -> Self {
        self.cluster = Err(StoreFailure { reason: "no answer".to_owned() });
        self
    }

    pub(super) fn paused(mut self) -> Self {
        self.global.pause = true;
        self.memory.was_paused = true;
        self
    }

    pub(super) fn tagged(mut self, json: serde_json::Value) -> Self {
        self.me.tags = tags(json);
        self
    }

    pub(super) fn failover(self, leader: Option<&str>, candidate: Option<&str>) -> Self {
        self.cluster_with(|c| {
            c.failover = Some(Failover {
                revision: Revision(3),
                leader: leader.map(str::to_owned),
                candidate: candidate.map(str::to_owned),
                ..Failover::default()
            });
        })
    }

    pub(super) fn job(mut self, job: Job, phase: JobPhase) -> Self {
        let since = self.now - secs(5);
        self.server.job = Some(JobReport { id: JobId(40), job, phase, since, cancelled: false });
        self
    }

    pub(super) fn ended(mut self, job: Job, result: JobResult) -> Self {
        self.server.ended.push(JobEnd { id: JobId(40), job, result, at: self.now });
        self
    }

    pub(super) fn request(mut self, request: Request) -> Self {
        self.requests.push(PendingRequest { id: RequestId(9), request, at: self.now });
        self
    }

    pub(super) fn history(self, lines: &[(u32, u64)]) -> Self {
        self.cluster_with(|c| {
            let line = |(timeline, lsn): &(u32, u64)| HistoryLine {
                timeline: Timeline(*timeline),
                lsn: Lsn(*lsn),
                reason: "no recovery target specified".to_owned(),
                timestamp: Some("2026-05-01T00:00:00+00:00".to_owned()),
                new_leader: Some("b".to_owned()),
            };
            c.history = Some(History { lines: lines.iter().map(line).collect() });
        })
    }
}

pub(super) fn stop_job(mode: StopMode) -> Job {
    Job::Stop { mode, checkpoint: true, timeout: None, role: Some(Role::Demoted) }
}

pub(super) fn restart_request() -> Request {
    Request::Restart {
        schedule: None,
        schedule_text: None,
        filter: super::request::RestartFilter::default(),
        timeout: None,
        body: serde_json::Map::new(),
    }
}

/// What the world answers.
#[derive(Clone, Debug, Default)]
pub(super) struct World {
    pub(super) peers: Vec<PeerStatus>,
    pub(super) renew: Option<Outcome>,
    pub(super) acquire: Option<Outcome>,
    pub(super) release: Option<Outcome>,
    pub(super) initialize: Option<Outcome>,
    pub(super) job: Option<Outcome>,
    pub(super) recovery: Option<(bool, bool)>,
    pub(super) reload: Option<Arc<Cluster>>,
    pub(super) own_timeline: Option<u32>,
    pub(super) leader_point: Option<Outcome>,
    pub(super) checkpoint_end: Option<u64>,
    pub(super) history: Option<History>,
    pub(super) slots: Vec<(String, Option<Lsn>, bool)>,
}

pub(super) fn world() -> World {
    World::default()
}

/// A standby that answers its REST API.
pub(super) fn peer(name: &str, lsn: u64) -> PeerStatus {
    PeerStatus {
        reachable: true,
        in_recovery: Some(true),
        position: Lsn(lsn),
        timeline: Some(Timeline(1)),
        role: Some(Role::Replica),
        ..PeerStatus::unreachable(name)
    }
}

impl World {
    pub(super) fn peer(mut self, peer: PeerStatus) -> Self {
        self.peers.push(peer);
        self
    }

    pub(super) fn change(mut self, f: impl FnOnce(&mut World)) -> Self {
        f(&mut self);
        self
    }

    fn answer(&self, view: &View, command: &Command) -> Outcome {
        let leased = Outcome::Leased { until: view.now + secs(30) };
        match command {
            Command::RenewLeader => self.renew.clone().unwrap_or(leased),
            Command::AcquireLeader => self.acquire.clone().unwrap_or(leased),
            Command::ReleaseLeader { .. } => self.release.clone().unwrap_or(Outcome::Ok),
            Command::Initialize { .. } => self.initialize.clone().unwrap_or(Outcome::Ok),
            Command::StartJob(_) => self.job.clone().unwrap_or(Outcome::JobStarted(JobId(41))),
            Command::ReloadCluster => {
                Outcome::Cluster(self.reload.clone().unwrap_or_else(|| view.cluster.clone().unwrap_or_default()))
            }
            Command::PollPeers(asked) => Outcome::Peers(
                asked
                    .iter()
                    .map(|(name, _)| {
                        let found = self.peers.iter().find(|p| p.name == *name).cloned();
                        found.unwrap_or_else(|| PeerStatus::unreachable(name))
                    })
                    .collect(),
            ),
            Command::CheckRecovery { .. } => {
                let (change, restart) = self.recovery.unwrap_or((false, false));
                Outcome::RecoveryCheck { change, restart }
            }
            Command::QueryOwnTimeline => {
                self.own_timeline.map_or_else(|| Outcome::Failed("no".to_owned()), |t| Outcome::Timeline(Timeline(t)))
            }
            Command::QueryLeader(_) => {
                self.leader_point.clone().unwrap_or_else(|| Outcome::Unreachable("no".to_owned()))
            }
            Command::QueryCheckpointEnd { .. } => {
                self.checkpoint_end.map_or_else(|| Outcome::Failed("no".to_owned()), |l| Outcome::Lsn(Lsn(l)))
            }
            Command::ReadHistory(_) => {
                self.history.clone().map_or_else(|| Outcome::Failed("no".to_owned()), Outcome::History)
            }
            Command::SyncSlots(_) => Outcome::Slots(self.slots.clone()),
            _ => Outcome::Ok,
        }
    }
}

/// The course of one cycle.
#[derive(Debug)]
pub(super) struct Course {
    pub(super) asked: Vec<Command>,
    pub(super) finish: Finish,
}

/// Runs a cycle to its end; every round must keep the invariants.
pub(super) fn run(view: &View, world: &World) -> Course {
    drive(view, |view, command| world.answer(view, command))
}

/// Runs a cycle with any answers.
pub(super) fn drive(view: &View, mut answer: impl FnMut(&View, &Command) -> Outcome) -> Course {
    let mut view = view.clone();
    for _ in 0..super::MAX_ROUNDS {
        let round = decide(&view);
        assert_eq!(round, decide(&view), "not deterministic");
        let violations = check_round(&view, &round);
        assert!(violations.is_empty(), "{violations:?}\n{round:#?}");
        match round {
            Round::Need { commands, .. } => {
                assert!(!commands.is_empty(), "asked for nothing");
                for command in commands {
                    let outcome = answer(&view, &command);
                    view.done.push((command, outcome));
                }
            }
            Round::Done(finish) => {
                assert_ne!(finish.rule, Rule::Bug, "{:?}", finish.log);
                return Course { asked: view.done.into_iter().map(|(c, _)| c).collect(), finish: *finish };
            }
        }
    }
    panic!("more than {} rounds: {:?}", super::MAX_ROUNDS, view.done);
}

impl Course {
    pub(super) fn sentence(&self) -> &str {
        &self.finish.sentence
    }

    /// The jobs that were asked for.
    pub(super) fn jobs(&self) -> Vec<&Job> {
        let mut jobs = Vec::new();
        for command in &self.asked {
            if let Command::StartJob(job) = command {
                jobs.push(job);
            }
        }
        jobs
    }

    pub(super) fn job(&self) -> Option<&Job> {
        self.jobs().first().copied()
    }

    pub(super) fn asked_for(&self, what: fn(&Command) -> bool) -> bool {
        self.asked.iter().any(what)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Command> {
        self.asked.iter().chain(&self.finish.commands)
    }

    pub(super) fn release(&self) -> Option<Option<Lsn>> {
        self.all().find_map(|c| match c {
            Command::ReleaseLeader { optime } => Some(*optime),
            _ => None,
        })
    }

    pub(super) fn callbacks(&self) -> Vec<(CallbackEvent, Role)> {
        let callback = |c: &Command| match c {
            Command::Callback { event, role } => Some((*event, *role)),
            _ => None,
        };
        self.finish.commands.iter().filter_map(callback).collect()
    }

    pub(super) fn member_key(&self) -> Option<&MemberData> {
        match self.finish.commands.last() {
            Some(Command::TouchMember(data)) => Some(data),
            _ => None,
        }
    }

    pub(super) fn answer(&self) -> Option<(AnswerKind, &str)> {
        self.finish.answers.first().map(|(_, Answer { kind, text })| (*kind, text.as_str()))
    }

    pub(super) fn logged(&self, text: &str) -> bool {
        self.finish.log.iter().any(|line| line.text.contains(text))
    }

    pub(super) fn slot_plan(&self) -> Option<&SlotPlan> {
        self.asked.iter().find_map(|c| match c {
            Command::SyncSlots(plan) => Some(plan),
            _ => None,
        })
    }

    pub(super) fn status(&self) -> Option<&Status> {
        self.finish.commands.iter().find_map(|c| match c {
            Command::WriteStatus(status) => Some(status),
            _ => None,
        })
    }
}

/// Host, port and database of `member`'s test URL.
pub(super) fn conn(name: &str) -> IndexMap<String, String> {
    let pair = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
    [("host", name), ("port", "5432"), ("dbname", "postgres")].map(pair).into_iter().collect()
}

/// A row: the cycle says this and starts this job (`None`: none).
#[track_caller]
pub(super) fn does(view: View, world: World, sentence: &str, job: Option<JobKind>) -> Course {
    let course = run(&view, &world);
    let found = course.job().map(Job::kind);
    assert_eq!((course.sentence(), found), (sentence, job), "{:#?}", course.finish.log);
    course
}

/// A row: the cycle says this and starts no job.
#[track_caller]
pub(super) fn says(view: View, world: World, sentence: &str) -> Course {
    does(view, world, sentence, None)
}
