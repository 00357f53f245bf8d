//! Build the balanced tree of dag-pb nodes over a file's chunks.
//!
//! The bytes of a node are canonical dag-pb (<https://ipld.io/specs/codecs/dag-pb/spec/>): all links
//! first, then the data, which is a UnixFS message. Both are protocol buffers, written by hand.
//!
//! Invariants:
//! - A level is folded into a node when it is full and another link arrives, so a file of exactly
//!   1024 chunks has one node, and a tree is never deeper than it has to be.
//!
//! Not here: reading nodes (`dag_pb`, `unix_fs`).

use super::{Cid, Codec, LINK_COUNT_MAX};
use crate::dag_pb::{Link as NodeLink, Node};
use crate::protobuf::put_number;

/// Keys of a UnixFS message, `field << 3 | wire type`.
mod key {
    /// UnixFS Data.Type.
    pub(super) const FILE_TYPE: u8 = 0x08;
    /// UnixFS Data.filesize.
    pub(super) const FILE_SIZE: u8 = 0x18;
    /// UnixFS Data.blocksizes, not packed.
    pub(super) const FILE_BLOCK: u8 = 0x20;
}

/// UnixFS DataType.File.
const TYPE_FILE: u64 = 2;

/// One finished piece of the file, as its parent will name it.
#[derive(Debug)]
pub(crate) struct Link {
    cid: Cid,
    /// Bytes of the file below this link.
    file_size: u64,
    /// Bytes of the file and of all nodes below this link, its own included.
    total_size: u64,
}

impl Link {
    /// The link to a chunk of `size` bytes.
    pub(crate) fn leaf(cid: Cid, size: usize) -> Link {
        Link { cid, file_size: size as u64, total_size: size as u64 }
    }

    /// The link to the node that has `links` as its children, and the node's block.
    fn node(links: &[Link]) -> (Link, Vec<u8>) {
        let block = node_block(links);
        let link = Link {
            cid: Cid::of_block(Codec::DagPb, &block),
            // Sums of sizes of bytes that were all read one by one: they cannot reach 2^64.
            file_size: links.iter().map(|link| link.file_size).sum(),
            total_size: links.iter().map(|link| link.total_size).sum::<u64>() + block.len() as u64,
        };
        (link, block)
    }
}

/// The links that have no parent yet, from the leaves' level upwards.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    levels: Vec<Vec<Link>>,
    /// The nodes made so far, children before their parents.
    nodes: Vec<(Cid, Vec<u8>)>,
}

/// A file's whole tree.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) root: Cid,
    /// Bytes of the file and of all nodes.
    pub(crate) total_size: u64,
    /// The nodes, children before their parents; none where the file is one chunk.
    pub(crate) nodes: Vec<(Cid, Vec<u8>)>,
}

impl Tree {
    /// Adds the file's next chunk.
    pub(crate) fn push(&mut self, leaf: Link) {
        self.push_at(0, leaf);
    }

    /// The whole file's tree. At least one chunk must have been pushed.
    pub(crate) fn finish(mut self) -> Finished {
        let mut index = 0;
        loop {
            let is_top = index + 1 == self.levels.len();
            if let ([root], true) = (self.levels[index].as_slice(), is_top) {
                let (root, total_size) = (root.cid, root.total_size);
                return Finished { root, total_size, nodes: self.nodes };
            }
            let links = std::mem::take(&mut self.levels[index]);
            index += 1;
            self.push_node(index, &links);
        }
    }

    fn push_node(&mut self, index: usize, links: &[Link]) {
        let (link, block) = Link::node(links);
        self.nodes.push((link.cid, block));
        self.push_at(index, link);
    }

    fn push_at(&mut self, index: usize, link: Link) {
        if index == self.levels.len() {
            self.levels.push(Vec::new());
        }
        if self.levels[index].len() == LINK_COUNT_MAX {
            let full = std::mem::take(&mut self.levels[index]);
            self.push_node(index + 1, &full);
        }
        self.levels[index].push(link);
    }
}

fn node_block(links: &[Link]) -> Vec<u8> {
    // The name is empty, but present: that is how every UnixFS writer has done it.
    let named = |link: &Link| NodeLink { cid: link.cid, name: Vec::new(), size: link.total_size };
    Node { links: links.iter().map(named).collect(), data: file_message(links) }.encode()
}

fn file_message(links: &[Link]) -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, key::FILE_TYPE, TYPE_FILE);
    let file_size = links.iter().map(|link| link.file_size).sum();
    put_number(&mut message, key::FILE_SIZE, file_size);
    for link in links {
        put_number(&mut message, key::FILE_BLOCK, link.file_size);
    }
    message
}
