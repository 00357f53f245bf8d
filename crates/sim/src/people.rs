//! The members of a simulated network, and what they do.
//!
//! Invariants: each transfer has a note that no other has, so that it can be counted; whoever does not
//! mean to cheat uses the next nonce.
//!
//! Not here: how orders reach nodes (`world`).

use std::sync::Arc;

use chain::chain::Chain;
use ledger::genesis::{Founder, Genesis};
use types::amount::{Amount, Blocks, Height, Nonce};
use types::bounded::{List, Text};
use types::envelope::{Order, Signed};
use types::id::{Address, Cid, Hash, keccak256};
use types::measure::{AdmitValidator, Measure, Parameter, SetParameter};
use types::node_key::{NodeSecret, NodeSigned};
use types::signature::Secret;
use types::transaction::{
    Action, CloseChannel, Consent, Delegate, Give, NO_NODE, OpenChannel, PayForUse, Propose,
    Register, RegisterNode, Share, TopUpChannel, Transfer, Undelegate, UnregisterNode, Vote,
};
use types::word::{Choice, Fund, Policy, Tier, WorkKind};

use crate::random::Random;

/// The members.
const NAMES: [&str; 5] = ["amal", "badr", "dina", "hadi", "layla"];
/// Works that are registered and paid for.
const WORKS: u64 = 3;
/// Old orders that are kept to be sent again, at most.
const OLD_MAX: usize = 32;
/// Milliseconds between blocks.
const INTERVAL: u32 = 400;
/// Blocks from one snapshot to the next.
const SNAPSHOT_BLOCKS: u32 = 4;
/// Parameters that make votes short.
const QUICK: [(Parameter, u64); 8] = [
    (Parameter::EpochBlocks, 5),
    (Parameter::PeriodEpochs, 2),
    (Parameter::OrdinaryVoting, 2),
    (Parameter::OrdinaryTimelock, 1),
    (Parameter::ParameterVoting, 2),
    (Parameter::ParameterTimelock, 1),
    (Parameter::ConstitutionVoting, 2),
    (Parameter::ConstitutionTimelock, 1),
];
/// Parameters that the members vote about.
const VOTED: [Parameter; 4] = [
    Parameter::FeeFlat,
    Parameter::TreasuryParts,
    Parameter::ReserveParts,
    Parameter::ProposalDeposit,
];

/// The members of one network.
#[derive(Clone, Debug)]
pub struct People {
    keys: Arc<Vec<(Address, Secret)>>,
    network: Hash,
}

/// What the members do.
#[derive(Clone, Debug)]
pub struct Workload {
    people: People,
    transfers: u64,
    /// Old orders, which someone may send again.
    old: Vec<Signed>,
}

fn text<const MAX: usize>(text: &str) -> Text<MAX> {
    Text::new(text).unwrap_or_default()
}

fn list<T, const MAX: usize>(items: Vec<T>) -> List<T, MAX> {
    List::new(items).unwrap_or_default()
}

fn work(number: u64) -> Cid {
    Cid::raw(keccak256(format!("work {number}").as_bytes()))
}

fn key(name: &str) -> (Address, Secret) {
    let secret = Secret::new(keccak256(name.as_bytes()).0).expect("a hash is a key but for luck");
    (secret.address(), secret)
}

/// What a network of these nodes begins with.
#[must_use]
pub fn genesis(nodes: &[NodeSecret]) -> Genesis {
    let people: Vec<Address> = NAMES.iter().map(|name| key(name).0).collect();
    let founder =
        |(name, account): (&&str, &Address)| Founder { account: *account, name: text(name) };
    let validator = |(node, account): (&NodeSecret, &Address)| AdmitValidator {
        node_key: node.key(),
        account: *account,
        power: 1,
    };
    let set = |&(parameter, value): &(Parameter, u64)| SetParameter { parameter, value };
    Genesis {
        name: text("simulated"),
        made: 0,
        interval: INTERVAL,
        snapshot_blocks: SNAPSHOT_BLOCKS,
        policy: Policy::Mutual,
        constitution: None,
        founders: list(NAMES.iter().zip(&people).map(founder).collect()),
        validators: list(nodes.iter().zip(people.iter().cycle()).map(validator).collect()),
        parameters: list(QUICK.iter().map(set).collect()),
        cashier: None,
    }
}

impl People {
    /// The members of a network.
    #[must_use]
    pub fn new(network: Hash) -> People {
        People { keys: Arc::new(NAMES.iter().map(|name| key(name)).collect()), network }
    }

    /// A member's account.
    pub fn someone(&self, rng: &mut Random) -> Address {
        self.keys[rng.index(self.keys.len())].0
    }

    /// An order signed by its account's own key; none if it is nobody's here.
    #[must_use]
    pub fn sign(&self, order: Order) -> Option<Signed> {
        let (_, secret) = self.keys.iter().find(|(address, _)| *address == order.account)?;
        Some(order.sign(secret, &self.network))
    }

    /// Two transfers of one account's whole means with one nonce.
    pub fn double_spend(
        &self,
        rng: &mut Random,
        nonce: impl Fn(&Address) -> Nonce,
        note: &str,
    ) -> Vec<Signed> {
        let account = self.someone(rng);
        let nonce = nonce(&account);
        let mut orders = vec![];
        for place in ["here", "there"] {
            let to = self.someone(rng);
            let amount = Amount::new(60_000_000 + rng.below(1000)).unwrap_or(Amount::ZERO);
            let note = text(&format!("{note} {place}"));
            let action = Action::Transfer(Transfer { to, amount, note });
            let order = Order { account, nonce, valid_until: Height(1 << 40), action };
            orders.extend(self.sign(order));
        }
        orders
    }
}

impl Workload {
    /// Members who have done nothing yet.
    #[must_use]
    pub fn new(people: People) -> Workload {
        Workload { people, transfers: 0, old: vec![] }
    }

    /// What someone does next, as a node with this chain knows it.
    pub fn next(&mut self, rng: &mut Random, chain: &mut Chain) -> Vec<Signed> {
        if rng.chance(6) && !self.old.is_empty() {
            return vec![self.old[rng.index(self.old.len())].clone()];
        }
        let orders = self.fresh(rng, chain);
        let room = OLD_MAX.saturating_sub(self.old.len());
        self.old.extend(orders.iter().take(room).cloned());
        orders
    }

    fn fresh(&mut self, rng: &mut Random, chain: &mut Chain) -> Vec<Signed> {
        let people = self.people.clone();
        let next = |chain: &mut Chain, account: &Address| {
            let waiting = chain.pool().next_nonce(account);
            waiting.unwrap_or_else(|| chain.state().nonce(account))
        };
        if rng.chance(8) {
            self.transfers += 1;
            let note = format!("double {}", self.transfers);
            let nonces: Vec<(Address, Nonce)> =
                people.keys.iter().map(|(account, _)| (*account, next(chain, account))).collect();
            let of = |account: &Address| {
                nonces.iter().find(|(it, _)| it == account).map_or(Nonce(0), |(_, nonce)| *nonce)
            };
            return people.double_spend(rng, of, &note);
        }
        let open = chain.state().all_proposals().next_back();
        let open = open.map(|(number, proposal)| (*number, proposal.closes));
        let now = chain.state().now();
        // A vote is short, so that members go and vote while there is one.
        if let Some((proposal, closes)) = open
            && closes >= now
            && rng.chance(70)
        {
            let mut orders = vec![];
            for (account, _) in people.keys.iter() {
                if rng.chance(45) {
                    continue;
                }
                let choice = rng.of(&[Choice::Yes, Choice::Yes, Choice::Yes, Choice::No]);
                let action = Action::Vote(Vote { proposal, choice });
                let nonce = next(chain, account);
                let order = Order { account: *account, nonce, valid_until: closes, action };
                orders.extend(people.sign(order));
            }
            return orders;
        }
        let account = people.someone(rng);
        let action = self.action(rng, chain);
        let nonce = next(chain, &account);
        let valid_until = now.after(200);
        people.sign(Order { account, nonce, valid_until, action }).into_iter().collect()
    }

    fn action(&mut self, rng: &mut Random, chain: &mut Chain) -> Action {
        let to = self.people.someone(rng);
        let amount = Amount::new(1 + rng.below(9_000_000)).unwrap_or(Amount::ZERO);
        match rng.below(16) {
            0..5 => {
                self.transfers += 1;
                let note = text(&format!("payment {}", self.transfers));
                Action::Transfer(Transfer { to, amount, note })
            }
            5..9 => {
                let parameter = rng.of(&VOTED);
                let value = rng.between(60, 200);
                let set = Measure::SetParameter(SetParameter { parameter, value });
                let (title, measures) = (text("set a parameter"), list(vec![set]));
                Action::Propose(Propose { title, text: None, measures })
            }
            9 | 10 => {
                let (topic, expires) = (Tier::Parameter, chain.state().now().after(rng.below(9)));
                Action::Delegate(Delegate { topic, to, expires })
            }
            11 => Action::Undelegate(Undelegate { topic: Tier::Parameter }),
            12 => self.register(rng, to),
            13 => Action::PayForUse(PayForUse { work: work(rng.below(WORKS)), worker: to, amount }),
            14 => match rng.below(3) {
                0 => Action::OpenChannel(OpenChannel {
                    payee: to,
                    amount,
                    timeout: Blocks(10),
                    node: NO_NODE,
                }),
                1 => Action::TopUpChannel(TopUpChannel { channel: 1 + rng.below(2), amount }),
                _ => Action::CloseChannel(CloseChannel { channel: 1 + rng.below(2) }),
            },
            // Whose node it is does not change what else happens by chance.
            _ if amount.millionths().is_multiple_of(3) => self.register_node(to, chain),
            _ => Action::Give(Give { fund: Fund::Commons, amount }),
        }
    }

    /// A node consents to be someone's, who need not be whoever asks; a node that is registered is
    /// unregistered.
    fn register_node(&self, account: Address, chain: &mut Chain) -> Action {
        let node = NodeSecret::new(keccak256(&account.0).0);
        let (node_key, until) = (node.key(), chain.state().now().after(5));
        if chain.state().node(&node_key).is_some() {
            return Action::UnregisterNode(UnregisterNode { node_key });
        }
        let network = self.people.network;
        let consent = Consent { network, account, node_key, until }.sign(&node);
        Action::RegisterNode(RegisterNode { node_key, until, consent })
    }

    fn register(&self, rng: &mut Random, to: Address) -> Action {
        Action::Register(Register {
            kind: WorkKind::Model,
            work: work(rng.below(WORKS)),
            name: text("a model"),
            licence: text("Apache-2.0"),
            terms: None,
            makers: list(vec![Share { account: to, parts: 1 }]),
            parents: List::default(),
        })
    }
}
