//! Name content by its hash, the way IPFS does.
//!
//! A `Cid` is a CIDv1 with SHA-256. Files are named by the profile `unixfs-v1-2025` (IPIP-499):
//! chunks of 1 MiB, raw leaves, a balanced tree of at most 1024 links a node. `kubo`, Helia and
//! every other program with that profile give the same file the same name.
//!
//! Invariants:
//! - A `Cid` has one text form, and no other text is read as it.
//! - The builder holds 32 bytes for each chunk that it has seen.
//!
//! Not here: folders (`directory`), other hash functions, CIDv0.

pub(crate) mod dag;

use std::fmt;
use std::io::{self, Read};
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};

use crate::leaves::Leaves;

/// Bytes in each chunk but a file's last one: what the profile lays down.
pub const CHUNK_SIZE: usize = 1_048_576;

/// Most links of one node: what the profile lays down.
pub const LINK_COUNT_MAX: usize = 1024;

/// Bytes read at a time; large enough that the hashing, not the calls, takes the time.
const READ_SIZE: usize = 256 * 1024;

/// Version, codec, hash function, hash length: the bytes before the digest.
const PREFIX_SIZE: usize = 4;

/// Bytes of a whole binary CID.
pub const CID_SIZE: usize = PREFIX_SIZE + 32;

/// Length of the text form: `b` and the 36 bytes in base 32 without padding.
const TEXT_SIZE: usize = 1 + (CID_SIZE * 8).div_ceil(5);

/// The name of some bytes: what kind of block its top is, and that block's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cid {
    codec: Codec,
    digest: [u8; 32],
}

/// What kind of block a `Cid` names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Codec {
    /// The bytes themselves; a file of at most one chunk.
    Raw,
    /// A node that links to the pieces of a larger file.
    DagPb,
}

/// Why a text is not the name of a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CidRefusal {
    /// The text has another length than every `Cid` has.
    #[error("a content identifier has {TEXT_SIZE} characters, this text has {size}")]
    WrongLength {
        /// Bytes of the text.
        size: usize,
    },
    /// The text does not start with `b`, or goes on with something else than lower-case base 32.
    #[error("a content identifier is `b` followed by lower-case base 32")]
    NotBase32,
    /// The text is a CID of a version, codec or hash function that is not kept here.
    #[error("only CIDv1 with codec raw or dag-pb and hash sha2-256 is kept here")]
    OtherKind,
}

impl Cid {
    /// The kind of block that is named.
    pub fn codec(&self) -> Codec {
        self.codec
    }

    /// The SHA-256 of the block that is named.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// The name of a file with these bytes.
    pub fn of(bytes: &[u8]) -> Cid {
        let mut builder = CidBuilder::new();
        builder.update(bytes);
        builder.finish()
    }

    /// The name of a file with the bytes that `reader` gives until its end.
    ///
    /// # Errors
    ///
    /// The reader's own.
    pub fn of_reader(reader: impl Read) -> io::Result<Cid> {
        Ok(Cid::leaves_of_reader(reader)?.root())
    }

    /// The chunks of a file with the bytes that `reader` gives until its end.
    ///
    /// # Errors
    ///
    /// The reader's own.
    pub fn leaves_of_reader(mut reader: impl Read) -> io::Result<Leaves> {
        let mut builder = CidBuilder::new();
        let mut buffer = vec![0; READ_SIZE];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return Ok(builder.finish_leaves()),
                Ok(count) => builder.update(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The name of one block with these bytes.
    pub fn of_block(codec: Codec, block: &[u8]) -> Cid {
        Cid { codec, digest: Sha256::digest(block).into() }
    }

    /// Whether a block has the bytes that this names.
    pub fn is_of(&self, block: &[u8]) -> bool {
        Sha256::digest(block)[..] == self.digest
    }

    /// The name of the raw block with this SHA-256.
    pub(crate) fn raw(digest: [u8; 32]) -> Cid {
        Cid { codec: Codec::Raw, digest }
    }

    /// The name's bytes: version, codec, hash function, length and digest.
    pub fn to_bytes(self) -> [u8; CID_SIZE] {
        let mut bytes = [0; CID_SIZE];
        bytes[..PREFIX_SIZE].copy_from_slice(&self.codec.prefix());
        bytes[PREFIX_SIZE..].copy_from_slice(&self.digest);
        bytes
    }

    /// Reads the bytes of a name.
    ///
    /// # Errors
    ///
    /// `OtherKind` when they are no name that is kept here.
    pub fn from_bytes(bytes: &[u8]) -> Result<Cid, CidRefusal> {
        let (prefix, digest) = bytes.split_at_checked(PREFIX_SIZE).ok_or(CidRefusal::OtherKind)?;
        let codec = [Codec::Raw, Codec::DagPb]
            .into_iter()
            .find(|codec| codec.prefix() == prefix)
            .ok_or(CidRefusal::OtherKind)?;
        let digest = digest.try_into().map_err(|_| CidRefusal::OtherKind)?;
        Ok(Cid { codec, digest })
    }
}

impl Codec {
    /// CIDv1, the multicodec, sha2-256, 32 bytes of digest.
    fn prefix(self) -> [u8; PREFIX_SIZE] {
        match self {
            Codec::Raw => [0x01, 0x55, 0x12, 0x20],
            Codec::DagPb => [0x01, 0x70, 0x12, 0x20],
        }
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = BASE32_NOPAD.encode(&self.to_bytes());
        text.make_ascii_lowercase();
        // `pad` keeps widths working in tables.
        f.pad(&format!("b{text}"))
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl FromStr for Cid {
    type Err = CidRefusal;

    fn from_str(text: &str) -> Result<Cid, CidRefusal> {
        // The length protects the two copies below, and bounds the work on hostile text.
        if text.len() != TEXT_SIZE {
            return Err(CidRefusal::WrongLength { size: text.len() });
        }
        let digits = text.strip_prefix('b').ok_or(CidRefusal::NotBase32)?;
        if digits.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return Err(CidRefusal::NotBase32);
        }
        let bytes = BASE32_NOPAD
            .decode(digits.to_ascii_uppercase().as_bytes())
            .map_err(|_| CidRefusal::NotBase32)?;
        Cid::from_bytes(&bytes)
    }
}

/// Names a file whose bytes come piece by piece, without keeping them.
#[derive(Debug, Default)]
pub struct CidBuilder {
    chunk: Sha256,
    /// Bytes in `chunk` so far; at most `CHUNK_SIZE`.
    chunk_size: usize,
    size: u64,
    digests: Vec<[u8; 32]>,
}

impl CidBuilder {
    /// A builder that has seen no bytes.
    pub fn new() -> CidBuilder {
        CidBuilder::default()
    }

    /// Takes the file's next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.chunk_size == CHUNK_SIZE {
                self.end_chunk();
            }
            let count = bytes.len().min(CHUNK_SIZE - self.chunk_size);
            let (now, later) = bytes.split_at(count);
            self.chunk.update(now);
            self.chunk_size += count;
            bytes = later;
        }
    }

    /// The name of all bytes taken.
    pub fn finish(self) -> Cid {
        self.finish_leaves().root()
    }

    /// The table of all chunks taken, from which the name follows.
    pub fn finish_leaves(mut self) -> Leaves {
        // An empty file is one empty leaf; otherwise the last chunk is never empty.
        self.end_chunk();
        Leaves::of(self.size, self.digests)
    }

    fn end_chunk(&mut self) {
        self.digests.push(self.chunk.finalize_reset().into());
        self.size += self.chunk_size as u64;
        self.chunk_size = 0;
    }
}

#[cfg(test)]
pub(crate) mod tests;
