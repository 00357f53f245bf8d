//! Spends the same credits twice: in two places at once, and again in its own blocks.
//!
//! Invariants: each of its orders is signed by its account's own key.
//!
//! Not here: orders without a signature (`mempool_flooder`).

use chain::block::{Block, orders_root};
use consensus::simulated::message::{Proposed, Spoken, gossip, propose, read};
use types::agreement::{Statement, Step};
use types::amount::Height;
use types::bounded::List;
use types::codec::encode;

use crate::byzantine::{Around, Behaviour, Held, Sent};
use crate::node::batch;

/// A double spender.
#[derive(Debug, Default)]
pub struct DoubleSpender {
    count: u64,
    held: Held,
}

impl DoubleSpender {
    /// A block in which an order of an earlier block, or one of its own, is again.
    fn again(&self, around: &mut Around<'_>, said: &Statement) -> Option<Proposed> {
        let mut chain = around.ledger.chain();
        let earlier = 1 + around.rng.below(chain.tip().height.0);
        let made = chain.propose(around.now, around.secret).ok()?;
        let mut block = Block::decode(&made.bytes).ok()?;
        let decided = chain.decided(Height(earlier)).ok().flatten();
        let old = decided.and_then(|it| Block::decode(&it.block).ok());
        let old = old.and_then(|block| block.orders.as_slice().first().cloned());
        let mut orders = block.orders.as_slice().to_vec();
        let again = old.or_else(|| orders.first().cloned())?;
        orders.push(again);
        block.header.orders = orders_root(&orders);
        block.orders = List::new(orders).ok()?;
        let (height, round, id) = (said.height, said.round, block.header.id());
        Some(Proposed { height, round, id, bytes: encode(&block) })
    }
}

impl Behaviour for DoubleSpender {
    fn send(&mut self, around: &mut Around<'_>, message: &[u8]) -> Vec<Sent> {
        match read(around.network, message) {
            Spoken::Statement(said, _) if said.step == Step::Propose => {
                let block = self.again(around, &said).filter(|_| around.rng.chance(60));
                let lie = block.and_then(|it| propose(around.network, &it, around.secret).ok());
                self.held.release(lie, message)
            }
            Spoken::Piece => self.held.hold(message),
            _ => vec![Sent::to_all(message.to_vec())],
        }
    }

    fn tick(&mut self, around: &mut Around<'_>) -> Vec<Sent> {
        self.count += 1;
        let key = around.secret.key();
        let note = format!("{} {}", key.to_string().get(..10).unwrap_or_default(), self.count);
        let mut chain = around.ledger.chain();
        let state = chain.state();
        let orders = around.people.double_spend(around.rng, |account| state.nonce(account), &note);
        let mut sent = vec![];
        for order in orders {
            self.count += 1;
            let message = gossip(self.count, batch(vec![order])).unwrap_or_default();
            let told = (0..around.count).filter(|_| around.rng.chance(50));
            sent.extend(told.map(|node| Sent::to(node, message.clone())));
        }
        sent
    }
}
