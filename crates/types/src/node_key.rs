//! Keys and signatures of nodes, Ed25519 (RFC 8032).
//!
//! A node's key signs what it states while blocks are agreed on; it owns no credits. A public key is
//! 32 bytes and stands for the node wherever the ledger names it.
//!
//! Invariants: a signature is accepted by one rule on every machine, the strict one: neither the key
//! nor the signature's point is of small order, and every number is canonical.
//!
//! Not here: what is signed (`agreement`), and keys on disk.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};

use crate::codec::{Canonical, Malformed, Reader};
use crate::id::Hash;
use crate::typed::{Kind, Show, Value};

/// A node's secret key.
#[derive(Clone)]
pub struct NodeSecret(SigningKey);

/// A node's signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeSignature(pub [u8; 64]);

impl NodeSecret {
    /// The key of 32 random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> NodeSecret {
        NodeSecret(SigningKey::from_bytes(&bytes))
    }

    /// The secret's 32 bytes, to keep it.
    #[must_use]
    pub fn bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> Hash {
        Hash(self.0.verifying_key().to_bytes())
    }

    /// Signs; the same bytes each time.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> NodeSignature {
        NodeSignature(self.0.sign(message).to_bytes())
    }
}

impl NodeSignature {
    /// Whether the key signed the message.
    #[must_use]
    pub fn is_of(&self, key: &Hash, message: &[u8]) -> bool {
        let signature = ed25519_dalek::Signature::from_bytes(&self.0);
        VerifyingKey::from_bytes(&key.0)
            .is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
    }
}

/// What a node's key signs: a tag, which keeps kinds of statements apart, and the statement's bytes.
pub trait NodeSigned: Canonical {
    /// The tag. No other kind of statement has it.
    const TAG: &'static [u8];

    /// The bytes that are signed.
    fn signed_bytes(&self) -> Vec<u8> {
        let mut bytes = Self::TAG.to_vec();
        self.write(&mut bytes);
        bytes
    }

    /// Signs it.
    fn sign(&self, secret: &NodeSecret) -> NodeSignature {
        secret.sign(&self.signed_bytes())
    }

    /// Whether the node with this key signed it.
    fn is_signed(&self, by: &Hash, signature: &NodeSignature) -> bool {
        signature.is_of(by, &self.signed_bytes())
    }
}

impl fmt::Debug for NodeSecret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "NodeSecret of {}", self.key())
    }
}

impl fmt::Display for NodeSignature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "0x{}", data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeSignature {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{self}")
    }
}

impl Canonical for NodeSignature {
    fn write(&self, out: &mut Vec<u8>) {
        self.0.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        reader.array().map(NodeSignature)
    }
}

impl Show for NodeSignature {
    fn kind() -> Kind {
        Kind::Text
    }

    fn show(&self) -> Value {
        Value::Text(self.to_string())
    }

    fn wire() -> String {
        "64".to_owned()
    }
}
