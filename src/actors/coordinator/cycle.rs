//! One open cycle: what has been asked, what has come in, and what is still awaited. No I/O, no timers.

use crate::actors::messages::Ticket;
use crate::cluster::{Cluster, NodeStatus};
use crate::ha::{Command, Finish, Outcome, ServerReport, StoreFailure, View};
use std::collections::VecDeque;
use std::sync::Arc;

/// A cycle that has begun and not ended.
#[derive(Debug)]
pub(super) struct OpenCycle {
    pub number: u64,
    /// Lines of this cycle that have been logged.
    pub printed: usize,
    /// How many commands each round asked for.
    pub rounds: Vec<usize>,
    next_index: usize,
    pub phase: Phase,
}

/// How far a cycle is.
#[derive(Debug)]
pub(super) enum Phase {
    /// The view is being put together.
    Gather(Box<Gather>),
    /// Commands of a round are being carried out.
    Round { view: Box<View>, asked: Vec<Asked> },
    /// The decision is made; its commands are carried out one after the other.
    Tail { view: Box<View>, finish: Box<Finish>, left: VecDeque<Command>, current: Box<Option<Asked>> },
}

/// The parts of a view that are asked for anew in each cycle; a part that is `None` is awaited.
#[derive(Debug, Default)]
pub(super) struct Gather {
    pub cluster: Option<Result<Arc<Cluster>, StoreFailure>>,
    /// The inner `None`: no report came.
    pub server: Option<Option<ServerReport>>,
    pub status: Option<Option<NodeStatus>>,
    /// The dynamic configuration of this cycle's cluster is in force (or was not changed).
    pub configured: bool,
}

impl Gather {
    pub(super) fn is_complete(&self) -> bool {
        self.cluster.is_some() && self.server.is_some() && self.status.is_some() && self.configured
    }
}

/// A command under way.
#[derive(Debug)]
pub(super) struct Asked {
    pub index: usize,
    pub command: Command,
    pub outcome: Option<Outcome>,
}

/// What an outcome meant for the cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Nobody asked for it (any more).
    Stray,
    /// More is awaited.
    Waiting,
    /// All outcomes of the round are in.
    RoundComplete,
    /// The command of the tail has been carried out.
    TailStep,
}

impl OpenCycle {
    pub(super) fn new(number: u64) -> Self {
        Self { number, printed: 0, rounds: Vec::new(), next_index: 0, phase: Phase::Gather(Box::default()) }
    }

    /// A ticket that this cycle has not used.
    pub(super) fn ticket(&mut self) -> Ticket {
        let index = self.next_index;
        self.next_index += 1;
        Ticket { cycle: self.number, index }
    }

    /// The parts that are awaited, while they are.
    pub(super) fn gather(&mut self) -> Option<&mut Gather> {
        match &mut self.phase {
            Phase::Gather(gather) => Some(gather),
            Phase::Round { .. } | Phase::Tail { .. } => None,
        }
    }

    /// Takes an outcome in.
    pub(super) fn outcome(&mut self, index: usize, outcome: Outcome) -> Progress {
        match &mut self.phase {
            Phase::Gather(_) => Progress::Stray,
            Phase::Round { asked, .. } => {
                let Some(one) = asked.iter_mut().find(|a| a.index == index && a.outcome.is_none()) else {
                    return Progress::Stray;
                };
                one.outcome = Some(outcome);
                if asked.iter().all(|a| a.outcome.is_some()) { Progress::RoundComplete } else { Progress::Waiting }
            }
            Phase::Tail { current, .. } => match current.as_mut() {
                Some(one) if one.index == index && one.outcome.is_none() => {
                    one.outcome = Some(outcome);
                    Progress::TailStep
                }
                _ => Progress::Stray,
            },
        }
    }

    /// Whether this command is under way.
    pub(super) fn awaits(&self, command: &Command) -> bool {
        let open = |a: &Asked| a.command == *command && a.outcome.is_none();
        match &self.phase {
            Phase::Gather(_) => false,
            Phase::Round { asked, .. } => asked.iter().any(open),
            Phase::Tail { current, .. } => (**current).as_ref().is_some_and(open),
        }
    }

    /// The command with this index that has no outcome yet.
    pub(super) fn awaited(&self, index: usize) -> Option<&Command> {
        let open = |a: &&Asked| a.index == index && a.outcome.is_none();
        match &self.phase {
            Phase::Gather(_) => None,
            Phase::Round { asked, .. } => asked.iter().find(open).map(|a| &a.command),
            Phase::Tail { current, .. } => (**current).as_ref().filter(open).map(|a| &a.command),
        }
    }
}

/// Appends the outcomes of a complete round to the view, in the order asked.
pub(super) fn complete_round(mut view: Box<View>, asked: Vec<Asked>) -> Box<View> {
    view.done.extend(asked.into_iter().filter_map(|a| a.outcome.map(|outcome| (a.command, outcome))));
    view
}
