//! What an agreed trace says of an answer: the leaf of a token, and the token that the rules choose.
//!
//! Where two traces are equal, they give the row before each token and the token that the rules
//! choose after it, and so the one right root of the answer. Specified in `docs/spec/audit.md`,
//! section 7.
//!
//! Invariants:
//! - What does not stand in the trace, or is not of its step's form, says nothing.
//!
//! Not here: which of two traces is right (`dispute`).

use crate::commitment::Position;
use crate::graph::{Graph, Shape, What};
use crate::referee::StepInput;
use crate::step::Quantised;
use crate::trace::{cells, step_leaf};
use merkle::{Digest, PATH_MAX};

/// Which token of the answer follows a row of a trace, and its leaf in the answer's tree. None where
/// the row does not stand in the trace, or is none that the head takes.
#[must_use]
pub fn leaf_of(
    graph: &Graph,
    shape: &Shape,
    trace: &Digest,
    output: &[u32],
    row: &StepInput,
) -> Option<(u64, Digest)> {
    if row.place.what != What::HeadInput || !stands(graph, shape, trace, row) {
        return None;
    }
    let index = shape.answer_after(row.place.position)?;
    let token = *output.get(index)?;
    let Quantised { x, scale } = Quantised::read(&row.result)?;
    let position = Position { position: row.place.position as u64 + 1, hidden: &x, scale, token };
    Some((index as u64, position.leaf()))
}

/// Which token of the answer a step of a trace chooses, and what it chooses. None where the step does
/// not stand in the trace, or chooses none.
#[must_use]
pub fn token_of(
    graph: &Graph,
    shape: &Shape,
    trace: &Digest,
    sample: &StepInput,
) -> Option<(usize, u32)> {
    if sample.place.what != What::Sample || !stands(graph, shape, trace, sample) {
        return None;
    }
    let index = shape.answer_after(sample.place.position)?;
    let token = sample.result.as_slice().try_into().ok()?;
    Some((index, u32::from_le_bytes(token)))
}

/// Whether a whole result stands in a trace.
fn stands(graph: &Graph, shape: &Shape, trace: &Digest, input: &StepInput) -> bool {
    let Some(number) = graph.index_of(shape, input.place) else { return false };
    if input.result.len() != graph.size(input.place) || input.path.len() > PATH_MAX + 8 {
        return false;
    }
    let cells = cells(graph, input.place, &input.result);
    let leaf = step_leaf(number, cells.count(), &cells.root());
    merkle::root_of(leaf, number, graph.steps(shape), &input.path) == Some(*trace)
}
