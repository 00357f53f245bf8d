//! Read and write the nodes that link blocks: dag-pb.
//!
//! Specified in <https://ipld.io/specs/codecs/dag-pb/spec/>. A node is written in the canonical form,
//! all links first, then the data.
//!
//! Invariants:
//! - A block that is read is at most `BLOCK_SIZE_MAX` bytes, so its links are bounded by its size.
//! - What is read is checked completely before any of it is used.
//!
//! Not here: what a node's data says (`unix_fs`).

use crate::cid::{Cid, CidRefusal};
use crate::protobuf::{Fields, ProtobufRefusal, Value, put_bytes, put_number};

/// Bytes of a block, at most: what IPFS networks carry.
pub const BLOCK_SIZE_MAX: usize = 2 << 20;
/// Bytes of a link's name, at most: file systems have 255, and a HAMT's prefix adds two.
pub const NAME_SIZE_MAX: usize = 1024;

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
}

/// A node: links to other blocks, and what it is itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// The links, in the order written.
    pub links: Vec<Link>,
    /// The node's data, a UnixFS message.
    pub data: Vec<u8>,
}

/// A link to a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The block.
    pub cid: Cid,
    /// What it is called here; empty in files.
    pub name: Vec<u8>,
    /// Bytes of all blocks below, as the writer said; only a hint.
    pub size: u64,
}

/// Why a block is no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeRefusal {
    /// The block is larger than any that is carried.
    #[error("a block has at most {BLOCK_SIZE_MAX} bytes, this one has {size}")]
    TooLarge {
        /// Bytes of the block.
        size: usize,
    },
    /// The block is no protocol buffer.
    #[error("not a node: {0}")]
    Protobuf(#[from] ProtobufRefusal),
    /// A field is there twice, is missing, or is unknown.
    #[error("not a node: field {field} does not belong where it is")]
    Field {
        /// The field's number.
        field: u64,
    },
    /// A link's name is longer than any file's.
    #[error("a link's name has at most {NAME_SIZE_MAX} bytes, this one has {size}")]
    Name {
        /// Bytes of the name.
        size: usize,
    },
    /// A link names what is not kept here.
    #[error("a link names another kind of block: {0}")]
    Cid(#[from] CidRefusal),
}

impl Node {
    /// The node's block.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut block = Vec::new();
        for link in &self.links {
            put_bytes(&mut block, key::NODE_LINK, &link.encode());
        }
        put_bytes(&mut block, key::NODE_DATA, &self.data);
        block
    }

    /// Reads a block.
    ///
    /// # Errors
    ///
    /// When it is no node, or links to what is not kept here.
    pub fn decode(block: &[u8]) -> Result<Node, NodeRefusal> {
        // Protects the links' number, and with it what is allocated.
        if block.len() > BLOCK_SIZE_MAX {
            return Err(NodeRefusal::TooLarge { size: block.len() });
        }
        let (mut links, mut data) = (Vec::new(), None);
        let mut fields = Fields::of(block);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Bytes(bytes)) if data.is_none() => data = Some(bytes.to_vec()),
                (2, Value::Bytes(bytes)) => links.push(Link::decode(bytes)?),
                _ => return Err(NodeRefusal::Field { field }),
            }
        }
        Ok(Node { links, data: data.unwrap_or_default() })
    }
}

impl Link {
    fn encode(&self) -> Vec<u8> {
        let mut message = Vec::new();
        put_bytes(&mut message, key::LINK_HASH, &self.cid.to_bytes());
        put_bytes(&mut message, key::LINK_NAME, &self.name);
        put_number(&mut message, key::LINK_TOTAL, self.size);
        message
    }

    fn decode(message: &[u8]) -> Result<Link, NodeRefusal> {
        let (mut cid, mut name, mut size) = (None, None, None);
        let mut fields = Fields::of(message);
        while let Some((field, value)) = fields.next()? {
            match (field, value) {
                (1, Value::Bytes(bytes)) if cid.is_none() => cid = Some(Cid::from_bytes(bytes)?),
                (2, Value::Bytes(bytes)) if bytes.len() > NAME_SIZE_MAX => {
                    return Err(NodeRefusal::Name { size: bytes.len() });
                }
                (2, Value::Bytes(bytes)) if name.is_none() => name = Some(bytes.to_vec()),
                (3, Value::Number(number)) if size.is_none() => size = Some(number),
                _ => return Err(NodeRefusal::Field { field }),
            }
        }
        let cid = cid.ok_or(NodeRefusal::Field { field: 1 })?;
        Ok(Link { cid, name: name.unwrap_or_default(), size: size.unwrap_or_default() })
    }
}
