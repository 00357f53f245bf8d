//! Certificates: what verifies, and that nothing else does.

use super::*;
use crate::node_key::NodeSecret;

const NETWORK: Hash = Hash([7; 32]);

fn secrets(count: u8) -> Vec<NodeSecret> {
    let mut secrets: Vec<NodeSecret> = (0..count).map(|seed| NodeSecret::new([seed; 32])).collect();
    secrets.sort_by_key(NodeSecret::key);
    secrets
}

fn validators(secrets: &[NodeSecret]) -> Vec<(Hash, u32)> {
    secrets.iter().map(|secret| (secret.key(), 1)).collect()
}

fn certificate(secrets: &[NodeSecret]) -> Certificate {
    let mut certificate = Certificate {
        height: Height(5),
        round: 1,
        block: Hash([9; 32]),
        seals: List::new(vec![]).expect("short"),
    };
    let statement = certificate.statement(NETWORK);
    let seals = secrets
        .iter()
        .map(|secret| Seal { validator: secret.key(), signature: statement.sign(secret) });
    certificate.seals = List::new(seals.collect()).expect("short");
    certificate
}

#[test]
fn more_than_two_thirds_of_the_power_are_needed() {
    let secrets = secrets(4);
    let validators = validators(&secrets);
    for sealed in 0..=4 {
        let outcome = certificate(&secrets[..sealed]).verify(NETWORK, &validators);
        assert_eq!(outcome.is_ok(), sealed >= 3, "{sealed} seals");
    }
    let two_of_three = certificate(&secrets[..2]).verify(NETWORK, &validators[..3]);
    assert_eq!(two_of_three, Err(Uncertified::TooFew { sealed: 2, whole: 3 }));
    assert!(certificate(&secrets[..1]).verify(NETWORK, &validators[..1]).is_ok());
    assert!(certificate(&[]).verify(NETWORK, &[]).is_err());
}

#[test]
fn a_seal_counts_once_and_only_for_what_it_was_given() {
    let secrets = secrets(4);
    let validators = validators(&secrets);
    let good = certificate(&secrets[..3]);

    let mut twice = good.clone();
    let mut seals = good.seals.as_slice().to_vec();
    seals[1] = seals[0].clone();
    twice.seals = List::new(seals).expect("short");
    assert_eq!(twice.verify(NETWORK, &validators), Err(Uncertified::NotAscending));

    let other = good.verify(Hash([8; 32]), &validators);
    assert!(matches!(other, Err(Uncertified::BadSeal { .. })), "another network");
    let gone = good.verify(NETWORK, &validators[1..]);
    assert_eq!(gone, Err(Uncertified::NoValidator { validator: validators[0].0 }));
}

#[test]
fn no_flipped_bit_of_a_certificate_verifies() {
    let secrets = secrets(3);
    let validators = validators(&secrets);
    let bytes = certificate(&secrets).encode();
    assert!(Certificate::decode(&bytes).is_ok_and(|it| it.verify(NETWORK, &validators).is_ok()));
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let accepted =
            Certificate::decode(&flipped).is_ok_and(|it| it.verify(NETWORK, &validators).is_ok());
        assert!(!accepted, "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(Certificate::decode(&bytes[..length]).is_err(), "{length} bytes");
    }
}
