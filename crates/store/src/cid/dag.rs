//! Build the balanced tree of dag-pb nodes over a file's chunks.
//!
//! The bytes of a node are canonical dag-pb (<https://ipld.io/specs/codecs/dag-pb/spec/>): all links
//! first, then the data, which is a UnixFS message. Both are protocol buffers, written by hand.
//!
//! Invariants:
//! - A level is folded into a node when it is full and another link arrives, so a file of exactly
//!   1024 chunks has one node, and a tree is never deeper than it has to be.
//!
//! Not here: reading nodes.

use super::{Cid, Codec, LINK_COUNT_MAX};

/// Protocol buffer keys, `field << 3 | wire type`; type 0 is a number, type 2 is bytes.
mod key {
    /// PBNode.Data.
    pub(super) const NODE_DATA: u8 = 0x0a;
    /// PBNode.Links.
    pub(super) const NODE_LINK: u8 = 0x12;
    /// PBLink.Hash.
    pub(super) const LINK_HASH: u8 = 0x0a;
    /// PBLink.Name.
    pub(super) const LINK_NAME: u8 = 0x12;
    /// PBLink.Tsize.
    pub(super) const LINK_TOTAL: u8 = 0x18;
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
pub(super) struct Link {
    cid: Cid,
    /// Bytes of the file below this link.
    file_size: u64,
    /// Bytes of the file and of all nodes below this link, its own included.
    total_size: u64,
}

impl Link {
    /// The link to a chunk of `size` bytes.
    pub(super) fn leaf(cid: Cid, size: usize) -> Link {
        Link { cid, file_size: size as u64, total_size: size as u64 }
    }

    /// The link to the node that has `links` as its children.
    fn node(links: &[Link]) -> Link {
        let block = node_block(links);
        Link {
            cid: Cid::of_block(Codec::DagPb, &block),
            // Sums of sizes of bytes that were all read one by one: they cannot reach 2^64.
            file_size: links.iter().map(|link| link.file_size).sum(),
            total_size: links.iter().map(|link| link.total_size).sum::<u64>() + block.len() as u64,
        }
    }
}

/// The links that have no parent yet, from the leaves' level upwards.
#[derive(Debug, Default)]
pub(super) struct Tree {
    levels: Vec<Vec<Link>>,
}

impl Tree {
    /// Adds the file's next chunk.
    pub(super) fn push(&mut self, leaf: Link) {
        self.push_at(0, leaf);
    }

    /// The name of the whole file. At least one chunk must have been pushed.
    pub(super) fn finish(mut self) -> Cid {
        let mut index = 0;
        loop {
            let is_top = index + 1 == self.levels.len();
            if let ([root], true) = (self.levels[index].as_slice(), is_top) {
                return root.cid;
            }
            let node = Link::node(&self.levels[index]);
            index += 1;
            self.push_at(index, node);
        }
    }

    fn push_at(&mut self, index: usize, link: Link) {
        if index == self.levels.len() {
            self.levels.push(Vec::new());
        }
        if self.levels[index].len() == LINK_COUNT_MAX {
            let full = std::mem::take(&mut self.levels[index]);
            self.push_at(index + 1, Link::node(&full));
        }
        self.levels[index].push(link);
    }
}

fn node_block(links: &[Link]) -> Vec<u8> {
    let mut block = Vec::new();
    for link in links {
        put_bytes(&mut block, key::NODE_LINK, &link_message(link));
    }
    put_bytes(&mut block, key::NODE_DATA, &file_message(links));
    block
}

fn link_message(link: &Link) -> Vec<u8> {
    let mut message = Vec::new();
    put_bytes(&mut message, key::LINK_HASH, &link.cid.to_bytes());
    // Empty, but present: that is how every UnixFS writer has done it.
    put_bytes(&mut message, key::LINK_NAME, &[]);
    put_number(&mut message, key::LINK_TOTAL, link.total_size);
    message
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

fn put_bytes(out: &mut Vec<u8>, key: u8, bytes: &[u8]) {
    put_number(out, key, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_number(out: &mut Vec<u8>, key: u8, number: u64) {
    out.push(key);
    put_varint(out, number);
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push((number as u8 & 0x7f) | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}
