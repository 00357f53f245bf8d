//! Delete what nothing refers to.
//!
//! Invariants:
//! - Whatever a pin or one of the given roots leads to stays.
//! - Nothing is deleted while someone holds the store to add to it.
//! - Who reads a file or has it mapped keeps it, since its name alone goes away.
//!
//! Not here: which roots there are besides the pins.

use std::collections::{BTreeMap, BTreeSet};

use crate::blobs::{Blobs, StoreError};
use crate::cid::{Cid, Codec};
use crate::walk::{self, BLOCK_COUNT_MAX};

/// What is referred to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Files and directories' blocks, and how many roots and directories refer to each.
    pub counts: BTreeMap<Cid, u32>,
    /// What is referred to and is not here.
    pub missing: BTreeSet<Cid>,
}

/// What was deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files.
    pub blobs: Vec<Cid>,
    /// Blocks of directories.
    pub nodes: Vec<Cid>,
    /// Bytes that are free now.
    pub bytes: u64,
    /// Downloads that had not ended and that nobody is at.
    pub staged: usize,
    /// What could not be deleted now, where the system keeps files that are open.
    pub kept: Vec<Cid>,
}

/// Follows references from these roots.
///
/// # Errors
///
/// When a directory cannot be read, or is too large.
pub fn reach(blobs: &Blobs, roots: impl IntoIterator<Item = Cid>) -> Result<Reached, StoreError> {
    let mut reached = Reached::default();
    let mut left: Vec<Cid> = roots.into_iter().collect();
    while let Some(cid) = left.pop() {
        let count = reached.counts.entry(cid).or_default();
        *count = count.saturating_add(1);
        if *count > 1 || blobs.contains(&cid) {
            continue;
        }
        if cid.codec() == Codec::Raw {
            reached.missing.insert(cid);
            continue;
        }
        let node = blobs.node(&cid)?.and_then(|block| walk::decode(&cid, &block).ok());
        let Some((node, _)) = node else {
            reached.missing.insert(cid);
            continue;
        };
        if left.len().saturating_add(node.links.len()) > BLOCK_COUNT_MAX {
            return Err(StoreError::TooMany);
        }
        left.extend(node.links.iter().map(|link| link.cid));
    }
    Ok(reached)
}

/// What the pins and the roots lead to.
fn kept(
    blobs: &Blobs,
    roots: impl FnOnce() -> Result<Vec<Cid>, StoreError>,
) -> Result<Reached, StoreError> {
    let pinned = blobs.pins()?.into_iter().map(|pin| pin.cid);
    reach(blobs, pinned.chain(roots()?))
}

/// Deletes everything that neither a pin nor one of the roots leads to.
///
/// # Errors
///
/// `Held` when someone is adding; `Io`.
pub fn collect(
    blobs: &Blobs,
    roots: impl FnOnce() -> Result<Vec<Cid>, StoreError>,
) -> Result<Collected, StoreError> {
    let _alone = blobs.hold_alone()?;
    let before = blobs.used()?;
    let reached = kept(blobs, roots)?;
    let is_wanted = |cid: &Cid| reached.counts.contains_key(cid);
    let mut done = Collected::default();
    delete(blobs, blobs.list_nodes()?, blobs.list()?, is_wanted, &mut done)?;
    for cid in blobs.list_staged()?.into_iter().filter(|cid| !is_wanted(cid)) {
        // Whoever is at it holds its lock.
        if let Ok(staged) = blobs.stage(&cid) {
            staged.discard()?;
            done.staged += 1;
        }
    }
    for cid in
        blobs.list_leaves()?.into_iter().filter(|cid| !is_wanted(cid) && !blobs.contains(cid))
    {
        blobs.remove_leaves(&cid)?;
    }
    done.bytes = before.saturating_sub(blobs.used()?);
    Ok(done)
}

/// Deletes what is at and below `root`, but for what a pin or one of the roots leads to.
///
/// # Errors
///
/// `Held` when someone is adding; `Io`.
pub fn collect_below(
    blobs: &Blobs,
    root: Cid,
    roots: impl FnOnce() -> Result<Vec<Cid>, StoreError>,
) -> Result<Collected, StoreError> {
    let _alone = blobs.hold_alone()?;
    let before = blobs.used()?;
    let reached = kept(blobs, roots)?;
    let below: Vec<Cid> = reach(blobs, [root])?.counts.into_keys().collect();
    let (files, nodes) = below.into_iter().partition(|cid| blobs.contains(cid));
    let mut done = Collected::default();
    delete(blobs, nodes, files, |cid| reached.counts.contains_key(cid), &mut done)?;
    done.bytes = before.saturating_sub(blobs.used()?);
    Ok(done)
}

/// Deletes those of these directories' blocks and files that are not wanted. Directories first: what is
/// killed in between leaves none that is not whole.
fn delete(
    blobs: &Blobs,
    nodes: Vec<Cid>,
    files: Vec<Cid>,
    is_wanted: impl Fn(&Cid) -> bool,
    done: &mut Collected,
) -> Result<(), StoreError> {
    for cid in nodes.into_iter().filter(|cid| !is_wanted(cid)) {
        blobs.remove_node(&cid)?;
        done.nodes.push(cid);
    }
    for cid in files.into_iter().filter(|cid| !is_wanted(cid)) {
        match blobs.remove(&cid) {
            Ok(()) => done.blobs.push(cid),
            Err(_) => done.kept.push(cid),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
