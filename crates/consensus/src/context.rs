//! The values that Malachite's protocol is made of.
//!
//! Invariants: a validator's address is its node key; the value that is agreed on is a block's name,
//! and the block's bytes travel beside it (`parts`).
//!
//! Not here: their bytes (`codec`) and signatures (`signing`).

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use malachite_types::{
    self as core, LinearTimeouts, NilOrVal, Round, SignedExtension, VoteType, VotingPower,
};
use types::amount;
use types::id::Hash;
use types::node_key::{NodeSecret, NodeSignature};

use crate::application;

/// Bytes that name something.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub(crate) struct Name(pub(crate) [u8; 32]);

/// A node's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) struct Sealed(pub(crate) [u8; 64]);

/// A block's height.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
)]
pub(crate) struct Height(pub(crate) u64);

/// What is agreed on: a block's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) struct Value(pub(crate) Name);

/// A piece of what nodes tell each other beside votes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Part {
    /// The beginning of a proposed block.
    Head(Head),
    /// Bytes of the block.
    Data(Vec<u8>),
    /// Something of the application's, in a stream of its own.
    Gossip(Vec<u8>),
}

/// The beginning of a proposed block.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Head {
    pub(crate) height: Height,
    pub(crate) round: Round,
    /// The earlier round in which two thirds of the power prevoted the block.
    pub(crate) valid_round: Round,
    /// Who proposes it in this round.
    pub(crate) proposer: Name,
    pub(crate) block: Name,
    /// Bytes of the block.
    pub(crate) length: u32,
    /// SHA-256 of the block's bytes.
    pub(crate) digest: Name,
    /// The proposer's, of all of the above.
    pub(crate) signature: Sealed,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Proposal {
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: Value,
    pub(crate) pol_round: Round,
    pub(crate) proposer: Name,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Vote {
    pub(crate) kind: VoteType,
    pub(crate) height: Height,
    pub(crate) round: Round,
    pub(crate) value: NilOrVal<Name>,
    pub(crate) voter: Name,
}

/// Votes carry nothing of the application's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NoExtension;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validator {
    key: Name,
    power: u32,
    rests: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators(Vec<Validator>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ed25519;

#[derive(Clone, Debug)]
pub(crate) struct Mashaa;

impl From<Hash> for Name {
    fn from(hash: Hash) -> Name {
        Name(hash.0)
    }
}

impl From<Name> for Hash {
    fn from(name: Name) -> Hash {
        Hash(name.0)
    }
}

impl From<NodeSignature> for Sealed {
    fn from(signature: NodeSignature) -> Sealed {
        Sealed(signature.0)
    }
}

impl From<Sealed> for NodeSignature {
    fn from(signature: Sealed) -> NodeSignature {
        NodeSignature(signature.0)
    }
}

impl From<Height> for amount::Height {
    fn from(height: Height) -> amount::Height {
        amount::Height(height.0)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(out)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hash(self.0).fmt(out)
    }
}

impl fmt::Display for Height {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl core::Address for Name {}

impl core::Height for Height {
    const ZERO: Height = Height(0);
    const INITIAL: Height = Height(1);

    fn increment_by(&self, count: u64) -> Height {
        Height(self.0.saturating_add(count))
    }

    fn decrement_by(&self, count: u64) -> Option<Height> {
        self.0.checked_sub(count).map(Height)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl core::Value for Value {
    type Id = Name;

    fn id(&self) -> Name {
        self.0
    }
}

impl core::ProposalPart<Mashaa> for Part {
    fn is_first(&self) -> bool {
        matches!(self, Part::Head(_))
    }

    /// No part is known to be the last by itself: the head says how many there are.
    fn is_last(&self) -> bool {
        false
    }
}

impl core::Proposal<Mashaa> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &Value {
        &self.value
    }

    fn take_value(self) -> Value {
        self.value
    }

    fn pol_round(&self) -> Round {
        self.pol_round
    }

    fn validator_address(&self) -> &Name {
        &self.proposer
    }
}

impl core::Vote<Mashaa> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        self.round
    }

    fn value(&self) -> &NilOrVal<Name> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<Name> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        self.kind
    }

    fn validator_address(&self) -> &Name {
        &self.voter
    }

    fn extension(&self) -> Option<&SignedExtension<Mashaa>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Mashaa>> {
        None
    }

    fn extend(self, _extension: SignedExtension<Mashaa>) -> Vote {
        self
    }
}

impl core::Extension for NoExtension {
    fn size_bytes(&self) -> usize {
        0
    }
}

impl core::Validator<Mashaa> for Validator {
    fn address(&self) -> &Name {
        &self.key
    }

    fn public_key(&self) -> &Name {
        &self.key
    }

    fn voting_power(&self) -> VotingPower {
        self.power.into()
    }
}

impl Validators {
    pub(crate) fn new(validators: &[application::Validator]) -> Validators {
        let validator = |it: &application::Validator| {
            let (key, power, rests) = (it.key.into(), it.power, it.rests);
            Validator { key, power, rests }
        };
        Validators(validators.iter().map(validator).collect())
    }

    /// Who proposes in a round: each who does not rest in turn, from the next one at each height, so
    /// that a height's first proposer is not the last height's. If all rest, nobody does.
    pub(crate) fn proposer(&self, height: Height, round: Round) -> Option<&Validator> {
        let awake: Vec<&Validator> = self.0.iter().filter(|it| !it.rests).collect();
        let awake = if awake.is_empty() { self.0.iter().collect() } else { awake };
        let count = u64::try_from(awake.len()).ok()?;
        let turn = height.0.wrapping_add(round.as_u32().unwrap_or(0).into());
        awake.get(usize::try_from(turn.checked_rem(count)?).ok()?).copied()
    }
}

impl Validator {
    pub(crate) fn key(&self) -> Name {
        self.key
    }
}

impl core::ValidatorSet<Mashaa> for Validators {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.0.iter().map(|validator| VotingPower::from(validator.power)).sum()
    }

    fn get_by_address(&self, address: &Name) -> Option<&Validator> {
        self.0.iter().find(|validator| validator.key == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Validator> {
        self.0.get(index)
    }
}

impl core::SigningScheme for Ed25519 {
    type DecodingError = &'static str;
    type Signature = Sealed;
    type PublicKey = Name;
    type PrivateKey = NodeSecret;

    fn decode_signature(bytes: &[u8]) -> Result<Sealed, &'static str> {
        bytes.try_into().map(Sealed).map_err(|_| "a node's signature has 64 bytes")
    }

    fn encode_signature(signature: &Sealed) -> Vec<u8> {
        signature.0.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<Name, &'static str> {
        bytes.try_into().map(Name).map_err(|_| "a node's key has 32 bytes")
    }

    fn encode_public_key(key: &Name) -> Vec<u8> {
        key.0.to_vec()
    }
}

impl core::Context for Mashaa {
    type Address = Name;
    type Height = Height;
    type ProposalPart = Part;
    type Proposal = Proposal;
    type Validator = Validator;
    type ValidatorSet = Validators;
    type Timeouts = LinearTimeouts;
    type Value = Value;
    type Vote = Vote;
    type Extension = NoExtension;
    type SigningScheme = Ed25519;

    fn select_proposer<'a>(
        &self,
        validators: &'a Validators,
        height: Height,
        round: Round,
    ) -> &'a Validator {
        validators.proposer(height, round).expect("a height has at least one validator")
    }

    fn new_proposal(
        &self,
        height: Height,
        round: Round,
        value: Value,
        pol_round: Round,
        proposer: Name,
    ) -> Proposal {
        Proposal { height, round, value, pol_round, proposer }
    }

    fn new_prevote(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Name>,
        voter: Name,
    ) -> Vote {
        Vote { kind: VoteType::Prevote, height, round, value, voter }
    }

    fn new_precommit(
        &self,
        height: Height,
        round: Round,
        value: NilOrVal<Name>,
        voter: Name,
    ) -> Vote {
        Vote { kind: VoteType::Precommit, height, round, value, voter }
    }
}

#[cfg(test)]
mod tests;
