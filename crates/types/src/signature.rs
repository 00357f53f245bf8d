//! Keys and signatures of accounts, on the curve secp256k1.
//!
//! A signature is 65 bytes, `r`, `s` and `v`, as Ethereum wallets give it. It names its signer: the
//! address is recovered from it.
//!
//! Invariants: a signer's signature of a hash cannot be changed into another one that is accepted.
//! `s` is at most half the group's order (EIP-2) and `v` is 27 or 28.
//!
//! Not here: what is signed (`typed`, `siwe`), and keys on disk.

use std::fmt;

use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};

use crate::codec::{Canonical, Malformed, Reader};
use crate::id::{Address, Hash, keccak256};
use crate::typed::{Kind, Show, Value};

/// Half of the order of secp256k1, rounded down; the largest `s`.
const HALF_ORDER: [u8; 32] = [
    0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0x5D, 0x57, 0x6E, 0x73, 0x57, 0xA4, 0x50, 0x1D, 0xDF, 0xE9, 0x2F, 0x46, 0x68, 0x1B, 0x20, 0xA0,
];

/// A signature: `r` and `s`, each 32 bytes big endian, then `v`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signature(pub [u8; 65]);

/// A secret key. Its bytes are erased from memory when it is dropped.
#[derive(Clone)]
pub struct Secret(SecretKey);

/// Why a signature names no signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsigned {
    /// `v` is neither 27 nor 28.
    #[error("signature ends in neither 27 nor 28")]
    BadRecovery,
    /// `s` is over half the group's order: someone changed an accepted signature into its mirror.
    #[error("signature has a high s")]
    HighS,
    /// `r` or `s` is 0 or over the group's order, or no public key belongs to them.
    #[error("signature belongs to no key")]
    NoKey,
}

impl Signature {
    /// The address whose key signed the hash.
    ///
    /// # Errors
    ///
    /// When the signature is not of the one accepted form, or no key belongs to it.
    pub fn recover(&self, hash: &Hash) -> Result<Address, Unsigned> {
        let (compact, v) = self.0.split_first_chunk::<64>().ok_or(Unsigned::NoKey)?;
        let recovery = match v {
            [27] => RecoveryId::Zero,
            [28] => RecoveryId::One,
            _ => return Err(Unsigned::BadRecovery),
        };
        if compact.iter().skip(32).gt(HALF_ORDER.iter()) {
            return Err(Unsigned::HighS);
        }
        let signature = RecoverableSignature::from_compact(compact, recovery);
        let signature = signature.map_err(|_| Unsigned::NoKey)?;
        let key = SECP256K1.recover_ecdsa(Message::from_digest(hash.0), &signature);
        key.map(|key| address(&key)).map_err(|_| Unsigned::NoKey)
    }
}

impl Secret {
    /// A key of 32 bytes; none for zero and for numbers from the group's order on.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Option<Secret> {
        SecretKey::from_byte_array(bytes).ok().map(Secret)
    }

    /// The key's address.
    #[must_use]
    pub fn address(&self) -> Address {
        address(&self.0.public_key(SECP256K1))
    }

    /// Signs a hash; the same bytes each time (RFC 6979).
    #[must_use]
    pub fn sign(&self, hash: &Hash) -> Signature {
        let message = Message::from_digest(hash.0);
        let (recovery, compact) =
            SECP256K1.sign_ecdsa_recoverable(message, &self.0).serialize_compact();
        // libsecp256k1 signs with a low s. Ids 2 and 3 stand for an r over the order, which nobody
        // has ever found.
        let v = if recovery == RecoveryId::Zero { 27 } else { 28 };
        let mut bytes = [v; 65];
        bytes.iter_mut().zip(compact).for_each(|(to, from)| *to = from);
        Signature(bytes)
    }
}

/// The last 20 bytes of the Keccak-256 of the key's two coordinates.
fn address(key: &PublicKey) -> Address {
    let bytes = key.serialize_uncompressed();
    let [_, coordinates @ ..] = bytes;
    let Hash([_, _, _, _, _, _, _, _, _, _, _, _, address @ ..]) = keccak256(&coordinates);
    Address(address)
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Secret of {}", self.address())
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl Canonical for Signature {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array().map(Signature)
    }
}

impl Show for Signature {
    fn kind() -> Kind {
        Kind::Text
    }

    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn wire() -> String {
        "65".to_owned()
    }
}
