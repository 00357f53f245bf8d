//! What a dispute is judged from: a model's shape, pieces of evidence, rows and tokens of a trace.
//!
//! Invariants:
//! - What is shown counts only if it leads to what both sides agree on, to the model's name, or to the
//!   receipt.
//!
//! Not here: what follows from a verdict (`disputes`).

use audit::artifact::{Artifact, Piece};
use audit::case::{About, Case, Shown};
use audit::dispute::{Cell, Phase, Side, Verdict};
use audit::referee::{StepInput, Undecided};
use audit::replay::Run;
use audit::rows::{leaf_of, token_of};
use types::codec::decode;
use types::id::{Address, Cid};
use types::transaction::{JudgeDispute, ShowEvidence, ShowModel};

use super::{finish, shape, side};
use crate::audits::{Audit, Key, Stage, at};
use crate::event::Event;
use crate::refusal::Refusal;
use crate::state::State;

/// Keeps the shape of a registered model, from its first chunk.
pub(crate) fn show_model(state: &mut State, it: &ShowModel) -> Result<(), Refusal> {
    unknown(state, &it.work)?;
    let piece = decode::<Piece>(it.piece.as_slice()).map_err(|_| Refusal::BadModel)?;
    let mut artifact = Artifact::named(&it.work).ok_or(Refusal::BadModel)?;
    artifact.add(piece).map_err(|_| Refusal::BadModel)?;
    let outline = artifact.outline().ok_or(Refusal::BadModel)?;
    state.models.put(it.work, outline);
    state.say(Event::Model { work: it.work });
    Ok(())
}

/// Refuses a work that is not registered, or that was shown.
pub(super) fn unknown(state: &State, work: &Cid) -> Result<(), Refusal> {
    state.work(work).ok_or(Refusal::WorkUnknown)?;
    if state.models.get(work).is_some() { Err(Refusal::ModelShown) } else { Ok(()) }
}

/// Takes a piece of evidence from a side. A row or a token of an agreed trace decides at once.
pub(crate) fn show_evidence(
    state: &mut State,
    account: Address,
    it: &ShowEvidence,
) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let audit = at(state, key, &[Stage::Disputed, Stage::Token])?;
    let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
    let side = side(state, key, batch, &account).ok_or(Refusal::NotDisputant)?;
    let phase = state.dispute(key).and_then(|it| it.turns.as_ref()).map(|it| it.phase().clone());
    match phase {
        Some(Phase::Judge(cell)) => {
            let case = grown(state, key, &audit, (side, &cell), it.piece.as_slice())?;
            state.cases.put((key, number(side)), case);
            Ok(())
        }
        Some(Phase::Position(_)) | None => decide(state, key, &audit, it.piece.as_slice()),
        _ => Err(Refusal::NotNow),
    }
}

/// A side's case about a cell, and a piece more that it did not have.
fn grown(
    state: &State,
    key: Key,
    audit: &Audit,
    (side, cell): (Side, &Cell),
    piece: &[u8],
) -> Result<Case, Refusal> {
    let shown = decode::<Shown>(piece).map_err(|_| Refusal::BadEvidence)?;
    let mut case = state.cases.get(&(key, number(side))).cloned().unwrap_or_default();
    let before = case.size();
    with_case(state, key, audit, cell, |about, _| {
        case.add(about, shown).map_err(|undecided| match undecided {
            Undecided::TooMuch => Refusal::EvidenceFull,
            _ => Refusal::BadEvidence,
        })
    })?;
    if case.size() == before { Err(Refusal::AlreadyStated) } else { Ok(case) }
}

/// Whether a piece of evidence about a cell counts, and its side has not shown it before.
#[must_use]
pub fn adds(state: &State, side: Side, it: &ShowEvidence) -> bool {
    let key = (it.batch, it.index);
    let turns = state.dispute(key).and_then(|it| it.turns.as_ref());
    let (Some(audit), Some(Phase::Judge(cell))) = (state.audit(key), turns.map(|it| it.phase()))
    else {
        return false;
    };
    grown(state, key, audit, (side, cell), it.piece.as_slice()).is_ok()
}

/// Judges a leaf of the answer by the row of the agreed trace, or a token by its sample step.
fn decide(state: &mut State, key: Key, audit: &Audit, piece: &[u8]) -> Result<(), Refusal> {
    let step = decode::<StepInput>(piece).map_err(|_| Refusal::BadEvidence)?;
    let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
    let graph = state.models.get(&batch.work).ok_or(Refusal::ModelNotShown)?.graph;
    let mut dispute = state.dispute(key).cloned().ok_or(Refusal::NotNow)?;
    let receipt = audit.receipt.as_ref().ok_or(Refusal::NotNow)?;
    let shape = shape(receipt);
    let output = state.payload(key).ok_or(Refusal::Undecided)?.output.as_slice();
    let trace = dispute.trace.0;
    let verdict = match &mut dispute.turns {
        Some(turns) => {
            let Phase::Position(leaf) = *turns.phase() else { return Err(Refusal::NotNow) };
            let found = leaf_of(&graph, &shape, &trace, output, &step);
            let (index, right) = found.ok_or(Refusal::BadEvidence)?;
            if index != leaf.index {
                return Err(Refusal::BadEvidence);
            }
            turns.judge_leaf(&right, state.now().0)?
        }
        None => {
            let found = token_of(&graph, &shape, &trace, &step);
            let (index, right) = found.ok_or(Refusal::BadEvidence)?;
            if output.get(index) == Some(&right) {
                return Err(Refusal::Undecided);
            }
            Verdict::WorkerWrong
        }
    };
    finish(state, key, audit, verdict);
    Ok(())
}

/// Computes the cell in dispute from what a side has shown.
pub(crate) fn judge(state: &mut State, account: Address, it: &JudgeDispute) -> Result<(), Refusal> {
    let key = (it.batch, it.index);
    let audit = at(state, key, &[Stage::Disputed])?;
    let batch = state.batch(key.0).ok_or(Refusal::AuditUnknown)?;
    let side = side(state, key, batch, &account).ok_or(Refusal::NotDisputant)?;
    let mut dispute = state.dispute(key).cloned().ok_or(Refusal::NotNow)?;
    let turns = dispute.turns.as_mut().ok_or(Refusal::NotNow)?;
    let Phase::Judge(cell) = *turns.phase() else { return Err(Refusal::NotNow) };
    let case = state.cases.get(&(key, number(side))).ok_or(Refusal::Undecided)?;
    let right = with_case(state, key, &audit, &cell, |about, run| {
        case.judge(about, run).map_err(|_| Refusal::Undecided)
    })?;
    let verdict = turns.judge(&right, state.now().0)?;
    finish(state, key, &audit, verdict);
    Ok(())
}

/// Does something with what a case about a cell is judged by.
fn with_case<T>(
    state: &State,
    key: Key,
    audit: &Audit,
    cell: &Cell,
    act: impl FnOnce(&About<'_>, Option<Run<'_>>) -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    let work = state.batch(key.0).ok_or(Refusal::AuditUnknown)?.work;
    let outline = state.models.get(&work).ok_or(Refusal::ModelNotShown)?;
    let shape = shape(audit.receipt.as_ref().ok_or(Refusal::NotNow)?);
    let dispute = state.dispute(key).ok_or(Refusal::NotNow)?;
    let roots = dispute.turns.as_ref().ok_or(Refusal::NotNow)?.roots();
    let about = About { model: &work, outline, shape: &shape, roots, cell };
    let payload = state.payload(key);
    let sampling = payload.map(|it| it.asked.sampling(&it.worker_nonce));
    let run = payload.zip(sampling.as_ref()).map(|(it, sampling)| Run {
        prompt: it.asked.prompt.as_slice(),
        output: it.output.as_slice(),
        said: usize::try_from(it.said).unwrap_or(usize::MAX),
        sampling,
    });
    act(&about, run)
}

/// The number by which a side's case is kept.
pub(crate) fn number(side: Side) -> u8 {
    match side {
        Side::Worker => 0,
        Side::Challenger => 1,
    }
}

/// Forgets what both sides have shown.
pub(crate) fn forget(state: &mut State, key: Key) {
    for side in [Side::Worker, Side::Challenger] {
        state.cases.remove(&(key, number(side)));
    }
}
