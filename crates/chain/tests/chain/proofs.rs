//! Proofs of orders, of entries and of their absence, and every change to one.

use chain::proof::{EntryProof, OrderProof};
use types::codec::{Canonical, decode, encode};
use types::id::Hash;

use crate::world::*;

/// A proof holds for its block and for no other, and no changed byte of it holds.
fn only_as_it_is<P: Canonical>(proof: &P, trusted: Hash, check: impl Fn(&P, &Hash) -> bool) {
    assert!(check(proof, &trusted));
    assert!(!check(proof, &node().key()));
    let bytes = encode(proof);
    for at in 0..bytes.len() {
        for bit in [1, 0x80] {
            let mut flipped = bytes.clone();
            flipped[at] ^= bit;
            let holds = decode::<P>(&flipped).is_ok_and(|proof| check(&proof, &trusted));
            assert!(!holds, "byte {at} of {}", bytes.len());
        }
    }
}

#[test]
fn orders_and_entries_are_proved_against_a_blocks_name_alone() {
    let mut chain = in_memory();
    assert_eq!(chain.prove_entry(b"none").unwrap(), None);
    let mut ids = vec![];
    for (from, to) in [("amal", "badr"), ("badr", "dina"), ("dina", "amal")] {
        ids.push(chain.submit(pay(from, 0, to, 5)).unwrap());
    }
    block(&mut chain);
    let trusted = chain.tip().id;
    for id in &ids {
        let proof = chain.prove_order(id).unwrap().unwrap();
        assert_eq!(proof.order.id(), *id);
        only_as_it_is(&proof, trusted, |proof: &OrderProof, id| proof.check(id).is_ok());
    }
    assert_eq!(chain.prove_order(&node().key()).unwrap(), None);
    let entries = chain.state().entries();
    assert!(entries.len() > 6, "accounts, members and the rest");
    for (key, value) in &entries {
        let proof = chain.prove_entry(key).unwrap().unwrap();
        assert_eq!(proof.value.as_ref().unwrap().as_slice(), value);
        assert_eq!(proof.check(&trusted), Ok(()));
        let mut absent = proof.clone();
        absent.value = None;
        assert!(absent.check(&trusted).is_err(), "a present entry was proved absent");
    }
    let (key, _) = entries.last_key_value().unwrap();
    let proof = chain.prove_entry(key).unwrap().unwrap();
    only_as_it_is(&proof, trusted, |proof: &EntryProof, id| proof.check(id).is_ok());
    let absent = chain.prove_entry(b"nothing has this key").unwrap().unwrap();
    assert_eq!(absent.value, None);
    assert_eq!(absent.check(&trusted), Ok(()));
    let mut present = absent.clone();
    present.value = proof.value;
    assert!(present.check(&trusted).is_err(), "an absent entry was proved present");
}
