//! Evidence: what proves a contradiction, and that nothing else does.

use super::*;
use crate::codec::{decode, encode};
use crate::node_key::NodeSecret;

const NETWORK: Hash = Hash([7; 32]);

fn secret() -> NodeSecret {
    NodeSecret::new([1; 32])
}

fn statement(step: Step, block: Option<u8>, earlier: Option<u32>) -> Statement {
    let block = block.map(|byte| Hash([byte; 32]));
    Statement { network: NETWORK, height: Height(5), round: 2, step, block, earlier }
}

/// Two statements, both signed.
fn pair(one: Statement, other: Statement) -> Option<Evidence> {
    let signed = |it: Statement| {
        let signature = it.sign(&secret());
        (it, signature)
    };
    Evidence::new(secret().key(), &signed(one), &signed(other))
}

fn outcome(one: Statement, other: Statement) -> Option<Result<(), Unproven>> {
    pair(one, other).map(|it| it.verify(&NETWORK).map(|_| ()))
}

#[test]
fn what_contradicts_is_proven_in_either_order() {
    let nil = |step| statement(step, None, None);
    let of = |step, block| statement(step, Some(block), None);
    let proposal = |block, earlier| statement(Step::Propose, Some(block), earlier);
    let contradictions = [
        (of(Step::Prevote, 1), of(Step::Prevote, 2)),
        (of(Step::Prevote, 1), nil(Step::Prevote)),
        (of(Step::Precommit, 1), of(Step::Precommit, 2)),
        (of(Step::Precommit, 2), nil(Step::Precommit)),
        (proposal(1, None), proposal(2, None)),
        (proposal(1, None), proposal(1, Some(0))),
        (proposal(1, Some(1)), proposal(1, Some(0))),
    ];
    for (one, other) in contradictions {
        assert_eq!(outcome(one.clone(), other.clone()), Some(Ok(())), "{one:?}");
        assert_eq!(pair(one.clone(), other.clone()), pair(other, one));
    }
}

#[test]
fn what_does_not_contradict_is_no_evidence() {
    let vote = statement(Step::Prevote, Some(1), None);
    assert_eq!(pair(vote.clone(), vote.clone()), None);
    let changes: [fn(&mut Statement); 4] = [
        |it| it.network = Hash([8; 32]),
        |it| it.height = Height(6),
        |it| it.round = 3,
        |it| it.step = Step::Precommit,
    ];
    for change in changes {
        let mut other = statement(Step::Prevote, Some(2), None);
        change(&mut other);
        assert_eq!(pair(vote.clone(), other), None);
    }
    // What no validator signs proves nothing, whoever signed it.
    let with_round = statement(Step::Prevote, Some(1), Some(0));
    assert_eq!(outcome(vote, with_round), Some(Err(Unproven::NoStatement)));
    let nothing = statement(Step::Propose, None, None);
    let something = statement(Step::Propose, Some(1), None);
    assert_eq!(outcome(nothing, something), Some(Err(Unproven::NoStatement)));
}

fn good() -> Evidence {
    let of = |block| statement(Step::Propose, Some(block), Some(1));
    pair(of(1), of(2)).expect("they contradict each other")
}

#[test]
fn each_altered_field_is_refused() {
    good().verify(&NETWORK).expect("it is good as it is");
    let elsewhere = good().verify(&Hash([8; 32]));
    assert_eq!(elsewhere, Err(Unproven::BadSignature), "another network");
    let changes: [fn(&mut Evidence); 9] = [
        |it| it.validator = NodeSecret::new([2; 32]).key(),
        |it| it.height = Height(6),
        |it| it.round = 3,
        |it| it.step = Step::Prevote,
        |it| it.first.block = Some(Hash([0; 32])),
        |it| it.first.earlier = None,
        |it| it.second.block = Some(Hash([3; 32])),
        |it| it.second.signature = it.first.signature,
        |it| std::mem::swap(&mut it.first, &mut it.second),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut altered = good();
        change(&mut altered);
        assert!(altered.verify(&NETWORK).is_err(), "change {index}");
    }
}

#[test]
fn every_cut_and_flip_of_evidence_is_refused() {
    let bytes = encode(&good());
    assert_eq!(decode::<Evidence>(&bytes), Ok(good()));
    assert_eq!(bytes.len(), EVIDENCE_SIZE_MAX, "a proposal from an earlier round is the longest");
    for length in 0..bytes.len() {
        assert!(decode::<Evidence>(&bytes[..length]).is_err(), "{length} bytes");
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let Ok(found) = decode::<Evidence>(&flipped) else { continue };
        assert_eq!(encode(&found), flipped, "bit {bit}");
        assert!(found.verify(&NETWORK).is_err(), "bit {bit}");
    }
}
