//! Plays a node's part in the audits of its account: as an auditor, as a worker, and as either side of a
//! dispute.
//!
//! It looks at the ledger with each block and does what its account owes (`duty`), the most urgent first.
//! What has to be computed is computed one thing at a time, on one thread, and an answer of another's
//! once this node has nothing else to do or half of the time is over.
//!
//! ```text
//! duty       what is owed: a function of the ledger's state
//! kept       what was found, on the disk before the ledger is told
//! payloads   receipts and payloads from the worker to its auditors
//! party      a run computed again: its root, its trace, evidence
//! store      the artifacts
//! auditor, defence, turns   what is done
//! ```
//!
//! Invariants:
//! - What is done follows from the ledger's state and the disk; what is in memory only saves time.
//! - Nothing is accused or defended that this node does not find when it computes it again.
//!
//! Not here: the rules (`ledger::audits`, `ledger::disputes`), and who signs (`orders`).

mod auditor;
mod defence;
mod duty;
mod kept;
mod party;
pub(crate) mod payloads;
mod store;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ::store::blobs::Blobs;
use audit::receipt::Payload;
use audit::replay::NotReplayed;
use engine::kernels::Isa;
use ledger::audits::{Key, shown};
use ledger::batches::Batch;
use ledger::state::State;
use tokio::sync::watch;
use types::transaction::Action;

use self::duty::{Due, Duty, Me, due};
use self::kept::Kept;
use self::party::Party;
use self::store::Store;
use crate::earn::Earned;
use crate::ledger::Ledger;
use crate::orders::Sender;
use crate::peers::Peers;
use crate::receipts::Receipts;
use crate::worker::Load;

/// Runs that are held computed, at most: those of the audits that are looked at next.
const PARTIES_MAX: usize = 4;
/// Things that its owner is told, at most; the oldest go.
const NOTES_MAX: usize = 64;

/// How a node plays its part.
#[derive(Debug)]
pub struct Options {
    /// Where verdicts are kept.
    pub folder: PathBuf,
    /// Whether it finds out about receipts for which its account is drawn.
    pub is_auditor: bool,
    /// The kernels that compute.
    pub isa: Isa,
}

/// What it works with.
#[derive(Debug)]
pub struct Settings {
    /// How.
    pub options: Options,
    /// The artifacts.
    pub blobs: Blobs,
    /// What this node has stated.
    pub earned: Option<Arc<Earned>>,
    /// What it was answered.
    pub receipts: Option<Arc<Receipts>>,
    /// Where other nodes are.
    pub peers: Option<Arc<Peers>>,
    /// What else this node computes.
    pub load: Option<watch::Receiver<Load>>,
}

/// What the owner should know of an audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// The batch and the place.
    pub key: Key,
    /// What is wrong.
    pub what: String,
}

/// A node's part in audits.
#[derive(Debug)]
pub struct Audits {
    settings: Settings,
    sender: Arc<Sender>,
    me: Me,
    store: Store,
    kept: Kept,
    /// One thing is computed at a time.
    computing: tokio::sync::Mutex<()>,
    parties: Mutex<BTreeMap<Key, Arc<Party>>>,
    /// Audits in which nothing more is done.
    given_up: Mutex<BTreeSet<Key>>,
    notes: Mutex<VecDeque<Note>>,
}

/// What came of computing a run again.
enum Computed {
    /// Its root, and all that a dispute needs.
    Run(Arc<Party>),
    /// No engine computes it: it is longer than the model's context.
    TooLong,
    /// Why nothing did.
    Not(String),
}

impl Audits {
    /// For the account of a sender.
    #[must_use]
    pub fn new(settings: Settings, sender: Arc<Sender>) -> Audits {
        let me = Me {
            account: sender.account(),
            node: sender.ledger().node_key(),
            is_auditor: settings.options.is_auditor,
            is_payer: settings.receipts.is_some(),
        };
        let (store, kept) =
            (Store(settings.blobs.clone()), Kept::new(settings.options.folder.clone()));
        let (computing, parties) = (tokio::sync::Mutex::default(), Mutex::default());
        let (given_up, notes) = (Mutex::default(), Mutex::default());
        Audits { settings, sender, me, store, kept, computing, parties, given_up, notes }
    }

    /// Does what is owed with each block, until the ledger ends. What is quick does not wait for what
    /// has to be computed.
    pub async fn run(self: Arc<Audits>) {
        tokio::join!(self.follow(true), self.follow(false));
    }

    /// What the owner should know, the latest last.
    #[must_use]
    pub fn notes(&self) -> Vec<Note> {
        locked(&self.notes).iter().cloned().collect()
    }

    async fn follow(&self, is_quick: bool) {
        let mut tips = self.ledger().tips();
        loop {
            let mut tried = BTreeSet::new();
            while let Some(due) = self.next(is_quick, &tried) {
                tried.insert((due.key, due.duty));
                if let Err(why) = self.fulfil(&due).await {
                    self.note(due.key, &why);
                }
            }
            if is_quick {
                self.forget();
            }
            if tips.changed().await.is_err() {
                return;
            }
        }
    }

    /// The most urgent duty that was not tried since the last block.
    fn next(&self, is_quick: bool, tried: &BTreeSet<(Key, Duty)>) -> Option<Due> {
        let all = self.look(|state| due(state, &self.me));
        let given_up = locked(&self.given_up);
        all.into_iter().find(|it| {
            it.duty.is_quick() == is_quick
                && !given_up.contains(&it.key)
                && !tried.contains(&(it.key, it.duty))
        })
    }

    async fn fulfil(&self, due: &Due) -> Result<(), String> {
        match due.duty {
            Duty::Commit => self.commit(due).await,
            Duty::Reveal => self.reveal(due).await,
            Duty::Challenge => self.challenge(due).await,
            Duty::Check => self.check(due).await,
            Duty::Prepare => self.prepare(due).await,
            Duty::ShowPayload => self.show_payload(due).await,
            Duty::ShowReceipt => self.show_receipt(due).await,
            Duty::Answer => self.answer(due).await,
            Duty::State => self.take_turn(due).await,
            Duty::Prove => self.prove(due).await,
        }
    }

    /// Lets go of what was kept of audits that are over.
    fn forget(&self) {
        let open: BTreeSet<Key> = self.look(|state| state.all_audits().map(|it| *it.0).collect());
        self.kept.forget(|key| open.contains(&key));
        locked(&self.parties).retain(|key, _| open.contains(key));
        locked(&self.given_up).retain(|key| open.contains(key));
    }

    fn ledger(&self) -> &Ledger {
        self.sender.ledger()
    }

    fn look<T>(&self, see: impl FnOnce(&State) -> T) -> T {
        see(self.ledger().chain().state())
    }

    fn batch(&self, key: Key) -> Result<Batch, String> {
        let batch = self.look(|state| state.batch(key.0).cloned());
        batch.ok_or_else(|| "the batch is settled".to_owned())
    }

    /// The payload of a receipt for which the account was drawn.
    fn payload(&self, key: Key) -> Option<Payload> {
        let given = self.kept.get(key).and_then(|it| it.given);
        self.look(|state| match given {
            Some(given) => shown(state, &given).ok().map(|it| it.1),
            None => state.payload(key).cloned(),
        })
    }

    async fn send(&self, action: Action) -> Result<(), String> {
        self.sender.send(action).await
    }

    /// A run computed again, or as it was computed before.
    async fn computed(
        &self,
        key: Key,
        batch: &Batch,
        payload: Payload,
    ) -> Result<Computed, String> {
        let known = locked(&self.parties).get(&key).cloned();
        match known {
            Some(party) => Ok(Computed::Run(party)),
            None => self.compute_with(key, batch, payload, self.settings.options.isa).await,
        }
    }

    async fn compute_with(
        &self,
        key: Key,
        batch: &Batch,
        payload: Payload,
        isa: Isa,
    ) -> Result<Computed, String> {
        let (store, work) = (self.store.clone(), batch.work);
        let computed = self.compute(move || {
            let model = store.model(&work)?;
            let count = payload.asked.prompt.as_slice().len() + payload.output.as_slice().len();
            if count > model.config().run_max() {
                return Ok(Computed::TooLong);
            }
            match Party::replay(model, payload, isa) {
                Ok(party) => Ok(Computed::Run(Arc::new(party))),
                Err(NotReplayed::Refused(refused)) => Ok(Computed::Not(refused.to_string())),
                Err(error) => Err(error.to_string()),
            }
        });
        let computed = computed.await??;
        if let Computed::Run(party) = &computed {
            let mut parties = locked(&self.parties);
            if parties.len() >= PARTIES_MAX && !parties.contains_key(&key) {
                parties.pop_first();
            }
            parties.insert(key, Arc::clone(party));
        }
        Ok(computed)
    }

    /// Computes something, on a thread of its own and after everything else that is computed here.
    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let _one = self.computing.lock().await;
        tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string())
    }

    /// Has nothing more to do in an audit.
    fn leave(&self, key: Key) {
        locked(&self.given_up).insert(key);
    }

    /// Does nothing more in an audit, and gives the reason.
    fn give_up(&self, key: Key, why: &str) -> String {
        self.leave(key);
        tracing::error!(batch = key.0, index = key.1, why, "nothing more is done in an audit");
        why.to_owned()
    }

    /// Tells the owner, once.
    fn note(&self, key: Key, what: &str) {
        let note = Note { key, what: what.to_owned() };
        let mut notes = locked(&self.notes);
        if notes.contains(&note) {
            return;
        }
        tracing::warn!(batch = key.0, index = key.1, what, "an audit");
        if notes.len() >= NOTES_MAX {
            notes.pop_front();
        }
        notes.push_back(note);
    }
}

fn locked<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}
