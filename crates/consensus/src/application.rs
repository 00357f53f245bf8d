//! What agreement needs of that which is agreed on.
//!
//! Invariants: agreement knows a block by its name and carries its bytes; what they mean is the
//! application's.
//!
//! Not here: any application.

use std::time::Duration;

use types::agreement::Certificate;
use types::evidence::Evidence;
use types::id::Hash;
use types::node_key::NodeSecret;

/// What is agreed on, for one node. Times are milliseconds since 1970 by the node's clock.
pub trait Application: Send + 'static {
    /// The last committed block's height; 0 before the first block.
    fn height(&self) -> u64;

    /// The lowest height whose block `decided` still has.
    fn first(&self) -> u64;

    /// When the next block may be begun.
    fn due(&self) -> u64;

    /// How long a height lasts, at least: late votes of the block before are gathered until then.
    fn interval(&self) -> Duration;

    /// Who decides the next block, ascending by key, at least one. Every node gives the same.
    fn validators(&self) -> Vec<Validator>;

    /// Makes a block for the next height, as the validator with this key.
    ///
    /// # Errors
    ///
    /// When the node cannot go on.
    fn propose(&mut self, time: u64, secret: &NodeSecret) -> Result<Proposal, Fault>;

    /// Reads what a block's bytes say of themselves, which its name covers. It need not be good.
    fn read(&self, bytes: &[u8]) -> Option<Outline>;

    /// Checks a block for the next height by executing it.
    ///
    /// # Errors
    ///
    /// When the block may not be decided, or the node cannot go on.
    fn check(&mut self, time: u64, bytes: &[u8]) -> Result<Hash, Unfit>;

    /// Makes a block final. It is on the disk when this returns. Whatever its time, it was decided, so
    /// that only one that breaks the rules is a reason not to go on.
    ///
    /// # Errors
    ///
    /// When the node cannot go on.
    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault>;

    /// Takes in a certificate of the last committed block that may have more seals than the one that
    /// decided it.
    fn certify(&mut self, certificate: Certificate);

    /// A committed block and its certificate, for a node that catches up.
    ///
    /// # Errors
    ///
    /// When the node cannot go on.
    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault>;

    /// Takes in what another node sent with `Gossip::send`. Returns at once.
    fn received(&mut self, gossip: Vec<u8>);

    /// Takes in the proof that a validator contradicted itself, which is not checked.
    fn accuse(&mut self, evidence: Evidence);
}

/// A block for others to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its name.
    pub id: Hash,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// What a block's bytes say of themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// The block's name.
    pub id: Hash,
    /// Its height.
    pub height: u64,
    /// The node key of the validator that made it.
    pub proposer: Hash,
}

/// One who decides blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validator {
    /// The node's key.
    pub key: Hash,
    /// Its votes.
    pub power: u32,
    /// Whether it is passed over when a proposer is chosen, since it was absent.
    pub rests: bool,
}

/// The node cannot go on, and why: its disk failed, or a block was decided that breaks the rules.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// Why a block was not found good.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It may not follow the tip.
    #[error("{0}")]
    Rejected(String),
    /// It could not be checked.
    #[error(transparent)]
    Fault(#[from] Fault),
}
