//! Hold a blob that is still arriving.
//!
//! Invariants:
//! - Bytes are only ever appended, or all thrown away.
//! - The lock file next to the staged one is never deleted, so that whoever locks it has locked
//!   the same file as everyone else. It is empty.
//!
//! Not here: judging the bytes before they are all there.

use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::PathBuf;

use super::error::at;
use super::{Blobs, StoreError, settle};
use crate::cid::Cid;

/// A blob that is still arriving. Dropped before `commit`, it stays for a later attempt.
#[derive(Debug)]
pub struct Staged {
    blobs: Blobs,
    wanted: Cid,
    path: PathBuf,
    file: File,
    size: u64,
    /// Held until `drop`; the operating system frees it when the process ends, however it ends.
    lock: File,
}

impl Staged {
    pub(super) fn open(blobs: &Blobs, wanted: &Cid) -> Result<Staged, StoreError> {
        let path = blobs.staged_path(wanted);
        let lock = lock(path.with_extension("lock"), wanted)?;
        let file =
            File::options().read(true).append(true).create(true).open(&path).map_err(at(&path))?;
        let size = file.metadata().map_err(at(&path))?.len();
        Ok(Staged { blobs: blobs.clone(), wanted: *wanted, path, file, size, lock })
    }

    /// The blob that is to arrive.
    pub fn wanted(&self) -> Cid {
        self.wanted
    }

    /// Bytes staged so far, those of earlier attempts included.
    pub fn len(&self) -> u64 {
        self.size
    }

    /// Whether nothing is staged yet.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Appends to what is staged.
    ///
    /// # Errors
    ///
    /// `Io`; some of the bytes may have been appended then, and `len` tells how many.
    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let written = self.file.write_all(bytes);
        self.size = self.file.metadata().map_err(at(&self.path))?.len();
        written.map_err(at(&self.path))
    }

    /// Throws away what is staged, to start from the first byte again.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn clear(&mut self) -> Result<(), StoreError> {
        self.file.set_len(0).map_err(at(&self.path))?;
        self.size = 0;
        Ok(())
    }

    /// Throws away what is staged, and the file with it.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn discard(self) -> Result<(), StoreError> {
        fs::remove_file(&self.path).map_err(at(&self.path))
    }

    /// Makes the staged bytes the blob. What is not that blob is thrown away.
    ///
    /// # Errors
    ///
    /// `Mismatch` when the bytes are not those of the wanted blob; `Io`.
    pub fn commit(mut self) -> Result<(), StoreError> {
        let leaves = settle(&mut self.file, &self.path)?;
        let got = leaves.root();
        if got == self.wanted {
            return self.blobs.publish(&self.path, &leaves).map(|_| ());
        }
        fs::remove_file(&self.path).map_err(at(&self.path))?;
        Err(StoreError::Mismatch { wanted: self.wanted, got })
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Closing the file would not do: a child that another thread is just starting shares it
        // until it runs its own program.
        let _ = self.lock.unlock();
    }
}

pub(super) fn lock(path: PathBuf, cid: &Cid) -> Result<File, StoreError> {
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Busy { cid: *cid }),
        Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
    }
}
