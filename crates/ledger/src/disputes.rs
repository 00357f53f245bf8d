//! Disputes about audited receipts: who is wrong, by the one cell that is computed again.
//!
//! A challenger states the root of the run's trace and the answer's root as it has computed them, and
//! the worker the root of its own trace. Where the traces differ, the first cell that does is judged
//! from evidence; where only the answers' roots do, the first of their leaves; where neither does, the
//! challenger shows a token that the rules do not choose. Specified in `docs/spec/ledger.md`,
//! section 16.
//!
//! Invariants:
//! - Each turn has a last block, and whoever is silent in it loses.
//! - A challenger's stake is bound for as long as its dispute lasts; a party loses only by a proof that
//!   every machine repeats, or by its own silence.
//!
//! Not here: whose turn it is within a dispute (`audit::dispute`), and what a step computes.

use audit::dispute::{self, Phase, Refused, Side, Verdict};
use audit::graph::Shape;
use audit::receipt::{Receipt, Trust};
use types::amount::{Amount, Height};
use types::envelope::Order;
use types::id::{Address, Cid, Hash};
use types::measure::Parameter;
use types::record;
use types::transaction::{Action, AnswerChallenge, Challenge, DivideTrace, OpenStep};
use types::word::Finding;

use crate::audits::{self, Audit, Key, Stage, at, close, convict, enter, punish_matches, wait};
use crate::batches::Batch;
use crate::event::Event;
use crate::refusal::Refusal;
use crate::state::State;
use crate::{stakes, standing};

mod judging;

pub use judging::adds;
pub(crate) use judging::{forget, judge, show_evidence, show_model};

/// Disputes that are open at a time. Each side's evidence has at most 3 MiB, so that all of it stays
/// below 400 MiB, and a bond is bound for each.
pub const DISPUTES_MAX: usize = 64;

record! {
    /// A dispute about an audited receipt.
    Dispute {
        /// Who disputes it.
        challenger: Address,
        /// What of the challenger's stake is bound.
        bond: Amount,
        /// The answer's root, as the challenger has computed it.
        root: Hash,
        /// The root of the challenger's trace.
        trace: Hash,
        /// Turns of the two sides, once the worker has stated its trace, unless there is nothing to
        /// divide.
        turns: Option<dispute::Dispute>,
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Refusal {
        match refused {
            Refused::NoDifference => Refusal::NothingDisputed,
            Refused::OutOfTurn | Refused::Late { .. } | Refused::Early { .. } => Refusal::NotNow,
            Refused::Twice => Refusal::AlreadyStated,
            Refused::Count { .. } => Refusal::NodesCount,
            Refused::Unfaithful => Refusal::OtherNodes,
        }
    }
}

/// How long the run of a receipt is. No receipt is shown that has more tokens than a context.
pub(crate) fn shape(receipt: &Receipt) -> Shape {
    let count = |tokens: u32| usize::try_from(tokens).unwrap_or(usize::MAX);
    Shape { prompt: count(receipt.prompt_tokens), output: count(receipt.output_tokens) }
}

/// The side of an account in a dispute, if it has one.
#[must_use]
pub fn side(state: &State, key: Key, batch: &Batch, account: &Address) -> Option<Side> {
    let dispute = state.dispute(key)?;
    match *account {
        it if it == batch.worker => Some(Side::Worker),
        it if it == dispute.challenger => Some(Side::Challenger),
        _ => None,
    }
}

/// Whether the state waits for an order that may be large, as far as can be told without applying it:
/// nobody else's is worth a node's memory. All others pass.
///
/// # Errors
///
/// The refusal that applying it would give.
pub fn expected(state: &State, order: &Order) -> Result<(), Refusal> {
    let from = |key: Key| {
        let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
        let audit = state.audit(key).ok_or(Refusal::AuditUnknown)?;
        let is_asked = audit.stage == Stage::PayloadWanted && order.account == batch.worker;
        let is_side = side(state, key, batch, &order.account).is_some();
        if is_asked || is_side { Ok(()) } else { Err(Refusal::NotDisputant) }
    };
    match &order.action {
        Action::OpenPayload(it) => from((it.batch, it.index)),
        Action::ShowEvidence(it) => from((it.batch, it.index)),
        Action::ShowModel(it) => judging::unknown(state, &it.work),
        _ => Ok(()),
    }
}

pub(crate) fn challenge(
    state: &mut State,
    account: Address,
    it: &Challenge,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let mut audit = at(state, key, &[Stage::Challenging])?;
    let batch = state.batch(key.0).cloned().ok_or(Refusal::AuditUnknown)?;
    let receipt = audit.receipt.clone().ok_or(Refusal::NotNow)?;
    claim(&mut audit, account, &receipt, it.root)?;
    let graph = state.models.get(&batch.work).ok_or(Refusal::ModelNotShown)?.graph;
    if state.disputes.count() >= DISPUTES_MAX {
        return Err(Refusal::DisputesFull);
    }
    let shape = shape(&receipt);
    let is_run = shape.positions() < graph.config.run_max();
    let bond = state.parameter_amount(Parameter::ChallengeBond);
    stakes::bind(state, account, bond)?;
    let Challenge { root, trace, .. } = *it;
    let dispute = Dispute { challenger: account, bond, root, trace, turns: None };
    state.disputes.put(key, dispute);
    if is_run {
        enter(state, key, audit, Stage::Answering);
    } else {
        // No engine computes a run that is longer than the model's context.
        finish(state, key, &audit, Verdict::WorkerWrong);
    }
    Ok(())
}

/// Takes the claim of an auditor whose finding was no match, or of the payer: once each.
fn claim(
    audit: &mut Audit,
    account: Address,
    receipt: &Receipt,
    root: Hash,
) -> Result<(), Refusal> {
    if receipt.terms.trust == Trust::Fast {
        return Err(Refusal::NoClaim);
    }
    if account == receipt.terms.payer && !audit.by_payer {
        audit.by_payer = true;
        return Ok(());
    }
    let is_open = |seat: &audits::Seat| {
        seat.finding == Some(Finding::NoMatch) && seat.root == root && !seat.has_challenged
    };
    if !audit.seat(&account).is_some_and(is_open) {
        return Err(Refusal::NoClaim);
    }
    audit.change(&account, |seat| {
        seat.has_challenged = true;
        Ok(())
    })
}

pub(crate) fn answer(
    state: &mut State,
    account: Address,
    it: &AnswerChallenge,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let audit = at(state, key, &[Stage::Answering])?;
    let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
    if account != batch.worker {
        return Err(Refusal::NotTheWorker);
    }
    let graph = state.models.get(&batch.work).ok_or(Refusal::ModelNotShown)?.graph;
    let receipt = audit.receipt.as_ref().ok_or(Refusal::NotNow)?;
    let mut dispute = state.dispute(key).cloned().ok_or(Refusal::NotNow)?;
    let root = audit.root.ok_or(Refusal::NotNow)?;
    let time = (state.now().0, state.parameter(Parameter::DisputeBlocks));
    dispute.turns = if it.trace != dispute.trace {
        let steps = graph.steps(&shape(receipt));
        Some(dispute::Dispute::new(steps, [it.trace.0, dispute.trace.0], time)?)
    } else if root != dispute.root {
        let tokens = receipt.output_tokens.into();
        Some(dispute::Dispute::of_answers(tokens, [root.0, dispute.root.0], time)?)
    } else {
        None
    };
    let until = dispute.turns.as_ref().map(|turns| Height(turns.deadline()));
    state.disputes.put(key, dispute);
    match until {
        Some(until) => wait(state, key, Audit { stage: Stage::Disputed, ..audit }, until),
        None => enter(state, key, audit, Stage::Token),
    }
    Ok(())
}

pub(crate) fn divide(state: &mut State, account: Address, it: &DivideTrace) -> Result<(), Refusal> {
    let nodes: Vec<merkle::Digest> = it.nodes.as_slice().iter().map(|node| node.0).collect();
    turn(state, account, (it.batch, it.index), |turns, side, now| turns.divide(side, &nodes, now))
}

/// Opens the step that differs, or the tree over the answer's leaves.
pub(crate) fn open(state: &mut State, account: Address, it: &OpenStep) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let audit = at(state, key, &[Stage::Disputed])?;
    let receipt = audit.receipt.as_ref().ok_or(Refusal::NotNow)?;
    let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
    let graph = state.models.get(&batch.work).ok_or(Refusal::ModelNotShown)?.graph;
    let (shape, prompt, root) = (shape(receipt), receipt.prompt.0, it.root.0);
    turn(state, account, key, |turns, side, now| {
        let Phase::Open { step, .. } = turns.phase() else {
            return turns.open_answer(side, &root, &prompt, now);
        };
        let place = graph.place_of(&shape, *step).ok_or(Refused::OutOfTurn)?;
        let (cells, _) = graph.cells(place);
        turns.open(side, &root, u64::try_from(cells).unwrap_or(u64::MAX), now)
    })
}

/// Takes a side's statement, and goes on to the next turn where both have made theirs.
fn turn(
    state: &mut State,
    account: Address,
    key: Key,
    take: impl FnOnce(&mut dispute::Dispute, Side, u64) -> Result<(), Refused>,
) -> Result<(), Refusal> {
    let audit = at(state, key, &[Stage::Disputed])?;
    let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
    let side = side(state, key, batch, &account).ok_or(Refusal::NotDisputant)?;
    let mut dispute = state.dispute(key).cloned().ok_or(Refusal::NotNow)?;
    let turns = dispute.turns.as_mut().ok_or(Refusal::NotNow)?;
    take(turns, side, state.now().0)?;
    let until = Height(turns.deadline());
    state.disputes.put(key, dispute);
    if until != audit.until {
        wait(state, key, audit, until);
    }
    Ok(())
}

/// Ends a dispute in which someone was silent until the last block of its turn, which this one is.
pub(crate) fn expire(state: &mut State, key: Key, audit: Audit) {
    let verdict = match audit.stage {
        Stage::Answering => Verdict::Silent(Side::Worker),
        Stage::Token => Verdict::Silent(Side::Challenger),
        _ => {
            let Some(mut dispute) = state.dispute(key).cloned() else { return };
            let after = state.now().after(1).0;
            let turns = dispute.turns.as_mut().map(|turns| turns.expire(after));
            // The turn's last block is the audit's, so that there is nothing to be early for.
            turns.and_then(Result::ok).unwrap_or(Verdict::Silent(Side::Challenger))
        }
    };
    finish(state, key, &audit, verdict);
}

/// Does what follows from a verdict.
fn finish(state: &mut State, key: Key, audit: &Audit, verdict: Verdict) {
    let Some(batch) = state.batch(key.0).cloned() else { return };
    let Some(dispute) = state.dispute(key).cloned() else { return };
    let (is_worker_wrong, is_challenger_wrong) = match verdict {
        Verdict::WorkerWrong | Verdict::Silent(Side::Worker) => (true, false),
        Verdict::ChallengerWrong | Verdict::Silent(Side::Challenger) => (false, true),
        Verdict::BothWrong => (true, true),
    };
    release(state, key);
    state.disputes.remove(&key);
    forget(state, key);
    state.say(Event::Judged { batch: key.0, index: key.1, verdict });
    let challenger = dispute.challenger;
    if is_challenger_wrong {
        let wronged = if is_worker_wrong { batch.payer } else { batch.worker };
        standing::clear(state, challenger);
        stakes::slash(state, challenger, dispute.bond, Some(wronged), None);
        stakes::jail(state, challenger);
    }
    if is_worker_wrong {
        // A worker that was silent has lost, but nothing is proved of its root.
        if matches!(verdict, Verdict::WorkerWrong | Verdict::BothWrong) {
            punish_matches(state, audit, batch.payer);
        }
        convict(state, key, audit, (!is_challenger_wrong).then_some(challenger));
    } else if audit.found(Finding::NoMatch).next().is_some() {
        enter(state, key, audit.clone(), Stage::Challenging);
    } else {
        close(state, key, audit);
    }
}

/// Frees what a dispute has bound.
pub(crate) fn release(state: &mut State, key: Key) {
    if let Some(Dispute { challenger, bond, .. }) = state.dispute(key).cloned() {
        stakes::free(state, challenger, bond);
    }
}

impl State {
    /// Whether a model was shown, so that its runs can be disputed.
    #[must_use]
    pub fn is_model_shown(&self, work: &Cid) -> bool {
        self.models.get(work).is_some()
    }

    /// A dispute that is not over.
    #[must_use]
    pub fn dispute(&self, key: Key) -> Option<&Dispute> {
        self.disputes.get(&key)
    }
}
