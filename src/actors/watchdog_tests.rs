use super::*;
use crate::actors::messages::Ticket;
use crate::config::settings::WatchdogMode;
use crate::fencing::watchdog::{Keeper, OpenDevice};
use crate::sys::watchdog::{CAN_SET_TIMEOUT, MAGIC_CLOSE, OpenWatchdog, WatchdogSupport};
use crate::test_settings::settings;
use crate::types::Wall;
use actix::Addr;
use std::io;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Everything that was written to a device.
static WRITTEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
/// One test at a time has the device.
static TURN: Mutex<()> = Mutex::new(());

struct Recorder;

impl OpenWatchdog for Recorder {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        WRITTEN.lock().unwrap().extend(bytes);
        Ok(())
    }

    fn support(&self) -> io::Result<WatchdogSupport> {
        Ok(WatchdogSupport { options: MAGIC_CLOSE | CAN_SET_TIMEOUT, firmware: 0, identity: String::new() })
    }

    fn set_timeout(&mut self, seconds: i32) -> io::Result<()> {
        WRITTEN.lock().unwrap().extend(format!("[{seconds}]").bytes());
        Ok(())
    }

    fn timeout(&self) -> io::Result<i32> {
        Ok(20)
    }
}

fn recorder(_: &str) -> Option<OpenDevice> {
    Some(Arc::new(|_| Ok(Box::new(Recorder))))
}

fn written() -> String {
    String::from_utf8(std::mem::take(&mut *WRITTEN.lock().unwrap())).unwrap()
}

#[derive(Debug, PartialEq)]
enum Got {
    Changed(WatchdogReport),
    Executed(Outcome),
}

struct Probe(mpsc::UnboundedSender<Got>);

impl Actor for Probe {
    type Context = Context<Self>;
}

impl Handler<WatchdogChanged> for Probe {
    type Result = ();
    fn handle(&mut self, msg: WatchdogChanged, _ctx: &mut Self::Context) {
        self.0.send(Got::Changed(msg.0)).unwrap();
    }
}

impl Handler<Executed> for Probe {
    type Result = ();
    fn handle(&mut self, msg: Executed, _ctx: &mut Self::Context) {
        self.0.send(Got::Executed(msg.outcome)).unwrap();
    }
}

fn wanted(ttl: u64) -> Settings {
    settings(|s| {
        s.watchdog.mode = WatchdogMode::Required;
        s.watchdog.device = "/dev/null".into();
        s.global.ttl = Duration::from_secs(ttl);
    })
}

fn execute(command: Command, reply: &Addr<Probe>) -> Execute {
    let (ticket, reply) = (Ticket { cycle: 1, index: 4 }, reply.clone().recipient());
    Execute { ticket, command, budget: Duration::from_secs(3), reply }
}

const IDLE: WatchdogReport = WatchdogReport { required: true, active: false, healthy: true, wanted: true };
const COUNTING: WatchdogReport = WatchdogReport { active: true, ..IDLE };

#[test]
fn it_is_armed_fed_and_disarmed_and_says_so_before_it_answers() {
    let _turn = TURN.lock();
    crate::actors::test_stage::paused(async {
        let clock = Clock::tokio(Wall::UNIX_EPOCH);
        let (sender, mut got) = mpsc::unbounded_channel();
        let probe = Probe(sender).start();
        let keeper = Keeper::new(WatchdogPlan::new(&wanted(30)), recorder).unwrap();
        let line = WatchdogLine::inline(keeper, clock.clone());
        let watchdog = Watchdog::new(line.clone(), clock.clone(), &wanted(30), probe.clone().recipient()).start();
        assert_eq!(got.recv().await, Some(Got::Changed(IDLE)));
        let renewed = || LeadRenewed { until: clock.mono() + Duration::from_secs(30) };
        // It is not armed: a renewal does nothing.
        watchdog.do_send(renewed());
        watchdog.do_send(execute(Command::WatchdogActivate, &probe));
        assert_eq!(got.recv().await, Some(Got::Changed(COUNTING)));
        assert_eq!(got.recv().await, Some(Got::Executed(Outcome::Ok)));
        assert_eq!(written(), "[25]");
        // Time alone does not feed it.
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(written(), "");
        watchdog.do_send(SettingsChanged(Arc::new(wanted(40))));
        watchdog.do_send(renewed());
        watchdog.do_send(LeadRenewed { until: clock.mono() });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(written(), "1[35]", "a right that has ended feeds nothing");
        // Another actor in its place finds it armed.
        let (sender, mut heard) = mpsc::unbounded_channel();
        let second = Probe(sender).start();
        let _heir = Watchdog::new(line, clock.clone(), &wanted(40), second.recipient()).start();
        assert_eq!(heard.recv().await, Some(Got::Changed(COUNTING)));
        watchdog.do_send(execute(Command::WatchdogDisable, &probe));
        assert_eq!(got.recv().await, Some(Got::Changed(IDLE)));
        assert_eq!(got.recv().await, Some(Got::Executed(Outcome::Ok)));
        assert_eq!(written(), "V");
        watchdog.do_send(execute(Command::ProduceWal, &probe));
        assert!(matches!(got.recv().await, Some(Got::Executed(Outcome::Failed(_)))));
    });
}

// rows: WD-07
#[test]
fn a_device_that_hangs_counts_as_broken_until_it_answers() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pipe");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let settings = settings(|s| {
        s.watchdog.mode = WatchdogMode::Required;
        s.watchdog.driver = "testing".to_owned();
        s.watchdog.device = path.clone();
    });
    // Nobody reads from the pipe: to open it takes for ever. The clock jumps to the end of all patience.
    crate::actors::test_stage::paused(async {
        let clock = Clock::tokio(Wall::UNIX_EPOCH);
        let (sender, mut got) = mpsc::unbounded_channel();
        let probe = Probe(sender).start();
        let line = WatchdogLine::start(WatchdogPlan::new(&settings), clock.clone()).unwrap();
        let watchdog = Watchdog::new(line, clock, &settings, probe.clone().recipient()).start();
        watchdog.do_send(execute(Command::WatchdogActivate, &probe));
        let broken = WatchdogReport { healthy: false, ..IDLE };
        loop {
            match got.recv().await {
                Some(Got::Changed(report)) if report == broken => break,
                Some(Got::Changed(report)) => assert_eq!(report, IDLE),
                other => panic!("{other:?}"),
            }
        }
    });
}
