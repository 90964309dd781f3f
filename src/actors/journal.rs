//! The journal of cycles: what was known, what was done, what was decided, so that it can be decided again.
//!
//! In memory a bounded ring of the cycles in which something happened, each with the quiet one before it, and the latest
//! cycle. With `PATRONI_JOURNAL_DIR` set they are also written to `patroni.journal` there (two files of 10 MB).

use crate::ha::{Command, Finish, View};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

/// The environment variable that names the directory of the journal's files.
pub const DIRECTORY_VARIABLE: &str = "PATRONI_JOURNAL_DIR";

/// Bounds of the ring: the journal must not show in the agent's memory.
const MOST_LINES: usize = 500;
const MOST_BYTES: usize = 256 * 1024;
/// Size at which the file is put aside.
const FILE_BYTES: u64 = 10_000_000;
/// Lines that may wait for the disk.
const QUEUE: usize = 64;

/// One cycle. It holds no secrets, because views hold none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The view of the last round: `done` holds all commands of the cycle with their outcomes.
    pub view: View,
    /// How many of them each round asked for.
    pub rounds: Vec<usize>,
    /// The decision.
    pub finish: Finish,
}

impl Record {
    /// Whether nothing happened that did not happen in `before` as well.
    fn is_quiet_after(&self, before: &Self) -> bool {
        let finish = &self.finish;
        finish.log.is_empty()
            && finish.answers.is_empty()
            && finish.exit.is_none()
            && finish.rule == before.finish.rule
            && finish.sentence == before.finish.sentence
            && self.commands().eq(before.commands())
    }

    fn commands(&self) -> impl Iterator<Item = std::mem::Discriminant<Command>> {
        let done = self.view.done.iter().map(|(command, _)| command);
        done.chain(&self.finish.commands).map(std::mem::discriminant)
    }
}

/// The journal of one agent.
#[derive(Debug, Default)]
pub struct Journal {
    ring: VecDeque<Arc<str>>,
    bytes: usize,
    latest: Option<Record>,
    /// The latest record is not in the ring.
    latest_is_quiet: bool,
    file: Option<SyncSender<Arc<str>>>,
}

impl Journal {
    /// A journal in memory.
    #[must_use]
    pub fn in_memory() -> Self {
        Self::default()
    }

    /// A journal that also writes to this directory, in a thread of its own: the disk may hang.
    ///
    /// # Errors
    /// The directory cannot be written to, or no thread can be started.
    pub fn in_directory(directory: &Path) -> std::io::Result<Self> {
        let mut file = JournalFile::open(directory.join("patroni.journal"))?;
        let (sender, lines) = sync_channel::<Arc<str>>(QUEUE);
        std::thread::Builder::new().name("journal".to_owned()).spawn(move || {
            for line in lines {
                if let Err(error) = file.write(&line) {
                    tracing::warn!("the journal could not be written: {error}");
                }
            }
        })?;
        Ok(Self { file: Some(sender), ..Self::default() })
    }

    /// Takes a cycle in.
    pub fn record(&mut self, record: Record) {
        if self.latest.as_ref().is_some_and(|before| record.is_quiet_after(before)) {
            self.latest_is_quiet = true;
            self.latest = Some(record);
            return;
        }
        if self.latest_is_quiet
            && let Some(before) = self.latest.take()
        {
            self.keep(&before);
        }
        self.keep(&record);
        self.latest_is_quiet = false;
        self.latest = Some(record);
    }

    /// The cycles as JSON lines, oldest first, the latest always among them.
    #[must_use]
    pub fn lines(&self) -> Vec<Arc<str>> {
        let latest = self.latest.as_ref().filter(|_| self.latest_is_quiet).and_then(to_line);
        self.ring.iter().cloned().chain(latest).collect()
    }

    fn keep(&mut self, record: &Record) {
        let Some(line) = to_line(record) else { return };
        if let Some(file) = &self.file
            && let Err(TrySendError::Full(_)) = file.try_send(line.clone())
        {
            metrics::counter!("patroni_journal_lines_lost_total").increment(1);
        }
        self.bytes += line.len();
        self.ring.push_back(line);
        while self.ring.len() > MOST_LINES || (self.bytes > MOST_BYTES && self.ring.len() > 1) {
            self.bytes -= self.ring.pop_front().map_or(0, |l| l.len());
        }
    }
}

fn to_line(record: &Record) -> Option<Arc<str>> {
    serde_json::to_string(record)
        .map_err(|error| tracing::warn!("a cycle could not be recorded: {error}"))
        .ok()
        .map(Arc::from)
}

struct JournalFile {
    path: PathBuf,
    file: std::fs::File,
    size: u64,
}

impl JournalFile {
    fn open(path: PathBuf) -> std::io::Result<Self> {
        let file = std::fs::File::options().create(true).append(true).open(&path)?;
        let size = file.metadata()?.len();
        Ok(Self { path, file, size })
    }

    fn write(&mut self, line: &str) -> std::io::Result<()> {
        if self.size > FILE_BYTES {
            std::fs::rename(&self.path, self.path.with_extension("journal.1"))?;
            *self = Self::open(self.path.clone())?;
        }
        writeln!(self.file, "{line}")?;
        self.size += line.len() as u64 + 1;
        Ok(())
    }
}
