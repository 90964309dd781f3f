//! Monitor, slot manager and callback runner on a paused clock, against a scripted PostgreSQL.

use super::messages::{AskStatus, Execute, QueryStatus};
use super::scripted_postgres::ScriptedPostgres;
use super::test_stage::{SECOND, Stage, TICKET, ear, ms, paused};
use super::{CallbackRunner, PostgresMonitor, SlotManager};
use crate::cluster::{CallbackEvent, Role, SlotKind, SlotPlan, SlotReport, WantedSlot};
use crate::ha::{Command, Outcome};
use actix::Actor;
use std::time::Duration;
use tokio::time::sleep;

#[test]
fn questions_share_a_status_query_and_rest_is_not_kept_waiting() {
    paused(async {
        let stage = Stage::primary().await;
        stage.postgres.calls.borrow_mut().clear();
        let seen = stage.supervisor.clone().recipient();
        let monitor = PostgresMonitor::new(stage.postgres.clone(), stage.clock.clone(), seen).start();
        let (reply, mut answers) = ear();
        for _ in 0..3 {
            monitor.do_send(QueryStatus { ticket: TICKET, reply: reply.clone() });
        }
        for _ in 0..3 {
            assert!(answers.recv().await.unwrap().status.is_some());
        }
        assert_eq!(stage.postgres.called(), ["status"]);
        let ask = |max_age: Duration| {
            let (answer, given) = tokio::sync::oneshot::channel();
            monitor.do_send(AskStatus { max_age, patience: ms(500), answer });
            given
        };
        assert!(ask(SECOND).await.unwrap().is_some());
        assert_eq!(stage.postgres.called(), ["status"]);
        sleep(2 * SECOND).await;
        // Frozen: the last answer is better than none.
        stage.postgres.status_takes.set(3600 * SECOND);
        let before = stage.clock.mono();
        assert!(ask(SECOND).await.unwrap().is_some());
        assert_eq!(stage.clock.mono().since(before), ms(500));
        // The query is given up, and then there is no answer to repeat.
        sleep(20 * SECOND).await;
        assert!(ask(SECOND).await.unwrap().is_none());
    });
}

#[test]
fn logical_slots_are_advanced_beside_the_passes() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        let slots = SlotManager::new(postgres.clone()).start();
        let (reply, mut answers) = ear();
        let logical = |name: &str| {
            let kind = SlotKind::Logical { database: "d".to_owned(), plugin: "p".to_owned() };
            WantedSlot { kind, ..WantedSlot::physical(name, None) }
        };
        let sync = |name: &str, primary| {
            let command = Command::SyncSlots(SlotPlan { slots: vec![logical(name)], primary, ..SlotPlan::default() });
            slots.do_send(Execute { ticket: TICKET, command, budget: 2 * SECOND, reply: reply.clone() });
        };
        // Decoding takes a minute: passes go on, and afterwards only the newest plan is looked at.
        postgres.advances_take.set(60 * SECOND);
        for name in ["a", "b", "c"] {
            sync(name, false);
            assert!(matches!(answers.recv().await.unwrap().outcome, Outcome::Slots(_)));
        }
        sleep(300 * SECOND).await;
        assert_eq!(postgres.called(), ["sync_slots", "advance_slots a", "sync_slots", "sync_slots", "advance_slots c"]);
        // A primary moves none.
        postgres.calls.borrow_mut().clear();
        sync("a", true);
        assert!(matches!(answers.recv().await.unwrap().outcome, Outcome::Slots(_)));
        sleep(SECOND).await;
        assert_eq!(postgres.called(), ["sync_slots"]);
    });
}

#[test]
fn one_pass_over_the_slots_at_a_time_and_each_within_its_budget() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        let slots = SlotManager::new(postgres.clone()).start();
        let (reply, mut answers) = ear();
        let plan = |name: &str| SlotPlan { slots: vec![WantedSlot::physical(name, None)], ..SlotPlan::default() };
        let there = |name: &str| {
            Outcome::Slots(SlotReport { slots: vec![(name.to_owned(), None, false)], ..SlotReport::default() })
        };
        let sync = |name: &str| {
            let command = Command::SyncSlots(plan(name));
            slots.do_send(Execute { ticket: TICKET, command, budget: 2 * SECOND, reply: reply.clone() });
        };
        sync("b");
        assert_eq!(answers.recv().await.unwrap().outcome, there("b"));
        postgres.slots_take.set(3 * SECOND);
        sync("b");
        sync("c");
        assert!(matches!(answers.recv().await.unwrap().outcome, Outcome::Unknown(_)));
        assert!(matches!(answers.recv().await.unwrap().outcome, Outcome::Unknown(_)));
        sleep(10 * SECOND).await;
        // The plan that nobody waited for any more was not carried out.
        assert_eq!(postgres.called().len(), 2);
        postgres.slots_take.set(ms(5));
        sync("d");
        assert_eq!(answers.recv().await.unwrap().outcome, there("d"));
    });
}

// rows: CB-02
#[test]
fn callbacks_know_a_promoted_server_as_primary() {
    paused(async {
        let postgres = ScriptedPostgres::new();
        let runner = CallbackRunner::new(postgres.clone()).start();
        let (reply, mut answers) = ear();
        let command = Command::Callback { event: CallbackEvent::OnRoleChange, role: Role::Promoted };
        runner.do_send(Execute { ticket: TICKET, command, budget: SECOND, reply });
        assert_eq!(answers.recv().await.unwrap().outcome, Outcome::Ok);
        assert_eq!(postgres.called(), ["callback OnRoleChange primary"]);
    });
}
