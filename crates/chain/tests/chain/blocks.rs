//! Blocks that are made, checked, thrown away and altered, and orders that wait for one.

use chain::block::{Block, DRIFT_MAX, certificate_hash, orders_root};
use chain::chain::Proposal;
use chain::error::{ChainError, Rejected};
use chain::pool::{ACCOUNT_MAX, NotAccepted};
use chain::store::Store;
use ledger::refusal::Refusal;
use types::amount::Nonce;
use types::bounded::{Bytes, List, Text};
use types::codec::{decode, encode};
use types::id::{Cid, Hash};
use types::signature::Signature;
use types::transaction::{Action, PIECE_MAX, Register, Share, ShowEvidence, ShowModel};
use types::word::WorkKind;

use crate::world::*;

const OTHER: Hash = Hash([1; 32]);

#[test]
fn a_proposer_and_those_who_check_reach_one_state() {
    let (mut one, mut two) = (in_memory(), in_memory());
    for round in 0..12 {
        for (from, to) in [("amal", "badr"), ("badr", "dina"), ("dina", "amal")] {
            one.submit(pay(from, round, to, 1 + round)).unwrap();
        }
        let proposal = one.propose(NOW + round * 1000, &node()).unwrap();
        // Tried twice and once thrown away: only what is decided counts.
        two.propose(NOW, &node()).unwrap();
        let clock = NOW + round * 1000;
        assert_eq!(two.check(clock, &proposal.bytes).unwrap(), proposal.id);
        assert_eq!(two.check(clock, &proposal.bytes).unwrap(), proposal.id);
        one.commit(&agreed(round + 1, proposal.id)).unwrap();
        two.commit(&agreed(round + 1, proposal.id)).unwrap();
        assert_eq!(one.tip(), two.tip());
        assert_eq!(Block::decode(&proposal.bytes).unwrap().orders.as_slice().len(), 3);
    }
    assert_eq!(one.state().entries(), two.state().entries());
    ledger::check::check(one.state()).unwrap();
    assert_eq!(one.pool().count(), 0);
}

#[test]
fn a_block_that_was_not_decided_leaves_nothing() {
    let mut chain = in_memory();
    block(&mut chain);
    let (tip, before) = (chain.tip(), chain.state().entries());
    chain.submit(pay("amal", 0, "badr", 7)).unwrap();
    let proposal = chain.propose(NOW, &node()).unwrap();
    assert_eq!(chain.state().entries(), before);
    assert!(matches!(chain.commit(&agreed(2, proposal.id)), Err(ChainError::NotTried { .. })));
    assert_eq!(chain.tip(), tip);
    // The order still waits for its block.
    assert_eq!(chain.pool().count(), 1);
    block(&mut chain);
    assert_eq!(balance(&mut chain, "badr"), 7);
}

#[test]
fn asking_who_decides_leaves_the_block_that_was_tried() {
    let mut chain = in_memory();
    let proposal = chain.propose(NOW, &node()).unwrap();
    assert_eq!(chain.validators(), [(node().key(), 1)]);
    chain.commit(&agreed(1, proposal.id)).unwrap();
    assert_eq!(chain.validators(), [(node().key(), 1)]);
}

/// The next block of a chain with one payment, after a change.
fn altered(change: impl FnOnce(&mut Block)) -> Rejected {
    let (mut maker, mut judge) = (in_memory(), in_memory());
    maker.submit(pay("amal", 0, "badr", 5)).unwrap();
    let bytes = maker.propose(NOW, &node()).unwrap().bytes;
    let mut block = Block::decode(&bytes).unwrap();
    change(&mut block);
    let before = judge.state().entries();
    let rejected = judge.check(NOW, &encode(&block)).unwrap_err();
    assert_eq!(judge.state().entries(), before);
    judge.check(NOW, &bytes).unwrap();
    rejected
}

#[test]
fn each_field_of_a_header_is_checked() {
    let field = |change: fn(&mut Block)| match altered(change) {
        Rejected::Header { field } => field,
        other => panic!("{other}"),
    };
    assert_eq!(field(|block| block.header.version = 2), "version");
    assert_eq!(field(|block| block.header.network = OTHER), "network");
    assert_eq!(field(|block| block.header.height.0 = 2), "height");
    assert_eq!(field(|block| block.header.parent = OTHER), "parent");
    assert_eq!(field(|block| block.header.state = OTHER), "state root");
    assert_eq!(field(|block| block.header.orders = OTHER), "root of orders");
    assert_eq!(field(|block| block.header.validators = OTHER), "hash of validators");
    let late = altered(|block| block.header.time = NOW + DRIFT_MAX + 1);
    assert!(matches!(late, Rejected::Time { .. }), "{late}");
    let early = altered(|block| block.header.time = 0);
    assert!(matches!(early, Rejected::Time { .. }), "{early}");
    assert_eq!(field(|block| block.header.proposer = OTHER), "proposer");
    assert_eq!(field(|block| block.header.randomness = node().prove(b"other").0), "randomness");
    assert_eq!(field(|block| block.header.certificate = OTHER), "hash of the parent's certificate");
    assert_eq!(field(|block| block.header.evidence = OTHER), "hash of the evidence");
}

#[test]
fn a_block_shows_that_its_parent_was_decided_and_comes_no_sooner_than_it_may() {
    let (mut maker, mut judge) = (in_memory(), in_memory());
    let first = maker.propose(NOW, &node()).unwrap();
    judge.check(NOW, &first.bytes).unwrap();
    // Not decided: sealed by nobody, or for another height.
    let mut unsealed = agreed(1, first.id);
    unsealed.seals = List::default();
    let refused = maker.commit(&unsealed).unwrap_err();
    assert!(matches!(refused, ChainError::NotDecided { .. }), "{refused}");
    maker.check(NOW, &first.bytes).unwrap();
    let refused = maker.commit(&agreed(2, first.id)).unwrap_err();
    assert!(matches!(refused, ChainError::NotDecided { .. }), "{refused}");
    maker.check(NOW, &first.bytes).unwrap();
    maker.commit(&agreed(1, first.id)).unwrap();
    judge.commit(&agreed(1, first.id)).unwrap();
    assert_eq!(maker.due(), NOW + 1000);

    let second = maker.propose(NOW, &node()).unwrap();
    let whole = Block::decode(&second.bytes).unwrap();
    assert_eq!(whole.header.time, NOW + 1000);
    let refuse = |judge: &mut chain::chain::Chain, change: fn(&mut Block)| {
        let mut block = whole.clone();
        change(&mut block);
        block.header.certificate = certificate_hash(&block.certificate);
        judge.check(NOW, &encode(&block)).unwrap_err()
    };
    let none = refuse(&mut judge, |block| block.certificate = None);
    assert!(matches!(none, Rejected::Header { field: "parent's certificate" }), "{none}");
    let other = refuse(&mut judge, |block| block.certificate = Some(agreed(1, OTHER)));
    assert!(matches!(other, Rejected::Certificate(_)), "{other}");
    let early = refuse(&mut judge, |block| block.header.time -= 1);
    assert!(matches!(early, Rejected::Time { .. }), "{early}");
    judge.check(NOW, &second.bytes).unwrap();
    let at = types::amount::Height(1);
    assert_eq!(judge.validators_of(at).unwrap().unwrap().as_slice(), [(node().key(), 1)]);
}

#[test]
fn a_block_with_a_bad_order_is_rejected() {
    let put = |block: &mut Block, orders: Vec<types::envelope::Signed>| {
        block.header.orders = orders_root(&orders);
        block.orders = List::new(orders).unwrap();
    };
    let twice = altered(|block| {
        let order = block.orders.as_slice()[0].clone();
        put(block, vec![order.clone(), order]);
    });
    assert!(matches!(twice, Rejected::Order { index: 1, refusal: Refusal::NonceUsed }), "{twice}");
    let unsigned = altered(|block| {
        let mut order = block.orders.as_slice()[0].clone();
        order.signature = Signature([0; 65]);
        put(block, vec![order]);
    });
    assert!(matches!(unsigned, Rejected::Signature { index: 0, .. }), "{unsigned}");
    let too_much = altered(|block| put(block, vec![pay("amal", 0, "badr", 1 << 50)]));
    assert!(matches!(too_much, Rejected::Order { index: 0, .. }), "{too_much}");
}

#[test]
fn a_blocks_bytes_are_those_of_the_fixture() {
    let mut chain = in_memory();
    chain.submit(pay("amal", 0, "badr", 5)).unwrap();
    let proposal = chain.propose(NOW, &node()).unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = format!("name {}\nblock {}\n", proposal.id, hex(&proposal.bytes));
    expect_test::expect_file!["../../../../fixtures/chain/block.txt"].assert_eq(&text);
}

#[test]
fn every_cut_and_flip_of_a_block_is_refused() {
    let (mut maker, mut judge) = (in_memory(), in_memory());
    maker.submit(pay("amal", 0, "badr", 5)).unwrap();
    let Proposal { id, bytes } = maker.propose(NOW, &node()).unwrap();
    assert_eq!(encode(&Block::decode(&bytes).unwrap()), bytes);
    for length in 0..bytes.len() {
        assert!(decode::<Block>(&bytes[..length]).is_err(), "{length} bytes");
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        // The proposer chooses the time; another makes another block.
        match judge.check(NOW, &flipped) {
            Ok(other) => assert!(other != id && (76..84).contains(&at), "byte {at}"),
            Err(_) => assert!(at != 76, "byte {at}"),
        }
    }
}

#[test]
fn the_pool_bounds_what_an_account_may_leave_there() {
    let mut chain = in_memory();
    let first = pay("amal", 0, "badr", 1);
    let id = chain.submit(first.clone()).unwrap();
    assert_eq!(chain.submit(first), Ok(id));
    assert_eq!(chain.submit(pay("amal", 0, "badr", 2)), Err(NotAccepted::NonceTaken));
    for nonce in 1..ACCOUNT_MAX {
        chain.submit(pay("amal", nonce, "badr", 1)).unwrap();
    }
    let over = pay("amal", ACCOUNT_MAX, "badr", 1);
    assert_eq!(chain.submit(over), Err(NotAccepted::AccountFull));
    // Those ahead of a gap wait, and what the rules refuse does not.
    chain.submit(pay("badr", 1, "dina", 1)).unwrap();
    let refused = chain.submit(pay("dina", 0, "amal", 1 << 50)).unwrap_err();
    assert!(matches!(refused, NotAccepted::Refused(_)), "{refused}");
    let mut foreign = pay("dina", 0, "amal", 1);
    foreign.order.nonce = Nonce(1);
    assert!(chain.submit(foreign).is_err());
    block(&mut chain);
    assert_eq!(chain.pool().count(), 1);
    assert_eq!(chain.submit(pay("amal", 3, "badr", 1)), Err(Refusal::NonceUsed.into()));
    chain.submit(pay("badr", 0, "dina", 1)).unwrap();
    block(&mut chain);
    assert_eq!(chain.pool().count(), 0);
    assert_eq!(balance(&mut chain, "dina"), 2);
}

#[test]
fn a_file_of_another_network_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.redb");
    let mut chain = open(Store::open(&path).unwrap());
    let height = block(&mut chain);
    let (tip, entries) = (chain.tip(), chain.state().entries());
    drop(chain);
    let other = chain::chain::Chain::open(Store::open(&path).unwrap(), &genesis(1), 1);
    assert!(matches!(other, Err(ChainError::OtherNetwork { .. })));
    let mut chain = open(Store::open(&path).unwrap());
    assert_eq!((chain.tip(), chain.tip().height.0), (tip, height));
    assert_eq!(chain.state().entries(), entries);
}

/// That a model is amal's.
fn register(work: Cid) -> Action {
    let share = Share { account: address("amal"), parts: 1 };
    Action::Register(Register {
        kind: WorkKind::Model,
        work,
        name: Text::new("model").unwrap(),
        licence: Text::new("MIT").unwrap(),
        terms: None,
        makers: List::new(vec![share]).unwrap(),
        parents: List::default(),
    })
}

#[test]
fn who_never_proposes_forgets_what_the_rules_refuse_too() {
    let (mut one, mut two) = (in_memory(), in_memory());
    let work = Cid::raw(Hash([5; 32]));
    let late = order("dina", 0, register(work));
    for chain in [&mut one, &mut two] {
        chain.submit(order("badr", 0, register(work))).unwrap();
        chain.submit(late.clone()).unwrap();
        // It waits for an order that has not come, and goes on waiting.
        chain.submit(pay("amal", 1, "badr", 1)).unwrap();
    }
    let mut next = |two: &mut chain::chain::Chain| {
        let proposal = one.propose(NOW, &node()).unwrap();
        two.check(NOW + 60_000, &proposal.bytes).unwrap();
        let decided = agreed(one.tip().height.0 + 1, proposal.id);
        one.commit(&decided).unwrap();
        two.commit(&decided).unwrap();
        one.pool().count()
    };
    assert_eq!(next(&mut two), 1);
    assert_eq!((two.pool().count(), two.refusal(&late.id())), (2, None));
    for _ in 0..3 {
        next(&mut two);
    }
    assert_eq!(two.pool().count(), 1);
    assert_eq!(two.refusal(&late.id()), Some(Refusal::AlreadyRegistered));
    two.submit(pay("dina", 0, "amal", 1)).unwrap();
}

#[test]
fn the_pool_takes_large_orders_only_where_the_ledger_waits_for_them() {
    let mut chain = in_memory();
    let work = Cid::raw(Hash([5; 32]));
    let piece = || Bytes::new(vec![7; PIECE_MAX]).unwrap();
    let show = |work| Action::ShowModel(ShowModel { work, piece: piece() });
    let evidence = Action::ShowEvidence(ShowEvidence { batch: 1, index: 0, piece: piece() });
    let unknown = |refusal: Refusal| Err(NotAccepted::Refused(refusal));
    assert_eq!(chain.submit(order("amal", 1, show(work))), unknown(Refusal::WorkUnknown));
    assert_eq!(chain.submit(order("amal", 1, evidence)), unknown(Refusal::AuditUnknown));
    chain.submit(order("amal", 0, register(work))).unwrap();
    block(&mut chain);
    for nonce in [2, 3] {
        chain.submit(order("amal", nonce, show(work))).unwrap();
    }
    assert_eq!(chain.submit(order("amal", 4, show(work))), Err(NotAccepted::AccountFull));
    chain.submit(pay("badr", 0, "dina", 1)).unwrap();
}
