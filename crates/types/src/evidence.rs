//! The proof that a validator contradicted itself.
//!
//! Specified in `docs/spec/block.md`, section 6. In each step of a round an honest validator says one
//! thing: it proposes one block from one earlier round, it prevotes one block or none, and it
//! precommits one block or none. Two signed statements of one step that differ are its proof.
//!
//! Invariants: a `Proven` one was checked for the network it was verified for.
//!
//! Not here: what follows for the validator (the `ledger` crate).

use crate::agreement::{Statement, Step};
use crate::amount::Height;
use crate::id::Hash;
use crate::node_key::{NodeSignature, NodeSigned};
use crate::record;

/// Bytes of an evidence, at most: its head, and twice a block, an earlier round and a signature.
pub const EVIDENCE_SIZE_MAX: usize = 32 + 8 + 4 + 1 + 2 * (33 + 5 + 64);

record! {
    /// Two statements of one validator at one height, round and step.
    Evidence {
        /// The validator's node key.
        validator: Hash,
        /// The height.
        height: Height,
        /// The round.
        round: u32,
        /// The step.
        step: Step,
        /// What it signed: the one that is first in the order of blocks and earlier rounds.
        first: Said,
        /// What else it signed.
        second: Said,
    }
}

record! {
    /// What a validator signed at a step that is known.
    Said {
        /// The block; none for a vote against all.
        block: Option<Hash>,
        /// In a proposal, the earlier round in which two thirds of the power prevoted the block.
        earlier: Option<u32>,
        /// The signature of the whole statement.
        signature: NodeSignature,
    }
}

/// An evidence whose signatures have been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proven(Evidence);

/// Why an evidence proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// The statements are equal, or not in their order.
    #[error("the two statements do not contradict each other, or stand in the wrong order")]
    NoContradiction,
    /// No validator makes such a statement: a vote with an earlier round, or a proposal of nothing.
    #[error("a statement is of no form that validators use")]
    NoStatement,
    /// A statement is not signed by the validator for this network.
    #[error("a statement is not signed by the validator for this network")]
    BadSignature,
}

impl Said {
    fn what(&self) -> (Option<Hash>, Option<u32>) {
        (self.block, self.earlier)
    }
}

impl Evidence {
    /// Puts two signed statements together; none if they are of different networks, heights, rounds
    /// or steps, or equal.
    #[must_use]
    pub fn new(
        validator: Hash,
        one: &(Statement, NodeSignature),
        other: &(Statement, NodeSignature),
    ) -> Option<Evidence> {
        let place =
            |(it, _): &(Statement, NodeSignature)| (it.network, it.height, it.round, it.step);
        let said = |(it, signature): &(Statement, NodeSignature)| Said {
            block: it.block,
            earlier: it.earlier,
            signature: *signature,
        };
        let (mut first, mut second) = (said(one), said(other));
        if place(one) != place(other) || first.what() == second.what() {
            return None;
        }
        if first.what() > second.what() {
            std::mem::swap(&mut first, &mut second);
        }
        let Statement { height, round, step, .. } = one.0;
        Some(Evidence { validator, height, round, step, first, second })
    }

    /// Checks both statements for a network.
    ///
    /// # Errors
    ///
    /// Says why they prove nothing.
    pub fn verify(self, network: &Hash) -> Result<Proven, Unproven> {
        if self.first.what() >= self.second.what() {
            return Err(Unproven::NoContradiction);
        }
        for said in [&self.first, &self.second] {
            let is_proposal = self.step == Step::Propose;
            let fits = match is_proposal {
                true => said.block.is_some(),
                false => said.earlier.is_none(),
            };
            if !fits {
                return Err(Unproven::NoStatement);
            }
            let statement = Statement {
                network: *network,
                height: self.height,
                round: self.round,
                step: self.step,
                block: said.block,
                earlier: said.earlier,
            };
            if !statement.is_signed(&self.validator, &said.signature) {
                return Err(Unproven::BadSignature);
            }
        }
        Ok(Proven(self))
    }
}

impl Proven {
    /// The evidence.
    #[must_use]
    pub fn evidence(&self) -> &Evidence {
        &self.0
    }
}

#[cfg(test)]
mod tests;
