//! What is to be done with one replication slot: decisions without a connection.

use crate::cluster::{SlotKind, WantedSlot};
use crate::types::{Lsn, PgVersion};
use serde_json::Value;

/// A slot as the server has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Slot {
    pub name: String,
    /// Database and plugin of a logical one.
    pub logical: Option<(String, String)>,
    pub restart_lsn: Option<Lsn>,
    pub confirmed_flush: Option<Lsn>,
    pub active: bool,
    pub xmin: Option<String>,
    pub catalog_xmin: Option<u64>,
    pub lost: bool,
}

impl Slot {
    pub fn kind(&self) -> SlotKind {
        match &self.logical {
            None => SlotKind::Physical,
            Some((database, plugin)) => SlotKind::Logical { database: database.clone(), plugin: plugin.clone() },
        }
    }

    /// What is published of it.
    pub fn position(&self) -> Option<Lsn> {
        if self.logical.is_some() { self.confirmed_flush } else { self.restart_lsn }
    }
}

/// What is to be done with a wanted physical slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Keep,
    Create,
    /// Drop and create anew, for this reason.
    Replace(Reason),
    Advance(Lsn),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Xmin,
    NoRestartLsn,
}

/// Whether a matcher of `ignore_slots` fits (SLOT-21): every field that it gives must. `name` counts even when it is
/// empty, as in Patroni.
pub(super) fn is_ignored(slot: &Slot, ignore: &[Value]) -> bool {
    ignore.iter().any(|matcher| matches(matcher, slot))
}

fn matches(matcher: &Value, slot: &Slot) -> bool {
    let kind = if slot.logical.is_some() { "logical" } else { "physical" };
    let (database, plugin) = slot.logical.as_ref().map(|(d, p)| (d.as_str(), p.as_str())).unzip();
    let field = |key: &str| matcher.get(key).filter(|v| !v.is_null());
    let fits = |key: &str, actual: Option<&str>| {
        let given = field(key).and_then(Value::as_str).filter(|v| !v.is_empty());
        given.is_none_or(|given| actual == Some(given))
    };
    matcher.is_object()
        && field("name").is_none_or(|name| name.as_str() == Some(slot.name.as_str()))
        && fits("type", Some(kind))
        && fits("plugin", plugin)
        && fits("database", database)
}

/// A slot of the same name that is something else is in the way: it could not be dropped.
pub(super) fn physical(present: Option<&Slot>, wanted: &WantedSlot, drop_xmin: bool, version: PgVersion) -> Step {
    let Some(slot) = present else { return Step::Create };
    if slot.active || slot.logical.is_some() || !version.at_least(110_000) {
        return Step::Keep;
    }
    match (&slot.xmin, slot.restart_lsn) {
        // Nobody is expected to use it here, so nothing would ever move its xmin, and vacuum would stand still.
        (Some(_), _) if drop_xmin && wanted.expected_active == Some(false) => Step::Replace(Reason::Xmin),
        (Some(_), _) => Step::Keep,
        _ if wanted.expected_active == Some(true) => Step::Keep,
        (None, None) => Step::Replace(Reason::NoRestartLsn),
        (None, Some(from)) => wanted.lsn.filter(|target| *target > from).map_or(Step::Keep, Step::Advance),
    }
}

/// How far a standby moves a logical slot: not past what it has replayed, where the slot would find nothing.
pub(super) fn logical_target(slot: &Slot, wanted: &WantedSlot, replay: Option<Lsn>) -> Option<Lsn> {
    let target = wanted.lsn?.min(replay?);
    slot.confirmed_flush.filter(|from| *from < target).map(|_| target)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const V15: PgVersion = PgVersion(150_000);

    fn slot(change: impl FnOnce(&mut Slot)) -> Slot {
        let mut slot = Slot { name: "a".to_owned(), restart_lsn: Some(Lsn(100)), ..Slot::default() };
        change(&mut slot);
        slot
    }

    fn logical() -> Option<(String, String)> {
        Some(("d".to_owned(), "p".to_owned()))
    }

    // rows: PAUSE-06, SLOT-06, SLOT-07, SLOT-08
    #[test]
    fn a_wanted_slot_is_created_advanced_or_replaced() {
        let xmin = |s: &mut Slot| s.xmin = Some("7".to_owned());
        let no_lsn = |s: &mut Slot| s.restart_lsn = None;
        let (idle, used) = (Some(false), Some(true));
        for (present, lsn, expected_active, version, expected) in [
            (None, None, used, V15, Step::Create),
            (Some(slot(|_| ())), None, idle, V15, Step::Keep),
            (Some(slot(|_| ())), Some(200), idle, V15, Step::Advance(Lsn(200))),
            (Some(slot(|_| ())), Some(200), None, V15, Step::Advance(Lsn(200))),
            (Some(slot(|_| ())), Some(200), used, V15, Step::Keep),
            (Some(slot(|_| ())), Some(200), idle, PgVersion(100_000), Step::Keep),
            (Some(slot(|_| ())), Some(50), idle, V15, Step::Keep),
            (Some(slot(|s| s.active = true)), Some(200), idle, V15, Step::Keep),
            (Some(slot(xmin)), Some(200), idle, V15, Step::Replace(Reason::Xmin)),
            (Some(slot(xmin)), None, idle, V15, Step::Replace(Reason::Xmin)),
            (Some(slot(xmin)), Some(200), used, V15, Step::Keep),
            // of a member that is away: it may come back to this node
            (Some(slot(xmin)), None, None, V15, Step::Keep),
            (Some(slot(no_lsn)), None, idle, V15, Step::Replace(Reason::NoRestartLsn)),
            (Some(slot(no_lsn)), None, used, V15, Step::Keep),
            (Some(slot(no_lsn)), None, idle, PgVersion(90_500), Step::Keep),
            (Some(slot(|s| s.logical = logical())), Some(200), idle, V15, Step::Keep),
        ] {
            let wanted = WantedSlot { expected_active, ..WantedSlot::physical("a", lsn.map(Lsn)) };
            assert_eq!(physical(present.as_ref(), &wanted, true, version), expected, "{present:?} {wanted:?}");
            // while nobody leads an xmin is left
            let unled = physical(present.as_ref(), &wanted, false, version);
            let kept = expected == Step::Replace(Reason::Xmin);
            assert_eq!(unled, if kept { Step::Keep } else { expected }, "{present:?} {wanted:?}");
        }
    }

    #[test]
    fn a_logical_slot_is_not_moved_past_replay() {
        let at = |lsn: u64| slot(|s| (s.logical, s.confirmed_flush) = (logical(), Some(Lsn(lsn))));
        for (from, published, replay, expected) in [
            (100, Some(200), Some(300), Some(200)),
            (100, Some(300), Some(200), Some(200)),
            (200, Some(300), Some(200), None),
            (200, Some(200), Some(300), None),
            (100, None, Some(300), None),
            (100, Some(200), None, None),
        ] {
            let wanted = WantedSlot::physical("a", published.map(Lsn));
            assert_eq!(logical_target(&at(from), &wanted, replay.map(Lsn)), expected.map(Lsn));
        }
    }

    #[test]
    fn ignored_are_slots_that_fit_every_field_of_a_matcher() {
        let logical = slot(|s| s.logical = logical());
        for (matcher, physical, of_logical) in [
            (json!({"name": "a"}), true, true),
            (json!({"name": "b"}), false, false),
            (json!({"name": "a", "type": "physical"}), true, false),
            (json!({"name": "a", "type": "logical"}), false, true),
            (json!({"name": "a", "database": "d", "plugin": "p", "type": "logical"}), false, true),
            (json!({"database": "d"}), false, true),
            (json!({"database": "other", "plugin": "p"}), false, false),
            (json!({"type": "physical"}), true, false),
            (json!({"name": "", "type": "physical"}), false, false),
            (json!({}), true, true),
            (json!("a"), false, false),
        ] {
            let ignore = [json!({"name": "nobody"}), matcher];
            let found = (is_ignored(&slot(|_| ()), &ignore), is_ignored(&logical, &ignore));
            assert_eq!(found, (physical, of_logical), "{ignore:?}");
        }
    }
}
