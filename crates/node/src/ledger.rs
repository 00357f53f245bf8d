//! The node's part in the members' ledger: its chain, the orders that come in, and who is told.
//!
//! Invariants:
//! - The chain is behind one lock, and no signature is checked while it is held.
//! - Orders of others wait in a bounded queue, and are dropped when it is full: whoever sent one sends
//!   it to every node, and keeps it until it is in a block.
//!
//! Not here: the rules (`ledger`), blocks (`chain`), who agrees (`consensus`), HTTP (`explorer`).

pub mod explorer;
pub mod genesis_file;
pub(crate) mod json;
pub mod node_key;
pub mod sync;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chain::block::Block;
use chain::chain::{Chain, Tip};
use chain::error::{ChainError, Rejected};
use chain::pool::NotAccepted;
use chain::store::{Store, StoreError};
use consensus::application::{Application, Fault, Outline, Proposal, Unfit, Validator};
use consensus::start::{GOSSIP_SIZE_MAX, Gossip, Options, Peer, Running, StartError, start};
use ledger::event::Event;
use ledger::genesis::Genesis;
use ledger::refusal::Refusal;
use ledger::state::State;
use tokio::sync::watch;
use types::agreement::{Certificate, VALIDATORS_MAX};
use types::amount::Height;
use types::bounded::List;
use types::codec::{Canonical, Malformed, Reader, decode, encode};
use types::envelope::Signed;
use types::evidence::Evidence;
use types::id::{Address, Cid, Hash};
use types::node_key::NodeSecret;

/// Messages of other nodes that wait for their signatures to be checked, at most.
const INBOX_MAX: usize = 64;
/// Orders of one message, at most: the shortest have about 160 bytes.
const BATCH_MAX: usize = 2048;
/// Orders that are taken in under one hold of the chain's lock, at most: about a millisecond.
const ADMIT_MAX: usize = 256;
/// Own orders that wait to be sent to other nodes, at most.
const OUTBOX_MAX: usize = 1 << 16;
/// How long orders are gathered before they are sent: every message costs each node the check of its
/// sender's signature, and an order waits for its block anyway.
const GATHER: Duration = Duration::from_millis(20);

/// Evidence that waits to be sent to other nodes, at most: one for each validator.
const ACCUSATIONS_MAX: usize = VALIDATORS_MAX;

/// The file of the chain, in the ledger's folder.
pub(crate) const FILE: &str = "ledger.redb";
/// The folder of snapshots, in the ledger's.
const SNAPSHOTS: &str = "snapshots";

/// Orders in one message to other nodes.
type Batch = List<Signed, BATCH_MAX>;

/// What nodes send each other beside blocks and votes. Specified in `docs/spec/block.md`, section 8.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    /// Orders for a later block.
    Orders(Batch),
    /// That a validator contradicted itself.
    Evidence(Box<Evidence>),
}

impl Canonical for Heard {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Heard::Orders(batch) => {
                out.push(0);
                batch.write(out);
            }
            Heard::Evidence(evidence) => {
                out.push(1);
                evidence.write(out);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match u8::read(reader)? {
            0 => Canonical::read(reader).map(Heard::Orders),
            1 => Evidence::read(reader).map(|it| Heard::Evidence(Box::new(it))),
            number => Err(Malformed::UnknownVariant { number }),
        }
    }
}

/// The ledger, as this node has it.
#[derive(Clone, Debug)]
pub struct Ledger {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    network: Hash,
    genesis: Genesis,
    key: Hash,
    chain: Mutex<Chain>,
    tip: watch::Sender<Tip>,
    /// Own orders that other nodes have not been sent.
    outbox: Mutex<VecDeque<Signed>>,
    /// Evidence that other nodes are to be sent.
    accusations: Mutex<VecDeque<Evidence>>,
    has_peers: bool,
    /// The sum of all balances after the block of this name: it takes a look at every account.
    sum: Mutex<Option<(Hash, i128)>>,
    /// Where snapshots are.
    snapshots: PathBuf,
}

/// Where the ledger's files are, and whom the node talks to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder.
    pub folder: PathBuf,
    /// What the network begins with.
    pub genesis: Genesis,
    /// The node's key.
    pub secret: NodeSecret,
    /// Where other nodes reach this one.
    pub listen: SocketAddr,
    /// Where this one reaches others.
    pub peers: Vec<Peer>,
    /// Threads that check signatures.
    pub threads: usize,
    /// Blocks that are kept; all if 0.
    pub blocks_kept: u64,
}

/// Why the ledger cannot start.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A folder cannot be made.
    #[error("{path}")]
    Folder {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The chain cannot be opened.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The agreement cannot start.
    #[error(transparent)]
    Agreement(#[from] StartError),
}

impl From<StoreError> for LedgerError {
    fn from(error: StoreError) -> LedgerError {
        LedgerError::Chain(error.into())
    }
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It took effect: the block and its place in it.
    Done(Height, u32),
    /// It waits for a block.
    Waiting,
    /// The rules refused it after it had waited.
    Refused(Refusal),
    /// The node has never seen it, or has forgotten it.
    Unknown,
}

impl Ledger {
    /// Opens the chain and takes part in the agreement, on the current runtime.
    ///
    /// # Errors
    ///
    /// When the files cannot be used, or are of another network, or an address cannot be used.
    pub async fn start(settings: &Settings) -> Result<(Ledger, Running), LedgerError> {
        let path = settings.folder.clone();
        std::fs::create_dir_all(&path)
            .map_err(|source| LedgerError::Folder { path: path.clone(), source })?;
        let store = Store::open(&path.join(FILE))?;
        let mut chain = Chain::open(store, &settings.genesis, settings.threads)?;
        chain.keep_blocks(settings.blocks_kept)?;
        let snapshots = path.join(SNAPSHOTS);
        chain.keep_snapshots(&snapshots)?;
        let inner = Arc::new(Inner {
            network: chain.network(),
            genesis: settings.genesis.clone(),
            key: settings.secret.key(),
            tip: watch::Sender::new(chain.tip()),
            chain: Mutex::new(chain),
            outbox: Mutex::default(),
            accusations: Mutex::default(),
            sum: Mutex::default(),
            has_peers: !settings.peers.is_empty(),
            snapshots,
        });
        let ledger = Ledger { inner };
        let (inbox, messages) = sync_channel(INBOX_MAX);
        let messages = Arc::new(Mutex::new(messages));
        for _ in 0..settings.threads.max(1) {
            let (ledger, messages) = (ledger.clone(), Arc::clone(&messages));
            std::thread::spawn(move || ledger.take_in(&messages));
        }
        let options = Options {
            network: ledger.network(),
            secret: settings.secret.clone(),
            directory: path.join("agreement"),
            listen: settings.listen,
            peers: settings.peers.clone(),
        };
        let running = start(&options, Node { ledger: ledger.clone(), inbox }).await?;
        tokio::spawn(ledger.clone().send_out(running.gossip()));
        Ok((ledger, running))
    }

    /// The network: the hash of its genesis.
    #[must_use]
    pub fn network(&self) -> Hash {
        self.inner.network
    }

    /// What the network began with.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.inner.genesis
    }

    /// This node's key.
    #[must_use]
    pub fn node_key(&self) -> Hash {
        self.inner.key
    }

    /// The chain, for as long as the guard lives. Nothing else moves on until then.
    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.inner.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where a snapshot is, if it is here.
    #[must_use]
    pub fn snapshot(&self, cid: &Cid) -> PathBuf {
        self.inner.snapshots.join(cid.to_string())
    }

    /// Tells of each new block.
    #[must_use]
    pub fn tips(&self) -> watch::Receiver<Tip> {
        self.inner.tip.subscribe()
    }

    /// Takes in orders of this node's own users, and sends them to the others. Each has its own outcome:
    /// its name, or why the rules refuse it or there is no place for it.
    #[must_use]
    pub fn submit(&self, orders: &[Signed]) -> Vec<Result<Hash, NotAccepted>> {
        let outcomes = self.admit(orders);
        if self.inner.has_peers {
            let mut outbox = self.outbox();
            let taken = orders.iter().zip(&outcomes).filter(|(_, outcome)| outcome.is_ok());
            let room = OUTBOX_MAX.saturating_sub(outbox.len());
            outbox.extend(taken.take(room).map(|(signed, _)| signed.clone()));
        }
        outcomes
    }

    /// Whether the rules would accept an order now. Nothing is kept or sent.
    ///
    /// # Errors
    ///
    /// When they would not, or its signature names no signer.
    pub fn dry_run(&self, signed: &Signed) -> Result<(), NotAccepted> {
        // Not under the lock, as in `admit`.
        let verified = signed.verify(&self.inner.network)?;
        Ok(self.chain().dry_run(&verified)?)
    }

    /// What became of an order.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub fn fate(&self, id: &Hash) -> Result<Fate, StoreError> {
        let chain = self.chain();
        if let Some((height, index)) = chain.order(id)? {
            return Ok(Fate::Done(height, index));
        }
        if chain.pool().get(id).is_some() {
            return Ok(Fate::Waiting);
        }
        Ok(chain.refusal(id).map_or(Fate::Unknown, Fate::Refused))
    }

    /// Waits until an order has left the pool, or the time is up.
    ///
    /// # Errors
    ///
    /// When the file fails.
    pub async fn settled(&self, id: &Hash, time: Duration) -> Result<Fate, StoreError> {
        let mut tips = self.tips();
        let wait = async {
            loop {
                let fate = self.fate(id)?;
                if fate != Fate::Waiting || tips.changed().await.is_err() {
                    return Ok(fate);
                }
            }
        };
        match tokio::time::timeout(time, wait).await {
            Ok(fate) => fate,
            Err(_) => self.fate(id),
        }
    }

    /// Takes in orders, many at a time, so that threads that check signatures seldom wait for the lock.
    fn admit(&self, orders: &[Signed]) -> Vec<Result<Hash, NotAccepted>> {
        let mut screened = vec![];
        for some in orders.chunks(ADMIT_MAX) {
            let chain = self.chain();
            screened.extend(some.iter().map(|signed| chain.screen(signed)));
        }
        // Not under the lock: nearly all of what an order costs.
        let checked = orders.iter().zip(screened).map(|(signed, screened)| match screened? {
            Some(_) => Ok(None),
            None => Ok(Some(signed.verify(&self.inner.network)?)),
        });
        let checked: Vec<Result<_, NotAccepted>> = checked.collect();
        let (mut checked, mut outcomes) = (checked.into_iter(), vec![]);
        for some in orders.chunks(ADMIT_MAX) {
            let mut chain = self.chain();
            let admit = |(signed, checked): (&Signed, Result<_, _>)| match checked? {
                Some(verified) => chain.admit(signed.clone(), verified),
                None => Ok(signed.id()),
            };
            outcomes.extend(some.iter().zip(checked.by_ref()).map(admit));
        }
        outcomes
    }

    /// The sum of all balances of the state after a block, added up once for each block.
    fn sum(&self, block: &Hash, state: &State) -> i128 {
        let mut kept = self.inner.sum.lock().unwrap_or_else(PoisonError::into_inner);
        match *kept {
            Some((of, sum)) if of == *block => sum,
            _ => {
                let sum = state.all_accounts().map(|(_, account)| account.balance).sum();
                *kept = Some((*block, sum));
                sum
            }
        }
    }

    fn outbox(&self) -> MutexGuard<'_, VecDeque<Signed>> {
        self.inner.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what other nodes send, until they can no longer.
    fn take_in(&self, messages: &Mutex<Receiver<Vec<u8>>>) {
        loop {
            let next = messages.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(message) = next else { return };
            match decode::<Heard>(&message) {
                // Refused or known: the sender's own node has told it so.
                Ok(Heard::Orders(batch)) => drop(self.admit(batch.as_slice())),
                Ok(Heard::Evidence(evidence)) => self.hear(*evidence),
                Err(_) => {}
            }
        }
    }

    /// Takes in evidence, and sends it to the others if it is new and convicts someone.
    fn hear(&self, evidence: Evidence) {
        let Ok(proven) = evidence.clone().verify(&self.inner.network) else { return };
        if self.chain().accuse(proven).is_ok_and(|is_new| is_new) {
            self.tell(vec![evidence]);
        }
    }

    /// Sends evidence to the others.
    fn tell(&self, evidence: Vec<Evidence>) {
        if self.inner.has_peers {
            let mut outbox = self.accusations();
            let room = ACCUSATIONS_MAX.saturating_sub(outbox.len());
            outbox.extend(evidence.into_iter().take(room));
        }
    }

    fn accusations(&self) -> MutexGuard<'_, VecDeque<Evidence>> {
        self.inner.accusations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends own orders to other nodes, many at a time, and evidence.
    async fn send_out(self, gossip: Gossip) {
        let mut every = tokio::time::interval(GATHER);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            while let Some(message) = self.next_message() {
                if !gossip.send(message).await {
                    return;
                }
            }
        }
    }

    fn next_message(&self) -> Option<Vec<u8>> {
        if let Some(evidence) = self.accusations().pop_front() {
            return Some(encode(&Heard::Evidence(Box::new(evidence))));
        }
        let orders = take_some(&mut self.outbox());
        if orders.is_empty() {
            return None;
        }
        let batch: Batch = List::new(orders).expect("no more than a batch holds");
        Some(encode(&Heard::Orders(batch)))
    }
}

/// Takes as many orders as one message has: several small ones, or a large one alone.
fn take_some(outbox: &mut VecDeque<Signed>) -> Vec<Signed> {
    let (mut orders, mut size) = (vec![], 5usize);
    while let Some(signed) = outbox.front() {
        size = size.saturating_add(encode(signed).len());
        let is_full = orders.len() >= BATCH_MAX || size > GOSSIP_SIZE_MAX;
        if is_full && !orders.is_empty() {
            break;
        }
        orders.extend(outbox.pop_front());
    }
    orders
}

/// Bytes as the API writes them: `0x` and hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    format!("0x{}", data_encoding::HEXLOWER.encode(bytes))
}

/// Reads what `hex` writes, in capitals too.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    data_encoding::HEXLOWER_PERMISSIVE.decode(text.strip_prefix("0x")?.as_bytes()).ok()
}

/// A signed order as JSON, as the API shows it.
#[must_use]
pub fn shown_order(signed: &Signed) -> serde_json::Value {
    json::order(signed)
}

/// An account as JSON, as the API shows it in a list.
#[must_use]
pub fn shown_account(address: &Address, state: &State) -> serde_json::Value {
    json::account(address, &state.account(address), state.member(address))
}

/// What happened, in a sentence.
#[must_use]
pub fn shown_event(event: &Event) -> String {
    json::event(event)
}

/// Millionths as credits.
#[must_use]
pub fn credits(millionths: i128) -> String {
    json::credits(millionths)
}

/// The ledger as the agreement sees it.
#[derive(Debug)]
struct Node {
    ledger: Ledger,
    inbox: SyncSender<Vec<u8>>,
}

fn fault(error: &dyn std::fmt::Display) -> Fault {
    Fault(error.to_string())
}

impl Application for Node {
    fn height(&self) -> u64 {
        self.ledger.chain().tip().height.0
    }

    fn first(&self) -> u64 {
        let chain = self.ledger.chain();
        // A file that fails has no blocks to give, but for what the next write will say.
        chain.first().map_or(chain.tip().height.0, |first| first.0)
    }

    fn due(&self) -> u64 {
        self.ledger.chain().due()
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.ledger.inner.genesis.interval.into())
    }

    fn validators(&self) -> Vec<Validator> {
        let chain = self.ledger.chain();
        let rests = |key: &Hash| chain.resting().contains(key);
        let all = chain.validators().iter();
        all.map(|&(key, power)| Validator { key, power, rests: rests(&key) }).collect()
    }

    fn propose(&mut self, time: u64, secret: &NodeSecret) -> Result<Proposal, Fault> {
        let proposal = self.ledger.chain().propose(time, secret).map_err(|it| fault(&it))?;
        Ok(Proposal { id: proposal.id, bytes: proposal.bytes })
    }

    fn read(&self, bytes: &[u8]) -> Option<Outline> {
        let block = Block::decode(bytes).ok().filter(Block::is_covered)?;
        let header = &block.header;
        Some(Outline { id: header.id(), height: header.height.0, proposer: header.proposer })
    }

    fn check(&mut self, time: u64, bytes: &[u8]) -> Result<Hash, Unfit> {
        self.ledger.chain().check(time, bytes).map_err(|error| match error {
            Rejected::Store(error) => Unfit::Fault(fault(&error)),
            other => Unfit::Rejected(other.to_string()),
        })
    }

    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault> {
        let tip = {
            // One lock for both: who reads the state in between would take the block back.
            let mut chain = self.ledger.chain();
            chain.check(u64::MAX, bytes).map_err(|error| {
                let block = certificate.block;
                Fault(format!(
                    "block {block} was decided by two thirds of the validators and breaks the rules: {error}"
                ))
            })?;
            chain.commit(certificate).map_err(|error| fault(&error))?;
            // Again with each block until it is in one: gossip may be lost, or come too early.
            self.ledger.tell(chain.accusations().cloned().collect());
            chain.tip()
        };
        self.ledger.inner.tip.send_replace(tip);
        Ok(())
    }

    fn certify(&mut self, certificate: Certificate) {
        self.ledger.chain().certify(certificate);
    }

    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault> {
        let decided = self.ledger.chain().decided(Height(height)).map_err(|it| fault(&it))?;
        let Some(decided) = decided else { return Ok(None) };
        let certificate = Certificate::decode(&decided.certificate).map_err(|it| fault(&it))?;
        Ok(Some((decided.block, certificate)))
    }

    fn received(&mut self, gossip: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.inbox.try_send(gossip) {
            tracing::warn!("what another node sent was dropped: too much waits for its check");
        }
    }

    fn accuse(&mut self, evidence: Evidence) {
        let Evidence { validator, height, step, .. } = &evidence;
        tracing::warn!(%validator, height = height.0, %step, "a validator contradicted itself");
        self.ledger.hear(evidence);
    }
}

#[cfg(test)]
mod tests;
