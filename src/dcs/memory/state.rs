//! Keys, versions, leases and the log of changes.

use crate::cluster::{Keys, RawKey, Revision};
use crate::dcs::wake::Change;
use crate::types::Mono;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

/// So many changes are remembered for watches; who fell further behind counts as changed.
const LOG_LENGTH: usize = 4096;

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub value: String,
    pub revision: u64,
    pub lease: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Logged {
    pub revision: u64,
    pub key: String,
    pub change: Change,
    /// The session that wrote; 0: expiry, or somebody without session.
    pub by: u64,
}

#[derive(Clone, Copy, Debug)]
struct LeaseRecord {
    ttl: Duration,
    until: Mono,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub revision: u64,
    pub entries: BTreeMap<String, Entry>,
    leases: HashMap<u64, LeaseRecord>,
    last_lease: u64,
    pub log: VecDeque<Logged>,
}

impl State {
    /// Ends leases whose time has come, and deletes their keys. To be called before anything else.
    pub(super) fn expire(&mut self, now: Mono) {
        let mut ended: Vec<u64> = self.leases.iter().filter(|(_, l)| l.until <= now).map(|(id, _)| *id).collect();
        ended.sort_unstable();
        for lease in ended {
            self.revoke(lease, 0);
        }
    }

    pub(super) fn next_expiry(&self) -> Option<Mono> {
        self.leases.values().map(|l| l.until).min()
    }

    pub(super) fn grant(&mut self, ttl: Duration, now: Mono) -> u64 {
        self.last_lease += 1;
        self.leases.insert(self.last_lease, LeaseRecord { ttl, until: now + ttl });
        self.last_lease
    }

    /// `false`: there is no such lease (any more).
    pub(super) fn keep_alive(&mut self, lease: u64, now: Mono) -> bool {
        let record = self.leases.get_mut(&lease);
        record.is_some_and(|record| {
            record.until = now + record.ttl;
            true
        })
    }

    pub(super) fn revoke(&mut self, lease: u64, by: u64) {
        self.leases.remove(&lease);
        let bound: Vec<String> =
            self.entries.iter().filter(|(_, e)| e.lease == lease && lease != 0).map(|(k, _)| k.clone()).collect();
        for key in bound {
            self.delete(&key, by);
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// Returns the key's new version. `lease` 0: bound to none.
    pub(super) fn put(&mut self, key: &str, value: &str, lease: u64, by: u64) -> Revision {
        self.revision += 1;
        let entry = Entry { value: value.to_owned(), revision: self.revision, lease };
        let change =
            if self.entries.insert(key.to_owned(), entry).is_some() { Change::Modified } else { Change::Created };
        self.note(key, change, by);
        Revision(self.revision)
    }

    pub(super) fn delete(&mut self, key: &str, by: u64) {
        if self.entries.remove(key).is_some() {
            self.revision += 1;
            self.note(key, Change::Deleted, by);
        }
    }

    pub(super) fn delete_prefix(&mut self, prefix: &str, by: u64) {
        let doomed: Vec<String> = self.entries.keys().filter(|k| k.starts_with(prefix)).cloned().collect();
        for key in doomed {
            self.delete(&key, by);
        }
    }

    pub(super) fn view(&self, keys: &Keys, own_lease: u64) -> crate::cluster::Cluster {
        let prefix = keys.prefix();
        let entries = self.entries.iter().filter(|(key, _)| key.starts_with(&prefix));
        crate::cluster::Cluster::from_keys(
            keys,
            entries.map(|(key, entry)| RawKey {
                key,
                value: entry.value.as_bytes(),
                revision: Revision(entry.revision),
                own_session: own_lease != 0 && entry.lease == own_lease,
            }),
        )
    }

    fn note(&mut self, key: &str, change: Change, by: u64) {
        if self.log.len() == LOG_LENGTH {
            self.log.pop_front();
        }
        self.log.push_back(Logged { revision: self.revision, key: key.to_owned(), change, by });
    }
}
