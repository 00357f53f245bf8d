//! The height at which this node says nothing more.
//!
//! Malachite's journal has all that a node has said at a height. Where the height must begin again
//! without its journal, the node no longer knows what it would contradict, nor what it is locked on. It
//! does so only for a height that is decided already, where no vote of its own is needed.
//!
//! Invariants: what `keep` has returned for is on the disk, and holds after a crash.
//!
//! Not here: when a height begins again (`driver`), and how a statement is withheld (`signing`).

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::context::Height;
use crate::machine::Machine;

/// The file: the height in 8 bytes, little endian.
pub(crate) const FILE: &str = "silent";

/// Has a node that starts from a directory say nothing up to a height. It is on the disk when this
/// returns.
pub(crate) fn begin(directory: &Path, height: u64) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let mut file = File::create(directory.join(FILE))?;
    file.write_all(&height.to_le_bytes())?;
    file.sync_all()
}

/// The height; 0 for none. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Silence(Arc<AtomicU64>);

impl Silence {
    /// Reads what an earlier run has kept.
    pub(crate) fn open(&self, machine: &impl Machine) -> io::Result<()> {
        if !machine.files()?.iter().any(|name| name == FILE) {
            return Ok(());
        }
        // A torn file is of a crash before the journal went, which then has all that was said.
        if let Ok(bytes) = machine.read(FILE)?.try_into() {
            self.0.store(u64::from_le_bytes(bytes), Ordering::SeqCst);
        }
        Ok(())
    }

    /// Says nothing more at a height, nor before. It is on the disk when this returns.
    pub(crate) fn keep(&self, machine: &mut impl Machine, height: Height) -> io::Result<()> {
        if !self.covers(height) {
            machine.write(FILE, &height.0.to_le_bytes())?;
            self.0.store(height.0, Ordering::SeqCst);
        }
        Ok(())
    }

    /// Whether nothing more is said at a height.
    pub(crate) fn covers(&self, height: Height) -> bool {
        height.0 <= self.0.load(Ordering::SeqCst)
    }
}

#[cfg(test)]
mod tests;
