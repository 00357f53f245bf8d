use types::bounded::List;

use super::*;
use crate::membership::{PASS_TIME, SignedPass};

const NETWORK: Hash = Hash([1; 32]);
const ROOT: u16 = 0;
const NOW: u64 = 1_000_000;
const END: u64 = NOW + PASS_TIME;

fn secret(number: u16) -> NodeSecret {
    let mut bytes = [7; 32];
    bytes[..2].copy_from_slice(&number.to_le_bytes());
    NodeSecret::new(bytes)
}

fn key(number: u16) -> Hash {
    secret(number).key()
}

/// Passes along a line of nodes, from the first to the last, all ending then.
fn chain(line: &[u16], expires: u64) -> Passes {
    let pass = |pair: &[u16]| SignedPass::issue(NETWORK, key(pair[0]), expires, &secret(pair[1]));
    List::new(line.windows(2).map(pass).collect()).unwrap()
}

/// That the first of a line takes a node's passes back.
fn revoke(node: u16, line: &[u16], until: u64) -> SignedRevocation {
    let (maker, passes) = (key(line[0]), chain(line, END));
    let revocation = Revocation { network: NETWORK, node: key(node), maker, until, passes };
    SignedRevocation::sign(revocation, &secret(line[0]))
}

fn learn(table: &mut Revocations, signed: SignedRevocation) -> Result<(), Refused> {
    signed.check(&NETWORK, &key(ROOT), NOW)?;
    table.keep(signed, NOW)
}

fn admitted(table: &Revocations, line: &[u16]) -> bool {
    table.check(&key(line[0]), &chain(line, END)).is_ok()
}

#[test]
fn whoever_let_a_node_in_or_is_above_takes_its_pass_back_and_all_that_hangs_on_it() {
    for line in [&[1, ROOT][..], &[ROOT]] {
        let mut table = Revocations::default();
        learn(&mut table, revoke(2, line, END)).unwrap();
        assert!(!admitted(&table, &[2, 1, ROOT]));
        assert!(!admitted(&table, &[3, 2, 1, ROOT]), "what it let in falls with it");
        assert!(admitted(&table, &[1, ROOT]), "its issuer stays");
        assert!(admitted(&table, &[4, 1, ROOT]), "and others of the issuer");
        let again = chain(&[2, 1, ROOT], END + 1);
        assert!(table.check(&key(2), &again).is_ok(), "a later pass counts again");
    }
}

#[test]
fn a_pass_of_another_issuer_counts_still() {
    let mut table = Revocations::default();
    learn(&mut table, revoke(2, &[1, ROOT], END)).unwrap();
    assert!(admitted(&table, &[2, 5, ROOT]));
    assert!(admitted(&table, &[3, 2, 5, ROOT]));
    // Whoever is beside or below takes nothing back.
    for line in [&[6, ROOT][..], &[3, 2, 1, ROOT]] {
        let mut table = Revocations::default();
        learn(&mut table, revoke(1, line, END)).unwrap();
        assert!(admitted(&table, &[1, ROOT]), "{line:?}");
    }
}

#[test]
fn a_revocation_counts_here_and_now_only() {
    let good = revoke(2, &[1, ROOT], END);
    let check = |it: &SignedRevocation, now| it.check(&NETWORK, &key(ROOT), now);
    assert_eq!(check(&good, NOW), Ok(()));
    assert_eq!(check(&good, END), Err(Refused::Expired));
    assert_eq!(good.check(&Hash([9; 32]), &key(ROOT), NOW), Err(Refused::OtherNetwork));
    assert_eq!(good.check(&NETWORK, &key(8), NOW), Err(Refused::NoChain));
    let long = revoke(2, &[1, ROOT], NOW + PASS_TIME_MAX + 1);
    assert_eq!(check(&long, NOW), Err(Refused::TooLong));
    let mut forged = good;
    forged.revocation.node = key(4);
    assert_eq!(check(&forged, NOW), Err(Refused::Signature(key(1))));
}

#[test]
fn what_a_node_took_back_is_forgotten_when_it_is_put_out_itself() {
    let mut table = Revocations::default();
    learn(&mut table, revoke(2, &[1, ROOT], END)).unwrap();
    learn(&mut table, revoke(1, &[ROOT], END)).unwrap();
    assert_eq!(table.iter().count(), 1);
    let late = learn(&mut table, revoke(4, &[1, ROOT], END));
    assert_eq!(late, Err(Refused::Revoked { node: key(1), maker: key(ROOT) }));
}

#[test]
fn the_room_is_bounded_and_those_nearer_to_the_root_have_it() {
    let mut table = Revocations::default();
    let per = u16::try_from(REVOCATIONS_PER_NODE_MAX).unwrap();
    let makers = u16::try_from(REVOCATIONS_MAX).unwrap() / per;
    for maker in 1..=makers {
        for node in 0..per {
            learn(&mut table, revoke(1000 + node, &[maker, ROOT], END)).unwrap();
        }
    }
    assert_eq!(table.iter().count(), REVOCATIONS_MAX);
    let more = |line: &[u16]| revoke(2000, line, END);
    assert_eq!(learn(&mut table, more(&[1, ROOT])), Err(Refused::TooMany), "of one maker");
    assert_eq!(learn(&mut table, more(&[500, ROOT])), Err(Refused::TooMany), "as far");
    assert_eq!(learn(&mut table, more(&[500, 1, ROOT])), Err(Refused::TooMany), "further");
    learn(&mut table, more(&[ROOT])).unwrap();
    assert_eq!(table.iter().count(), REVOCATIONS_MAX);
    assert_eq!(table.until(&key(2000)), Some(END));
    // Those that are over make room.
    let later = revoke(2001, &[1, ROOT], END + 60);
    table.keep(later, END).unwrap();
    assert_eq!(table.iter().count(), 1);
}
