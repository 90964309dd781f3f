//! Between those who log and the disk: a bounded queue and one thread that writes (LOG-04). A slow disk costs lines, not
//! the heartbeat.

use super::LogError;
use super::filter::Filter;
use super::level::Level;
use super::output::Output;
use super::record::Record;
use crate::config::settings::Log;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

const DEFAULT_LIMIT: usize = 1000;

/// What layer, handle and writer share.
pub(super) struct Shared {
    filter: RwLock<Arc<Filter>>,
    pub queue: Queue,
    output: Mutex<Output>,
}

/// The records that wait.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Record>,
    limit: usize,
    lost: u64,
    writer: Writer,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Writer {
    /// Records are written by those who log.
    #[default]
    None,
    Running,
    Ending,
}

/// A panic elsewhere must not silence the log.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub fn new(output: Output) -> Self {
        let state = State { limit: DEFAULT_LIMIT, ..State::default() };
        Self {
            filter: RwLock::default(),
            queue: Queue { state: Mutex::new(state), changed: Condvar::new() },
            output: Mutex::new(output),
        }
    }

    pub fn filter(&self) -> Arc<Filter> {
        self.filter.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Puts settings in force; returns warnings.
    pub fn configure(&self, log: &Log) -> Result<Vec<String>, LogError> {
        let filter = Filter::new(log);
        let warnings = lock(&self.output).configure(log, &filter)?;
        *self.filter.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(filter);
        lock(&self.queue.state).limit = log.max_queue_size;
        Ok(warnings)
    }

    /// Takes a record.
    pub fn emit(&self, record: Record) {
        if let Some(record) = self.queue.put(record) {
            lock(&self.output).handle(record);
        }
    }

    #[cfg(test)]
    pub fn output(&self) -> MutexGuard<'_, Output> {
        lock(&self.output)
    }

    fn write_until_end(&self) {
        while let Some(record) = self.queue.take() {
            lock(&self.output).handle(record);
        }
    }
}

impl Queue {
    /// Starts the thread that writes; once is enough.
    pub fn start(shared: &Arc<Shared>) -> Result<(), LogError> {
        let mut state = lock(&shared.queue.state);
        if state.writer == Writer::None {
            let writer = shared.clone();
            std::thread::Builder::new()
                .name("log".into())
                .spawn(move || writer.write_until_end())
                .map_err(|error| LogError::Thread(error.to_string()))?;
            state.writer = Writer::Running;
        }
        Ok(())
    }

    pub fn size(&self) -> usize {
        lock(&self.state).records.len()
    }

    pub fn lost(&self) -> u64 {
        lock(&self.state).lost
    }

    /// Queues a record, or gives it back when there is no writer.
    fn put(&self, record: Record) -> Option<Record> {
        let mut state = lock(&self.state);
        if state.writer == Writer::None {
            return Some(record);
        }
        if state.records.len() >= state.limit {
            state.lost = state.lost.saturating_add(1);
            return None;
        }
        let report = (state.lost > 0).then(|| lost_records(state.lost, &record));
        state.records.push_back(record);
        if let Some(report) = report
            && state.records.len() < state.limit
        {
            state.records.push_back(report);
            state.lost = 0;
        }
        drop(state);
        self.changed.notify_all();
        None
    }

    /// Waits for a record; `None` when the queue was ended and is empty.
    fn take(&self) -> Option<Record> {
        let mut state = lock(&self.state);
        loop {
            if let Some(record) = state.records.pop_front() {
                return Some(record);
            }
            if state.writer == Writer::Ending {
                state.writer = Writer::None;
                self.changed.notify_all();
                return None;
            }
            // Woken by every record and by the end; a deadline would only cost idle wake-ups.
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the writer when all is written.
    pub fn shutdown(&self, patience: Duration) -> Result<(), LogError> {
        let mut state = lock(&self.state);
        if state.writer == Writer::None {
            return Ok(());
        }
        if state.records.len() >= state.limit {
            return Err(LogError::Stuck);
        }
        state.writer = Writer::Ending;
        self.changed.notify_all();
        let waited = self.changed.wait_timeout_while(state, patience, |state| state.writer != Writer::None);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if state.writer == Writer::None { Ok(()) } else { Err(LogError::Stuck) }
    }
}

fn lost_records(lost: u64, after: &Record) -> Record {
    Record {
        level: Level::Warning,
        message: format!("QueueHandler has lost {lost} log records"),
        name: "patroni.log".into(),
        pathname: file!(),
        line: line!(),
        fields: Vec::new(),
        ..after.clone()
    }
}
