//! A driver that answers a walk's questions from a script and checks the invariants in every round.

use super::secs;
use crate::cluster::*;
use crate::ha::invariant::check_round;
use crate::ha::{
    Answer, AnswerKind, Command, Finish, Job, JobId, JobKind, MAX_ROUNDS, Outcome, Round, Rule, View, decide,
};
use crate::types::{Lsn, Timeline};
use std::sync::Arc;

/// What the world answers.
#[derive(Clone, Debug, Default)]
pub(in crate::ha) struct World {
    pub(in crate::ha) peers: Vec<PeerStatus>,
    pub(in crate::ha) renew: Option<Outcome>,
    pub(in crate::ha) acquire: Option<Outcome>,
    pub(in crate::ha) release: Option<Outcome>,
    pub(in crate::ha) initialize: Option<Outcome>,
    pub(in crate::ha) watchdog: Option<Outcome>,
    pub(in crate::ha) job: Option<Outcome>,
    pub(in crate::ha) recovery: Option<(bool, bool)>,
    pub(in crate::ha) reload: Option<Arc<Cluster>>,
    pub(in crate::ha) own_timeline: Option<u32>,
    pub(in crate::ha) leader_point: Option<Outcome>,
    pub(in crate::ha) checkpoint_end: Option<u64>,
    pub(in crate::ha) history: Option<History>,
    pub(in crate::ha) slots: Vec<(String, Option<Lsn>, bool)>,
    pub(in crate::ha) write_sync: Option<Outcome>,
    pub(in crate::ha) set_names: Option<Outcome>,
    /// What standbys are after a change of the list: name, `sync_state`, position; `None`: as they were.
    pub(in crate::ha) standbys: Option<Vec<(String, String, u64)>>,
    /// Members that agree to a primary without a store, and how far they are.
    pub(in crate::ha) agree: Vec<(String, u64)>,
    pub(in crate::ha) slots_to_copy: Vec<String>,
    pub(in crate::ha) unproven_slots: Vec<String>,
    pub(in crate::ha) archives: bool,
}

pub(in crate::ha) fn world() -> World {
    World::default()
}

/// A standby that streams from me.
pub(in crate::ha) fn standby(name: &str, sync_state: &str, lsn: u64) -> ReplicationConnection {
    ReplicationConnection {
        usename: None,
        application_name: name.to_owned(),
        client_addr: None,
        state: "streaming".to_owned(),
        sync_state: sync_state.to_owned(),
        sync_priority: 0,
        write_lsn: Some(Lsn(lsn)),
        flush_lsn: Some(Lsn(lsn)),
        replay_lsn: Some(Lsn(lsn)),
        pid: 1,
    }
}

/// A standby that answers its REST API.
pub(in crate::ha) fn peer(name: &str, lsn: u64) -> PeerStatus {
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
    pub(in crate::ha) fn peer(mut self, peer: PeerStatus) -> Self {
        self.peers.push(peer);
        self
    }

    pub(in crate::ha) fn change(mut self, f: impl FnOnce(&mut World)) -> Self {
        f(&mut self);
        self
    }

    /// A server that takes every list in.
    fn listed(&self, view: &View, names: &SyncNames) -> Outcome {
        let mut status = view.status.clone().unwrap_or_default();
        status.synchronous_standby_names = match names {
            SyncNames::Own(text) => text.clone(),
            SyncNames::Users => String::new(),
        };
        if let Some(standbys) = &self.standbys {
            status.replication = standbys.iter().map(|(name, state, lsn)| standby(name, state, *lsn)).collect();
        }
        Outcome::Status(Box::new(status))
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
            Command::QueryArchiving => Outcome::Archiving(self.archives),
            Command::SyncSlots(_) => Outcome::Slots(SlotReport {
                slots: self.slots.clone(),
                copy: self.slots_to_copy.clone(),
                unproven: self.unproven_slots.clone(),
            }),
            Command::CallFailsafe { ttl, members, .. } => Outcome::Failsafe {
                until: view.now + *ttl,
                answers: members
                    .iter()
                    .map(|(name, _)| {
                        let agrees = self.agree.iter().find(|(agrees, _)| agrees == name);
                        let position = agrees.map(|(_, lsn)| Lsn(*lsn));
                        FailsafeAnswer { name: name.clone(), accepted: agrees.is_some(), position }
                    })
                    .collect(),
            },
            Command::WriteSync(_) => self.write_sync.clone().unwrap_or(Outcome::Written(Revision(77))),
            Command::DeleteSync(_) => self.write_sync.clone().unwrap_or(Outcome::Ok),
            Command::SetSyncNames(names) => self.set_names.clone().unwrap_or_else(|| self.listed(view, names)),
            Command::WatchdogActivate => self.watchdog.clone().unwrap_or(Outcome::Ok),
            _ => Outcome::Ok,
        }
    }
}

/// The course of one cycle.
#[derive(Debug)]
pub(in crate::ha) struct Course {
    pub(in crate::ha) asked: Vec<Command>,
    pub(in crate::ha) finish: Finish,
}

/// Runs a cycle to its end; every round must keep the invariants.
pub(in crate::ha) fn run(view: &View, world: &World) -> Course {
    drive(view, |view, command| world.answer(view, command))
}

/// Runs a cycle with any answers.
pub(in crate::ha) fn drive(view: &View, mut answer: impl FnMut(&View, &Command) -> Outcome) -> Course {
    let mut view = view.clone();
    for _ in 0..MAX_ROUNDS {
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
    panic!("more than {} rounds: {:?}", MAX_ROUNDS, view.done);
}

impl Course {
    pub(in crate::ha) fn sentence(&self) -> &str {
        &self.finish.sentence
    }

    /// The jobs that were asked for.
    pub(in crate::ha) fn jobs(&self) -> Vec<&Job> {
        let mut jobs = Vec::new();
        for command in &self.asked {
            if let Command::StartJob(job) = command {
                jobs.push(job);
            }
        }
        jobs
    }

    pub(in crate::ha) fn job(&self) -> Option<&Job> {
        self.jobs().first().copied()
    }

    pub(in crate::ha) fn all(&self) -> impl Iterator<Item = &Command> {
        self.asked.iter().chain(&self.finish.commands)
    }

    pub(in crate::ha) fn release(&self) -> Option<Option<Lsn>> {
        self.all().find_map(|c| match c {
            Command::ReleaseLeader { optime } => Some(*optime),
            _ => None,
        })
    }

    pub(in crate::ha) fn callbacks(&self) -> Vec<(CallbackEvent, Role)> {
        let callback = |c: &Command| match c {
            Command::Callback { event, role } => Some((*event, *role)),
            _ => None,
        };
        self.finish.commands.iter().filter_map(callback).collect()
    }

    pub(in crate::ha) fn member_key(&self) -> Option<&MemberData> {
        match self.finish.commands.last() {
            Some(Command::TouchMember(data)) => Some(data),
            _ => None,
        }
    }

    pub(in crate::ha) fn answer(&self) -> Option<(AnswerKind, &str)> {
        self.finish.answers.first().map(|(_, Answer { kind, text })| (*kind, text.as_str()))
    }

    pub(in crate::ha) fn logged(&self, text: &str) -> bool {
        self.finish.log.iter().any(|line| line.text.contains(text))
    }

    pub(in crate::ha) fn slot_plan(&self) -> Option<&SlotPlan> {
        self.asked.iter().find_map(|c| match c {
            Command::SyncSlots(plan) => Some(plan),
            _ => None,
        })
    }

    pub(in crate::ha) fn status(&self) -> Option<&Status> {
        self.finish.commands.iter().find_map(|c| match c {
            Command::WriteStatus(status) => Some(status),
            _ => None,
        })
    }
}

/// A row: the cycle says this and starts this job (`None`: none).
#[track_caller]
pub(in crate::ha) fn does(view: View, world: World, sentence: &str, job: Option<JobKind>) -> Course {
    let course = run(&view, &world);
    let found = course.job().map(Job::kind);
    assert_eq!((course.sentence(), found), (sentence, job), "{:#?}", course.finish.log);
    course
}

/// A row: the cycle says this and starts no job.
#[track_caller]
pub(in crate::ha) fn says(view: View, world: World, sentence: &str) -> Course {
    does(view, world, sentence, None)
}
