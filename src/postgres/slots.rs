//! A pass over the replication slots of the own server (SLOT-01 to SLOT-15). Whatever fails is logged and does not stop
//! the rest.

use super::connection::{Row, Session, forget_broken, heartbeat, literal};
use super::slot_step::{self, Reason, Slot, Step};
use super::sql_error::{SqlError, Stage};
use super::{PgError, Server, logical_slots};
use crate::cluster::{SlotKind, SlotPlan, SlotReport, WantedSlot};
use crate::types::{Lsn, PgVersion};
use tracing::{error, info, warn};

/// 9.4 and later. Temporary slots (10+) belong to their sessions, failover slots (17+) to PostgreSQL's own
/// synchronisation: both are left alone (SLOT-12).
const LOAD: &str = "SELECT slot_name, slot_type, restart_lsn::text, active, xmin::text, plugin, database, {wal_status}, \
    {catalog} FROM pg_catalog.pg_replication_slots{where}";
/// 9.4 and later: drops the slot unless it is active, in one step; tells whether it was active and whether it is gone.
const DROP: &str = "WITH slots AS (SELECT slot_name, active FROM pg_catalog.pg_replication_slots \
    WHERE slot_name = {name}), \
    dropped AS (SELECT pg_catalog.pg_drop_replication_slot(slot_name), true AS dropped FROM slots WHERE not active) \
    SELECT active, COALESCE(dropped, false) FROM slots FULL OUTER JOIN dropped ON true";
/// 9.4 and later; `{reserve}` is `, true` from 9.6: WAL is kept from now on, not from the first connection.
const CREATE: &str = "SELECT pg_catalog.pg_create_physical_replication_slot({name}{reserve}) WHERE NOT EXISTS \
    (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical' AND slot_name = {name})";
/// 11 and later.
pub(super) const ADVANCE: &str = "SELECT pg_catalog.pg_replication_slot_advance({name}, '{lsn}')";

/// Makes the slots as planned. Servers before 9.4 have none.
pub async fn sync_slots(server: &Server, plan: &SlotPlan) -> Result<SlotReport, PgError> {
    let session = heartbeat(server).await?;
    let result = sync_on(server, &session, plan).await;
    forget_broken(server, &session, result.as_ref().err()).await;
    Ok(result?)
}

async fn sync_on(server: &Server, session: &Session, plan: &SlotPlan) -> Result<SlotReport, SqlError> {
    let version = session.version();
    if !version.at_least(90_400) {
        return Ok(SlotReport::default());
    }
    let mut slots = load(session).await?;
    let mut changed = drop_incorrect(session, plan, &mut slots).await?;
    for wanted in plan.slots.iter().filter(|wanted| !wanted.is_logical()) {
        let present = slots.iter().find(|slot| slot.name == wanted.name);
        match slot_step::physical(present, wanted, plan.drop_xmin, version) {
            Step::Keep => {}
            Step::Create => changed |= create(session, &wanted.name).await?,
            Step::Replace(reason) => {
                announce(reason, present, &wanted.name);
                changed = true;
                if drop_slot(session, &wanted.name).await? {
                    create(session, &wanted.name).await?;
                }
            }
            Step::Advance(lsn) => changed |= advance(session, &wanted.name, lsn).await?,
        }
    }
    if plan.primary {
        changed |= logical_slots::create_missing(server, plan, &slots).await;
    }
    if changed {
        slots = load(session).await?;
    }
    let (copy, unproven) = logical_slots::look(server, session, plan, &slots).await?;
    let there = |slot: &Slot| plan.wanted(&slot.name).is_some_and(|wanted| wanted.kind == slot.kind());
    let report = |slot: Slot| (slot.name.clone(), slot.position(), slot.active);
    Ok(SlotReport { slots: slots.into_iter().filter(there).map(report).collect(), copy, unproven })
}

/// Drops what is not wanted, has lost its WAL, or is something else than it should be. What is gone leaves `slots`.
async fn drop_incorrect(session: &Session, plan: &SlotPlan, slots: &mut Vec<Slot>) -> Result<bool, SqlError> {
    let mut gone = Vec::new();
    let mut changed = false;
    for slot in slots.iter() {
        let wanted = plan.wanted(&slot.name);
        let disposable = plan.drop_unknown && !slot_step::is_ignored(slot, &plan.ignore);
        match wanted {
            None if disposable => info!("Trying to drop unknown replication slot '{}'", slot.name),
            Some(_) if disposable && slot.lost => {
                info!("Trying to drop replication slot '{}' with wal_status=lost", slot.name);
            }
            Some(wanted) if wanted.kind != slot.kind() => info!(
                "Trying to drop replication slot '{}' because value is changing from {} to {}",
                slot.name,
                describe(&slot.kind()),
                describe(&wanted.kind)
            ),
            _ => continue,
        }
        changed = true;
        if drop_slot(session, &slot.name).await? {
            gone.push(slot.name.clone());
        }
    }
    slots.retain(|slot| !gone.contains(&slot.name));
    Ok(changed)
}

fn describe(kind: &SlotKind) -> String {
    match kind {
        SlotKind::Physical => "{'type': 'physical'}".to_owned(),
        SlotKind::Logical { database, plugin } => {
            format!("{{'type': 'logical', 'plugin': '{plugin}', 'database': '{database}'}}")
        }
    }
}

fn announce(reason: Reason, present: Option<&Slot>, name: &str) {
    match reason {
        Reason::Xmin => {
            let xmin = present.and_then(|slot| slot.xmin.as_deref()).unwrap_or_default();
            warn!("Dropping physical replication slot {name} because of its xmin value {xmin}");
        }
        Reason::NoRestartLsn => warn!(
            "Dropping physical replication slot {name} because it has no restart_lsn. \
             This slot was probably not created by Patroni, but by an external agent."
        ),
    }
}

async fn load(session: &Session) -> Result<Vec<Slot>, SqlError> {
    let version = session.version();
    let rows = session.query(&load_statement(version)).await?;
    Ok(rows.iter().filter_map(slot_of).collect())
}

fn load_statement(version: PgVersion) -> String {
    let filter = if version.at_least(170_000) {
        " WHERE NOT temporary AND NOT failover"
    } else if version.at_least(100_000) {
        " WHERE NOT temporary"
    } else {
        ""
    };
    let wal_status = if version.at_least(130_000) { "wal_status" } else { "NULL" };
    let catalog =
        if version.at_least(100_000) { "catalog_xmin::text, confirmed_flush_lsn::text" } else { "NULL, NULL" };
    LOAD.replace("{wal_status}", wal_status).replace("{catalog}", catalog).replace("{where}", filter)
}

fn slot_of(row: &Row) -> Option<Slot> {
    let text = |column| row.text(column).map(str::to_owned);
    Some(Slot {
        name: text(0)?,
        logical: (row.text(1) == Some("logical")).then(|| (text(6).unwrap_or_default(), text(5).unwrap_or_default())),
        restart_lsn: row.parse(2),
        active: row.flag(3),
        xmin: text(4),
        lost: row.text(7) == Some("lost"),
        catalog_xmin: row.parse(8),
        confirmed_flush: row.parse(9),
    })
}

/// A refused statement is logged; a broken connection ends the work.
fn tolerate<T>(result: Result<T, SqlError>, what: &str) -> Result<Option<T>, SqlError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.stage == Stage::Statement => {
            error!("{what}: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Whether the slot is gone.
async fn drop_slot(session: &Session, name: &str) -> Result<bool, SqlError> {
    let failure = format!("Failed to drop replication slot '{name}'");
    let Some(rows) = tolerate(session.query(&DROP.replace("{name}", &literal(name))).await, &failure)? else {
        return Ok(false);
    };
    match rows.first().map(|row| (row.flag(0), row.flag(1))) {
        Some((_, true)) => {
            info!("Dropped replication slot '{name}'");
            Ok(true)
        }
        Some((true, false)) => {
            warn!("Unable to drop replication slot '{name}', slot is active");
            Ok(false)
        }
        _ => {
            error!("{failure}");
            Ok(false)
        }
    }
}

async fn create(session: &Session, name: &str) -> Result<bool, SqlError> {
    let reserve = if session.version().at_least(90_600) { ", true" } else { "" };
    let sql = CREATE.replace("{reserve}", reserve).replace("{name}", &literal(name));
    let failure = format!("Failed to create physical replication slot '{name}'");
    Ok(tolerate(session.query(&sql).await, &failure)?.is_some())
}

async fn advance(session: &Session, name: &str, lsn: Lsn) -> Result<bool, SqlError> {
    let sql = ADVANCE.replace("{lsn}", &lsn.to_string()).replace("{name}", &literal(name));
    let failure = format!("Error while advancing replication slot {name} to position '{lsn}'");
    Ok(tolerate(session.query(&sql).await, &failure)?.is_some())
}

/// Whether the slot is there as it is wanted.
pub(super) fn is_there<'a>(slots: &'a [Slot], wanted: &WantedSlot) -> Option<&'a Slot> {
    slots.iter().find(|slot| slot.name == wanted.name && slot.kind() == wanted.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    // rows: SLOT-12
    #[test]
    fn slots_of_others_are_not_loaded() {
        for (version, temporary, failover) in [(96_000, false, false), (150_000, true, false), (170_000, true, true)] {
            let sql = load_statement(PgVersion(version));
            assert_eq!((sql.contains("NOT temporary"), sql.contains("NOT failover")), (temporary, failover), "{sql}");
        }
    }
}
