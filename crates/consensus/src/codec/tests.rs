use std::fmt::Write as _;

use data_encoding::HEXLOWER;
use expect_test::expect_file;
use malachite_app::types::PeerId;
use malachite_app::types::streaming::StreamId;
use malachite_engine::util::streaming::StreamContent;
use malachite_signing::Signer;
use malachite_sync::ValueRequest;
use malachite_types::{
    NilOrVal, PolkaSignature, RoundCertificateType, RoundSignature, Validity, VoteType,
};
use types::id::Hash;
use types::node_key::{NodeSecret, NodeSigned};

use super::*;
use crate::context::{Head, Name, Value};
use crate::signing::Keys;

fn keys() -> Keys {
    Keys::new(Hash([9; 32]), NodeSecret::new([7; 32]))
}

fn me() -> Name {
    keys().secret.key().into()
}

/// Completes at once: signing waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("signing waits for nothing"),
    }
}

fn vote(kind: VoteType, value: NilOrVal<Name>) -> SignedVote<Mashaa> {
    let vote = Vote { kind, height: Height(5), round: Round::new(1), value, voter: me() };
    ready(keys().sign_vote(vote)).unwrap()
}

fn head() -> Head {
    keys().sign_head(Head {
        height: Height(5),
        round: Round::new(1),
        valid_round: Round::Nil,
        proposer: me(),
        block: Name([3; 32]),
        length: 4,
        digest: crate::parts::digest(b"body"),
        signature: Sealed([0; 64]),
    })
}

fn part(sequence: u64, content: StreamContent<Part>) -> StreamMessage<Part> {
    StreamMessage::new(StreamId::new(Bytes::from_static(b"stream")), sequence, content)
}

fn certificate_of_block() -> Certificate {
    let statement = Certificate {
        height: Height(5).into(),
        round: 1,
        block: Hash([3; 32]),
        seals: List::default(),
    };
    let signature = statement.statement(keys().network).sign(&keys().secret);
    let seals = List::new(vec![Seal { validator: me().into(), signature }]).unwrap();
    Certificate { seals, ..statement }
}

/// Calls a body with each message, its name, and what reads it.
macro_rules! each {
    ($body:expr) => {{
        let block = NilOrVal::Val(Name([3; 32]));
        let prevote = vote(VoteType::Prevote, block);
        let against = vote(VoteType::Precommit, NilOrVal::Nil);
        let proposal = Proposal {
            height: Height(5),
            round: Round::new(2),
            value: Value(Name([3; 32])),
            pol_round: Round::new(1),
            proposer: me(),
        };
        let proposal = ready(keys().sign_proposal(proposal)).unwrap();
        let polka = PolkaCertificate::<Mashaa> {
            height: Height(5),
            round: Round::new(1),
            value_id: Name([3; 32]),
            polka_signatures: vec![PolkaSignature { address: me(), signature: prevote.signature }],
        };
        let skip = RoundCertificate::<Mashaa> {
            height: Height(5),
            round: Round::new(1),
            cert_type: RoundCertificateType::Skip,
            round_signatures: vec![RoundSignature {
                vote_type: VoteType::Precommit,
                value_id: NilOrVal::Nil,
                address: me(),
                signature: against.signature,
            }],
        };
        let value = ProposedValue::<Mashaa> {
            height: Height(5),
            round: Round::new(1),
            valid_round: Round::Nil,
            proposer: me(),
            value: Value(Name([3; 32])),
            validity: Validity::Valid,
        };
        let (key, peer) = (me().0.to_vec(), vec![1, 2, 3]);
        let proof = ready(keys().sign_validator_proof(key, peer)).unwrap();
        let blocks = vec![decided(b"block".to_vec(), &certificate_of_block())];
        $body("vote", &SignedConsensusMsg::<Mashaa>::Vote(prevote.clone()));
        $body("vote against all", &SignedConsensusMsg::<Mashaa>::Vote(against.clone()));
        $body("proposal", &SignedConsensusMsg::<Mashaa>::Proposal(proposal));
        $body("head", &part(0, StreamContent::Data(Part::Head(head()))));
        $body("piece", &part(1, StreamContent::Data(Part::Data(b"body".to_vec()))));
        $body("gossip", &part(0, StreamContent::Data(Part::Gossip(b"orders".to_vec()))));
        $body("stream's end", &part(2, StreamContent::Fin));
        $body("late vote", &LivenessMsg::<Mashaa>::Vote(prevote));
        $body("late polka", &LivenessMsg::<Mashaa>::PolkaCertificate(polka));
        $body("late round", &LivenessMsg::<Mashaa>::SkipRoundCertificate(skip));
        $body("seen block", &value);
        $body("proof of a node", &proof);
        $body(
            "status",
            &Status::<Mashaa> {
                peer_id: PeerId::from_bytes(&[0, 3, 1, 2, 3]).unwrap(),
                tip_height: Height(9),
                history_min_height: Height(2),
            },
        );
        $body(
            "request",
            &Request::<Mashaa>::ValueRequest(ValueRequest::new(Height(2)..=Height(9))),
        );
        $body("blocks", &Response::<Mashaa>::ValueResponse(ValueResponse::new(Height(5), blocks)));
    }};
}

/// Everything that is asked of a message's bytes.
trait Checked {
    fn bytes(&self) -> Vec<u8>;
    /// Whether the bytes are a message, and then whether it has the same bytes again.
    fn again(bytes: &[u8]) -> Option<bool>;
}

impl<T> Checked for T
where
    Wire: Codec<T, Error = Error>,
{
    fn bytes(&self) -> Vec<u8> {
        Wire.encode(self).unwrap().to_vec()
    }

    fn again(bytes: &[u8]) -> Option<bool> {
        let message = Wire.decode(Bytes::copy_from_slice(bytes)).ok()?;
        Some(message.bytes() == bytes)
    }
}

fn again<T: Checked>(_: &T, bytes: &[u8]) -> Option<bool> {
    T::again(bytes)
}

#[test]
fn every_message_has_the_bytes_that_are_written_down() {
    let mut out = String::new();
    fn line<T: Checked>(out: &mut String, name: &str, message: &T) {
        let bytes = message.bytes();
        assert_eq!(again(message, &bytes), Some(true), "{name}");
        writeln!(out, "{name}: {}", HEXLOWER.encode(&bytes)).unwrap();
    }
    each!(|name, message| line(&mut out, name, message));
    expect_file!["../../../../fixtures/agreement/messages.txt"].assert_eq(&out);
}

#[test]
fn every_prefix_and_every_longer_message_is_refused() {
    fn check<T: Checked>(name: &str, message: &T) {
        let bytes = message.bytes();
        for end in 0..bytes.len() {
            assert_eq!(again(message, &bytes[..end]), None, "{name}, {end} bytes");
        }
        assert_eq!(again(message, &[&bytes[..], &[0]].concat()), None, "{name}, a byte more");
    }
    each!(check);
}

#[test]
fn every_changed_byte_is_refused_or_another_message_with_one_encoding() {
    fn check<T: Checked>(name: &str, message: &T) {
        let bytes = message.bytes();
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << bit;
                assert_ne!(again(message, &changed), Some(false), "{name}, byte {at}, bit {bit}");
            }
        }
    }
    each!(check);
}

#[test]
fn a_length_of_four_billion_allocates_nothing_and_is_refused() {
    let answer = [&5u64.to_le_bytes()[..], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(Response::<Mashaa>::again(&answer), None);
    let piece = [&6u32.to_le_bytes()[..], b"stream", &1u64.to_le_bytes(), &[0, 1], &[255; 4]];
    assert_eq!(StreamMessage::<Part>::again(&piece.concat()), None);
}

#[test]
fn a_round_over_the_limit_is_refused() {
    let with = |round| {
        let head = Vote {
            kind: VoteType::Prevote,
            height: Height(5),
            round: Round::new(round),
            value: NilOrVal::Nil,
            voter: me(),
        };
        let signed = ready(keys().sign_vote(head)).unwrap();
        SignedConsensusMsg::<Mashaa>::again(&SignedConsensusMsg::Vote(signed).bytes())
    };
    assert_eq!(with(ROUND_MAX), Some(true));
    assert_eq!(with(ROUND_MAX + 1), None);
}

#[test]
fn an_answer_with_more_blocks_than_one_may_have_is_refused() {
    let with = |count: usize| {
        let blocks = vec![decided(vec![1], &certificate_of_block()); count];
        let response = Response::<Mashaa>::ValueResponse(ValueResponse::new(Height(5), blocks));
        let bytes = response.bytes();
        assert_eq!(Wire.encoded_len(&response).unwrap(), bytes.len());
        Response::<Mashaa>::again(&bytes)
    };
    assert_eq!(with(SYNC_MAX), Some(true));
    assert_eq!(with(SYNC_MAX + 1), None);
}

#[test]
fn a_certificate_crosses_to_malachite_and_back() {
    let of_block = certificate_of_block();
    assert_eq!(certificate(&decided(vec![], &of_block).certificate), Some(of_block));
}
