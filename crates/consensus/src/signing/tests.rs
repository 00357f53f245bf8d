use malachite_app::types::SignedConsensusMsg;
use malachite_app::types::codec::Codec;

use super::*;
use crate::codec::Wire;
use crate::context::Value;
use crate::machine::Real;

/// Completes at once: signing waits for nothing.
fn ready<T>(future: impl Future<Output = T>) -> T {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("signing waits for nothing"),
    }
}

/// What a node says of a height, whether it verifies, and whether it has bytes to send.
fn said(keys: &Keys, height: u64) -> Vec<(bool, bool)> {
    let (me, height, round) = (Name::from(keys.secret.key()), Height(height), Round::new(0));
    let vote = |kind, value| {
        let vote = Vote { kind, height, round, value, voter: me };
        let signed = ready(keys.sign_vote(vote)).unwrap();
        let verdict = ready(keys.verify_signed_vote(&signed.message, &signed.signature, &me));
        (verdict.unwrap().is_valid(), Wire.encode(&SignedConsensusMsg::Vote(signed)).is_ok())
    };
    let block = Name([3; 32]);
    let proposal =
        Proposal { height, round, value: Value(block), pol_round: Round::Nil, proposer: me };
    let signed = ready(keys.sign_proposal(proposal)).unwrap();
    let verdict = ready(keys.verify_signed_proposal(&signed.message, &signed.signature, &me));
    vec![
        vote(VoteType::Prevote, NilOrVal::Val(block)),
        vote(VoteType::Precommit, NilOrVal::Nil),
        (verdict.unwrap().is_valid(), Wire.encode(&SignedConsensusMsg::Proposal(signed)).is_ok()),
    ]
}

#[test]
fn at_a_silent_height_nothing_is_signed_and_nothing_has_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut machine = Real::new(folder.path(), runtime.handle().clone()).unwrap();
    let keys = Keys::new(Hash([9; 32]), NodeSecret::new([7; 32]));
    // Malachite signs with one clone and checks with another.
    let other = keys.clone();
    assert_eq!(said(&other, 5), [(true, true); 3]);
    keys.silence.keep(&mut machine, Height(5)).unwrap();
    assert_eq!(said(&other, 5), [(false, false); 3]);
    assert_eq!(said(&other, 6), [(true, true); 3]);
}
