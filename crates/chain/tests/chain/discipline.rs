//! Who sealed a block, and who contradicted itself: four validators, one of whom is absent or lies.

use chain::block::{Block, evidence_hash};
use chain::chain::Chain;
use chain::error::Rejected;
use chain::store::Store;
use ledger::event::Event;
use ledger::genesis::Genesis;
use ledger::refusal::Refusal;
use ledger::validators::{Standing, Validator};
use types::agreement::{Certificate, Seal};
use types::amount::Height;
use types::bounded::List;
use types::codec::encode;
use types::evidence::{Evidence, Unproven};
use types::id::Hash;
use types::measure::AdmitValidator;
use types::node_key::{NodeSecret, NodeSigned};

use crate::world::{NAMES, NOW, address, prevotes};

fn secret(validator: u8) -> NodeSecret {
    NodeSecret::new([validator + 1; 32])
}

/// The genesis of the other tests, by name and time, with four validators.
fn genesis() -> Genesis {
    let account = |validator: u8| address(NAMES[usize::from(validator) % 3]);
    let validator =
        |it| AdmitValidator { node_key: secret(it).key(), account: account(it), power: 1 };
    let validators = List::new((0..4).map(validator).collect()).unwrap();
    Genesis { validators, ..crate::world::genesis(0) }
}

fn open() -> Chain {
    Chain::open(Store::in_memory().unwrap(), &genesis(), 1).unwrap()
}

/// That three of the validators decided a block, or all of them.
fn agreed(height: u64, block: Hash, absent: Option<u8>) -> Certificate {
    let seals = List::default();
    let mut certificate = Certificate { height: Height(height), round: 0, block, seals };
    let statement = certificate.statement(genesis().hash());
    let seal = |it| Seal { validator: secret(it).key(), signature: statement.sign(&secret(it)) };
    let present = (0..4).filter(|it| Some(*it) != absent);
    let mut seals: Vec<Seal> = present.map(seal).collect();
    seals.sort_by_key(|seal| seal.validator);
    certificate.seals = List::new(seals).unwrap();
    certificate
}

/// One block made by one chain and checked by the other.
fn block(one: &mut Chain, two: &mut Chain, absent: Option<u8>) -> Vec<Event> {
    let height = one.tip().height.0 + 1;
    let clock = NOW + height * 1000;
    let proposal = one.propose(clock, &secret(0)).unwrap();
    assert_eq!(two.check(clock, &proposal.bytes).unwrap(), proposal.id);
    let certificate = agreed(height, proposal.id, absent);
    let events = one.commit(&certificate).unwrap();
    assert_eq!(two.commit(&certificate).unwrap(), events);
    assert_eq!(one.state().entries(), two.state().entries());
    ledger::check::check(one.state()).unwrap();
    events
}

fn validator(chain: &mut Chain, validator: u8) -> Validator {
    chain.state().validator(&secret(validator).key()).unwrap().clone()
}

fn rests(chain: &mut Chain, of: u8) -> bool {
    let validator = validator(chain, of);
    chain.state().rests(&validator)
}

/// Evidence for the network of four.
fn evidence(by: u8, height: u64) -> Evidence {
    let mut evidence = prevotes(&secret(by), height);
    let statement = |block| types::agreement::Statement {
        network: genesis().hash(),
        height: Height(height),
        round: 0,
        step: types::agreement::Step::Prevote,
        block,
        earlier: None,
    };
    for said in [&mut evidence.first, &mut evidence.second] {
        said.signature = statement(said.block).sign(&secret(by));
    }
    evidence
}

#[test]
fn certificates_say_who_rests_and_who_is_back() {
    let (mut one, mut two) = (open(), open());
    for _ in 0..8 {
        block(&mut one, &mut two, Some(3));
    }
    // Block 8 shows who sealed block 7.
    assert_eq!(validator(&mut one, 3).missed, 7);
    assert!(!rests(&mut one, 3));
    let events = block(&mut one, &mut two, None);
    let rest = Event::Rest { node_key: secret(3).key(), rests: true };
    assert!(events.contains(&rest) && rests(&mut one, 3));
    block(&mut one, &mut two, None);
    assert!(!rests(&mut two, 3));
    assert_eq!(validator(&mut two, 3).missed, 0);
}

#[test]
fn seals_that_come_late_count() {
    let (mut one, mut two) = (open(), open());
    block(&mut one, &mut two, Some(3));
    let id = one.tip().id;
    one.certify(agreed(1, id, None));
    block(&mut one, &mut two, None);
    assert_eq!(validator(&mut two, 3).missed, 0);
}

#[test]
fn evidence_waits_for_a_block_and_convicts_on_every_chain() {
    let (mut one, mut two) = (open(), open());
    block(&mut one, &mut two, None);
    let network = genesis().hash();
    let proven = evidence(2, 1).verify(&network).unwrap();
    assert_eq!(one.accuse(proven.clone()), Ok(true));
    assert_eq!(one.accuse(proven.clone()), Ok(false), "one is enough");
    let unknown = prevotes(&NodeSecret::new([9; 32]), 1).verify(&network);
    assert_eq!(unknown, Err(Unproven::BadSignature), "of another network");
    let early = evidence(3, 2).verify(&network).unwrap();
    assert_eq!(one.accuse(early), Err(Refusal::EvidenceAge));
    // The other has it too, and forgets it when it is in the first one's block.
    two.accuse(proven.clone()).unwrap();
    let events = block(&mut one, &mut two, None);
    assert!(events.iter().any(|event| matches!(event, Event::Convicted { .. })));
    assert_eq!((one.accusations().count(), two.accusations().count()), (0, 0));
    let convicted = validator(&mut two, 2);
    assert_eq!((convicted.standing, convicted.power), (Standing::Convicted, 0));
    assert_eq!(two.accuse(proven), Err(Refusal::AlreadyConvicted));
    assert_eq!(two.validators().len(), 4);
    block(&mut one, &mut two, None);
    assert_eq!(two.validators().len(), 3, "from the block after next on");
    let shown = two.block(Height(2)).unwrap().unwrap();
    assert_eq!(shown.evidence.as_slice(), [evidence(2, 1)]);
}

#[test]
fn a_block_with_bad_evidence_is_rejected() {
    let (mut one, mut two) = (open(), open());
    block(&mut one, &mut two, None);
    let bytes = one.propose(NOW + 5000, &secret(0)).unwrap().bytes;
    let mut with = |evidence: Vec<Evidence>| {
        let mut block = Block::decode(&bytes).unwrap();
        block.evidence = List::new(evidence).unwrap();
        block.header.evidence = evidence_hash(&block.evidence);
        let before = two.state().entries();
        let rejected = two.check(NOW + 5000, &encode(&block)).unwrap_err();
        assert_eq!(two.state().entries(), before);
        rejected
    };
    let mut unsigned = evidence(2, 1);
    unsigned.round = 1;
    let rejected = with(vec![evidence(1, 1), unsigned]);
    let wanted = matches!(rejected, Rejected::Unproven { index: 1, error: Unproven::BadSignature });
    assert!(wanted, "{rejected}");
    let rejected = with(vec![evidence(2, 1), evidence(2, 1)]);
    let twice = Refusal::AlreadyConvicted;
    assert!(matches!(rejected, Rejected::Evidence { index: 1, refusal } if refusal == twice));
    let rejected = with(vec![evidence(2, 2)]);
    let early = Refusal::EvidenceAge;
    assert!(matches!(rejected, Rejected::Evidence { index: 0, refusal } if refusal == early));
    // What is good convicts, and so leads to another state than the block without it.
    let rejected = with(vec![evidence(2, 1)]);
    assert!(matches!(rejected, Rejected::Header { field: "state root" }), "{rejected}");
}

#[test]
fn every_cut_and_flip_of_a_block_with_evidence_is_refused() {
    let (mut one, mut two) = (open(), open());
    block(&mut one, &mut two, None);
    one.accuse(evidence(2, 1).verify(&genesis().hash()).unwrap()).unwrap();
    let proposal = one.propose(NOW + 5000, &secret(0)).unwrap();
    assert_eq!(two.check(NOW + 5000, &proposal.bytes).unwrap(), proposal.id);
    for length in 0..proposal.bytes.len() {
        assert!(Block::decode(&proposal.bytes[..length]).is_err(), "{length} bytes");
    }
    for at in 0..proposal.bytes.len() {
        let mut flipped = proposal.bytes.clone();
        flipped[at] ^= 1;
        // The proposer chooses the time, and itself; another makes another block.
        if let Ok(other) = two.check(NOW + 5000, &flipped) {
            assert!(other != proposal.id && (76..84).contains(&at), "byte {at}");
        }
    }
}
