//! Permanent logical slots (SLOT-15 to SLOT-18): created on a primary; on a standby advanced, and proven safe to use.

use super::Server;
use super::connection::{Row, Session, SessionOptions, heartbeat, literal};
use super::replication::{aim_at_primary, member_connection};
use super::slot_step::{Slot, logical_target};
use super::slots::{ADVANCE, is_there};
use super::sql_error::SqlError;
use crate::cluster::{SlotKind, SlotPlan, SlotProof, WantedSlot};
use crate::types::Lsn;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tracing::{error, info, warn};

/// 9.4 and later; runs in the slot's database.
const CREATE: &str = "SELECT pg_catalog.pg_create_logical_replication_slot({name}, {plugin}) WHERE NOT EXISTS \
    (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_type = 'logical' AND slot_name = {name})";
/// All versions. Another start is another server: what was proven holds no more.
const STARTED: &str = "SELECT pg_catalog.pg_postmaster_start_time()::text";
/// 9.4 and later.
const ON_LEADER: &str = "SELECT slot_name, catalog_xmin::text FROM pg_catalog.pg_get_replication_slots() \
    WHERE NOT pg_catalog.pg_is_in_recovery() AND slot_name IN ({names})";
/// All versions.
const FEEDBACK: &str = "SELECT pg_catalog.current_setting('hot_standby_feedback')::boolean";
/// Decoding what lies between two positions takes its time; nothing waits for it.
const ADVANCE_PATIENCE: Duration = Duration::from_secs(3600);

/// What is remembered between passes.
#[derive(Debug, Default)]
pub(super) struct LogicalMemory {
    started: Option<String>,
    /// Logical slots as last loaded.
    slots: Vec<Slot>,
    /// Slots that are not proven, with the catalog_xmin that the leader's had when my feedback began to hold.
    unproven: BTreeMap<String, Option<u64>>,
    /// Slots that cannot be advanced any more.
    to_copy: BTreeSet<String>,
}

/// Creates what is missing, one connection for each database. Returns whether anything was tried.
pub(super) async fn create_missing(server: &Server, plan: &SlotPlan, slots: &[Slot]) -> bool {
    let mut databases: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for wanted in plan.logical().filter(|wanted| slots.iter().all(|slot| slot.name != wanted.name)) {
        if let SlotKind::Logical { database, plugin } = &wanted.kind {
            databases.entry(database).or_default().push((&wanted.name, plugin));
        }
    }
    for (database, missing) in &databases {
        let session = match open(server, database, &SessionOptions::short("")).await {
            Ok(session) => session,
            Err(reason) => {
                error!("Failed to connect to database {database} to create logical replication slots: {reason}");
                continue;
            }
        };
        for (name, plugin) in missing {
            let sql = CREATE.replace("{name}", &literal(name)).replace("{plugin}", &literal(plugin));
            if let Err(reason) = session.query(&sql).await {
                error!("Failed to create logical replication slot '{name}' plugin='{plugin}': {reason}");
            }
        }
    }
    !databases.is_empty()
}

async fn open(server: &Server, database: &str, options: &SessionOptions) -> Result<Session, SqlError> {
    let mut conn = server.local_connection();
    conn.insert("dbname".to_owned(), database.to_owned());
    Session::open(&conn, options).await
}

/// On a standby: which slots must be copied, and which are not proven yet.
pub(super) async fn look(
    server: &Server,
    session: &Session,
    plan: &SlotPlan,
    slots: &[Slot],
) -> Result<(Vec<String>, Vec<String>), SqlError> {
    if plan.primary || plan.logical().next().is_none() {
        server.logical.replace(LogicalMemory::default());
        return Ok((Vec::new(), Vec::new()));
    }
    let started = session.query(STARTED).await?.first().and_then(|row| row.text(0)).map(str::to_owned);
    let mut memory = server.logical.borrow_mut();
    Ok(memory.take_in(started, plan, slots))
}

impl LogicalMemory {
    fn take_in(&mut self, started: Option<String>, plan: &SlotPlan, slots: &[Slot]) -> (Vec<String>, Vec<String>) {
        let there = |wanted: &&WantedSlot| is_there(slots, wanted).is_some();
        if self.started != started {
            self.started = started;
            self.to_copy.clear();
            self.unproven = plan.logical().filter(there).map(|wanted| (wanted.name.clone(), None)).collect();
        }
        self.unproven.retain(|name, _| plan.logical().filter(there).any(|wanted| wanted.name == *name));
        self.slots = plan.logical().filter_map(|wanted| is_there(slots, wanted)).cloned().collect();
        let failed = std::mem::take(&mut self.to_copy);
        // One of the same name that is something else could not be dropped: it is in the way.
        let missing = |wanted: &&WantedSlot| slots.iter().all(|slot| slot.name != wanted.name);
        let copied = |wanted: &&WantedSlot| wanted.lsn.is_some() && (missing(wanted) || failed.contains(&wanted.name));
        let copy = plan.logical().filter(copied).map(|wanted| wanted.name.clone()).collect();
        (copy, self.unproven.keys().cloned().collect())
    }

    /// What can be advanced, by database.
    fn advances(&self, plan: &SlotPlan) -> BTreeMap<String, Vec<(String, Lsn)>> {
        let mut databases: BTreeMap<String, Vec<(String, Lsn)>> = BTreeMap::new();
        for wanted in plan.logical() {
            if let SlotKind::Logical { database, .. } = &wanted.kind
                && let Some(slot) = is_there(&self.slots, wanted)
                && let Some(target) = logical_target(slot, wanted, plan.replay)
            {
                databases.entry(database.clone()).or_default().push((wanted.name.clone(), target));
            }
        }
        databases
    }

    /// The leader's feedback slot holds `feedback`, its logical slots `theirs`: those whose rows are held since before
    /// they were copied, and that need nothing older than what the feedback holds, are safe from now on.
    fn prove(&mut self, feedback: u64, theirs: &BTreeMap<String, Option<u64>>) -> Vec<String> {
        for (name, noted) in &mut self.unproven {
            *noted = noted.or_else(|| theirs.get(name).copied().flatten());
        }
        let own = |name: &str| self.slots.iter().find(|slot| slot.name == name).and_then(|slot| slot.catalog_xmin);
        let safe = |name: &str, noted: Option<u64>| {
            noted.zip(own(name)).is_some_and(|(noted, own)| noted <= feedback && feedback <= own)
        };
        let proven: Vec<String> =
            self.unproven.iter().filter(|(name, noted)| safe(name, **noted)).map(|(name, _)| name.clone()).collect();
        self.unproven.retain(|name, _| !proven.contains(name));
        proven
    }
}

/// The part of a pass that may take long: advances the logical slots of a standby and looks whether they are proven.
pub async fn advance(server: &Server, plan: &SlotPlan) {
    if plan.primary {
        return;
    }
    let advances = server.logical.borrow().advances(plan);
    for (database, slots) in advances {
        if let Err(reason) = advance_in(server, &database, &slots).await {
            error!("Failed to advance replication slots in database {database}: {reason}");
        }
    }
    let waiting = !server.logical.borrow().unproven.is_empty();
    if let Some(proof) = plan.proof.as_ref().filter(|_| waiting) {
        prove(server, proof).await;
    }
}

async fn advance_in(server: &Server, database: &str, slots: &[(String, Lsn)]) -> Result<(), SqlError> {
    let session = open(server, database, &SessionOptions::unlimited()).await?;
    for (name, lsn) in slots {
        let sql = ADVANCE.replace("{lsn}", &lsn.to_string()).replace("{name}", &literal(name));
        let Err(reason) = session.query_within(&sql, ADVANCE_PATIENCE).await else { continue };
        error!("Failed to advance logical replication slot '{name}': {reason}");
        // The WAL is gone, or the slot was invalidated.
        if reason.is("58P01") || reason.is("55000") {
            server.logical.borrow_mut().to_copy.insert(name.clone());
        }
        if session.is_closed() {
            return Err(reason);
        }
    }
    Ok(())
}

async fn prove(server: &Server, proof: &SlotProof) {
    let Some(mine) = &proof.slot else { return };
    let mut names: Vec<String> = server.logical.borrow().unproven.keys().cloned().collect();
    names.push(mine.clone());
    let mut theirs = match slots_on_leader(server, proof, &names).await {
        Ok(slots) => slots,
        Err(reason) => return error!("Failed to check {mine} physical slot on the primary: {reason}"),
    };
    match theirs.remove(mine) {
        None => warn!("Physical slot {mine} does not exist on the primary"),
        Some(None) => check_feedback(server).await,
        Some(Some(feedback)) => {
            for name in server.logical.borrow_mut().prove(feedback, &theirs) {
                info!("Logical slot {name} is safe to be used after a failover");
            }
        }
    }
}

async fn slots_on_leader(
    server: &Server,
    proof: &SlotProof,
    names: &[String],
) -> Result<BTreeMap<String, Option<u64>>, SqlError> {
    let mut conn = member_connection(server, &proof.leader, &server.rewind_user());
    aim_at_primary(&mut conn);
    let session = Session::open(&conn, &SessionOptions::short("")).await?;
    let names: Vec<String> = names.iter().map(|name| literal(name)).collect();
    let rows = session.query(&ON_LEADER.replace("{names}", &names.join(", "))).await?;
    let slot = |row: &Row| Some((row.text(0)?.to_owned(), row.parse(1)));
    Ok(rows.iter().filter_map(slot).collect())
}

/// No feedback reaches the leader: this standby does not stream, or somebody turned it off.
async fn check_feedback(server: &Server) {
    let setting = async { heartbeat(server).await?.query(FEEDBACK).await };
    match setting.await {
        Ok(rows) if rows.first().is_some_and(|row| row.flag(0)) => {}
        Ok(_) => error!("Logical slot failover requires \"hot_standby_feedback\". Please check postgresql.auto.conf"),
        Err(reason) => error!("Failed to check the hot_standby_feedback setting: {reason}"),
    }
}

#[cfg(test)]
#[path = "logical_slots_tests.rs"]
mod tests;
