//! Know how much room a disk has.
//!
//! Invariants:
//! - Where the system does not say, nothing is refused: the write itself will tell.
//!
//! Not here: reserving room; whoever asks may lose it to another program.

use std::path::Path;

/// Bytes that may still be written into the folder at `path`.
#[cfg(unix)]
#[must_use]
pub fn free(path: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    disk.f_bavail.checked_mul(disk.f_frsize)
}

/// Bytes that may still be written into the folder at `path`.
#[cfg(not(unix))]
#[must_use]
pub fn free(_path: &Path) -> Option<u64> {
    None
}
