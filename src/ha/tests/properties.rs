//! Whatever the view and whatever the answers: a cycle ends in time and keeps the invariants (`drive` checks them in
//! every round), and nothing panics.

use crate::cluster::*;
use crate::ha::memory::{Archiving, DemoteMode, Demotion, FailsafeCaller, ProcessEnd, StartEvent};
use crate::ha::rewind::RewindState;
use crate::ha::testing::*;
use crate::ha::{Command, Exit, Job, JobId, JobPhase, JobResult, Outcome, Request, View};
use crate::types::{Lsn, Timeline};
use proptest::prelude::*;
use proptest::sample::select;

fn jobs() -> Vec<Job> {
    let upstream = || {
        let recovery = indexmap::IndexMap::new();
        Box::new(Upstream { name: "b".to_owned(), conn: conn("b"), slot: None, recovery, is_member: true })
    };
    let (timeout, role) = (Some(secs(10)), Role::Replica);
    vec![
        Job::StartPrimary { timeout: secs(300) },
        Job::Follow { upstream: Some(upstream()), role, timeout },
        Job::Stop { mode: StopMode::Fast, checkpoint: true, timeout, role: Some(Role::Demoted) },
        Job::Stop { mode: StopMode::Immediate, checkpoint: false, timeout, role: None },
        Job::Restart { timeout },
        Job::Promote { wait: secs(10) },
        Job::Rewind { upstream: upstream() },
        Job::CrashRecovery,
        Job::Bootstrap,
        Job::PostBootstrap,
        Job::Clone { source: Some(upstream()), upstream: None, basebackup_only: false },
        Job::Reinitialize { source: Some(upstream()), upstream: None, basebackup_only: true },
        Job::ArchiveCheckpoint,
        Job::MoveDataAside,
        Job::RemoveData,
    ]
}

fn phases() -> Vec<JobPhase> {
    let shut_down = JobPhase::ShutDown { checkpoint: Lsn(1100), release: Lsn(1050) };
    let others = [JobPhase::Working, JobPhase::Checkpoint, JobPhase::Stopping, shut_down, JobPhase::PrePromote];
    others.into_iter().chain([JobPhase::Promoting, JobPhase::WaitReady, JobPhase::Copying]).collect()
}

fn results() -> Vec<JobResult> {
    vec![
        JobResult::Done,
        JobResult::Stopped { checkpoint: Lsn(1100), release: Lsn(1050) },
        JobResult::StillStarting,
        JobResult::Cancelled,
        JobResult::PrePromoteFailed,
        JobResult::Failed("x".to_owned()),
        JobResult::TryAgain("x".to_owned()),
    ]
}

type Change = std::sync::Arc<dyn Fn(View) -> View + Send + Sync>;

/// Changes by topic: of each topic one is picked. The first does nothing.
fn topics() -> Vec<Vec<Change>> {
    fn c(f: impl Fn(View) -> View + Send + Sync + 'static) -> Change {
        std::sync::Arc::new(f)
    }
    let same = || c(|v| v);
    let states = [
        ControlState::ShutDown,
        ControlState::ShutDownInRecovery,
        ControlState::InProduction,
        ControlState::InArchiveRecovery,
        ControlState::InCrashRecovery,
    ];
    let down = states.map(|state| c(move |v| v.down(state)));
    let rewinds =
        [RewindState::Check, RewindState::Need, RewindState::NotNeed, RewindState::Success, RewindState::Failed];
    let roles = [Role::Primary, Role::Promoted, Role::Demoted, Role::Uninitialized, Role::Replica];
    let demotion = |mode, released: bool, waits: bool| {
        c(move |v: View| {
            v.change(|v| {
                let wait_until = waits.then(|| v.now + secs(1));
                let stop = Some(JobId(40));
                let role = Role::Primary;
                let archiving = Archiving::Due;
                v.memory.demotion = Some(Demotion { mode, stop, stopped: None, role, archiving, released, wait_until });
            })
        })
    };
    let end = |v: View| {
        v.change(|v| {
            let exit = Exit { code: 0, reason: String::new(), leave_postgres: false };
            v.memory.process_end =
                Some(ProcessEnd { exit, stop: Some(JobId(40)), stopped: None, escalated: false, released: false });
        })
    };
    let members = || same();
    let failsafe = |names: &[&str]| {
        let map: indexmap::IndexMap<String, String> =
            names.iter().map(|name| ((*name).to_owned(), format!("http://{name}:8008/patroni"))).collect();
        c(move |v: View| {
            let map = Some(map.clone());
            let view = v.change(|v| {
                v.global.failsafe_mode = true;
                v.memory.failsafe.members.clone_from(&map);
                v.memory.failsafe.promised_until = Some(v.now + secs(3));
                v.memory.last_led = v.cluster.clone().ok();
            });
            if view.cluster.is_err() { view } else { view.cluster_with(|c| c.failsafe = map) }
        })
    };
    let called = |left: u64| {
        c(move |v: View| {
            v.change(|v| {
                let (name, conn_url, api_url) = ("b".to_owned(), "postgres://b/x".to_owned(), "http://b".to_owned());
                let call = FailsafeCall { name, conn_url, api_url, slots: None, ttl: None };
                v.caller = Some(FailsafeCaller { call, until: v.now + secs(left) });
            })
        })
    };
    vec![
        vec![members(), c(|v| v.member("b", 1000)), c(|v| v.member("b", 1000).member("c", 2000))],
        vec![
            same(),
            c(View::primary),
            c(|v| v.primary().change(|v| v.status = None)),
            c(|v| v.change(|v| v.status = None)),
        ],
        vec![same(), c(|v| v.leader("a")), c(|v| v.leader("b")), c(View::silent)],
        [same(), c(|v| v.starting(400)), c(View::empty)].into_iter().chain(down).collect(),
        vec![same(), same(), c(View::paused)],
        vec![same(), same(), c(|v| v.standby_cluster())],
        std::iter::once(same()).chain(roles.map(|role| c(move |v| v.change(|v| v.server.role = role)))).collect(),
        std::iter::once(same()).chain(rewinds.map(|r| c(move |v| v.change(|v| v.memory.rewind = r)))).collect(),
        vec![
            same(),
            same(),
            demotion(DemoteMode::Graceful, false, false),
            demotion(DemoteMode::Graceful, true, true),
            demotion(DemoteMode::Immediate, false, false),
            demotion(DemoteMode::ImmediateNolock, false, false),
            demotion(DemoteMode::Offline, false, false),
            demotion(DemoteMode::Cluster, false, false),
            demotion(DemoteMode::Cluster, true, true),
        ],
        vec![same(), same(), c(end), c(|v| v.change(|v| v.stopping = true))],
        vec![
            same(),
            c(|v| v.failover(Some("a"), Some("b"))),
            c(|v| v.failover(Some("b"), Some("a"))),
            c(|v| v.failover(Some("a"), None)),
            c(|v| v.failover(None, Some("gone"))),
        ],
        vec![
            same(),
            same(),
            c(|v| v.request(restart_request())),
            c(|v| v.request(Request::Reinitialize { force: true, from_leader: true })),
            c(|v| v.request(Request::CancelRestart)),
        ],
        vec![
            same(),
            c(|v| v.tagged(serde_json::json!({"nofailover": true}))),
            c(|v| v.tagged(serde_json::json!({"replicatefrom": "c", "failover_priority": 2}))),
            c(|v| v.tagged(serde_json::json!({"nostream": true}))),
        ],
        vec![
            same(),
            c(|v| v.change(|v| v.global.use_pg_rewind = true)),
            c(|v| v.change(|v| v.global.remove_data_directory_on_diverged_timelines = true)),
            c(|v| v.change(|v| v.global.primary_start_timeout = secs(0))),
            c(|v| v.change(|v| v.global.check_timeline = true).history(&[(1, 10)])),
        ],
        [(false, false, true), (true, false, true), (true, true, true), (true, false, false)]
            .map(|(required, active, healthy)| {
                c(move |v| {
                    v.change(|v| v.watchdog = crate::ha::WatchdogReport { required, active, healthy, wanted: required })
                })
            })
            .to_vec(),
        vec![same(), c(|v| v.change(|v| v.memory.recovering = true)), c(|v| v.change(|v| v.memory.joined = false))],
        vec![
            same(),
            c(|v| v.cluster_with(|c| c.initialize = None)),
            c(|v| v.cluster_with(|c| c.initialize = Some(String::new()))),
            c(|v| v.cluster_with(|c| c.initialize = Some("7999999999999999999".to_owned()))),
        ],
        vec![
            same(),
            same(),
            c(|v| v.change(|v| v.memory.bootstrapping = true)),
            c(|v| v.change(|v| v.memory.pre_promote_failed = true)),
            c(|v| v.change(|v| v.memory.start_event = Some(StartEvent::Restart))),
            c(|v| v.change(|v| v.memory.start_not_before = Some(v.now + secs(1)))),
        ],
        vec![same(), failsafe(&["a"]), failsafe(&["a", "b", "d"]), failsafe(&["b", "c"])],
        vec![same(), same(), called(20), called(0)],
    ]
}

fn views() -> impl Strategy<Value = View> {
    let topics = topics();
    let picks: Vec<_> = topics.iter().map(|topic| 0..topic.len()).collect();
    let job = proptest::option::weighted(0.3, (select(jobs()), select(phases())));
    let ended = proptest::option::weighted(0.3, (select(jobs()), select(results())));
    (picks, job, ended).prop_map(move |(picks, job, ended)| {
        let mut view = view();
        for (topic, pick) in topics.iter().zip(picks) {
            // A silent store stays silent.
            let silent = view.cluster.is_err();
            view = topic.get(pick).map_or(view.clone(), |change| change(view));
            view = if silent { view.silent() } else { view };
        }
        if let Some((job, phase)) = job {
            view = view.job(job, phase);
        }
        match ended {
            Some((job, result)) => view.ended(job, result),
            None => view,
        }
    })
}

/// The n-th of the answers that fit a question.
fn any_answer(view: &View, command: &Command, pick: usize) -> Outcome {
    let silence =
        [Outcome::Unreachable("no".to_owned()), Outcome::Unknown("late".to_owned()), Outcome::Failed("x".to_owned())];
    let mut fitting = match command {
        Command::RenewLeader | Command::AcquireLeader => {
            let until = view.now + secs(30);
            vec![Outcome::Leased { until }, Outcome::Leased { until }, Outcome::Conflict]
        }
        Command::StartJob(_) => vec![Outcome::JobStarted(JobId(41)), Outcome::JobStarted(JobId(41)), Outcome::Conflict],
        Command::PollPeers(asked) => {
            let with = |lsn| Outcome::Peers(asked.iter().map(|(name, _)| peer(name, lsn)).collect());
            let fewer = Outcome::Peers(vec![peer("nobody", 1)]);
            vec![with(900), with(1000), with(2000), Outcome::Peers(vec![]), fewer]
        }
        Command::CallFailsafe { ttl, members, .. } => {
            let answer = |(name, _): &(String, String), accepted| FailsafeAnswer {
                name: name.clone(),
                accepted,
                position: Some(Lsn(5)),
            };
            let all = |accepted| Outcome::Failsafe {
                until: view.now + *ttl,
                answers: members.iter().map(|m| answer(m, accepted)).collect(),
            };
            vec![all(true), all(true), all(false)]
        }
        Command::ReloadCluster => vec![Outcome::Cluster(view.clone().leader("b").cluster.unwrap_or_default())],
        Command::CheckRecovery { .. } => [(false, false), (true, false), (true, true)]
            .map(|(change, restart)| Outcome::RecoveryCheck { change, restart })
            .to_vec(),
        Command::QueryOwnTimeline => [0, 1, 2].map(|t| Outcome::Timeline(Timeline(t))).to_vec(),
        Command::QueryLeader(_) => [(1, 0), (2, 500), (2, 2000)]
            .map(|(timeline, switch)| Outcome::LeaderPoint {
                read_write: true,
                timeline: Timeline(timeline),
                lsn: Lsn(3000),
                history: vec![(Timeline(1), Lsn(switch))],
            })
            .to_vec(),
        Command::QueryArchiving => vec![Outcome::Archiving(true), Outcome::Archiving(false)],
        Command::QueryCheckpointEnd { .. } => vec![Outcome::Lsn(Lsn(2000)), Outcome::Lsn(Lsn(1))],
        Command::ReadHistory(_) => {
            let some = view.clone().history(&[(1, 900)]).cluster.ok().and_then(|c| c.history.clone());
            vec![Outcome::History(History::default()), Outcome::History(some.unwrap_or_default())]
        }
        Command::SyncSlots(_) => vec![Outcome::Slots(SlotReport {
            slots: vec![("b".to_owned(), Some(Lsn(1)), true)],
            copy: vec!["l".to_owned()],
            unproven: vec!["l".to_owned()],
        })],
        _ => vec![Outcome::Ok, Outcome::Ok, Outcome::Conflict],
    };
    fitting.extend(silence);
    let at = pick % fitting.len();
    fitting.swap_remove(at)
}

/// `PROPTEST_CASES`, or a number that takes seconds.
pub(super) fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(2000)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: cases(), ..ProptestConfig::default() })]

    #[test]
    fn every_cycle_ends_and_keeps_the_invariants(view in views(), picks in proptest::collection::vec(0usize..60, 24)) {
        let mut picks = picks.into_iter().cycle();
        let course = drive(&view, |view, command| any_answer(view, command, picks.next().unwrap_or(0)));
        prop_assert!(course.asked.len() <= 24);
        prop_assert_eq!(course.sentence().starts_with("PAUSE: "), view.global.pause && !course.sentence().is_empty());
    }

    /// Each cycle's memory is the next cycle's: no state gets stuck in a panic or a fault.
    #[test]
    fn cycles_follow_each_other(
        start in views(),
        steps in proptest::collection::vec((views(), proptest::collection::vec(0usize..60, 8)), 1..6),
    ) {
        let mut memory = start.memory;
        for (view, picks) in steps {
            let mut picks = picks.into_iter().cycle();
            let bootstrapping = memory.bootstrapping && view.memory.bootstrapping;
            let mut view = view.change(|v| v.memory = memory);
            view.memory.bootstrapping = bootstrapping;
            memory = drive(&view, |view, command| any_answer(view, command, picks.next().unwrap_or(0))).finish.memory;
        }
    }

    /// A job, a view and a memory survive the journal.
    #[test]
    fn views_survive_the_journal(view in views()) {
        let text = serde_json::to_string(&view).unwrap();
        prop_assert_eq!(serde_json::from_str::<View>(&text).unwrap(), view);
    }
}
