//! The full trace of a run: the digest of every step's result, made again when someone asks.
//!
//! A trace is never kept: the run is exact, so whoever has the artifact and the tokens makes it again.
//! Specified in `docs/spec/audit.md`, section 6.
//!
//! Invariants:
//! - What a step of a position reads is there before the step is computed.
//!
//! Not here: what a step computes (`step`), and who disputes it (`dispute`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use engine::artifact::Kind;
use engine::kernels::{Isa, hash};
use engine::model::Model;

use crate::graph::{Graph, Place, Shape, What};
use crate::replay::Run;
use crate::step::{Inputs, piece, whole};
use merkle::Digest;

/// Digests that one message of a dispute may have: two to the power of this, 8 KiB.
pub const FAN_BITS: u32 = 8;

/// First bytes of a leaf and of an inner node (RFC 6962, section 2.1).
const LEAF: u8 = 0;
const NODE: u8 = 1;
/// Digests above which a level is worth hashing side by side: sixteen pairs.
const SIDE_BY_SIDE: usize = 31;

const STEP_TAG: &[u8] = b"mashaa/audit/step/v1";

/// The results of a run that later steps may read.
#[derive(Debug)]
pub struct Memory<'a> {
    graph: Graph,
    shape: Shape,
    model: &'a Model,
    run: Run<'a>,
    results: BTreeMap<Place, Vec<u8>>,
}

/// The digests of a list, of which a dispute looks at ever smaller parts: a run's steps, or a step's
/// cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests(Vec<Digest>);

impl<'a> Memory<'a> {
    /// Nothing yet of a run. None for a run without prompt or answer, or longer than the context.
    #[must_use]
    pub fn new(model: &'a Model, run: Run<'a>) -> Option<Memory<'a>> {
        let shape = Shape { prompt: run.prompt.len(), output: run.output.len() };
        let is_sound = shape.prompt > 0
            && shape.output > 0
            && shape.prompt + shape.output <= model.config().run_max();
        let (graph, results) = (Graph::of(model), BTreeMap::new());
        is_sound.then_some(Memory { graph, shape, model, run, results })
    }

    /// The run's graph.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The run's length.
    #[must_use]
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Computes a step whose inputs are there.
    #[must_use]
    pub fn compute(&self, place: Place) -> Option<Vec<u8>> {
        whole(&self.graph, self, place)
    }

    /// Keeps a step's result.
    pub fn put(&mut self, place: Place, result: Vec<u8>) {
        self.results.insert(place, result);
    }

    /// Drops what no other position reads of a position.
    pub fn leave(&mut self, position: usize) {
        self.results.retain(|place, _| {
            place.position != position || matches!(place.what, What::KeyHeads | What::ValueHeads)
        });
    }

    /// The steps of a position, by number.
    #[must_use]
    pub fn steps_of(&self, position: usize) -> Range<u64> {
        let first = |position| {
            let place = Place { position, layer: 0, what: What::Embed };
            self.graph.index_of(&self.shape, place)
        };
        let all = self.graph.steps(&self.shape);
        first(position).unwrap_or(all)..first(position + 1).unwrap_or(all)
    }

    /// Computes and keeps a position's steps; says each one's result. What other positions left must
    /// be there. False when an artifact's bytes are not of their form.
    pub fn walk(&mut self, position: usize, mut see: impl FnMut(Place, &[u8])) -> bool {
        for index in self.steps_of(position) {
            let place = self.graph.place_of(&self.shape, index);
            let result = place.and_then(|place| Some((place, self.compute(place)?)));
            let Some((place, result)) = result else { return false };
            see(place, &result);
            self.put(place, result);
        }
        true
    }

    /// The digests of all steps, in order. None when an artifact's bytes are not of their form.
    #[must_use]
    pub fn trace(&mut self) -> Option<Digests> {
        let (graph, shape) = (self.graph, self.shape);
        let mut digests = Vec::new();
        for position in 0..shape.positions() {
            let is_whole = self.walk(position, |place, result| {
                digests.extend(digest(&graph, &shape, place, result));
            });
            self.leave(position);
            if !is_whole {
                return None;
            }
        }
        Some(Digests(digests))
    }
}

impl Inputs for Memory<'_> {
    fn step(&self, place: Place) -> Option<&[u8]> {
        self.results.get(&place).map(Vec::as_slice)
    }

    fn cell(&self, place: Place, cell: usize) -> Option<&[u8]> {
        piece(self.step(place)?, self.graph.cells(place).1, cell)
    }

    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]> {
        self.model.section_bytes(kind, layer as u32)?.get(range)
    }

    fn run(&self) -> Option<Run<'_>> {
        Some(self.run.clone())
    }
}

/// The leaves of a result's cells.
#[must_use]
pub fn cells(graph: &Graph, place: Place, result: &[u8]) -> Digests {
    Digests(hash::each(Isa::best(), LEAF, result, graph.cells(place).1))
}

/// The digest of a step: its number, and its cells' count and root. None where the run has no such
/// step.
#[must_use]
pub fn digest(graph: &Graph, shape: &Shape, place: Place, result: &[u8]) -> Option<Digest> {
    let index = graph.index_of(shape, place)?;
    let cells = cells(graph, place, result);
    Some(step_leaf(index, cells.count(), &cells.root()))
}

/// The leaf of a step with so many cells under this root.
#[must_use]
pub fn step_leaf(index: u64, cells: u64, root: &Digest) -> Digest {
    let mut bytes = STEP_TAG.to_vec();
    bytes.extend_from_slice(&index.to_le_bytes());
    bytes.extend_from_slice(&cells.to_le_bytes());
    bytes.extend_from_slice(root);
    merkle::leaf(&bytes)
}

/// Levels of nodes over so many leaves.
#[must_use]
pub fn levels(count: u64) -> u32 {
    count.max(1).next_power_of_two().trailing_zeros()
}

impl Digests {
    /// Digests that were computed elsewhere.
    #[must_use]
    pub fn new(digests: Vec<Digest>) -> Digests {
        Digests(digests)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len() as u64
    }

    /// Their root, as `merkle::root` gives it.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut level;
        let mut below = self.0.as_slice();
        while below.len() > SIDE_BY_SIDE {
            let (pairs, last) = below.split_at(below.len() / 2 * 2);
            let mut above = hash::each(Isa::best(), NODE, pairs.as_flattened(), 64);
            above.extend_from_slice(last);
            level = above;
            below = &level;
        }
        merkle::root(below)
    }

    /// The path of one of them.
    #[must_use]
    pub fn path(&self, index: u64) -> Option<Vec<Digest>> {
        merkle::path(&self.0, usize::try_from(index).ok()?)
    }

    /// The nodes `FAN_BITS` levels under the node number `block` of a level; at level 0, the leaf.
    /// None where there is no such node.
    #[must_use]
    pub fn under(&self, level: u32, block: u64) -> Option<Vec<Digest>> {
        let from = usize::try_from(block.checked_shl(level)?).ok()?;
        let size = 1usize.checked_shl(level)?;
        let leaves = self.0.get(from..self.0.len().min(from.saturating_add(size)))?;
        (!leaves.is_empty()).then(|| merkle::fold(leaves, level.saturating_sub(FAN_BITS)))
    }
}
