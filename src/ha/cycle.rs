//! One walk through the rules: what they read, what they ask for, and what they leave behind.
//!
//! Questions are numbered: the n-th question of a walk is answered by the n-th entry of [`View::done`]. A question
//! without an answer ends the walk with [`Stop::Need`]; the next walk comes to the same question and finds it answered.

use super::facts::Facts;
use super::failsafe::with_caller;
use super::memory::StopEvent;
use super::{
    Answer, AnswerKind, Command, Exit, Finish, Job, JobId, Level, LogLine, MAX_ROUNDS, Memory, Outcome, RequestId,
    Round, Rule, View, sentence::sentence,
};
use crate::cluster::{CallbackEvent, Cluster, NodeStatus, Role, WantedSlot};
use crate::types::{Lsn, Mono};
use std::sync::Arc;
use std::time::Duration;

/// Why a walk ends before its rules come to a result.
#[derive(Debug, PartialEq)]
pub(super) enum Stop {
    /// Answers are missing.
    Need(Vec<Command>),
    /// The store gave no clear answer to a question about the lock.
    Silent,
    /// The rule that ends the cycle is found.
    End(Box<Rule>),
    /// The view does not fit the questions.
    Bug(String),
}

/// The rule that ends the cycle, or why there is none yet.
pub(super) type Step = Result<Rule, Stop>;

/// The rule that ends the cycle, or none: go on with the next.
pub(super) type Maybe = Result<Option<Rule>, Stop>;

/// Proof that the leader key was got or renewed within this cycle. Needed to promote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease(());

/// One walk.
#[derive(Debug)]
pub(super) struct Cycle<'a> {
    /// What is known.
    pub view: &'a View,
    /// The store as last read; empty when it is silent.
    pub cluster: Arc<Cluster>,
    /// Facts of view and cluster.
    pub facts: Facts,
    /// What the next cycle will know.
    pub memory: Memory,
    /// The published role, as it is by now.
    pub role: Role,
    /// The job that runs by now.
    pub job: Option<JobId>,
    /// When the next cycle must start.
    pub wake_in: Option<Duration>,
    /// The process must end.
    pub exit: Option<Exit>,
    /// `status` is to be published at the end.
    pub publish_status: bool,
    /// What the server said last in this cycle, when it was asked again.
    pub latest_status: Option<Box<NodeStatus>>,
    /// The state of slots has been dealt with in this cycle.
    pub slots_done: bool,
    /// Logical slots that must be copied from the leader.
    pub slots_to_copy: Vec<WantedSlot>,
    log: Vec<LogLine>,
    tail: Vec<Command>,
    answers: Vec<(RequestId, Answer)>,
    asked: usize,
    rounds: usize,
    lease: Option<Lease>,
}

impl<'a> Cycle<'a> {
    /// Begins a walk.
    pub fn new(view: &'a View) -> Self {
        let cluster = view.cluster.as_ref().map(Arc::clone).unwrap_or_default();
        let cluster = with_caller(view, cluster);
        let role = view.server.role;
        Self {
            view,
            facts: Facts::new(view, &cluster, role),
            cluster,
            memory: view.memory.clone(),
            role,
            job: view.server.job.as_ref().map(|j| j.id),
            wake_in: None,
            exit: None,
            publish_status: false,
            latest_status: None,
            slots_done: false,
            slots_to_copy: Vec::new(),
            log: Vec::new(),
            tail: Vec::new(),
            answers: Vec::new(),
            asked: 0,
            rounds: 0,
            lease: None,
        }
    }

    /// My name.
    pub fn me(&self) -> &'a str {
        &self.view.me.name
    }

    /// This is a standby cluster (ha-rules 20).
    pub fn in_standby_cluster(&self) -> bool {
        self.view.global.standby_cluster.is_some()
    }

    // --- log ---

    /// A line of this level.
    pub fn log(&mut self, level: Level, text: impl Into<String>) {
        self.log.push(LogLine { level, text: text.into() });
    }

    /// An info line.
    pub fn info(&mut self, text: impl Into<String>) {
        self.log(Level::Info, text);
    }

    /// A warning line.
    pub fn warn(&mut self, text: impl Into<String>) {
        self.log(Level::Warning, text);
    }

    // --- questions ---

    /// Asks for several things at once; the answers come in the same order.
    pub fn ask_all(&mut self, commands: Vec<Command>) -> Result<Vec<Outcome>, Stop> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut outcomes = Vec::with_capacity(commands.len());
        for (at, command) in commands.iter().enumerate() {
            match self.view.done.get(self.asked + at) {
                Some((done, outcome)) if done == command => outcomes.push(outcome.clone()),
                Some((done, _)) => return Err(Stop::Bug(format!("asked {command:?}, answered {done:?}"))),
                None if self.rounds + 1 >= MAX_ROUNDS => {
                    return Err(Stop::Bug(format!("{MAX_ROUNDS} rounds are over, asked {command:?}")));
                }
                None => return Err(Stop::Need(commands.into_iter().skip(at).collect())),
            }
        }
        self.asked += commands.len();
        self.rounds += 1;
        Ok(outcomes)
    }

    /// How many rounds of questions there have been.
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Asks for one thing.
    pub fn ask(&mut self, command: Command) -> Result<Outcome, Stop> {
        let mut outcomes = self.ask_all(vec![command])?;
        outcomes.pop().ok_or_else(|| Stop::Bug("a question without an answer".to_owned()))
    }

    /// Renews the leader key. `None`: it is lost. A silent store ends the walk (see `rules::silent`).
    pub fn renew(&mut self) -> Result<Option<Lease>, Stop> {
        // Without a lease in memory the term was begun by another process of this member.
        let continued = self.memory.lease_until.is_some();
        let outcome = self.ask(Command::RenewLeader)?;
        let lease = self.leased(&outcome)?;
        if lease.is_some() && !continued {
            self.reset_retention();
        }
        Ok(lease)
    }

    /// Tries to get the leader key. `None`: somebody else has it. A silent store ends the walk.
    pub fn acquire(&mut self) -> Result<Option<Lease>, Stop> {
        let outcome = self.ask(Command::AcquireLeader)?;
        let lease = self.leased(&outcome)?;
        if lease.is_some() {
            self.reset_retention();
        }
        Ok(lease)
    }

    /// The clocks of kept slots start anew with each term of a leader, and after a restart of its agent (SLOT-04).
    fn reset_retention(&mut self) {
        let now = self.view.now;
        let kept = self.cluster.status.retain_slots.iter().flatten();
        self.memory.retain_slots = kept.map(|slot| (slot.clone(), now)).collect();
    }

    fn leased(&mut self, outcome: &Outcome) -> Result<Option<Lease>, Stop> {
        match outcome {
            Outcome::Leased { .. } => {
                self.lease = Some(Lease(()));
                self.right_renewed(outcome);
                Ok(self.lease)
            }
            Outcome::Conflict => {
                self.forget_lease();
                Ok(None)
            }
            // Whatever else went wrong does not say that somebody else has the lock.
            _ => Err(Stop::Silent),
        }
    }

    /// The right to lead was got or renewed, by the lock or by the word of all members.
    pub fn right_renewed(&mut self, outcome: &Outcome) {
        self.memory.note_right(outcome);
        self.facts.is_leader = self.memory.leads_until().is_some_and(|until| until > self.view.now);
    }

    /// I lead no longer.
    pub fn forget_lease(&mut self) {
        self.memory.failsafe.until = None;
        self.forget_lock();
    }

    /// The lock is no longer mine. What all members have agreed to stays, as long as nobody leads.
    pub fn forget_lock(&mut self) {
        self.memory.lease_until = None;
        self.facts.is_leader = self.memory.failsafe.until.is_some_and(|until| until > self.view.now);
        self.lease = None;
    }

    /// Gives the leader key up. Without a clear answer it is left to its lease: it is never renewed again by who
    /// asked for this.
    pub fn release(&mut self, optime: Option<Lsn>) -> Result<(), Stop> {
        let outcome = self.ask(Command::ReleaseLeader { optime })?;
        self.forget_lease();
        match outcome {
            Outcome::Ok | Outcome::Conflict => self.info("Leader key released"),
            other => self.log(Level::Error, format!("failed to release the leader key: {}", describe(&other))),
        }
        Ok(())
    }

    /// Reads the store again; without an answer the old reading stays.
    pub fn reload(&mut self) -> Result<(), Stop> {
        if let Outcome::Cluster(cluster) = self.ask(Command::ReloadCluster)? {
            self.cluster = with_caller(self.view, cluster);
            let is_leader = self.facts.is_leader;
            self.facts = Facts::new(self.view, &self.cluster, self.role);
            self.facts.is_leader = is_leader;
        }
        Ok(())
    }

    /// Starts a job that log lines call `action`. `Err(rule)` inside: another job is in the way.
    pub fn start(&mut self, action: &str, job: Job) -> Result<Result<JobId, Rule>, Stop> {
        let stops = job.kind().stops_on_its_way();
        match self.ask(Command::StartJob(job))? {
            Outcome::JobStarted(id) => {
                self.memory.action = Some((id, action.to_owned()));
                self.job = Some(id);
                if stops {
                    self.tell_of_stop(id);
                }
                Ok(Ok(id))
            }
            Outcome::Conflict => Ok(Err(Rule::JobRefused(action.to_owned(), self.action()))),
            other => {
                self.log(Level::Error, format!("failed to start {action}: {}", describe(&other)));
                Ok(Err(Rule::JobRefused(action.to_owned(), self.action())))
            }
        }
    }

    /// Scripts are told when the present server has been stopped by this job.
    pub fn tell_of_stop(&mut self, job: JobId) {
        let server = self.view.server.facts.postmaster;
        self.memory.stop_event = server.map(|postmaster| StopEvent { job, postmaster, role: self.role });
    }

    /// The name of the job that runs.
    pub fn action(&self) -> String {
        let running = self.view.server.job.as_ref();
        match &self.memory.action {
            Some((id, name)) if self.job == Some(*id) => name.clone(),
            _ => running.map_or_else(|| "another action".to_owned(), |r| default_action(&r.job).to_owned()),
        }
    }

    // --- what is carried out at the end ---

    /// To be carried out when the cycle is over; nobody looks at the outcome but the log.
    pub fn tail(&mut self, command: Command) {
        self.tail.push(command);
    }

    /// Whether such a command is to be carried out at the end.
    pub fn will(&self, which: impl Fn(&Command) -> bool) -> bool {
        self.tail.iter().any(which)
    }

    /// Publishes another role.
    pub fn set_role(&mut self, role: Role) {
        if self.role != role {
            self.role = role;
            self.tail(Command::SetRole(role));
        }
    }

    /// Runs a script, but not while a cluster is being bootstrapped (CB-05).
    pub fn callback(&mut self, event: CallbackEvent, role: Role) {
        if self.memory.bootstrapping {
            return;
        }
        if event != CallbackEvent::OnReload {
            self.memory.joined = true;
        }
        let role = if role == Role::Promoted { Role::Primary } else { role };
        self.tail(Command::Callback { event, role });
    }

    /// Activates the watchdog where there is one. `false`: it is required and cannot be activated.
    pub fn activate_watchdog(&mut self) -> Result<bool, Stop> {
        let watchdog = self.view.watchdog;
        if watchdog.active || !watchdog.wanted {
            return Ok(true);
        }
        let activated = self.ask(Command::WatchdogActivate)? == Outcome::Ok;
        Ok(activated || !watchdog.required)
    }

    /// Disables the watchdog where there is one: nothing is left that it would have to end.
    pub fn disable_watchdog(&mut self) {
        if self.view.watchdog.active && !self.will(|command| *command == Command::WatchdogDisable) {
            self.tail(Command::WatchdogDisable);
        }
    }

    /// Settles a request.
    pub fn answer(&mut self, id: RequestId, kind: AnswerKind, text: impl Into<String>) {
        self.answers.push((id, Answer { kind, text: text.into() }));
    }

    /// Whether a request is settled.
    pub fn is_answered(&self, id: RequestId) -> bool {
        self.answers.iter().any(|(answered, _)| *answered == id)
    }

    /// The next cycle must start within this.
    pub fn wake_within(&mut self, length: Duration) {
        self.wake_in = Some(self.wake_in.map_or(length, |w| w.min(length)));
    }

    /// The next cycle must start at this moment.
    pub fn wake_at(&mut self, moment: Mono) {
        self.wake_within(moment.since(self.view.now));
    }

    // --- the end ---

    /// The walk needs answers.
    pub fn into_need(self, commands: Vec<Command>) -> Round {
        Round::Need { commands, log: self.log }
    }

    /// The walk came to its end; `member_key` is written last.
    pub fn into_finish(mut self, rule: Rule, member_key: Option<Command>) -> Round {
        self.tail.extend(member_key);
        let sentence = sentence(&rule, &self.view.me.name, self.facts.paused && self.exit.is_none());
        Round::Done(Box::new(Finish {
            rule,
            sentence,
            log: self.log,
            memory: self.memory,
            commands: self.tail,
            answers: self.answers,
            wake_in: self.wake_in,
            exit: self.exit,
        }))
    }
}

/// An outcome for the log.
pub(super) fn describe(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Unreachable(text) | Outcome::Unknown(text) | Outcome::Failed(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

/// The name of a job that this process does not remember having started.
fn default_action(job: &Job) -> &'static str {
    match job {
        Job::StartPrimary { .. } => "starting primary after failure",
        Job::Follow { .. } => "restarting after failure",
        Job::Stop { .. } => "stop",
        Job::Restart { .. } => "restart",
        Job::Promote { .. } => "promote",
        Job::Rewind { .. } => "running pg_rewind",
        Job::CrashRecovery => "doing crash recovery in a single user mode",
        Job::Bootstrap => "bootstrap",
        Job::PostBootstrap => "post_bootstrap",
        Job::Clone { .. } => "bootstrap",
        Job::Reinitialize { .. } => "reinitialize",
        Job::CopySlots { .. } => "copy_logical_slots",
        Job::ArchiveCheckpoint => "demoting to a standby cluster",
        Job::MoveDataAside => "moving data directory aside",
        Job::RemoveData => "removing data directory",
    }
}
