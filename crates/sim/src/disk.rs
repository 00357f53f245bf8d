//! A disk that can stop after any operation, and what a restart finds on it.
//!
//! Invariants:
//! - What was synced is found again, unless the disk lies; of what was written since, each write may be
//!   found whole, in part, or not at all.
//!
//! Not here: what is written, and when the power fails.

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

/// One file's bytes.
#[derive(Debug, Default)]
struct Content {
    /// What is read back while the machine runs.
    live: Vec<u8>,
    /// Writes since the last sync, in order: where, what was there, what was written.
    since: Vec<Write>,
    /// Those before the last sync, if the disk lies about it.
    before: Vec<Write>,
    /// Operations left before the disk stops; none if it never does.
    left: Option<u64>,
    done: u64,
    is_lying: bool,
}

#[derive(Debug)]
struct Write {
    at: usize,
    old: Vec<u8>,
    new: Vec<u8>,
}

impl Content {
    fn step(&mut self) -> Result<(), Error> {
        self.done += 1;
        match &mut self.left {
            Some(0) => Err(Error::other("the disk has stopped")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What a restart finds: all that was synced, and some of the later writes, some of them torn.
    fn after_a_crash(&self, luck: u64) -> Vec<u8> {
        let mut found = self.live.clone();
        for Write { at, old, .. } in self.before.iter().chain(&self.since).rev() {
            // A file does not shrink below what the database believes its length to be.
            found.resize(found.len().max(at + old.len()), 0);
            found[*at..at + old.len()].copy_from_slice(old);
        }
        if self.is_lying {
            return found;
        }
        for (index, Write { at, new, .. }) in (0u64..).zip(&self.since) {
            let kept = match (luck >> (index % 62)) % 4 {
                0 => 0,
                1 => new.len() / 2,
                _ => new.len(),
            };
            found.resize(found.len().max(at + kept), 0);
            found[*at..at + kept].copy_from_slice(&new[..kept]);
        }
        found
    }
}

/// One file on a disk. Clones are the same file.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Mutex<Content>>);

impl Disk {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Operations so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.content().done
    }

    /// Stops the disk after so many further operations.
    pub fn stop_after(&self, operations: u64) {
        self.content().left = Some(operations);
    }

    /// Whether the disk has stopped.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        self.content().left == Some(0)
    }

    /// Makes the disk one that says it has synced when it has only finished the sync before.
    pub fn lie(&self) {
        self.content().is_lying = true;
    }

    /// The disk that a restart finds. `luck` decides what of the writes since the last sync is there.
    #[must_use]
    pub fn after_a_crash(&self, luck: u64) -> Disk {
        let (live, is_lying) = {
            let content = self.content();
            (content.after_a_crash(luck), content.is_lying)
        };
        Disk(Arc::new(Mutex::new(Content { live, is_lying, ..Content::default() })))
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.content().live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let content = self.content();
        let from = place(offset)?;
        let bytes = content.live.get(from..from + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        let (mut content, length) = (self.content(), place(length)?);
        content.step()?;
        if length < content.live.len() {
            let old = content.live.split_off(length);
            content.since.push(Write { at: length, old, new: vec![] });
        }
        content.live.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut content = self.content();
        content.step()?;
        let since = std::mem::take(&mut content.since);
        if content.is_lying {
            content.before = since;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        let (mut content, at) = (self.content(), place(offset)?);
        content.step()?;
        let live = content.live.get_mut(at..at + data.len());
        let live = live.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?;
        let old = live.to_vec();
        live.copy_from_slice(data);
        content.since.push(Write { at, old, new: data.to_vec() });
        Ok(())
    }
}

fn place(offset: u64) -> Result<usize, Error> {
    usize::try_from(offset).map_err(Error::other)
}
