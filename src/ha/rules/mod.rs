//! The rules, by topic, and their order.

mod bootstrap;
mod candidates;
mod data_dir;
mod demote;
mod demote_cluster;
mod diverged;
mod failover;
mod failsafe;
mod history;
mod jobs;
mod leader;
mod long_action;
mod member_key;
mod pause;
mod race;
mod recover;
mod replica;
mod requests;
mod restart;
mod retention;
mod silent;
mod slots;
mod starting;
mod stop;
mod sync;
mod sync_priority;
mod sync_quorum;

use super::cycle::{Cycle, Maybe, Step, Stop};
use super::{Level, Round, Rule, View};

/// A stage of the cycle. The first that comes to a rule ends it.
struct Stage {
    /// Its name in the diagram.
    name: &'static str,
    /// What it does, for the diagram.
    says: &'static str,
    /// The stage itself.
    run: fn(&mut Cycle<'_>) -> Maybe,
}

/// The order of precedence. `docs/rules.md` is made of this list.
const STAGES: [Stage; 16] = [
    Stage {
        name: "ended jobs",
        says: "what ended jobs leave behind; requests that need no cluster",
        run: jobs::settle,
    },
    Stage { name: "process end", says: "SIGTERM or a fatal finding: stop, release, exit", run: stop::rule },
    Stage {
        name: "store silent",
        says: "no view: a primary steps down unless all members leave it the lead, others wait",
        run: silent::rule,
    },
    Stage { name: "pause", says: "remember entering and leaving of the maintenance mode", run: pause::bookkeeping },
    Stage {
        name: "members",
        says: "a fresh agent that sees nobody gives the others time to come back",
        run: race::begin_patience,
    },
    Stage { name: "demotion", says: "one that is under way: stop, release, wait, follow", run: demote::rule },
    Stage {
        name: "job in progress",
        says: "renew the lock, or cancel what must not go on without it",
        run: long_action::rule,
    },
    Stage { name: "starting", says: "patience with a server that starts under the lock", run: starting::rule },
    Stage {
        name: "bootstrap in progress",
        says: "post_bootstrap, then the keys of a new cluster",
        run: bootstrap::progress,
    },
    Stage { name: "after a start", says: "what came of a start after a failure", run: recover::look_back },
    Stage { name: "data directory", says: "empty: bootstrap or copy; foreign: leave", run: data_dir::rule },
    Stage { name: "stopped, paused", says: "leave it, give up the lock", run: pause::stopped },
    Stage { name: "stopped", says: "crash recovery, rewind, start", run: recover::rule },
    Stage { name: "no leader", says: "the race; promotion of the winner", run: race::rule },
    Stage { name: "my lock", says: "renew, failover, promote, history", run: leader::rule },
    Stage { name: "another's lock", says: "follow; a primary steps down", run: replica::rule },
];

/// Walks the stages.
pub(super) fn walk(view: &View) -> Round {
    let mut cycle = Cycle::new(view);
    let step = match stages(&mut cycle) {
        Err(Stop::Silent) => silent::step_down(&mut cycle),
        other => other,
    };
    let rule = match step {
        Ok(rule) => rule,
        Err(Stop::Need(commands)) => return cycle.into_need(commands),
        Err(Stop::End(rule)) => *rule,
        // The store has been silent twice: the second time the answer was not needed.
        Err(Stop::Silent) => Rule::StoreSilent,
        Err(Stop::Bug(text)) => {
            cycle.log(Level::Error, text);
            Rule::Bug
        }
    };
    requests::refuse_rest(&mut cycle);
    let member_key = member_key::command(&mut cycle, &rule);
    cycle.into_finish(rule, member_key)
}

fn stages(cycle: &mut Cycle<'_>) -> Step {
    slots::enforce_feedback(cycle);
    let rule = first(cycle)?;
    let rule = requests::act(cycle, rule)?;
    let rule = restart::scheduled(cycle, rule)?;
    slots::synchronize(cycle)?;
    let rule = slots::copy(cycle, rule)?;
    jobs::announce_first_start(cycle);
    Ok(rule)
}

fn first(cycle: &mut Cycle<'_>) -> Step {
    for stage in &STAGES {
        match (stage.run)(cycle) {
            Ok(None) => {}
            Ok(Some(rule)) => return Ok(rule),
            Err(Stop::End(rule)) => return Ok(*rule),
            Err(other) => return Err(other),
        }
    }
    Err(Stop::Bug("no stage came to a rule".to_owned()))
}

/// The stages in their order: name and what they do.
pub(super) fn precedence() -> impl Iterator<Item = (&'static str, &'static str)> {
    STAGES.iter().map(|stage| (stage.name, stage.says))
}

#[cfg(test)]
mod docs_tests;
