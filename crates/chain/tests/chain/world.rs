//! A network of three founders, and its chain.

use chain::chain::Chain;
use chain::store::Store;
use ledger::genesis::{Founder, Genesis};
use redb::backends::InMemoryBackend;
use types::amount::{Amount, Height, Nonce};
use types::bounded::{List, Text};
use types::envelope::{Order, Signed};
use types::id::{Address, Hash, keccak256};
use types::measure::AdmitValidator;
use types::signature::Secret;
use types::transaction::{Action, Transfer};
use types::word::Policy;

pub(crate) const NAMES: [&str; 3] = ["amal", "badr", "dina"];
pub(crate) const NODE: Hash = Hash([1; 32]);
/// The clock of these tests, in milliseconds.
pub(crate) const NOW: u64 = 1_700_000_000_000;

pub(crate) fn secret(name: &str) -> Secret {
    Secret::new(keccak256(name.as_bytes()).0).unwrap()
}

pub(crate) fn address(name: &str) -> Address {
    secret(name).address()
}

pub(crate) fn genesis(made: u64) -> Genesis {
    let founder = |name: &&str| Founder { account: address(name), name: Text::new(name).unwrap() };
    let validator = AdmitValidator { node_key: NODE, account: address(NAMES[0]), power: 1 };
    Genesis {
        name: Text::new("test").unwrap(),
        made,
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
    let proposal = chain.propose(NOW, NODE).unwrap();
    chain.commit(proposal.id, b"agreed").unwrap();
    chain.tip().height.0
}

pub(crate) fn balance(chain: &mut Chain, name: &str) -> i128 {
    chain.state().account(&address(name)).balance
}
