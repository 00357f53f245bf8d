//! The light audit: all products of one position checked without the weights.
//!
//! Freivalds' check (1977): with a random row r, r(Wx) = (rW)x. The worker opens the exact sums y =
//! Wx; the auditor has v = rW in a key made from a beacon that was fixed after the answer's root, and
//! compares r.y with v.x modulo 2^61 - 1. Everything between the products is computed again.
//! Specified in `docs/spec/audit.md`, section 9.
//!
//! Invariants:
//! - A sum is below 2^46 in magnitude, so that a wrong one differs modulo the prime too.
//! - No opening makes the check panic, and its work is bounded by the model's shape and the context.
//!
//! Not here: that the past keys and values of an opening are those of the run, which it takes as
//! given (a replay sees them).

use alloc::vec::Vec;

use engine::artifact::Kind;
use engine::artifact::matrix::GROUP;
use engine::model::Model;
use merkle::Digest;

use crate::commitment;
use crate::digest::tagged;
use crate::graph::{Graph, Place, Shape, What};
use crate::replay::Run;
use crate::step::{self, Inputs, matrix_head};
use crate::trace::Memory;

mod attention;
pub mod bytes;
mod field;
mod key;
mod position;
mod sums;

pub use field::PRIME;
pub use key::Key;
pub use sums::Sums;

use position::Checked;

/// Every sum is below this: 16,129 * 16,256 * 65,536 is (`docs/spec/int-1.md`, section 5).
pub const SUM_MAX: u64 = 1 << 46;

const _: () = assert!(SUM_MAX < PRIME / 2);

const OPENING_TAG: &str = "mashaa/audit/opening/v1";

/// What a worker opens of one position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opening {
    /// The position, from 0.
    pub position: usize,
    /// The token's group of rows of the embedding.
    pub embedding: Vec<u8>,
    /// Its path in the tree of the key.
    pub embedding_path: Vec<Digest>,
    /// The key and value heads of the positions before: layer by layer, position by position, keys
    /// before values.
    pub past: Vec<Vec<u8>>,
    /// The sums of every product, in the order of the steps.
    pub sums: Vec<Sums>,
}

/// What the answer's root says of the position.
#[derive(Clone, Copy, Debug)]
pub struct Committed<'a> {
    /// The prompt's hash.
    pub prompt: &'a Digest,
    /// The answer's root.
    pub root: &'a Digest,
    /// The position's place in it.
    pub opening: &'a commitment::Opening,
}

/// What a light audit found wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Found {
    /// The opening has not the form that this model's has.
    #[error("the opening is not of this model's form")]
    Form,
    /// The embedding's rows are not the model's.
    #[error("the token's embedding is not the model's")]
    Embedding,
    /// A product is not that of the model's weights.
    #[error("a product of layer {layer} is not that of the model's weights: {what:?}")]
    Product {
        /// The layer.
        layer: usize,
        /// The step.
        what: What,
    },
    /// The token that the rules choose is another.
    #[error("the rules choose token {right}, and {found} was answered")]
    Token {
        /// The token answered.
        found: u32,
        /// The token that the rules choose.
        right: u32,
    },
    /// The position is not the one that the root has.
    #[error("the row or the token is not the one that the answer's root has")]
    Root,
}

impl Opening {
    /// Opens a position of a run from a memory that has all of it before, and the weights.
    /// None when the artifact's bytes are not of their form.
    #[must_use]
    pub fn of(model: &Model, run: &Run<'_>, position: usize) -> Option<Opening> {
        let mut memory = Memory::new(model, run.clone())?;
        let graph = *memory.graph();
        if position >= memory.shape().positions() {
            return None;
        }
        for before in 0..position {
            memory.walk(before, |_, _| {}).then_some(())?;
            memory.leave(before);
        }
        memory.walk(position, |_, _| {}).then_some(())?;
        let mut sums = Vec::new();
        for index in memory.steps_of(position) {
            let place = graph.place_of(memory.shape(), index)?;
            let Some((id, from)) = step::factors(&graph, place) else { continue };
            let input = memory.step(from)?;
            let bytes = model.section_bytes(id.0, id.1 as u32)?;
            let layout = matrix_head(&graph, id.0, bytes)?.0;
            let mut all = Vec::with_capacity(layout.rows_padded());
            for group in 0..layout.rows.div_ceil(GROUP) {
                all.extend(memory.sums(id, &layout, group, input)?);
            }
            all.truncate(layout.rows);
            sums.push(all.into());
        }
        let past = past_places(&graph, position).map(|it| memory.step(it).map(<[u8]>::to_vec));
        let past = past.collect::<Option<_>>()?;
        let token = *run.prompt.iter().chain(run.output).nth(position)?;
        let group = token as usize / GROUP;
        let bytes = model.section_bytes(Kind::Embedding, 0)?;
        let layout = matrix_head(&graph, Kind::Embedding, bytes)?.0;
        let from = layout.group_offset(group);
        let embedding = bytes.get(from..from + layout.group_size())?.to_vec();
        let embedding_path = merkle::path(&embedding_leaves(&graph, model)?, group)?;
        Some(Opening { position, embedding, embedding_path, past, sums })
    }

    /// The opening's hash: past heads, then sums of 8 bytes, in their order.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let sums = self.sums.iter().flat_map(Sums::to_vec);
        let sums: Vec<u8> = sums.flat_map(|sum| sum.to_le_bytes()).collect();
        tagged(OPENING_TAG, &[&self.embedding, &self.past.concat(), &sums])
    }

    /// Bytes of the opening, with 4 for each sum that fits them and 8 for the others.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |sum: &i64| if i32::try_from(*sum).is_ok() { 4 } else { 8 };
        let sums: usize = self.sums.iter().flat_map(Sums::to_vec).map(|sum| size(&sum)).sum();
        let past: usize = self.past.iter().map(Vec::len).sum();
        8 + self.embedding.len() + 32 * self.embedding_path.len() + past + sums
    }
}

/// Checks one position of a run.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(
    key: &Key,
    opening: &Opening,
    run: &Run<'_>,
    committed: Option<Committed<'_>>,
) -> Result<(), Found> {
    let shape = Shape { prompt: run.prompt.len(), output: run.output.len() };
    let graph = &key.graph;
    let position = opening.position;
    let is_there = shape.prompt > 0 && position < shape.positions();
    let fits = shape.prompt.saturating_add(shape.output) <= graph.config.run_max();
    if !is_there || !fits {
        return Err(Found::Form);
    }
    let sums = opening.sums.iter();
    Checked { key, opening, run, sums }.check(&shape, committed)
}

/// The steps of earlier positions that a position reads.
fn past_places(graph: &Graph, position: usize) -> impl Iterator<Item = Place> {
    let graph = *graph;
    (0..graph.config.layers).flat_map(move |layer| {
        let from = graph.first_seen(Place { position, layer, what: What::Embed });
        (from..position).flat_map(move |position| {
            [What::KeyHeads, What::ValueHeads].map(|what| Place { position, layer, what })
        })
    })
}

fn embedding_leaves(graph: &Graph, model: &Model) -> Option<Vec<Digest>> {
    let bytes = model.section_bytes(Kind::Embedding, 0)?;
    let layout = matrix_head(graph, Kind::Embedding, bytes)?.0;
    let groups = bytes.get(layout.group_offset(0)..)?.chunks_exact(layout.group_size());
    Some(groups.map(merkle::leaf).collect())
}
