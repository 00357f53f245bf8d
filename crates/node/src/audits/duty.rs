//! What an account owes the audits on the ledger: a function of the ledger's state, without a clock.
//!
//! ```text
//! auditor      Commit, Reveal, Challenge; then State and Prove in its dispute
//! worker       Prepare, ShowPayload, ShowReceipt, Answer; then State in the dispute
//! payer        Check, where nobody else may read the answer; then as an auditor that disputes
//! ```
//!
//! A duty stands until the ledger has taken what fulfils it. So whoever was killed is told the same again
//! when it comes back, and nothing need be remembered but what the ledger does not know (`kept`).
//!
//! Invariants:
//! - What the ledger would refuse in this state is no duty.
//!
//! Not here: how a duty is fulfilled (`auditor`, `defence`, `turns`).

use audit::dispute::{Phase, Side};
use audit::receipt::Trust;
use ledger::audits::{Audit, Key, Stage};
use ledger::disputes::side;
use ledger::state::State;
use types::amount::Height;
use types::id::{Address, Hash};
use types::word::Finding;

/// Who asks what it owes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Me {
    /// The account.
    pub(super) account: Address,
    /// Its node: it stands by what it has signed itself, and by nothing of the account's other nodes.
    pub(super) node: Hash,
    /// Whether it finds out about receipts for which its account is drawn.
    pub(super) is_auditor: bool,
    /// Whether it keeps what it was answered, and so can find out about that.
    pub(super) is_payer: bool,
}

/// What is owed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Duty {
    /// Find out about a receipt, and commit to that.
    Commit,
    /// Say what was committed to.
    Reveal,
    /// Dispute the receipt.
    Challenge,
    /// Find out about a receipt of one's own that nobody else may read, and dispute it if it is wrong.
    Check,
    /// Be ready to show the receipt, or show it if its auditors have nothing to find.
    Prepare,
    /// Show the payload that was asked for.
    ShowPayload,
    /// Show the receipt and its root.
    ShowReceipt,
    /// State the trace of a receipt that is disputed.
    Answer,
    /// Take one's turn in a dispute.
    State,
    /// Bring the evidence by which a dispute is judged.
    Prove,
}

/// A duty, and until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    /// In which audit.
    pub(super) key: Key,
    /// What.
    pub(super) duty: Duty,
    /// The last block in which it counts.
    pub(super) until: Height,
}

impl Duty {
    /// Whether nothing has to be computed for it, so that it need not wait for what has.
    #[must_use]
    pub(super) fn is_quick(self) -> bool {
        matches!(self, Duty::Reveal | Duty::ShowPayload)
    }
}

/// Everything that is owed, the most urgent first.
#[must_use]
pub(super) fn due(state: &State, me: &Me) -> Vec<Due> {
    let all = state.all_audits();
    let mut due: Vec<Due> = all
        .filter_map(|(&key, audit)| {
            let duty = of_auditor(audit, me)
                .or_else(|| of_worker(state, key, audit, me))
                .or_else(|| of_payer(audit, me))
                .or_else(|| of_disputant(state, key, audit, me))?;
            Some(Due { key, duty, until: audit.until })
        })
        .collect();
    due.sort_by_key(|it| (it.until, it.key));
    due
}

fn of_auditor(audit: &Audit, me: &Me) -> Option<Duty> {
    let seat = audit.seat(&me.account)?;
    let is_silent = seat.commitment.is_some() && seat.finding.is_none();
    match audit.stage {
        Stage::Committing if seat.commitment.is_none() && me.is_auditor => Some(Duty::Commit),
        Stage::Revealing if is_silent => Some(Duty::Reveal),
        Stage::Challenging if seat.finding == Some(Finding::NoMatch) && !seat.has_challenged => {
            Some(Duty::Challenge)
        }
        _ => None,
    }
}

fn of_payer(audit: &Audit, me: &Me) -> Option<Duty> {
    let terms = &audit.receipt.as_ref()?.terms;
    let is_own = terms.payer == me.account && terms.trust == Trust::Private;
    let is_open = audit.stage == Stage::Challenging && !audit.by_payer;
    (me.is_payer && is_own && is_open).then_some(Duty::Check)
}

fn of_worker(state: &State, key: Key, audit: &Audit, me: &Me) -> Option<Duty> {
    let batch = state.batch(key.0)?;
    if (batch.worker, batch.node) != (me.account, me.node) {
        return None;
    }
    match audit.stage {
        Stage::Committing => Some(Duty::Prepare),
        Stage::PayloadWanted => Some(Duty::ShowPayload),
        Stage::Opening => Some(Duty::ShowReceipt),
        Stage::Answering => Some(Duty::Answer),
        _ => None,
    }
}

fn of_disputant(state: &State, key: Key, audit: &Audit, me: &Me) -> Option<Duty> {
    let batch = state.batch(key.0)?;
    let side = side(state, key, batch, &me.account)?;
    if side == Side::Worker && batch.node != me.node {
        return None;
    }
    let turns = state.dispute(key)?.turns.as_ref();
    match (audit.stage, turns.map(|it| it.phase())) {
        (Stage::Token, _) => (side == Side::Challenger).then_some(Duty::Prove),
        // Who brings no evidence loses as the challenger, so that a worker need not bring any.
        (Stage::Disputed, Some(Phase::Judge(_) | Phase::Position(_))) => {
            (side == Side::Challenger).then_some(Duty::Prove)
        }
        (Stage::Disputed, Some(_)) => {
            turns.is_some_and(|it| !it.has_stated(side)).then_some(Duty::State)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
