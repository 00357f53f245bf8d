//! Hold a blob whose chunks arrive in any order.
//!
//! Invariants:
//! - A chunk is hashed before it is written, and what an earlier attempt left is hashed before it
//!   counts.
//! - It shares its place and its lock with `Staged`: one process at a time, by either way.
//!
//! Not here: which chunk comes from where.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::error::at;
use super::staged::lock;
use super::{Blobs, StoreError};
use crate::cid::{CHUNK_SIZE, Cid};
use crate::leaves::Leaves;

/// A blob whose chunks arrive in any order. Dropped before `commit`, it stays for a later attempt.
#[derive(Debug)]
pub struct Pieces {
    blobs: Blobs,
    leaves: Arc<Leaves>,
    root: Cid,
    path: PathBuf,
    file: File,
    /// The same file past the system's memory of files, where there is a way: copying into that memory
    /// and writing it out later took most of the time of a fetch to a fast disk.
    direct: Option<File>,
    here: Mutex<Here>,
    /// Whether the file has its name as a blob; nothing is written to it from then on.
    closed: RwLock<bool>,
    /// Whose turn it is to write. The system lets one at a time write to a file in any case, and whoever
    /// waits for it there keeps a core busy.
    turn: Mutex<()>,
    lock: File,
}

/// Bytes after which what has come is written to the disk, so that little is left to wait for at the
/// end: at 1 GB/s 16 times a second.
const FLUSH_SIZE: u64 = 64 << 20;

/// Where memory and files must begin and end to be written directly: what every disk takes.
const ALIGNMENT: usize = 4096;

/// Memory for a chunk that can be written directly. It is used again and again: new memory would have
/// to be cleared first.
#[derive(Debug, Default)]
pub struct ChunkBuffer(Vec<u8>);

/// Which chunks are here.
#[derive(Debug)]
struct Here {
    chunks: Vec<bool>,
    count: usize,
    size: u64,
    /// Bytes that came since the file was last written to the disk, but for those that went there
    /// directly.
    unwritten: u64,
}

impl Pieces {
    pub(super) fn open(blobs: &Blobs, leaves: Arc<Leaves>) -> Result<Pieces, StoreError> {
        let root = leaves.root();
        let path = blobs.staged_path(&root);
        let lock = lock(path.with_extension("lock"), &root)?;
        let mut options = File::options();
        options.read(true).write(true).create(true).truncate(false);
        let file = options.open(&path).map_err(at(&path))?;
        let chunks = vec![false; leaves.count()];
        let here = Mutex::new(Here { chunks, count: 0, size: 0, unwritten: 0 });
        // So that a later attempt need not ask for the nodes again.
        if leaves.count() > 1 {
            blobs.write_leaves(&root, &leaves)?;
        }
        let (blobs, closed) = (blobs.clone(), RwLock::default());
        let (turn, direct) = (Mutex::default(), open_direct(&path));
        let pieces = Pieces { blobs, leaves, root, path, file, direct, here, closed, turn, lock };
        pieces.read_back().map_err(at(&pieces.path))?;
        Ok(pieces)
    }

    /// Looks which chunks an earlier attempt left. Holes are skipped where the system tells of them.
    fn read_back(&self) -> io::Result<()> {
        let there = self.file.metadata()?.len();
        let mut buffer = vec![0; CHUNK_SIZE];
        for index in 0..self.leaves.count() {
            let range = self.leaves.range(index);
            if range.end > there {
                break;
            }
            if is_hole(&self.file, &range) {
                continue;
            }
            // At most `CHUNK_SIZE`.
            let chunk = &mut buffer[..(range.end - range.start) as usize];
            let mut file = &self.file;
            file.seek(SeekFrom::Start(range.start))?;
            file.read_exact(chunk)?;
            if self.leaves.leaf(index).is_of(chunk) {
                self.note(index, 0);
            }
        }
        self.file.set_len(self.leaves.size())
    }

    /// The blob that is to arrive.
    #[must_use]
    pub fn root(&self) -> Cid {
        self.root
    }

    /// The table of the blob's chunks.
    #[must_use]
    pub fn leaves(&self) -> &Arc<Leaves> {
        &self.leaves
    }

    /// Whether a chunk is here.
    #[must_use]
    pub fn has(&self, index: usize) -> bool {
        self.here().chunks.get(index).copied().unwrap_or(false)
    }

    /// Bytes of the chunks that are here.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.here().size
    }

    /// Whether every chunk is here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.here().count == self.leaves.count()
    }

    /// Takes a chunk. Says whether the bytes are the chunk's, and as many; others are not written.
    ///
    /// # Errors
    ///
    /// `Io`.
    pub fn place(&self, index: usize, bytes: &[u8]) -> Result<bool, StoreError> {
        let range = self.leaves.range(index);
        // Nodes can name a chunk of another size than they say, which would reach into its neighbours.
        if bytes.len() as u64 != range.end - range.start || !self.leaves.leaf(index).is_of(bytes) {
            return Ok(false);
        }
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if !*closed && !self.has(index) {
            let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            let unwritten = self.write(bytes, range.start).map_err(at(&self.path))?;
            drop(turn);
            if self.note(index, unwritten) {
                self.file.sync_data().map_err(at(&self.path))?;
            }
        }
        Ok(true)
    }

    /// Writes a chunk; gives how many bytes of it are not on the disk yet.
    fn write(&self, bytes: &[u8], offset: u64) -> io::Result<u64> {
        if let Some(direct) = self.direct.as_ref().filter(|_| is_aligned(bytes)) {
            match write_at(direct, bytes, offset) {
                // A disk with larger blocks.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                written => return written.map(|()| 0),
            }
        }
        write_at(&self.file, bytes, offset).map(|()| bytes.len() as u64)
    }

    /// Makes the chunks the blob, once all are here.
    ///
    /// # Errors
    ///
    /// `Missing` when they are not; `Io`.
    pub fn commit(&self) -> Result<Cid, StoreError> {
        if !self.is_whole() {
            return Err(StoreError::Missing { cid: self.root });
        }
        let mut closed = self.closed.write().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *closed, true) {
            return Ok(self.root);
        }
        self.file.sync_all().map_err(at(&self.path))?;
        crate::kernel_map::forget_pages(&self.file);
        self.blobs.publish(&self.path, &self.leaves)
    }

    /// Notes that a chunk is here, of which so many bytes are not on the disk yet; says whether it is time
    /// to write them.
    fn note(&self, index: usize, unwritten: u64) -> bool {
        let range = self.leaves.range(index);
        let mut here = self.here();
        if let Some(chunk @ false) = here.chunks.get_mut(index) {
            *chunk = true;
            here.count += 1;
            here.size += range.end - range.start;
            here.unwritten += unwritten;
        }
        let is_time = here.unwritten >= FLUSH_SIZE;
        if is_time {
            here.unwritten = 0;
        }
        is_time
    }

    fn here(&self) -> std::sync::MutexGuard<'_, Here> {
        // Nothing that can fail happens between two changes.
        self.here.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChunkBuffer {
    /// The first bytes of the memory, at most `CHUNK_SIZE`; what they are is what they were used for
    /// before.
    pub fn first(&mut self, size: usize) -> &mut [u8] {
        self.0.resize(CHUNK_SIZE + ALIGNMENT, 0);
        // Memory that cannot be aligned is written in the usual way.
        let start = self.0.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        &mut self.0[start..start + size.min(CHUNK_SIZE)]
    }
}

fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(ALIGNMENT) && bytes.len().is_multiple_of(ALIGNMENT)
}

#[cfg(target_os = "linux")]
fn open_direct(path: &Path) -> Option<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    File::options().write(true).custom_flags(flags).open(path).ok()
}

#[cfg(not(target_os = "linux"))]
fn open_direct(_path: &Path) -> Option<File> {
    None
}

impl Drop for Pieces {
    fn drop(&mut self) {
        // Closing would not do: see `Staged`.
        let _ = self.lock.unlock();
    }
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, offset)
}

#[cfg(windows)]
fn write_at(file: &File, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_write(file, bytes, offset)?;
        bytes = &bytes[count..];
        offset += count as u64;
    }
    Ok(())
}

/// Whether nothing was ever written there, as far as the system says.
#[cfg(target_os = "linux")]
fn is_hole(file: &File, range: &std::ops::Range<u64>) -> bool {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(range.start)) {
        Ok(data) => data >= range.end,
        Err(error) => error == rustix::io::Errno::NXIO,
    }
}

#[cfg(not(target_os = "linux"))]
fn is_hole(_file: &File, _range: &std::ops::Range<u64>) -> bool {
    false
}

#[cfg(test)]
mod tests;
