//! Sends more orders than anyone can use: garbage, orders without a good signature, and orders that are
//! far ahead of their account's nonce.
//!
//! Invariants: it signs only for the members who lend it their keys.
//!
//! Not here: two orders with one nonce (`double_spender`).

use consensus::simulated::message::gossip;
use types::amount::{Amount, Height, Nonce};
use types::bounded::Text;
use types::envelope::{Order, Signed};
use types::signature::Signature;
use types::transaction::{Action, Transfer};

use crate::byzantine::{Around, Behaviour, Sent};
use crate::node::batch;

/// Orders of one flood without a good signature: their check is all that they cost.
const UNSIGNED: u64 = 6;

/// A mempool flooder.
#[derive(Debug, Default)]
pub struct MempoolFlooder {
    count: u64,
}

impl MempoolFlooder {
    fn order(&self, around: &mut Around<'_>, ahead: u64) -> Order {
        let account = around.people.someone(around.rng);
        let to = around.people.someone(around.rng);
        let next = around.ledger.chain().state().nonce(&account);
        let amount = Amount::new(1 + around.rng.below(1 << 40)).unwrap_or(Amount::ZERO);
        let note = Text::new(&format!("flood {}", around.rng.number())).unwrap_or_default();
        let action = Action::Transfer(Transfer { to, amount, note });
        let valid_until = Height(around.rng.below(1 << 30));
        Order { account, nonce: Nonce(next.0 + ahead), valid_until, action }
    }
}

impl Behaviour for MempoolFlooder {
    fn send(&mut self, _around: &mut Around<'_>, message: &[u8]) -> Vec<Sent> {
        vec![Sent::to_all(message.to_vec())]
    }

    fn tick(&mut self, around: &mut Around<'_>) -> Vec<Sent> {
        let mut orders = vec![];
        for _ in 0..UNSIGNED {
            let (order, mut signature) = (self.order(around, 0), [0; 65]);
            signature.fill_with(|| around.rng.number() as u8);
            orders.push(Signed { order, signature: Signature(signature) });
        }
        for ahead in [1, 3, 63, 64, 1 << 40] {
            let order = self.order(around, ahead);
            orders.extend(around.people.sign(order));
        }
        let twice = orders.last().cloned();
        orders.extend(twice);
        let garbage: Vec<u8> = (0..around.rng.below(2000)).map(|at| (at % 251) as u8).collect();
        let mut sent = vec![];
        for bytes in [batch(orders), garbage] {
            self.count += 1;
            sent.extend(gossip(self.count, bytes).ok().map(Sent::to_all));
        }
        sent
    }
}
