//! The way to the keeper: a thread of its own, so that a device that hangs holds up nobody else.

use super::device::driver;
use super::keeper::{Keeper, WatchdogPlan, WatchdogState};
use crate::clock::Clock;
use crate::types::Mono;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use tokio::sync::oneshot;

/// Orders that may wait for a device that is slow; more are refused.
const LONGEST_QUEUE: usize = 16;

/// What the keeper is told.
#[derive(Clone, Debug)]
pub enum WatchdogOrder {
    /// Arm. What is armed only after this moment is disarmed again: nobody waits for it any more.
    Activate {
        /// The end of the patience.
        until: Mono,
    },
    /// Feed: the right to lead lasts until this moment. Afterwards nothing is fed by it.
    Feed {
        /// The end of the right.
        until: Mono,
    },
    /// Disarm.
    Disable,
    /// Other settings.
    Adopt(Box<WatchdogPlan>),
    /// Only tell the state.
    Look,
}

/// What came of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchdogAnswer {
    /// It was done; for [`WatchdogOrder::Activate`]: whoever wants to lead may do so.
    pub done: bool,
    /// How things stand now.
    pub state: WatchdogState,
}

type Waiting = (WatchdogOrder, oneshot::Sender<WatchdogAnswer>);

/// A handle to the keeper. Orders are carried out one after the other.
#[derive(Clone)]
pub struct WatchdogLine(Way);

#[derive(Clone)]
enum Way {
    Thread(SyncSender<Waiting>),
    Inline(Arc<Mutex<Keeper>>, Clock),
}

impl WatchdogLine {
    /// Starts the thread, which ends with the last handle. A device that is armed then stays armed.
    ///
    /// # Errors
    /// See [`Keeper::new`]; or there is no thread to be had.
    pub fn start(plan: WatchdogPlan, clock: Clock) -> Result<Self, String> {
        let keeper = Keeper::new(plan, driver)?;
        let (sender, receiver) = sync_channel(LONGEST_QUEUE);
        std::thread::Builder::new()
            .name("watchdog".to_owned())
            .spawn(move || work(keeper, &receiver, &clock))
            .map_err(|error| format!("the watchdog's thread cannot be started: {error}"))?;
        Ok(Self(Way::Thread(sender)))
    }

    /// A keeper on the caller's own thread, for a model of a device that never hangs.
    #[must_use]
    pub fn inline(keeper: Keeper, clock: Clock) -> Self {
        Self(Way::Inline(Arc::new(Mutex::new(keeper)), clock))
    }

    /// Hands an order over. `None`: the thread is busy with too many others.
    #[must_use]
    pub fn order(&self, order: WatchdogOrder) -> Option<oneshot::Receiver<WatchdogAnswer>> {
        let (answer, answered) = oneshot::channel();
        match &self.0 {
            Way::Thread(sender) => sender.try_send((order, answer)).ok()?,
            Way::Inline(keeper, clock) => {
                let done = carry_out(&mut *keeper.lock().ok()?, order, clock);
                answer.send(done).ok()?;
            }
        }
        Some(answered)
    }
}

fn work(mut keeper: Keeper, orders: &Receiver<Waiting>, clock: &Clock) {
    while let Ok((order, answer)) = orders.recv() {
        let done = carry_out(&mut keeper, order, clock);
        if answer.send(done).is_err() {
            tracing::debug!("nobody waits for the watchdog's answer any more");
        }
    }
    // Without its last word the device goes on counting: whoever held the line did not disarm it.
}

fn carry_out(keeper: &mut Keeper, order: WatchdogOrder, clock: &Clock) -> WatchdogAnswer {
    let mut done = true;
    match order {
        WatchdogOrder::Activate { until } => {
            done = keeper.activate();
            if clock.mono() > until {
                tracing::warn!("the watchdog was activated too late");
                keeper.disable();
                done = false;
            }
        }
        WatchdogOrder::Feed { until } if clock.mono() < until => keeper.keepalive(),
        // This process did not run for a while: somebody else may lead by now.
        WatchdogOrder::Feed { .. } => done = false,
        WatchdogOrder::Disable => keeper.disable(),
        WatchdogOrder::Adopt(plan) => keeper.adopt(*plan),
        WatchdogOrder::Look => {}
    }
    WatchdogAnswer { done, state: keeper.state() }
}

#[cfg(test)]
#[path = "line_tests.rs"]
mod tests;
