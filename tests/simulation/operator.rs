//! What the operator does about synchronous replication, and sees of it.

use super::faults::Fault;
use super::life::{BUDGET, Cluster, HEAL_BOUND, STEP};
use super::model_config::{SyncWish, dynamic_for, failsafe};
use patroni::config::settings::SynchronousMode;
use patroni::ha::sync::names;
use serde_json::{Map, Value};
use std::time::Duration;
use tokio::time::sleep;

/// So far a standby may be behind that counts as well.
const SMALL_LAG: u64 = 512 * 1024;
/// A standby that comes into the key has caught up before.
pub const CATCH_UP: Duration = Duration::from_secs(60);

impl Cluster {
    /// A standby falls behind or goes away; it comes back about when the primary is lost, and perhaps the third as well.
    pub async fn lose_primary_after_standby(&self) {
        let Some(leader) = self.primary() else { return };
        let (other, kind) = {
            let mut world = self.world.lock();
            world.faults = true;
            ((leader + world.rng.usize(1..self.nodes())) % self.nodes(), world.rng.u32(0..16))
        };
        let away = if kind & 1 == 0 { Fault::Lagging(other) } else { Fault::NodeLost(other) };
        away.begin(self);
        self.wait(5_000, 40_000).await;
        let early = kind & 2 == 0;
        if early {
            away.end(self);
            self.wait(0, 15_000).await;
        }
        let lost = (0..self.nodes()).filter(|n| *n == leader || kind & 4 == 0 && *n != other);
        let lost: Vec<Fault> = lost.map(Fault::NodeLost).collect();
        lost.iter().for_each(|fault| fault.begin(self));
        self.wait(0, 10_000).await;
        if !early {
            away.end(self);
        }
        self.wait(5_000, 60_000).await;
        lost.iter().for_each(|fault| fault.end(self));
        if kind & 8 == 0 {
            self.lose_next_primary().await;
        }
        self.heal("a standby and the primary were away", HEAL_BOUND).await;
        self.world.lock().faults = false;
    }

    /// Whoever leads next is lost soon after that.
    async fn lose_next_primary(&self) {
        for _ in 0..300 {
            if self.primary().is_some() {
                break;
            }
            sleep(STEP).await;
        }
        self.wait(0, 8_000).await;
        let Some(next) = self.primary() else { return };
        let lost = Fault::NodeLost(next);
        lost.begin(self);
        self.wait(5_000, 60_000).await;
        lost.end(self);
    }

    /// Waits until every standby is near the primary, so that each may take over.
    pub async fn catch_up(&self) {
        for _ in 0..1500 {
            let near = {
                let world = self.world.lock();
                let ends = || world.nodes.iter().take(world.members()).filter_map(|n| n.server.end().map(|e| e.lsn.0));
                ends().max().zip(ends().min()).is_some_and(|(most, least)| most - least < SMALL_LAG)
            };
            if near {
                return;
            }
            sleep(STEP).await;
        }
    }

    /// The dynamic configuration but for the pause.
    pub fn config(&self) -> Map<String, Value> {
        let section = self.world.lock().standby.section;
        let mut data = if self.options.failsafe { failsafe() } else { dynamic_for(section) };
        self.sync.get().into_config(&mut data);
        if self.options.synchronous {
            // The rules of the mode, not the lag, decide who may lead.
            data.insert("maximum_lag_on_failover".to_owned(), (1_u64 << 30).into());
        }
        data
    }

    /// Another synchronous mode, at run time.
    pub async fn change_sync(&self) {
        let wish = SyncWish::draw(&mut self.world.lock().rng);
        self.sync.set(wish);
        self.world.log(format!("operator wants {wish:?}"));
        if !wish.on() {
            self.world.lock().promise.end();
        }
        let config = self.config();
        if let Err(error) = self.operator.write_config(&config, None, BUDGET).await {
            let now = self.world.now();
            return self.world.lock().violate(now, format!("the operator failed: {error}"));
        }
        self.heal("another synchronous mode", HEAL_BOUND).await;
        if wish.on() {
            self.world.lock().promise.begin(wish.mode == SynchronousMode::Quorum);
        }
    }

    /// Members that a switchover may name.
    pub async fn candidates(&self, leader: usize) -> Vec<String> {
        if self.sync.get().mode == SynchronousMode::On {
            return self.operator.load(BUDGET).await.map(|c| c.sync.sync_standby).unwrap_or_default();
        }
        let world = self.world.lock();
        (0..world.members()).filter(|n| *n != leader).map(|n| world.name(n)).collect()
    }

    /// Whether key and list are as they should be in a cluster in which everybody streams. Else why not.
    pub async fn sync_settled(&self) -> Result<(), String> {
        let wish = self.sync.get();
        let state = self.operator.load(BUDGET).await.map_err(|e| e.to_string())?.sync;
        let Some(leader) = self.primary() else { return Err("no leader".to_owned()) };
        let world = self.world.lock();
        let list = world.nodes[leader].server.data.as_ref().map(|d| d.sync_names.clone()).unwrap_or_default();
        let Ok(listed) = names::parse(&list) else { return Err(format!("an unreadable list {list}")) };
        let all = world.members() - 1;
        let count = (wish.count as usize).min(all);
        let (voters, quorum) = match wish.mode {
            SynchronousMode::Off => (0, 0),
            SynchronousMode::On => (count, 0),
            SynchronousMode::Quorum => (all, all - count),
        };
        let key = (state.leader, state.sync_standby.len(), state.quorum as usize);
        let wanted = (wish.on().then(|| world.name(leader)), voters, quorum);
        let waits = if wish.on() { count } else { 0 };
        let same = listed.names == state.sync_standby.iter().collect();
        if (key.clone(), listed.num, same) == (wanted.clone(), waits, true) {
            return Ok(());
        }
        Err(format!("the sync key is {key:?} instead of {wanted:?}, the list '{list}'"))
    }
}
