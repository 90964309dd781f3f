//! The list on the server: written, read by it, confirmed.

use super::*;
use crate::actors::messages::Ticket;
use crate::actors::scripted_postgres::ScriptedPostgres;
use actix::System;
use tokio::sync::mpsc;

struct Probe(mpsc::UnboundedSender<Executed>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Executed> for Probe {
    type Result = ();

    fn handle(&mut self, message: Executed, _: &mut Self::Context) {
        self.0.send(message).unwrap();
    }
}

struct Rig {
    postgres: Rc<ScriptedPostgres>,
    manager: actix::Addr<SyncManager>,
    probe: actix::Addr<Probe>,
    got: mpsc::UnboundedReceiver<Executed>,
}

impl Rig {
    fn new() -> Self {
        let postgres = ScriptedPostgres::new();
        let (sender, got) = mpsc::unbounded_channel();
        Self { manager: SyncManager::new(postgres.clone()).start(), probe: Probe(sender).start(), postgres, got }
    }

    fn send(&self, command: Command, budget: Duration) {
        let ticket = Ticket { cycle: 1, index: 0 };
        self.manager.do_send(Execute { ticket, command, budget, reply: self.probe.clone().recipient() });
    }

    async fn ask(&mut self, names: &str) -> Outcome {
        self.send(Command::SetSyncNames(SyncNames::Own(names.to_owned())), Duration::from_secs(6));
        self.got.recv().await.unwrap().outcome
    }
}

fn run(test: impl AsyncFnOnce(Rig)) {
    System::new().block_on(async {
        tokio::time::pause();
        test(Rig::new()).await;
    });
}

fn names(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Status(status) => &status.synchronous_standby_names,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_new_list_is_read_by_the_server_before_it_is_reported() {
    run(async |mut rig| {
        assert_eq!(names(&rig.ask("b").await), "b");
        assert!(rig.postgres.was_called("reload") && rig.postgres.was_called("produce_wal"));
        rig.postgres.calls.borrow_mut().clear();
        assert_eq!(names(&rig.ask("b").await), "b");
        assert!(!rig.postgres.was_called("reload"), "nothing is new");
    });
}

#[test]
fn a_list_that_was_written_and_never_read_is_read_now() {
    run(async |mut rig| {
        rig.postgres.sync_names_written.replace(Some("b".to_owned()));
        assert_eq!(names(&rig.ask("b").await), "b");
        assert!(rig.postgres.was_called("reload"));
    });
}

#[test]
fn a_server_that_has_another_list_is_reported_as_it_is() {
    run(async |mut rig| {
        rig.postgres.sync_names_overridden.replace(Some("x".to_owned()));
        assert_eq!(names(&rig.ask("b").await), "x");
    });
}

#[test]
fn a_server_that_does_not_answer_leaves_it_open() {
    run(async |mut rig| {
        *rig.postgres.status.borrow_mut() = Err(PgError::NoConnection("gone".to_owned()));
        assert_eq!(rig.ask("b").await, Outcome::Unknown("gone".to_owned()));
    });
}

#[test]
fn what_outlives_its_budget_is_unknown_and_ends_before_the_next_begins() {
    run(async |mut rig| {
        rig.postgres.slots_take.set(Duration::from_secs(20));
        rig.send(Command::SetSyncNames(SyncNames::Own("b".to_owned())), Duration::from_secs(6));
        tokio::time::sleep(Duration::from_secs(1)).await;
        // Given up before it began: never carried out.
        rig.send(Command::SetSyncNames(SyncNames::Own("never".to_owned())), Duration::from_secs(2));
        for _ in 0..2 {
            assert!(matches!(rig.got.recv().await.unwrap().outcome, Outcome::Unknown(_)));
        }
        rig.postgres.slots_take.set(Duration::from_millis(5));
        rig.send(Command::SetSyncNames(SyncNames::Own("c".to_owned())), Duration::from_secs(60));
        assert_eq!(names(&rig.got.recv().await.unwrap().outcome), "c");
        let set = |call: &String| call.starts_with("set_sync_names");
        let calls: Vec<String> = rig.postgres.called().into_iter().filter(set).collect();
        assert_eq!(calls, ["set_sync_names Own(\"b\")", "set_sync_names Own(\"c\")"]);
    });
}
