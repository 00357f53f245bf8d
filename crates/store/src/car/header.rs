//! The header of an archive: DAG-CBOR of its roots and its version.
//!
//! Invariants:
//! - One encoding is written and read, the canonical one: `{"roots": [CID...], "version": 1}`.
//!
//! Not here: the blocks.

use crate::cid::{CID_SIZE, Cid, CidRefusal};

/// Roots of an archive, at most.
pub const ROOT_COUNT_MAX: usize = 1024;
/// Bytes of a header, at most: what as many roots need.
pub const HEADER_SIZE_MAX: u64 = (64 + ROOT_COUNT_MAX * (CID_SIZE + 6)) as u64;

/// A map of two, and its first key.
const BEGIN: &[u8] = b"\xa2\x65roots";
/// Tag 42, and a string of one byte and a CID; the byte says that the CID is binary.
const ROOT: &[u8] = &[0xd8, 0x2a, 0x58, CID_SIZE as u8 + 1, 0];
/// The second key, and 1.
const END: &[u8] = b"\x67version\x01";
/// What an archive of version 2 begins with.
const VERSION_2: &[u8] = b"\xa1\x67version\x02";

/// Why the beginning of a file is no archive's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefusal {
    /// The header is larger than any that is read.
    #[error("this is no CARv1: a header of {size} bytes, of at most {HEADER_SIZE_MAX}")]
    TooLarge {
        /// Bytes of the header.
        size: u64,
    },
    /// The archive is of another version.
    #[error("this is a CARv2; only CARv1 is read")]
    Version2,
    /// The header is not the canonical one.
    #[error("this is no CARv1: its header is not the roots and version 1 in DAG-CBOR")]
    Other,
    /// There are too many roots.
    #[error("an archive has at most {ROOT_COUNT_MAX} roots, this one has {count}")]
    Roots {
        /// How many.
        count: u64,
    },
    /// A root is a CID that is not kept here.
    #[error("a root of the archive: {0}")]
    Root(#[from] CidRefusal),
}

/// The header of an archive with these roots, of which there are at most 23.
pub(super) fn encode(roots: &[Cid]) -> Vec<u8> {
    debug_assert!(roots.len() < 24, "a count in one byte");
    let mut header = BEGIN.to_vec();
    // An array of so many.
    header.push(0x80 | (roots.len() as u8 & 0x1f));
    for root in roots {
        header.extend(ROOT);
        header.extend(root.to_bytes());
    }
    header.extend(END);
    header
}

/// Reads a header, which the caller has bounded.
pub(super) fn decode(header: &[u8]) -> Result<Vec<Cid>, HeaderRefusal> {
    if header == VERSION_2 {
        return Err(HeaderRefusal::Version2);
    }
    let rest = header.strip_prefix(BEGIN).ok_or(HeaderRefusal::Other)?;
    let (count, mut rest) = array(rest)?;
    if count > ROOT_COUNT_MAX as u64 {
        return Err(HeaderRefusal::Roots { count });
    }
    let mut roots = Vec::new();
    for _ in 0..count {
        let [0xd8, 0x2a, 0x58, size, 0, after @ ..] = rest else {
            return Err(HeaderRefusal::Other);
        };
        let size = usize::from(*size).checked_sub(1).ok_or(HeaderRefusal::Other)?;
        let (cid, after) = after.split_at_checked(size).ok_or(HeaderRefusal::Other)?;
        roots.push(Cid::from_bytes(cid)?);
        rest = after;
    }
    if rest == END { Ok(roots) } else { Err(HeaderRefusal::Other) }
}

/// The length of a CBOR array, in its shortest form.
fn array(bytes: &[u8]) -> Result<(u64, &[u8]), HeaderRefusal> {
    match bytes {
        [short @ 0x80..=0x97, rest @ ..] => Ok((u64::from(short - 0x80), rest)),
        [0x98, count @ 24..=255, rest @ ..] => Ok((u64::from(*count), rest)),
        [0x99, a, b, rest @ ..] if *a > 0 => Ok((u64::from(u16::from_be_bytes([*a, *b])), rest)),
        _ => Err(HeaderRefusal::Other),
    }
}
