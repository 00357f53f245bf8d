//! Steps of the last position of the longest run, whose results are made up, and the evidence for them.
//!
//! Nobody computes 130,559 positions for a test. What a step reads is put into a trace of which all
//! else is only digests, so that evidence has the paths, the sizes and the work that it has in a run.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use audit::dispute::{Cell, Step};
use audit::graph::{Graph, Place, RUN, RUN_MAX, Shape, What};
use audit::referee::{CellInput, Evidence, Part, StepInput};
use audit::replay::Run;
use audit::step::{Inputs, compute};
use audit::trace::{cells, step_leaf};
use engine::artifact::Kind;
use engine::artifact::config::{Activation, Config, Family, VOCABULARY_MAX};
use engine::artifact::matrix::{Bits, Layout, Matrix};
use engine::artifact::vector::{Vector, steps_to_bytes};
use engine::model::shape;
use engine::sampling::Sampling;
use merkle::Digest;

/// The results that the last position's steps read.
pub(crate) struct Longest {
    pub(crate) graph: Graph,
    pub(crate) shape: Shape,
    prompt: Vec<u32>,
    sampling: Sampling,
    results: BTreeMap<Place, Vec<u8>>,
    vectors: BTreeMap<Kind, Vec<u8>>,
    zeros: Vec<u8>,
    seen: RefCell<Seen>,
}

#[derive(Default)]
struct Seen {
    steps: BTreeSet<Place>,
    cells: BTreeSet<(Place, usize)>,
    parts: BTreeSet<Part>,
    reads_run: bool,
}

/// The shape of a model with as many positions, logits and columns as there can be.
pub(crate) fn largest(heads: usize, head_size: usize, layers: usize) -> Graph {
    let config = Config {
        family: Family::Llama,
        activation: Activation::Silu,
        vocabulary: VOCABULARY_MAX as usize,
        layers,
        width: heads * head_size,
        hidden: 65_536,
        heads,
        kv_heads: heads / 4,
        head_size,
        context_max: 131_072,
        residual_fraction: 12,
        epsilon: 720_575_940_379,
        embedding_multiplier: 1 << 24,
        score_scale: 70_000_000_000,
        window: 0,
        window_period: 0,
    };
    Graph { config, head: Kind::Head, vocabulary: config.vocabulary }
}

impl Longest {
    pub(crate) fn new(graph: Graph, sampling: Sampling) -> Longest {
        let shape = Shape { prompt: RUN_MAX - 1, output: 1 };
        let position = shape.positions() - 1;
        let vocabulary = graph.vocabulary as u32;
        let prompt = (0..shape.prompt as u32).map(|at| at * 37 % vocabulary).collect();
        let layer = graph.config.layers - 1;
        let mut longest = Longest {
            graph,
            shape,
            prompt,
            sampling,
            results: BTreeMap::new(),
            vectors: vectors(&graph.config),
            zeros: vec![0; 2 << 20],
            seen: RefCell::default(),
        };
        let steps = longest.places(position);
        let heads = (position / RUN * RUN..=position).flat_map(|position| {
            [What::KeyHeads, What::ValueHeads].map(|what| Place { position, layer, what })
        });
        let before = Place { position, layer: layer - 1, what: What::MlpResidual };
        for place in steps.into_iter().chain(heads).chain([before]) {
            longest.results.insert(place, longest.made_up(place));
        }
        longest
    }

    /// The steps of the last layer, and those after it; of the heads' the results of all and the rest of
    /// the last only.
    pub(crate) fn places(&self, position: usize) -> Vec<Place> {
        let (layers, heads) = (self.graph.config.layers, self.graph.config.heads as u16);
        let first = Place { position, layer: layers - 1, what: What::AttentionNorm };
        let first = self.graph.index_of(&self.shape, first).unwrap();
        (first..self.graph.steps(&self.shape))
            .map(|index| self.graph.place_of(&self.shape, index).unwrap())
            .filter(|place| match place.what {
                What::Scores(head) | What::Weights(head) | What::Sums(head) => head + 1 == heads,
                _ => true,
            })
            .collect()
    }

    /// A result of the form that the step's has.
    fn made_up(&self, place: Place) -> Vec<u8> {
        let size = self.graph.size(place);
        let mut state = 88_172_645_463_325_252_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as i32 - (1 << 23)
        };
        match place.what {
            What::Weights(_) => {
                let mut bytes = vec![1; size];
                bytes[size - 12..].copy_from_slice(&[9, 9, 9, 0, 0, 0, 0, 0, 15, 0, 0, 0]);
                bytes
            }
            What::Sums(_) => vec![0; size],
            // Scores and scales of 1, elements of 1 and 0, rows of small numbers.
            What::Logits | What::Gate | What::Up | What::Embed => {
                (0..size / 4).flat_map(|_| (next() / 8).to_le_bytes()).collect()
            }
            _ => [1, 0, 0, 0].repeat(size.div_ceil(4))[..size].to_vec(),
        }
    }

    /// The run; its only answer is what it chooses or not.
    pub(crate) fn run_of(&self) -> Run<'_> {
        Run { prompt: &self.prompt, output: &[0], said: 0, sampling: &self.sampling }
    }

    /// The evidence for the last cell of a step, the roots of the traces, and the cell in dispute.
    pub(crate) fn evidence(&self, place: Place) -> (Evidence, [Digest; 2], Cell) {
        let at = self.graph.cells(place).0 - 1;
        self.seen.take();
        compute(&self.graph, self, place, at).expect("what is made up has the step's form");
        let seen = self.seen.take();
        let index = |place| self.graph.index_of(&self.shape, place).unwrap();
        let own = cells(&self.graph, place, &self.results[&place]);
        let others = seen.cells.iter().map(|(place, _)| *place).filter(|it| *it != place);
        let read: BTreeSet<Place> = seen.steps.iter().copied().chain(others).collect();
        let known = read.iter().map(|it| {
            let cells = cells(&self.graph, *it, &self.results[it]);
            (index(*it), step_leaf(index(*it), cells.count(), &cells.root()))
        });
        let tree = Sparse { known: known.collect() };
        let count = self.graph.steps(&self.shape);
        let path = |it: Place| tree.path(index(it), count);
        let steps = seen.steps.iter().map(|&it| StepInput {
            place: it,
            result: self.results[&it].clone(),
            path: path(it),
        });
        let inputs = seen.cells.iter().map(|&(it, cell)| CellInput {
            place: it,
            cell: cell as u64,
            bytes: self.cell(it, cell).unwrap().to_vec(),
            cell_path: cells(&self.graph, it, &self.results[&it]).path(cell as u64).unwrap(),
            path: if it == place { vec![] } else { path(it) },
        });
        let parts = seen.parts.iter().cloned().collect();
        let (steps, cells) = (steps.collect(), inputs.collect());
        let evidence = Evidence { steps, cells, parts, reads_run: seen.reads_run };
        self.seen.take();
        let step = Step { index: index(place), roots: [own.root(); 2] };
        let cell = Cell { step, cell: at as u64, leaves: [[0; 32]; 2] };
        (evidence, [tree.hash(0, count); 2], cell)
    }
}

impl Inputs for Longest {
    fn step(&self, place: Place) -> Option<&[u8]> {
        self.seen.borrow_mut().steps.insert(place);
        self.results.get(&place).map(Vec::as_slice)
    }

    fn cell(&self, place: Place, cell: usize) -> Option<&[u8]> {
        self.seen.borrow_mut().cells.insert((place, cell));
        audit::step::piece(self.results.get(&place)?, self.graph.cells(place).1, cell)
    }

    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]> {
        let part = Part { kind: kind as u32, layer, from: range.start, to: range.end };
        self.seen.borrow_mut().parts.insert(part);
        match self.vectors.get(&kind) {
            Some(bytes) if range.start == 0 => bytes.get(range),
            _ => self.zeros.get(..range.len()),
        }
    }

    fn run(&self) -> Option<Run<'_>> {
        self.seen.borrow_mut().reads_run = true;
        Some(self.run_of())
    }
}

/// Sections that are no matrix, and the heads of those that are.
fn vectors(config: &Config) -> BTreeMap<Kind, Vec<u8>> {
    let norm = || Vector { elements: vec![1 << 16; config.width], exponent: 16 }.to_bytes();
    let norms = [Kind::AttentionNorm, Kind::MlpNorm, Kind::OutputNorm].map(|kind| (kind, norm()));
    let rope = (Kind::RopeGlobal, steps_to_bytes(&vec![1 << 60; config.head_size / 2]));
    let heads = Kind::ALL.into_iter().filter_map(|kind| {
        let (rows, columns) = shape(config, kind)?;
        let layout = Layout { rows, columns, bits: Bits::Eight };
        Some((kind, Matrix::header(layout, 48).to_vec()))
    });
    heads.chain(norms).chain([rope]).collect()
}

/// A tree of which some leaves are known, and of all else a made-up digest.
struct Sparse {
    known: BTreeMap<u64, Digest>,
}

impl Sparse {
    /// The hash over leaves `from..to`, which is split as RFC 6962, section 2.1, says.
    fn hash(&self, from: u64, to: u64) -> Digest {
        if self.known.range(from..to).next().is_none() {
            return merkle::leaf(&[from.to_le_bytes(), to.to_le_bytes()].concat());
        }
        if to - from == 1 {
            return self.known[&from];
        }
        let split = split(from, to);
        merkle::root(&[self.hash(from, split), self.hash(split, to)])
    }

    fn path(&self, index: u64, count: u64) -> Vec<Digest> {
        let (mut from, mut to, mut path) = (0, count, vec![]);
        while to - from > 1 {
            let split = split(from, to);
            let is_left = index < split;
            path.push(if is_left { self.hash(split, to) } else { self.hash(from, split) });
            (from, to) = if is_left { (from, split) } else { (split, to) };
        }
        path.reverse();
        path
    }
}

fn split(from: u64, to: u64) -> u64 {
    from + (to - from).next_power_of_two() / 2
}
