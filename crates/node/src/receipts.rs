//! The receipts of what this node's engine has answered, and their payloads.
//!
//! Of an answer to this node's own API there is a receipt that its key has signed. Nobody pays within
//! one's own node, and the receipt says so (`docs/spec/receipt.md`, section 1.1).
//!
//! Invariants:
//! - At most `RECEIPTS_MAX` are kept, with at most `PAYLOADS_SIZE_MAX` bytes of payloads; the oldest
//!   go first.
//! - Without randomness there is no receipt: its root could be guessed.
//!
//! Not here: a receipt's bytes (`audit::receipt`), who may read what (`control`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use audit::commitment::{Leaves, blind, prompt_hash};
use audit::receipt::{Asked, Identity, Payload, Receipt, Seeding, Terms};
use engine::model::Model;
use engine::request::Request;
use types::bounded::List;
use types::codec::{Malformed, encode};
use types::id::{Cid, Hash};
use types::node_key::NodeSecret;

/// Receipts that are kept, at most: as many answers as one person asks for in days, in memory alone.
pub const RECEIPTS_MAX: usize = 1_024;
/// Bytes of their payloads, at most: some sixty of the longest context, thousands of usual ones.
pub const PAYLOADS_SIZE_MAX: usize = 64 << 20;

/// Makes receipts, and keeps the last.
#[derive(Debug)]
pub struct Receipts {
    secret: NodeSecret,
    network: Hash,
    identity: Identity,
    kept: Mutex<Kept>,
}

/// A signed receipt and what it is about, as bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// The signed receipt.
    pub receipt: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
}

#[derive(Debug, Default)]
struct Kept {
    statements: BTreeMap<Hash, Arc<Statement>>,
    /// The oldest first.
    order: VecDeque<Hash>,
    /// Bytes of the payloads.
    size: usize,
}

/// Why there is no receipt of an answer.
#[derive(Debug, thiserror::Error)]
enum NoReceipt {
    /// The machine has no randomness.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
    /// The request is larger than a payload may be.
    #[error("the request is larger than a payload: {0}")]
    Size(#[from] Malformed),
    /// Counts or prices have no receipt.
    #[error("no receipt has such counts")]
    Counts,
}

impl Receipts {
    /// Those of a node of a network that computes with this model. None where the name is no CID.
    #[must_use]
    pub fn new(secret: NodeSecret, network: Hash, cid: &str, model: &Model) -> Option<Receipts> {
        let identity = Identity::of(Cid::parse(cid)?, model);
        Some(Receipts { secret, network, identity, kept: Mutex::default() })
    }

    /// States what was answered, keeps it, and gives the receipt's id.
    pub(crate) fn state(&self, request: Request, own: &[u32], leaves: &Leaves) -> Option<Hash> {
        match self.make(request, own, leaves) {
            Ok((id, statement)) => {
                self.kept.lock().unwrap_or_else(PoisonError::into_inner).keep(id, statement);
                Some(id)
            }
            Err(why) => {
                tracing::warn!(%why, "an answer has no receipt");
                None
            }
        }
    }

    /// A receipt that is still kept.
    #[must_use]
    pub fn get(&self, id: &Hash) -> Option<Arc<Statement>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.statements.get(id).cloned()
    }

    fn make(
        &self,
        request: Request,
        own: &[u32],
        leaves: &Leaves,
    ) -> Result<(Hash, Statement), NoReceipt> {
        let [nonce, blinding] = [random()?, random()?];
        let root = leaves.root(&prompt_hash(&request.prompt));
        // A request has at most as many tokens as there are positions.
        let said = request.said.len() as u32;
        let output = List::new([request.said.as_slice(), own].concat())?;
        let payload = Payload {
            asked: asked(request)?,
            worker_nonce: Hash::default(),
            said,
            output,
            blinding: Some(blinding),
        };
        let terms = Terms::unpaid(self.network, &self.identity, self.secret.key(), nonce);
        let blinded = Hash(blind(&root, &blinding.0));
        let receipt = Receipt::of(terms, &payload, blinded).ok_or(NoReceipt::Counts)?;
        let (id, signed) = (receipt.id(), receipt.sign(&self.secret));
        Ok((id, Statement { receipt: encode(&signed), payload: encode(&payload) }))
    }
}

impl Kept {
    fn keep(&mut self, id: Hash, statement: Statement) {
        self.size += statement.payload.len();
        self.statements.insert(id, Arc::new(statement));
        self.order.push_back(id);
        while self.order.len() > RECEIPTS_MAX || self.size > PAYLOADS_SIZE_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            let gone = self.statements.remove(&oldest);
            self.size -= gone.map_or(0, |it| it.payload.len());
        }
    }
}

/// What was asked, as a payload has it. Each of several choices reaches the engine as a request with a
/// seed of its own, so that each is the first choice of its own request.
fn asked(request: Request) -> Result<Asked, Malformed> {
    let sampling = request.sampling;
    Ok(Asked {
        prompt: List::new(request.prompt)?,
        tokens_max: request.tokens_max,
        end_tokens: List::new(request.end_tokens)?,
        temperature: sampling.temperature,
        top_k: sampling.top_k,
        top_p: sampling.top_p,
        min_p: sampling.min_p,
        repetition_penalty: sampling.repetition_penalty,
        presence_penalty: sampling.presence_penalty,
        frequency_penalty: sampling.frequency_penalty,
        biases: List::new(sampling.logit_bias)?,
        seeding: Seeding::Fixed,
        client_nonce: Hash(sampling.seed.0),
        choice: 0,
    })
}

fn random() -> Result<Hash, NoReceipt> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(NoReceipt::Random)?;
    Ok(Hash(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn statement(size: usize) -> Statement {
        Statement { receipt: Vec::new(), payload: vec![0; size] }
    }

    fn id(number: usize) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Hash(bytes)
    }

    #[test]
    fn the_oldest_receipts_go_first() {
        let mut kept = Kept::default();
        for number in 0..=RECEIPTS_MAX {
            kept.keep(id(number), statement(1));
        }
        assert_eq!((kept.statements.len(), kept.size), (RECEIPTS_MAX, RECEIPTS_MAX));
        assert!(!kept.statements.contains_key(&id(0)) && kept.statements.contains_key(&id(1)));
    }

    #[test]
    fn payloads_take_no_more_memory_than_they_may() {
        let mut kept = Kept::default();
        for number in 0..5 {
            kept.keep(id(number), statement(PAYLOADS_SIZE_MAX / 4));
        }
        assert_eq!((kept.statements.len(), kept.size), (4, PAYLOADS_SIZE_MAX));
        kept.keep(id(5), statement(PAYLOADS_SIZE_MAX));
        assert_eq!((kept.order.len(), kept.size), (1, PAYLOADS_SIZE_MAX));
        kept.keep(id(6), statement(PAYLOADS_SIZE_MAX + 1));
        assert_eq!((kept.statements.len(), kept.size), (0, 0));
    }
}
