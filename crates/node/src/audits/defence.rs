//! The worker: shows what was drawn, and stands by its work as long as it is right.
//!
//! It computes its answer again before it shows a root or defends one. Where that gives another root
//! than it stated, its machine was at fault then or is now, and it says so and defends nothing: what
//! it loses by silence is no more than what it would lose by a dispute.
//!
//! Invariants:
//! - No root is shown or defended that this node does not compute itself.
//!
//! Not here: turns of a dispute (`turns`), who is given the payload without the ledger (`payloads`).

use std::sync::Arc;

use audit::commitment::blind;
use audit::receipt::Trust;
use engine::kernels::Isa;
use ledger::audits::Key;
use ledger::batches::Batch;
use types::id::Hash;
use types::transaction::{Action, AnswerChallenge, OpenReceipt};

use super::duty::Due;
use super::party::Party;
use super::payloads::Own;
use super::{Audits, Computed};

const OTHER_ROOT: &str = "this node computes another root than it stated: its memory, disk or processor has failed, and it \
     does not defend the answer";

impl Audits {
    /// Gets ready to show a receipt; shows one at once that is not for its auditors to find out about.
    pub(super) async fn prepare(&self, due: &Due) -> Result<(), String> {
        let own = self.own(due.key)?;
        match own.trust {
            Trust::Private | Trust::Fast => self.show_receipt(due).await,
            Trust::Checked | Trust::Attested => {
                self.wait_for_idle(due.until).await;
                self.stated(due.key, &self.batch(due.key)?, &own).await.map(drop)
            }
        }
    }

    /// Shows a payload that was asked for on the ledger.
    pub(super) async fn show_payload(&self, due: &Due) -> Result<(), String> {
        let own = self.own(due.key)?;
        match own.trust {
            Trust::Private | Trust::Fast => self.show_receipt(due).await,
            Trust::Checked | Trust::Attested => self.send(Action::OpenPayload(own.shown)).await,
        }
    }

    /// Shows a receipt and its root.
    pub(super) async fn show_receipt(&self, due: &Due) -> Result<(), String> {
        let own = self.own(due.key)?;
        let party = self.stated(due.key, &self.batch(due.key)?, &own).await?;
        let Own { shown, blinding, .. } = own;
        self.send(Action::OpenReceipt(OpenReceipt {
            batch: shown.batch,
            index: shown.index,
            receipt: shown.receipt,
            path: shown.path,
            blinding,
            root: party.root(),
        }))
        .await
    }

    /// States the trace of a receipt that is disputed.
    pub(super) async fn answer(&self, due: &Due) -> Result<(), String> {
        let own = self.own(due.key)?;
        let party = self.stated(due.key, &self.batch(due.key)?, &own).await?;
        let trace = self.compute(move || party.trace_root()).await?.ok_or("there is no trace")?;
        let (batch, index) = due.key;
        tracing::warn!(batch, index, "an answer of this node is disputed, and defended");
        self.send(Action::AnswerChallenge(AnswerChallenge { batch, index, trace })).await
    }

    /// What this node has stated, computed again and found the same.
    pub(super) async fn stated(
        &self,
        key: Key,
        batch: &Batch,
        own: &Own,
    ) -> Result<Arc<Party>, String> {
        let is_it = |party: &Party| {
            let blinded = Hash(blind(&party.root().0, &own.blinding.0));
            blinded == own.blinded && party.wrong.is_none()
        };
        let mut computed = self.computed(key, batch, own.payload.clone()).await?;
        if let Computed::Run(party) = &computed
            && !is_it(party)
        {
            // This time it may be the machine that was wrong.
            computed = self.compute_with(key, batch, own.payload.clone(), Isa::Scalar).await?;
        }
        match computed {
            Computed::Run(party) if is_it(&party) => Ok(party),
            Computed::Run(_) => Err(self.give_up(key, OTHER_ROOT)),
            Computed::TooLong => Err(self.give_up(key, "it is longer than the model's context")),
            Computed::Not(why) => Err(format!("it cannot be computed again: {why}")),
        }
    }

    pub(super) fn own(&self, key: Key) -> Result<Own, String> {
        let earned = self.settings.earned.as_ref().ok_or("this node earns nothing")?;
        let own = Own::find(earned, &self.batch(key)?, key);
        own.ok_or_else(|| "the receipt is not on this disk any more".to_owned())
    }
}
