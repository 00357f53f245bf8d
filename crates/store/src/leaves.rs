//! The chunks of a file: which SHA-256 each has, and the tree over them that names the file.
//!
//! The whole tree follows from the digests and the size (`cid`), so this is all that is kept beside
//! a blob. On disk: the line `mashaa leaves 1`, the size in 8 bytes, little-endian, and the digests.
//!
//! Invariants:
//! - There is a digest for each chunk, one of an empty chunk where the file is empty.
//! - Chunk `i` begins at byte `i * CHUNK_SIZE`.
//!
//! Not here: where the bytes are.

use std::ops::Range;

use crate::cid::dag::{Finished, Link, Tree};
use crate::cid::{CHUNK_SIZE, Cid, Codec, LINK_COUNT_MAX};
use crate::dag_pb::{Node, NodeRefusal};
use crate::unix_fs::{Kind, UnixFsRefusal, read};

/// Chunks of a file, at most: a file of 1 TiB, whose table takes 32 MiB.
pub const LEAF_COUNT_MAX: usize = 1 << 20;
/// Levels of nodes over the chunks, at most: `LINK_COUNT_MAX` to this power is `LEAF_COUNT_MAX`.
pub const DEPTH_MAX: usize = 2;

/// Bytes of a table on disk, at most.
pub(crate) const TABLE_SIZE_MAX: u64 = (TITLE.len() + 8 + 32 * LEAF_COUNT_MAX) as u64;

const _: () = assert!(LINK_COUNT_MAX.pow(DEPTH_MAX as u32) == LEAF_COUNT_MAX);

/// First line of a table on disk.
const TITLE: &[u8] = b"mashaa leaves 1\n";

/// The chunks of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaves {
    size: u64,
    digests: Vec<[u8; 32]>,
}

/// Why blocks or bytes are not the chunks of a file.
#[derive(Debug, thiserror::Error)]
pub enum LeavesRefusal {
    /// A block is no node.
    #[error(transparent)]
    Node(#[from] NodeRefusal),
    /// A node's data is not UnixFS.
    #[error(transparent)]
    UnixFs(#[from] UnixFsRefusal),
    /// The name is a directory's, or a symbolic link's.
    #[error("{cid} is no file")]
    NotAFile {
        /// The node.
        cid: Cid,
    },
    /// The file has more chunks than fit.
    #[error(
        "a file has at most {LEAF_COUNT_MAX} chunks of {CHUNK_SIZE} bytes, this one {size} bytes"
    )]
    TooLarge {
        /// Bytes of the file, as its root says.
        size: u64,
    },
    /// The blocks are linked in another way than the profile lays down.
    #[error("{cid} is not laid out by the profile unixfs-v1-2025: {what}")]
    OtherLayout {
        /// The file.
        cid: Cid,
        /// What differs.
        what: &'static str,
    },
    /// A table on disk is not one of the file.
    #[error("the table of chunks of {cid} is damaged")]
    Table {
        /// The file.
        cid: Cid,
    },
}

impl Leaves {
    /// The table of a file of `size` bytes; there must be a digest for each chunk.
    pub(crate) fn of(size: u64, digests: Vec<[u8; 32]>) -> Leaves {
        debug_assert_eq!(digests.len(), count(size), "a digest for each chunk");
        Leaves { size, digests }
    }

    /// The table of a file that is one raw block.
    pub(crate) fn of_one(cid: &Cid, size: u64) -> Leaves {
        Leaves { size, digests: vec![*cid.digest()] }
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Chunks of the file, at least one.
    #[must_use]
    pub fn count(&self) -> usize {
        self.digests.len()
    }

    /// The name of a chunk; the table must have it.
    #[must_use]
    pub fn leaf(&self, index: usize) -> Cid {
        Cid::raw(self.digests[index])
    }

    /// The names of all chunks, in order.
    pub fn iter(&self) -> impl Iterator<Item = Cid> + '_ {
        self.digests.iter().map(|digest| Cid::raw(*digest))
    }

    /// Where a chunk is in the file.
    #[must_use]
    pub fn range(&self, index: usize) -> Range<u64> {
        let start = index as u64 * CHUNK_SIZE as u64;
        start..self.size.min(start + CHUNK_SIZE as u64)
    }

    /// The file's name.
    #[must_use]
    pub fn root(&self) -> Cid {
        self.tree().root
    }

    /// The nodes over the chunks, the root first; none where the file is one chunk.
    #[must_use]
    pub fn nodes(&self) -> Vec<(Cid, Vec<u8>)> {
        let mut nodes = self.tree().nodes;
        nodes.reverse();
        nodes
    }

    /// Bytes of the file and of all nodes over it.
    #[must_use]
    pub fn total_size(&self) -> u64 {
        self.tree().total_size
    }

    fn tree(&self) -> Finished {
        let mut tree = Tree::default();
        for index in 0..self.count() {
            let range = self.range(index);
            // At most `CHUNK_SIZE`.
            tree.push(Link::leaf(self.leaf(index), (range.end - range.start) as usize));
        }
        tree.finish()
    }

    /// The table as it is kept on disk.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = TITLE.to_vec();
        bytes.extend(self.size.to_le_bytes());
        bytes.extend(self.digests.iter().flatten());
        bytes
    }

    /// Reads the table of the file with this name.
    ///
    /// # Errors
    ///
    /// `Table` when the bytes are no table, or another file's.
    pub fn decode(cid: &Cid, bytes: &[u8]) -> Result<Leaves, LeavesRefusal> {
        let damaged = || LeavesRefusal::Table { cid: *cid };
        let rest = bytes.strip_prefix(TITLE).ok_or_else(damaged)?;
        let (size, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
        let size = u64::from_le_bytes(*size);
        let (digests, left) = rest.as_chunks();
        if !left.is_empty() || digests.len() > LEAF_COUNT_MAX || digests.len() != count(size) {
            return Err(damaged());
        }
        let leaves = Leaves { size, digests: digests.to_vec() };
        if leaves.root() == *cid { Ok(leaves) } else { Err(damaged()) }
    }
}

/// Chunks of a file of so many bytes; more than can be are as many as can be counted.
fn count(size: u64) -> usize {
    usize::try_from(size.div_ceil(CHUNK_SIZE as u64).max(1)).unwrap_or(usize::MAX)
}

/// Gathers a file's table from its nodes, which come one at a time and from anyone.
#[derive(Debug)]
pub struct Gathering {
    root: Cid,
    size: u64,
    /// Blocks whose place is known, in the order of the file; nodes among them are wanted.
    row: Vec<Cid>,
    /// The next of `row` to look at.
    next: usize,
    /// Rows of nodes that were read.
    depth: usize,
    below: Vec<Cid>,
}

impl Gathering {
    /// Begins with the root's block, whose hash the caller has checked.
    ///
    /// # Errors
    ///
    /// When it is no file's, or of a file that is too large or laid out in another way.
    pub fn begin(root: Cid, block: &[u8]) -> Result<Gathering, LeavesRefusal> {
        let other = |what| LeavesRefusal::OtherLayout { cid: root, what };
        if root.codec() == Codec::Raw {
            if block.len() > CHUNK_SIZE {
                return Err(other("a chunk of more than 1 MiB"));
            }
            let size = block.len() as u64;
            return Ok(Gathering { root, size, row: vec![root], next: 1, depth: 0, below: vec![] });
        }
        let node = Node::decode(block)?;
        let Kind::File { size, .. } = read(&node)? else {
            return Err(LeavesRefusal::NotAFile { cid: root });
        };
        // Protects the memory for the table.
        if count(size) > LEAF_COUNT_MAX {
            return Err(LeavesRefusal::TooLarge { size });
        }
        let mut gathering =
            Gathering { root, size, row: vec![root], next: 0, depth: 0, below: vec![] };
        gathering.take(block)?;
        Ok(gathering)
    }

    /// The node whose block is needed next; `None` when the chunks are known.
    #[must_use]
    pub fn wanted(&self) -> Option<Cid> {
        self.row.get(self.next).copied()
    }

    /// Bytes of the file, as its root says.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Takes the block of the node that is wanted, whose hash the caller has checked.
    ///
    /// # Errors
    ///
    /// When the file is laid out in another way.
    pub fn take(&mut self, block: &[u8]) -> Result<(), LeavesRefusal> {
        let other = |what| LeavesRefusal::OtherLayout { cid: self.root, what };
        let node = Node::decode(block)?;
        let Kind::File { inline, .. } = read(&node)? else {
            return Err(other("a piece that is no file"));
        };
        if !inline.is_empty() || node.links.is_empty() {
            return Err(other("bytes within a node"));
        }
        if node.links.len() > LINK_COUNT_MAX {
            return Err(other("more than 1024 links"));
        }
        self.below.extend(node.links.iter().map(|link| link.cid));
        // Protects against a few nodes that link to each other's children over and over.
        if self.below.len() > count(self.size) {
            return Err(other("more chunks than its size says"));
        }
        self.next += 1;
        if self.next == self.row.len() {
            self.end_row()?;
        }
        Ok(())
    }

    fn end_row(&mut self) -> Result<(), LeavesRefusal> {
        let other = |what| LeavesRefusal::OtherLayout { cid: self.root, what };
        self.row = std::mem::take(&mut self.below);
        self.depth += 1;
        let nodes = self.row.iter().filter(|cid| cid.codec() == Codec::DagPb).count();
        if nodes == 0 {
            self.next = self.row.len();
            return Ok(());
        }
        if nodes < self.row.len() || self.depth == DEPTH_MAX {
            return Err(other("chunks at several depths, or as nodes"));
        }
        self.next = 0;
        Ok(())
    }

    /// The table, once nothing is wanted any more.
    ///
    /// # Errors
    ///
    /// `OtherLayout` when the file's tree is not the one that the profile has for these chunks.
    pub fn finish(self) -> Result<Leaves, LeavesRefusal> {
        let other = |what| LeavesRefusal::OtherLayout { cid: self.root, what };
        if self.wanted().is_some() {
            return Err(other("a tree that is not whole"));
        }
        if self.row.len() != count(self.size) {
            return Err(other("another number of chunks than its size says"));
        }
        let digests = self.row.iter().map(|cid| *cid.digest()).collect();
        let leaves = Leaves { size: self.size, digests };
        match leaves.root() == self.root {
            true => Ok(leaves),
            false => Err(other("another tree over the same chunks")),
        }
    }
}

#[cfg(test)]
mod tests;
