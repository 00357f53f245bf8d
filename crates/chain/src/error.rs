//! Why a block may not follow the tip, and why a chain cannot be opened or go on.
//!
//! Not here: why an order does not come in (`pool`).

use ledger::refusal::Refusal;
use types::agreement::Uncertified;
use types::codec::Malformed;
use types::evidence::Unproven;
use types::id::Hash;
use types::signature::Unsigned;

use crate::store::StoreError;

/// Why a block is not one that may follow the tip.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The bytes are no block.
    #[error("the block cannot be read: {0}")]
    Malformed(#[from] Malformed),
    /// A field of the header is not what it must be.
    #[error("the block's {field} is not what follows from its parent and its orders")]
    Header {
        /// The field.
        field: &'static str,
    },
    /// The block's time is too soon after its parent's, or too far ahead.
    #[error("the block's time {time} is not between {after} and {before}")]
    Time {
        /// Milliseconds since 1970.
        time: u64,
        /// The parent's with the network's interval.
        after: u64,
        /// The clock's with the drift that is allowed.
        before: u64,
    },
    /// The parent's certificate proves nothing.
    #[error("the certificate of the block's parent: {0}")]
    Certificate(#[from] Uncertified),
    /// Evidence of the block proves nothing.
    #[error("evidence {index} of the block: {error}")]
    Unproven {
        /// The evidence's place.
        index: usize,
        /// What is wrong with it.
        error: Unproven,
    },
    /// The rules convict nobody by evidence of the block.
    #[error("evidence {index} of the block is refused: {refusal}")]
    Evidence {
        /// The evidence's place.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// An order's signature names no signer.
    #[error("order {index} of the block: {error}")]
    Signature {
        /// The order's place.
        index: usize,
        /// What is wrong with it.
        error: Unsigned,
    },
    /// The rules refuse an order.
    #[error("order {index} of the block is refused: {refusal}")]
    Order {
        /// The order's place.
        index: usize,
        /// Why.
        refusal: Refusal,
    },
    /// The file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why a chain could not be opened, or a block not committed.
#[derive(Debug, thiserror::Error)]
pub enum ChainError {
    /// The file failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The genesis breaks a rule.
    #[error("the genesis is refused: {0}")]
    Genesis(Refusal),
    /// The file is of another network.
    #[error(
        "the ledger's file is of the network {found}, and the genesis of {expected}; open it with its own genesis, or use another home"
    )]
    OtherNetwork {
        /// The network of the file.
        found: Hash,
        /// The network that was asked for.
        expected: Hash,
    },
    /// Too few blocks are to be kept.
    #[error(
        "{count} blocks are to be kept, and a network with these snapshots needs {min} or more, or 0 for all"
    )]
    TooFewBlocks {
        /// How many.
        count: u64,
        /// The fewest.
        min: u64,
    },
    /// The block that was decided is not the one that was tried last.
    #[error("block {id} was decided but not tried; check it first")]
    NotTried {
        /// The block.
        id: Hash,
    },
    /// The certificate does not show that the block was decided.
    #[error("block {id} is not decided: {error}")]
    NotDecided {
        /// The block.
        id: Hash,
        /// What is wrong with the certificate.
        error: Uncertified,
    },
}
