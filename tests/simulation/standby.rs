//! The remote server of a standby cluster, and the turns of the cluster: into a standby cluster and back.
//!
//! The remote server is a node without an agent: an operator far away promotes it, and makes it a standby again.

use super::checker::whole;
use super::life::Cluster;
use super::model_config::dynamic_for;
use super::model_postgres::FIRST_LSN;
use super::server::{Data, Process, Source};
use super::wal::Position;
use super::world::{Inner, World};
use patroni::cluster::{ControlState, Postmaster};
use patroni::types::{Mono, SystemId, Timeline};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::sleep;

/// The name under which members know it.
pub const REMOTE: &str = "remote_member";
/// Every member stops and starts once; perhaps each of them is rewound, those below the leader after the leader.
const TURN_BOUND: Duration = Duration::from_secs(120);
const STEP: Duration = Duration::from_millis(200);

/// What the cluster is to the remote server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standby {
    /// Index of the remote server among the nodes.
    pub remote: Option<usize>,
    /// The section stands in the dynamic configuration.
    pub section: bool,
    /// It has been seen as a whole standby cluster since: from now on no member may be a primary.
    pub settled: bool,
    pub turns: u64,
}

impl Inner {
    /// How many nodes are members of the cluster.
    pub fn members(&self) -> usize {
        self.standby.remote.unwrap_or(self.nodes.len())
    }

    /// The data of a remote cluster that was there first.
    pub fn found_remote(&mut self, now: Mono) {
        let Some(remote) = self.standby.remote else { return };
        let branch = self.wal.root();
        self.nodes[remote].server.data = Some(Data {
            system_id: SystemId(7_100_000_000_000_000_000),
            end: Position { branch, lsn: FIRST_LSN },
            replayed: FIRST_LSN,
            control: ControlState::InProduction,
            checkpoint: FIRST_LSN,
            checkpoint_timeline: Timeline(1),
            standby_signal: false,
            upstream: None,
            slots: BTreeMap::new(),
            sync_names: String::new(),
            fresh: false,
        });
        self.run_remote(now, false);
    }

    fn run_remote(&mut self, now: Mono, in_recovery: bool) {
        let pid = self.next_pid();
        let Some(remote) = self.standby.remote else { return };
        self.nodes[remote].server.process = Some(Process {
            postmaster: Postmaster { pid, start_ticks: 1 },
            started: now,
            ready_at: now,
            in_recovery,
            upstream: None,
            streaming: false,
            in_flight: 0,
            promote_at: None,
            stopping: None,
        });
    }

    /// As a standby it streams from whoever leads the cluster, and is copied anew when it has diverged; as a primary it
    /// makes its checkpoints at once.
    pub fn tend_remote(&mut self, now: Mono) {
        let Some(remote) = self.standby.remote else { return };
        if self.nodes[remote].server.writable(now) {
            let end = self.nodes[remote].server.end();
            let timeline = end.map(|end| self.wal.timeline(end.branch));
            if let (Some(data), Some(timeline)) = (&mut self.nodes[remote].server.data, timeline) {
                data.checkpoint_timeline = timeline;
            }
            return;
        }
        let leads = |n: &usize| self.nodes[*n].server.writable(now) && self.has_lease(*n, now);
        let Some(leader) = (0..self.members()).find(leads).filter(|_| !self.standby.section) else { return };
        let theirs = self.nodes[leader].server.data.clone();
        let mine = self.nodes[remote].server.end();
        let fits = mine.zip(theirs.as_ref()).is_some_and(|(mine, theirs)| self.wal.contains(theirs.end, mine));
        if !fits {
            self.nodes[remote].server.data = theirs;
        }
        if self.nodes[remote].server.process.is_none() {
            self.run_remote(now, true);
        }
        let source = Source { name: self.name(leader), slot: None };
        if let Some(process) = &mut self.nodes[remote].server.process {
            process.upstream = Some(source);
        }
    }

    /// No member of a standby cluster is a primary, or on its way to be one.
    pub fn check_standby(&mut self, now: Mono) {
        if !self.standby.settled {
            return;
        }
        for node in 0..self.members() {
            if self.is_or_becomes_primary(node) {
                let text = format!("{} is a primary in a standby cluster", self.name(node));
                if !self.violations.contains(&text) {
                    self.violate(now, text);
                }
            }
        }
    }

    fn is_or_becomes_primary(&self, node: usize) -> bool {
        let process = self.nodes[node].server.process.as_ref();
        process.is_some_and(|p| !p.in_recovery || p.promote_at.is_some())
    }
}

/// Whether the standby cluster is whole: its leader streams from the remote server, everybody else from the leader.
pub fn whole_standby(world: &World, remote: usize) -> Result<(), String> {
    let now = world.now();
    let inner = world.lock();
    let members = 0..inner.members();
    if let Some(primary) = members.clone().find(|n| inner.is_or_becomes_primary(*n)) {
        return Err(format!("{} is a primary", inner.name(primary)));
    }
    let Some(leader) = members.clone().find(|n| inner.has_lease(*n, now)) else {
        return Err("nobody holds the leader key".to_owned());
    };
    let branch = inner.nodes[remote].server.end().map(|end| end.branch);
    for node in members {
        let source = if node == leader { remote } else { leader };
        if !inner.nodes[node].agent {
            return Err(format!("the agent of {} does not run", inner.name(node)));
        }
        if inner.streams_from(node, now) != Some(source) {
            return Err(format!("{} does not stream from {}", inner.name(node), inner.name(source)));
        }
        if inner.nodes[node].server.end().map(|end| end.branch) != branch {
            return Err(format!("{} is on another timeline", inner.name(node)));
        }
    }
    Ok(())
}

impl Cluster {
    /// The cluster as it should be in this moment of its life.
    pub fn is_whole(&self) -> Result<(), String> {
        let standby = self.world.lock().standby;
        match standby.remote.filter(|_| standby.section) {
            Some(remote) => whole_standby(&self.world, remote),
            None => whole(&self.world),
        }
    }

    /// Who leads it: the writable primary with the key, or whoever holds the key of a standby cluster.
    pub fn leader(&self) -> Option<usize> {
        if !self.world.lock().standby.section {
            return self.primary();
        }
        let now = self.world.now();
        let world = self.world.lock();
        (0..world.members()).find(|n| world.has_lease(*n, now) && world.nodes[*n].server.ready(now))
    }

    /// The cluster becomes a standby cluster, or a primary one again; perhaps something befalls it meanwhile.
    pub async fn turn(&self) {
        self.members_known().await;
        self.world.lock().standby.turns += 1;
        if self.world.lock().standby.section {
            self.world.log("operator: the cluster stands alone".to_owned());
            self.retire_remote();
            self.set_section(false).await;
            self.heal("promotion of the cluster", TURN_BOUND).await;
        } else {
            self.world.log("operator: the cluster becomes a standby cluster".to_owned());
            self.set_section(true).await;
            self.disturb().await;
            self.await_demotion().await;
            self.promote_remote();
            self.heal("demotion of the cluster", TURN_BOUND).await;
        }
    }

    /// After the first bootstrap, and after each turn: what the checker may count on.
    pub fn settle(&self) {
        let mut world = self.world.lock();
        world.standby.settled = world.standby.section;
    }

    async fn disturb(&self) {
        if self.world.lock().rng.u32(0..3) > 0 {
            return;
        }
        self.world.lock().faults = true;
        self.wait(0, 5_000).await;
        let fault = self.draw();
        fault.begin(self);
        self.wait(1_000, 30_000).await;
        fault.end(self);
        self.world.lock().faults = false;
    }

    /// No member is a primary any more.
    async fn await_demotion(&self) {
        let deadline = self.world.now() + TURN_BOUND;
        loop {
            self.restart_ended();
            let primary = {
                let world = self.world.lock();
                (0..world.members()).find(|n| world.is_or_becomes_primary(*n))
            };
            let Some(primary) = primary else { return };
            let now = self.world.now();
            if now > deadline {
                let mut world = self.world.lock();
                let text = format!("{} is a primary still after the cluster's demotion", world.name(primary));
                return world.violate(now, text);
            }
            sleep(STEP).await;
        }
    }

    async fn set_section(&self, section: bool) {
        {
            let mut world = self.world.lock();
            world.standby.section = section;
            world.standby.settled = false;
        }
        if let Err(error) = self.operator.write_config(&dynamic_for(section), None, super::life::BUDGET).await {
            let now = self.world.now();
            self.world.lock().violate(now, format!("the operator failed: {error}"));
        }
    }

    fn promote_remote(&self) {
        let now = self.world.now();
        let mut world = self.world.lock();
        let remote = world.standby.remote.unwrap_or_default();
        if let Some(process) = world.process(remote) {
            process.promote_at = Some(now);
        }
    }

    fn retire_remote(&self) {
        let now = self.world.now();
        self.world.lock().run_remote(now, true);
    }
}
