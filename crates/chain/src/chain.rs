//! The chain: tries blocks on the state, and makes the decided one durable.
//!
//! A block is executed when it is proposed or checked, on top of the last committed state; `commit`
//! makes that final, and anything else that is tried takes it back first.
//!
//! Invariants:
//! - The state at a height, and its root, follow from the genesis and the blocks alone.
//! - What `commit` has returned for survives any later failure; a block that was not committed leaves
//!   nothing.
//! - Every order of a block took effect: a proposer leaves out what the rules refuse, and a block that
//!   has such an order is rejected.
//!
//! Not here: who agrees on blocks, clocks, and how blocks and orders reach other nodes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;

use jmt::storage::TreeUpdateBatch;
use ledger::apply::{apply_verified, begin_block, convict, end_block, try_convict, try_verified};
use ledger::beacon;
use ledger::event::Event;
use ledger::genesis::Genesis;
use ledger::governance;
use ledger::refusal::Refusal;
use ledger::state::State;
use types::agreement::{Certificate, Uncertified, VALIDATORS_MAX};
use types::amount::Height;
use types::bounded::List;
use types::codec::{Malformed, decode, encode};
use types::envelope::{Signed, Verified};
use types::evidence::{EVIDENCE_SIZE_MAX, Evidence, Proven};
use types::id::{Cid, Hash};
use types::node_key::NodeSecret;
use types::vrf::{VrfOutput, VrfProof};

use crate::block::{
    BLOCK_SIZE_MAX, Block, DRIFT_MAX, EVIDENCE_MAX, Header, ORDERS_MAX, VERSION, certificate_hash,
    evidence_hash, orders_root, validators_hash,
};
use crate::error::{ChainError, Rejected};
use crate::pool::{NotAccepted, Pool};
use crate::snapshot::{Named, Snapshots};
use crate::store::{Changes, Decided, Store, StoreError, Writes};
use crate::tree;

/// Bytes that a block has beside its orders, at most: its header, a seal of each validator, and its
/// evidence.
const FRAME_SIZE: usize = 512 + 96 * VALIDATORS_MAX + EVIDENCE_MAX * EVIDENCE_SIZE_MAX;
/// Refused orders that are remembered, at most: for those who ask what became of theirs.
const REFUSED_MAX: usize = 4096;
/// Blocks after which a waiting order that the rules refuse is forgotten by those who have not proposed
/// it: a few, since the order before it may still be on its way to them.
const PATIENCE_BLOCKS: u64 = 4;
/// Waiting orders that are looked at so after each block, at most, every account's first before any
/// second; what is behind them is looked at when they are gone.
const LOOKS_MAX: usize = 256;
/// Threads that check signatures, at most; a block has work for no more.
const THREADS_MAX: usize = 64;

/// Node keys of validators and their powers, by key.
pub type Validators = List<(Hash, u32), VALIDATORS_MAX>;

/// The chain of one node.
#[derive(Debug)]
pub struct Chain {
    store: Store,
    /// After the last committed block, or after the candidate.
    state: State,
    tip: Tip,
    /// Who decided the tip.
    deciders: Validators,
    /// Who decides the block after it.
    next: Vec<(Hash, u32)>,
    /// Those of them that do not propose it, unless all rest.
    resting: BTreeSet<Hash>,
    /// That they did; none before the first block.
    certificate: Option<Certificate>,
    /// Milliseconds between blocks, at least.
    interval: u64,
    snapshots: Snapshots,
    /// Blocks that are kept; all if 0.
    blocks_kept: u64,
    candidate: Option<Candidate>,
    pool: Pool,
    /// Evidence that waits, by the accused: one for each, since a validator is convicted once.
    accusations: BTreeMap<Hash, Proven>,
    /// Orders that waited and were refused, the last ones.
    refused: VecDeque<(Hash, Refusal)>,
    threads: usize,
}

/// The last committed block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Its height; 0 before the first block.
    pub height: Height,
    /// Its name; the network's before the first block.
    pub id: Hash,
    /// Its time, in milliseconds since 1970.
    pub time: u64,
    /// The state's root.
    pub state: Hash,
}

/// An executed block that is not yet decided.
#[derive(Debug)]
struct Candidate {
    id: Hash,
    block: Block,
    bytes: Vec<u8>,
    /// Who decides it.
    deciders: Validators,
    changes: Changes,
    nodes: TreeUpdateBatch,
    events: Vec<Event>,
}

/// A block that is being made on the state.
#[derive(Debug, Default)]
struct Draft {
    /// Who decides it.
    deciders: Validators,
    certificate: Option<Certificate>,
    evidence: Vec<Evidence>,
    orders: Vec<Signed>,
    events: Vec<Event>,
}

/// Who makes a block, and what it adds to the beacon.
#[derive(Debug)]
struct Maker {
    key: Hash,
    randomness: VrfProof,
    output: VrfOutput,
}

/// A block for others to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Its name.
    pub id: Hash,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Chain {
    /// Opens a network's chain, or begins it. `threads` check signatures.
    ///
    /// # Errors
    ///
    /// When the file is of another network, is damaged, or fails, or the genesis breaks a rule.
    pub fn open(store: Store, genesis: &Genesis, threads: usize) -> Result<Chain, ChainError> {
        let network = genesis.hash();
        match store.genesis()? {
            None => begin(&store, genesis)?,
            Some(bytes) => {
                let found: Genesis = decode(&bytes)
                    .map_err(|error| StoreError::Damaged(format!("the genesis: {error}")))?;
                if found != *genesis {
                    return Err(ChainError::OtherNetwork {
                        found: found.hash(),
                        expected: network,
                    });
                }
            }
        }
        let entries = store.entries()?;
        let entries = entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
        let state = State::from_entries(entries)
            .map_err(|error| StoreError::Damaged(format!("the state: {error}")))?;
        let tip = tip(&store, network)?;
        if state.meta().height != tip.height {
            return Err(StoreError::Damaged("the state is of another block".to_owned()).into());
        }
        let (deciders, certificate) = last_agreement(&store, tip.height)?;
        let snapshots = Snapshots::open(&store, tip.height, genesis)?;
        let threads = threads.clamp(1, THREADS_MAX);
        let next = state.validators_at(tip.height.after(1));
        let resting = resting(&state, &next);
        Ok(Chain {
            store,
            state,
            tip,
            deciders,
            next,
            resting,
            certificate,
            interval: genesis.interval.into(),
            snapshots,
            blocks_kept: 0,
            candidate: None,
            pool: Pool::default(),
            accusations: BTreeMap::new(),
            refused: VecDeque::new(),
            threads,
        })
    }

    /// Keeps snapshots in a folder, and makes the one that is due after the tip.
    ///
    /// # Errors
    ///
    /// When the folder cannot be used.
    pub fn keep_snapshots(&mut self, folder: &Path) -> Result<(), StoreError> {
        self.snapshots.keep_in(folder)?;
        self.snapshot().map(drop)
    }

    /// The last snapshots that blocks name, oldest first.
    #[must_use]
    pub fn snapshots(&self) -> &[Named] {
        self.snapshots.named()
    }

    /// Keeps so many blocks from now on; 0 keeps all.
    ///
    /// # Errors
    ///
    /// When they are so few that nobody could begin from a snapshot.
    pub fn keep_blocks(&mut self, count: u64) -> Result<(), ChainError> {
        let min = self.snapshots.blocks_min();
        if count > 0 && count < min {
            return Err(ChainError::TooFewBlocks { count, min });
        }
        self.blocks_kept = count;
        Ok(())
    }

    /// The first block that is kept; 1 before there is one.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn first(&self) -> Result<Height, StoreError> {
        self.store.first().map(Height)
    }

    /// The last committed block.
    #[must_use]
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The network: the hash of its genesis.
    #[must_use]
    pub fn network(&self) -> Hash {
        self.state.meta().genesis
    }

    /// The state after the last committed block.
    pub fn state(&mut self) -> &State {
        self.discard();
        &self.state
    }

    /// Orders that wait.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// The file, for what has been committed.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Who decides the block after the tip: node keys and powers, by key. Whoever asks leaves the block
    /// that was tried as it is: it would have to be executed again.
    #[must_use]
    pub fn validators(&self) -> &[(Hash, u32)] {
        &self.next
    }

    /// Those of them that are passed over when a proposer is chosen.
    #[must_use]
    pub fn resting(&self) -> &BTreeSet<Hash> {
        &self.resting
    }

    /// Who decided the block at a height; none before the first block.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn validators_of(&self, height: Height) -> Result<Option<Validators>, StoreError> {
        let bytes = self.store.validators(height.0)?;
        let damaged = |error: Malformed| StoreError::Damaged(format!("the validators: {error}"));
        bytes.map(|bytes| decode(&bytes).map_err(damaged)).transpose()
    }

    /// When the next block may be, at the earliest, in milliseconds since 1970.
    #[must_use]
    pub fn due(&self) -> u64 {
        match self.tip.height.0 {
            0 => 1,
            _ => self.tip.time.saturating_add(self.interval),
        }
    }

    /// Takes in a certificate of the tip that has more seals than the one that decided it, so that the
    /// next block shows who else took part.
    pub fn certify(&mut self, certificate: Certificate) {
        let seals = |it: &Certificate| it.seals.as_slice().len();
        let is_fuller =
            self.certificate.as_ref().is_some_and(|old| seals(old) < seals(&certificate));
        if is_fuller && self.verify_agreement(&certificate).is_ok() {
            self.certificate = Some(certificate);
        }
    }

    /// Checks that the tip was decided.
    fn verify_agreement(&self, certificate: &Certificate) -> Result<(), Uncertified> {
        if (certificate.block, certificate.height) != (self.tip.id, self.tip.height) {
            return Err(Uncertified::OtherBlock);
        }
        certificate.verify(self.network(), self.deciders.as_slice())
    }

    /// Takes in evidence for a later block. Gives whether it is new.
    ///
    /// # Errors
    ///
    /// When the rules convict nobody by it.
    pub fn accuse(&mut self, proven: Proven) -> Result<bool, Refusal> {
        let accused = proven.evidence().validator;
        if self.accusations.contains_key(&accused) {
            return Ok(false);
        }
        try_convict(self.state(), &proven)?;
        self.accusations.insert(accused, proven);
        Ok(true)
    }

    /// Evidence that waits for a block.
    pub fn accusations(&self) -> impl Iterator<Item = &Evidence> {
        self.accusations.values().map(Proven::evidence)
    }

    /// Takes in an order for a later block, as `screen`, the check of its signature, and `admit` do one
    /// after the other.
    ///
    /// # Errors
    ///
    /// When the rules refuse it, or there is no place for it.
    pub fn submit(&mut self, signed: Signed) -> Result<Hash, NotAccepted> {
        if let Some(id) = self.screen(&signed)? {
            return Ok(id);
        }
        let verified = signed.verify(&self.network())?;
        self.admit(signed, verified)
    }

    /// Whether an order may come in, but for its signature, which many threads can check at once; its
    /// name if it waits already.
    ///
    /// # Errors
    ///
    /// When the rules refuse it, or there is no place for it.
    pub fn screen(&self, signed: &Signed) -> Result<Option<Hash>, NotAccepted> {
        self.pool.screen(&self.state, signed)
    }

    /// Takes in an order whose signature has been checked for this network. If it is the account's
    /// next, the rules are asked at once.
    ///
    /// # Errors
    ///
    /// When the rules refuse it, or there is no place for it.
    pub fn admit(&mut self, signed: Signed, verified: Verified) -> Result<Hash, NotAccepted> {
        // The state may be the candidate's, which nearly always is the next block's parent.
        if signed.order.nonce == self.state.nonce(&signed.order.account) {
            try_verified(&mut self.state, &verified)?;
        }
        self.pool.add(&self.state, signed, verified)
    }

    /// Whether the rules would accept an order if the next block had nothing but it. Nothing is kept.
    ///
    /// # Errors
    ///
    /// When they would not.
    pub fn dry_run(&mut self, verified: &Verified) -> Result<(), Refusal> {
        self.discard();
        try_verified(&mut self.state, verified)
    }

    /// What a proposal's measures would do if they were executed now; none if there is no such proposal.
    pub fn dry_run_proposal(&mut self, number: u64) -> Option<Result<Vec<Event>, Refusal>> {
        self.discard();
        let measures = self.state.proposal(number)?.measures.clone();
        Some(governance::dry_run(&mut self.state, measures.as_slice()))
    }

    /// Makes a block of the waiting orders that the rules accept, as the validator with this key.
    /// `time` is the clock's, in milliseconds since 1970; the block's is later if its parent was made
    /// too short a time ago.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn propose(&mut self, time: u64, secret: &NodeSecret) -> Result<Proposal, StoreError> {
        self.discard();
        let height = self.tip.height.after(1);
        let input = beacon::input(&self.state);
        let (randomness, output) = secret.prove(&input);
        let by = Maker { key: secret.key(), randomness, output };
        let mut draft = self.begin_draft(self.certificate.clone(), &by);
        for proven in self.accusations.values().take(EVIDENCE_MAX) {
            // One that no longer convicts is forgotten with the next block.
            if let Ok(more) = convict(&mut self.state, height, proven) {
                draft.events.extend(more);
                draft.evidence.push(proven.evidence().clone());
            }
        }
        let mut refused = vec![];
        let mut room = BLOCK_SIZE_MAX.saturating_sub(FRAME_SIZE);
        for waiting in self.pool.in_turn() {
            let size = usize::try_from(waiting.verified.size()).unwrap_or(usize::MAX);
            if draft.orders.len() >= ORDERS_MAX {
                break;
            }
            if size > room {
                // A large one waits, and does not hold up the small ones behind it.
                continue;
            }
            match apply_verified(&mut self.state, height, &waiting.verified) {
                Ok(more) => {
                    room = room.saturating_sub(size);
                    draft.events.extend(more);
                    draft.orders.push(waiting.signed.clone());
                }
                // It waits for an order before it.
                Err(Refusal::NonceTooHigh) => {}
                Err(refusal) => refused.push((waiting.verified.id(), refusal)),
            }
        }
        self.forget(refused);
        self.finish(time.max(self.due()), &by, draft)
    }

    /// Checks a block on the tip by executing it. `time` is the clock's.
    ///
    /// # Errors
    ///
    /// When the block may not follow the tip, or the file fails.
    pub fn check(&mut self, time: u64, bytes: &[u8]) -> Result<Hash, Rejected> {
        if let Some(candidate) = self.candidate.as_ref().filter(|it| it.bytes == bytes) {
            return Ok(candidate.id);
        }
        self.discard();
        let block = Block::decode(bytes)?;
        let before = time.saturating_add(DRIFT_MAX);
        let Header { time, proposer: key, randomness, .. } = block.header;
        let after = self.due();
        if time < after || time > before {
            return Err(Rejected::Time { time, after, before });
        }
        if !self.next.iter().any(|(validator, _)| *validator == key) {
            return Err(Rejected::Header { field: "proposer" });
        }
        let output = randomness.verify(&key, &beacon::input(&self.state));
        let output = output.ok_or(Rejected::Header { field: "randomness" })?;
        let by = Maker { key, randomness, output };
        match &block.certificate {
            None if self.tip.height.0 == 0 => {}
            Some(certificate) if self.tip.height.0 > 0 => self.verify_agreement(certificate)?,
            _ => return Err(Rejected::Header { field: "parent's certificate" }),
        }
        let draft = self.execute(&block, &by).inspect_err(|_| self.state.undo())?;
        let found = self.finish(time, &by, draft)?;
        if found.bytes != bytes {
            let field = self
                .candidate
                .as_ref()
                .map_or("header", |candidate| differing(&candidate.block.header, &block.header));
            self.discard();
            return Err(Rejected::Header { field });
        }
        Ok(found.id)
    }

    /// Makes the block that was tried last final, with the certificate that it was decided. It is on
    /// the disk when this returns.
    ///
    /// # Errors
    ///
    /// When another block was tried, the certificate is not one, or the file fails; the chain is then
    /// as before. When the block is committed but the snapshot that is due after it cannot be written;
    /// no block can follow until it can.
    pub fn commit(&mut self, certificate: &Certificate) -> Result<Vec<Event>, ChainError> {
        let id = certificate.block;
        let Some(candidate) = self.candidate.take_if(|candidate| candidate.id == id) else {
            return Err(ChainError::NotTried { id });
        };
        let agreed = match certificate.height == candidate.block.header.height {
            true => {
                certificate.verify(candidate.block.header.network, candidate.deciders.as_slice())
            }
            false => Err(Uncertified::OtherBlock),
        };
        if let Err(error) = agreed {
            self.state.undo();
            return Err(ChainError::NotDecided { id, error });
        }
        let is_same = candidate.deciders == self.deciders && self.tip.height.0 > 0;
        let (validators, sealed) = (encode(&candidate.deciders), certificate.encode());
        let orders: Vec<Hash> = candidate.block.orders.as_slice().iter().map(Signed::id).collect();
        let header = &candidate.block.header;
        let writes = Writes {
            height: header.height.0,
            block: &candidate.bytes,
            certificate: &sealed,
            validators: (!is_same).then_some(validators.as_slice()),
            orders: &orders,
            changes: &candidate.changes,
            nodes: &candidate.nodes,
            first: self.first_kept(header.height),
        };
        if let Err(error) = self.store.write(&writes) {
            self.state.undo();
            return Err(error.into());
        }
        self.state.seal();
        self.tip = Tip { height: header.height, id, time: header.time, state: header.state };
        self.deciders = candidate.deciders;
        self.next = self.state.validators_at(self.tip.height.after(1));
        self.resting = resting(&self.state, &self.next);
        self.certificate = Some(certificate.clone());
        self.pool.tidy(&self.state);
        self.forget_refused();
        let state = &self.state;
        self.accusations.retain(|_, proven| try_convict(state, proven).is_ok());
        self.snapshots.note(id, header.height, header.snapshot);
        self.snapshot()?;
        Ok(candidate.events)
    }

    /// A committed block and its certificate.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn decided(&self, height: Height) -> Result<Option<Decided>, StoreError> {
        self.store.decided(height.0)
    }

    /// Where an order took effect: its block and its place in it.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn order(&self, id: &Hash) -> Result<Option<(Height, u32)>, StoreError> {
        Ok(self.store.order(id)?.map(|(height, index)| (Height(height), index)))
    }

    /// Why an order that waited was refused, if it was lately.
    #[must_use]
    pub fn refusal(&self, id: &Hash) -> Option<Refusal> {
        let mut last = self.refused.iter().rev();
        last.find(|(refused, _)| refused == id).map(|(_, refusal)| *refusal)
    }

    /// Takes the candidate back.
    fn discard(&mut self) {
        if self.candidate.take().is_some() {
            self.state.undo();
        }
    }

    /// Forgets waiting orders, and keeps why.
    fn forget(&mut self, refused: Vec<(Hash, Refusal)>) {
        for (id, refusal) in refused {
            self.pool.forget(&id);
            if self.refused.len() >= REFUSED_MAX {
                self.refused.pop_front();
            }
            self.refused.push_back((id, refusal));
        }
    }

    /// Forgets orders that the rules refuse after `PATIENCE_BLOCKS` blocks: those who proposed them have
    /// forgotten them too, and the account's next order must not wait for a nonce that none will use.
    fn forget_refused(&mut self) {
        let (now, state) = (self.state.now(), &mut self.state);
        let waiting = self.pool.in_turn().take(LOOKS_MAX);
        let late = waiting.filter(|waiting| waiting.since.after(PATIENCE_BLOCKS) <= now);
        let refused = late.filter_map(|waiting| match try_verified(state, &waiting.verified) {
            // It waits for an order before it.
            Ok(()) | Err(Refusal::NonceTooHigh) => None,
            Err(refusal) => Some((waiting.verified.id(), refusal)),
        });
        let refused = refused.collect();
        self.forget(refused);
    }

    /// The snapshot that the block after the tip names, if it must.
    fn snapshot(&mut self) -> Result<Option<Cid>, StoreError> {
        let network = self.network();
        self.snapshots.of_tip(&self.store, network, &self.tip)
    }

    /// The first block that is kept once there is one of this height.
    fn first_kept(&self, height: Height) -> u64 {
        match self.blocks_kept {
            0 => 0,
            kept => height.0.saturating_add(1).saturating_sub(kept),
        }
    }

    /// Begins the next block on the state, with who sealed the tip by the tip's certificate.
    fn begin_draft(&mut self, certificate: Option<Certificate>, by: &Maker) -> Draft {
        let height = self.tip.height.after(1);
        let deciders = List::new(self.next.clone());
        let deciders: Validators = deciders.expect("the ledger admits no more validators");
        let seals = certificate.as_ref().map_or(&[][..], |it| it.seals.as_slice());
        let has_sealed = |key: &Hash| seals.iter().any(|seal| seal.validator == *key);
        let of_tip = self.deciders.as_slice().iter();
        let attendance: Vec<(Hash, bool)> =
            of_tip.map(|(key, _)| (*key, has_sealed(key))).collect();
        let events = begin_block(&mut self.state, height, &attendance, &by.output);
        let events = events.expect("the height is the next one");
        Draft { deciders, certificate, events, ..Draft::default() }
    }

    /// Executes the evidence and the orders of a block on the state.
    fn execute(&mut self, block: &Block, by: &Maker) -> Result<Draft, Rejected> {
        let network = self.network();
        let evidence = block.evidence.as_slice().iter().enumerate();
        let proven = evidence.map(|(index, it)| {
            it.clone().verify(&network).map_err(|error| Rejected::Unproven { index, error })
        });
        let proven = proven.collect::<Result<Vec<Proven>, Rejected>>()?;
        let verified = self.verify(block.orders.as_slice())?;
        let height = self.tip.height.after(1);
        let mut draft = self.begin_draft(block.certificate.clone(), by);
        for (index, proven) in proven.iter().enumerate() {
            let convicted = convict(&mut self.state, height, proven);
            draft
                .events
                .extend(convicted.map_err(|refusal| Rejected::Evidence { index, refusal })?);
        }
        for (index, verified) in verified.iter().enumerate() {
            let applied = apply_verified(&mut self.state, height, verified);
            draft.events.extend(applied.map_err(|refusal| Rejected::Order { index, refusal })?);
        }
        draft.evidence = block.evidence.as_slice().to_vec();
        draft.orders = block.orders.as_slice().to_vec();
        Ok(draft)
    }

    /// Ends the block whose orders have been applied, and keeps it as the candidate.
    fn finish(&mut self, time: u64, by: &Maker, draft: Draft) -> Result<Proposal, StoreError> {
        let Draft { deciders, certificate, evidence, orders, mut events } = draft;
        let height = self.tip.height.after(1);
        let evidence = List::new(evidence).expect("both callers keep to the limit of evidence");
        events.extend(end_block(&mut self.state, height).expect("the height is the next one"));
        let changes = self.state.changes();
        let updated =
            self.store.read().and_then(|read| Ok(tree::update(&read, height.0, &changes)?));
        let (root, nodes) = updated.inspect_err(|_| self.state.undo())?;
        let snapshot = self.snapshot();
        let snapshot = snapshot.inspect_err(|_| self.state.undo())?;
        let header = Header {
            version: VERSION,
            network: self.network(),
            height,
            parent: self.tip.id,
            time,
            proposer: by.key,
            randomness: by.randomness,
            state: root,
            orders: orders_root(&orders),
            validators: validators_hash(deciders.as_slice()),
            certificate: certificate_hash(&certificate),
            evidence: evidence_hash(&evidence),
            snapshot,
        };
        let orders = List::new(orders).expect("both callers keep to the limit of orders");
        let (id, block) = (header.id(), Block { header, certificate, evidence, orders });
        let bytes = encode(&block);
        let candidate =
            Candidate { id, block, bytes: bytes.clone(), deciders, changes, nodes, events };
        self.candidate = Some(candidate);
        Ok(Proposal { id, bytes })
    }

    /// Checks the signatures of orders that have not come through the pool.
    fn verify(&self, orders: &[Signed]) -> Result<Vec<Verified>, Rejected> {
        let network = self.network();
        let size = orders.len().div_ceil(self.threads).max(1);
        let verify = |part: usize, orders: &[Signed]| -> Result<Vec<Verified>, Rejected> {
            let first = part.saturating_mul(size);
            let verified =
                orders.iter().enumerate().map(|(index, order)| match self.pool.get(&order.id()) {
                    Some(waiting) => Ok(waiting.verified.clone()),
                    None => order.verify(&network).map_err(|error| Rejected::Signature {
                        index: first.saturating_add(index),
                        error,
                    }),
                });
            verified.collect()
        };
        let parts = std::thread::scope(|scope| {
            let verify = &verify;
            let parts = orders.chunks(size).enumerate();
            let threads: Vec<_> =
                parts.map(|(part, orders)| scope.spawn(move || verify(part, orders))).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().expect("checking a signature does not panic")
            };
            threads.into_iter().map(join).collect::<Result<Vec<_>, Rejected>>()
        })?;
        Ok(parts.concat())
    }
}

/// Writes the state before the first block.
fn begin(store: &Store, genesis: &Genesis) -> Result<(), ChainError> {
    let state = genesis.state().map_err(ChainError::Genesis)?;
    let changes = state.changes();
    let read = store.read()?;
    let (_, nodes) = tree::update(&read, 0, &changes).map_err(StoreError::from)?;
    store.begin(&encode(genesis), &changes, &nodes)?;
    Ok(())
}

/// Who decided the last block, and that they did.
fn last_agreement(
    store: &Store,
    height: Height,
) -> Result<(Validators, Option<Certificate>), StoreError> {
    if height.0 == 0 {
        return Ok((Validators::default(), None));
    }
    let damaged = || StoreError::Damaged(format!("the certificate of block {}", height.0));
    let deciders = store.validators(height.0)?.ok_or_else(damaged)?;
    let certificate = store.decided(height.0)?.ok_or_else(damaged)?.certificate;
    let deciders = decode(&deciders).map_err(|_| damaged())?;
    Ok((deciders, Some(Certificate::decode(&certificate).map_err(|_| damaged())?)))
}

/// The validators that rest.
fn resting(state: &State, validators: &[(Hash, u32)]) -> BTreeSet<Hash> {
    let keys = validators.iter().map(|(key, _)| *key);
    keys.filter(|key| state.validator(key).is_some_and(|it| state.rests(it))).collect()
}

fn tip(store: &Store, network: Hash) -> Result<Tip, StoreError> {
    let height = store.height()?;
    if height == 0 {
        let state = tree::root(&store.read()?, 0)?;
        return Ok(Tip { height: Height(0), id: network, time: 0, state });
    }
    let damaged = || StoreError::Damaged(format!("block {height}"));
    let decided = store.decided(height)?.ok_or_else(damaged)?;
    let header = Block::decode(&decided.block).map_err(|_| damaged())?.header;
    if header.network != network || tree::root(&store.read()?, height)? != header.state {
        return Err(damaged());
    }
    Ok(Tip { height: header.height, id: header.id(), time: header.time, state: header.state })
}

/// The first field in which two headers differ.
fn differing(expected: &Header, found: &Header) -> &'static str {
    let fields = [
        ("version", expected.version != found.version),
        ("network", expected.network != found.network),
        ("height", expected.height != found.height),
        ("parent", expected.parent != found.parent),
        ("state root", expected.state != found.state),
        ("root of orders", expected.orders != found.orders),
        ("hash of validators", expected.validators != found.validators),
        ("hash of the parent's certificate", expected.certificate != found.certificate),
        ("hash of the evidence", expected.evidence != found.evidence),
        ("snapshot", expected.snapshot != found.snapshot),
    ];
    fields.iter().find(|(_, differs)| *differs).map_or("header", |(field, _)| field)
}
