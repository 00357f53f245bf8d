//! A network of three founders, and its chain.

use chain::chain::Chain;
use chain::store::Store;
use ledger::genesis::{Founder, Genesis};
use redb::backends::InMemoryBackend;
use types::agreement::{Certificate, Seal, Statement, Step};
use types::amount::{Amount, Height, Nonce};
use types::bounded::{List, Text};
use types::envelope::{Order, Signed};
use types::evidence::Evidence;
use types::id::{Address, Hash, keccak256};
use types::measure::AdmitValidator;
use types::node_key::{NodeSecret, NodeSigned};
use types::signature::Secret;
use types::transaction::{Action, Transfer};
use types::word::Policy;

pub(crate) const NAMES: [&str; 3] = ["amal", "badr", "dina"];
/// The clock of these tests, in milliseconds.
pub(crate) const NOW: u64 = 1_700_000_000_000;

/// The only validator's key.
pub(crate) fn node() -> NodeSecret {
    NodeSecret::new([1; 32])
}

/// That the validator decided a block.
pub(crate) fn agreed(height: u64, block: Hash) -> Certificate {
    let seals = List::default();
    let mut certificate = Certificate { height: Height(height), round: 0, block, seals };
    let signature = certificate.statement(genesis(0).hash()).sign(&node());
    let seal = Seal { validator: node().key(), signature };
    certificate.seals = List::new(vec![seal]).unwrap();
    certificate
}

/// Two prevotes of a node at a height, for nothing and for a block.
pub(crate) fn prevotes(by: &NodeSecret, height: u64) -> Evidence {
    let (network, height, step) = (genesis(0).hash(), Height(height), Step::Prevote);
    let vote = |block: Option<Hash>| {
        let vote = Statement { network, height, round: 0, step, block, earlier: None };
        let signature = vote.sign(by);
        (vote, signature)
    };
    Evidence::new(by.key(), &vote(None), &vote(Some(network))).unwrap()
}

pub(crate) fn secret(name: &str) -> Secret {
    Secret::new(keccak256(name.as_bytes()).0).unwrap()
}

pub(crate) fn address(name: &str) -> Address {
    secret(name).address()
}

pub(crate) fn genesis(made: u64) -> Genesis {
    let founder = |name: &&str| Founder { account: address(name), name: Text::new(name).unwrap() };
    let validator = AdmitValidator { node_key: node().key(), account: address(NAMES[0]), power: 1 };
    Genesis {
        name: Text::new("test").unwrap(),
        made,
        interval: 1000,
        snapshot_blocks: 4,
        policy: Policy::Mutual,
        constitution: None,
        founders: List::new(NAMES.iter().map(founder).collect()).unwrap(),
        validators: List::new(vec![validator]).unwrap(),
        parameters: List::default(),
        cashier: None,
    }
}

pub(crate) fn open(store: Store) -> Chain {
    Chain::open(store, &genesis(0), 2).unwrap()
}

pub(crate) fn in_memory() -> Chain {
    open(Store::open_on(InMemoryBackend::new()).unwrap())
}

/// A transfer of so many millionths, signed for the network.
pub(crate) fn pay(from: &str, nonce: u64, to: &str, millionths: u64) -> Signed {
    let amount = Amount::new(millionths).unwrap();
    let action = Action::Transfer(Transfer { to: address(to), amount, note: Text::default() });
    order(from, nonce, action)
}

/// An order, signed for the network.
pub(crate) fn order(from: &str, nonce: u64, action: Action) -> Signed {
    let order = Order {
        account: address(from),
        nonce: Nonce(nonce),
        valid_until: Height(1_000_000),
        action,
    };
    order.sign(&secret(from), &genesis(0).hash())
}

/// Proposes and commits a block; its height.
pub(crate) fn block(chain: &mut Chain) -> u64 {
    let proposal = chain.propose(NOW, &node()).unwrap();
    let height = chain.tip().height.0 + 1;
    chain.commit(&agreed(height, proposal.id)).unwrap();
    chain.tip().height.0
}

pub(crate) fn balance(chain: &mut Chain, name: &str) -> i128 {
    chain.state().account(&address(name)).balance
}
