//! Keep blobs as files named by their content.
//!
//! `<dir>/<cid>` is a whole blob; `<dir>/staging/` holds what is still arriving. A blob gets its
//! name by one rename, after its bytes were flushed, and read back and hashed, or hashed one by one
//! before they were written. Beside it, `leaves/` has the table of each blob of several chunks,
//! `nodes/` the blocks of directories, and `pins/` what is not to be deleted.
//!
//! Invariants:
//! - Whatever happens to the process or the machine, a file under a blob's name hashes to it, as
//!   long as nobody but this program writes into the folder and the disk keeps what it stored.
//! - One process at a time stages a given blob; a second one is told so.
//! - A blob has its table before it has its name; a table that is lost or wrong is made again.
//! - Who holds the store by `hold` sees nothing deleted by `collect`.
//!
//! Not here: fetching, quotas, what to delete (`collect`).

mod error;
mod pieces;
mod pins;
mod staged;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub use error::StoreError;
pub(crate) use error::at;
pub use pieces::{ChunkBuffer, Pieces};
pub use pins::{PIN_COUNT_MAX, PIN_NAME_SIZE_MAX, Pin};
pub use staged::Staged;

use crate::cid::{Cid, Codec};
use crate::dag_pb::BLOCK_SIZE_MAX;
use crate::kernel_map::{Mapped, forget_pages};
use crate::leaves::Leaves;

/// Where arriving blobs wait, inside the folder of blobs.
const STAGING: &str = "staging";
/// Tables of chunks, inside the folder of blobs.
const LEAVES: &str = "leaves";
/// Blocks of directories, inside the folder of blobs.
const NODES: &str = "nodes";
/// Who adds holds it shared, who deletes holds it alone; inside `STAGING`.
const HOLD: &str = "hold.lock";

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
        for folder in [STAGING, LEAVES, NODES, pins::PINS].map(|name| dir.join(name)) {
            fs::create_dir_all(&folder).map_err(at(&folder))?;
        }
        Ok(Blobs { dir })
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keeps everything that is here from being deleted by `collect`, until the result is dropped.
    /// Waits while another process deletes.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn hold(&self) -> Result<Hold, StoreError> {
        let (path, file) = self.hold_file()?;
        file.lock_shared().map_err(at(&path))?;
        Ok(Hold { file })
    }

    /// Keeps others from adding, until the result is dropped.
    ///
    /// # Errors
    ///
    /// `Held` when someone is adding; `Io`.
    pub(crate) fn hold_alone(&self) -> Result<Hold, StoreError> {
        let (path, file) = self.hold_file()?;
        match file.try_lock() {
            Ok(()) => Ok(Hold { file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Held),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
        }
    }

    fn hold_file(&self) -> Result<(PathBuf, File), StoreError> {
        let path = self.dir.join(STAGING).join(HOLD);
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(at(&path))?;
        Ok((path, file))
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

    /// Deletes the blob with its table, and whatever is staged of it. A blob that is not here is no
    /// error.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn remove(&self, cid: &Cid) -> Result<(), StoreError> {
        remove_if_there(&self.path(cid))?;
        remove_if_there(&self.leaves_path(cid))?;
        remove_if_there(&self.staged_path(cid))
    }

    /// Opens the place where this blob's chunks arrive in any order, with what an earlier attempt
    /// left there.
    ///
    /// # Errors
    ///
    /// `Busy` when another process is at it; `Io`.
    pub fn pieces(&self, leaves: Arc<Leaves>) -> Result<Pieces, StoreError> {
        Pieces::open(self, leaves)
    }

    /// The table of a whole blob's chunks. One that is missing or damaged is made again, for which the
    /// blob is read.
    ///
    /// # Errors
    ///
    /// `Missing` when the blob is not here; `Mismatch` when it turns out damaged; `Io`.
    pub fn leaves(&self, cid: &Cid) -> Result<Leaves, StoreError> {
        let file = self.open_blob(cid)?;
        if cid.codec() == Codec::Raw {
            let size = file.metadata().map_err(at(&self.path(cid)))?.len();
            return Ok(Leaves::of_one(cid, size));
        }
        if let Ok(table) = self.read_leaves(cid) {
            return Ok(table);
        }
        let leaves = Cid::leaves_of_reader(&file).map_err(at(&self.path(cid)))?;
        let got = leaves.root();
        if got != *cid {
            return Err(StoreError::Mismatch { wanted: *cid, got });
        }
        self.write_leaves(cid, &leaves)?;
        Ok(leaves)
    }

    /// The table of chunks as it is on disk, whether the blob is whole or not.
    ///
    /// # Errors
    ///
    /// `Missing` when there is none, or a damaged one; `Io`.
    pub fn read_leaves(&self, cid: &Cid) -> Result<Leaves, StoreError> {
        let path = self.leaves_path(cid);
        let missing = || StoreError::Missing { cid: *cid };
        let size = fs::metadata(&path).map_err(|_| missing())?.len();
        if size > crate::leaves::TABLE_SIZE_MAX {
            return Err(missing());
        }
        let bytes = fs::read(&path).map_err(at(&path))?;
        Leaves::decode(cid, &bytes).map_err(|_| missing())
    }

    fn write_leaves(&self, cid: &Cid, leaves: &Leaves) -> Result<(), StoreError> {
        let mut table = self.begin()?;
        io::Write::write_all(&mut table.file, &leaves.encode()).map_err(at(&table.path))?;
        fs::rename(&table.path, self.leaves_path(cid)).map_err(at(&table.path))
    }

    /// Deletes a table of chunks. One that is not here is no error.
    pub(crate) fn remove_leaves(&self, cid: &Cid) -> Result<(), StoreError> {
        remove_if_there(&self.leaves_path(cid))
    }

    fn leaves_path(&self, cid: &Cid) -> PathBuf {
        self.dir.join(LEAVES).join(cid.to_string())
    }

    fn node_path(&self, cid: &Cid) -> PathBuf {
        self.dir.join(NODES).join(cid.to_string())
    }

    /// Keeps a directory's block, whose hash is checked.
    ///
    /// # Errors
    ///
    /// `Mismatch` when the block is another; `Io`.
    pub fn put_node(&self, cid: &Cid, block: &[u8]) -> Result<(), StoreError> {
        let got = Cid::of_block(cid.codec(), block);
        if got != *cid {
            return Err(StoreError::Mismatch { wanted: *cid, got });
        }
        if self.node_path(cid).is_file() {
            return Ok(());
        }
        let mut node = self.begin()?;
        io::Write::write_all(&mut node.file, block).map_err(at(&node.path))?;
        node.file.sync_all().map_err(at(&node.path))?;
        fs::rename(&node.path, self.node_path(cid)).map_err(at(&node.path))?;
        let folder = self.dir.join(NODES);
        sync_dir(&folder).map_err(at(&folder))
    }

    /// Whether a directory's block is here. It is not read.
    pub fn has_node(&self, cid: &Cid) -> bool {
        self.node_path(cid).is_file()
    }

    /// A directory's block; `None` where it is not here, or is damaged.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn node(&self, cid: &Cid) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.node_path(cid);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() <= BLOCK_SIZE_MAX as u64 => {}
            _ => return Ok(None),
        }
        let block = match fs::read(&path) {
            // Deleted since.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(at(&path))?,
        };
        Ok(cid.is_of(&block).then_some(block))
    }

    /// Deletes a directory's block. One that is not here is no error.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn remove_node(&self, cid: &Cid) -> Result<(), StoreError> {
        remove_if_there(&self.node_path(cid))
    }

    /// The names of all directories' blocks, in order.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn list_nodes(&self) -> Result<Vec<Cid>, StoreError> {
        list(&self.dir.join(NODES))
    }

    /// The names of blobs of which something is staged, in order.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn list_staged(&self) -> Result<Vec<Cid>, StoreError> {
        list(&self.dir.join(STAGING))
    }

    /// The names of blobs that have a table, in order; the blobs need not be here.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn list_leaves(&self) -> Result<Vec<Cid>, StoreError> {
        list(&self.dir.join(LEAVES))
    }

    /// Bytes of the blobs, the directories' blocks, and what is staged.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn used(&self) -> Result<u64, StoreError> {
        let mut used = 0u64;
        for folder in [self.dir.clone(), self.dir.join(NODES), self.dir.join(STAGING)] {
            for entry in fs::read_dir(&folder).map_err(at(&folder))? {
                // What is deleted meanwhile takes no room.
                if let Ok(metadata) = entry.map_err(at(&folder))?.metadata() {
                    used =
                        used.saturating_add(if metadata.is_file() { taken(&metadata) } else { 0 });
                }
            }
        }
        Ok(used)
    }

    /// Takes a blob's name from bytes that turned out not to be it. They are staged, so that what is
    /// right in them need not be fetched again.
    ///
    /// # Errors
    ///
    /// `Busy` when someone is staging the blob; `Io`.
    pub fn withdraw(&self, cid: &Cid) -> Result<(), StoreError> {
        let staged = self.stage(cid)?;
        let (from, to) = (self.path(cid), self.staged_path(cid));
        fs::rename(&from, &to).map_err(at(&from))?;
        set_writable(&to).map_err(at(&to))?;
        drop(staged);
        sync_dir(&self.dir).map_err(at(&self.dir))
    }

    /// The names of all whole blobs, in order. Files with other names are passed over.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn list(&self) -> Result<Vec<Cid>, StoreError> {
        list(&self.dir)
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

    pub(crate) fn open_blob(&self, cid: &Cid) -> Result<File, StoreError> {
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
    fn publish(&self, from: &Path, leaves: &Leaves) -> Result<Cid, StoreError> {
        let cid = &leaves.root();
        if leaves.count() > 1 {
            self.write_leaves(cid, leaves)?;
        }
        set_readonly(from).map_err(at(from))?;
        fs::rename(from, self.path(cid)).map_err(at(from))?;
        sync_dir(&self.dir).map_err(at(&self.dir))?;
        Ok(*cid)
    }
}

/// Keeps what is here from being deleted, or others from adding, until it is dropped.
#[derive(Debug)]
pub struct Hold {
    file: File,
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Closing would not do: see `Staged`.
        let _ = self.file.unlock();
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
        let leaves = settle(&mut self.file, &self.path)?;
        self.blobs.publish(&self.path, &leaves)
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
fn settle(file: &mut File, path: &Path) -> Result<Leaves, StoreError> {
    file.sync_all().map_err(at(path))?;
    io::Seek::rewind(file).map_err(at(path))?;
    let leaves = Cid::leaves_of_reader(&*file).map_err(at(path))?;
    forget_pages(file);
    Ok(leaves)
}

/// The names of blobs in a folder, in order.
fn list(folder: &Path) -> Result<Vec<Cid>, StoreError> {
    let mut cids = Vec::new();
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let name = entry.map_err(at(folder))?.file_name();
        cids.extend(name.to_str().and_then(|name| name.parse::<Cid>().ok()));
    }
    cids.sort();
    Ok(cids)
}

/// Bytes that a file takes on the disk; of one with holes only what is there.
#[cfg(unix)]
fn taken(metadata: &fs::Metadata) -> u64 {
    use std::os::unix::fs::MetadataExt;
    metadata.len().min(metadata.blocks().saturating_mul(512))
}

#[cfg(not(unix))]
fn taken(metadata: &fs::Metadata) -> u64 {
    metadata.len()
}

fn set_readonly(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions)
}

#[expect(clippy::permissions_set_readonly_false, reason = "on Unix it was written by this user")]
fn set_writable(path: &Path) -> io::Result<()> {
    let mut permissions = fs::metadata(path)?.permissions();
    permissions.set_readonly(false);
    #[cfg(unix)]
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o600);
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
