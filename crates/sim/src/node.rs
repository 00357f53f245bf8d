//! The application of a simulated node: a real chain, and what it tells the record.
//!
//! Does what `node`'s ledger does, but for its threads.
//!
//! Invariants: an honest node without a flaw decides nothing here; all is the chain's.
//!
//! Not here: rules (`ledger`), blocks (`chain`), the agreement (`consensus`).

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chain::block::Block;
use chain::chain::Chain;
use chain::error::Rejected;
use chain::pool::NotAccepted;
use consensus::application::{Application, Fault, Outline, Proposal, Unfit, Validator};
use ledger::refusal::Refusal;
use types::agreement::Certificate;
use types::amount::Height;
use types::bounded::List;
use types::codec::{decode, encode};
use types::envelope::Signed;
use types::evidence::Evidence;
use types::id::Hash;
use types::node_key::NodeSecret;
use types::transaction::Action;

use crate::flaw::Flaw;
use crate::people::People;
use crate::record::{Commit, Committed, Shared};

/// Orders of one message.
pub type Batch = List<Signed, 2048>;
/// Every so many heights a node that drops commits does so.
const DROPPED: u64 = 4;

/// The ledger of one node.
#[derive(Debug)]
pub struct Ledger {
    chain: Mutex<Chain>,
    /// The node's number.
    number: usize,
    is_honest: bool,
    flaw: Option<Flaw>,
    interval: u64,
    people: People,
    record: Shared,
}

/// Who a node is, and where it tells what it does.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its number.
    pub number: usize,
    /// Whether it is honest.
    pub is_honest: bool,
    /// The rule that is broken in this run.
    pub flaw: Option<Flaw>,
    /// The members.
    pub people: People,
    /// The record.
    pub record: Shared,
}

fn fault(error: &dyn std::fmt::Display) -> Fault {
    Fault(error.to_string())
}

impl Ledger {
    /// The ledger of a chain.
    #[must_use]
    pub fn new(chain: Chain, place: Place) -> Ledger {
        let Place { number, is_honest, flaw, people, record } = place;
        let interval = record.get().genesis.interval.into();
        let chain = Mutex::new(chain);
        Ledger { chain, number, is_honest, flaw, interval, people, record }
    }

    /// The chain, for as long as the guard lives.
    pub fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an order.
    ///
    /// # Errors
    ///
    /// When the rules refuse it, or there is no place for it.
    pub fn submit(&self, signed: Signed) -> Result<Hash, NotAccepted> {
        let outcome = self.chain().submit(signed.clone());
        if self.flaw == Some(Flaw::IgnoresNonces)
            && outcome == Err(NotAccepted::Refused(Refusal::NonceUsed))
        {
            return self.again(&signed);
        }
        outcome
    }

    /// Takes in an order under its account's next nonce: what a node that knows no nonces would do.
    fn again(&self, signed: &Signed) -> Result<Hash, NotAccepted> {
        let mut chain = self.chain();
        let mut order = signed.order.clone();
        let next = chain.pool().next_nonce(&order.account);
        order.nonce = next.unwrap_or_else(|| chain.state().nonce(&order.account));
        match self.people.sign(order) {
            Some(signed) => chain.submit(signed),
            None => Err(NotAccepted::Full),
        }
    }

    fn tell(&self, id: Hash, bytes: &[u8], certificate: &Certificate) {
        let mut chain = self.chain();
        let (height, root) = (certificate.height.0, chain.tip().state);
        let mut record = self.record.get();
        record.commits.push(Commit { node: self.number, height, id, root });
        if record.blocks.contains_key(&height) {
            return;
        }
        let shown = match self.flaw {
            Some(flaw) => flaw.shown(chain.state()),
            None => chain.state().clone(),
        };
        record.states.insert(height, shown);
        let at = record.now;
        let (bytes, certificate) = (bytes.to_vec(), certificate.clone());
        record.blocks.insert(height, Committed { id, bytes, certificate, at });
    }
}

impl Application for Ledger {
    fn height(&self) -> u64 {
        self.chain().tip().height.0
    }

    fn first(&self) -> u64 {
        1
    }

    fn due(&self) -> u64 {
        self.chain().due()
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(self.interval)
    }

    fn validators(&self) -> Vec<Validator> {
        let chain = self.chain();
        let rests = |key: &Hash| chain.resting().contains(key);
        let all = chain.validators().iter();
        all.map(|&(key, power)| Validator { key, power, rests: rests(&key) }).collect()
    }

    fn propose(&mut self, time: u64, secret: &NodeSecret) -> Result<Proposal, Fault> {
        let proposal = self.chain().propose(time, secret).map_err(|it| fault(&it))?;
        Ok(Proposal { id: proposal.id, bytes: proposal.bytes })
    }

    fn read(&self, bytes: &[u8]) -> Option<Outline> {
        let block = Block::decode(bytes).ok().filter(Block::is_covered)?;
        let header = &block.header;
        Some(Outline { id: header.id(), height: header.height.0, proposer: header.proposer })
    }

    fn check(&mut self, time: u64, bytes: &[u8]) -> Result<Hash, Unfit> {
        let time = match self.flaw {
            Some(Flaw::AcceptsAnyBlock) => {
                let outline = self.read(bytes).ok_or_else(|| Unfit::Rejected(String::new()))?;
                return Ok(outline.id);
            }
            Some(Flaw::AcceptsAnyTime) => u64::MAX,
            _ => time,
        };
        self.chain().check(time, bytes).map_err(|error| match error {
            Rejected::Store(error) => Unfit::Fault(fault(&error)),
            other => Unfit::Rejected(other.to_string()),
        })
    }

    fn commit(&mut self, bytes: &[u8], certificate: &Certificate) -> Result<(), Fault> {
        let id = {
            let mut chain = self.chain();
            let id = chain.check(u64::MAX, bytes).map_err(|it| fault(&it))?;
            let height = certificate.height.0;
            if self.flaw != Some(Flaw::DropsCommit) || !height.is_multiple_of(DROPPED) {
                chain.commit(certificate).map_err(|it| fault(&it))?;
            }
            id
        };
        if self.is_honest {
            self.tell(id, bytes, certificate);
        }
        if self.flaw == Some(Flaw::AppliesTwice) {
            let orders = Block::decode(bytes).map_err(|it| fault(&it))?.orders;
            for signed in orders.as_slice() {
                if let Action::Transfer(_) = signed.order.action {
                    // The account may have no credits left.
                    let _ = self.again(signed);
                }
            }
        }
        Ok(())
    }

    fn certify(&mut self, certificate: Certificate) {
        self.chain().certify(certificate);
    }

    fn decided(&self, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, Fault> {
        let decided = self.chain().decided(Height(height)).map_err(|it| fault(&it))?;
        let Some(decided) = decided else { return Ok(None) };
        let certificate = Certificate::decode(&decided.certificate).map_err(|it| fault(&it))?;
        Ok(Some((decided.block, certificate)))
    }

    fn received(&mut self, gossip: Vec<u8>) {
        let Ok(batch) = decode::<Batch>(&gossip) else { return };
        for signed in batch.as_slice() {
            // Refused or known: the sender's own node has told it so.
            let _ = self.submit(signed.clone());
        }
    }

    fn accuse(&mut self, evidence: Evidence) {
        if self.is_honest {
            self.record.get().accused.push(evidence.validator);
        }
        let mut chain = self.chain();
        if let Ok(proven) = evidence.verify(&chain.network()) {
            // One that convicts nobody is forgotten.
            let _ = chain.accuse(proven);
        }
    }
}

/// Orders as one message to other nodes.
#[must_use]
pub fn batch(orders: Vec<Signed>) -> Vec<u8> {
    List::new(orders).map(|batch: Batch| encode(&batch)).unwrap_or_default()
}
