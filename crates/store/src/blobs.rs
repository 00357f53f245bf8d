//! Keep blobs as files named by their content.
//!
//! `<dir>/<cid>` is a whole blob; `<dir>/staging/` holds what is still arriving. A blob gets its
//! name by one rename, after its bytes were flushed, read back and hashed.
//!
//! Invariants:
//! - Whatever happens to the process or the machine, a file under a blob's name hashes to it, as
//!   long as nobody but this program writes into the folder and the disk keeps what it stored.
//! - One process at a time stages a given blob; a second one is told so.
//!
//! Not here: fetching, quotas, deciding what to delete.

mod error;
mod staged;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use error::StoreError;
use error::at;
pub use staged::Staged;

use crate::cid::Cid;
use crate::kernel_map::{Mapped, forget_pages};

/// Where arriving blobs wait, inside the folder of blobs.
const STAGING: &str = "staging";

/// How the files of blobs whose name is not known yet begin.
const UNNAMED: &str = "unnamed-";

/// Tells apart the blobs of unknown name that one process stages at the same time.
static UNNAMED_COUNT: AtomicU64 = AtomicU64::new(0);

/// A folder of blobs.
#[derive(Clone, Debug)]
pub struct Blobs {
    dir: PathBuf,
}

impl Blobs {
    /// Opens the folder, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// `Io` when the folder cannot be made.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Blobs, StoreError> {
        let dir = dir.into();
        let staging = dir.join(STAGING);
        fs::create_dir_all(&staging).map_err(at(&staging))?;
        Ok(Blobs { dir })
    }

    /// Where the blob is, or would be. The file may be opened for reading only.
    pub fn path(&self, cid: &Cid) -> PathBuf {
        self.dir.join(cid.to_string())
    }

    /// Whether the whole blob is here. Its bytes are not hashed again; see `verify`.
    pub fn contains(&self, cid: &Cid) -> bool {
        self.path(cid).is_file()
    }

    /// Opens the place where this blob arrives, with what an earlier attempt left there.
    ///
    /// # Errors
    ///
    /// `Busy` when another process, or another `Staged` of this one, is at it; `Io`.
    pub fn stage(&self, cid: &Cid) -> Result<Staged, StoreError> {
        Staged::open(self, cid)
    }

    /// Keeps the bytes that `reader` gives until its end, and names them.
    ///
    /// # Errors
    ///
    /// `Source` when the reader fails; `Io`.
    pub fn put(&self, mut reader: impl Read) -> Result<Cid, StoreError> {
        let mut blob = self.begin()?;
        copy(&mut reader, &mut blob.file, &blob.path)?;
        blob.commit()
    }

    /// Begins a blob whose name is not known before its last byte.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn begin(&self) -> Result<Unnamed<'_>, StoreError> {
        let (path, file) = self.create_unnamed()?;
        Ok(Unnamed { blobs: self, path, file })
    }

    /// Deletes the blob, and whatever is staged of it. A blob that is not here is no error.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn remove(&self, cid: &Cid) -> Result<(), StoreError> {
        remove_if_there(&self.path(cid))?;
        remove_if_there(&self.staged_path(cid))
    }

    /// The names of all whole blobs, in order. Files with other names are passed over.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn list(&self) -> Result<Vec<Cid>, StoreError> {
        let mut cids = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(at(&self.dir))? {
            let name = entry.map_err(at(&self.dir))?.file_name();
            cids.extend(name.to_str().and_then(|name| name.parse::<Cid>().ok()));
        }
        cids.sort();
        Ok(cids)
    }

    /// Reads the whole blob and compares its hash with its name.
    ///
    /// # Errors
    ///
    /// `Missing` when it is not here; `Mismatch` when the disk holds other bytes; `Io`.
    pub fn verify(&self, cid: &Cid) -> Result<(), StoreError> {
        let file = self.open_blob(cid)?;
        let got = Cid::of_reader(&file).map_err(at(&self.path(cid)))?;
        forget_pages(&file);
        if got == *cid { Ok(()) } else { Err(StoreError::Mismatch { wanted: *cid, got }) }
    }

    /// Maps the blob into memory, read-only. Its bytes are not hashed again.
    ///
    /// # Errors
    ///
    /// `Missing` when it is not here; `Io`.
    pub fn map(&self, cid: &Cid) -> Result<Arc<Mapped>, StoreError> {
        let file = self.open_blob(cid)?;
        Mapped::of(&file).map(Arc::new).map_err(at(&self.path(cid)))
    }

    fn open_blob(&self, cid: &Cid) -> Result<File, StoreError> {
        let path = self.path(cid);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => StoreError::Missing { cid: *cid },
            _ => StoreError::Io { path, source },
        })
    }

    fn staged_path(&self, cid: &Cid) -> PathBuf {
        self.dir.join(STAGING).join(cid.to_string())
    }

    /// A new file in `staging`, locked, that nobody else writes to, in this process or another.
    fn create_unnamed(&self) -> Result<(PathBuf, File), StoreError> {
        self.sweep()?;
        loop {
            let count = UNNAMED_COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{UNNAMED}{}-{count}", std::process::id());
            let path = self.dir.join(STAGING).join(name);
            match File::options().read(true).write(true).create_new(true).open(&path) {
                Ok(file) => match file.try_lock() {
                    Ok(()) if path.is_file() => return Ok((path, file)),
                    // Another process swept it away before it was locked.
                    Ok(()) | Err(TryLockError::WouldBlock) => {}
                    Err(TryLockError::Error(source)) => {
                        return Err(StoreError::Io { path, source });
                    }
                },
                // Left over from an earlier process with the same number.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(StoreError::Io { path, source }),
            }
        }
    }

    /// Deletes what processes that ended too early were writing. Whoever still writes holds a lock.
    fn sweep(&self) -> Result<(), StoreError> {
        let staging = self.dir.join(STAGING);
        for entry in fs::read_dir(&staging).map_err(at(&staging))? {
            let entry = entry.map_err(at(&staging))?;
            let is_unnamed = entry.file_name().to_string_lossy().starts_with(UNNAMED);
            if is_unnamed && File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok()) {
                // Another process may have swept it already; what stays is swept the next time.
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }

    /// Gives a settled file its name as a blob, so that it survives a loss of power.
    fn publish(&self, from: &Path, cid: &Cid) -> Result<(), StoreError> {
        set_readonly(from).map_err(at(from))?;
        fs::rename(from, self.path(cid)).map_err(at(from))?;
        sync_dir(&self.dir).map_err(at(&self.dir))
    }
}

/// A blob that is being written; dropped without `commit`, it leaves nothing. What a process that
/// was killed leaves is deleted when the next one begins a blob.
#[derive(Debug)]
pub struct Unnamed<'a> {
    blobs: &'a Blobs,
    path: PathBuf,
    file: File,
}

impl Unnamed<'_> {
    /// Names what was written by its hash, and keeps it.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn commit(mut self) -> Result<Cid, StoreError> {
        let cid = settle(&mut self.file, &self.path)?;
        self.blobs.publish(&self.path, &cid)?;
        Ok(cid)
    }
}

impl io::Write for Unnamed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Unnamed<'_> {
    fn drop(&mut self) {
        // Best effort; after `commit` the file has its other name and there is nothing to remove.
        let _ = fs::remove_file(&self.path);
    }
}

fn copy(reader: &mut impl Read, file: &mut File, path: &Path) -> Result<(), StoreError> {
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => io::Write::write_all(file, &buffer[..count]).map_err(at(path))?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(source) => return Err(StoreError::Source { source }),
        }
    }
}

/// Flushes the file to disk, then names what it holds by reading it back.
fn settle(file: &mut File, path: &Path) -> Result<Cid, StoreError> {
    file.sync_all().map_err(at(path))?;
    io::Seek::rewind(file).map_err(at(path))?;
    let cid = Cid::of_reader(&*file).map_err(at(path))?;
    forget_pages(file);
    Ok(cid)
}

fn set_readonly(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path)(error)),
        _ => Ok(()),
    }
}

/// Flushes the names in a folder. Where folders cannot be opened, the file system does it itself.
#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_dir(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests;
