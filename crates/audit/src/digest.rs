//! Hashes with a tag, which keeps them apart from others over the same bytes.
//!
//! Not here: trees (the crate `merkle`).

use merkle::Digest;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a tag and parts, one after the other.
#[must_use]
pub(crate) fn tagged(tag: &str, parts: &[&[u8]]) -> Digest {
    let hash = Sha256::new().chain_update(tag.as_bytes());
    parts.iter().fold(hash, |hash, part| hash.chain_update(part)).finalize().into()
}
