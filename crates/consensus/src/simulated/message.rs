//! What simulated nodes send each other, and what a liar needs to make and read of it.
//!
//! Invariants: the bytes of a message are those that real nodes send, after one byte for its kind.
//!
//! Not here: who sends what when.

use std::io;

use malachite_app::types::SignedConsensusMsg;
use malachite_app::types::codec::Codec;
use malachite_app::types::streaming::{StreamId, StreamMessage};
use malachite_consensus::LivenessMsg;
use malachite_engine::util::streaming::StreamContent;
use malachite_sync::{Request, Response, Status};
use malachite_types::{NilOrVal, Round, SignedProposal, SignedVote, VoteType};
use types::agreement::{Statement, Step};
use types::amount;
use types::id::Hash;
use types::node_key::{NodeSecret, NodeSigned};

use crate::codec::Wire;
use crate::context::{Head, Height, Mashaa, Name, Part, Proposal, Sealed, Value, Vote};
use crate::parts::{cut, digest};
use crate::signing::Keys;

/// A message between nodes.
#[derive(Clone, Debug)]
pub(crate) enum Message {
    Consensus(SignedConsensusMsg<Mashaa>),
    Liveness(LivenessMsg<Mashaa>),
    Part(StreamMessage<Part>),
    Status(Status<Mashaa>),
    Request(Request<Mashaa>),
    Response(Response<Mashaa>),
}

/// What a message says, as far as a liar wants to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spoken {
    /// A vote or a proposal of a block, and whose.
    Statement(Statement, Hash),
    /// A piece of a block of this height.
    Piece,
    /// Something of the application's.
    Gossip(Vec<u8>),
    /// Something else.
    Other,
}

/// A block that is proposed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// Its height.
    pub height: amount::Height,
    /// The round.
    pub round: u32,
    /// Its name.
    pub id: Hash,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Message {
    pub(crate) fn encode(&self) -> io::Result<Vec<u8>> {
        let (kind, bytes) = match self {
            Message::Consensus(it) => (0, Wire.encode(it)?),
            Message::Liveness(it) => (1, Wire.encode(it)?),
            Message::Part(it) => (2, Wire.encode(it)?),
            Message::Status(it) => (3, Wire.encode(it)?),
            Message::Request(it) => (4, Wire.encode(it)?),
            Message::Response(it) => (5, Wire.encode(it)?),
        };
        Ok([&[kind], bytes.as_ref()].concat())
    }

    pub(crate) fn decode(bytes: &[u8]) -> io::Result<Message> {
        let (kind, bytes) = bytes.split_first().ok_or(io::ErrorKind::InvalidData)?;
        let bytes = bytes.to_vec().into();
        Ok(match kind {
            0 => Message::Consensus(Wire.decode(bytes)?),
            1 => Message::Liveness(Wire.decode(bytes)?),
            2 => Message::Part(Wire.decode(bytes)?),
            3 => Message::Status(Wire.decode(bytes)?),
            4 => Message::Request(Wire.decode(bytes)?),
            5 => Message::Response(Wire.decode(bytes)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        })
    }
}

/// Reads a message of a network.
#[must_use]
pub fn read(network: Hash, message: &[u8]) -> Spoken {
    let keys = Keys::new(network, NodeSecret::new([0; 32]));
    let statement = match Message::decode(message) {
        Ok(Message::Consensus(SignedConsensusMsg::Vote(it)))
        | Ok(Message::Liveness(LivenessMsg::Vote(it))) => {
            keys.of_vote(&it.message).map(|said| (said, it.message.voter))
        }
        Ok(Message::Consensus(SignedConsensusMsg::Proposal(it))) => {
            keys.of_proposal(&it.message).map(|said| (said, it.message.proposer))
        }
        Ok(Message::Part(part)) => match part.content {
            StreamContent::Data(Part::Gossip(bytes)) => return Spoken::Gossip(bytes),
            _ => return Spoken::Piece,
        },
        _ => None,
    };
    statement.map_or(Spoken::Other, |(said, by)| Spoken::Statement(said, by.into()))
}

/// A message that makes a statement, signed by its speaker; none if a proposal is of no block.
///
/// # Errors
///
/// Never, but for memory.
pub fn say(statement: &Statement, secret: &NodeSecret) -> io::Result<Option<Vec<u8>>> {
    let signature: Sealed = statement.sign(secret).into();
    let (height, round) = (Height(statement.height.0), Round::new(statement.round));
    let speaker = Name::from(secret.key());
    let kind = match statement.step {
        Step::Prevote => VoteType::Prevote,
        Step::Precommit => VoteType::Precommit,
        Step::Propose => {
            let Some(block) = statement.block else { return Ok(None) };
            let pol_round = statement.earlier.map_or(Round::Nil, Round::new);
            let (value, proposer) = (Value(block.into()), speaker);
            let proposal = Proposal { height, round, value, pol_round, proposer };
            let signed = SignedProposal::new(proposal, signature);
            return Message::Consensus(SignedConsensusMsg::Proposal(signed)).encode().map(Some);
        }
    };
    let value = statement.block.map_or(NilOrVal::Nil, |block| NilOrVal::Val(block.into()));
    let vote = Vote { kind, height, round, value, voter: speaker };
    let signed = SignedVote::new(vote, signature);
    Message::Consensus(SignedConsensusMsg::Vote(signed)).encode().map(Some)
}

/// The messages with which a proposer sends a block: its proposal, and the block in pieces.
///
/// # Errors
///
/// Never, but for memory.
pub fn propose(
    network: Hash,
    proposed: &Proposed,
    secret: &NodeSecret,
) -> io::Result<Vec<Vec<u8>>> {
    let Proposed { height, round, id, ref bytes } = *proposed;
    let statement =
        Statement { network, height, round, step: Step::Propose, block: Some(id), earlier: None };
    let keys = Keys::new(network, secret.clone());
    let head = keys.sign_head(Head {
        height: Height(height.0),
        round: Round::new(round),
        valid_round: Round::Nil,
        proposer: secret.key().into(),
        block: id.into(),
        length: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
        digest: digest(bytes),
        signature: Sealed([0; 64]),
    });
    let mut messages: Vec<Vec<u8>> = say(&statement, secret)?.into_iter().collect();
    for part in cut(&head, bytes) {
        messages.push(Message::Part(part).encode()?);
    }
    Ok(messages)
}

/// A message of the application's, the `count`th of its sender.
///
/// # Errors
///
/// Never, but for memory.
pub fn gossip(count: u64, bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let id = StreamId::new(count.to_le_bytes().to_vec().into());
    let content = StreamContent::Data(Part::Gossip(bytes));
    Message::Part(StreamMessage::new(id, 0, content)).encode()
}
