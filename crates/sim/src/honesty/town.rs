//! A network of one validator for the simulator of honesty: accounts, and orders that the ledger applies.
//!
//! Invariants: whatever changes the state is a signed order or a block; an order that was meant to count
//! and was refused is noted.
//!
//! Not here: who orders what.

use std::collections::BTreeMap;

use ledger::apply::{apply, begin_block, end_block};
use ledger::check::check;
use ledger::event::Event;
use ledger::genesis::{Founder, Genesis};
use ledger::refusal::Refusal;
use ledger::state::State;
use types::amount::{Amount, Height};
use types::bounded::{List, Text};
use types::envelope::Order;
use types::id::{Address, Hash, keccak256};
use types::measure::{AdmitValidator, Parameter, SetParameter};
use types::node_key::NodeSecret;
use types::signature::Secret;
use types::transaction::{Action, WorkVoucher};
use types::typed::signing_hash;
use types::vrf::VrfOutput;
use types::word::Policy;

use crate::random::Random;

/// Milliseconds between blocks, which nothing here reads.
const INTERVAL: u32 = 400;
/// Blocks from one snapshot to the next, which nothing here makes.
const SNAPSHOT_BLOCKS: u32 = 3600;

/// Someone with an account and a node.
#[derive(Debug)]
struct Person {
    address: Address,
    secret: Secret,
    node: NodeSecret,
}

/// The state, and who orders.
#[derive(Debug)]
pub(crate) struct Town {
    pub(crate) state: State,
    people: Vec<Person>,
    known: BTreeMap<Address, usize>,
    random: Random,
    events: Vec<Event>,
    /// Orders that the ledger has taken.
    pub(crate) orders: u64,
    /// What should not have happened.
    pub(crate) violations: Vec<String>,
}

/// An amount of millionths.
pub(crate) fn amount(millionths: u64) -> Amount {
    Amount::new(millionths).unwrap_or(Amount::ZERO)
}

/// A short text of an order.
pub(crate) fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap_or_default()
}

fn person(number: usize) -> Person {
    let key = keccak256(format!("honesty {number}").as_bytes());
    let secret = Secret::new(key.0).expect("a hash is a key but for luck");
    Person { address: secret.address(), secret, node: NodeSecret::new(keccak256(&key.0).0) }
}

impl Town {
    /// So many members, and parameters that are not the defaults.
    pub(crate) fn new(count: usize, parameters: &[(Parameter, u64)], seed: u64) -> Town {
        let people: Vec<Person> = (0..count).map(person).collect();
        let founder = |person: &Person| Founder { account: person.address, name: Text::default() };
        let set = |&(parameter, value): &(Parameter, u64)| SetParameter { parameter, value };
        let genesis = Genesis {
            name: text("honesty"),
            made: seed,
            interval: INTERVAL,
            snapshot_blocks: SNAPSHOT_BLOCKS,
            policy: Policy::Mutual,
            constitution: None,
            founders: List::new(people.iter().map(founder).collect())
                .expect("a town has fewer people than a genesis takes"),
            validators: List::new(vec![AdmitValidator {
                node_key: people[0].node.key(),
                account: people[0].address,
                power: 1,
            }])
            .expect("a town has fewer validators than a genesis takes"),
            parameters: List::new(parameters.iter().map(set).collect())
                .expect("a town has fewer parameters than a genesis takes"),
            cashier: None,
        };
        let state = genesis.state().expect("the parameters are within their ranges");
        let known = people.iter().enumerate().map(|(at, person)| (person.address, at)).collect();
        let random = Random::new(seed);
        Town { state, people, known, random, events: vec![], orders: 0, violations: vec![] }
    }

    pub(crate) fn address(&self, who: usize) -> Address {
        self.people[who].address
    }

    pub(crate) fn node(&self, who: usize) -> &NodeSecret {
        &self.people[who].node
    }

    /// Whose account this is.
    pub(crate) fn who(&self, address: &Address) -> Option<usize> {
        self.known.get(address).copied()
    }

    /// Signs and applies an order.
    pub(crate) fn attempt(&mut self, who: usize, action: Action) -> Result<(), Refusal> {
        let account = self.people[who].address;
        let nonce = self.state.nonce(&account);
        let order = Order { account, nonce, valid_until: Height(u64::MAX), action };
        let signed = order.sign(&self.people[who].secret, &self.state.meta().genesis);
        let now = self.state.now();
        self.events.extend(apply(&mut self.state, now, &signed)?);
        self.orders += 1;
        Ok(())
    }

    /// Does what must be accepted.
    pub(crate) fn act(&mut self, who: usize, action: Action) {
        let name = action.name();
        if let Err(refusal) = self.attempt(who, action) {
            self.violate(format!("{name} of {who} was refused: {refusal}"));
        }
    }

    pub(crate) fn violate(&mut self, what: String) {
        self.violations.push(format!("block {}: {what}", self.state.now().0));
    }

    pub(crate) fn sign(&self, who: usize, voucher: &WorkVoucher) -> types::signature::Signature {
        self.people[who].secret.sign(&signing_hash(&voucher.shown(), &self.state.meta().genesis))
    }

    pub(crate) fn begin_block(&mut self) {
        let mut randomness = [0; 64];
        for bytes in randomness.chunks_mut(8) {
            bytes.copy_from_slice(&self.random.number().to_le_bytes());
        }
        let now = self.state.now();
        match begin_block(&mut self.state, now, &[], &VrfOutput(randomness)) {
            Ok(events) => self.events.extend(events),
            Err(refusal) => self.violate(format!("no block began: {refusal}")),
        }
    }

    /// Ends a block; at an epoch's end, every invariant of the ledger is checked.
    pub(crate) fn end_block(&mut self) {
        let (now, epoch) = (self.state.now(), self.state.meta().epoch);
        match end_block(&mut self.state, now) {
            Ok(events) => self.events.extend(events),
            Err(refusal) => self.violate(format!("no block ended: {refusal}")),
        }
        self.state.seal();
        if self.state.meta().epoch != epoch
            && let Err(broken) = check(&self.state)
        {
            self.violate(broken.to_string());
        }
    }

    /// What has happened since the last call.
    pub(crate) fn events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What an account has, in millionths: its balance and its stake.
    pub(crate) fn wealth(&self, who: usize) -> i128 {
        let address = self.address(who);
        let held = self.state.stake(&address).map_or(Amount::ZERO, |stake| stake.held);
        self.state.account(&address).balance + i128::from(held.millionths())
    }

    /// Whether something of so many in a thousand happens.
    pub(crate) fn chance(&mut self, of_thousand: u64) -> bool {
        self.random.below(1000) < of_thousand
    }

    /// A number that nobody else knows.
    pub(crate) fn secret(&mut self) -> Hash {
        let number = self.random.number();
        keccak256(&number.to_le_bytes())
    }
}
