//! Votes for what is long over: says again what it once said, votes in rounds that have passed, and for
//! blocks of heights that are decided.
//!
//! Invariants: every message is signed as it should be.
//!
//! Not here: two votes that differ between nodes (`equivocator`).

use consensus::simulated::message::{Spoken, read, say};
use types::agreement::{Statement, Step};
use types::amount::Height;

use crate::byzantine::{Around, Behaviour, Sent};

/// Messages that are said again, at most.
const SAID_MAX: usize = 64;

/// A stale voter.
#[derive(Debug, Default)]
pub struct StaleVoter {
    said: Vec<(Statement, Vec<u8>)>,
}

impl StaleVoter {
    fn stale(&self, around: &mut Around<'_>, now: &Statement) -> Option<Vec<u8>> {
        let (old, bytes) = self.said.get(around.rng.index(self.said.len()))?;
        let statement = match around.rng.below(5) {
            0 | 1 => return Some(bytes.clone()),
            // An old block at this height.
            2 => Statement { block: old.block, ..now.clone() },
            // This block in a round that has passed, or has not come.
            3 => Statement { round: around.rng.below(4) as u32, ..now.clone() },
            // At a height that is decided, or will be.
            _ => {
                let height = now.height.0.saturating_add(around.rng.below(4)).saturating_sub(2);
                Statement { height: Height(height), ..now.clone() }
            }
        };
        say(&statement, around.secret).ok().flatten()
    }
}

impl Behaviour for StaleVoter {
    fn send(&mut self, around: &mut Around<'_>, message: &[u8]) -> Vec<Sent> {
        let mut sent = vec![Sent::to_all(message.to_vec())];
        let Spoken::Statement(said, by) = read(around.network, message) else { return sent };
        if by != around.secret.key() || said.step == Step::Propose {
            return sent;
        }
        if let Some(stale) = self.stale(around, &said) {
            // At times the true vote is not sent at all.
            if around.rng.chance(30) {
                sent.clear();
            }
            sent.push(Sent::to_all(stale));
        }
        if self.said.len() < SAID_MAX {
            self.said.push((said, message.to_vec()));
        }
        sent
    }
}
