//! The watch on all keys of the cluster: it only wakes, what changed is then read anew.

use super::caller::Caller;
use super::error::Failure;
use crate::dcs::wake::{Change, Wakes};
use etcd_client::{Event, EventType, WatchOptions, WatchStream};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// A watch must be there within this.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// So many of our own writes are remembered.
const OWN_WRITES: usize = 32;

/// What the rest of the session knows and the watch must too.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Revision of the store at the last read.
    pub revision: i64,
    /// The last read showed us as leader.
    pub leading: bool,
    own: VecDeque<i64>,
}

impl Seen {
    /// This revision was made by our own write.
    pub(super) fn note_own(&mut self, revision: i64) {
        if self.own.len() == OWN_WRITES {
            self.own.pop_front();
        }
        self.own.push_back(revision);
    }

    /// Whether a change is neither known from a read nor our own work.
    fn is_news(&self, revision: i64) -> bool {
        revision > self.revision && !self.own.contains(&revision)
    }
}

#[derive(Default)]
struct State {
    open: Option<(String, WatchStream)>,
    /// The first revision that was not seen yet; 0: none was.
    next: i64,
    broken: bool,
    pause: Duration,
}

pub(super) struct Watcher {
    prefix: String,
    wakes: Wakes,
    state: Mutex<State>,
}

impl Watcher {
    pub(super) fn new(prefix: String, wakes: Wakes) -> Self {
        Self { prefix, wakes, state: Mutex::default() }
    }

    /// Returns when there is news. Dropping the future loses nothing: the stream stays open for the next call.
    pub(super) async fn changed(&self, caller: &Caller, seen: &std::sync::Mutex<Seen>) {
        let mut state = self.state.lock().await;
        loop {
            let Some((_, stream)) = state.open.as_mut() else {
                if self.open(&mut state, caller, seen).await {
                    return;
                }
                continue;
            };
            let broken = match stream.message().await {
                Ok(Some(message)) if message.canceled() => {
                    tracing::debug!("watch canceled: {}", message.cancel_reason());
                    // What was compacted away is found by the next read.
                    state.next = state.next.max(message.compact_revision());
                    true
                }
                Ok(Some(message)) => {
                    if self.take(&mut state, message.events(), seen) {
                        return;
                    }
                    false
                }
                Ok(None) => true,
                Err(error) => {
                    tracing::debug!("watch: {error}");
                    true
                }
            };
            if broken {
                self.close(&mut state, caller);
            }
        }
    }

    /// Opens the watch. `true`: it was broken before, so there may be news.
    async fn open(&self, state: &mut State, caller: &Caller, seen: &std::sync::Mutex<Seen>) -> bool {
        if state.broken {
            sleep(state.pause.max(MIN_PAUSE)).await;
        }
        let endpoint = caller.rotation().current().map(str::to_owned).unwrap_or_default();
        let loaded = super::locked(seen).revision;
        let mut options = WatchOptions::new().with_prefix();
        let start = state.next.max(if loaded > 0 { loaded + 1 } else { 0 });
        if start > 0 {
            options = options.with_start_revision(start);
        }
        let opening = async {
            let client = caller.client(&endpoint, OPEN_TIMEOUT).await?;
            client.watch_client().watch(self.prefix.clone(), Some(options)).await.map_err(|e| Failure::of(&e))
        };
        let error = match timeout(OPEN_TIMEOUT, opening).await {
            Ok(Ok(stream)) => {
                state.open = Some((endpoint, stream));
                return std::mem::take(&mut state.broken);
            }
            Ok(Err(failure)) => failure.text().to_owned(),
            Err(_) => "timed out".to_owned(),
        };
        tracing::debug!("watch at {endpoint}: {error}");
        caller.forget_client(&endpoint);
        caller.rotation().failed(&endpoint);
        state.broken = true;
        state.pause = (state.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
        false
    }

    fn close(&self, state: &mut State, caller: &Caller) {
        if let Some((endpoint, _)) = state.open.take() {
            caller.forget_client(&endpoint);
            caller.rotation().failed(&endpoint);
        }
        state.broken = true;
        state.pause = (state.pause * 2).clamp(MIN_PAUSE, MAX_PAUSE);
    }

    /// Whether any of the events should wake.
    fn take(&self, state: &mut State, events: &[Event], seen: &std::sync::Mutex<Seen>) -> bool {
        state.pause = Duration::ZERO;
        let seen = super::locked(seen);
        let mut news = false;
        for event in events {
            let Some(kv) = event.kv() else { continue };
            state.next = state.next.max(kv.mod_revision() + 1);
            let change = match event.event_type() {
                EventType::Delete => Change::Deleted,
                EventType::Put if kv.create_revision() == kv.mod_revision() => Change::Created,
                EventType::Put => Change::Modified,
            };
            let key = String::from_utf8_lossy(kv.key());
            news |= seen.is_news(kv.mod_revision()) && self.wakes.wakes(&key, change, seen.leading);
        }
        news
    }
}
