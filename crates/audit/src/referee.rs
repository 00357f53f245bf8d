//! Judges one cell from evidence: inputs proved against the traces, weights against the artifact.
//!
//! Whoever judges holds neither the artifact nor the trace. The evidence names what the cell's step
//! reads, and each part leads to something that both sides agree on or that the receipt names.
//! Specified in `docs/spec/audit.md`, section 8.
//!
//! Invariants:
//! - Evidence gives the one right cell or nothing: no choice of parts gives another.
//! - Work and memory are bounded by the evidence's size, and that by `INPUTS_MAX` and its message.
//!
//! Not here: who is right (`dispute`).

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use engine::artifact::Kind;

use crate::artifact::Artifact;
use crate::commitment::{Opening, Position};
use crate::dispute::Cell;
use crate::graph::{Graph, Place, RUN, Shape, What};
use crate::replay::Run;
use crate::step::{Inputs, Quantised, compute};
use crate::trace::{Digests, Memory, cells, step_leaf};
use merkle::{Digest, PATH_MAX};

/// Results that a step reads, at most: those of 1,024 heads.
pub const INPUTS_MAX: usize = 1_024;
/// Cells that a step reads, at most: a query, a run of keys and values, a sum.
pub const CELLS_MAX: usize = 2 * RUN + 2;
/// Ranges of sections that a step reads, at most: a head, sixteen row scales, weights, biases.
pub const RANGES_MAX: usize = 2 * RUN;

/// A whole result of an earlier step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepInput {
    /// The step.
    pub place: Place,
    /// Its result.
    pub result: Vec<u8>,
    /// The step's path in the trace.
    pub path: Vec<Digest>,
}

/// One cell of an earlier step, or an earlier cell of the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CellInput {
    /// The step.
    pub place: Place,
    /// The cell.
    pub cell: u64,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its path in the step.
    pub cell_path: Vec<Digest>,
    /// The step's path in the trace; empty for the step that is judged.
    pub path: Vec<Digest>,
}

/// A part of a section of the artifact.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    /// The section's kind.
    pub kind: u32,
    /// Its layer.
    pub layer: usize,
    /// First byte.
    pub from: usize,
    /// One past the last byte.
    pub to: usize,
}

/// What a cell's computation reads, but for the artifact's bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Whole results.
    pub steps: Vec<StepInput>,
    /// Single cells.
    pub cells: Vec<CellInput>,
    /// What is read of the artifact.
    pub parts: Vec<Part>,
    /// Whether the run's tokens are read.
    pub reads_run: bool,
}

/// Why evidence decides nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Undecided {
    /// It has more parts than any step reads.
    #[error("the evidence has more parts than any step reads")]
    TooMuch,
    /// An input does not lead to the trace, or is not before the step.
    #[error("input {index} of the evidence does not lead to what both sides agree on")]
    Input {
        /// Which, from 0: the whole results, then the cells.
        index: usize,
    },
    /// The artifact's bytes are not there.
    #[error("part {index} of the artifact has not been proved")]
    Part {
        /// Which, from 0.
        index: usize,
    },
    /// Something that the step reads is missing, or not of its form.
    #[error("the evidence does not have what the step reads")]
    Incomplete,
}

impl Evidence {
    /// Bytes of the evidence, without the artifact's and the run's.
    #[must_use]
    pub fn size(&self) -> usize {
        let path = |path: &[Digest]| 32 * path.len();
        let steps = self.steps.iter().map(|it| 16 + it.result.len() + path(&it.path));
        let cells =
            self.cells.iter().map(|it| 24 + it.bytes.len() + path(&it.cell_path) + path(&it.path));
        steps.sum::<usize>() + cells.sum::<usize>() + 24 * self.parts.len()
    }

    /// Collects what a cell's computation reads, from a memory that has it and the digests of the
    /// trace. None where something is not there.
    #[must_use]
    pub fn collect(
        memory: &Memory<'_>,
        trace: &Digests,
        place: Place,
        cell: usize,
    ) -> Option<Evidence> {
        let (graph, shape) = (memory.graph(), memory.shape());
        let reads = Reads { memory, seen: RefCell::default() };
        compute(graph, &reads, place, cell)?;
        let seen = reads.seen.into_inner();
        let path = |place: Place| trace.path(graph.index_of(shape, place)?);
        let steps = seen.steps.into_iter().map(|it| {
            Some(StepInput { place: it, result: memory.step(it)?.to_vec(), path: path(it)? })
        });
        let own = place;
        let cells = seen.cells.into_iter().map(|(it, cell)| {
            let leaves = cells(graph, it, memory.step(it)?);
            let path = if it == own { Vec::new() } else { path(it)? };
            let bytes = memory.cell(it, cell)?.to_vec();
            let cell = cell as u64;
            Some(CellInput { place: it, cell, bytes, cell_path: leaves.path(cell)?, path })
        });
        Some(Evidence {
            steps: steps.collect::<Option<_>>()?,
            cells: cells.collect::<Option<_>>()?,
            parts: seen.parts.into_iter().collect(),
            reads_run: seen.reads_run,
        })
    }
}

/// Computes the cell in dispute. `roots` are the traces' roots, by side; the run's tokens are those
/// that the receipt names.
///
/// # Errors
/// When the evidence does not decide.
pub fn judge(
    graph: &Graph,
    shape: &Shape,
    (roots, cell): (&[Digest; 2], &Cell),
    evidence: &Evidence,
    artifact: &Artifact,
    run: Run<'_>,
) -> Result<Vec<u8>, Undecided> {
    let is_bounded = evidence.steps.len() <= INPUTS_MAX
        && evidence.cells.len() <= CELLS_MAX
        && evidence.parts.len() <= RANGES_MAX;
    if !is_bounded {
        return Err(Undecided::TooMuch);
    }
    let checker = Checker { graph, shape, roots, cell };
    for (index, input) in evidence.steps.iter().enumerate() {
        checker.has_step(input).then_some(()).ok_or(Undecided::Input { index })?;
    }
    for (index, input) in evidence.cells.iter().enumerate() {
        let index = evidence.steps.len() + index;
        checker.has_cell(input).then_some(()).ok_or(Undecided::Input { index })?;
    }
    let mut parts = BTreeMap::new();
    for (index, part) in evidence.parts.iter().enumerate() {
        let kind = Kind::ALL.into_iter().find(|kind| *kind as u32 == part.kind);
        let layer = u32::try_from(part.layer).ok();
        let bytes = kind
            .zip(layer)
            .filter(|_| part.from < part.to)
            .and_then(|(kind, layer)| artifact.section(kind, layer, part.from..part.to));
        let bytes = bytes.ok_or(Undecided::Part { index })?;
        parts.insert(part.clone(), bytes);
    }
    checker.compute(&evidence.steps, &evidence.cells, parts, Some(run))
}

/// Whether a worker's trace is of another computation than its answer's root: the row that the trace
/// gives to the head, with the token that follows, is not the leaf of the root. None where row or
/// leaf do not lead to what the worker has stated.
#[must_use]
pub fn contradicts(
    graph: &Graph,
    run: &Run<'_>,
    (trace, row): (&Digest, &StepInput),
    (prompt, root): (&Digest, &Digest),
    (leaf, opening): (Digest, &Opening),
) -> Option<bool> {
    let shape = Shape { prompt: run.prompt.len(), output: run.output.len() };
    let place = row.place;
    let index = shape.answer_after(place.position)?;
    let is_row = place.what == What::HeadInput && row.result.len() == graph.size(place);
    let is_there = opening.index as usize == index && opening.count as usize == shape.output;
    if !is_row || !is_there || !opening.leads_to(leaf, prompt, root) {
        return None;
    }
    let cells = cells(graph, place, &row.result);
    let number = graph.index_of(&shape, place)?;
    let step = step_leaf(number, cells.count(), &cells.root());
    let found = merkle::root_of(step, number, graph.steps(&shape), &row.path)?;
    let token = *run.output.get(index)?;
    let Quantised { x, scale } = Quantised::read(&row.result)?;
    let position = Position { position: place.position as u64 + 1, hidden: &x, scale, token };
    (found == *trace).then(|| position.leaf() != leaf)
}

/// What both sides agree on.
pub(crate) struct Checker<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) shape: &'a Shape,
    pub(crate) roots: &'a [Digest; 2],
    pub(crate) cell: &'a Cell,
}

impl Checker<'_> {
    /// Computes the cell from inputs and parts that were checked.
    pub(crate) fn compute(
        &self,
        steps: &[StepInput],
        cells: &[CellInput],
        parts: BTreeMap<Part, Vec<u8>>,
        run: Option<Run<'_>>,
    ) -> Result<Vec<u8>, Undecided> {
        let place = self.graph.place_of(self.shape, self.cell.step.index);
        let at = usize::try_from(self.cell.cell).map_err(|_| Undecided::Incomplete)?;
        let steps = steps.iter().map(|it| (it.place, it.result.as_slice())).collect();
        let cells = cells.iter().map(|it| ((it.place, it.cell), it.bytes.as_slice())).collect();
        let proven = Proven { steps, cells, parts, run };
        let place = place.ok_or(Undecided::Incomplete)?;
        compute(self.graph, &proven, place, at).ok_or(Undecided::Incomplete)
    }

    pub(crate) fn has_step(&self, input: &StepInput) -> bool {
        if input.result.len() != self.graph.size(input.place) {
            return false;
        }
        let cells = cells(self.graph, input.place, &input.result);
        self.is_before(input.place, cells.count(), &cells.root(), &input.path)
    }

    pub(crate) fn has_cell(&self, input: &CellInput) -> bool {
        let (count, _) = self.graph.cells(input.place);
        let leaf = merkle::leaf(&input.bytes);
        let root = merkle::root_of(leaf, input.cell, count as u64, &input.cell_path);
        let Some(root) = root else { return false };
        let own = self.graph.index_of(self.shape, input.place) == Some(self.cell.step.index);
        match own {
            // Cells before the first that differs are the same on both sides.
            true => input.cell < self.cell.cell && self.cell.step.roots.contains(&root),
            false => self.is_before(input.place, count as u64, &root, &input.path),
        }
    }

    /// Whether a step of this result stands in a trace before the first step that differs. Up to there
    /// both traces are the same, so that a path to either root shows it: neither side could make one to
    /// the other's, of which it has not seen what comes after.
    fn is_before(&self, place: Place, cells: u64, root: &Digest, path: &[Digest]) -> bool {
        let Some(index) = self.graph.index_of(self.shape, place) else { return false };
        let leaf = step_leaf(index, cells, root);
        index < self.cell.step.index
            && path.len() <= PATH_MAX + 8
            && merkle::root_of(leaf, index, self.graph.steps(self.shape), path)
                .is_some_and(|root| self.roots.contains(&root))
    }
}

/// Proven inputs.
struct Proven<'a> {
    steps: BTreeMap<Place, &'a [u8]>,
    cells: BTreeMap<(Place, u64), &'a [u8]>,
    parts: BTreeMap<Part, Vec<u8>>,
    run: Option<Run<'a>>,
}

impl Inputs for Proven<'_> {
    fn step(&self, place: Place) -> Option<&[u8]> {
        self.steps.get(&place).copied()
    }

    fn cell(&self, place: Place, cell: usize) -> Option<&[u8]> {
        self.cells.get(&(place, cell as u64)).copied()
    }

    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]> {
        let part = Part { kind: kind as u32, layer, from: range.start, to: range.end };
        self.parts.get(&part).map(Vec::as_slice)
    }

    fn run(&self) -> Option<Run<'_>> {
        self.run.clone()
    }
}

/// Notes what a computation reads.
struct Reads<'a> {
    memory: &'a Memory<'a>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    steps: BTreeSet<Place>,
    cells: BTreeSet<(Place, usize)>,
    parts: BTreeSet<Part>,
    reads_run: bool,
}

impl Inputs for Reads<'_> {
    fn step(&self, place: Place) -> Option<&[u8]> {
        self.seen.borrow_mut().steps.insert(place);
        self.memory.step(place)
    }

    fn cell(&self, place: Place, cell: usize) -> Option<&[u8]> {
        self.seen.borrow_mut().cells.insert((place, cell));
        self.memory.cell(place, cell)
    }

    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]> {
        let part = Part { kind: kind as u32, layer, from: range.start, to: range.end };
        let bytes = self.memory.section(kind, layer, range)?;
        self.seen.borrow_mut().parts.insert(part);
        Some(bytes)
    }

    fn run(&self) -> Option<Run<'_>> {
        self.seen.borrow_mut().reads_run = true;
        self.memory.run()
    }
}
