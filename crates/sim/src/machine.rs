//! The machine of a simulated node: a clock that the world sets, a disk, and things to do later.
//!
//! Invariants: a restart finds what was flushed; a file that was being written when the disk stopped
//! is found torn.
//!
//! Not here: when a machine crashes (`world`).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use consensus::machine::Machine;
use consensus::simulated::replica::Journal;

use crate::disk::Disk;

/// Something to be done later.
type Task = Box<dyn FnOnce() + Send>;

/// A machine. Clones are the same machine.
#[derive(Clone, Debug, Default)]
pub struct Simulated(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    now: u64,
    disk: Disk,
    files: BTreeMap<String, Vec<u8>>,
    journal: Notes,
    later: Vec<(u64, Task)>,
    habits: Habits,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "machine at {}", self.now)
    }
}

/// The journal: entries of one height, those that were flushed first.
#[derive(Clone, Debug, Default)]
struct Notes {
    height: u64,
    entries: Vec<Vec<u8>>,
    flushed: usize,
}

/// What a faulty machine does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Habits {
    /// The journal is empty after a crash.
    pub loses_journal: bool,
    /// Files are not there after a crash.
    pub loses_files: bool,
    /// What was synced may not be there after a crash.
    pub lies_about_sync: bool,
}

impl Simulated {
    /// A machine with an empty disk.
    #[must_use]
    pub fn new(habits: Habits) -> Simulated {
        let machine = Simulated::default();
        machine.inner().habits = habits;
        if habits.lies_about_sync {
            machine.disk().lie();
        }
        machine
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the clock, in milliseconds since 1970.
    pub fn set_clock(&self, now: u64) {
        self.inner().now = now;
    }

    /// The disk with the ledger's file.
    #[must_use]
    pub fn disk(&self) -> Disk {
        self.inner().disk.clone()
    }

    /// What is to be done later, and after how many milliseconds, since the last call.
    #[must_use]
    pub fn later(&self) -> Vec<(u64, Task)> {
        std::mem::take(&mut self.inner().later)
    }

    /// The machine after its power failed and came back. `luck` decides what was not yet safe.
    #[must_use]
    pub fn after_a_crash(&self, luck: u64) -> Simulated {
        let inner = self.inner();
        let (habits, mut journal) = (inner.habits, inner.journal.clone());
        let more = usize::try_from(luck % 4).unwrap_or(0);
        journal.entries.truncate(journal.flushed.saturating_add(more));
        journal.flushed = journal.entries.len();
        if habits.loses_journal {
            journal = Notes::default();
        }
        let files = if habits.loses_files { BTreeMap::new() } else { inner.files.clone() };
        let disk = inner.disk.after_a_crash(luck);
        let (now, later) = (inner.now, vec![]);
        Simulated(Arc::new(Mutex::new(Inner { now, disk, files, journal, later, habits })))
    }
}

impl Machine for Simulated {
    fn now(&self) -> u64 {
        self.inner().now
    }

    fn after(&self, wait: Duration, then: Task) {
        let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        self.inner().later.push((wait, then));
    }

    fn files(&self) -> io::Result<Vec<String>> {
        Ok(self.inner().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        let found = self.inner().files.get(name).cloned();
        found.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.disk.has_stopped() {
            inner.files.insert(name.to_owned(), bytes[..bytes.len() / 2].to_vec());
            return Err(io::Error::other("the disk has stopped"));
        }
        inner.files.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.inner().files.remove(name);
        Ok(())
    }
}

impl Journal for Simulated {
    fn begin(&mut self, height: u64) -> Vec<Vec<u8>> {
        let journal = &mut self.inner().journal;
        if journal.height != height {
            *journal = Notes { height, ..Notes::default() };
        }
        journal.entries.clone()
    }

    fn reset(&mut self, height: u64) {
        self.inner().journal = Notes { height, ..Notes::default() };
    }

    fn append(&mut self, entry: Vec<u8>) {
        self.inner().journal.entries.push(entry);
    }

    fn flush(&mut self) -> bool {
        let mut inner = self.inner();
        if inner.disk.has_stopped() {
            return false;
        }
        inner.journal.flushed = inner.journal.entries.len();
        true
    }
}
