//! What happened in a run, as far as the checks want to know.
//!
//! Invariants: only what honest nodes did is here; what they acknowledged before a crash stays.
//!
//! Not here: whether it may happen (`check`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::genesis::Genesis;
use ledger::state::State;
use types::agreement::Certificate;
use types::id::Hash;

/// A block that an honest node has committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its name.
    pub id: Hash,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// That it was decided.
    pub certificate: Certificate,
    /// The time of the world when it was first committed, in milliseconds since 1970.
    pub at: u64,
}

/// One commit of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The node.
    pub node: usize,
    /// The height.
    pub height: u64,
    /// The block.
    pub id: Hash,
    /// The state's root afterwards.
    pub root: Hash,
}

/// What a node found on its disk when it started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The node.
    pub node: usize,
    /// The last height that it had acknowledged, and the block.
    pub acknowledged: (u64, Hash),
    /// The block of that height that it found, if any.
    pub found: Option<Hash>,
}

/// A run.
#[derive(Clone, Debug)]
pub struct Record {
    /// What the network began with.
    pub genesis: Genesis,
    /// The nodes' keys, by number, and whether each is honest.
    pub nodes: Vec<(Hash, bool)>,
    /// The time of the world, in milliseconds since 1970.
    pub now: u64,
    /// The blocks, as the first node committed them.
    pub blocks: BTreeMap<u64, Committed>,
    /// The state after each of them, as that node shows it.
    pub states: BTreeMap<u64, State>,
    /// All commits.
    pub commits: Vec<Commit>,
    /// Who was accused of contradicting itself.
    pub accused: Vec<Hash>,
    /// Nodes that could not go on, and why.
    pub stopped: Vec<(usize, String)>,
    /// Restarts.
    pub restarts: Vec<Restart>,
    /// Nodes that did not reach the height that they should have: theirs, and the one they should.
    pub late: Vec<(usize, u64, u64)>,
    /// Orders that wait in a pool at the end, and the account's next nonce is higher.
    pub spent_waiting: Vec<(usize, Hash)>,
}

/// A record that all nodes write to.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Mutex<Record>>);

impl Record {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(genesis: Genesis, nodes: Vec<(Hash, bool)>) -> Record {
        Record {
            genesis,
            nodes,
            now: 0,
            blocks: BTreeMap::new(),
            states: BTreeMap::new(),
            commits: vec![],
            accused: vec![],
            stopped: vec![],
            restarts: vec![],
            late: vec![],
            spent_waiting: vec![],
        }
    }
}

impl Shared {
    /// Shares a record.
    #[must_use]
    pub fn new(record: Record) -> Shared {
        Shared(Arc::new(Mutex::new(record)))
    }

    /// The record, for as long as the guard lives.
    pub fn get(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
