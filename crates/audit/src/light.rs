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

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;
use core::slice::Iter;

use engine::artifact::Kind;
use engine::artifact::matrix::GROUP;
use engine::model::{LAYER_MATRICES, Model, shape};

use crate::commitment::{self, Position};
use crate::graph::{ENDS, FIRST, Graph, LAST, Place, Shape, What};
use crate::replay::Run;
use crate::step::{self, Inputs, Quantised, Turns, matrix_head, piece, whole};
use crate::trace::Memory;
use merkle::Digest;

use crate::digest::tagged;

mod attention;
pub mod bytes;
mod field;

pub use field::PRIME;

/// Every sum is below this: 16,129 * 16,256 * 65,536 is (`docs/spec/int-1.md`, section 5).
pub const SUM_MAX: u64 = 1 << 46;

const _: () = assert!(SUM_MAX < PRIME / 2);

const KEY_TAG: &str = "mashaa/audit/key/v1";
const OPENING_TAG: &str = "mashaa/audit/opening/v1";
const HEAD: usize = 64;

type MatrixId = (Kind, usize);

/// What replaces the weights, for one beacon.
#[derive(Clone, Debug)]
pub struct Key {
    graph: Graph,
    beacon: Digest,
    /// Small sections whole, and matrices up to their row scales.
    sections: BTreeMap<MatrixId, Vec<u8>>,
    /// r for each row and v for each column of each matrix.
    rows: BTreeMap<MatrixId, [Vec<u64>; 2]>,
    /// The tree over the embedding's groups of rows.
    embedding: Digest,
    groups: u64,
}

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
    pub sums: Vec<Vec<i64>>,
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

impl Key {
    /// Makes a key from the weights; anyone who has them makes the same. None when the artifact's
    /// bytes are not of their form.
    #[must_use]
    pub fn new(model: &Model, beacon: Digest) -> Option<Key> {
        let graph = Graph::of(model);
        let layers = graph.config.layers;
        let mut sections = BTreeMap::new();
        for kind in Kind::ALL {
            for layer in 0..layers {
                let Some(bytes) = model.section_bytes(kind, layer as u32) else { continue };
                let size = match shape(&graph.config, kind) {
                    Some(_) => HEAD + 4 * matrix_head(&graph, kind, bytes)?.0.rows_padded(),
                    None if matches!(kind, Kind::Vocabulary | Kind::Strings) => 0,
                    None => bytes.len(),
                };
                sections.insert((kind, layer), bytes.get(..size)?.to_vec());
            }
        }
        let layered = (0..layers).flat_map(|layer| LAYER_MATRICES.map(|kind| (kind, layer)));
        let mut rows = BTreeMap::new();
        for id in layered.chain([(graph.head, 0)]) {
            let bytes = model.section_bytes(id.0, id.1 as u32)?;
            let layout = matrix_head(&graph, id.0, bytes)?.0;
            let random = field::random_rows(&beacon, id, layout.rows);
            let columns = field::combined(&layout, bytes, &random)?;
            rows.insert(id, [random, columns]);
        }
        let leaves = embedding_leaves(&graph, model)?;
        let (embedding, groups) = (merkle::root(&leaves), leaves.len() as u64);
        Some(Key { graph, beacon, sections, rows, embedding, groups })
    }

    /// Bytes that are kept or sent: sections, and v; r follows from the beacon.
    #[must_use]
    pub fn size(&self) -> usize {
        let columns: usize = self.rows.values().map(|[_, columns]| 8 * columns.len()).sum();
        self.sections.values().map(Vec::len).sum::<usize>() + columns + 64
    }

    /// The key's hash, by which two that were made apart are compared: v of every matrix, ascending by
    /// kind and layer, and the root of the embedding's tree.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let columns = self.rows.values().flat_map(|[_, columns]| columns);
        let bytes: Vec<u8> = columns.flat_map(|number| number.to_le_bytes()).collect();
        tagged(KEY_TAG, &[&self.beacon, &bytes, &self.embedding])
    }

    /// The beacon that it was made from.
    #[must_use]
    pub fn beacon(&self) -> &Digest {
        &self.beacon
    }

    /// Whether sums are those of a matrix over an input, with an error of 2^-61.
    fn holds(&self, id: MatrixId, x: &[i16], sums: &[i64]) -> bool {
        let Some([random, columns]) = self.rows.get(&id) else { return false };
        if sums.len() != random.len() || x.len() != columns.len() {
            return false;
        }
        field::dot_sums(random, sums) == Some(field::dot_row(columns, x))
    }
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
            sums.push(all);
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
        let sums: Vec<u8> = self.sums.iter().flatten().flat_map(|sum| sum.to_le_bytes()).collect();
        tagged(OPENING_TAG, &[&self.embedding, &self.past.concat(), &sums])
    }

    /// Bytes of the opening, with 4 for each sum that fits them and 8 for the others.
    #[must_use]
    pub fn size(&self) -> usize {
        let size = |sum: &i64| if i32::try_from(*sum).is_ok() { 4 } else { 8 };
        let sums: usize = self.sums.iter().flatten().map(size).sum();
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
    let turns = [false, true].map(|is_windowed| {
        let kind = step::rope(is_windowed);
        step::turns_of(graph, key.sections.get(&(kind, 0))?, position)
    });
    let mut light = Light { key, opening, run, turns, input: None, results: BTreeMap::new() };
    light.check_embedding()?;
    let past = light.take_past()?;
    let mut sums = opening.sums.iter();
    let at = |layer, what| Place { position, layer, what };
    light.compute(at(0, What::Embed), &mut sums)?;
    for (layer, past) in past.into_iter().enumerate() {
        FIRST.into_iter().try_for_each(|what| light.compute(at(layer, what), &mut sums))?;
        light.attend(past, at(layer, What::Result(0)))?;
        LAST.into_iter().try_for_each(|what| light.compute(at(layer, what), &mut sums))?;
        // No later layer reads more than the last row: its memory serves the next.
        light.results.retain(|place, _| *place == at(layer, What::MlpResidual));
    }
    if shape.answer_after(position).is_some() {
        let layers = graph.config.layers;
        ENDS.into_iter().try_for_each(|what| light.compute(at(layers, what), &mut sums))?;
    }
    match sums.next() {
        Some(_) => Err(Found::Form),
        None => light.check_end(&shape, committed),
    }
}

/// A light audit in progress.
struct Light<'a> {
    key: &'a Key,
    opening: &'a Opening,
    run: &'a Run<'a>,
    /// Those of the layers that see everything, and of those with a window.
    turns: [Option<Turns>; 2],
    /// What the last product has multiplied, which the next one may as well.
    input: Option<(Place, Vec<i16>)>,
    results: BTreeMap<Place, Vec<u8>>,
}

impl<'a> Light<'a> {
    /// The row's number in its section is the token's.
    fn token(&self) -> Result<u32, Found> {
        let tokens = self.run.prompt.iter().chain(self.run.output);
        tokens.copied().nth(self.opening.position).ok_or(Found::Form)
    }

    fn check_embedding(&self) -> Result<(), Found> {
        let group = u64::from(self.token()?) / GROUP as u64;
        let leaf = merkle::leaf(&self.opening.embedding);
        let root = merkle::root_of(leaf, group, self.key.groups, &self.opening.embedding_path);
        (root == Some(self.key.embedding)).then_some(()).ok_or(Found::Embedding)
    }

    /// The opened key and value heads of each layer, of the form that the model's have.
    fn take_past(&self) -> Result<Vec<&'a [Vec<u8>]>, Found> {
        let (graph, position) = (&self.key.graph, self.opening.position);
        let mut left = self.opening.past.as_slice();
        let mut layers = Vec::with_capacity(graph.config.layers);
        for layer in 0..graph.config.layers {
            let place = Place { position, layer, what: What::KeyHeads };
            let count = 2 * (position - graph.first_seen(place).min(position));
            let (heads, rest) = left.split_at_checked(count).ok_or(Found::Form)?;
            if heads.iter().any(|it| it.len() != graph.size(place)) {
                return Err(Found::Form);
            }
            layers.push(heads);
            left = rest;
        }
        left.is_empty().then_some(layers).ok_or(Found::Form)
    }

    /// Computes a step, or takes the next sums for it.
    fn compute(&mut self, place: Place, sums: &mut Iter<'a, Vec<i64>>) -> Result<(), Found> {
        let Place { layer, what, .. } = place;
        let graph = &self.key.graph;
        let result = match step::factors(graph, place) {
            Some((id, from)) => {
                let x = match self.input.take() {
                    Some((place, x)) if place == from => x,
                    _ => self.step(from).and_then(Quantised::read).ok_or(Found::Form)?.x,
                };
                let sums = sums.next().ok_or(Found::Form)?;
                if !self.key.holds(id, &x, sums) {
                    return Err(Found::Product { layer, what });
                }
                self.input = Some((from, x));
                step::product_of(graph, self, place, sums)
            }
            None => whole(graph, self, place),
        };
        self.results.insert(place, result.ok_or(Found::Form)?);
        Ok(())
    }

    /// Computes the results of all heads of a layer.
    fn attend(&mut self, past: &[Vec<u8>], place: Place) -> Result<(), Found> {
        let at = |what| self.step(Place { what, ..place }).ok_or(Found::Form);
        let own = [at(What::QueryHeads)?, at(What::KeyHeads)?, at(What::ValueHeads)?];
        let results = attention::results(&self.key.graph.config, past, own).ok_or(Found::Form)?;
        for (head, result) in results.into_iter().enumerate() {
            // At most 1,024 heads.
            self.results.insert(Place { what: What::Result(head as u16), ..place }, result);
        }
        Ok(())
    }

    /// Compares what was computed with what was answered and committed to.
    fn check_end(&self, shape: &Shape, committed: Option<Committed<'_>>) -> Result<(), Found> {
        let position = self.opening.position;
        let Some(index) = shape.answer_after(position) else { return Ok(()) };
        let at = |what| Place { position, layer: self.key.graph.config.layers, what };
        let row = self.step(at(What::HeadInput)).and_then(Quantised::read).ok_or(Found::Form)?;
        let right = self.step(at(What::Sample)).and_then(|it| it.first_chunk::<4>());
        let right = u32::from_le_bytes(*right.ok_or(Found::Form)?);
        let found = *self.run.output.get(index).ok_or(Found::Form)?;
        if right != found && index >= self.run.said {
            return Err(Found::Token { found, right });
        }
        let Some(committed) = committed else { return Ok(()) };
        let hidden = &row.x;
        let leaf =
            Position { position: position as u64 + 1, hidden, scale: row.scale, token: found };
        let is_it = committed.opening.index as usize == index
            && committed.opening.count as usize == shape.output
            && committed.opening.leads_to(leaf.leaf(), committed.prompt, committed.root);
        is_it.then_some(()).ok_or(Found::Root)
    }
}

impl Inputs for Light<'_> {
    fn step(&self, place: Place) -> Option<&[u8]> {
        self.results.get(&place).map(Vec::as_slice)
    }

    fn cell(&self, place: Place, cell: usize) -> Option<&[u8]> {
        piece(self.step(place)?, self.key.graph.cells(place).1, cell)
    }

    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]> {
        let bytes = self.key.sections.get(&(kind, layer))?;
        if kind == Kind::Embedding && range.start >= bytes.len() {
            // Only the token's group was opened, and nothing else of the matrix is read.
            return (range.len() == self.opening.embedding.len())
                .then_some(self.opening.embedding.as_slice());
        }
        bytes.get(range)
    }

    fn run(&self) -> Option<Run<'_>> {
        Some(self.run.clone())
    }

    fn turns(&self, is_windowed: bool) -> Option<&Turns> {
        self.turns[usize::from(is_windowed)].as_ref()
    }
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
