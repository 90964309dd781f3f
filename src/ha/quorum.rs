//! Quorum mode: the steps from any state of `synchronous_standby_names` and the `sync` key to the wanted one (SYNC-12,
//! SYNC-14; ha-rules 15).
//!
//! A commit waits for `numsync` of the nodes in `sync`, besides the leader. A candidate needs `quorum` + 1 nodes of
//! `voters` and the leader that are not ahead of it. After each single step every such commit set and every such vote
//! share a node: the promise is made stronger before anybody relies on it, and weaker only when nobody does any more.
//! Whoever carries the steps out may stop after any of them; the next run begins from what is there then.

use super::sync::NameSet;

/// Both places at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuorumState {
    /// `leader` of the key.
    pub leader: String,
    /// `quorum` of the key.
    pub quorum: i64,
    /// `sync_standby` of the key.
    pub voters: NameSet,
    /// How many standbys a commit waits for.
    pub numsync: i64,
    /// The standbys that it may wait for.
    pub sync: NameSet,
}

/// What is to be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goal {
    /// How many of the list have reached the position at which they came into it.
    pub confirmed: i64,
    /// Standbys that stream and may be in the list.
    pub active: NameSet,
    /// `synchronous_node_count`.
    pub sync_wanted: i64,
    /// Who leads.
    pub leader: String,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transition {
    /// Write the key.
    Quorum {
        /// `leader`.
        leader: String,
        /// `quorum`.
        quorum: i64,
        /// `sync_standby`.
        voters: NameSet,
    },
    /// Set the list.
    Sync {
        /// How many.
        num: i64,
        /// Of whom.
        names: NameSet,
    },
    /// Nobody has confirmed anything yet: look again in a moment.
    Restart,
}

/// Why steps end before the goal is reached.
enum Stop {
    Restart,
    Broken(String),
}

type Done = Result<(), Stop>;

impl QuorumState {
    /// Whether each commit set and each vote share a node (I1), and one of the lists holds the other (I2). `leader`: who
    /// leads now.
    ///
    /// # Errors
    /// Which of it does not hold.
    pub fn check(&self, leader: &str) -> Result<(), String> {
        let voters = self.voters.with(&self.leader);
        let sync = self.sync.with(leader);
        let nodes = int(voters.union(&sync).len());
        if !self.voters.is_empty() && nodes > self.quorum + self.numsync + 1 {
            let (quorum, numsync) = (self.quorum, self.numsync);
            return Err(format!(
                "Quorum and sync not guaranteed to overlap: nodes {nodes} >= quorum {quorum} + sync {numsync} + 1"
            ));
        }
        if !voters.is_subset(&sync) && !sync.is_subset(&voters) {
            let (voters_only, sync_only) = (voters.difference(&sync).as_list(), sync.difference(&voters).as_list());
            return Err(format!("Mismatched sets: voter only={voters_only} sync only={sync_only}"));
        }
        Ok(())
    }
}

/// The steps from `state` to `goal`; what was found to be broken, for the log.
#[must_use]
pub fn transitions(state: QuorumState, goal: Goal) -> (Vec<Transition>, Option<String>) {
    let numsync = state.numsync.min(int(state.sync.len()));
    let state = QuorumState { numsync, ..state };
    let mut resolver = Resolver { last: state.clone(), state, goal, steps: Vec::new(), broken: None };
    match resolver.run() {
        Ok(()) => {}
        Err(Stop::Restart) => resolver.steps.push(Transition::Restart),
        Err(Stop::Broken(why)) => {
            resolver.broken = Some(why);
            resolver.take_the_long_way();
        }
    }
    (collapse(resolver.steps), resolver.broken)
}

/// Of several steps of one kind in a row nobody sees but the last.
fn collapse(steps: Vec<Transition>) -> Vec<Transition> {
    let mut kept: Vec<Transition> = Vec::new();
    for step in steps {
        let same = kept.last().is_some_and(|last| std::mem::discriminant(last) == std::mem::discriminant(&step));
        if same {
            kept.pop();
        }
        kept.push(step);
    }
    kept
}

fn int(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

/// The first `count` names, or all.
fn first(names: &NameSet, count: i64, from_the_end: bool) -> NameSet {
    let count = usize::try_from(count).unwrap_or(0);
    if from_the_end { names.iter().rev().take(count).collect() } else { names.iter().take(count).collect() }
}

struct Resolver {
    state: QuorumState,
    /// As it is after the last of the steps.
    last: QuorumState,
    goal: Goal,
    steps: Vec<Transition>,
    broken: Option<String>,
}

impl Resolver {
    fn run(&mut self) -> Done {
        if self.state.leader.to_lowercase() == self.goal.leader.to_lowercase() {
            if let Err(why) = self.state.check(&self.goal.leader) {
                self.repair(why);
            }
        } else if !self.change_leader()? {
            return Ok(());
        }
        self.finish_half()?;
        self.remove_gone()?;
        self.add_new()?;
        self.change_factor()
    }

    // --- single steps ---

    /// Writes the key, with more votes than `quorum` for as long as fewer standbys have confirmed than a commit waits for.
    fn key(&mut self, quorum: i64, voters: NameSet) -> Done {
        if quorum < 0 || quorum > 0 && quorum >= int(voters.len()) {
            return Err(Stop::Broken(format!("Quorum {quorum} of ({})", voters.joined())));
        }
        let (quorum, voters) = if self.goal.confirmed == 0 && self.state.voters.is_empty() {
            // Nobody is known to have everything: nobody may vote.
            (0, NameSet::default())
        } else {
            (quorum.max(self.may_lack(&voters)), voters)
        };
        if (quorum, &voters) == (self.state.quorum, &self.state.voters) {
            return if self.state.voters.is_empty() { Err(Stop::Restart) } else { Ok(()) };
        }
        self.state.quorum = quorum;
        self.state.voters = voters;
        self.push_key()
    }

    /// How many of them may lack something that was acknowledged before they came into the list: all but the confirmed
    /// ones, or as many as the key of now expects and the new ones. After a restart or a failover only that is known.
    fn may_lack(&self, voters: &NameSet) -> i64 {
        let strangers = int(voters.difference(&self.state.voters).len());
        (self.state.quorum + strangers).min(int(voters.len()) - self.goal.confirmed)
    }

    fn push_key(&mut self) -> Done {
        self.state.check(&self.goal.leader).map_err(Stop::Broken)?;
        let QuorumState { leader, quorum, voters, .. } = self.state.clone();
        self.push(Transition::Quorum { leader, quorum, voters });
        Ok(())
    }

    /// Sets the list.
    fn list(&mut self, num: i64, names: NameSet) -> Done {
        if num < 0 || num > int(names.len()) {
            return Err(Stop::Broken(format!("Sync {num} of ({})", names.joined())));
        }
        self.state.numsync = num;
        self.state.sync = names.clone();
        self.state.check(&self.goal.leader).map_err(Stop::Broken)?;
        self.push(Transition::Sync { num, names });
        Ok(())
    }

    fn push(&mut self, step: Transition) {
        self.last.clone_from(&self.state);
        self.steps.push(step);
    }

    /// There is no way over states in which votes are possible: without voters nobody but the leader is ever elected, and
    /// the list may become anything. Those of it who have confirmed vote again in a later run.
    fn take_the_long_way(&mut self) {
        self.state.clone_from(&self.last);
        let empty = self.state.voters.is_empty();
        if !empty || self.state.leader != self.goal.leader {
            self.state.leader.clone_from(&self.goal.leader);
            self.state.quorum = 0;
            self.state.voters = NameSet::default();
            let (leader, voters) = (self.state.leader.clone(), NameSet::default());
            self.push(Transition::Quorum { leader, quorum: 0, voters });
        }
        let names = self.goal.active.clone();
        let num = self.goal.sync_wanted.min(int(names.len()));
        if names != self.state.sync || num != self.state.numsync {
            self.state.sync = names.clone();
            self.state.numsync = num;
            self.push(Transition::Sync { num, names });
        }
        if !empty {
            self.steps.push(Transition::Restart);
        }
    }

    // --- phases ---

    /// Somebody else wrote the key: I was promoted. The old leader joins the voters: it has all commits of its own.
    /// Returns whether to go on; without a connected standby the others get another cycle to come back.
    fn change_leader(&mut self) -> Result<bool, Stop> {
        let voters = self.state.voters.without(&self.goal.leader).with(&self.state.leader);
        if self.state.sync.is_empty() {
            let num = int(voters.len()) - self.state.quorum;
            if num < 0 {
                self.state.leader.clone_from(&self.goal.leader);
                self.repair(format!("Quorum {} of ({})", self.state.quorum, voters.joined()));
                return Ok(!self.state.sync.intersection(&self.goal.active).is_empty());
            }
            self.state.numsync = num;
            self.state.sync = voters.clone();
            self.push(Transition::Sync { num, names: voters.clone() });
        }
        self.state.leader.clone_from(&self.goal.leader);
        self.state.voters = voters;
        let sound = self.state.quorum == 0 || self.state.quorum < int(self.state.voters.len());
        match self.state.check(&self.goal.leader) {
            Ok(()) if sound => self.push_key()?,
            Ok(()) => self.repair(format!("Quorum {} of ({})", self.state.quorum, self.state.voters.joined())),
            Err(why) => self.repair(why),
        }
        Ok(!self.state.sync.intersection(&self.goal.active).is_empty())
    }

    /// What is there makes no sense: the key is made to fit the list, which is what commits really wait for.
    fn repair(&mut self, why: String) {
        self.broken = Some(why);
        self.state.voters = if self.state.numsync > 0 { self.state.sync.clone() } else { NameSet::default() };
        self.state.quorum = (int(self.state.voters.len()) - self.state.numsync).max(0);
        let QuorumState { leader, quorum, voters, .. } = self.state.clone();
        self.push(Transition::Quorum { leader, quorum, voters });
    }

    /// An earlier run was interrupted between its steps.
    fn finish_half(&mut self) -> Done {
        if self.state.sync.is_proper_subset(&self.state.voters) {
            self.list_behind()?;
        } else if self.state.voters.is_proper_subset(&self.state.sync) {
            self.key_behind()?;
        }
        if self.state.voters != self.state.sync {
            return Err(Stop::Broken(format!(
                "voters ({}) and synchronous standbys ({}) could not be made equal",
                self.state.voters.joined(),
                self.state.sync.joined()
            )));
        }
        self.release_surplus()
    }

    /// The key has more names than the list.
    fn list_behind(&mut self) -> Done {
        let known = self.state.sync.union(&self.goal.active);
        let dead = self.state.voters.difference(&known);
        if !dead.is_empty() {
            let voters = self.state.voters.difference(&dead);
            self.key(int(voters.len()) - self.state.numsync, voters)?;
        }
        let add = self.state.voters.intersection(&self.goal.active).difference(&self.state.sync);
        if add.is_empty() { Ok(()) } else { self.list(self.state.numsync, self.state.sync.union(&add)) }
    }

    /// The list has more names than the key.
    fn key_behind(&mut self) -> Done {
        let living = self.state.sync.intersection(&self.goal.active);
        let shared = self.state.voters.is_empty() || !living.intersection(&self.state.voters).is_empty();
        if living != self.state.sync && !living.is_empty() && shared {
            self.list(self.state.numsync.min(int(living.len())), living)?;
        }
        let add = self.state.sync.difference(&self.state.voters).intersection(&self.goal.active);
        if !add.is_empty() {
            let voters = self.state.voters.union(&add);
            self.key(int(voters.len()) - self.state.numsync, voters)?;
        }
        let rest = self.state.sync.difference(&self.state.voters);
        if rest.is_empty() {
            return Ok(());
        }
        let names = self.state.sync.difference(&rest);
        self.list(self.state.numsync.min(int(names.len())), names)
    }

    /// More is promised than is needed.
    fn release_surplus(&mut self) -> Done {
        let (numsync, listed) = (self.state.numsync, int(self.state.sync.len()));
        let certain = self.state.quorum + numsync.min(self.goal.confirmed) - listed;
        if certain > 0 {
            if numsync > self.goal.sync_wanted {
                let num = self.goal.sync_wanted.max(int(self.state.voters.len()) - self.state.quorum);
                self.list(num, self.state.sync.clone())
            } else {
                self.key(listed - numsync, self.state.voters.clone())
            }
        } else {
            Ok(())
        }
    }

    /// Standbys of the list that are not there any more.
    fn remove_gone(&mut self) -> Done {
        let mut gone = self.state.sync.difference(&self.goal.active);
        if gone.is_empty() {
            return Ok(());
        }
        if gone == self.state.sync {
            self.key(0, NameSet::default())?;
            return self.list(0, NameSet::default());
        }
        if self.state.quorum > 0 {
            let remove = first(&gone, self.state.quorum, true);
            let sync = self.state.sync.difference(&remove);
            let num = self.state.numsync.max(self.goal.sync_wanted).min(int(sync.len()));
            self.list(num, sync)?;
            let voters = self.state.voters.difference(&remove);
            gone = gone.intersection(&self.state.sync);
            self.key(int(voters.len()) - self.state.numsync, voters)?;
        }
        if gone.is_empty() {
            return Ok(());
        }
        if self.state.quorum != 0 {
            return Err(Stop::Broken(format!("quorum {} is left with standbys that are gone", self.state.quorum)));
        }
        let num = self.state.numsync - int(gone.len());
        let sync = self.state.sync.difference(&gone);
        let voters = self.state.voters.difference(&gone);
        let surplus = num - self.goal.sync_wanted.min(int(sync.len()));
        let quorum = if surplus == 0 { 0 } else { surplus.min(int(voters.len()) - 1) };
        self.key(quorum, voters)?;
        self.list(num, sync)
    }

    /// Standbys that have come.
    fn add_new(&mut self) -> Done {
        let mut add = self.goal.active.difference(&self.state.sync);
        if add.is_empty() {
            return Ok(());
        }
        let wanted = self.goal.sync_wanted.min(int(self.state.sync.union(&add).len()));
        let missing = wanted - self.state.numsync;
        if missing > 0 {
            // All at once where there is only the leader.
            let some = if self.state.sync.is_empty() { add.clone() } else { first(&add, missing, false) };
            let more = if self.state.sync.is_empty() { missing } else { int(some.len()) };
            self.list(self.state.numsync + more, self.state.sync.union(&some))?;
            let voters = self.state.voters.union(&some);
            self.key(int(voters.len()) - wanted, voters)?;
            add = add.difference(&self.state.sync);
        }
        if add.is_empty() {
            return Ok(());
        }
        let voters = self.state.voters.union(&add);
        self.key(int(voters.len()) - wanted, voters)?;
        self.list(wanted, self.state.sync.union(&add))
    }

    /// Another replication factor is wanted.
    fn change_factor(&mut self) -> Done {
        let more = self.goal.sync_wanted.min(int(self.state.sync.len())) - self.state.numsync;
        if more > 0 {
            self.list(self.state.numsync + more, self.state.sync.clone())?;
            return self.key(int(self.state.voters.len()) - self.state.numsync, self.state.voters.clone());
        }
        if more < 0 {
            let voters = int(self.state.voters.len());
            self.key(voters - self.state.numsync - more, self.state.voters.clone())?;
            return self.list(self.state.numsync + more, self.state.sync.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "quorum_tests.rs"]
mod tests;
