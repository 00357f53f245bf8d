//! A side's turns in a dispute: statements of either, and the challenger's evidence.
//!
//! Invariants:
//! - What is shown was not shown before, so that a side that was killed goes on where it was.
//!
//! Not here: what a side computes (`party`), and the rules (`audit::dispute`).

use audit::artifact::{Artifact, Outline, Piece};
use audit::case::Shown;
use audit::dispute::{Cell, Dispute, Phase, Side};
use audit::graph::What;
use audit::referee::{Evidence, Part};
use ledger::audits::Key;
use ledger::batches::Batch;
use ledger::disputes::{adds, side};
use store::cid::CHUNK_SIZE;
use types::bounded::{Bytes, List};
use types::codec::{Canonical, encode};
use types::id::Hash;
use types::transaction::{Action, DivideTrace, JudgeDispute, OpenStep, ShowEvidence, ShowModel};

use std::sync::Arc;

use super::duty::Due;
use super::party::Party;
use super::store::Store;
use super::{Audits, Computed};

impl Audits {
    /// States what the present turn asks of both sides.
    pub(super) async fn take_turn(&self, due: &Due) -> Result<(), String> {
        let (batch, index) = due.key;
        let (party, turns) = (self.side_of(due.key).await?, self.turns(due.key)?);
        let phase = turns.phase().clone();
        let about = turns.about();
        let nodes = {
            let phase = phase.clone();
            self.compute(move || party.nodes(about, &phase)).await?
        };
        let nodes: Vec<Hash> =
            nodes.ok_or("there are no such nodes")?.into_iter().map(Hash).collect();
        let action = match (&phase, nodes.first()) {
            (Phase::Divide(_), _) => {
                let nodes = List::new(nodes).map_err(|_| "there are too many nodes")?;
                Action::DivideTrace(DivideTrace { batch, index, nodes })
            }
            (_, Some(root)) => Action::OpenStep(OpenStep { batch, index, root: *root }),
            (_, None) => return Err("there is no root".to_owned()),
        };
        self.send(action).await
    }

    /// Brings the evidence by which the dispute is judged, and has it judged.
    pub(super) async fn prove(&self, due: &Due) -> Result<(), String> {
        let party = self.side_of(due.key).await?;
        let phase = self.turns(due.key).ok().map(|it| it.phase().clone());
        match phase {
            Some(Phase::Judge(cell)) => self.prove_cell(due.key, party, cell).await,
            Some(Phase::Position(leaf)) => {
                self.prove_step(due.key, party, leaf.index, What::HeadInput).await
            }
            // The traces and the answers are the same.
            _ => {
                let wrong = party.wrong.ok_or("every token is the one that the rules choose")?;
                let index = u64::try_from(wrong.index).unwrap_or(u64::MAX);
                self.prove_step(due.key, party, index, What::Sample).await
            }
        }
    }

    async fn prove_cell(&self, key: Key, party: Arc<Party>, cell: Cell) -> Result<(), String> {
        let batch = self.batch(key)?;
        let evidence = self.compute(move || party.evidence(&cell)).await?;
        let evidence = evidence.ok_or("there is no such evidence")?;
        if evidence.reads_run {
            self.show_run(key).await?;
        }
        let store = self.store.clone();
        let pieces = self.compute(move || pieces(&store, &batch, evidence)).await??;
        for piece in pieces {
            let order = evidence_of(key, &piece)?;
            if self.look(|state| adds(state, Side::Challenger, &order)) {
                self.send(Action::ShowEvidence(order)).await?;
            }
        }
        let (batch, index) = key;
        self.send(Action::JudgeDispute(JudgeDispute { batch, index })).await
    }

    /// Shows a step of the agreed trace, which decides at once.
    async fn prove_step(
        &self,
        key: Key,
        party: Arc<Party>,
        token: u64,
        what: What,
    ) -> Result<(), String> {
        self.show_run(key).await?;
        let step = self.compute(move || party.before_token(token, what)).await?;
        let step = step.ok_or("there is no such step")?;
        self.send(Action::ShowEvidence(evidence_of(key, &step)?)).await
    }

    /// Shows the payload, unless the ledger has it.
    async fn show_run(&self, key: Key) -> Result<(), String> {
        if self.look(|state| state.payload(key).is_some()) {
            return Ok(());
        }
        let given = self.kept.get(key).and_then(|it| it.given);
        let given = given.ok_or("the payload is not on this disk")?;
        self.send(Action::OpenPayload(given)).await
    }

    /// Shows the model's first chunk, unless the ledger knows its steps.
    pub(super) async fn show_model(&self, batch: &Batch) -> Result<(), String> {
        let work = batch.work;
        if self.look(|state| state.is_model_shown(&work)) {
            return Ok(());
        }
        let store = self.store.clone();
        let piece = self.compute(move || store.piece(&work, 0)).await??;
        let piece = Bytes::new(encode(&piece)).map_err(|error| error.to_string())?;
        let shown = self.send(Action::ShowModel(ShowModel { work, piece })).await;
        // Another may have been first.
        if self.look(|state| state.is_model_shown(&work)) { Ok(()) } else { shown }
    }

    /// The run as this node's side of a dispute has it.
    async fn side_of(&self, key: Key) -> Result<Arc<Party>, String> {
        let batch = self.batch(key)?;
        let side = self.look(|state| side(state, key, &batch, &self.me.account));
        if side == Some(Side::Worker) {
            return self.stated(key, &batch, &self.own(key)?).await;
        }
        let payload = self.payload(key).ok_or("the payload is not on this disk")?;
        match self.computed(key, &batch, payload).await? {
            Computed::Run(party) => Ok(party),
            Computed::TooLong => Err("it is longer than the model's context".to_owned()),
            Computed::Not(why) => Err(why),
        }
    }

    fn turns(&self, key: Key) -> Result<Dispute, String> {
        let turns = self.look(|state| state.dispute(key).and_then(|it| it.turns.clone()));
        turns.ok_or_else(|| "there is nothing to divide".to_owned())
    }
}

/// Evidence as an order.
fn evidence_of<T: Canonical>((batch, index): Key, piece: &T) -> Result<ShowEvidence, String> {
    let piece = Bytes::new(encode(piece)).map_err(|error| error.to_string())?;
    Ok(ShowEvidence { batch, index, piece })
}

/// Evidence in pieces: results, cells, and the chunks in which what is read of the artifact lies.
fn pieces(store: &Store, batch: &Batch, evidence: Evidence) -> Result<Vec<Shown>, String> {
    let Evidence { steps, cells, parts, .. } = evidence;
    let mut pieces: Vec<Shown> = steps.into_iter().map(Shown::Step).collect();
    pieces.extend(cells.into_iter().map(Shown::Cell));
    if parts.is_empty() {
        return Ok(pieces);
    }
    let outline = outline(&batch.work, store.piece(&batch.work, 0)?).ok_or("it is no artifact")?;
    let mut chunks: Vec<u64> = Vec::new();
    for part in &parts {
        let range = outline.range(part).ok_or("a part is in no section")?;
        let size = CHUNK_SIZE as u64;
        chunks.extend(range.start / size..range.end.div_ceil(size));
    }
    chunks.sort_unstable();
    chunks.dedup();
    for index in chunks {
        let parts: Vec<Part> =
            parts.iter().filter(|it| lies(&outline, it, index)).cloned().collect();
        let parts = List::new(parts).map_err(|error| error.to_string())?;
        pieces.push(Shown::Chunk { parts, piece: store.piece(&batch.work, index)? });
    }
    Ok(pieces)
}

/// Whether some of a part lies in a chunk.
fn lies(outline: &Outline, part: &Part, chunk: u64) -> bool {
    let size = CHUNK_SIZE as u64;
    outline
        .range(part)
        .is_some_and(|range| (range.start / size..range.end.div_ceil(size)).contains(&chunk))
}

fn outline(work: &types::id::Cid, first: Piece) -> Option<Outline> {
    let mut artifact = Artifact::named(work)?;
    artifact.add(first).ok()?;
    artifact.outline()
}
