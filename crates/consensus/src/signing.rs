//! What a node signs in the agreement, and how others check it.
//!
//! Invariants:
//! - Every message is signed as the `Statement` that it makes, so that a certificate, a proof of
//!   misconduct and a live vote are checked by one rule.
//! - At a height of `Silence` nothing is signed. Malachite stops where a signature fails, so that it
//!   gets one that is none: it takes the message for forged and forgets it, and `codec` sends it to
//!   nobody.
//!
//! Not here: when to sign.

use async_trait::async_trait;
use malachite_signing::{Error, Signer, VerificationResult, Verifier};
use malachite_types::{
    NilOrVal, Round, SignedExtension, SignedProposal, SignedVote, ValidatorProof,
    VoteExtensionScope, VoteType,
};
use types::agreement::{Statement, Step};
use types::id::Hash;
use types::node_key::{NodeSecret, NodeSignature, NodeSigned};

use crate::context::{Head, Height, Mashaa, Name, NoExtension, Proposal, Sealed, Vote};
use crate::silence::Silence;

/// Separates heads of blocks from other messages.
const HEAD_TAG: &[u8] = b"mashaa/agreement/head/v1";

/// In place of a signature that is withheld. It is nobody's: its point is of small order.
pub(crate) const WITHHELD: Sealed = Sealed([0; 64]);

/// Signs and checks for one network. Clones are silent at the same heights.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    pub(crate) network: Hash,
    pub(crate) secret: NodeSecret,
    pub(crate) silence: Silence,
}

/// A round's number; none stands for no round.
fn number(round: Round) -> Option<u32> {
    round.as_u32()
}

impl Keys {
    pub(crate) fn new(network: Hash, secret: NodeSecret) -> Keys {
        Keys { network, secret, silence: Silence::default() }
    }

    pub(crate) fn of_vote(&self, vote: &Vote) -> Option<Statement> {
        let step = match vote.kind {
            VoteType::Prevote => Step::Prevote,
            VoteType::Precommit => Step::Precommit,
        };
        let block = match vote.value {
            NilOrVal::Nil => None,
            NilOrVal::Val(block) => Some(block.into()),
        };
        let (network, height) = (self.network, vote.height.into());
        Some(Statement { network, height, round: number(vote.round)?, step, block, earlier: None })
    }

    pub(crate) fn of_proposal(&self, proposal: &Proposal) -> Option<Statement> {
        Some(Statement {
            network: self.network,
            height: proposal.height.into(),
            round: number(proposal.round)?,
            step: Step::Propose,
            block: Some(proposal.value.0.into()),
            earlier: number(proposal.pol_round),
        })
    }

    fn head_bytes(&self, head: &Head) -> Vec<u8> {
        let mut bytes = HEAD_TAG.to_vec();
        bytes.extend_from_slice(&self.network.0);
        let unsigned = Head { signature: Sealed([0; 64]), ..head.clone() };
        bytes.extend(borsh::to_vec(&unsigned).expect("writing to memory does not fail"));
        bytes
    }

    /// Signs the beginning of a proposed block.
    pub(crate) fn sign_head(&self, mut head: Head) -> Head {
        head.signature = self.secret.sign(&self.head_bytes(&head)).into();
        head
    }

    /// Whether the proposer that the head names signed it.
    pub(crate) fn is_signed_head(&self, head: &Head) -> bool {
        NodeSignature::from(head.signature).is_of(&head.proposer.into(), &self.head_bytes(head))
    }

    fn check(statement: Option<Statement>, signature: &Sealed, key: &Name) -> VerificationResult {
        let is_signed = |statement: Statement| {
            statement.is_signed(&(*key).into(), &NodeSignature::from(*signature))
        };
        VerificationResult::from_bool(statement.is_some_and(is_signed))
    }

    fn sign(&self, height: Height, statement: Option<Statement>) -> Result<Sealed, Error> {
        if self.silence.covers(height) {
            return Ok(WITHHELD);
        }
        let statement = statement.ok_or_else(|| refused("a message without a round"))?;
        Ok(statement.sign(&self.secret).into())
    }
}

fn refused(what: &'static str) -> Error {
    Error::from_source(std::io::Error::other(what))
}

#[async_trait]
impl Verifier<Mashaa> for Keys {
    async fn verify_signed_vote(
        &self,
        vote: &Vote,
        signature: &Sealed,
        key: &Name,
    ) -> Result<VerificationResult, Error> {
        Ok(Keys::check(self.of_vote(vote), signature, key))
    }

    async fn verify_signed_proposal(
        &self,
        proposal: &Proposal,
        signature: &Sealed,
        key: &Name,
    ) -> Result<VerificationResult, Error> {
        Ok(Keys::check(self.of_proposal(proposal), signature, key))
    }

    async fn verify_signed_vote_extension(
        &self,
        _scope: &VoteExtensionScope<Mashaa>,
        _extension: &NoExtension,
        _signature: &Sealed,
        _key: &Name,
    ) -> Result<VerificationResult, Error> {
        Ok(VerificationResult::Invalid)
    }

    async fn verify_validator_proof(
        &self,
        proof: &ValidatorProof<Mashaa>,
    ) -> Result<VerificationResult, Error> {
        let is_signed = proof.decoded_public_key().is_ok_and(|key| {
            NodeSignature::from(proof.signature).is_of(&key.into(), &proof.preimage())
        });
        Ok(VerificationResult::from_bool(is_signed))
    }
}

#[async_trait]
impl Signer<Mashaa> for Keys {
    async fn sign_vote(&self, vote: Vote) -> Result<SignedVote<Mashaa>, Error> {
        let signature = self.sign(vote.height, self.of_vote(&vote))?;
        Ok(SignedVote::new(vote, signature))
    }

    async fn sign_proposal(&self, proposal: Proposal) -> Result<SignedProposal<Mashaa>, Error> {
        let signature = self.sign(proposal.height, self.of_proposal(&proposal))?;
        Ok(SignedProposal::new(proposal, signature))
    }

    async fn sign_vote_extension(
        &self,
        _scope: VoteExtensionScope<Mashaa>,
        _extension: NoExtension,
    ) -> Result<SignedExtension<Mashaa>, Error> {
        Err(refused("votes carry no extensions"))
    }

    async fn sign_validator_proof(
        &self,
        key: Vec<u8>,
        peer: Vec<u8>,
    ) -> Result<ValidatorProof<Mashaa>, Error> {
        let bytes = ValidatorProof::<Mashaa>::signing_bytes(&key, &peer);
        let signature = self.secret.sign(&bytes).into();
        Ok(ValidatorProof::new(key, peer, signature))
    }
}

#[cfg(test)]
mod tests;
