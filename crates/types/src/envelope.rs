//! An order of an account, and an order with its signature: what is sent to the ledger.
//!
//! Specified in `docs/spec/transaction.md`, section 3.
//!
//! Invariants: a `Verified` order was signed by its signer for the network it was verified for.
//!
//! Not here: whether the signer may act for the account, and whether the nonce is the next one.

use sha2::{Digest, Sha256};

use crate::amount::{Height, Nonce};
use crate::codec::{Canonical, Malformed, Reader, encode};
use crate::id::{Address, Hash};
use crate::signature::{Secret, Signature, Unsigned};
use crate::transaction::Action;
use crate::typed::{self, Record, Show};

/// Bytes of a signed order: a piece of evidence and what is around it. The longest kind but those of
/// audits, a proposal of four splits, has about 2,000.
pub const SIGNED_SIZE_MAX: usize = crate::transaction::PIECE_MAX + 4096;

/// What an account asks, when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose account it is about. The signer is this address or a session key of it.
    pub account: Address,
    /// How many orders of the account came before.
    pub nonce: Nonce,
    /// The last block that may contain it.
    pub valid_until: Height,
    /// What is asked.
    pub action: Action,
}

/// An order and the signature of its typed data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The order.
    pub order: Order,
    /// The signature.
    pub signature: Signature,
}

/// An order whose signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    order: Order,
    signer: Address,
    id: Hash,
    size: u64,
}

impl Order {
    /// The typed data: the action's fields between the account, and the nonce and last block.
    #[must_use]
    pub fn shown(&self) -> Record {
        let mut record = self.action.shown();
        record.of.fields.insert(0, ("account".to_owned(), Address::kind()));
        record.values.insert(0, self.account.show());
        record.of.fields.push(("nonce".to_owned(), Nonce::kind()));
        record.values.push(self.nonce.show());
        record.of.fields.push(("validUntil".to_owned(), Height::kind()));
        record.values.push(self.valid_until.show());
        record
    }

    /// The hash that a wallet signs.
    #[must_use]
    pub fn signing_hash(&self, genesis: &Hash) -> Hash {
        typed::signing_hash(&self.shown(), genesis)
    }

    /// The text that `eth_signTypedData_v4` takes.
    #[must_use]
    pub fn json(&self, genesis: &Hash) -> String {
        typed::json(&self.shown(), genesis)
    }

    /// Signs the order.
    #[must_use]
    pub fn sign(self, secret: &Secret, genesis: &Hash) -> Signed {
        let signature = secret.sign(&self.signing_hash(genesis));
        Signed { order: self, signature }
    }
}

impl Signed {
    /// The order's name: SHA-256 of its canonical bytes.
    #[must_use]
    pub fn id(&self) -> Hash {
        Hash(Sha256::digest(encode(self)).into())
    }

    /// Checks the signature. What it costs is nearly all of what an order costs, and it needs no
    /// state: do it once, where orders come in.
    ///
    /// # Errors
    ///
    /// When the signature names no signer.
    pub fn verify(&self, genesis: &Hash) -> Result<Verified, Unsigned> {
        let signer = self.signature.recover(&self.order.signing_hash(genesis))?;
        let bytes = encode(self);
        let id = Hash(Sha256::digest(&bytes).into());
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(Verified { order: self.order.clone(), signer, id, size })
    }

    /// Reads a signed order of bounded size.
    ///
    /// # Errors
    ///
    /// When the bytes are too many or no signed order.
    pub fn decode(bytes: &[u8]) -> Result<Signed, Malformed> {
        if bytes.len() > SIGNED_SIZE_MAX {
            return Err(Malformed::TooLong { length: bytes.len(), max: SIGNED_SIZE_MAX });
        }
        crate::codec::decode(bytes)
    }
}

impl Verified {
    /// The order.
    #[must_use]
    pub fn order(&self) -> &Order {
        &self.order
    }

    /// Whose key signed it.
    #[must_use]
    pub fn signer(&self) -> Address {
        self.signer
    }

    /// The order's name.
    #[must_use]
    pub fn id(&self) -> Hash {
        self.id
    }

    /// Bytes of the order with its signature.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }
}

impl Canonical for Order {
    fn write(&self, out: &mut Vec<u8>) {
        self.account.write(out);
        self.nonce.write(out);
        self.valid_until.write(out);
        self.action.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let account = Address::read(reader)?;
        let nonce = Nonce::read(reader)?;
        let valid_until = Height::read(reader)?;
        Ok(Order { account, nonce, valid_until, action: Action::read(reader)? })
    }
}

impl Canonical for Signed {
    fn write(&self, out: &mut Vec<u8>) {
        // One byte for the version of this layout.
        out.push(VERSION);
        self.order.write(out);
        self.signature.write(out);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(reader)? {
            VERSION => {}
            number => return Err(Malformed::UnknownVariant { number }),
        }
        Ok(Signed { order: Order::read(reader)?, signature: Signature::read(reader)? })
    }
}

/// Version of the layout of signed orders.
const VERSION: u8 = 1;
