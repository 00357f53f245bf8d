//! The Merkle tree of a list, as certificate transparency builds it.
//!
//! RFC 6962, section 2.1, with SHA-256: `docs/spec/block.md`, section 3.
//!
//! Invariants: two lists have one root only if they are equal, as leaves and inner nodes are hashed
//! with different first bytes.
//!
//! Not here: what the leaves are.

use sha2::{Digest, Sha256};
use types::id::Hash;

/// Hashes of a path: a list of under 2^32 leaves has no longer one.
pub const PATH_MAX: usize = 32;

/// A leaf's hash.
#[must_use]
pub fn leaf(bytes: &[u8]) -> Hash {
    Hash(Sha256::new().chain_update([0]).chain_update(bytes).finalize().into())
}

/// The hash of two subtrees.
fn node(left: &Hash, right: &Hash) -> Hash {
    let hasher = Sha256::new().chain_update([1]).chain_update(left.0).chain_update(right.0);
    Hash(hasher.finalize().into())
}

/// The root of the tree over leaves' hashes.
#[must_use]
pub fn root(leaves: &[Hash]) -> Hash {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = above(&level);
    }
    level.first().copied().unwrap_or_else(|| Hash(Sha256::digest([]).into()))
}

/// The level above: pairs are hashed, and a last one without a neighbour rises as it is, which is
/// the split at the largest power of two.
fn above(level: &[Hash]) -> Vec<Hash> {
    let pair = |pair: &[Hash]| match pair {
        [left, right] => node(left, right),
        [last, ..] => *last,
        [] => Hash([0; 32]),
    };
    level.chunks(2).map(pair).collect()
}

/// The neighbours on the way from a leaf to the root; none if there is no such leaf.
#[must_use]
pub fn path(leaves: &[Hash], index: usize) -> Option<Vec<Hash>> {
    leaves.get(index)?;
    let (mut level, mut at, mut path) = (leaves.to_vec(), index, vec![]);
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
pub fn root_of(leaf: Hash, index: u32, count: u32, path: &[Hash]) -> Option<Hash> {
    if index >= count {
        return None;
    }
    let (mut at, mut last, mut path) = (index, count.checked_sub(1)?, path.iter());
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
