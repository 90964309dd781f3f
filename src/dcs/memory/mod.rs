//! The store in memory: for simulation and tests. One [`MemoryStore`], many sessions, faults on demand.
//!
//! Time comes from the [`Clock`] and tokio's timers alone, so on a paused runtime it all runs in virtual time.

mod faults;
mod session;
mod state;

pub use faults::{Fate, Faults, Loss, Verb};
pub use session::MemorySession;

use crate::clock::Clock;
use crate::cluster::Keys;
use crate::types::Mono;
use state::State;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// A store that all its sessions share. Clones are the same store.
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
    faults: Mutex<Option<Faults>>,
    cut: Mutex<BTreeSet<String>>,
    /// Rings at every change of keys or connections.
    bell: watch::Sender<()>,
    sessions: AtomicU64,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        let shared = Shared {
            clock,
            state: Mutex::default(),
            faults: Mutex::default(),
            cut: Mutex::default(),
            bell: watch::Sender::new(()),
            sessions: AtomicU64::new(0),
        };
        Self { shared: Arc::new(shared) }
    }

    /// A session for a member. A second one of the same name is another process of that member.
    #[must_use]
    pub fn session(&self, keys: &Keys, name: &str, ttl: Duration) -> MemorySession {
        let number = self.shared.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        MemorySession::new(Arc::clone(&self.shared), keys.clone(), Some(name), ttl, number)
    }

    /// Access without session, as patronictl has it.
    #[must_use]
    pub fn without_session(&self, keys: &Keys) -> MemorySession {
        let number = self.shared.sessions.fetch_add(1, Ordering::Relaxed) + 1;
        MemorySession::new(Arc::clone(&self.shared), keys.clone(), None, Duration::from_secs(30), number)
    }

    /// From now on `faults` decides what becomes of requests; `None`: all is well.
    pub fn set_faults(&self, faults: Option<Faults>) {
        *locked(&self.shared.faults) = faults;
    }

    /// Cuts the connection between a member and the store, or mends it: requests vanish, watches are silent. A watch that
    /// was cut counts as changed when it is mended.
    pub fn cut(&self, name: &str, cut: bool) {
        let mut names = locked(&self.shared.cut);
        let _ = if cut { names.insert(name.to_owned()) } else { names.remove(name) };
        drop(names);
        self.shared.ring();
    }

    /// Writes any key as somebody outside would.
    pub fn put(&self, key: &str, value: &str) {
        self.shared.state().put(key, value, 0, 0);
        self.shared.ring();
    }

    /// Deletes any key as somebody outside would.
    pub fn delete(&self, key: &str) {
        self.shared.state().delete(key, 0);
        self.shared.ring();
    }

    /// All keys and values at this moment.
    #[must_use]
    pub fn entries(&self) -> BTreeMap<String, String> {
        self.shared.state().entries.iter().map(|(key, entry)| (key.clone(), entry.value.clone())).collect()
    }
}

impl Shared {
    /// The state at this moment: what has expired is gone.
    fn state(&self) -> MutexGuard<'_, State> {
        let mut state = locked(&self.state);
        state.expire(self.clock.mono());
        state
    }

    fn ring(&self) {
        self.bell.send_replace(());
    }

    fn is_cut(&self, name: &str) -> bool {
        locked(&self.cut).contains(name)
    }

    fn fate(&self, name: &str, verb: Verb) -> Fate {
        if self.is_cut(name) {
            return Fate { loss: Loss::Request, ..Fate::default() };
        }
        let faults = locked(&self.faults).clone();
        faults.map_or_else(Fate::default, |decide| decide(name, verb))
    }

    /// Until the next lease ends, if there is any.
    fn until_expiry(&self) -> Option<Duration> {
        let now: Mono = self.clock.mono();
        locked(&self.state).next_expiry().map(|at| at.since(now))
    }
}

/// The lock of a mutex whose holders cannot leave it half changed.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
