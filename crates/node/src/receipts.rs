//! The receipts of answers, and their payloads.
//!
//! Of an answer that this node computes there is a receipt that its key has signed, also where another
//! node has asked for it, which then keeps it. Where nobody pays the receipt says so
//! (`docs/spec/receipt.md`, section 1.1), and one that was paid for is kept here as well (`earn`).
//!
//! Invariants:
//! - What another node has stated is kept only if it is right, as far as can be told without computing
//!   the answer again.
//! - What was made for another node waits in memory until it is given away, at most `GIVEN_MAX`.
//! - Without randomness there is no receipt: its root could be guessed.
//!
//! Not here: the files (`kept`), a receipt's bytes (`audit::receipt`), who may read what (`control`).

pub(crate) mod kept;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use audit::commitment::{Leaves, blind, prompt_hash};
use audit::receipt::{Asked, Identity, Payload, Receipt, Seeding, SignedReceipt, Terms, numbers};
use audit::verify::{Known, Wrong, verify};
use types::amount::Amount;
use types::bounded::List;
use types::codec::{Malformed, encode};
use types::id::Hash;
use types::node_key::NodeSecret;

use self::kept::Kept;
use crate::deal::Deal;
use crate::earn::Earned;
use crate::remote::Stated;
use crate::seeding::{Nonces, SeedOf, Wanted, random};

/// Receipts that wait to be given away, at most: one for each stream on which others ask.
const GIVEN_MAX: usize = 256;

/// Makes receipts, and keeps the last.
#[derive(Debug)]
pub struct Receipts {
    secret: NodeSecret,
    network: Hash,
    identity: Identity,
    kept: Mutex<Kept>,
    /// For other nodes, the oldest first.
    given: Mutex<VecDeque<Given>>,
    /// What was earned, where work is paid for.
    earned: Option<Arc<Earned>>,
}

/// Another node that has asked for an answer.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// Which.
    pub(crate) gateway: Hash,
    /// How it pays, if it does.
    pub(crate) deal: Option<Deal>,
}

/// A receipt that another node is to be given.
#[derive(Debug)]
struct Given {
    id: Hash,
    stated: Stated,
    /// The same to be kept here, where it is paid for.
    earned: Option<Statement>,
}

/// A signed receipt and what it is about, as bytes.
#[derive(Debug, PartialEq, Eq)]
pub struct Statement {
    /// What it says.
    pub signed: SignedReceipt,
    /// The signed receipt.
    pub receipt: Vec<u8>,
    /// The payload.
    pub payload: Vec<u8>,
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
    /// It cannot be kept.
    #[error("the disk: {0}")]
    Disk(#[from] io::Error),
}

impl Receipts {
    /// Those of a node of a network that serves the model with this identity, and those that its folder
    /// has.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn open(
        folder: PathBuf,
        secret: NodeSecret,
        network: Hash,
        identity: Identity,
    ) -> io::Result<Receipts> {
        let kept = Mutex::new(Kept::open(folder)?);
        let given = Mutex::default();
        Ok(Receipts { secret, network, identity, kept, given, earned: None })
    }

    /// The same, and what is earned besides.
    #[must_use]
    pub fn with_earned(self, earned: Arc<Earned>) -> Receipts {
        Receipts { earned: Some(earned), ..self }
    }

    /// What was earned, where work is paid for.
    pub(crate) fn earned(&self) -> Option<&Earned> {
        self.earned.as_deref()
    }

    /// States what was answered to a gateway, to which it is given then, or to this node's own API, and
    /// keeps that; gives the receipt's id. `chosen` are the tokens that the engine has chosen.
    pub(crate) fn state(
        &self,
        asker: Option<Asker>,
        wanted: Wanted,
        chosen: &[u32],
        leaves: &Leaves,
    ) -> Option<Hash> {
        let made = self.make(asker.as_ref(), wanted, chosen, leaves);
        self.told(made.and_then(|(id, statement, blinding)| {
            let Some(asker) = asker else {
                self.kept().keep(id, &statement)?;
                return Ok(id);
            };
            let stated = Stated { receipt: statement.receipt.clone(), blinding };
            let earned = asker.deal.map(|_| statement);
            self.leave(Given { id, stated, earned });
            Ok(id)
        }))
    }

    /// Keeps what a worker has stated of an answer, if it is right; gives the receipt's id, and what is
    /// due. What was wanted is the whole answer, of which the worker was given so many tokens.
    pub(crate) fn take_in(
        &self,
        stated: &Stated,
        worker: Hash,
        wanted: Wanted,
        given: usize,
        deal: Option<&Deal>,
    ) -> Option<(Hash, Amount)> {
        let checked = self.check(stated, worker, wanted, given, deal);
        self.told(checked.and_then(|(id, statement)| {
            self.kept().keep(id, &statement)?;
            Ok((id, statement.signed.receipt.due))
        }))
    }

    /// Says in the log why there is none.
    fn told<T>(&self, made: Result<T, NoReceipt>) -> Option<T> {
        made.inspect_err(|why| tracing::warn!(%why, "an answer has no receipt")).ok()
    }

    /// Leaves what another node is to be given.
    fn leave(&self, it: Given) {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        if given.len() >= GIVEN_MAX {
            given.pop_front();
        }
        given.push_back(it);
    }

    /// Gives away what was stated to another node, which keeps it itself; what is paid for is kept here
    /// first, and not given away if it cannot be.
    pub(crate) fn give(&self, id: &Hash) -> Option<Stated> {
        let Given { stated, earned, .. } = {
            let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
            let at = given.iter().position(|it| it.id == *id)?;
            given.remove(at)?
        };
        if let (Some(statement), Some(all)) = (earned, &self.earned) {
            let kept = all.keep(*id, &statement).map_err(NoReceipt::from);
            self.told(kept)?;
        }
        Some(stated)
    }

    /// A receipt that is still kept.
    #[must_use]
    pub fn get(&self, id: &Hash) -> Option<Statement> {
        self.kept().get(id)
    }

    /// The last receipts that are kept, the latest first.
    #[must_use]
    pub fn last(&self, count: usize) -> Vec<Receipt> {
        let kept = self.kept();
        let last = kept.last(count).into_iter().filter_map(|id| kept.get(&id));
        last.map(|statement| statement.signed.receipt).collect()
    }

    /// The receipts that are kept, and when each was made, in seconds since 1970.
    #[must_use]
    pub fn dated(&self) -> Vec<(Receipt, u64)> {
        self.kept().dated()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check(
        &self,
        stated: &Stated,
        worker: Hash,
        wanted: Wanted,
        given: usize,
        deal: Option<&Deal>,
    ) -> Result<(Hash, Statement), NoReceipt> {
        let signed = SignedReceipt::decode(&stated.receipt)?;
        let Terms { nonce, sequence, .. } = signed.receipt.terms;
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
        // The worker counts its receipts. One that counts wrongly cannot redeem them.
        let terms = match deal {
            Some(deal) => deal.terms(self.network, &self.identity, nodes, sequence),
            None => Terms::unpaid(self.network, &self.identity, nodes, nonce),
        };
        let known = Known { terms: Some(&terms), payload: Some(&payload), ..Known::default() };
        verify(&signed, known)?;
        let (receipt, payload) = (stated.receipt.clone(), encode(&payload));
        Ok((signed.receipt.id(), Statement { signed, receipt, payload }))
    }

    fn make(
        &self,
        asker: Option<&Asker>,
        wanted: Wanted,
        chosen: &[u32],
        leaves: &Leaves,
    ) -> Result<(Hash, Statement, Hash), NoReceipt> {
        let [nonce, blinding] = [random()?, random()?];
        let me = self.secret.key();
        let nodes = (me, asker.map_or(me, |asker| asker.gateway));
        let request = &wanted.request;
        let root = leaves.root(&prompt_hash(&request.prompt));
        // A request has at most as many tokens as there are positions.
        let said = request.said.len() as u32;
        let output = List::new([request.said.as_slice(), chosen].concat())?;
        let (asked, worker_nonce) = asked(wanted)?;
        let payload = Payload { asked, worker_nonce, said, output, blinding: Some(blinding) };
        let blinded = Hash(blind(&root, &blinding.0));
        let of = |terms| Receipt::of(terms, &payload, blinded).ok_or(NoReceipt::Counts);
        let receipt = match (asker.and_then(|it| it.deal.as_ref()), &self.earned) {
            (Some(deal), Some(earned)) => earned.state(deal, self.identity.model, |sequence| {
                let receipt = of(deal.terms(self.network, &self.identity, nodes, sequence))?;
                Ok::<_, NoReceipt>((receipt.due, receipt))
            })?,
            _ => of(Terms::unpaid(self.network, &self.identity, nodes, nonce))?,
        };
        let (id, signed) = (receipt.id(), receipt.sign(&self.secret));
        let (receipt, payload) = (encode(&signed), encode(&payload));
        Ok((id, Statement { signed, receipt, payload }, blinding))
    }
}

/// What was asked, as a payload has it, and the worker's nonce. Each of several choices reaches the
/// engine as a request with a seed of its own, so that each is the first choice of its own request.
fn asked(wanted: Wanted) -> Result<(Asked, Hash), Malformed> {
    let Wanted { request, seed, .. } = wanted;
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
pub(crate) mod tests {
    use engine::request::Request;
    use tempfile::{TempDir, tempdir};
    use types::id::Cid;

    use gateway::backend::Urgency;

    use super::*;

    /// A receipt and its payload.
    pub(super) fn statement(of: u8) -> (Hash, Statement) {
        let made = receipts(of).0.make(None, wanted(vec![]), &[5], &Leaves::default());
        let (id, statement, _) = made.unwrap();
        (id, statement)
    }

    /// The same of an answer that is paid for.
    pub(crate) fn paid_statement(deal: &Deal, sequence: u64) -> (Hash, Statement) {
        let (worker, _folder) = receipts(1);
        let (_, Statement { payload, .. }) = statement(1);
        let nodes = (worker.secret.key(), Hash([2; 32]));
        let terms = deal.terms(worker.network, &worker.identity, nodes, sequence);
        let about = types::codec::decode(&payload).unwrap();
        let signed = Receipt::of(terms, &about, Hash::default()).unwrap().sign(&worker.secret);
        (signed.receipt.id(), Statement { receipt: encode(&signed), payload, signed })
    }

    fn receipts(of: u8) -> (Receipts, TempDir) {
        let (zero, model) = (Hash::default(), Cid::raw(Hash([3; 32])));
        let identity = Identity { model, tokenizer: zero, template: zero, profile: 1 };
        let (secret, network) = (NodeSecret::new([of; 32]), Hash([9; 32]));
        let folder = tempdir().unwrap();
        let kept = Mutex::new(Kept::open(folder.path().to_path_buf()).unwrap());
        let given = Mutex::default();
        (Receipts { secret, network, identity, kept, given, earned: None }, folder)
    }

    /// An answer with a joint seed, of which these tokens are there.
    fn wanted(said: Vec<u32>) -> Wanted {
        let request = Request { said, ..engine::fingerprint::standard_request(vec![1, 2], 3) };
        let nonces = Nonces { client: Hash([4; 32]), worker: Hash([5; 32]) };
        Wanted { request, seed: SeedOf::Nobody, urgency: Urgency::Now }.with(SeedOf::Both(nonces))
    }

    #[test]
    fn a_gateway_keeps_what_is_right_and_the_worker_gives_it_once() {
        let ((worker, _one), (gateway, _two)) = (receipts(1), receipts(2));
        let (key, leaves) = (worker.secret.key(), Leaves::default());
        let id = worker.state(
            Some(Asker { gateway: gateway.secret.key(), deal: None }),
            wanted(vec![5]),
            &[6, 7],
            &leaves,
        );
        let id = id.unwrap();
        let stated = worker.give(&id).unwrap();
        assert!(worker.give(&id).is_none() && worker.get(&id).is_none());

        let whole = wanted(vec![5, 6, 7]);
        assert_eq!(gateway.take_in(&stated, key, whole.clone(), 1, None), Some((id, Amount::ZERO)));
        assert_eq!(gateway.get(&id).unwrap().receipt, stated.receipt);

        let (other, _three) = receipts(3);
        assert_eq!(other.take_in(&stated, key, whole.clone(), 1, None), None, "made for another");
        let none = |stated: &Stated, worker: Hash, answer: &Wanted, given: usize| {
            gateway.take_in(stated, worker, answer.clone(), given, None).is_none()
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
    fn no_more_waits_to_be_given_away_than_may() {
        let (worker, _folder) = receipts(1);
        let stated = Stated { receipt: vec![], blinding: Hash::default() };
        let id = |number: usize| Hash([u8::try_from(number).unwrap_or(255); 32]);
        let given = |id| Given { id, stated: stated.clone(), earned: None };
        (0..GIVEN_MAX).for_each(|number| worker.leave(given(id(number))));
        worker.leave(given(Hash([9; 32])));
        assert_eq!(worker.give(&id(0)), None, "the oldest went");
        assert_eq!(worker.give(&id(1)), Some(stated));
    }
}
