//! Liars: nodes that are validators and keep to no rule.
//!
//! A liar runs the real node, and changes what leaves it; it can sign what it likes with its own key,
//! and with no other.
//!
//! Invariants: with fewer than a third of the validators lying, whatever they do, every check holds.
//!
//! Not here: rules that all nodes break (`flaw`).

pub mod double_spender;
pub mod equivocator;
pub mod invalid_proposer;
pub mod mempool_flooder;
pub mod stale_voter;
pub mod withholder;

use std::fmt;

use types::id::Hash;
use types::node_key::NodeSecret;

use crate::byzantine::equivocator::Plot;
use crate::node::Ledger;
use crate::people::People;
use crate::random::Random;

/// Kinds of liars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Says two things at once.
    Equivocator,
    /// Keeps to itself what others need.
    Withholder,
    /// Spends the same credits twice.
    DoubleSpender,
    /// Votes for what is long over.
    StaleVoter,
    /// Proposes blocks that break a rule.
    InvalidProposer,
    /// Sends more orders than anyone can use.
    MempoolFlooder,
}

/// What a liar knows.
#[derive(Debug)]
pub struct Around<'a> {
    /// The network.
    pub network: Hash,
    /// The liar's key.
    pub secret: &'a NodeSecret,
    /// How many nodes there are.
    pub count: usize,
    /// The time by its clock.
    pub now: u64,
    /// Its luck.
    pub rng: &'a mut Random,
    /// Its ledger.
    pub ledger: &'a Ledger,
    /// Members who lend it their keys.
    pub people: &'a People,
}

/// A message that a liar sends: to one node, or to all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The node's number.
    pub to: Option<usize>,
    /// The message.
    pub bytes: Vec<u8>,
}

impl Sent {
    fn to_all(bytes: Vec<u8>) -> Sent {
        Sent { to: None, bytes }
    }

    fn to(node: usize, bytes: Vec<u8>) -> Sent {
        Sent { to: Some(node), bytes }
    }
}

/// Pieces of a block that a liar's node wants to send before its proposal: the liar waits for the
/// proposal to know what to do with them.
#[derive(Debug, Default)]
struct Held(Vec<Vec<u8>>);

impl Held {
    fn hold(&mut self, piece: &[u8]) -> Vec<Sent> {
        self.0.push(piece.to_vec());
        vec![]
    }

    /// Sends what another block is made of, or else what was held, and the proposal.
    fn release(&mut self, lie: Option<Vec<Vec<u8>>>, proposal: &[u8]) -> Vec<Sent> {
        let mut held = std::mem::take(&mut self.0);
        held.push(proposal.to_vec());
        lie.unwrap_or(held).into_iter().map(Sent::to_all).collect()
    }
}

/// What a liar does.
pub trait Behaviour: fmt::Debug {
    /// What it sends in place of a message to all that an honest node would send.
    fn send(&mut self, around: &mut Around<'_>, message: &[u8]) -> Vec<Sent>;

    /// What it sends of its own accord, a few times a second.
    fn tick(&mut self, _around: &mut Around<'_>) -> Vec<Sent> {
        vec![]
    }

    /// Whether it answers who asks it for blocks.
    fn answers(&self) -> bool {
        true
    }
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] = [
        Kind::Equivocator,
        Kind::Withholder,
        Kind::DoubleSpender,
        Kind::StaleVoter,
        Kind::InvalidProposer,
        Kind::MempoolFlooder,
    ];

    /// The kind of a name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.to_string() == name)
    }

    /// A liar of this kind. Those of one run share a plot.
    #[must_use]
    pub fn behaviour(self, plot: &Plot) -> Box<dyn Behaviour> {
        match self {
            Kind::Equivocator => Box::new(equivocator::Equivocator::new(plot.clone())),
            Kind::Withholder => Box::new(withholder::Withholder),
            Kind::DoubleSpender => Box::new(double_spender::DoubleSpender::default()),
            Kind::StaleVoter => Box::new(stale_voter::StaleVoter::default()),
            Kind::InvalidProposer => Box::new(invalid_proposer::InvalidProposer::default()),
            Kind::MempoolFlooder => Box::new(mempool_flooder::MempoolFlooder::default()),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Kind::Equivocator => "equivocator",
            Kind::Withholder => "withholder",
            Kind::DoubleSpender => "double-spender",
            Kind::StaleVoter => "stale-voter",
            Kind::InvalidProposer => "invalid-proposer",
            Kind::MempoolFlooder => "mempool-flooder",
        })
    }
}
