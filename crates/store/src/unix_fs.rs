//! Read and write what a node is: a file, a directory, a symbolic link.
//!
//! Specified in <https://specs.ipfs.tech/unixfs/>.
//!
//! Invariants:
//! - A file has as many sizes as links, and they add up to its size.
//! - A shard of a directory is of the one kind that there is: 256 slots, murmur3-x64-64; its links
//!   have the slots that its bitmap says, each once.
//!
//! Not here: modes and times, which the profile leaves out and which are skipped.

use crate::dag_pb::{Link, Node};
use crate::protobuf::{Fields, ProtobufRefusal, Value, put_bytes, put_number};

/// Slots of a shard.
pub const FANOUT: u64 = 256;
/// The multicodec of murmur3-x64-64.
const MURMUR3: u64 = 0x22;
/// Bytes of a symbolic link's target, at most.
pub const TARGET_SIZE_MAX: usize = 4096;

/// Keys of the message, `field << 3 | wire type`.
mod key {
    pub(super) const TYPE: u8 = 0x08;
    pub(super) const DATA: u8 = 0x12;
    pub(super) const HASH: u8 = 0x28;
    pub(super) const FANOUT: u8 = 0x30;
}

/// What a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, or a piece of one.
    File {
        /// Bytes of the file below this node.
        size: u64,
        /// Bytes of the file below each link.
        blocks: Vec<u64>,
        /// Bytes of the file in the node itself.
        inline: Vec<u8>,
    },
    /// A directory; each link is an entry.
    Directory,
    /// A part of a large directory; a link's name begins with its slot.
    Shard,
    /// A symbolic link to this path.
    Symlink(Vec<u8>),
}

/// Why a node's data is not UnixFS that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnixFsRefusal {
    /// The data is no protocol buffer.
    #[error("not UnixFS: {0}")]
    Protobuf(#[from] ProtobufRefusal),
    /// A field is there twice, is missing, or is unknown.
    #[error("not UnixFS: field {field} does not belong where it is")]
    Field {
        /// The field's number.
        field: u64,
    },
    /// The node is of a type that is not read here.
    #[error("UnixFS nodes of type {0} are not read here")]
    Type(u64),
    /// Sizes and links of a file do not fit each other.
    #[error("a file's sizes do not fit: {links} links, {sizes} sizes, {size} bytes in all")]
    Sizes {
        /// How many links.
        links: usize,
        /// How many sizes.
        sizes: usize,
        /// Bytes that the node says it has.
        size: u64,
    },
    /// A shard has other slots or another hash.
    #[error("a shard of {fanout} slots with hash {hash:#x} is not read here")]
    Shard {
        /// Slots.
        fanout: u64,
        /// The multicodec of the hash.
        hash: u64,
    },
    /// A shard's links have other slots than its bitmap says, or one twice.
    #[error("a shard's links do not have the slots that its bitmap says")]
    Bitmap,
    /// A link's name has no slot, or no entry's name.
    #[error("a directory has an entry without a name")]
    Name,
    /// A symbolic link leads to too long a path.
    #[error("a symbolic link has at most {TARGET_SIZE_MAX} bytes, this one has {0}")]
    Target(usize),
}

#[derive(Default)]
struct Message {
    kind: Option<u64>,
    data: Option<Vec<u8>>,
    size: Option<u64>,
    blocks: Vec<u64>,
    hash: Option<u64>,
    fanout: Option<u64>,
}

/// Reads what a node is.
///
/// # Errors
///
/// When its data is not UnixFS, or does not fit its links.
pub fn read(node: &Node) -> Result<Kind, UnixFsRefusal> {
    let message = message(&node.data)?;
    let data = message.data.unwrap_or_default();
    match message.kind.ok_or(UnixFsRefusal::Field { field: 1 })? {
        // `Raw` is what old writers call a leaf; in this it is a file.
        0 | 2 => {
            let size = message.size.unwrap_or(data.len() as u64);
            let sum = message
                .blocks
                .iter()
                .try_fold(data.len() as u64, |sum, block| sum.checked_add(*block));
            let (links, sizes) = (node.links.len(), message.blocks.len());
            if links != sizes || sum != Some(size) {
                return Err(UnixFsRefusal::Sizes { links, sizes, size });
            }
            Ok(Kind::File { size, blocks: message.blocks, inline: data })
        }
        1 => match node.links.iter().any(|link| link.name.is_empty()) {
            true => Err(UnixFsRefusal::Name),
            false => Ok(Kind::Directory),
        },
        4 if data.len() > TARGET_SIZE_MAX => Err(UnixFsRefusal::Target(data.len())),
        4 => Ok(Kind::Symlink(data)),
        5 => {
            let (fanout, hash) =
                (message.fanout.unwrap_or_default(), message.hash.unwrap_or_default());
            if fanout != FANOUT || hash != MURMUR3 {
                return Err(UnixFsRefusal::Shard { fanout, hash });
            }
            let slots = node.links.iter().map(|link| Some(slot(link)?.0));
            let slots: Vec<u8> = slots.collect::<Option<_>>().ok_or(UnixFsRefusal::Name)?;
            let written = data.iter().position(|byte| *byte != 0).unwrap_or(data.len());
            match data.get(written..) == bitmap(slots).as_deref() {
                true => Ok(Kind::Shard),
                false => Err(UnixFsRefusal::Bitmap),
            }
        }
        other => Err(UnixFsRefusal::Type(other)),
    }
}

fn message(data: &[u8]) -> Result<Message, UnixFsRefusal> {
    let mut message = Message::default();
    let mut fields = Fields::of(data);
    while let Some((field, value)) = fields.next()? {
        let slot = match field {
            1 => &mut message.kind,
            3 => &mut message.size,
            5 => &mut message.hash,
            6 => &mut message.fanout,
            2 => match value {
                Value::Bytes(bytes) if message.data.is_none() => {
                    message.data = Some(bytes.to_vec());
                    continue;
                }
                _ => return Err(UnixFsRefusal::Field { field }),
            },
            4 => match value {
                Value::Number(number) => {
                    message.blocks.push(number);
                    continue;
                }
                _ => return Err(UnixFsRefusal::Field { field }),
            },
            // Mode and time.
            7 | 8 => continue,
            _ => return Err(UnixFsRefusal::Field { field }),
        };
        match (value, &slot) {
            (Value::Number(number), None) => *slot = Some(number),
            _ => return Err(UnixFsRefusal::Field { field }),
        }
    }
    Ok(message)
}

/// The slot of a shard's link, and the entry's name; the name is empty where it leads to a shard
/// further down.
#[must_use]
pub fn slot(link: &Link) -> Option<(u8, &[u8])> {
    let (prefix, name) = link.name.split_at_checked(2)?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    };
    Some((digit(*prefix.first()?)? * 16 + digit(*prefix.get(1)?)?, name))
}

/// The bitmap of these slots, the highest first, without the zeros that it begins with; `None` where one
/// is there twice.
pub(crate) fn bitmap(slots: impl IntoIterator<Item = u8>) -> Option<Vec<u8>> {
    let mut bitmap = [0u8; FANOUT as usize / 8];
    for slot in slots {
        let (at, bit) = (bitmap.len() - 1 - usize::from(slot / 8), 1 << (slot % 8));
        if bitmap[at] & bit != 0 {
            return None;
        }
        bitmap[at] |= bit;
    }
    let empty = bitmap.iter().take_while(|byte| **byte == 0).count();
    Some(bitmap[empty..].to_vec())
}

/// The data of a directory's node.
pub(crate) fn directory() -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, key::TYPE, 1);
    message
}

/// The data of a symbolic link's node.
pub(crate) fn symlink(target: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, key::TYPE, 4);
    put_bytes(&mut message, key::DATA, target);
    message
}

/// The data of a shard's node; `bitmap` says which slots are taken, the highest first.
pub(crate) fn shard(bitmap: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    put_number(&mut message, key::TYPE, 5);
    put_bytes(&mut message, key::DATA, bitmap);
    put_number(&mut message, key::HASH, MURMUR3);
    put_number(&mut message, key::FANOUT, FANOUT);
    message
}
