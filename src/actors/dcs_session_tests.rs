//! The session over the store in memory.

use super::*;
use crate::actors::messages::Ticket;
use crate::clock::Clock;
use crate::cluster::Keys;
use crate::dcs::memory::MemoryStore;
use crate::types::Wall;
use tokio::sync::mpsc;

const BUDGET: Duration = Duration::from_secs(10);

struct Probe(mpsc::UnboundedSender<Outcome>, mpsc::UnboundedSender<Wake>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<Executed> for Probe {
    type Result = ();
    fn handle(&mut self, msg: Executed, _ctx: &mut Self::Context) {
        self.0.send(msg.outcome).unwrap();
    }
}

impl Handler<Wake> for Probe {
    type Result = ();
    fn handle(&mut self, msg: Wake, _ctx: &mut Self::Context) {
        self.1.send(msg).unwrap();
    }
}

struct Rig {
    store: MemoryStore,
    keys: Keys,
    clock: Clock,
    session: actix::Addr<DcsSession>,
    probe: actix::Addr<Probe>,
    outcomes: mpsc::UnboundedReceiver<Outcome>,
    wakes: mpsc::UnboundedReceiver<Wake>,
}

fn rig() -> Rig {
    let clock = Clock::tokio(Wall::UNIX_EPOCH);
    let store = MemoryStore::new(clock.clone());
    let keys = Keys::new("service", "demo");
    let session = DcsSession::new(Arc::new(store.session(&keys, "a", Duration::from_secs(30)))).start();
    let ((send, outcomes), (wake, wakes)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
    Rig { store, keys, clock, session, probe: Probe(send, wake).start(), outcomes, wakes }
}

impl Rig {
    async fn execute(&mut self, command: Command) -> Outcome {
        let ticket = Ticket { cycle: 1, index: 0 };
        let reply = self.probe.clone().recipient();
        self.session.do_send(Execute { ticket, command, budget: BUDGET, reply });
        self.outcomes.recv().await.unwrap()
    }
}

fn on_paused_clock<F: Future<Output = ()>>(test: F) {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    actix::System::with_tokio_rt(runtime).block_on(test);
}

#[test]
fn a_lease_counts_from_before_the_request_and_is_released_with_its_position() {
    on_paused_clock(async {
        let mut rig = rig();
        let before = rig.clock.mono();
        let Outcome::Leased { until } = rig.execute(Command::AcquireLeader).await else { panic!("not leased") };
        assert!(until <= before + Duration::from_secs(30));
        assert_eq!(rig.execute(Command::AcquireLeader).await, Outcome::Conflict);
        assert_eq!(rig.execute(Command::ReleaseLeader { optime: Some(Lsn(77)) }).await, Outcome::Ok);
        let entries = rig.store.entries();
        assert!(!entries.contains_key(&rig.keys.key("leader")));
        assert!(entries[&rig.keys.key("status")].contains("\"optime\":77"));
    });
}

#[test]
fn a_store_out_of_reach_is_silence_and_never_a_refusal() {
    on_paused_clock(async {
        let mut rig = rig();
        rig.execute(Command::AcquireLeader).await;
        rig.store.cut("a", true);
        for command in [Command::RenewLeader, Command::ReloadCluster, Command::CancelInitialize] {
            let outcome = rig.execute(command.clone()).await;
            assert!(outcome.is_silence(), "{command:?}: {outcome:?}");
        }
        let other = rig.execute(Command::CancelJob).await;
        assert!(matches!(other, Outcome::Failed(_)), "a command for somebody else: {other:?}");
    });
}

#[test]
fn changes_by_others_wake_and_the_start_waits_for_the_store() {
    on_paused_clock(async {
        let mut rig = rig();
        rig.store.cut("a", true);
        let (answer, mut cluster) = oneshot::channel();
        rig.session.do_send(AwaitStore { budget: BUDGET, answer });
        assert!(tokio::time::timeout(Duration::from_secs(120), &mut cluster).await.is_err());
        rig.store.cut("a", false);
        assert!(tokio::time::timeout(Duration::from_secs(16), cluster).await.unwrap().unwrap().is_unlocked());
        rig.session.do_send(WatchStore(rig.probe.clone().recipient()));
        tokio::time::sleep(Duration::from_secs(1)).await;
        while rig.wakes.try_recv().is_ok() {}
        rig.store.put(&rig.keys.key("leader"), "b");
        let woken = tokio::time::timeout(Duration::from_secs(5), rig.wakes.recv()).await;
        assert_eq!(woken, Ok(Some(Wake::Store)));
    });
}
