//! Check everything that is here, and mend what can be mended.
//!
//! Invariants:
//! - After a check, every blob, block and table that bears a name hashes to it.
//! - Bytes that turn out damaged are staged, so that only what is wrong in them is fetched again.
//!
//! Not here: fetching.

use std::collections::BTreeSet;

use crate::blobs::{Blobs, StoreError};
use crate::cid::{Cid, Codec};
use crate::collect::{Reached, reach};

/// What a check found, and what was done about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Blobs that were read and hashed.
    pub blobs: usize,
    /// Bytes of those blobs.
    pub bytes: u64,
    /// Blocks of directories that were read and hashed.
    pub nodes: usize,
    /// Blobs that did not hash to their name; they are staged.
    pub damaged: Vec<Cid>,
    /// Blocks of directories that did not hash to their name; they are deleted.
    pub damaged_nodes: Vec<Cid>,
    /// Tables of chunks that were missing or wrong; they are made again.
    pub tables: Vec<Cid>,
    /// What pins and models need and is not here.
    pub missing: BTreeSet<Cid>,
}

impl Report {
    /// Whether everything was as it should be, or has been mended from what is here.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.damaged_nodes.is_empty() && self.missing.is_empty()
    }
}

/// Checks everything. `progress` is told bytes checked and bytes in all.
///
/// # Errors
///
/// `Io`.
pub fn check(
    blobs: &Blobs,
    roots: &[Cid],
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let listed = blobs.list()?;
    let size = |cid: &Cid| std::fs::metadata(blobs.path(cid)).map_or(0, |file| file.len());
    let total = listed.iter().map(size).sum();
    for cid in &listed {
        progress(report.bytes, total);
        match blobs.verify(cid) {
            // A table is made where there is none that is right.
            Ok(()) if cid.codec() == Codec::DagPb && blobs.read_leaves(cid).is_err() => {
                blobs.leaves(cid)?;
                report.tables.push(*cid);
            }
            Ok(()) => {}
            // Deleted since it was listed.
            Err(StoreError::Missing { .. }) => continue,
            Err(StoreError::Mismatch { .. }) => {
                blobs.withdraw(cid)?;
                report.damaged.push(*cid);
                continue;
            }
            Err(error) => return Err(error),
        }
        report.blobs += 1;
        report.bytes = report.bytes.saturating_add(size(cid));
    }
    for cid in blobs.list_nodes()? {
        match blobs.node(&cid)? {
            Some(_) => report.nodes += 1,
            None => {
                blobs.remove_node(&cid)?;
                report.damaged_nodes.push(cid);
            }
        }
    }
    let pins = blobs.pins()?.into_iter().map(|pin| pin.cid);
    let Reached { missing, .. } = reach(blobs, pins.chain(roots.iter().copied()))?;
    report.missing = missing;
    progress(report.bytes, report.bytes);
    Ok(report)
}

#[cfg(test)]
mod tests;
