//! A network for tests: keys, blocks and shorthand for orders.

use std::collections::BTreeMap;
use std::sync::Mutex;

use ledger::apply::{apply, end_block};
use ledger::check::check;
use ledger::event::Event;
use ledger::genesis::{Founder, Genesis};
use ledger::refusal::Refusal;
use ledger::state::State;
use types::amount::{Amount, Height};
use types::bounded::{List, Text};
use types::envelope::{Order, Signed};
use types::id::{Address, Cid, Hash, keccak256};
use types::measure::{AdmitValidator, Measure, Parameter, SetParameter};
use types::node_key::{NodeSecret, NodeSigned};
use types::signature::{Secret, Signature};
use types::transaction::*;
use types::typed::{Record, signing_hash};
use types::vrf::VrfOutput;
use types::word::{Choice, Policy};

/// A state and the block that is being made.
pub(crate) struct World {
    pub(crate) state: State,
}

/// Parameters that make a story short.
const QUICK: [(Parameter, u64); 13] = [
    (Parameter::EpochBlocks, 10),
    (Parameter::PeriodEpochs, 2),
    (Parameter::MemberShare, 5_000_000),
    (Parameter::OrdinaryVoting, 3),
    (Parameter::OrdinaryTimelock, 2),
    (Parameter::BudgetVoting, 3),
    (Parameter::BudgetTimelock, 2),
    (Parameter::ParameterVoting, 3),
    (Parameter::ParameterTimelock, 2),
    (Parameter::ConstitutionVoting, 3),
    (Parameter::ConstitutionTimelock, 2),
    (Parameter::GuardianDelay, 5),
    // Amal is the validator's account, and spends all that it has in many tests.
    (Parameter::ValidatorBond, 0),
];

/// What the maker of a block adds to the beacon where nothing is drawn.
pub(crate) const NO_RANDOMNESS: VrfOutput = VrfOutput([0; 64]);

pub(crate) fn secret(name: &str) -> Secret {
    Secret::new(keccak256(name.as_bytes()).0).unwrap()
}

/// A name's address. Kept, since random tests ask often and a public key takes long.
pub(crate) fn address(name: &str) -> Address {
    static KNOWN: Mutex<BTreeMap<String, Address>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap();
    *known.entry(name.to_owned()).or_insert_with(|| secret(name).address())
}

pub(crate) fn cid(name: &str) -> Cid {
    Cid::raw(keccak256(name.as_bytes()))
}

pub(crate) fn credits(text: &str) -> Amount {
    Amount::parse(text).unwrap()
}

pub(crate) fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap()
}

pub(crate) fn genesis(policy: Policy, names: &[&str]) -> Genesis {
    let founder = |name: &&str| Founder { account: address(name), name: text(name) };
    let parameter = |&(parameter, value): &(Parameter, u64)| SetParameter { parameter, value };
    let validator =
        AdmitValidator { node_key: Hash([1; 32]), account: address(names[0]), power: 1 };
    Genesis {
        name: text("test"),
        made: 0,
        interval: 1000,
        snapshot_blocks: 3600,
        policy,
        constitution: None,
        founders: List::new(names.iter().map(founder).collect()).unwrap(),
        validators: List::new(vec![validator]).unwrap(),
        parameters: List::new(QUICK.iter().map(parameter).collect()).unwrap(),
        cashier: (policy == Policy::Prepaid).then(|| address("cashier")),
    }
}

impl World {
    pub(crate) fn new(policy: Policy, names: &[&str]) -> World {
        World { state: genesis(policy, names).state().unwrap() }
    }

    /// Five founders and mutual credit.
    pub(crate) fn mutual() -> World {
        World::new(Policy::Mutual, &["amal", "badr", "dina", "hadi", "layla"])
    }

    /// An order with the account's next nonce, signed by its own key.
    pub(crate) fn order(&self, name: &str, action: Action) -> Order {
        let account = address(name);
        let nonce = self.state.nonce(&account);
        Order { account, nonce, valid_until: Height(u64::MAX), action }
    }

    pub(crate) fn sign(&self, key: &str, order: Order) -> Signed {
        order.sign(&secret(key), &self.state.meta().genesis)
    }

    /// Applies an order, and checks every invariant.
    pub(crate) fn try_signed(&mut self, signed: &Signed) -> Result<Vec<Event>, Refusal> {
        let before = self.state.clone();
        let now = self.state.now();
        let outcome = apply(&mut self.state, now, signed);
        if outcome.is_err() {
            assert_eq!(self.state.entries(), before.entries(), "a refusal changed the state");
        }
        check(&self.state).unwrap();
        outcome
    }

    pub(crate) fn attempt(&mut self, name: &str, action: Action) -> Result<Vec<Event>, Refusal> {
        let signed = self.sign(name, self.order(name, action));
        self.try_signed(&signed)
    }

    /// What must succeed.
    pub(crate) fn act(&mut self, name: &str, action: Action) -> Vec<Event> {
        let kind = action.name();
        self.attempt(name, action).unwrap_or_else(|refusal| panic!("{name} {kind}: {refusal}"))
    }

    /// What must be refused.
    pub(crate) fn refuse(&mut self, name: &str, action: Action, wanted: Refusal) {
        let kind = action.name();
        assert_eq!(self.attempt(name, action), Err(wanted), "{name} {kind}");
    }

    /// Ends so many blocks.
    pub(crate) fn blocks(&mut self, count: u64) -> Vec<Event> {
        let mut events = vec![];
        for _ in 0..count {
            let now = self.state.now();
            events.extend(end_block(&mut self.state, now).unwrap());
            check(&self.state).unwrap();
        }
        events
    }

    /// Opens a proposal, and gives its number.
    pub(crate) fn propose(&mut self, name: &str, measures: Vec<Measure>) -> u64 {
        let number = self.state.meta().proposal_next;
        self.act(name, proposal(measures));
        number
    }

    /// A proposal that all of the names vote for, up to its execution.
    pub(crate) fn pass(&mut self, names: &[&str], measures: Vec<Measure>) -> Vec<Event> {
        let number = self.propose(names[0], measures);
        for name in names {
            self.act(name, vote(number, Choice::Yes));
        }
        self.blocks(6)
    }

    pub(crate) fn balance(&self, name: &str) -> i128 {
        self.state.account(&address(name)).balance
    }

    /// The order with which an account registers a node that consents until a block.
    pub(crate) fn register_node(&self, name: &str, number: u64, until: u64) -> Action {
        let (network, account) = (self.state.meta().genesis, address(name));
        let (secret, until) = (node_secret(number), Height(until));
        let node_key = secret.key();
        let consent = Consent { network, account, node_key, until }.sign(&secret);
        Action::RegisterNode(RegisterNode { node_key, until, consent })
    }

    pub(crate) fn voucher(&self, key: &str, voucher: &Voucher) -> Signature {
        self.seal(key, &voucher.shown())
    }

    pub(crate) fn work_voucher(&self, key: &str, voucher: &WorkVoucher) -> Signature {
        self.seal(key, &voucher.shown())
    }

    fn seal(&self, key: &str, shown: &Record) -> Signature {
        secret(key).sign(&signing_hash(shown, &self.state.meta().genesis))
    }
}

/// What an account paid, and to whom, in order of the receivers.
pub(crate) fn moved_from(account: Address, events: Vec<Event>) -> Vec<(Address, Amount)> {
    let paid = events.into_iter().filter_map(|event| match event {
        Event::Moved { from, to, amount } if from == account => Some((to, amount)),
        _ => None,
    });
    let mut paid: Vec<(Address, Amount)> = paid.collect();
    paid.sort();
    paid
}

/// The key of a node with a number.
pub(crate) fn node_secret(number: u64) -> NodeSecret {
    NodeSecret::new(keccak256(&number.to_le_bytes()).0)
}

pub(crate) fn unregister_node(number: u64) -> Action {
    Action::UnregisterNode(UnregisterNode { node_key: node_secret(number).key() })
}

pub(crate) fn proposal(measures: Vec<Measure>) -> Action {
    let measures = List::new(measures).unwrap();
    Action::Propose(Propose { title: text("a proposal"), text: None, measures })
}

pub(crate) fn vote(proposal: u64, choice: Choice) -> Action {
    Action::Vote(Vote { proposal, choice })
}

pub(crate) fn transfer(to: &str, amount: &str) -> Action {
    Action::Transfer(Transfer { to: address(to), amount: credits(amount), note: text("") })
}

pub(crate) fn set(parameter: Parameter, value: u64) -> Measure {
    Measure::SetParameter(SetParameter { parameter, value })
}

pub(crate) fn makers(shares: &[(&str, u32)]) -> List<Share, MAKERS_MAX> {
    let share = |&(name, parts): &(&str, u32)| Share { account: address(name), parts };
    List::new(shares.iter().map(share).collect()).unwrap()
}

pub(crate) fn register(work: &str, shares: &[(&str, u32)], parents: &[(&str, u32)]) -> Action {
    let parent = |&(name, parts): &(&str, u32)| Parent { work: cid(name), parts };
    Action::Register(Register {
        kind: types::word::WorkKind::Model,
        work: cid(work),
        name: text(work),
        licence: text("Apache-2.0"),
        terms: None,
        makers: makers(shares),
        parents: List::new(parents.iter().map(parent).collect()).unwrap(),
    })
}

pub(crate) fn pay(work: &str, worker: &str, amount: &str) -> Action {
    let (work, worker) = (cid(work), address(worker));
    Action::PayForUse(PayForUse { work, worker, amount: credits(amount) })
}
