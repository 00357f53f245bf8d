//! Names of accounts and contents.
//!
//! An account is named by an Ethereum address, the last 20 bytes of the Keccak-256 of its public
//! key; a content by its CID.
//!
//! Not here: keys and signatures (`signature`), and the CIDs of other codecs and hashes, which the
//! store knows and the ledger never names.

use std::fmt;

use data_encoding::{BASE32_NOPAD, HEXLOWER_PERMISSIVE};
use sha3::{Digest, Keccak256};

use crate::codec::{Canonical, Malformed, Reader};

/// An account's name: 20 bytes, shown as EIP-55 writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address(pub [u8; 20]);

/// 32 bytes of a hash, or of a node's public key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

/// A content's name: a CID of version 1 over SHA-256, of raw bytes, a UnixFS node or DAG-CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cid {
    codec: u8,
    digest: Hash,
}

/// Multicodec numbers of raw bytes, of a UnixFS node (dag-pb) and of DAG-CBOR.
const CODECS: [u8; 3] = [0x55, 0x70, 0x71];
/// Multihash's head: SHA-256, 32 bytes.
const SHA256: [u8; 2] = [0x12, 0x20];

/// Keccak-256, Ethereum's hash.
#[must_use]
pub fn keccak256(bytes: &[u8]) -> Hash {
    Hash(Keccak256::digest(bytes).into())
}

impl Address {
    /// Reads 40 hexadecimal digits after `0x`. Digits of both cases must have EIP-55's checksum.
    #[must_use]
    pub fn parse(text: &str) -> Option<Address> {
        let digits = text.strip_prefix("0x")?;
        let bytes = HEXLOWER_PERMISSIVE.decode(digits.as_bytes()).ok()?;
        let address = Address(bytes.try_into().ok()?);
        let is_one_case = digits == digits.to_lowercase() || digits == digits.to_uppercase();
        (is_one_case || address.to_string() == text).then_some(address)
    }
}

impl fmt::Display for Address {
    /// EIP-55: a letter is upper case where the digest of the lower-case text has a nibble over 7.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = HEXLOWER_PERMISSIVE.encode(&self.0);
        let digest = keccak256(digits.as_bytes());
        let nibbles = digest.0.iter().flat_map(|byte| [byte >> 4, byte & 15]);
        out.write_str("0x")?;
        digits.chars().zip(nibbles).try_for_each(|(digit, nibble)| {
            let shown = if nibble > 7 { digit.to_ascii_uppercase() } else { digit };
            fmt::Write::write_char(out, shown)
        })
    }
}

impl Hash {
    /// Reads 64 hexadecimal digits after `0x`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Hash> {
        let bytes = HEXLOWER_PERMISSIVE.decode(text.strip_prefix("0x")?.as_bytes()).ok()?;
        bytes.try_into().ok().map(Hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{}", HEXLOWER_PERMISSIVE.encode(&self.0))
    }
}

impl Cid {
    /// The CID of raw bytes with this SHA-256.
    #[must_use]
    pub fn raw(digest: Hash) -> Cid {
        Cid { codec: 0x55, digest }
    }

    /// The CID of a UnixFS node, dag-pb, with this SHA-256.
    #[must_use]
    pub fn node(digest: Hash) -> Cid {
        Cid { codec: 0x70, digest }
    }

    /// Reads the text form, `b` and base 32 in lower case.
    #[must_use]
    pub fn parse(text: &str) -> Option<Cid> {
        let digits = text.strip_prefix('b')?;
        if digits.chars().any(|digit| digit.is_ascii_uppercase()) {
            return None;
        }
        let bytes = BASE32_NOPAD.decode(digits.to_uppercase().as_bytes()).ok()?;
        crate::codec::decode(&bytes).ok()
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = crate::codec::encode(self);
        write!(out, "b{}", BASE32_NOPAD.encode(&bytes).to_lowercase())
    }
}

impl Canonical for Address {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array().map(Address)
    }
}

impl Canonical for Hash {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array().map(Hash)
    }
}

impl Canonical for Cid {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[1, self.codec]);
        out.extend_from_slice(&SHA256);
        self.digest.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let [version, codec] = reader.array()?;
        let hash: [u8; 2] = reader.array()?;
        if version != 1 || !CODECS.contains(&codec) || hash != SHA256 {
            return Err(Malformed::BadCid);
        }
        Ok(Cid { codec, digest: Hash::read(reader)? })
    }
}

#[cfg(test)]
mod tests;
