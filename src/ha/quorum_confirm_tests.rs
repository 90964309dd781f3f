//! Who has what was acknowledged so far, from step to step: also commits of lists that are not in force any more.
//!
//! A standby that came into the list lacks them until it has caught up. What the model takes for granted, as the rules do:
//! one that has caught up gets each commit before the list changes the next time.

use super::*;

/// Both places, and what the standbys have.
#[derive(Clone, Debug)]
struct World {
    at: QuorumState,
    /// Who leads; has everything.
    acting: String,
    /// Who else has everything that was acknowledged before the list of now was set. For anything later the list stands.
    have: NameSet,
    /// Who of the list is known to the leader as one of them.
    known: NameSet,
}

/// What happens before a run, and how far it comes.
#[derive(Clone, Debug)]
struct Turn {
    active: NameSet,
    /// These catch up, as far as they stream and are listed.
    caught_up: NameSet,
    sync_wanted: i64,
    /// The leader forgets what it knew.
    restarted: bool,
    /// Somebody else takes over.
    elected: Option<usize>,
    /// Steps until the leader dies or loses the store.
    cut: usize,
    /// Who acknowledges commits first.
    quick: NameSet,
    /// Whether there are commits before step so and so; the last is that before the takeover.
    commits: u8,
}

prop_compose! {
    fn any_turn()(
        active in mostly(), caught_up in 0_u8..64, sync_wanted in 1_i64..5, restarted in prop::bool::weighted(0.1),
        elected in prop::option::weighted(0.2, 0_usize..6), cut in 0_usize..7,
        quick in 0_u8..64, commits: u8,
    ) -> Turn {
        let (active, caught_up, quick) = (nodes(active), nodes(caught_up), nodes(quick));
        Turn { active, caught_up, sync_wanted, restarted, elected, cut, quick, commits }
    }
}

/// Masks with more ones than zeros.
fn mostly() -> impl Strategy<Value = u8> {
    (0_u8..64, 0_u8..64).prop_map(|(one, other)| one | other)
}

fn nodes(mask: u8) -> NameSet {
    NODES.iter().enumerate().filter(|(at, _)| mask & (1 << at) != 0).map(|(_, name)| name).collect()
}

impl World {
    /// A smallest set that has everything when a commit was acknowledged under the list of now.
    fn commit(&self, quick: &NameSet) -> NameSet {
        let mut have = self.have.intersection(&self.at.sync);
        let quick = quick.intersection(&self.at.sync);
        for name in quick.iter().chain(self.at.sync.iter()) {
            if int(have.len()) < self.at.numsync {
                have.insert(name);
            }
        }
        have
    }

    /// Whether nobody can be elected who lacks something that was acknowledged.
    fn check(&self) -> Result<(), String> {
        sound(&self.at, &self.acting)?;
        let members = self.at.voters.with(&self.at.leader);
        let lacking = members.difference(&self.have.with(&self.acting));
        if int(lacking.len()) > self.at.quorum {
            return Err(format!("({}) elect one of them", lacking.joined()));
        }
        Ok(())
    }

    fn step(&mut self, step: &Transition, commits: bool, quick: &NameSet) {
        if let Transition::Sync { names, .. } = step {
            if commits {
                self.have = self.commit(quick);
            }
            self.known = self.known.intersection(names);
        }
        self.at = apply(&self.at, step);
    }

    /// Another one is promoted, with the list of `list_to_promote_with`. Whoever wins the vote has everything.
    fn elect(&mut self, winner: &str, commits: bool, quick: &NameSet) {
        if winner == self.acting || self.at.voters.is_empty() {
            return;
        }
        if commits {
            self.have = self.commit(quick);
        }
        self.have = self.have.with(&self.acting).without(winner);
        self.known = NameSet::default();
        let members = self.at.voters.with(&self.at.leader);
        let num = int(members.len()) - self.at.quorum - i64::from(members.contains(winner));
        let sync = if num > 0 { members.without(winner) } else { NameSet::default() };
        self.at = QuorumState { numsync: num.max(0), sync, ..self.at.clone() };
        self.acting = winner.to_owned();
    }

    fn goal(&self, turn: &Turn) -> Goal {
        let active = turn.active.without(&self.acting);
        let confirmed = int(self.known.intersection(&active).len());
        Goal { confirmed, active, sync_wanted: turn.sync_wanted, leader: self.acting.clone() }
    }
}

/// A state at rest; enough of its standbys have everything.
fn rest() -> impl Strategy<Value = World> {
    (steady(), 0_u8..64).prop_map(|(at, have)| {
        let mut have = set(have).intersection(&at.sync);
        for name in at.sync.iter() {
            if int(have.len()) < at.numsync {
                have.insert(name);
            }
        }
        World { at, acting: "a".to_owned(), known: have.clone(), have }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1200))]

    /// Standbys come, catch up and go, the factor changes, leaders forget, die between any two steps and are replaced.
    // rows: SYNC-14
    #[test]
    fn nobody_is_elected_who_lacks_a_commit(start in rest(), turns in prop::collection::vec(any_turn(), 1..8)) {
        let mut world = start;
        for turn in &turns {
            if let Some(winner) = turn.elected {
                world.elect(NODES[winner], turn.commits & 0x80 != 0, &turn.quick);
                prop_assert!(world.check().is_ok(), "{:?}: {world:?} after an election", world.check());
            }
            if turn.restarted {
                world.known = NameSet::default();
            }
            let caught_up = turn.caught_up.intersection(&turn.active).intersection(&world.at.sync);
            world.have = world.have.union(&caught_up);
            world.known = world.known.union(&caught_up);
            let before = world.clone();
            let goal = world.goal(turn);
            let (steps, broken) = transitions(world.at.clone(), goal.clone());
            for (at, step) in steps.iter().enumerate().take(turn.cut) {
                world.step(step, turn.commits & (1 << at) != 0, &turn.quick);
                let verdict = world.check();
                prop_assert!(
                    verdict.is_ok(),
                    "{verdict:?}: {step:?} of {steps:?} from {before:?} to {goal:?}, {broken:?}, now {world:?}"
                );
            }
        }
    }
}
