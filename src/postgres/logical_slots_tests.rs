//! What a standby remembers of its logical slots.

use super::*;

fn wanted(name: &str, lsn: Option<u64>) -> WantedSlot {
    let kind = SlotKind::Logical { database: "d".to_owned(), plugin: "p".to_owned() };
    WantedSlot { name: name.to_owned(), kind, lsn: lsn.map(Lsn), expected_active: None }
}

fn slot(name: &str, flush: u64, catalog_xmin: u64) -> Slot {
    Slot {
        name: name.to_owned(),
        logical: Some(("d".to_owned(), "p".to_owned())),
        confirmed_flush: Some(Lsn(flush)),
        catalog_xmin: Some(catalog_xmin),
        ..Slot::default()
    }
}

fn plan(slots: &[WantedSlot]) -> SlotPlan {
    SlotPlan { slots: slots.to_vec(), replay: Some(Lsn(500)), ..SlotPlan::default() }
}

fn start(moment: &str) -> Option<String> {
    Some(moment.to_owned())
}

// rows: SLOT-16, SLOT-17
#[test]
fn missing_slots_with_a_position_are_copied() {
    let mut memory = LogicalMemory::default();
    let plan = plan(&[wanted("a", Some(1)), wanted("b", None), wanted("c", Some(1))]);
    let (copy, _) = memory.take_in(start("1"), &plan, &[slot("c", 1, 1)]);
    assert_eq!(copy, ["a"]);
    // what cannot be advanced any more, once
    memory.to_copy.insert("c".to_owned());
    assert_eq!(memory.take_in(start("1"), &plan, &[slot("c", 1, 1)]).0, ["a", "c"]);
    assert_eq!(memory.take_in(start("1"), &plan, &[slot("c", 1, 1)]).0, ["a"]);
    // another of this name is in the way
    let other = Slot { logical: None, ..slot("a", 1, 1) };
    assert!(memory.take_in(start("1"), &plan, &[other, slot("c", 1, 1)]).0.is_empty());
}

// rows: SLOT-18
#[test]
fn every_start_of_the_server_makes_its_slots_unproven() {
    let mut memory = LogicalMemory::default();
    let plan = plan(&[wanted("a", Some(1))]);
    assert_eq!(memory.take_in(start("1"), &plan, &[slot("a", 1, 20)]).1, ["a"]);
    let theirs = |xmin: u64| BTreeMap::from([("a".to_owned(), Some(xmin))]);
    // the feedback holds less than what the leader's slot held when it was noted
    assert!(memory.prove(9, &theirs(10)).is_empty());
    // the feedback is newer than what my slot needs
    assert!(memory.prove(21, &theirs(19)).is_empty());
    // the noted position counts, not the one of now
    assert_eq!(memory.prove(15, &theirs(30)), ["a"]);
    assert!(memory.take_in(start("1"), &plan, &[slot("a", 1, 20)]).1.is_empty());
    assert_eq!(memory.take_in(start("2"), &plan, &[slot("a", 1, 20)]).1, ["a"]);
    // the leader does not have it
    assert!(memory.prove(15, &BTreeMap::new()).is_empty());
    assert!(memory.take_in(start("2"), &plan, &[]).1.is_empty());
}

#[test]
fn slots_are_advanced_one_connection_a_database() {
    let mut memory = LogicalMemory::default();
    let other = WantedSlot {
        kind: SlotKind::Logical { database: "e".to_owned(), plugin: "p".to_owned() },
        ..wanted("c", Some(900))
    };
    let plan = plan(&[wanted("a", Some(200)), wanted("b", Some(100)), other]);
    let in_e = Slot { logical: Some(("e".to_owned(), "p".to_owned())), ..slot("c", 100, 1) };
    memory.take_in(start("1"), &plan, &[slot("a", 100, 1), slot("b", 100, 1), in_e]);
    let expected = BTreeMap::from([
        ("d".to_owned(), vec![("a".to_owned(), Lsn(200))]),
        ("e".to_owned(), vec![("c".to_owned(), Lsn(500))]),
    ]);
    assert_eq!(memory.advances(&plan), expected);
}
