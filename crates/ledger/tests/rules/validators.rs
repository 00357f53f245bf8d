//! Validators that rest, are jailed, come back, and contradict themselves.

use std::fmt::Write;

use expect_test::{Expect, expect};
use ledger::accounts::RESERVE;
use ledger::apply::{begin_block, convict, try_convict};
use ledger::check::check;
use ledger::event::Event;
use ledger::refusal::Refusal;
use ledger::state::State;
use ledger::validators::{EVIDENCE_AGE_MAX, Validator};
use types::agreement::{Statement, Step};
use types::amount::{Amount, Height};
use types::bounded::List;
use types::evidence::{Evidence, Proven};
use types::id::Hash;
use types::measure::*;
use types::node_key::{NodeSecret, NodeSigned};
use types::transaction::*;
use types::word::Policy;

use crate::world::*;

const PEOPLE: [&str; 6] = ["amal", "badr", "dina", "hadi", "layla", "nour"];

/// A network of validators 0, 1 and so on, each of one of the people.
pub(crate) struct Net {
    pub(crate) world: World,
    /// Who decided the last block.
    deciders: Vec<Hash>,
    text: String,
}

pub(crate) fn secret_of(validator: usize) -> NodeSecret {
    NodeSecret::new([u8::try_from(validator).unwrap() + 1; 32])
}

pub(crate) fn key(validator: usize) -> Hash {
    secret_of(validator).key()
}

fn name(node_key: &Hash) -> String {
    let index = (0..PEOPLE.len()).find(|&index| key(index) == *node_key);
    format!("validator {}", index.unwrap())
}

fn told(event: &Event) -> Option<String> {
    match event {
        Event::Validator { node_key, power, from, standing } => {
            Some(format!("{}: {standing}, power {power} from {}", name(node_key), from.0))
        }
        Event::Rest { node_key, rests: true } => Some(format!("{} rests", name(node_key))),
        Event::Rest { node_key, rests: false } => Some(format!("{} is awake", name(node_key))),
        Event::Convicted { node_key, height, bond } => {
            let name = name(node_key);
            Some(format!("{name} contradicted itself at {}, and loses {bond}", height.0))
        }
        Event::Moved { to, amount, .. } if *to == RESERVE => Some(format!("reserve gets {amount}")),
        _ => None,
    }
}

impl Net {
    /// So many validators; they rest after 8 blocks and are jailed after 20.
    pub(crate) fn new(policy: Policy, count: usize) -> Net {
        let mut genesis = genesis(policy, &PEOPLE);
        let validator = |index: usize| AdmitValidator {
            node_key: key(index),
            account: address(PEOPLE[index]),
            power: 1,
        };
        genesis.validators = List::new((0..count).map(validator).collect()).unwrap();
        let is_kept = |it: &&SetParameter| it.parameter != Parameter::ValidatorBond;
        let mut parameters: Vec<SetParameter> =
            genesis.parameters.as_slice().iter().filter(is_kept).cloned().collect();
        parameters.push(SetParameter { parameter: Parameter::JailBlocks, value: 20 });
        genesis.parameters = List::new(parameters).unwrap();
        let state = genesis.state().unwrap();
        check(&state).unwrap();
        Net { world: World { state }, deciders: vec![], text: String::new() }
    }

    fn note(&mut self, height: Height, events: &[Event]) {
        for line in events.iter().filter_map(told) {
            writeln!(self.text, "{}: {line}", height.0).unwrap();
        }
    }

    /// So many blocks, which all but the absent seal.
    pub(crate) fn blocks(&mut self, count: u64, absent: &[usize]) {
        for _ in 0..count {
            self.begin(absent);
            let (now, events) = (self.world.state.now(), self.world.blocks(1));
            self.note(now, &events);
        }
    }

    fn begin(&mut self, absent: &[usize]) {
        let now = self.world.state.now();
        let deciders = self.world.state.validators_at(now);
        let is_absent = |node_key: &Hash| absent.iter().any(|&index| key(index) == *node_key);
        let attendance: Vec<(Hash, bool)> =
            self.deciders.iter().map(|key| (*key, !is_absent(key))).collect();
        let events = begin_block(&mut self.world.state, now, &attendance, &NO_RANDOMNESS).unwrap();
        check(&self.world.state).unwrap();
        self.note(now, &events);
        self.deciders = deciders.into_iter().map(|(key, _)| key).collect();
    }

    fn act(&mut self, name: &str, action: Action) {
        let (now, events) = (self.world.state.now(), self.world.act(name, action));
        self.note(now, &events);
    }

    pub(crate) fn prevotes(&self, validator: usize, height: u64) -> Proven {
        prevotes(&self.world.state, validator, height)
    }

    pub(crate) fn convict(&mut self, proven: &Proven) -> Result<(), Refusal> {
        let (now, before) = (self.world.state.now(), self.world.state.entries());
        let expected = try_convict(&self.world.state, proven);
        let outcome = convict(&mut self.world.state, now, proven);
        check(&self.world.state).unwrap();
        assert_eq!(outcome.clone().map(|_| ()), expected);
        match outcome {
            Ok(events) => self.note(now, &events),
            Err(_) => assert_eq!(self.world.state.entries(), before),
        }
        expected
    }

    fn pass(&mut self, measure: Measure) {
        let now = self.world.state.now().after(5);
        let events = self.world.pass(&PEOPLE, vec![measure]);
        self.note(now, &events);
        let last = self.world.state.meta().height;
        let deciders = self.world.state.validators_at(last);
        self.deciders = deciders.into_iter().map(|(key, _)| key).collect();
    }

    fn validator(&self, validator: usize) -> &Validator {
        self.world.state.validator(&key(validator)).unwrap()
    }

    fn locked(&self, name: &str) -> Amount {
        self.world.state.account(&address(name)).locked
    }

    fn deciders(&self) -> usize {
        self.world.state.validators_at(self.world.state.now()).len()
    }

    fn check(&self, expected: &Expect) {
        expected.assert_eq(&self.text);
    }
}

/// Two prevotes of a validator at a height, for nothing and for a block.
pub(crate) fn prevotes(state: &State, validator: usize, height: u64) -> Proven {
    let network = state.meta().genesis;
    let vote = |block: Option<Hash>| {
        let (height, step) = (Height(height), Step::Prevote);
        let vote = Statement { network, height, round: 0, step, block, earlier: None };
        let signature = vote.sign(&secret_of(validator));
        (vote, signature)
    };
    let evidence = Evidence::new(key(validator), &vote(None), &vote(Some(Hash([1; 32]))));
    evidence.unwrap().verify(&network).unwrap()
}

pub(crate) fn call_back(validator: usize) -> Action {
    Action::ReturnValidator(ReturnValidator { node_key: key(validator) })
}

fn remove(validator: usize) -> Measure {
    Measure::RemoveValidator(RemoveValidator { node_key: key(validator) })
}

fn admit(validator: usize, power: u32) -> Measure {
    let account = address(PEOPLE[validator]);
    Measure::AdmitValidator(AdmitValidator { node_key: key(validator), account, power })
}

#[test]
fn whoever_misses_blocks_rests_until_it_seals_one() {
    let mut net = Net::new(Policy::Mutual, 4);
    // Nobody seals before the first block. The eighth block without the seal is the ninth.
    net.blocks(8, &[3]);
    assert!(!net.world.state.rests(net.validator(3)));
    net.blocks(5, &[3]);
    assert!(net.world.state.rests(net.validator(3)));
    assert_eq!((net.validator(3).missed, net.deciders()), (12, 4), "it keeps its power");
    net.blocks(2, &[]);
    assert_eq!(net.validator(3).missed, 0);
    // A block missed now and then is forgiven.
    for _ in 0..5 {
        net.blocks(7, &[2]);
        net.blocks(1, &[]);
    }
    net.check(&expect![[r#"
        9: validator 3 rests
        14: validator 3 is awake
    "#]]);
}

#[test]
fn long_absence_jails_and_the_account_calls_back() {
    let mut net = Net::new(Policy::Mutual, 5);
    net.blocks(20, &[4]);
    assert_eq!(net.validator(4).missed, 19);
    net.blocks(1, &[4]);
    assert_eq!(net.deciders(), 5, "a change holds from the block after next");
    net.blocks(1, &[4]);
    assert_eq!(net.deciders(), 4);
    net.blocks(31, &[4]);
    assert_eq!(net.locked("layla"), credits("50"), "the bond stays");
    net.world.refuse("amal", call_back(4), Refusal::NotValidatorsAccount);
    net.world.refuse("amal", call_back(0), Refusal::NotAbsent);
    net.world.refuse("amal", call_back(5), Refusal::ValidatorUnknown);
    net.act("layla", call_back(4));
    net.world.refuse("layla", call_back(4), Refusal::NotAbsent);
    net.blocks(2, &[]);
    assert_eq!(net.deciders(), 5);
    assert!(!net.world.state.rests(net.validator(4)));
    net.blocks(20, &[]);
    net.check(&expect![[r#"
        9: validator 4 rests
        21: validator 4: absent, power 0 from 23
        54: validator 4: serving, power 1 from 56
    "#]]);
}

#[test]
fn one_that_is_called_back_at_once_never_loses_its_power() {
    let mut net = Net::new(Policy::Mutual, 5);
    net.pass(admit(4, 7));
    net.blocks(5, &[]);
    net.blocks(19, &[4]);
    net.begin(&[4]);
    assert_eq!(net.validator(4).power, 0);
    net.act("layla", call_back(4));
    net.world.blocks(1);
    for _ in 0..4 {
        assert!(net.world.state.validators_at(net.world.state.now()).contains(&(key(4), 7)));
        net.blocks(1, &[]);
    }
}

#[test]
fn nobody_is_jailed_for_absence_if_fewer_than_four_would_be_left() {
    let mut net = Net::new(Policy::Mutual, 6);
    net.blocks(60, &[3, 4, 5]);
    assert_eq!(net.deciders(), 4);
    let (jailed, kept): (Vec<usize>, Vec<usize>) =
        (3..6).partition(|&it| net.validator(it).power == 0);
    assert_eq!((jailed.len(), kept.len()), (2, 1));
    assert_eq!(net.validator(kept[0]).missed, 59, "it goes on being counted");
    // One more, and the next can go.
    net.act(PEOPLE[jailed[0]], call_back(jailed[0]));
    net.blocks(5, &[jailed[1], kept[0]]);
    assert_eq!(net.deciders(), 4);
    assert_eq!((net.validator(jailed[0]).power, net.validator(kept[0]).power), (1, 0));
}

#[test]
fn a_contradiction_jails_for_good_and_takes_the_bond() {
    let mut net = Net::new(Policy::Mutual, 4);
    net.blocks(3, &[]);
    let proven = net.prevotes(2, 3);
    assert_eq!(net.convict(&net.prevotes(2, 4)), Err(Refusal::EvidenceAge), "of a block to come");
    net.convict(&proven).unwrap();
    assert_eq!(net.convict(&proven), Err(Refusal::AlreadyConvicted));
    assert_eq!(net.convict(&net.prevotes(2, 2)), Err(Refusal::AlreadyConvicted));
    assert_eq!(net.convict(&net.prevotes(5, 2)), Err(Refusal::ValidatorUnknown));
    net.world.refuse("dina", call_back(2), Refusal::NotAbsent);
    assert_eq!(net.world.state.account(&RESERVE).balance, 50_000_000);
    assert_eq!(net.world.balance("dina"), -50_000_000, "the bond was of its credit line");
    assert_eq!(net.locked("dina"), Amount::ZERO);
    net.blocks(2, &[]);
    assert_eq!(net.deciders(), 3);
    // Only a vote brings it back, with another bond; what it did before has been paid for.
    net.pass(admit(2, 1));
    assert_eq!(net.locked("dina"), credits("50"));
    net.blocks(3, &[]);
    assert_eq!(net.deciders(), 4);
    let old = net.convict(&net.prevotes(2, 2));
    assert_eq!(old, Err(Refusal::EvidenceAge), "from before it was admitted");
    net.check(&expect![[r#"
        4: reserve gets 50
        4: validator 2 contradicted itself at 3, and loses 50
        4: validator 2: convicted, power 0 from 6
        11: validator 2: serving, power 1 from 13
    "#]]);
}

#[test]
fn evidence_counts_up_to_its_age_and_no_longer() {
    let mut net = Net::new(Policy::Mutual, 2);
    net.blocks(1, &[]);
    let (young, old) = (net.prevotes(0, 1), net.prevotes(1, 1));
    net.world.state.seal();
    // Without tests of every block between: nothing happens in them.
    while net.world.state.meta().height.0 < EVIDENCE_AGE_MAX {
        let now = net.world.state.now();
        ledger::apply::end_block(&mut net.world.state, now).unwrap();
        net.world.state.seal();
    }
    net.convict(&young).unwrap();
    net.blocks(1, &[]);
    assert_eq!(net.convict(&old), Err(Refusal::EvidenceAge));
}

#[test]
fn a_networks_last_validator_goes_on_without_its_bond() {
    let mut net = Net::new(Policy::Mutual, 1);
    net.blocks(2, &[]);
    net.convict(&net.prevotes(0, 1)).unwrap();
    net.blocks(5, &[]);
    assert_eq!((net.deciders(), net.validator(0).bond), (1, Amount::ZERO));
    // Members can replace it.
    net.pass(admit(1, 1));
    net.pass(remove(0));
    net.blocks(2, &[]);
    assert_eq!(net.world.state.validators_at(net.world.state.now()), [(key(1), 1)]);
}

#[test]
fn a_bond_is_as_much_as_there_is_and_stays_until_no_evidence_can_come() {
    let mut net = Net::new(Policy::Prepaid, 3);
    assert_eq!(net.locked("amal"), Amount::ZERO, "a founder of a prepaid network has nothing yet");
    for (name, amount) in [("hadi", "30"), ("badr", "80")] {
        let (to, amount) = (address(name), credits(amount));
        let issue = IssueCredits { to, amount, reference: text("1") };
        net.world.act("cashier", Action::IssueCredits(issue));
    }
    net.pass(admit(3, 1));
    assert_eq!(net.locked("hadi"), credits("30"));
    net.world.refuse("hadi", transfer("amal", "1"), Refusal::NotEnough);
    // Admitting it again locks what is missing, once.
    net.pass(admit(1, 2));
    assert_eq!(net.locked("badr"), credits("50"));
    net.pass(admit(1, 1));
    assert_eq!(net.locked("badr"), credits("50"));

    net.pass(remove(3));
    net.blocks(5, &[]);
    assert_eq!((net.locked("hadi"), net.deciders()), (credits("30"), 3));
    net.world.refuse("hadi", Action::Leave(Leave {}), Refusal::CreditsLocked);
    let from = net.validator(3).from;
    let at_work = net.prevotes(3, from.0 - 1);
    let mut caught =
        Net { world: World { state: net.world.state.clone() }, ..Net::new(Policy::Prepaid, 3) };
    caught.convict(&at_work).unwrap();
    assert_eq!(caught.world.balance("hadi"), 0);
    while net.world.state.meta().height < from.after(EVIDENCE_AGE_MAX - 1) {
        let now = net.world.state.now();
        ledger::apply::end_block(&mut net.world.state, now).unwrap();
        net.world.state.seal();
    }
    assert_eq!(net.convict(&at_work), Err(Refusal::EvidenceAge));
    assert_eq!(net.locked("hadi"), credits("30"));
    net.blocks(1, &[]);
    assert_eq!((net.locked("hadi"), net.world.state.validator(&key(3))), (Amount::ZERO, None));
    net.world.act("hadi", transfer("amal", "30"));
}
