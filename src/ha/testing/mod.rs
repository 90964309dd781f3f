//! Builders of views for table tests; `driver` answers a walk's questions from a script.

mod driver;

pub(in crate::ha) use driver::*;

use super::rewind::RewindState;
use super::{
    Job, JobEnd, JobId, JobPhase, JobReport, JobResult, Me, Memory, PendingRequest, Request, RequestId, ServerReport,
    StoreFailure, View, WatchdogReport,
};
use crate::cluster::*;
use crate::config::{Global, StandbyCluster};
use crate::types::{Lsn, Mono, PgVersion, SystemId, Timeline, Wall};
use indexmap::IndexMap;
use std::sync::Arc;
use std::time::Duration;

pub(in crate::ha) const SYSTEM_ID: SystemId = SystemId(7_000_000_000_000_000_001);

pub(in crate::ha) fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A healthy standby `a` (timeline 1, position 1000) of a cluster without members: rows change it.
pub(in crate::ha) fn view() -> View {
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
        caller: None,
        memory: Memory { joined: true, members_awaited: Some(Mono(secs(99_000))), ..Memory::default() },
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
pub(in crate::ha) fn member(name: &str, lsn: u64) -> Member {
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

pub(in crate::ha) fn tags(json: serde_json::Value) -> MemberTags {
    MemberTags(json.as_object().cloned().unwrap())
}

/// The changes that rows are made of.
impl View {
    pub(in crate::ha) fn change(mut self, f: impl FnOnce(&mut View)) -> Self {
        f(&mut self);
        self
    }

    pub(in crate::ha) fn cluster_with(mut self, f: impl FnOnce(&mut Cluster)) -> Self {
        let mut cluster = self.cluster.as_ref().map(|c| (**c).clone()).unwrap_or_default();
        f(&mut cluster);
        self.cluster = Ok(Arc::new(cluster));
        self
    }

    pub(in crate::ha) fn member(self, name: &str, lsn: u64) -> Self {
        self.member_with(name, |m| m.data.xlog_location = Some(Lsn(lsn)))
    }

    pub(in crate::ha) fn member_with(self, name: &str, f: impl FnOnce(&mut Member)) -> Self {
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
    pub(in crate::ha) fn leader(self, name: &str) -> Self {
        let me = self.me.name.clone();
        let view = self.member_with(name, |m| m.data.role = Some(Role::Primary));
        let view = view.cluster_with(|c| {
            c.leader = Some(Leader { name: name.into(), own_session: name == me, revision: Revision(5) });
        });
        if name == me { view.change(|v| v.memory.lease_until = Some(v.now + secs(20))) } else { view }
    }

    pub(in crate::ha) fn primary(mut self) -> Self {
        self.server.role = Role::Primary;
        self.server.facts.recovery_files = false;
        if let Some(control) = &mut self.server.facts.control {
            control.state = ControlState::InProduction;
        }
        self.memory.rewind = RewindState::Checkpoint;
        self.status = Some(NodeStatus {
            timeline: Timeline(1),
            control_timeline: Some(Timeline(1)),
            write_lsn: Lsn(1000),
            postmaster_start_time: Some("then".to_owned()),
            ..NodeStatus::default()
        });
        self
    }

    pub(in crate::ha) fn replica(mut self, lsn: u64) -> Self {
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
    pub(in crate::ha) fn down(mut self, state: ControlState) -> Self {
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
    pub(in crate::ha) fn starting(mut self, since: u64) -> Self {
        self.server.state = PgState::Starting;
        self.server.state_since = self.now - secs(since);
        self.server.readiness = Readiness::Rejecting;
        self.status = None;
        self
    }

    pub(in crate::ha) fn empty(self) -> Self {
        self.down(ControlState::ShutDown).change(|v| {
            v.server.facts.data_dir = DataDir::Empty;
            v.server.facts.control = None;
            v.server.state = PgState::Stopped;
            v.server.role = Role::Uninitialized;
            v.memory.joined = false;
        })
    }

    pub(in crate::ha) fn silent(mut self) -> Self {
        self.cluster = Err(StoreFailure { reason: "no answer".to_owned() });
        self
    }

    pub(in crate::ha) fn paused(mut self) -> Self {
        self.global.pause = true;
        self.memory.was_paused = true;
        self
    }

    /// The cluster follows a remote server, with a slot there and its archive.
    pub(in crate::ha) fn standby_cluster(mut self) -> Self {
        let text = |text: &str| Some(text.to_owned());
        self.global.standby_cluster = Some(StandbyCluster {
            host: text("far,farther"),
            port: text("5433"),
            primary_slot_name: text("Pm-1"),
            restore_command: text("fetch %f %p"),
            archive_cleanup_command: text("clean %r"),
            recovery_min_apply_delay: text("5min"),
            ..StandbyCluster::default()
        });
        self
    }

    pub(in crate::ha) fn tagged(mut self, json: serde_json::Value) -> Self {
        self.me.tags = tags(json);
        self
    }

    pub(in crate::ha) fn failover(self, leader: Option<&str>, candidate: Option<&str>) -> Self {
        self.cluster_with(|c| {
            c.failover = Some(Failover {
                revision: Revision(3),
                leader: leader.map(str::to_owned),
                candidate: candidate.map(str::to_owned),
                ..Failover::default()
            });
        })
    }

    pub(in crate::ha) fn job(mut self, job: Job, phase: JobPhase) -> Self {
        let since = self.now - secs(5);
        self.server.job = Some(JobReport { id: JobId(40), job, phase, since, cancelled: false });
        self
    }

    pub(in crate::ha) fn ended(mut self, job: Job, result: JobResult) -> Self {
        self.server.ended.push(JobEnd { id: JobId(40), job, result, at: self.now });
        self
    }

    pub(in crate::ha) fn request(mut self, request: Request) -> Self {
        self.requests.push(PendingRequest { id: RequestId(9), request, at: self.now });
        self
    }

    pub(in crate::ha) fn history(self, lines: &[(u32, u64)]) -> Self {
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

pub(in crate::ha) fn restart_request() -> Request {
    Request::Restart {
        schedule: None,
        schedule_text: None,
        filter: crate::ha::request::RestartFilter::default(),
        timeout: None,
        body: serde_json::Map::new(),
    }
}

/// Host, port and database of `member`'s test URL.
pub(in crate::ha) fn conn(name: &str) -> IndexMap<String, String> {
    let pair = |(k, v): (&str, &str)| (k.to_owned(), v.to_owned());
    [("host", name), ("port", "5432"), ("dbname", "postgres")].map(pair).into_iter().collect()
}
