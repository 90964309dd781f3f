//! The watchdog actor: tells the rules whether a watchdog is required and usable.
//!
//! Devices are not driven yet, so none is ever usable: `mode: required` keeps this member from leading.

use super::messages::{Execute, Executed, SettingsChanged};
use crate::config::settings::WatchdogMode;
use crate::ha::{Command, Outcome, WatchdogReport};
use actix::{Actor, Context, Handler, Message, Recipient};

/// The state of the watchdog (to the coordinator, on each change).
#[derive(Clone, Copy, Debug, Message)]
#[rtype(result = "()")]
pub struct WatchdogChanged(pub WatchdogReport);

/// The actor.
pub struct Watchdog {
    mode: WatchdogMode,
    coordinator: Recipient<WatchdogChanged>,
}

impl Watchdog {
    /// A watchdog that reports to the coordinator when it starts and whenever something changes.
    #[must_use]
    pub fn new(mode: WatchdogMode, coordinator: Recipient<WatchdogChanged>) -> Self {
        Self { mode, coordinator }
    }

    fn report(&self) {
        let required = self.mode == WatchdogMode::Required;
        self.coordinator.do_send(WatchdogChanged(WatchdogReport { required, active: false, healthy: !required }));
    }
}

impl Actor for Watchdog {
    type Context = Context<Self>;

    fn started(&mut self, _ctx: &mut Self::Context) {
        self.report();
    }
}

impl Handler<Execute> for Watchdog {
    type Result = ();

    fn handle(&mut self, msg: Execute, _ctx: &mut Self::Context) {
        let outcome = match (&msg.command, self.mode) {
            (Command::WatchdogActivate, WatchdogMode::Required) => {
                tracing::error!(target: "patroni.watchdog.base", "Configuration requires watchdog, but watchdog is not supported on this platform.");
                Outcome::Failed("watchdog devices are not supported yet".to_owned())
            }
            (Command::WatchdogActivate | Command::WatchdogKeepalive | Command::WatchdogDisable, _) => Outcome::Ok,
            (other, _) => Outcome::Failed(format!("not a command for the watchdog: {other:?}")),
        };
        msg.reply.do_send(Executed { ticket: msg.ticket, outcome });
    }
}

impl Handler<SettingsChanged> for Watchdog {
    type Result = ();

    fn handle(&mut self, msg: SettingsChanged, _ctx: &mut Self::Context) {
        self.mode = msg.0.watchdog.mode;
        self.report();
    }
}
