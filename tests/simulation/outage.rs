//! Outages of the store in fail-safe mode: first nothing else happens, then something does.

use super::faults::Fault;
use super::life::{Cluster, HEAL_BOUND, STEP};
use super::world::Inner;
use actix::Recipient;
use patroni::actors::messages::HearPrimary;
use patroni::types::Mono;
use std::time::Duration;
use tokio::time::sleep;

/// After an outage a new leader may have to wait for the end of a promise, or of one that was perhaps given.
const PROMISE: Duration = Duration::from_secs(30);

/// What the world knows of fail-safe mode.
#[derive(Default)]
pub struct Failsafe {
    /// It is on.
    pub on: bool,
    /// Members agree and forget.
    pub forgets: bool,
    /// Who is in the `failsafe` key, by the store's own account.
    pub map: Vec<usize>,
    /// The primary that all members reach in an outage: it stays.
    pub must_stay: Option<usize>,
}

impl Failsafe {
    pub fn begin(&mut self, on: bool, forgets: bool) {
        (self.on, self.forgets) = (on, forgets);
    }
}

/// What a node says to a primary without a store.
#[derive(Default)]
pub struct Word {
    /// Where the call goes.
    pub hear: Option<Recipient<HearPrimary>>,
    /// Whom it has left in the lead, and until when; a restart of its agent changes nothing about that.
    pub promise: Option<(usize, Mono)>,
}

impl Inner {
    /// Whether all members that could lead instead have left this node in the lead, by their own account.
    pub fn is_promised(&self, node: usize, now: Mono) -> bool {
        let word = |n: usize| self.nodes[n].word.promise.is_some_and(|(to, end)| to == node && now < end);
        self.failsafe.map.contains(&node) && self.failsafe.map.iter().all(|n| *n == node || word(*n))
    }
}

impl Cluster {
    /// The store goes away, for all or for the primary alone, from a cluster that is whole.
    pub(super) async fn outage(&self) {
        self.members_known().await;
        self.map_known().await;
        let Some(primary) = self.primary() else { return };
        let others: Vec<usize> = (0..self.nodes()).filter(|n| *n != primary).collect();
        let (alone, harmed, restarted, victim) = {
            let mut world = self.world.lock();
            let victim = world.rng.usize(0..others.len());
            (world.rng.bool(), world.rng.bool(), world.rng.bool(), others[victim])
        };
        let away = if alone { Fault::StoreCut(primary) } else { Fault::StoreDown };
        let promotions = {
            let mut world = self.world.lock();
            world.faults = true;
            world.failsafe.must_stay = Some(primary);
            world.promotions
        };
        away.begin(self);
        self.wait(20_000, 150_000).await;
        let now = self.world.now();
        if self.world.lock().promotions != promotions {
            self.world.lock().violate(now, "somebody was promoted beside a primary that all members reach".to_owned());
        }
        let mut faults = Vec::new();
        if harmed {
            self.world.lock().failsafe.must_stay = None;
            faults = if restarted { vec![Fault::LinkCut(primary, victim)] } else { self.harms(primary, victim) };
            faults.iter().for_each(|fault| fault.begin(self));
            if restarted {
                // Who has just left the primary in the lead forgets it, and does not reach it any more.
                self.kill_agent(victim);
                self.start_agent(victim);
            }
            self.wait(1_000, 90_000).await;
        }
        // In an order of its own: the store may be back before the rest.
        if self.world.lock().rng.bool() {
            away.end(self);
            self.wait(0, 40_000).await;
        }
        self.world.lock().failsafe.must_stay = None;
        faults.iter().for_each(|fault| fault.end(self));
        away.end(self);
        self.heal("an outage", HEAL_BOUND + PROMISE).await;
        self.world.lock().faults = false;
    }

    fn harms(&self, primary: usize, victim: usize) -> Vec<Fault> {
        let pick = self.world.lock().rng.u32(0..8);
        vec![match pick {
            0 => Fault::LinkCut(primary, victim),
            1 => Fault::Isolated(primary),
            2 => Fault::AgentKilled(primary),
            3 => Fault::AgentKilled(victim),
            4 => Fault::NodeLost(primary),
            5 => Fault::NodeLost(victim),
            6 => Fault::PostgresFrozen(primary),
            _ => Fault::PeersSlow,
        }]
    }

    /// Waits until the leader has read a map of all members.
    async fn map_known(&self) {
        for _ in 0..300 {
            let whole = self.primary().is_some_and(|primary| {
                let world = self.world.lock();
                let snapshot = world.nodes[primary].snapshot.as_ref().map(|s| s.borrow().clone());
                let map = snapshot.and_then(|s| s.cluster.as_ref().and_then(|(c, _)| c.failsafe.clone()));
                map.is_some_and(|map| map.len() == world.nodes.len())
            });
            if whole {
                return;
            }
            sleep(STEP).await;
        }
        let now = self.world.now();
        self.world.lock().violate(now, "the failsafe map does not have all members".to_owned());
    }
}
