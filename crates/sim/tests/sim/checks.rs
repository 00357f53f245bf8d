//! Each check on a record that was made by hand to break it: none of them is empty.

use std::collections::BTreeMap;

use chain::chain::Chain;
use chain::store::Store;
use sim::check::{CHECKS, all};
use sim::flaw::Flaw;
use sim::people::{People, genesis};
use sim::record::{Commit, Committed, Record, Restart};
use types::agreement::{Certificate, Seal};
use types::amount::{Amount, Height};
use types::bounded::{List, Text};
use types::envelope::Order;
use types::id::{Address, Hash};
use types::measure::{Measure, Parameter, SetParameter};
use types::node_key::{NodeSecret, NodeSigned};
use types::transaction::{Action, Delegate, Propose, Transfer, Vote};
use types::word::{Choice, Tier};

/// Makes a true record false.
type Break = fn(&mut Record);

const NOW: u64 = 1_700_000_000_000;
const HEIGHTS: u64 = 8;

fn node() -> NodeSecret {
    NodeSecret::new([1; 32])
}

fn accounts() -> Vec<Address> {
    let founders = genesis(&[node()]).founders;
    founders.as_slice().iter().map(|founder| founder.account).collect()
}

fn sealed(height: u64, block: Hash) -> Certificate {
    let seals = List::default();
    let mut certificate = Certificate { height: Height(height), round: 0, block, seals };
    let signature = certificate.statement(genesis(&[node()]).hash()).sign(&node());
    certificate.seals = List::new(vec![Seal { validator: node().key(), signature }]).unwrap();
    certificate
}

/// Who asks what before which height: payments, a vote that passes, one that does not, a delegation.
fn orders() -> Vec<(u64, usize, Action)> {
    let accounts = accounts();
    let pay = |note: &str| {
        let (to, note) = (accounts[1], Text::new(note).unwrap());
        Action::Transfer(Transfer { to, amount: Amount::new(5_000_000).unwrap(), note })
    };
    let propose = |value: u64| {
        let set = SetParameter { parameter: Parameter::FeeFlat, value };
        let measures = List::new(vec![Measure::SetParameter(set)]).unwrap();
        Action::Propose(Propose { title: Text::new("fee").unwrap(), text: None, measures })
    };
    let vote = |proposal: u64, choice: Choice| Action::Vote(Vote { proposal, choice });
    let lend = Delegate { topic: Tier::Parameter, to: accounts[0], expires: Height(HEIGHTS) };
    vec![
        (1, 0, pay("one")),
        (1, 4, Action::Delegate(lend)),
        (2, 0, propose(4321)),
        (3, 1, propose(99)),
        (3, 0, vote(1, Choice::Yes)),
        (3, 2, vote(1, Choice::Yes)),
        (4, 3, vote(2, Choice::No)),
        (4, 2, pay("two")),
    ]
}

/// A true record of one node.
fn record() -> Record {
    let genesis = genesis(&[node()]);
    let people = People::new(genesis.hash());
    let mut record = Record::new(genesis.clone(), vec![(node().key(), true)]);
    let mut chain = Chain::open(Store::in_memory().unwrap(), &genesis, 1).unwrap();
    for height in 1..=HEIGHTS {
        for (_, who, action) in orders().into_iter().filter(|(at, ..)| *at == height) {
            let account = accounts()[who];
            let next = chain.pool().next_nonce(&account);
            let nonce = next.unwrap_or_else(|| chain.state().nonce(&account));
            let order = Order { account, nonce, valid_until: Height(100), action };
            chain.submit(people.sign(order).unwrap()).unwrap();
        }
        let at = NOW + 400 * height;
        let made = chain.propose(at, &node()).unwrap();
        let certificate = sealed(height, made.id);
        chain.commit(&certificate).unwrap();
        record.blocks.insert(height, Committed { id: made.id, bytes: made.bytes, certificate, at });
        record.states.insert(height, chain.state().clone());
        let root = chain.tip().state;
        record.commits.push(Commit { node: 0, height, id: made.id, root });
    }
    record
}

/// The checks that fail.
fn failing(record: &Record) -> Vec<&'static str> {
    all(record).into_iter().map(|violation| violation.check).collect()
}

#[test]
fn a_true_record_passes_every_check() {
    let record = record();
    assert_eq!(all(&record), []);
    let last = &record.states[&HEIGHTS];
    assert_eq!(last.parameter(Parameter::FeeFlat), 4321, "a vote has changed a parameter");
    assert!(last.all_ballots().any(|((_, of), it)| it.by != *of), "a lent vote has counted");
    assert_eq!(CHECKS.len(), 12);
}

#[test]
fn each_check_fails_on_what_it_is_for() {
    let breaks: Vec<(&str, Break)> = vec![
        ("agreement", |record| {
            let other = Commit { node: 1, id: Hash([9; 32]), ..record.commits[2] };
            record.commits.push(other);
        }),
        ("agreement", |record| {
            let other = Commit { node: 1, root: Hash([9; 32]), ..record.commits[2] };
            record.commits.push(other);
        }),
        ("blocks are decided", |record| {
            let block = record.blocks.get_mut(&3).unwrap();
            block.certificate.seals = List::default();
        }),
        ("blocks are decided", |record| drop(record.blocks.remove(&3))),
        ("no double spend", |record| {
            // The same block again at another height.
            let first = record.blocks[&1].clone();
            record.blocks.insert(HEIGHTS + 1, first);
        }),
        ("time", |record| record.blocks.get_mut(&4).unwrap().at -= 60_000),
        ("commits last", |record| {
            let (node, acknowledged) = (0, (HEIGHTS, record.blocks[&HEIGHTS].id));
            record.restarts.push(Restart { node, acknowledged, found: None });
        }),
        ("honest nodes contradict nobody", |record| record.accused.push(node().key())),
        ("honest nodes go on", |record| record.stopped.push((0, "it could not".to_owned()))),
        ("pools hold nothing spent", |record| record.spent_waiting.push((0, Hash([1; 32])))),
        ("liveness", |record| record.late.push((0, 3, 5))),
    ];
    for (check, break_it) in breaks {
        let mut record = record();
        break_it(&mut record);
        assert!(failing(&record).contains(&check), "{check}: {:?}", failing(&record));
    }
}

#[test]
fn each_check_of_a_state_fails_on_a_state_that_breaks_it() {
    let true_record = record();
    for flaw in [
        (Flaw::MintsCredits, "credits are conserved"),
        (Flaw::MovesCredits, "states follow from blocks"),
        (Flaw::CountsTwice, "votes count once"),
        (Flaw::SetsParameter, "parameters change by vote"),
        (Flaw::ExecutesRejected, "parameters change by vote"),
    ] {
        let (flaw, check) = flaw;
        let mut record = true_record.clone();
        let shown: BTreeMap<_, _> =
            record.states.iter().map(|(height, state)| (*height, flaw.shown(state))).collect();
        record.states = shown;
        assert!(failing(&record).contains(&check), "{flaw:?}: {:?}", failing(&record));
    }
}
