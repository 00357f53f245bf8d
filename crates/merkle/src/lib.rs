//! Hash a list, and show one element of it.
//!
//! The Merkle tree of RFC 6962, section 2.1, with SHA-256, in which a short path leads from an element
//! to the root: `docs/spec/block.md`, section 3, and
//! `docs/spec/audit.md`, section 1.
//!
//! Invariants: two lists have one root only if they are equal, as leaves and inner nodes are hashed
//! with different first bytes.
//!
//! Not here: what the leaves are.
#![no_std]

extern crate alloc;
#[cfg(test)]
extern crate std;

use alloc::vec::Vec;

use sha2::{Digest as _, Sha256};

/// A SHA-256.
pub type Digest = [u8; 32];

/// Hashes of a path: a list of under 2^32 leaves has no longer one.
pub const PATH_MAX: usize = 32;

/// A leaf's hash.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Digest {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// The hash of two subtrees.
fn node(left: &Digest, right: &Digest) -> Digest {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

/// The root of the tree over leaves' hashes.
#[must_use]
pub fn root(leaves: &[Digest]) -> Digest {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = above(&level);
    }
    level.first().copied().unwrap_or_else(|| Sha256::digest([]).into())
}

/// The nodes so many levels above leaves that begin at a multiple of two to that power.
#[must_use]
pub fn fold(leaves: &[Digest], levels: u32) -> Vec<Digest> {
    (0..levels).fold(leaves.to_vec(), |level, _| above(&level))
}

/// The level above: pairs are hashed, and a last one without a neighbour rises as it is, which is
/// the split at the largest power of two.
fn above(level: &[Digest]) -> Vec<Digest> {
    let pair = |pair: &[Digest]| match pair {
        [left, right] => node(left, right),
        [last, ..] => *last,
        [] => Digest::default(),
    };
    level.chunks(2).map(pair).collect()
}

/// The neighbours on the way from a leaf to the root; none if there is no such leaf.
#[must_use]
pub fn path(leaves: &[Digest], index: usize) -> Option<Vec<Digest>> {
    leaves.get(index)?;
    let (mut level, mut at, mut path) = (leaves.to_vec(), index, Vec::new());
    while level.len() > 1 {
        path.extend(level.get(at ^ 1));
        level = above(&level);
        at /= 2;
    }
    Some(path)
}

/// The root of a tree of `count` leaves in which this leaf is the one at `index` and these are its
/// neighbours; none if the path is not as long as that tree's.
#[must_use]
pub fn root_of(leaf: Digest, index: u64, count: u64, path: &[Digest]) -> Option<Digest> {
    if index >= count {
        return None;
    }
    let (mut at, mut last, mut path) = (index, count - 1, path.iter());
    let mut hash = leaf;
    while last > 0 {
        if at % 2 == 1 {
            hash = node(path.next()?, &hash);
        } else if at < last {
            hash = node(&hash, path.next()?);
        }
        (at, last) = (at / 2, last / 2);
    }
    path.next().is_none().then_some(hash)
}

#[cfg(test)]
mod tests;
