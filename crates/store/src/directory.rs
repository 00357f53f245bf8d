//! Make the nodes of directories, as the profile `unixfs-v1-2025` lays them down.
//!
//! A directory is one node, or, when that node's block would be larger than 256 KiB, a tree of
//! shards (a hash array mapped trie) of 256 slots. The profile is IPIP-499's.
//!
//! Invariants:
//! - The same entries give the same nodes, in whatever order they come.
//!
//! Not here: reading directories (`unix_fs`, `walk`).

use std::collections::BTreeMap;

use crate::cid::{Cid, Codec};
use crate::dag_pb::{Link, NAME_SIZE_MAX, Node};
use crate::murmur3;
use crate::unix_fs;

/// Bytes of a directory's block above which it becomes shards.
pub const PLAIN_SIZE_MAX: usize = 262_144;
/// Entries of one directory, at most.
pub const ENTRY_COUNT_MAX: usize = 1 << 20;
/// Bytes of an entry's name, at most; with a shard's slot before it, it still is a link's name.
pub const ENTRY_NAME_SIZE_MAX: usize = NAME_SIZE_MAX - 2;

/// An entry: what it is, and bytes of all blocks below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file, directory or symbolic link.
    pub cid: Cid,
    /// Bytes of all blocks below, its own included.
    pub total_size: u64,
}

/// Blocks that were made: a directory's own, the root last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// The directory as its parent's entry.
    pub entry: Entry,
    /// Its blocks.
    pub blocks: Vec<(Cid, Vec<u8>)>,
}

/// Why a directory cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DirectoryRefusal {
    /// Too many entries.
    #[error("a directory has at most {ENTRY_COUNT_MAX} entries, this one has {0}")]
    TooMany(usize),
    /// An entry's name is empty, too long, or leads elsewhere.
    #[error("{name:?} cannot be an entry's name")]
    Name {
        /// The name.
        name: String,
    },
    /// So many names with the same hash that no slot is left for them.
    #[error("names of this directory have equal hashes")]
    Collision,
}

/// Makes a directory of entries by name.
///
/// # Errors
///
/// When there are too many entries, or a name cannot be one.
pub fn make(entries: &BTreeMap<Vec<u8>, Entry>) -> Result<Made, DirectoryRefusal> {
    if entries.len() > ENTRY_COUNT_MAX {
        return Err(DirectoryRefusal::TooMany(entries.len()));
    }
    if let Some(name) = entries.keys().find(|name| !is_name(name)) {
        let name = String::from_utf8_lossy(name).into_owned();
        return Err(DirectoryRefusal::Name { name });
    }
    let links = entries.iter().map(|(name, entry)| Link {
        cid: entry.cid,
        name: name.clone(),
        size: entry.total_size,
    });
    let node = Node { links: links.collect(), data: unix_fs::directory() };
    let block = node.encode();
    let mut blocks = Vec::new();
    let entry = if block.len() <= PLAIN_SIZE_MAX {
        keep(&mut blocks, &node, block)
    } else {
        let leaves = node.links.into_iter().map(|link| (murmur3::hash(&link.name), link));
        shard(leaves.collect(), 0, &mut blocks)?
    };
    Ok(Made { entry, blocks })
}

/// Makes a symbolic link.
#[must_use]
pub fn symlink(target: &[u8]) -> Made {
    let node = Node { links: Vec::new(), data: unix_fs::symlink(target) };
    let (block, mut blocks) = (node.encode(), Vec::new());
    let entry = keep(&mut blocks, &node, block);
    Made { entry, blocks }
}

/// Whether a name can be an entry's: not empty, not too long, no path and no step up.
#[must_use]
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty()
        && name.len() <= ENTRY_NAME_SIZE_MAX
        && name != b"."
        && name != b".."
        && !name.contains(&b'/')
        && !name.contains(&0)
}

fn keep(blocks: &mut Vec<(Cid, Vec<u8>)>, node: &Node, block: Vec<u8>) -> Entry {
    let cid = Cid::of_block(Codec::DagPb, &block);
    let below = node.links.iter().fold(0u64, |sum, link| sum.saturating_add(link.size));
    let total_size = below.saturating_add(block.len() as u64);
    blocks.push((cid, block));
    Entry { cid, total_size }
}

/// Makes the shard of these entries, whose hashes agree in their first `depth` bytes.
fn shard(
    entries: Vec<([u8; 8], Link)>,
    depth: usize,
    blocks: &mut Vec<(Cid, Vec<u8>)>,
) -> Result<Entry, DirectoryRefusal> {
    let mut slots: BTreeMap<u8, Vec<([u8; 8], Link)>> = BTreeMap::new();
    for (hash, link) in entries {
        let slot = *hash.get(depth).ok_or(DirectoryRefusal::Collision)?;
        slots.entry(slot).or_default().push((hash, link));
    }
    let bitmap = unix_fs::bitmap(slots.keys().copied()).unwrap_or_default();
    let mut links = Vec::new();
    for (slot, mut entries) in slots {
        let prefix = format!("{slot:02X}").into_bytes();
        links.push(match entries.pop() {
            Some((_, link)) if entries.is_empty() => {
                Link { name: [prefix, link.name].concat(), ..link }
            }
            last => {
                entries.extend(last);
                let below = shard(entries, depth + 1, blocks)?;
                Link { cid: below.cid, name: prefix, size: below.total_size }
            }
        });
    }
    let node = Node { links, data: unix_fs::shard(&bitmap) };
    let block = node.encode();
    Ok(keep(blocks, &node, block))
}

#[cfg(test)]
mod tests;
