//! What validators sign while they agree on a block, and the certificate that they did.
//!
//! Specified in `docs/spec/agreement.md`. The protocol is Tendermint's (Buchman, Kwon and Milosevic,
//! "The latest gossip on BFT consensus", 2018).
//!
//! Invariants:
//! - A statement names its network, height, round and step, so that it counts nowhere else.
//! - A certificate that verifies has more than two thirds of the power at its height behind one block.
//!
//! Not here: how validators come to agree, and who they are.

use crate::amount::Height;
use crate::bounded::List;
use crate::codec::{Malformed, encode};
use crate::id::Hash;
use crate::node_key::{NodeSignature, NodeSigned};
use crate::record;

/// Validators of a network. More would slow every block for all.
pub const VALIDATORS_MAX: usize = 128;

crate::words! {
    /// The steps of a round.
    Step {
        /// A block is proposed.
        0 Propose = "propose",
        /// A validator holds the block for good, or none.
        1 Prevote = "prevote",
        /// A validator saw two thirds of the power prevote the block, or none.
        2 Precommit = "precommit",
    }
}

record! {
    /// What a validator says at a step.
    Statement {
        /// The network: the hash of its genesis.
        network: Hash,
        /// The block's height.
        height: Height,
        /// The round, from 0.
        round: u32,
        /// The step.
        step: Step,
        /// The block; none for a vote against all.
        block: Option<Hash>,
        /// In a proposal, the earlier round in which two thirds of the power prevoted the block.
        earlier: Option<u32>,
    }
}

record! {
    /// A validator's precommit of the certificate's block.
    Seal {
        /// The validator's node key.
        validator: Hash,
        /// Its signature.
        signature: NodeSignature,
    }
}

record! {
    /// That a block was decided.
    Certificate {
        /// The block's height.
        height: Height,
        /// The round that decided.
        round: u32,
        /// The block's name.
        block: Hash,
        /// The precommits, ascending by validator.
        seals: List<Seal, VALIDATORS_MAX>,
    }
}

/// Why a certificate proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Uncertified {
    /// It is for another block.
    #[error("the certificate is for another block")]
    OtherBlock,
    /// Its seals are not in ascending order.
    #[error("the certificate's seals are not ascending by validator")]
    NotAscending,
    /// A seal is by someone who is no validator at its height.
    #[error("{validator} is no validator at this height")]
    NoValidator {
        /// Whose.
        validator: Hash,
    },
    /// A signature is not its validator's.
    #[error("the seal of {validator} is not its signature")]
    BadSeal {
        /// Whose.
        validator: Hash,
    },
    /// The seals have too little power behind them.
    #[error("the seals have {sealed} of {whole} power, and more than two thirds are needed")]
    TooFew {
        /// Power of the seals.
        sealed: u64,
        /// Power of all.
        whole: u64,
    },
}

impl NodeSigned for Statement {
    const TAG: &'static [u8] = b"mashaa/agreement/statement/v1";
}

impl Certificate {
    /// What each seal signs.
    #[must_use]
    pub fn statement(&self, network: Hash) -> Statement {
        Statement {
            network,
            height: self.height,
            round: self.round,
            step: Step::Precommit,
            block: Some(self.block),
            earlier: None,
        }
    }

    /// Checks that validators with more than two thirds of the power decided the block. `validators`
    /// are those of the height, by key, with their powers.
    ///
    /// # Errors
    ///
    /// Says what is missing or wrong.
    pub fn verify(&self, network: Hash, validators: &[(Hash, u32)]) -> Result<(), Uncertified> {
        let seals = self.seals.as_slice();
        if !seals.is_sorted_by(|a, b| a.validator < b.validator) {
            return Err(Uncertified::NotAscending);
        }
        let message = self.statement(network).signed_bytes();
        let mut sealed = 0u64;
        for Seal { validator, signature } in seals {
            let found = validators.binary_search_by(|(key, _)| key.cmp(validator)).ok();
            let power = found.and_then(|index| validators.get(index)).map(|(_, power)| *power);
            let power = power.ok_or(Uncertified::NoValidator { validator: *validator })?;
            if !signature.is_of(validator, &message) {
                return Err(Uncertified::BadSeal { validator: *validator });
            }
            sealed = sealed.saturating_add(power.into());
        }
        let whole =
            validators.iter().fold(0u64, |sum, (_, power)| sum.saturating_add((*power).into()));
        if sealed.saturating_mul(3) <= whole.saturating_mul(2) {
            return Err(Uncertified::TooFew { sealed, whole });
        }
        Ok(())
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads one.
    ///
    /// # Errors
    ///
    /// When the bytes are no certificate.
    pub fn decode(bytes: &[u8]) -> Result<Certificate, Malformed> {
        crate::codec::decode(bytes)
    }
}

#[cfg(test)]
mod tests;
