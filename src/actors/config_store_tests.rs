use super::*;
use crate::test_settings::settings;
use std::sync::Mutex;
use std::sync::mpsc as std_mpsc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Layers whose reload waits until the test lets it go on.
struct Source {
    settings: Arc<Settings>,
    dynamic: Arc<Map<String, Value>>,
    go_on: Mutex<std_mpsc::Receiver<Result<bool, String>>>,
    saved: std_mpsc::Sender<()>,
    data_dir: bool,
}

impl ConfigSource for Source {
    fn reload(&mut self) -> Result<bool, String> {
        let result = self.go_on.lock().unwrap().recv().unwrap();
        if result == Ok(true) {
            let mut settings = (*self.settings).clone();
            settings.name = "other".to_owned();
            self.settings = Arc::new(settings);
        }
        result
    }

    fn set_dynamic(&mut self, data: &Map<String, Value>) -> Result<bool, String> {
        if data.contains_key("bad") {
            return Err("as if it made no settings".to_owned());
        }
        let changed = *self.dynamic != *data;
        self.dynamic = Arc::new(data.clone());
        Ok(changed)
    }

    fn save_cache(&mut self) -> Result<bool, String> {
        self.saved.send(()).unwrap();
        Ok(std::mem::replace(&mut self.data_dir, true))
    }

    fn settings(&self) -> Arc<Settings> {
        self.settings.clone()
    }

    fn dynamic(&self) -> Arc<Map<String, Value>> {
        self.dynamic.clone()
    }
}

enum Got {
    Settings(&'static str, String),
    Applied(usize, bool),
    Reread,
}

struct Probe(&'static str, mpsc::UnboundedSender<Got>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<SettingsChanged> for Probe {
    type Result = ();
    fn handle(&mut self, msg: SettingsChanged, _ctx: &mut Self::Context) {
        self.1.send(Got::Settings(self.0, msg.0.name.clone())).unwrap();
    }
}

impl Handler<LocalReread> for Probe {
    type Result = ();
    fn handle(&mut self, _msg: LocalReread, _ctx: &mut Self::Context) {
        self.1.send(Got::Reread).unwrap();
    }
}

impl Handler<DynamicApplied> for Probe {
    type Result = ();
    fn handle(&mut self, msg: DynamicApplied, _ctx: &mut Self::Context) {
        self.1.send(Got::Applied(msg.ticket.index, msg.dynamic.contains_key("pause"))).unwrap();
    }
}

struct Rig {
    store: actix::Addr<ConfigStore>,
    probe: actix::Addr<Probe>,
    got: mpsc::UnboundedReceiver<Got>,
    go_on: std_mpsc::Sender<Result<bool, String>>,
    saves: std_mpsc::Receiver<()>,
}

fn rig() -> Rig {
    let (go_on, gate) = std_mpsc::channel();
    let (saved, saves) = std_mpsc::channel();
    let source = Source {
        settings: Arc::new(settings(|_| ())),
        dynamic: Arc::default(),
        go_on: Mutex::new(gate),
        saved,
        data_dir: false,
    };
    let (sender, got) = mpsc::unbounded_channel();
    let probe = Probe("all", sender.clone()).start();
    let local = Probe("local", sender).start();
    let store = ConfigStore::new(Box::new(source), false).start();
    store.do_send(Subscribers {
        all: vec![probe.clone().recipient()],
        local_only: vec![local.recipient()],
        reread: Vec::new(),
    });
    Rig { store, probe, got, go_on, saves }
}

impl Rig {
    fn apply(&self, index: usize, key: &str) {
        let data = [(key.to_owned(), Value::Bool(true))].into_iter().collect();
        let ticket = Ticket { cycle: 1, index };
        self.store.do_send(ApplyDynamic { ticket, data, reply: self.probe.clone().recipient() });
    }

    async fn applied(&mut self) -> (usize, bool) {
        match self.got.recv().await.unwrap() {
            Got::Applied(index, pause) => (index, pause),
            _ => panic!("an answer was expected"),
        }
    }

    async fn settings(&mut self) -> (&'static str, String) {
        match self.got.recv().await.unwrap() {
            Got::Settings(who, name) => (who, name),
            _ => panic!("settings were expected"),
        }
    }
}

#[test]
fn a_dynamic_configuration_is_answered_and_told_only_when_it_changes_something() {
    actix::System::new().block_on(async {
        let mut rig = rig();
        rig.apply(1, "pause");
        assert_eq!(rig.applied().await, (1, true));
        assert_eq!(rig.settings().await, ("all", "a".to_owned()));
        rig.apply(2, "pause");
        rig.apply(3, "bad");
        assert_eq!(rig.applied().await, (2, true));
        assert_eq!(rig.applied().await, (3, true), "one that cannot be obeyed leaves the former in force");
    });
}

#[test]
fn while_files_are_read_other_work_waits_its_turn_and_the_actor_does_not_hang() {
    actix::System::new().block_on(async {
        let mut rig = rig();
        rig.store.do_send(ReloadLocal);
        rig.apply(1, "pause");
        assert!(tokio::time::timeout(Duration::from_millis(100), rig.got.recv()).await.is_err());
        rig.go_on.send(Ok(true)).unwrap();
        let (mut told, mut applied) = (Vec::new(), Vec::new());
        for _ in 0..4 {
            match rig.got.recv().await.unwrap() {
                Got::Settings(who, name) => told.push((who, name)),
                Got::Applied(index, pause) => applied.push((index, pause)),
                Got::Reread => panic!("nobody asked for that"),
            }
        }
        told.sort();
        let other = || "other".to_owned();
        assert_eq!(told, [("all", other()), ("all", other()), ("local", other())]);
        assert_eq!(applied, [(1, true)]);
        rig.store.do_send(ReloadLocal);
        rig.go_on.send(Err("as if it were no YAML".to_owned())).unwrap();
        rig.apply(2, "pause");
        assert_eq!(rig.applied().await, (2, true), "a bad file changes nothing");
    });
}

#[test]
fn the_cache_is_written_once_there_is_a_data_directory_and_then_only_after_changes() {
    actix::System::new().block_on(async {
        let mut rig = rig();
        rig.store.do_send(DataDirSeen);
        rig.apply(1, "pause");
        rig.applied().await;
        assert!(rig.saves.try_recv().is_err(), "nothing to write");
        rig.settings().await;
        for (index, expected) in [(2, true), (3, true), (4, false)] {
            rig.store.do_send(DataDirSeen);
            rig.apply(index, "pause");
            rig.applied().await;
            assert_eq!(rig.saves.try_recv().is_ok(), expected, "{index}");
        }
    });
}

#[test]
fn every_reading_of_the_local_files_is_told_to_those_who_ask_for_it() {
    actix::System::new().block_on(async {
        let mut rig = rig();
        let reread = vec![rig.probe.clone().recipient()];
        rig.store.do_send(Subscribers { reread, ..Subscribers::default() });
        for result in [Ok(false), Err("as if it were no YAML".to_owned()), Ok(true)] {
            rig.store.do_send(ReloadLocal);
            rig.go_on.send(result).unwrap();
            assert!(matches!(rig.got.recv().await.unwrap(), Got::Reread));
        }
    });
}
