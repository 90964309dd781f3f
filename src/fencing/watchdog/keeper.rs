//! When a watchdog device is armed, fed and disarmed (WD-01 to WD-09). It lives on a thread of its own: each step may block.

use super::device::{Device, DeviceError, OpenDevice};
use crate::config::Settings;
use crate::config::settings::{Watchdog, WatchdogMode};
use tracing::{debug, error, info, warn};

/// Patroni's name for this part in the log.
const LOGGER: &str = "patroni.watchdog.base";

/// What the settings ask for.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchdogPlan {
    section: Watchdog,
    ttl: i64,
    loop_wait: i64,
}

impl WatchdogPlan {
    /// The plan of these settings.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        let seconds = |length: std::time::Duration| i64::try_from(length.as_secs()).unwrap_or(i64::MAX);
        Self {
            section: settings.watchdog.clone(),
            ttl: seconds(settings.global.ttl),
            loop_wait: seconds(settings.global.loop_wait),
        }
    }

    /// No leadership without a watchdog.
    #[must_use]
    pub fn required(&self) -> bool {
        self.section.mode == WatchdogMode::Required
    }

    /// The device's time-out in seconds: it must have come to its end before the lease has (WD-03).
    fn timeout(&self) -> i64 {
        match self.section.safety_margin {
            -1 => self.ttl / 2,
            margin => self.ttl.saturating_sub(margin),
        }
    }

    /// What is left of the time-out when a cycle is on time.
    fn slack(&self) -> i64 {
        self.timeout().saturating_sub(self.loop_wait)
    }
}

/// How things stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WatchdogState {
    /// `mode: required`.
    pub required: bool,
    /// The device is open and counts.
    pub active: bool,
    /// Nothing is known that would keep a required watchdog from being activated.
    pub healthy: bool,
    /// It has to be activated before anything leads.
    pub wanted: bool,
}

/// Owns the device.
pub struct Keeper {
    driver: fn(&str) -> Option<OpenDevice>,
    plan: WatchdogPlan,
    /// By which plan the device was set up.
    applied: WatchdogPlan,
    /// `None`: none is to be used, or using it has failed by the present plan.
    device: Option<Device>,
}

impl Keeper {
    /// A keeper by these drivers. Nothing is opened yet.
    ///
    /// # Errors
    /// A watchdog is required, and there is no driver of that name.
    pub fn new(plan: WatchdogPlan, driver: fn(&str) -> Option<OpenDevice>) -> Result<Self, String> {
        let mut keeper = Self { driver, applied: plan.clone(), plan, device: None };
        keeper.renew_device();
        if keeper.plan.required() && keeper.device.is_none() {
            return Err("Configuration requires a watchdog, but watchdog is not supported on this platform.".to_owned());
        }
        Ok(keeper)
    }

    /// How things stand.
    #[must_use]
    pub fn state(&self) -> WatchdogState {
        let required = self.plan.required();
        let usable = self.device.as_ref().is_some_and(|d| d.is_open() || d.is_usable());
        WatchdogState {
            required,
            active: self.is_open(),
            healthy: !required || self.plan.slack() >= 0 && usable,
            wanted: self.plan.section.mode != WatchdogMode::Off && (required || self.device.is_some()),
        }
    }

    /// Arms the device. `false`: one is required and could not be armed safely; then none is armed. Where none is
    /// required, a device that cannot be armed is not tried again until the settings change.
    pub fn activate(&mut self) -> bool {
        if !self.is_open() && self.applied != self.plan {
            self.renew_device();
        }
        self.arm()
    }

    /// Feeds an armed device, and adapts it to what has changed in the settings meanwhile.
    pub fn keepalive(&mut self) {
        let Some(device) = self.device.as_mut().filter(|d| d.is_open()) else { return };
        let fed = device.keepalive();
        if let Err(reason) = fed.and_then(|()| self.adapt()) {
            error!(target: LOGGER, "Error while sending keepalive: {reason}");
        }
    }

    /// Disarms the device.
    pub fn disable(&mut self) {
        let Some(device) = self.device.as_mut().filter(|d| d.is_open()) else { return };
        if let Err(reason) = disarm(device) {
            error!(target: LOGGER, "Error while disabling watchdog: {reason}");
        }
    }

    /// Takes other settings over. An armed device follows with the next keepalive, together with the lease; a watchdog
    /// that is switched off is disarmed at once.
    pub fn adopt(&mut self, plan: WatchdogPlan) {
        self.plan = plan;
        if self.plan.section.mode == WatchdogMode::Off {
            self.disable();
        }
        if !self.is_open() && self.plan != self.applied {
            self.renew_device();
        }
    }

    fn is_open(&self) -> bool {
        self.device.as_ref().is_some_and(Device::is_open)
    }

    /// Begins anew with the present plan.
    fn renew_device(&mut self) {
        let section = &self.plan.section;
        let driver = (section.mode != WatchdogMode::Off).then(|| (self.driver)(&section.driver)).flatten();
        self.device = driver.map(|driver| Device::new(section.device.clone(), driver));
        self.applied = self.plan.clone();
    }

    fn arm(&mut self) -> bool {
        let (required, wanted) = (self.plan.required(), self.plan.timeout());
        self.applied = self.plan.clone();
        if self.plan.slack() < 0 && self.plan.section.mode != WatchdogMode::Off {
            warn!(
                target: LOGGER,
                "Watchdog not supported because leader TTL {} is less than 2x loop_wait {}",
                self.plan.ttl,
                self.plan.loop_wait
            );
            self.give_up();
        }
        let actual = self.set_up();
        if let Some(device) = self.device.as_mut().filter(|d| d.is_open())
            && device.can_be_disabled() == Ok(false)
        {
            warn!(
                target: LOGGER,
                "Watchdog implementation can't be disabled. Watchdog will trigger after Patroni loses leader key."
            );
        }
        match actual {
            None if required => {
                error!(target: LOGGER, "Configuration requires watchdog, but watchdog could not be configured.");
                false
            }
            None => true,
            Some(actual) if actual > wanted && required => {
                error!(
                    target: LOGGER,
                    "Configuration requires watchdog, but a safe watchdog timeout {wanted} could not be configured. \
                     Watchdog timeout is {actual}."
                );
                // Left open it would reset the machine, since nobody who does not lead feeds it.
                self.give_up();
                false
            }
            Some(actual) => {
                if actual > wanted {
                    warn!(
                        target: LOGGER,
                        "Watchdog timeout {actual} seconds does not ensure safe termination within {wanted} seconds"
                    );
                }
                self.tell("activated", actual);
                true
            }
        }
    }

    /// Opens the device and sets its time-out; `None`: there is no device, or no more.
    fn set_up(&mut self) -> Option<i64> {
        let device = self.device.as_mut()?;
        let opened = if device.is_open() { Ok(()) } else { device.open() };
        match opened.and_then(|()| set_timeout(device, self.plan.timeout())) {
            Ok(actual) if actual < self.plan.loop_wait => {
                let loop_wait = self.plan.loop_wait;
                error!(
                    target: LOGGER,
                    "loop_wait of {loop_wait} seconds is too long for watchdog {actual} second timeout"
                );
                if device.can_be_disabled() == Ok(true) {
                    info!(target: LOGGER, "Disabling watchdog due to unsafe timeout.");
                    self.give_up();
                    return None;
                }
                Some(actual)
            }
            Ok(actual) => Some(actual),
            Err(reason) => {
                let name = device.describe();
                if self.plan.required() {
                    warn!(target: LOGGER, "Could not activate {name}: {reason}");
                } else {
                    debug!(target: LOGGER, "Could not activate {name}: {reason}");
                }
                self.give_up();
                None
            }
        }
    }

    /// Brings an armed device to a new plan.
    fn adapt(&mut self) -> Result<(), DeviceError> {
        if self.plan == self.applied {
            return Ok(());
        }
        let (before, now) = (&self.applied.section, &self.plan.section);
        if (&before.driver, &before.device) != (&now.driver, &now.device) {
            self.disable();
            self.renew_device();
            self.arm();
            return Ok(());
        }
        if self.plan.slack() < 0 || self.plan.required() && !self.applied.required() {
            // All the checks of an activation.
            self.arm();
            return Ok(());
        }
        let changed = self.plan.timeout() != self.applied.timeout();
        self.applied = self.plan.clone();
        if changed && let Some(device) = self.device.as_mut() {
            device.set_timeout(self.plan.timeout())?;
            let actual = device.timeout()?;
            self.tell("updated", actual);
        }
        Ok(())
    }

    fn tell(&mut self, what: &str, timeout: i64) {
        let slack = self.plan.slack();
        if let Some(device) = self.device.as_mut() {
            let name = device.describe();
            info!(target: LOGGER, "{name} {what} with {timeout} second timeout, timing slack {slack} seconds");
        }
    }

    /// By the present plan there is no watchdog.
    fn give_up(&mut self) {
        self.disable();
        self.device = None;
    }
}

fn set_timeout(device: &mut Device, seconds: i64) -> Result<i64, DeviceError> {
    if device.can_set_timeout()? {
        device.set_timeout(seconds)?;
    }
    device.timeout()
}

fn disarm(device: &mut Device) -> Result<(), DeviceError> {
    if device.can_be_disabled() == Ok(false) {
        // The longest possible time for people to clean up.
        device.keepalive()?;
        let left = device.timeout()?;
        warn!(
            target: LOGGER,
            "Watchdog implementation can't be disabled. System will reboot after {left} seconds when watchdog times out."
        );
    }
    device.close()
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
