//! Says one thing to half of the nodes and another to the rest.
//!
//! As a proposer it sends two blocks; at each step it votes for one of them on either side, or for a
//! block here and for none there. Equivocators of one run act together, and lend each other their keys.
//!
//! Invariants: every message is signed as it should be, so that only its double can convict it.
//!
//! Not here: what it could do beyond its own key.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use consensus::simulated::message::{Proposed, Spoken, propose, read, say};
use types::agreement::{Statement, Step};
use types::id::Hash;
use types::node_key::NodeSecret;

use crate::byzantine::{Around, Behaviour, Held, Sent};

/// What the equivocators of a run have agreed to say.
#[derive(Clone, Debug, Default)]
pub struct Plot(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    /// Which nodes hear the first of two statements.
    first_side: Vec<bool>,
    /// The keys of all who take part.
    secrets: Vec<NodeSecret>,
    /// The two blocks of a height and round.
    blocks: BTreeMap<(u64, u32), (Hash, Hash)>,
}

impl Plot {
    /// A plot of those with these keys against nodes that hear the first statement, or the second.
    #[must_use]
    pub fn new(first_side: Vec<bool>, secrets: Vec<NodeSecret>) -> Plot {
        Plot(Arc::new(Mutex::new(Inner { first_side, secrets, blocks: BTreeMap::new() })))
    }

    fn secrets(&self) -> Vec<NodeSecret> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).secrets.clone()
    }

    fn is_first(&self, node: usize) -> bool {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.first_side.get(node).copied().unwrap_or(true)
    }

    fn blocks(&self, height: u64, round: u32) -> Option<(Hash, Hash)> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.blocks.get(&(height, round)).copied()
    }

    fn set(&self, height: u64, round: u32, blocks: (Hash, Hash)) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        inner.blocks.insert((height, round), blocks);
    }
}

/// An equivocator.
#[derive(Debug)]
pub struct Equivocator {
    plot: Plot,
    held: Held,
}

impl Equivocator {
    /// One of a plot.
    #[must_use]
    pub fn new(plot: Plot) -> Equivocator {
        Equivocator { plot, held: Held::default() }
    }

    /// Sends one message to one side and another to the other.
    fn split(&self, around: &Around<'_>, first: &[Vec<u8>], second: &[Vec<u8>]) -> Vec<Sent> {
        let mut sent = vec![];
        for node in 0..around.count {
            let messages = if self.plot.is_first(node) { first } else { second };
            sent.extend(messages.iter().map(|bytes| Sent::to(node, bytes.clone())));
        }
        sent
    }

    fn propose_two(&self, around: &Around<'_>, said: &Statement) -> Option<Vec<Sent>> {
        if said.earlier.is_some() {
            return None;
        }
        let (height, round) = (said.height, said.round);
        let make = |time: u64| {
            let made = around.ledger.chain().propose(time, around.secret).ok()?;
            Some(Proposed { height, round, id: made.id, bytes: made.bytes })
        };
        // The second one has another time, and so another name.
        let blocks = [make(around.now)?, make(around.now.saturating_add(777))?];
        let [first, second] = &blocks;
        self.plot.set(height.0, round, (first.id, second.id));
        let [one, two] = blocks
            .each_ref()
            .map(|it| propose(around.network, it, around.secret).unwrap_or_default());
        // The others of the plot vote at once, whatever they have seen.
        let with_votes = |mut messages: Vec<Vec<u8>>, block: Hash| {
            for secret in self.plot.secrets() {
                messages.extend(votes(
                    said,
                    &[Step::Prevote, Step::Precommit],
                    Some(block),
                    &secret,
                ));
            }
            messages
        };
        let (one, two) = (with_votes(one, first.id), with_votes(two, second.id));
        Some(self.split(around, &one, &two))
    }

    fn vote_twice(&self, around: &Around<'_>, said: &Statement) -> Vec<Sent> {
        let plot = self.plot.blocks(said.height.0, said.round);
        let (first, second) = match plot {
            Some((first, second)) => (Some(first), Some(second)),
            None => (said.block, None),
        };
        // In a plot there is no waiting for what others say.
        let steps: &[Step] = match (plot, said.step) {
            (Some(_), Step::Prevote) => &[Step::Prevote, Step::Precommit],
            _ => &[said.step],
        };
        let votes = |block| votes(said, steps, block, around.secret);
        self.split(around, &votes(first), &votes(second))
    }
}

/// Votes for a block at some steps.
fn votes(
    said: &Statement,
    steps: &[Step],
    block: Option<Hash>,
    secret: &NodeSecret,
) -> Vec<Vec<u8>> {
    let vote = |step: &Step| {
        let statement = Statement { step: *step, block, earlier: None, ..said.clone() };
        say(&statement, secret).ok().flatten()
    };
    steps.iter().filter_map(vote).collect()
}

impl Behaviour for Equivocator {
    fn send(&mut self, around: &mut Around<'_>, message: &[u8]) -> Vec<Sent> {
        match read(around.network, message) {
            Spoken::Statement(said, by) if by == around.secret.key() => match said.step {
                Step::Propose => match self.propose_two(around, &said) {
                    Some(sent) => {
                        self.held = Held::default();
                        sent
                    }
                    None => self.held.release(None, message),
                },
                Step::Prevote | Step::Precommit => self.vote_twice(around, &said),
            },
            Spoken::Piece => self.held.hold(message),
            _ => vec![Sent::to_all(message.to_vec())],
        }
    }
}
