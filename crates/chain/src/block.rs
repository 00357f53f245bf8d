//! Blocks: orders in an order that everyone agrees on, under a header that says what they led to.
//!
//! Specified in `docs/spec/block.md`.
//!
//! Invariants: a block's name covers all of its header, and the header all that follows it.
//!
//! Not here: whether the orders are good (`chain`), and who agrees (the consensus).

use merkle::Digest;
use sha2::{Digest as _, Sha256};
use types::agreement::Certificate;
use types::amount::Height;
use types::bounded::List;
use types::codec::{Malformed, decode, encode};
use types::envelope::Signed;
use types::evidence::Evidence;
use types::id::{Cid, Hash};
use types::record;
use types::vrf::VrfProof;

/// Version of the layout.
pub const VERSION: u32 = 1;
/// Bytes of a block: what eight proposal parts of 256 KiB hold.
pub const BLOCK_SIZE_MAX: usize = 2 << 20;
/// Orders of a block. The shortest order has about 160 bytes, so that size is nearly always what ends
/// a block.
pub const ORDERS_MAX: usize = 16_384;
/// Evidence of a block; more waits for the next. Bounds what checking it costs.
pub const EVIDENCE_MAX: usize = 16;
/// Milliseconds that a block's time may be ahead of the clock of one who checks it.
pub const DRIFT_MAX: u64 = 10_000;
/// Separates these hashes from others over the same bytes.
const TAG: &[u8] = b"mashaa/chain/header/v1";
const VALIDATORS_TAG: &[u8] = b"mashaa/chain/validators/v1";
const EVIDENCE_TAG: &[u8] = b"mashaa/chain/evidence/v1";
const CERTIFICATE_TAG: &[u8] = b"mashaa/chain/certificate/v1";

record! {
    /// What a block says of itself.
    Header {
        /// `VERSION`.
        version: u32,
        /// The network: the hash of its genesis.
        network: Hash,
        /// One more than the parent's.
        height: Height,
        /// The parent's name; the network's for the first block.
        parent: Hash,
        /// Milliseconds since 1970, later than the parent's by the network's interval or more.
        time: u64,
        /// The node key of the validator that made it.
        proposer: Hash,
        /// What the validator adds to the ledger's beacon.
        randomness: VrfProof,
        /// Root of the state after this block.
        state: Hash,
        /// Root of the orders.
        orders: Hash,
        /// Hash of the validators that decide this block.
        validators: Hash,
        /// Hash of the parent's certificate.
        certificate: Hash,
        /// Hash of the evidence.
        evidence: Hash,
        /// The snapshot of the state after the parent, where the parent's height is a multiple of the
        /// network's number of blocks between snapshots.
        snapshot: Option<Cid>,
    }
}

record! {
    /// A header and what it covers.
    Block {
        /// The header.
        header: Header,
        /// That the parent was decided, and by whom; none for the first block.
        certificate: Option<Certificate>,
        /// That validators contradicted themselves, in the order in which they are convicted.
        evidence: List<Evidence, EVIDENCE_MAX>,
        /// The orders, in the order in which they take effect.
        orders: List<Signed, ORDERS_MAX>,
    }
}

impl Header {
    /// The block's name.
    #[must_use]
    pub fn id(&self) -> Hash {
        Hash(Sha256::new().chain_update(TAG).chain_update(encode(self)).finalize().into())
    }
}

impl Block {
    /// Reads a block of bounded size.
    ///
    /// # Errors
    ///
    /// When the bytes are too many or no block.
    pub fn decode(bytes: &[u8]) -> Result<Block, Malformed> {
        if bytes.len() > BLOCK_SIZE_MAX {
            return Err(Malformed::TooLong { length: bytes.len(), max: BLOCK_SIZE_MAX });
        }
        decode(bytes)
    }

    /// Whether the header covers what follows it, so that its name stands for all of the bytes.
    #[must_use]
    pub fn is_covered(&self) -> bool {
        let Block { header, certificate, evidence, orders } = self;
        header.orders == orders_root(orders.as_slice())
            && header.certificate == certificate_hash(certificate)
            && header.evidence == evidence_hash(evidence)
    }
}

/// The root of a block's orders: the leaves are their bytes.
#[must_use]
pub fn orders_root(orders: &[Signed]) -> Hash {
    Hash(merkle::root(&leaves(orders)))
}

/// The hash of a parent's certificate.
#[must_use]
pub fn certificate_hash(certificate: &Option<Certificate>) -> Hash {
    let bytes = encode(certificate);
    Hash(Sha256::new().chain_update(CERTIFICATE_TAG).chain_update(bytes).finalize().into())
}

/// The hash of a block's evidence.
#[must_use]
pub fn evidence_hash(evidence: &List<Evidence, EVIDENCE_MAX>) -> Hash {
    let bytes = encode(evidence);
    Hash(Sha256::new().chain_update(EVIDENCE_TAG).chain_update(bytes).finalize().into())
}

/// The leaves of a block's orders.
pub(crate) fn leaves(orders: &[Signed]) -> Vec<Digest> {
    orders.iter().map(|order| merkle::leaf(&encode(order))).collect()
}

/// The hash of a set of validators: their node keys and powers, by key.
#[must_use]
pub fn validators_hash(validators: &[(Hash, u32)]) -> Hash {
    let mut hasher = Sha256::new().chain_update(VALIDATORS_TAG);
    for (key, power) in validators {
        hasher.update(key.0);
        hasher.update(power.to_le_bytes());
    }
    Hash(hasher.finalize().into())
}
