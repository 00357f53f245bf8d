//! The receipts of answers, and their payloads.
//!
//! Of an answer that this node computes to its end there is a receipt that its key has signed, also
//! where another node has asked for it, which then keeps it. Nobody pays yet, and the receipt says so
//! (`docs/spec/receipt.md`, section 1.1).
//!
//! Invariants:
//! - What another node has stated is kept only if it is right, as far as can be told without computing
//!   the answer again.
//! - At most `RECEIPTS_MAX` are kept, with at most `PAYLOADS_SIZE_MAX` bytes of payloads; the oldest
//!   go first.
//! - Without randomness there is no receipt: its root could be guessed.
//!
//! Not here: a receipt's bytes (`audit::receipt`), who may read what (`control`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use audit::commitment::{Leaves, blind, prompt_hash};
use audit::receipt::{Asked, Identity, Payload, Receipt, Seeding, SignedReceipt, Terms, numbers};
use audit::verify::{Known, Wrong, verify};
use engine::model::Model;
use types::bounded::List;
use types::codec::{Malformed, encode};
use types::id::{Cid, Hash};
use types::node_key::NodeSecret;

use crate::remote::Stated;
use crate::seeding::{Nonces, SeedOf, Wanted, random};

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
    /// What hides the root, which is in the payload as well.
    blinding: Hash,
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
    Random(#[from] getrandom::Error),
    /// The request is larger than a payload may be.
    #[error("the request is larger than a payload: {0}")]
    Size(#[from] Malformed),
    /// Counts or prices have no receipt.
    #[error("no receipt has such counts")]
    Counts,
    /// What another node has stated is wrong.
    #[error(transparent)]
    Wrong(#[from] Wrong),
}

impl Receipts {
    /// Those of a node of a network that computes with this model. None where the name is no CID.
    #[must_use]
    pub fn new(secret: NodeSecret, network: Hash, cid: &str, model: &Model) -> Option<Receipts> {
        let identity = Identity::of(Cid::parse(cid)?, model);
        Some(Receipts { secret, network, identity, kept: Mutex::default() })
    }

    /// States what was answered to a gateway, or to this node's own API; keeps it, and gives the
    /// receipt's id. `chosen` are the tokens that the engine has chosen.
    pub(crate) fn state(
        &self,
        gateway: Option<Hash>,
        wanted: Wanted,
        chosen: &[u32],
        leaves: &Leaves,
    ) -> Option<Hash> {
        let gateway = gateway.unwrap_or_else(|| self.secret.key());
        self.keep(self.make(gateway, wanted, chosen, leaves))
    }

    /// Keeps what a worker has stated of an answer, if it is right; gives the receipt's id. What was
    /// wanted is the whole answer, of which the worker was given so many tokens.
    pub(crate) fn take_in(
        &self,
        stated: &Stated,
        worker: Hash,
        wanted: Wanted,
        given: usize,
    ) -> Option<Hash> {
        self.keep(self.check(stated, worker, wanted, given))
    }

    fn keep(&self, made: Result<(Hash, Statement), NoReceipt>) -> Option<Hash> {
        match made {
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

    /// Gives away what was stated to another node, which keeps it itself.
    pub(crate) fn give(&self, id: &Hash) -> Option<Stated> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let statement = kept.remove(id)?;
        Some(Stated { receipt: statement.receipt.clone(), blinding: statement.blinding })
    }

    /// A receipt that is still kept.
    #[must_use]
    pub fn get(&self, id: &Hash) -> Option<Arc<Statement>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.statements.get(id).cloned()
    }

    fn check(
        &self,
        stated: &Stated,
        worker: Hash,
        wanted: Wanted,
        given: usize,
    ) -> Result<(Hash, Statement), NoReceipt> {
        let signed = SignedReceipt::decode(&stated.receipt)?;
        let nonce = signed.receipt.terms.nonce;
        let output = List::new(wanted.request.said.clone())?;
        let (asked, worker_nonce) = asked(wanted)?;
        let payload = Payload {
            asked,
            worker_nonce,
            // At most as many as there are positions.
            said: given as u32,
            output,
            blinding: Some(stated.blinding),
        };
        let nodes = (worker, self.secret.key());
        let terms = Terms::unpaid(self.network, &self.identity, nodes, nonce);
        let known = Known { terms: Some(&terms), payload: Some(&payload), ..Known::default() };
        verify(&signed, known)?;
        let (receipt, payload) = (stated.receipt.clone(), encode(&payload));
        let id = signed.receipt.id();
        Ok((id, Statement { receipt, payload, blinding: stated.blinding }))
    }

    fn make(
        &self,
        gateway: Hash,
        wanted: Wanted,
        chosen: &[u32],
        leaves: &Leaves,
    ) -> Result<(Hash, Statement), NoReceipt> {
        let [nonce, blinding] = [random()?, random()?];
        let request = &wanted.request;
        let root = leaves.root(&prompt_hash(&request.prompt));
        // A request has at most as many tokens as there are positions.
        let said = request.said.len() as u32;
        let output = List::new([request.said.as_slice(), chosen].concat())?;
        let (asked, worker_nonce) = asked(wanted)?;
        let payload = Payload { asked, worker_nonce, said, output, blinding: Some(blinding) };
        let nodes = (self.secret.key(), gateway);
        let terms = Terms::unpaid(self.network, &self.identity, nodes, nonce);
        let blinded = Hash(blind(&root, &blinding.0));
        let receipt = Receipt::of(terms, &payload, blinded).ok_or(NoReceipt::Counts)?;
        let (id, signed) = (receipt.id(), receipt.sign(&self.secret));
        Ok((id, Statement { receipt: encode(&signed), payload: encode(&payload), blinding }))
    }
}

impl Kept {
    fn keep(&mut self, id: Hash, statement: Statement) {
        self.size += statement.payload.len();
        self.statements.insert(id, Arc::new(statement));
        self.order.push_back(id);
        while self.order.len() > RECEIPTS_MAX || self.size > PAYLOADS_SIZE_MAX {
            let Some(oldest) = self.order.front().copied() else { return };
            self.remove(&oldest);
        }
    }

    fn remove(&mut self, id: &Hash) -> Option<Arc<Statement>> {
        // Those that leave early are among the last.
        let at = self.order.iter().rposition(|it| it == id)?;
        self.order.remove(at);
        let gone = self.statements.remove(id)?;
        self.size -= gone.payload.len();
        Some(gone)
    }
}

/// What was asked, as a payload has it, and the worker's nonce. Each of several choices reaches the
/// engine as a request with a seed of its own, so that each is the first choice of its own request.
fn asked(wanted: Wanted) -> Result<(Asked, Hash), Malformed> {
    let Wanted { request, seed } = wanted;
    let sampling = request.sampling;
    let (seeding, client_nonce, worker_nonce) = match seed {
        SeedOf::Both(Nonces { client, worker }) => (Seeding::Joint, client, worker),
        SeedOf::Caller | SeedOf::Nobody => (Seeding::Fixed, Hash(sampling.seed.0), Hash::default()),
    };
    let asked = Asked {
        prompt: List::new(request.prompt)?,
        tokens_max: request.tokens_max,
        end_tokens: List::new(request.end_tokens)?,
        numbers: numbers(&sampling),
        biases: List::new(sampling.logit_bias)?,
        seeding,
        client_nonce,
        choice: 0,
    };
    Ok((asked, worker_nonce))
}

#[cfg(test)]
mod tests {
    use engine::request::Request;

    use super::*;

    fn statement(size: usize) -> Statement {
        Statement { receipt: Vec::new(), payload: vec![0; size], blinding: Hash::default() }
    }

    fn id(number: usize) -> Hash {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        Hash(bytes)
    }

    fn receipts(of: u8) -> Receipts {
        let (zero, model) = (Hash::default(), Cid::raw(Hash([3; 32])));
        let identity = Identity { model, tokenizer: zero, template: zero, profile: 1 };
        let (secret, network) = (NodeSecret::new([of; 32]), Hash([9; 32]));
        Receipts { secret, network, identity, kept: Mutex::default() }
    }

    /// An answer with a joint seed, of which these tokens are there.
    fn wanted(said: Vec<u32>) -> Wanted {
        let request = Request { said, ..engine::fingerprint::standard_request(vec![1, 2], 3) };
        let nonces = Nonces { client: Hash([4; 32]), worker: Hash([5; 32]) };
        Wanted { request, seed: SeedOf::Nobody }.with(SeedOf::Both(nonces))
    }

    #[test]
    fn a_gateway_keeps_what_is_right_and_the_worker_gives_it_once() {
        let (worker, gateway) = (receipts(1), receipts(2));
        let (key, leaves) = (worker.secret.key(), Leaves::default());
        let id = worker.state(Some(gateway.secret.key()), wanted(vec![5]), &[6, 7], &leaves);
        let id = id.unwrap();
        let stated = worker.give(&id).unwrap();
        assert!(worker.give(&id).is_none() && worker.get(&id).is_none());

        let whole = wanted(vec![5, 6, 7]);
        assert_eq!(gateway.take_in(&stated, key, whole.clone(), 1), Some(id));
        assert_eq!(gateway.get(&id).unwrap().receipt, stated.receipt);

        let other = receipts(3);
        assert_eq!(other.take_in(&stated, key, whole.clone(), 1), None, "made for another");
        let none = |stated: &Stated, worker: Hash, answer: &Wanted, given: usize| {
            gateway.take_in(stated, worker, answer.clone(), given).is_none()
        };
        assert!(none(&stated, other.secret.key(), &whole, 1), "another's receipt");
        assert!(none(&stated, key, &whole, 0), "it was given more");
        assert!(none(&stated, key, &wanted(vec![5, 6, 8]), 1), "another token");
        let mut other = whole.clone();
        other.request.prompt = vec![1];
        assert!(none(&stated, key, &other, 1), "another prompt");
        let nonces = Nonces { client: Hash([4; 32]), worker: Hash([6; 32]) };
        assert!(none(&stated, key, &whole.clone().with(SeedOf::Both(nonces)), 1), "another nonce");
        let caller = Wanted { seed: SeedOf::Caller, ..whole.clone() };
        assert!(none(&stated, key, &caller, 1), "the seed as if the caller had chosen it");
        for at in 0..stated.receipt.len() {
            let mut altered = stated.clone();
            altered.receipt[at] ^= 1;
            assert!(none(&altered, key, &whole, 1), "byte {at}");
        }
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
