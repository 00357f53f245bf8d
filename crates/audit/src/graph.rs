//! The steps of a run, in the order of computation, each with its number.
//!
//! A run is positions, a position is layers, a layer is steps, and a step's result is cells, which are
//! what one recomputation decides about. Specified in `docs/spec/audit.md`, section 5.
//!
//! Invariants:
//! - `index_of` and `place_of` are inverse to each other, and a step reads only steps of smaller
//!   numbers, or earlier cells of its own.
//!
//! Not here: what a step computes (`step`).

use engine::artifact::Kind;
use engine::artifact::config::Config;
use engine::artifact::matrix::GROUP;
use engine::model::Model;

/// Positions whose scores make one cell, and after which a running sum is noted: a page's.
pub const RUN: usize = 16;

/// Tokens of a run, at most: of a longer one a lie could not be proved (`engine::artifact::config`).
pub const RUN_MAX: usize = engine::artifact::config::RUN_MAX as usize;

/// Steps of a layer before its heads' and after them.
const BEFORE_HEADS: u64 = 7;
const AFTER_HEADS: u64 = 9;
const PER_HEAD: u64 = 4;
/// Steps of a position from which a token of the answer follows, after its layers.
const TAIL: u64 = 3;

/// What a model's steps depend on, apart from its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graph {
    /// Its shape.
    pub config: Config,
    /// The section that serves as the head.
    pub head: Kind,
    /// Tokens of its vocabulary.
    pub vocabulary: usize,
}

/// How long a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Tokens of the prompt, at least 1.
    pub prompt: usize,
    /// Tokens of the answer, at least 1.
    pub output: usize,
}

/// A step of a position.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    /// The token's embedding: the residual row.
    Embed,
    /// The residual row normed and quantised for attention.
    AttentionNorm,
    /// Queries, their biases added.
    Query,
    /// Keys.
    Key,
    /// Values.
    Value,
    /// Query heads normed, rotated and quantised; a head is a cell.
    QueryHeads,
    /// Key heads.
    KeyHeads,
    /// Value heads quantised.
    ValueHeads,
    /// A head's scores of past positions, with the scales of their keys and values.
    Scores(u16),
    /// A head's weights, their sum, and the length of the largest value scale.
    Weights(u16),
    /// A head's weighted sums after each run of positions.
    Sums(u16),
    /// A head's result.
    Result(u16),
    /// The heads' results quantised.
    AttentionInput,
    /// Their projection.
    AttentionOutput,
    /// The residual row after attention.
    AttentionResidual,
    /// The residual row normed and quantised for the network.
    MlpNorm,
    /// The gate.
    Gate,
    /// The values that the gate lets through.
    Up,
    /// The gated values quantised.
    MlpInput,
    /// Their projection.
    Down,
    /// The residual row after the layer.
    MlpResidual,
    /// The last residual row normed and quantised for the head.
    HeadInput,
    /// Logits.
    Logits,
    /// The token that follows.
    Sample,
}

/// A step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The position, from 0.
    pub position: usize,
    /// The layer, from 0; the number of layers for what follows the last.
    pub layer: usize,
    /// Which step.
    pub what: What,
}

/// Steps of a layer before its heads'.
pub(crate) const FIRST: [What; 7] = [
    What::AttentionNorm,
    What::Query,
    What::Key,
    What::Value,
    What::QueryHeads,
    What::KeyHeads,
    What::ValueHeads,
];
/// Steps of a layer after its heads'.
pub(crate) const LAST: [What; 9] = [
    What::AttentionInput,
    What::AttentionOutput,
    What::AttentionResidual,
    What::MlpNorm,
    What::Gate,
    What::Up,
    What::MlpInput,
    What::Down,
    What::MlpResidual,
];
/// Steps after the last layer.
pub(crate) const ENDS: [What; 3] = [What::HeadInput, What::Logits, What::Sample];
const HEADS: [fn(u16) -> What; 4] = [What::Scores, What::Weights, What::Sums, What::Result];

impl Shape {
    /// Positions that are computed: the last token's row is not.
    #[must_use]
    pub fn positions(&self) -> usize {
        (self.prompt + self.output).saturating_sub(1)
    }

    /// Whether a token of the answer follows the position, and which.
    #[must_use]
    pub fn answer_after(&self, position: usize) -> Option<usize> {
        let index = (position + 1).checked_sub(self.prompt)?;
        (index < self.output).then_some(index)
    }
}

impl Graph {
    /// The graph of an opened model.
    #[must_use]
    pub fn of(model: &Model) -> Graph {
        let own = model.section_bytes(Kind::Head, 0).is_some();
        Graph {
            config: *model.config(),
            head: if own { Kind::Head } else { Kind::Embedding },
            vocabulary: model.vocabulary_size(),
        }
    }

    /// Steps of a layer.
    fn layer_steps(&self) -> u64 {
        BEFORE_HEADS + PER_HEAD * self.config.heads as u64 + AFTER_HEADS
    }

    /// Steps before a position.
    fn before(&self, shape: &Shape, position: usize) -> u64 {
        let all = 1 + self.config.layers as u64 * self.layer_steps();
        let ends = (position + 1).saturating_sub(shape.prompt).min(shape.output);
        position as u64 * all + ends as u64 * TAIL
    }

    /// Steps of a run.
    #[must_use]
    pub fn steps(&self, shape: &Shape) -> u64 {
        self.before(shape, shape.positions())
    }

    /// The number of a step; none if the run has no such step.
    #[must_use]
    pub fn index_of(&self, shape: &Shape, place: Place) -> Option<u64> {
        let layers = self.config.layers;
        if place.position >= shape.positions() || place.layer > layers {
            return None;
        }
        let base = self.before(shape, place.position);
        let at = |list: &[What]| list.iter().position(|what| *what == place.what);
        if place.what == What::Embed {
            return (place.layer == 0).then_some(base);
        }
        let base = base + 1 + place.layer as u64 * self.layer_steps();
        if let Some(index) = at(&ENDS) {
            let is_there = place.layer == layers && shape.answer_after(place.position).is_some();
            return is_there.then_some(base + index as u64);
        }
        if place.layer == layers {
            return None;
        }
        if let Some(index) = at(&FIRST) {
            return Some(base + index as u64);
        }
        let heads = self.config.heads as u64;
        if let Some(index) = at(&LAST) {
            return Some(base + BEFORE_HEADS + PER_HEAD * heads + index as u64);
        }
        let (head, index) = match place.what {
            What::Scores(head) => (head, 0),
            What::Weights(head) => (head, 1),
            What::Sums(head) => (head, 2),
            What::Result(head) => (head, 3),
            _ => return None,
        };
        let is_there = u64::from(head) < heads;
        is_there.then_some(base + BEFORE_HEADS + PER_HEAD * u64::from(head) + index)
    }

    /// The step with a number; none if the run has fewer.
    #[must_use]
    pub fn place_of(&self, shape: &Shape, index: u64) -> Option<Place> {
        if index >= self.steps(shape) {
            return None;
        }
        let (mut low, mut high) = (0, shape.positions());
        while high - low > 1 {
            let middle = (low + high) / 2;
            if self.before(shape, middle) <= index { low = middle } else { high = middle }
        }
        let position = low;
        let within = index - self.before(shape, position);
        let Some(within) = within.checked_sub(1) else {
            return Some(Place { position, layer: 0, what: What::Embed });
        };
        let layer = ((within / self.layer_steps()) as usize).min(self.config.layers);
        let within = (within - layer as u64 * self.layer_steps()) as usize;
        let first = BEFORE_HEADS as usize;
        let heads = PER_HEAD as usize * self.config.heads;
        let what = if layer == self.config.layers {
            *ENDS.get(within)?
        } else if within < first {
            FIRST[within]
        } else if within < first + heads {
            // At most 1,024 heads.
            let (head, index) = ((within - first) / 4, (within - first) % 4);
            HEADS[index](head as u16)
        } else {
            *LAST.get(within - first - heads)?
        };
        Some(Place { position, layer, what })
    }

    /// First position that a row sees in a layer.
    #[must_use]
    pub fn first_seen(&self, place: Place) -> usize {
        let window = self.config.layer_window(place.layer).unwrap_or(usize::MAX);
        (place.position + 1).saturating_sub(window)
    }

    /// Cells of a step's result, and bytes of each but the last, which may be shorter.
    #[must_use]
    pub fn cells(&self, place: Place) -> (usize, usize) {
        let config = &self.config;
        let (row, head) = (4 * config.width, config.head_size);
        let quantised = |columns: usize| (1, 2 * columns + 8);
        let product = |rows: usize| (rows.div_ceil(GROUP), 4 * GROUP);
        let seen = place.position + 1 - self.first_seen(place).min(place.position);
        match place.what {
            What::Embed | What::AttentionResidual | What::MlpResidual => (1, row),
            What::AttentionNorm | What::MlpNorm | What::HeadInput => quantised(config.width),
            What::Query => product(config.query_width()),
            What::Key | What::Value => product(config.kv_width()),
            What::QueryHeads => (config.heads, 2 * head + 4),
            What::KeyHeads | What::ValueHeads => (config.kv_heads, 2 * head + 4),
            What::Scores(_) => (seen.div_ceil(RUN), 12 * RUN),
            What::Weights(_) => (1, 2 * seen + 12),
            What::Sums(_) => (seen.div_ceil(RUN), 8 * head),
            What::Result(_) => (1, 4 * head),
            What::AttentionInput => quantised(config.query_width()),
            What::AttentionOutput | What::Down => product(config.width),
            What::Gate | What::Up => product(config.hidden),
            What::MlpInput => quantised(config.hidden),
            What::Logits => product(config.vocabulary),
            What::Sample => (1, 4),
        }
    }

    /// Bytes of a step's whole result.
    #[must_use]
    pub fn size(&self, place: Place) -> usize {
        let config = &self.config;
        let seen = place.position + 1 - self.first_seen(place).min(place.position);
        let (count, size) = self.cells(place);
        match place.what {
            What::Query => 4 * config.query_width(),
            What::Key | What::Value => 4 * config.kv_width(),
            What::AttentionOutput | What::Down => 4 * config.width,
            What::Gate | What::Up => 4 * config.hidden,
            What::Logits => 4 * config.vocabulary,
            What::Scores(_) => 12 * seen,
            _ => count * size,
        }
    }
}
