//! Proposes blocks that break a rule, under its own name and with its own signature.
//!
//! Invariants: a block's name is that of its header, so that only checking the block can tell, but for
//! the lie that is about the name.
//!
//! Not here: two good blocks (`equivocator`).

use chain::block::{Block, certificate_hash, orders_root};
use consensus::simulated::message::{Proposed, Spoken, propose, read};
use types::agreement::{Statement, Step};
use types::bounded::List;
use types::codec::encode;
use types::id::Hash;

use crate::byzantine::{Around, Behaviour, Held, Sent};

/// Ways to break a block.
const WAYS: u64 = 14;
/// Far more than a block may be ahead, in milliseconds.
const HOUR: u64 = 3_600_000;

/// An invalid proposer.
#[derive(Debug, Default)]
pub struct InvalidProposer {
    held: Held,
}

/// Breaks a block; none if it has nothing to break in this way.
fn broken(way: u64, block: &mut Block) -> Option<()> {
    let header = &mut block.header;
    match way {
        0 => header.state.0[0] ^= 1,
        1 => header.time = header.time.saturating_add(HOUR),
        2 => header.time = header.time.saturating_sub(HOUR),
        3 => header.parent.0[31] ^= 1,
        4 => header.version += 1,
        5 => header.height.0 += 1,
        6 => header.validators.0[7] ^= 1,
        7 => {
            block.certificate.as_ref()?;
            block.certificate = None;
        }
        8 => {
            let certificate = block.certificate.as_mut()?;
            let few = certificate.seals.as_slice().iter().take(1).cloned().collect();
            certificate.seals = List::new(few).ok()?;
        }
        9 => {
            let mut orders = block.orders.as_slice().to_vec();
            let first = orders.first()?.clone();
            orders.push(first);
            block.orders = List::new(orders).ok()?;
        }
        10 => {
            let mut orders = block.orders.as_slice().to_vec();
            orders.first_mut()?.order.nonce.0 += 1;
            block.orders = List::new(orders).ok()?;
        }
        11 => header.randomness.0[79] ^= 1,
        _ => header.proposer = Hash([9; 32]),
    }
    block.header.orders = orders_root(block.orders.as_slice());
    block.header.certificate = certificate_hash(&block.certificate);
    Some(())
}

fn lie(around: &mut Around<'_>, said: &Statement) -> Option<Proposed> {
    let way = around.rng.below(WAYS);
    let made = around.ledger.chain().propose(around.now, around.secret).ok()?;
    let (height, round) = (said.height, said.round);
    if way + 1 == WAYS {
        // Bytes that are no block, or another's name.
        let bytes = if around.rng.chance(50) { vec![7; 99] } else { made.bytes };
        return Some(Proposed { height, round, id: Hash([5; 32]), bytes });
    }
    let mut block = Block::decode(&made.bytes).ok()?;
    broken(way, &mut block)?;
    Some(Proposed { height, round, id: block.header.id(), bytes: encode(&block) })
}

impl Behaviour for InvalidProposer {
    fn send(&mut self, around: &mut Around<'_>, message: &[u8]) -> Vec<Sent> {
        match read(around.network, message) {
            Spoken::Statement(said, _) if said.step == Step::Propose => {
                let block = lie(around, &said).filter(|_| around.rng.chance(85));
                let lie = block.and_then(|it| propose(around.network, &it, around.secret).ok());
                self.held.release(lie, message)
            }
            Spoken::Piece => self.held.hold(message),
            _ => vec![Sent::to_all(message.to_vec())],
        }
    }
}
