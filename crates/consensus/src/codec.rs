//! The bytes of what nodes tell each other, and of Malachite's journal.
//!
//! Specified in `docs/spec/agreement.md`: Borsh, but for certificates, which have canonical bytes.
//!
//! Invariants:
//! - What does not use up its bytes, or names a round over `ROUND_MAX`, is no message.
//! - What is allocated is bounded by the bytes that came.
//! - A message whose signature is withheld has no bytes, and so leaves no node.
//!
//! Not here: what the messages mean, and the limits on their size (`node`).

use std::io::{Error, ErrorKind};

use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use malachite_app::types::codec::{Codec, HasEncodedLen};
use malachite_app::types::streaming::StreamMessage;
use malachite_app::types::{ProposedValue, SignedConsensusMsg};
use malachite_consensus::LivenessMsg;
use malachite_sync::{RawDecidedValue, Request, Response, Status, ValueResponse};
use malachite_types::{
    ExtendedCommitCertificate, ExtendedCommitSignature, PolkaCertificate, Round, RoundCertificate,
    SignedProposal, SignedVote, ValidatorProof,
};
use types::agreement::{Certificate, Seal};
use types::bounded::List;

use crate::context::{Height, Mashaa, Part, Proposal, Sealed, Vote};
use crate::signing::WITHHELD;

/// Rounds of one height, at most. With timeouts that grow each round, this many take months.
pub(crate) const ROUND_MAX: u32 = 1 << 20;
/// Blocks of one answer to a node that catches up, at most.
pub(crate) const SYNC_MAX: usize = 128;

/// Writes and reads messages.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wire;

fn bad(what: &'static str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

/// A signature that is one.
fn given(signature: &Sealed) -> Result<&Sealed, Error> {
    match *signature == WITHHELD {
        true => Err(Error::new(ErrorKind::PermissionDenied, "the signature is withheld")),
        false => Ok(signature),
    }
}

fn bounded(round: Round) -> Result<(), Error> {
    match round.as_u32() {
        Some(number) if number > ROUND_MAX => Err(bad("the round is over the limit")),
        _ => Ok(()),
    }
}

/// A message's bytes.
trait Message: Sized {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error>;
    fn read(bytes: &mut &[u8]) -> Result<Self, Error>;
}

macro_rules! borsh_messages {
    ($($message:ty),* $(,)?) => {$(
        impl Message for $message {
            fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
                self.serialize(out)
            }

            fn read(bytes: &mut &[u8]) -> Result<Self, Error> {
                BorshDeserialize::deserialize(bytes)
            }
        }
    )*};
}

borsh_messages!(
    Part,
    StreamMessage<Part>,
    ProposedValue<Mashaa>,
    PolkaCertificate<Mashaa>,
    RoundCertificate<Mashaa>,
    Status<Mashaa>,
    Request<Mashaa>,
);

macro_rules! codecs {
    ($($message:ty),* $(,)?) => {$(
        impl Codec<$message> for Wire {
            type Error = Error;

            fn decode(&self, bytes: Bytes) -> Result<$message, Error> {
                let mut left: &[u8] = &bytes;
                let message = <$message as Message>::read(&mut left)?;
                if left.is_empty() { Ok(message) } else { Err(bad("bytes follow the message")) }
            }

            fn encode(&self, message: &$message) -> Result<Bytes, Error> {
                let mut out = vec![];
                Message::write(message, &mut out)?;
                Ok(out.into())
            }
        }
    )*};
}

codecs!(
    Part,
    StreamMessage<Part>,
    ProposedValue<Mashaa>,
    PolkaCertificate<Mashaa>,
    Status<Mashaa>,
    Request<Mashaa>,
    Response<Mashaa>,
    SignedConsensusMsg<Mashaa>,
    LivenessMsg<Mashaa>,
    ValidatorProof<Mashaa>,
);

impl Message for SignedVote<Mashaa> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.message.serialize(out)?;
        given(&self.signature)?.serialize(out)
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Error> {
        let vote = Vote::deserialize(bytes)?;
        bounded(vote.round)?;
        Ok(SignedVote::new(vote, Sealed::deserialize(bytes)?))
    }
}

impl Message for SignedProposal<Mashaa> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.message.serialize(out)?;
        given(&self.signature)?.serialize(out)
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Error> {
        let proposal = Proposal::deserialize(bytes)?;
        bounded(proposal.round)?;
        bounded(proposal.pol_round)?;
        Ok(SignedProposal::new(proposal, Sealed::deserialize(bytes)?))
    }
}

impl Message for SignedConsensusMsg<Mashaa> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            SignedConsensusMsg::Vote(vote) => {
                out.push(0);
                vote.write(out)
            }
            SignedConsensusMsg::Proposal(proposal) => {
                out.push(1);
                proposal.write(out)
            }
        }
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Error> {
        match u8::deserialize(bytes)? {
            0 => SignedVote::read(bytes).map(SignedConsensusMsg::Vote),
            1 => SignedProposal::read(bytes).map(SignedConsensusMsg::Proposal),
            _ => Err(bad("there is no such message")),
        }
    }
}

impl Message for LivenessMsg<Mashaa> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        match self {
            LivenessMsg::Vote(vote) => {
                out.push(0);
                vote.write(out)
            }
            LivenessMsg::PolkaCertificate(certificate) => {
                out.push(1);
                certificate.write(out)
            }
            LivenessMsg::SkipRoundCertificate(certificate) => {
                out.push(2);
                certificate.write(out)
            }
        }
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Error> {
        match u8::deserialize(bytes)? {
            0 => SignedVote::read(bytes).map(LivenessMsg::Vote),
            1 => {
                let certificate = PolkaCertificate::read(bytes)?;
                bounded(certificate.round)?;
                Ok(LivenessMsg::PolkaCertificate(certificate))
            }
            2 => {
                let certificate = RoundCertificate::read(bytes)?;
                bounded(certificate.round)?;
                Ok(LivenessMsg::SkipRoundCertificate(certificate))
            }
            _ => Err(bad("there is no such message")),
        }
    }
}

impl Message for ValidatorProof<Mashaa> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.public_key.serialize(out)?;
        self.peer_id.serialize(out)?;
        self.signature.serialize(out)
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Error> {
        let (key, peer) = (Vec::deserialize(bytes)?, Vec::deserialize(bytes)?);
        Ok(ValidatorProof::new(key, peer, Sealed::deserialize(bytes)?))
    }
}

impl Message for Response<Mashaa> {
    fn write(&self, out: &mut Vec<u8>) -> Result<(), Error> {
        let Response::ValueResponse(response) = self;
        response.start_height.serialize(out)?;
        let count = response.values.len();
        u32::try_from(count).map_err(|_| bad("too many blocks"))?.serialize(out)?;
        for value in &response.values {
            value.value_bytes.as_ref().serialize(out)?;
            certificate(&value.certificate)
                .ok_or_else(|| bad("no certificate"))?
                .encode()
                .serialize(out)?;
        }
        Ok(())
    }

    fn read(bytes: &mut &[u8]) -> Result<Self, Error> {
        let start = Height::deserialize(bytes)?;
        let count = u32::deserialize(bytes)?;
        if usize::try_from(count).map_or(true, |count| count > SYNC_MAX) {
            return Err(bad("more blocks than one answer may have"));
        }
        let mut values = vec![];
        for _ in 0..count {
            let block = Vec::<u8>::deserialize(bytes)?;
            let certificate = Certificate::decode(&Vec::<u8>::deserialize(bytes)?)
                .map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
            values.push(decided(block, &certificate));
        }
        Ok(Response::ValueResponse(ValueResponse::new(start, values)))
    }
}

impl HasEncodedLen<Response<Mashaa>> for Wire {
    fn encoded_len(&self, message: &Response<Mashaa>) -> Result<usize, Error> {
        let Response::ValueResponse(response) = message;
        // A head of 12 bytes; two lengths, a head of 48 and 96 for each seal.
        let sizes = response.values.iter().map(|value| {
            let seals = value.certificate.commit_signatures.len().saturating_mul(96);
            value.value_bytes.len().saturating_add(seals).saturating_add(8 + 48)
        });
        Ok(sizes.fold(12, usize::saturating_add))
    }
}

/// A certificate as the ledger keeps it; none if it has no round or too many seals.
pub(crate) fn certificate(from: &ExtendedCommitCertificate<Mashaa>) -> Option<Certificate> {
    let seals = from
        .commit_signatures
        .iter()
        .map(|seal| Seal { validator: seal.address.into(), signature: seal.signature.into() });
    let mut seals: Vec<Seal> = seals.collect();
    seals.sort_by_key(|seal| seal.validator);
    Some(Certificate {
        height: from.height.into(),
        round: from.round.as_u32()?,
        block: from.value_id.into(),
        seals: List::new(seals).ok()?,
    })
}

/// A decided block as a node that catches up gets it.
pub(crate) fn decided(block: Vec<u8>, certificate: &Certificate) -> RawDecidedValue<Mashaa> {
    let seals = certificate.seals.as_slice().iter().map(|seal| {
        ExtendedCommitSignature::new(seal.validator.into(), seal.signature.into(), None)
    });
    let certificate = ExtendedCommitCertificate {
        height: Height(certificate.height.0),
        round: Round::new(certificate.round),
        value_id: certificate.block.into(),
        commit_signatures: seals.collect(),
    };
    RawDecidedValue::new(block.into(), certificate)
}

#[cfg(test)]
mod tests;
