use super::*;
use crate::fencing::watchdog::driver;
use crate::sys::watchdog::{CAN_SET_TIMEOUT, MAGIC_CLOSE, OpenWatchdog, WatchdogSupport};
use crate::test_settings::settings;
use std::cell::RefCell;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

/// A device of the kernel, as a script has it.
#[derive(Clone, Default)]
struct Script {
    options: u32,
    /// The time-out that it cannot leave.
    fixed: Option<i32>,
    cannot_open: bool,
    mute: bool,
    cannot_write: bool,
}

#[derive(Default)]
struct Machine {
    script: Script,
    timeout: i32,
    /// What was done to the device.
    seen: Vec<String>,
}

thread_local! {
    static MACHINE: RefCell<Machine> = RefCell::default();
}

struct Double;

fn machine<T>(f: impl FnOnce(&mut Machine) -> T) -> T {
    MACHINE.with_borrow_mut(f)
}

fn busy() -> io::Error {
    io::Error::from_raw_os_error(16)
}

impl OpenWatchdog for Double {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        machine(|m| {
            if m.script.cannot_write {
                return Err(busy());
            }
            m.seen.push(String::from_utf8_lossy(bytes).into_owned());
            Ok(())
        })
    }

    fn support(&self) -> io::Result<WatchdogSupport> {
        machine(|m| match m.script.mute {
            true => Err(busy()),
            false => Ok(WatchdogSupport { options: m.script.options, firmware: 7, identity: "Double".to_owned() }),
        })
    }

    fn set_timeout(&mut self, seconds: i32) -> io::Result<()> {
        machine(|m| {
            m.seen.push(format!("set {seconds}"));
            m.timeout = m.script.fixed.unwrap_or(seconds);
        });
        Ok(())
    }

    fn timeout(&self) -> io::Result<i32> {
        machine(|m| Ok(m.script.fixed.unwrap_or(m.timeout)))
    }
}

impl Drop for Double {
    fn drop(&mut self) {
        machine(|m| m.seen.push("closed".to_owned()));
    }
}

fn scripted(name: &str) -> Option<OpenDevice> {
    let open: OpenDevice = Arc::new(|_: &Path| {
        machine(|m| {
            if m.script.cannot_open {
                return Err(busy());
            }
            m.seen.push("open".to_owned());
            Ok(Box::new(Double) as Box<dyn OpenWatchdog>)
        })
    });
    (name == "default").then_some(open)
}

fn plan(mode: WatchdogMode, ttl: u64, loop_wait: u64, safety_margin: i64) -> WatchdogPlan {
    WatchdogPlan::new(&settings(|s| {
        s.watchdog.mode = mode;
        s.watchdog.safety_margin = safety_margin;
        s.watchdog.device = "/dev/null".into();
        s.global.ttl = Duration::from_secs(ttl);
        s.global.loop_wait = Duration::from_secs(loop_wait);
    }))
}

fn usual(mode: WatchdogMode) -> WatchdogPlan {
    plan(mode, 30, 10, 5)
}

/// A keeper of a device that can all, changed by the script.
fn keeper(plan: WatchdogPlan, change: impl FnOnce(&mut Script)) -> Keeper {
    let mut script = Script { options: MAGIC_CLOSE | CAN_SET_TIMEOUT, ..Script::default() };
    change(&mut script);
    machine(|m| *m = Machine { script, timeout: 60, seen: Vec::new() });
    Keeper::new(plan, scripted).unwrap()
}

fn seen() -> Vec<String> {
    machine(|m| std::mem::take(&mut m.seen))
}

/// The log lines of a piece of work.
fn lines(work: impl FnOnce()) -> Vec<String> {
    let lines = Arc::new(Mutex::new(Vec::new()));
    tracing::subscriber::with_default(tracing_subscriber::registry().with(Lines(Arc::clone(&lines))), work);
    std::mem::take(&mut *lines.lock().unwrap())
}

struct Lines(Arc<Mutex<Vec<String>>>);

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut text = Text(format!("{}: ", event.metadata().level()));
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }
}

struct Text(String);

impl tracing::field::Visit for Text {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 += &format!("{value:?}");
        }
    }
}

use WatchdogMode::{Automatic, Off, Required};

// rows: WD-02, WD-05, WD-06
#[test]
fn a_device_is_opened_set_fed_and_closed_by_the_magic_letter() {
    for mode in [Automatic, Required] {
        let mut keeper = keeper(usual(mode), |_| {});
        assert!(seen().is_empty() && keeper.state().wanted && !keeper.state().active, "nothing is opened yet");
        keeper.keepalive();
        keeper.disable();
        assert!(seen().is_empty(), "who is not armed is not fed");
        assert!(keeper.activate());
        assert_eq!(seen(), ["open", "set 25"]);
        assert!(keeper.state().active && keeper.state().healthy);
        keeper.keepalive();
        keeper.keepalive();
        keeper.disable();
        assert_eq!(seen(), ["1", "1", "V", "closed"]);
        assert!(!keeper.state().active && keeper.state().wanted);
        assert!(keeper.activate(), "and again");
        assert_eq!(seen(), ["open", "set 25"]);
    }
}

// rows: WD-09
#[test]
fn without_its_last_word_it_goes_on_counting() {
    let mut armed = keeper(usual(Required), |_| {});
    armed.activate();
    seen();
    drop(armed);
    assert_eq!(seen(), ["closed"], "the process ended: no V");
}

// rows: WD-03
#[test]
fn the_time_out_is_the_lease_less_the_margin() {
    for (ttl, loop_wait, margin, timeout, slack) in
        [(30, 10, 5, 25, 15), (30, 10, -1, 15, 5), (21, 10, -1, 10, 0), (30, 10, 0, 30, 20), (20, 10, 15, 5, -5)]
    {
        let plan = plan(Automatic, ttl, loop_wait, margin);
        assert_eq!((plan.timeout(), plan.slack()), (timeout, slack), "{ttl} {loop_wait} {margin}");
    }
    let mut tight = keeper(plan(Required, 20, 10, 15), |_| {});
    assert!(!tight.state().healthy && !tight.activate(), "it would fire between two cycles");
    assert!(seen().is_empty());
    let mut tight = keeper(plan(Automatic, 20, 10, 15), |_| {});
    assert!(tight.state().healthy && tight.activate() && !tight.state().active);
}

// rows: WD-03, WD-04
#[test]
fn a_time_out_that_cannot_be_made_safe() {
    // It is longer than the lease: whoever needs it must not lead, and nothing may be left counting.
    let mut long = keeper(usual(Required), |s| s.fixed = Some(60));
    let refused = lines(|| assert!(!long.activate()));
    let reason = "ERROR: Configuration requires watchdog, but a safe watchdog timeout 25 could not be configured. \
                  Watchdog timeout is 60.";
    assert_eq!(refused, [reason]);
    assert_eq!(seen(), ["open", "set 25", "V", "closed"]);
    assert!(!long.state().healthy, "no race is run with it");
    let mut long = keeper(usual(Automatic), |s| s.fixed = Some(60));
    assert!(long.activate() && long.state().active, "better than nothing");
    // It is shorter than a cycle: it would fire while all is well.
    for (mode, led) in [(Required, false), (Automatic, true)] {
        let mut short = keeper(usual(mode), |s| s.fixed = Some(9));
        assert_eq!(short.activate(), led);
        assert_eq!(seen(), ["open", "set 25", "V", "closed"]);
        assert!(!short.state().active);
    }
    // Its time-out is fixed and fits.
    let mut fixed = keeper(usual(Required), |s| (s.options, s.fixed) = (MAGIC_CLOSE, Some(15)));
    assert!(fixed.activate());
    assert_eq!(seen(), ["open"]);
}

// rows: WD-07
#[test]
fn a_device_that_fails_is_given_up_until_the_settings_change() {
    for (mode, led) in [(Required, false), (Automatic, true)] {
        let mut broken = keeper(usual(mode), |s| s.cannot_open = true);
        assert!(broken.state().healthy, "nobody knows yet");
        let told = lines(|| assert_eq!(broken.activate(), led));
        let failed = "Could not activate Linux watchdog device at /dev/null: Can't open watchdog device: \
                      Device or resource busy (os error 16): '/dev/null'";
        let error = "ERROR: Configuration requires watchdog, but watchdog could not be configured.";
        let wanted =
            if led { vec![format!("DEBUG: {failed}")] } else { vec![format!("WARN: {failed}"), error.to_owned()] };
        assert_eq!(told, wanted);
        assert_eq!((broken.state().healthy, broken.state().wanted), (led, !led));
        machine(|m| m.script.cannot_open = false);
        assert_eq!(broken.activate(), led);
        assert!(seen().is_empty());
        broken.adopt(plan(mode, 40, 10, 5));
        assert!(broken.state().healthy && broken.activate() && broken.state().active);
        assert_eq!(seen(), ["open", "set 35"]);
    }
    let mut mute = keeper(usual(Required), |s| s.mute = true);
    assert!(!mute.activate());
    assert_eq!(seen(), ["open", "V", "closed"], "it is not left counting");
    let missing = WatchdogPlan::new(&settings(|s| {
        s.watchdog.mode = Required;
        s.watchdog.device = "/nowhere/watchdog".into();
    }));
    assert!(!keeper(missing, |_| {}).state().healthy);
}

// rows: WD-08
#[test]
fn one_that_cannot_be_disabled_is_fed_a_last_time() {
    let mut stubborn = keeper(usual(Required), |s| s.options = CAN_SET_TIMEOUT);
    let activated = lines(|| assert!(stubborn.activate()));
    let warning =
        "WARN: Watchdog implementation can't be disabled. Watchdog will trigger after Patroni loses leader key.";
    let activation = "INFO: Double (firmware 7) at /dev/null activated with 25 second timeout, timing slack 15 seconds";
    assert_eq!(activated, [warning, activation]);
    let warning =
        "WARN: Watchdog implementation can't be disabled. System will reboot after 25 seconds when watchdog times out.";
    assert_eq!(lines(|| stubborn.disable()), [warning]);
    assert_eq!(seen(), ["open", "set 25", "1", "V", "closed"]);
    let mut stubborn = keeper(usual(Automatic), |s| (s.options, s.fixed) = (0, Some(9)));
    assert!(stubborn.activate() && stubborn.state().active, "it counts whatever is done");
    assert_eq!(seen(), ["open"]);
}

// rows: WD-05
#[test]
fn other_settings_take_effect_with_the_next_renewal() {
    let mut armed = keeper(usual(Automatic), |_| {});
    armed.activate();
    seen();
    armed.adopt(plan(Automatic, 40, 10, 5));
    assert!(seen().is_empty());
    let updated = lines(|| armed.keepalive());
    assert_eq!(
        updated,
        ["INFO: Double (firmware 7) at /dev/null updated with 35 second timeout, timing slack 25 seconds"]
    );
    assert_eq!(seen(), ["1", "set 35"]);
    armed.adopt(plan(Required, 40, 10, -1));
    armed.keepalive();
    assert_eq!(seen(), ["1", "set 20"]);
    assert!(armed.state().active && armed.state().required);
    armed.adopt(plan(Required, 20, 10, 15));
    armed.keepalive();
    assert_eq!(seen(), ["1", "V", "closed"], "no safe time-out is left");
    assert!(!armed.state().healthy && !armed.state().active);
}

// rows: WD-01, WD-06
#[test]
fn one_that_is_switched_off_is_disabled_at_once_and_one_that_is_switched_on_is_wanted() {
    let mut keeper = keeper(usual(Required), |_| {});
    keeper.activate();
    seen();
    keeper.adopt(usual(Off));
    assert_eq!(seen(), ["V", "closed"]);
    assert_eq!(keeper.state(), WatchdogState { healthy: true, ..WatchdogState::default() });
    assert!(keeper.activate() && seen().is_empty());
    keeper.adopt(usual(Automatic));
    assert!(keeper.state().wanted && keeper.activate());
    assert_eq!(seen(), ["open", "set 25"]);
}

#[test]
fn another_device_takes_the_place_of_an_armed_one() {
    let mut armed = keeper(usual(Automatic), |_| {});
    armed.activate();
    seen();
    let other = WatchdogPlan::new(&settings(|s| {
        s.watchdog.mode = Automatic;
        s.watchdog.device = "/dev/zero".into();
    }));
    armed.adopt(other);
    armed.keepalive();
    assert_eq!(seen(), ["1", "V", "closed", "open", "set 25"]);
}

// rows: WD-02
#[test]
fn a_required_watchdog_needs_a_driver() {
    let plan = |mode, name: &str| {
        WatchdogPlan::new(&settings(|s| {
            s.watchdog.mode = mode;
            s.watchdog.driver = name.to_owned();
        }))
    };
    let error = Keeper::new(plan(Required, "other"), driver).err().unwrap();
    assert_eq!(error, "Configuration requires a watchdog, but watchdog is not supported on this platform.");
    assert!(!Keeper::new(plan(Automatic, "other"), driver).unwrap().state().wanted);
    assert!(Keeper::new(plan(Required, "testing"), driver).is_ok());
}

#[test]
fn a_device_that_takes_no_writes_is_reported_and_kept() {
    let mut armed = keeper(usual(Required), |_| {});
    armed.activate();
    machine(|m| m.script.cannot_write = true);
    armed.keepalive();
    armed.disable();
    assert!(armed.state().active, "it counts still, and another try to disable it is made");
    machine(|m| m.script.cannot_write = false);
    armed.disable();
    assert!(!armed.state().active);
}
