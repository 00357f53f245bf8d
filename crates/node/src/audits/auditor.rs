//! The auditor: finds out about a receipt, commits to that, reveals it, and disputes what is wrong; and the
//! payer, who does it of its own answers that nobody else may read.
//!
//! Invariants:
//! - What was found is on the disk before the commitment leaves.
//! - Nobody is accused before the artifact was hashed, and the answer computed a second time with the
//!   reference kernels.
//! - An auditor without the model says `inconclusive`, which earns and costs nothing.
//!
//! Not here: turns of a dispute (`turns`).

use std::sync::Arc;

use audit::receipt::Payload;
use engine::kernels::Isa;
use ledger::audits::Key;
use ledger::batches::Batch;
use types::amount::Height;
use types::bounded::{Bytes, List};
use types::codec::{decode, encode};
use types::id::Hash;
use types::measure::Parameter;
use types::transaction::{Action, AskPayload, Challenge, OpenPayload};
use types::word::{Finding, Lack};

use super::duty::Due;
use super::kept::Verdict;
use super::party::Party;
use super::payloads::fetch;
use super::{Audits, Computed};
use crate::seeding::random;

/// What stands for a root where none was computed.
const NONE: Hash = Hash([0; 32]);

impl Audits {
    /// Commits to what is found about a receipt.
    pub(super) async fn commit(&self, due: &Due) -> Result<(), String> {
        if let Some(verdict) = self.kept.get(due.key) {
            return self.send(verdict.commit(&self.me.account)).await;
        }
        let batch = self.batch(due.key)?;
        let (found, given) = if self.store.has(&batch.work) {
            let Some((payload, given)) = self.payload_of(due, &batch).await? else {
                return Ok(());
            };
            self.wait_for_idle(due.until).await;
            (self.find(due.key, &batch, payload).await?, given)
        } else {
            tracing::warn!(work = %batch.work, "drawn for a model that is not here");
            ((Finding::Inconclusive, NONE), None)
        };
        let salt = random().map_err(|error| error.to_string())?;
        let verdict = self.keep(due.key, found, salt, given)?;
        self.send(verdict.commit(&self.me.account)).await
    }

    /// Keeps what was found, before anyone is told of it.
    fn keep(
        &self,
        (batch, index): Key,
        (finding, root): (Finding, Hash),
        salt: Hash,
        given: Option<OpenPayload>,
    ) -> Result<Verdict, String> {
        let verdict = Verdict { batch, index, finding, root, salt, given };
        self.kept.put(&verdict).map_err(|error| format!("the verdict cannot be kept: {error}"))?;
        tracing::info!(batch, index, finding = finding.word(), "an answer was computed again");
        Ok(verdict)
    }

    /// Reveals what was committed to.
    pub(super) async fn reveal(&self, due: &Due) -> Result<(), String> {
        let verdict = self.kept.get(due.key).ok_or("what was committed to is not on this disk")?;
        self.send(verdict.reveal()).await
    }

    /// Finds out about a receipt that this node's account has paid and nobody else may read, and disputes
    /// it if it is wrong.
    pub(super) async fn check(&self, due: &Due) -> Result<(), String> {
        let (key, batch) = (due.key, self.batch(due.key)?);
        let verdict = match self.kept.get(key) {
            Some(verdict) => verdict,
            None => self.find_own(due, &batch).await?,
        };
        let stated = self.look(|state| state.audit(key).and_then(|audit| audit.root));
        let is_right = verdict.finding == Finding::Match && stated == Some(verdict.root);
        if is_right || verdict.finding == Finding::Inconclusive {
            self.leave(key);
            return Ok(());
        }
        self.challenge(due).await
    }

    /// What is found about a receipt of which this node keeps the payload, on the disk.
    async fn find_own(&self, due: &Due, batch: &Batch) -> Result<Verdict, String> {
        let key = due.key;
        let receipt = self.look(|state| state.audit(key).and_then(|audit| audit.receipt.clone()));
        let id = receipt.ok_or("the receipt is not shown")?.id();
        let statement = self.settings.receipts.as_ref().and_then(|receipts| receipts.get(&id));
        let Some(statement) = statement else {
            return Err(self.give_up(key, "what was answered is not kept any more"));
        };
        if !self.store.has(&batch.work) {
            return Err(self.give_up(key, "the model of an own answer is not here to check it"));
        }
        let payload = decode::<Payload>(&statement.payload).map_err(|error| error.to_string())?;
        // As the ledger takes it.
        let payload = Payload { blinding: None, ..payload };
        let given = OpenPayload {
            batch: key.0,
            index: key.1,
            receipt: Bytes::new(statement.receipt).map_err(|error| error.to_string())?,
            path: List::default(),
            payload: Bytes::new(encode(&payload)).map_err(|error| error.to_string())?,
        };
        self.wait_for_idle(due.until).await;
        let found = self.find(key, batch, payload).await?;
        // Nothing is committed to, so that there is nothing to hide.
        self.keep(key, found, NONE, Some(given))
    }

    /// Disputes a receipt, once it is sure that it is wrong.
    pub(super) async fn challenge(&self, due: &Due) -> Result<(), String> {
        let key = due.key;
        let verdict = self.kept.get(key).ok_or("what was found is not on this disk")?;
        let batch = self.batch(key)?;
        let payload = self.payload(key).ok_or("the payload is not on this disk")?;
        let trace = match self.compute_surely(key, &batch, payload).await? {
            Computed::Run(party) => {
                self.is_wrong(key, &party, verdict.root)?;
                let party = Arc::clone(&party);
                self.compute(move || party.trace_root()).await?.ok_or("there is no trace")?
            }
            // The ledger sees that by itself.
            Computed::TooLong => NONE,
            Computed::Not(why) => return Err(self.give_up(key, &why)),
        };
        self.show_model(&batch).await?;
        let (root, (batch, index)) = (verdict.root, key);
        tracing::warn!(batch, index, "an answer is wrong, and disputed");
        self.send(Action::Challenge(Challenge { batch, index, root, trace })).await
    }

    /// Whether a second replay says what the first one did, and that the receipt is wrong.
    fn is_wrong(&self, key: Key, party: &Party, found: Hash) -> Result<(), String> {
        let stated = self.look(|state| state.audit(key).and_then(|audit| audit.root));
        if party.root() != found {
            return Err(self.give_up(key, "two replays of it differ: this machine is not sound"));
        }
        match stated == Some(found) && party.wrong.is_none() {
            true => Err(self.give_up(key, "a second replay finds nothing wrong with it")),
            false => Ok(()),
        }
    }

    /// The payload of a receipt for which the account was drawn, and what the worker gave; none as long
    /// as it has not come.
    async fn payload_of(
        &self,
        due: &Due,
        batch: &Batch,
    ) -> Result<Option<(Payload, Option<OpenPayload>)>, String> {
        let key = due.key;
        if let Some(payload) = self.look(|state| state.payload(key).cloned()) {
            return Ok(Some((payload, None)));
        }
        let network = self.settings.peers.as_ref().and_then(|peers| peers.network().cloned());
        let fetched = match network {
            Some(network) => fetch(&network, self.ledger(), batch.node, key).await,
            None => Err((Lack::Timeout, "this node is in no network".to_owned())),
        };
        match fetched {
            Ok((shown, payload)) => Ok(Some((payload, Some(shown)))),
            // The worker may be away for a moment only; who asks on the ledger shows it to everyone.
            Err((_, why)) if !self.is_late(due.until) => {
                tracing::debug!(batch = key.0, index = key.1, why, "a worker gives no payload");
                Ok(None)
            }
            Err((lack, why)) => {
                tracing::info!(batch = key.0, index = key.1, why, "asking on the ledger");
                let (batch, index) = key;
                self.send(Action::AskPayload(AskPayload { batch, index, lack })).await?;
                Ok(None)
            }
        }
    }

    async fn find(
        &self,
        key: Key,
        batch: &Batch,
        payload: Payload,
    ) -> Result<(Finding, Hash), String> {
        Ok(match self.computed(key, batch, payload).await? {
            Computed::Run(party) => match party.wrong {
                None => (Finding::Match, party.root()),
                Some(_) => (Finding::NoMatch, party.root()),
            },
            Computed::TooLong => (Finding::NoMatch, NONE),
            Computed::Not(why) => {
                self.note(key, &format!("it cannot be computed again: {why}"));
                (Finding::Inconclusive, NONE)
            }
        })
    }

    /// Computes a run again with the reference kernels, from an artifact that has its name's hash.
    async fn compute_surely(
        &self,
        key: Key,
        batch: &Batch,
        payload: Payload,
    ) -> Result<Computed, String> {
        let (store, work) = (self.store.clone(), batch.work);
        self.compute(move || store.verify(&work)).await??;
        self.compute_with(key, batch, payload, Isa::Scalar).await
    }

    /// Waits until this node has nothing else to compute, or half of a stage is over.
    pub(super) async fn wait_for_idle(&self, until: Height) {
        let Some(load) = &self.settings.load else { return };
        let (mut load, mut tips) = (load.clone(), self.ledger().tips());
        loop {
            let is_idle = {
                let load = load.borrow_and_update();
                load.own + load.others == 0
            };
            if is_idle || self.is_late(until) {
                return;
            }
            let more = tokio::select! {
                more = load.changed() => more.is_ok(),
                more = tips.changed() => more.is_ok(),
            };
            if !more {
                return;
            }
        }
    }

    /// Whether half of a stage is over.
    fn is_late(&self, until: Height) -> bool {
        self.look(|state| {
            let half = state.parameter(Parameter::AuditBlocks) / 2;
            state.now().after(half) >= until
        })
    }
}
