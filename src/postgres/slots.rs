//! Physical replication slots of the own server (SLOT-01 to SLOT-12). Whatever fails is logged and does not stop the rest.

use super::connection::{Row, Session, forget_broken, heartbeat, literal};
use super::sql_error::{SqlError, Stage};
use super::{PgError, Server};
use crate::cluster::SlotPlan;
use crate::types::{Lsn, PgVersion};
use serde_json::Value;
use tracing::{error, info, warn};

/// 9.4 and later. Temporary slots (10+) belong to their sessions, failover slots (17+) to PostgreSQL's own
/// synchronisation: both are left alone (SLOT-12).
const LOAD: &str = "SELECT slot_name, slot_type, restart_lsn::text, active, xmin::text, plugin, database, {wal_status} \
    FROM pg_catalog.pg_replication_slots{where}";
/// 9.4 and later: drops the slot unless it is active, in one step; tells whether it was active and whether it is gone.
const DROP: &str = "WITH slots AS (SELECT slot_name, active FROM pg_catalog.pg_replication_slots \
    WHERE slot_name = {name}), \
    dropped AS (SELECT pg_catalog.pg_drop_replication_slot(slot_name), true AS dropped FROM slots WHERE not active) \
    SELECT active, COALESCE(dropped, false) FROM slots FULL OUTER JOIN dropped ON true";
/// 9.4 and later; `{reserve}` is `, true` from 9.6: WAL is kept from now on, not from the first connection.
const CREATE: &str = "SELECT pg_catalog.pg_create_physical_replication_slot({name}{reserve}) WHERE NOT EXISTS \
    (SELECT 1 FROM pg_catalog.pg_replication_slots WHERE slot_type = 'physical' AND slot_name = {name})";
/// 11 and later.
const ADVANCE: &str = "SELECT pg_catalog.pg_replication_slot_advance({name}, '{lsn}')";

/// A slot as the server has it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Slot {
    name: String,
    physical: bool,
    restart_lsn: Option<Lsn>,
    active: bool,
    xmin: Option<String>,
    plugin: Option<String>,
    database: Option<String>,
    lost: bool,
}

/// What is to be done with one wanted slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Create,
    /// Drop and create anew, for this reason.
    Replace(Reason),
    Advance(Lsn),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    WalLost,
    Logical,
    Xmin,
    NoRestartLsn,
}

/// Makes the physical slots as planned. Returns those that are there afterwards: name, restart_lsn, active.
/// Servers before 9.4 have none.
pub async fn sync_slots(server: &Server, plan: &SlotPlan) -> Result<Vec<(String, Option<Lsn>, bool)>, PgError> {
    let session = heartbeat(server).await?;
    let result = sync_on(&session, plan).await;
    forget_broken(server, &session, result.as_ref().err()).await;
    Ok(result?)
}

async fn sync_on(session: &Session, plan: &SlotPlan) -> Result<Vec<(String, Option<Lsn>, bool)>, SqlError> {
    let version = session.version();
    if !version.at_least(90_400) {
        return Ok(Vec::new());
    }
    let mut slots = load(session).await?;
    let mut changed = false;
    if plan.drop_unknown {
        for slot in slots.iter().filter(|slot| is_unknown(slot, plan)) {
            info!("Trying to drop unknown replication slot '{}'", slot.name);
            changed |= drop_slot(session, &slot.name).await?;
        }
    }
    for (name, lsn) in &plan.physical {
        let present = slots.iter().find(|slot| slot.name == *name);
        match step(present, *lsn, version, plan.drop_unknown) {
            Step::Keep => {}
            Step::Create => changed |= create(session, name).await?,
            Step::Replace(reason) => {
                announce(reason, present, name);
                changed = true;
                if drop_slot(session, name).await? {
                    create(session, name).await?;
                }
            }
            Step::Advance(lsn) => changed |= advance(session, name, lsn).await?,
        }
    }
    if changed {
        slots = load(session).await?;
    }
    Ok(slots.into_iter().filter(|slot| slot.physical).map(|slot| (slot.name, slot.restart_lsn, slot.active)).collect())
}

/// Physical, not wanted, not in use, not excepted by `ignore_slots` (SLOT-10, SLOT-21).
fn is_unknown(slot: &Slot, plan: &SlotPlan) -> bool {
    let wanted = plan.physical.iter().any(|(name, _)| *name == slot.name);
    slot.physical && !wanted && !plan.ignore.iter().any(|matcher| matches(matcher, slot))
}

/// Whether every field that the matcher gives fits. `name` counts even when it is empty, as in Patroni.
fn matches(matcher: &Value, slot: &Slot) -> bool {
    let kind = if slot.physical { "physical" } else { "logical" };
    let field = |key: &str| matcher.get(key).filter(|v| !v.is_null());
    let filled = |key: &str| field(key).and_then(Value::as_str).filter(|v| !v.is_empty());
    matcher.is_object()
        && field("name").is_none_or(|name| name.as_str() == Some(slot.name.as_str()))
        && filled("type").is_none_or(|given| given == kind)
        && filled("plugin").is_none_or(|given| slot.plugin.as_deref() == Some(given))
        && filled("database").is_none_or(|given| slot.database.as_deref() == Some(given))
}

/// `may_drop` is false in pause: then nothing is dropped.
fn step(present: Option<&Slot>, lsn: Option<Lsn>, version: PgVersion, may_drop: bool) -> Step {
    let Some(slot) = present else { return Step::Create };
    let can_advance = version.at_least(110_000);
    if slot.active {
        return Step::Keep;
    }
    let reason = if !slot.physical {
        Some(Reason::Logical)
    } else if slot.lost {
        Some(Reason::WalLost)
    } else if can_advance && lsn.is_some() && slot.xmin.is_some() {
        // Nobody is expected to use it here, so nothing would ever move its xmin, and vacuum would stand still.
        Some(Reason::Xmin)
    } else if can_advance && slot.xmin.is_none() && slot.restart_lsn.is_none() {
        Some(Reason::NoRestartLsn)
    } else {
        None
    };
    match (reason, lsn, slot.restart_lsn) {
        (Some(reason), ..) if may_drop => Step::Replace(reason),
        (None, Some(target), Some(from)) if can_advance && target > from => Step::Advance(target),
        _ => Step::Keep,
    }
}

fn announce(reason: Reason, present: Option<&Slot>, name: &str) {
    match reason {
        Reason::WalLost => info!("Trying to drop replication slot '{name}' with wal_status=lost"),
        Reason::Logical => {
            info!("Trying to drop replication slot '{name}' because value is changing from logical to physical");
        }
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
    let filter = if version.at_least(170_000) {
        " WHERE NOT temporary AND NOT failover"
    } else if version.at_least(100_000) {
        " WHERE NOT temporary"
    } else {
        ""
    };
    let wal_status = if version.at_least(130_000) { "wal_status" } else { "NULL" };
    let rows = session.query(&LOAD.replace("{wal_status}", wal_status).replace("{where}", filter)).await?;
    let slot = |row: &Row| {
        let text = |column| row.text(column).map(str::to_owned);
        Some(Slot {
            name: text(0)?,
            physical: row.text(1) == Some("physical"),
            restart_lsn: row.parse(2),
            active: row.flag(3),
            xmin: text(4),
            plugin: text(5),
            database: text(6),
            lost: row.text(7) == Some("lost"),
        })
    };
    Ok(rows.iter().filter_map(slot).collect())
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const V15: PgVersion = PgVersion(150_000);

    fn slot(name: &str) -> Slot {
        Slot {
            name: name.to_owned(),
            physical: true,
            restart_lsn: Some(Lsn(100)),
            active: false,
            xmin: None,
            plugin: None,
            database: None,
            lost: false,
        }
    }

    #[test]
    fn a_wanted_slot_is_created_advanced_or_replaced() {
        let ahead = Some(Lsn(200));
        let with = |change: fn(&mut Slot)| {
            let mut slot = slot("a");
            change(&mut slot);
            slot
        };
        for (present, lsn, version, expected) in [
            (None, None, V15, Step::Create),
            (Some(slot("a")), None, V15, Step::Keep),
            (Some(slot("a")), ahead, V15, Step::Advance(Lsn(200))),
            (Some(slot("a")), ahead, PgVersion(100_000), Step::Keep),
            (Some(slot("a")), Some(Lsn(50)), V15, Step::Keep),
            (Some(with(|s| s.active = true)), ahead, V15, Step::Keep),
            (Some(with(|s| s.lost = true)), None, V15, Step::Replace(Reason::WalLost)),
            (Some(with(|s| s.xmin = Some("7".into()))), ahead, V15, Step::Replace(Reason::Xmin)),
            (Some(with(|s| s.xmin = Some("7".into()))), None, V15, Step::Keep),
            (Some(with(|s| s.restart_lsn = None)), None, V15, Step::Replace(Reason::NoRestartLsn)),
            (Some(with(|s| s.restart_lsn = None)), None, PgVersion(90_500), Step::Keep),
            (Some(with(|s| s.physical = false)), None, V15, Step::Replace(Reason::Logical)),
        ] {
            assert_eq!(step(present.as_ref(), lsn, version, true), expected, "{present:?} {lsn:?}");
            let in_pause = step(present.as_ref(), lsn, version, false);
            assert!(!matches!(in_pause, Step::Replace(_)), "{present:?} {lsn:?}");
        }
    }

    #[test]
    fn only_unwanted_physical_slots_that_nobody_excepted_are_unknown() {
        let plan = |ignore: Value| SlotPlan {
            physical: vec![("wanted".to_owned(), None)],
            drop_unknown: true,
            ignore: vec![ignore],
        };
        let nothing = json!({"name": "nobody"});
        assert!(is_unknown(&slot("a"), &plan(nothing.clone())));
        assert!(!is_unknown(&slot("wanted"), &plan(nothing.clone())));
        assert!(!is_unknown(&Slot { physical: false, ..slot("a") }, &plan(nothing)));
        for (matcher, ignored) in [
            (json!({"name": "a"}), true),
            (json!({"name": "a", "type": "physical"}), true),
            (json!({"name": "a", "type": "logical"}), false),
            (json!({"type": "physical"}), true),
            (json!({"database": "d"}), false),
            (json!({"name": "", "type": "physical"}), false),
            (json!("a"), false),
        ] {
            assert_eq!(!is_unknown(&slot("a"), &plan(matcher.clone())), ignored, "{matcher}");
        }
    }
}
