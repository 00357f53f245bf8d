//! One step of the model: rows of tokens through the layers, exactly.
//!
//! A step takes any rows of any sequences; how a sequence is cut into steps, and what else shares
//! them, changes no bit. Rows can leave and enter between layers, so a model may be split over
//! machines. Specified in `docs/spec/int-1.md`, sections 3 to 8.
//!
//! Invariants:
//! - Every value is computed by the rules of `numeric` and exact sums, in fixed point.
//!
//! Not here: which rows to run (`batch`), and what follows the logits (`sampler`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;

use crate::artifact::Kind;
use crate::artifact::config::Config;
use crate::artifact::vector::Vector;
use crate::kernels::activations::{Activations, Unit};
use crate::kernels::attention::{
    self, AttentionMemory, AttentionScratch, HeadNorm, Projected, Segment,
};
use crate::kernels::matmul::{self, Product, Unfolded};
use crate::kernels::rows::{Rows, for_each, room};
use crate::kernels::{Isa, Pool, element, per_thread};
use crate::kv::KvPages;
use crate::model::Model;
use crate::numeric::{Scale, cos_sin_q30, saturate};
use crate::trace::Observer;

/// Fraction bits of projections, and of logits.
pub const FRACTION: u32 = 16;
/// Fraction bits of a block's output where it is normed before it is added.
pub const POST_NORM_FRACTION: u32 = 14;

/// Computes steps of one model.
#[derive(Debug)]
pub struct Forward {
    model: Arc<Model>,
    isa: Isa,
    pool: Pool,
    terms: Box<[Vec<i64>]>,
    unfolded: Box<[Unfolded]>,
    attention_scratch: Box<[AttentionScratch]>,
    attention_memory: AttentionMemory,
    activations: Activations,
    buffers: Buffers,
}

/// Rows of one step, kept between steps.
#[derive(Debug, Default)]
struct Buffers {
    query: Vec<i32>,
    key: Vec<i32>,
    value: Vec<i32>,
    attended: Vec<i32>,
    output: Vec<i32>,
    gate: Vec<i32>,
    up: Vec<i32>,
    /// Residual rows that go through the last layer's end.
    kept: Vec<i32>,
    /// Cosines and sines for layers that see everything, and for windowed ones.
    rotations: [(Vec<i32>, Vec<i32>); 2],
}

/// Which of two norms and their outputs a block has.
#[derive(Clone, Copy)]
enum Block {
    Attention = 0,
    Mlp = 1,
}

impl Forward {
    /// Prepares `threads` threads and their memory.
    ///
    /// # Panics
    /// When the machine does not have `isa`.
    #[must_use]
    pub fn new(model: Arc<Model>, isa: Isa, threads: usize) -> Forward {
        assert!(isa.is_available(), "the instruction set was checked before");
        let pool = Pool::new(threads);
        Forward {
            model,
            isa,
            terms: per_thread(&pool, Vec::new),
            unfolded: per_thread(&pool, Unfolded::default),
            attention_scratch: per_thread(&pool, AttentionScratch::default),
            attention_memory: AttentionMemory::default(),
            activations: Activations::default(),
            buffers: Buffers::default(),
            pool,
        }
    }

    /// Computes with `threads` threads from now on.
    pub fn set_threads(&mut self, threads: usize) {
        self.pool = Pool::new(threads);
        self.terms = per_thread(&self.pool, Vec::new);
        self.unfolded = per_thread(&self.pool, Unfolded::default);
        self.attention_scratch = per_thread(&self.pool, AttentionScratch::default);
    }

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The instruction set in use.
    #[must_use]
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads that compute.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Appends the embedding rows of tokens (section 3) to `rows`. Tokens outside the embedding are
    /// the caller's mistake and read as token 0.
    pub fn embed(&self, tokens: &[u32], rows: &mut Vec<i32>) {
        let config = self.model.config();
        let matrix = self.model.matrix(Kind::Embedding, 0);
        let shift = matrix.exponent + 24 - config.residual_fraction as i32;
        let shift = shift.clamp(1, 126) as u32;
        for &token in tokens {
            let row = if (token as usize) < config.vocabulary { token as usize } else { 0 };
            let scale = i128::from(matrix.row_scale(row)) * i128::from(config.embedding_multiplier);
            rows.extend((0..config.width).map(|column| {
                let value = i128::from(matrix.weight(row, column)) * scale;
                saturate(
                    ((value + (1i128 << (shift - 1))) >> shift)
                        .clamp(i128::from(i64::MIN), i128::from(i64::MAX))
                        as i64,
                )
            }));
        }
    }

    /// Runs rows through layers `range`, in place. `rows` is `[rows][width]`; `segments` covers it in
    /// order. The observer sees each row after each layer.
    ///
    /// # Panics
    /// When segments do not cover the rows, or a page is missing: the caller's own mistake.
    pub fn layers(
        &mut self,
        range: Range<usize>,
        rows: &mut [i32],
        segments: &[Segment<'_>],
        kv: &mut KvPages,
        observer: &mut Observer<'_>,
    ) {
        self.begin(rows, segments);
        self.pass(range, rows, segments, kv, observer);
    }

    /// Runs rows through every layer, in place, where only those in `read` are read in the end: ranges
    /// of rows, in order. The others leave their keys and values, and are not computed further.
    ///
    /// # Panics
    /// As `layers`, and when a range is not inside the rows.
    pub fn layers_read(
        &mut self,
        rows: &mut [i32],
        segments: &[Segment<'_>],
        read: &[Range<usize>],
        kv: &mut KvPages,
        observer: &mut Observer<'_>,
    ) {
        let Config { width, layers, .. } = *self.model.config();
        let last = layers - 1;
        self.begin(rows, segments);
        self.pass(0..last, rows, segments, kv, observer);
        self.attention(last, rows, segments, kv);
        let heads = self.model.config().query_width();
        let mut kept = core::mem::take(&mut self.buffers.kept);
        kept.clear();
        for Range { start, end } in read.iter().cloned() {
            let to = kept.len() / width * heads;
            self.buffers.attended.copy_within(start * heads..end * heads, to);
            kept.extend_from_slice(&rows[start * width..end * width]);
        }
        if !kept.is_empty() {
            self.project(last, &mut kept);
            self.mlp(last, &mut kept);
        }
        let mut left = &kept[..];
        for Range { start, end } in read.iter().cloned() {
            let (these, rest) = left.split_at((end - start) * width);
            rows[start * width..end * width].copy_from_slice(these);
            left = rest;
        }
        self.buffers.kept = kept;
        observer.layer(last, rows, width);
    }

    /// Makes ready for rows, whose segments cover them.
    fn begin(&mut self, rows: &[i32], segments: &[Segment<'_>]) {
        let count = rows.len() / self.model.config().width;
        assert!(
            segments.last().map_or(0, |last| last.rows.end) == count,
            "segments cover the rows"
        );
        self.resize(count);
        self.rotations(segments);
    }

    /// Runs all rows through layers.
    fn pass(
        &mut self,
        range: Range<usize>,
        rows: &mut [i32],
        segments: &[Segment<'_>],
        kv: &mut KvPages,
        observer: &mut Observer<'_>,
    ) {
        let width = self.model.config().width;
        for layer in range {
            self.attention(layer, rows, segments, kv);
            self.project(layer, rows);
            self.mlp(layer, rows);
            observer.layer(layer, rows, width);
        }
    }

    /// Logits, Q16, of rows that have passed every layer: `[rows][vocabulary padded to 32]`.
    pub fn logits(&mut self, rows: &[i32], out: &mut Vec<i32>) {
        let model = self.model.clone();
        let head = model.head();
        let count = rows.len() / model.config().width;
        self.normed(rows, count, model.output_norm());
        out.resize(count * head.layout.rows_padded(), 0);
        self.multiply([(head, &mut out[..])], FRACTION);
    }

    /// Quantises rows that have passed every layer for the head, as `logits` does.
    pub fn head_input(&mut self, rows: &[i32]) {
        let model = self.model.clone();
        self.normed(rows, rows.len() / model.config().width, model.output_norm());
    }

    /// Row `row` of what was quantised last, by `logits` or `head_input`: what the head multiplies,
    /// and its scale.
    #[must_use]
    pub fn head_row(&self, row: usize) -> (&[i16], Scale) {
        let (hidden, scale) = self.activations.row(row);
        (&hidden[..self.model.config().width], scale)
    }

    /// Elements from one row of logits to the next.
    #[must_use]
    pub fn logits_stride(&self) -> usize {
        self.model.head().layout.rows_padded()
    }

    fn resize(&mut self, count: usize) {
        let config = self.model.config();
        let padded = |width: usize| count * width.next_multiple_of(32);
        let buffers = &mut self.buffers;
        buffers.query.resize(padded(config.query_width()), 0);
        buffers.key.resize(padded(config.kv_width()), 0);
        buffers.value.resize(padded(config.kv_width()), 0);
        buffers.attended.resize(count * config.query_width(), 0);
        buffers.output.resize(padded(config.width), 0);
        buffers.gate.resize(padded(config.hidden), 0);
        buffers.up.resize(padded(config.hidden), 0);
    }

    /// Cosines and sines of every row's position (section 6.1).
    fn rotations(&mut self, segments: &[Segment<'_>]) {
        let windows = 1 + usize::from(self.model.config().window_period != 0);
        let pairs = self.buffers.rotations.iter_mut().zip([false, true]).take(windows);
        for ((cosines, sines), windowed) in pairs {
            cosines.clear();
            sines.clear();
            for segment in segments {
                let positions = segment.position..segment.position + segment.rows.len();
                for position in positions {
                    for &step in self.model.rope(windowed) {
                        let (cosine, sine) = cos_sin_q30(step.wrapping_mul(position as u64));
                        cosines.push(cosine);
                        sines.push(sine);
                    }
                }
            }
        }
    }

    fn attention(
        &mut self,
        layer: usize,
        rows: &mut [i32],
        segments: &[Segment<'_>],
        kv: &mut KvPages,
    ) {
        let model = self.model.clone();
        let (config, tables) = (model.config(), model.layer(layer));
        let count = rows.len() / config.width;
        self.normed(rows, count, &tables.attention_norm);
        let mut buffers = core::mem::take(&mut self.buffers);
        let matrix = |kind| model.matrix(kind, layer);
        self.multiply(
            [
                (matrix(Kind::Query), &mut buffers.query),
                (matrix(Kind::Key), &mut buffers.key),
                (matrix(Kind::Value), &mut buffers.value),
            ],
            FRACTION,
        );
        let strides =
            (config.query_width().next_multiple_of(32), config.kv_width().next_multiple_of(32));
        if let Some([query, key, value]) = &tables.biases {
            self.bias(&mut buffers.query, strides.0, query);
            self.bias(&mut buffers.key, strides.1, key);
            self.bias(&mut buffers.value, strides.1, value);
        }
        let window = config.layer_window(layer);
        let (cosines, sines) = &buffers.rotations[usize::from(window.is_some())];
        let norms = tables.head_norms.as_ref().map(|[query, key]| {
            [query, key].map(|vector| HeadNorm {
                weights: &vector.elements,
                exponent: vector.exponent,
                epsilon: config.epsilon,
            })
        });
        let context = attention::Layer {
            layer,
            heads: config.heads,
            window,
            whole: false,
            score_scale: config.score_scale,
            head_norms: norms,
            rotation: (cosines, sines),
        };
        let projected = Projected {
            query: &mut buffers.query,
            key: &mut buffers.key,
            value: &mut buffers.value,
            strides,
            out: &mut buffers.attended,
        };
        attention::attend(
            (self.isa, &mut self.pool),
            &mut self.attention_scratch,
            &mut self.attention_memory,
            kv,
            &context,
            segments,
            projected,
        );
        self.buffers = buffers;
    }

    /// Adds what rows have attended to, projected.
    fn project(&mut self, layer: usize, rows: &mut [i32]) {
        let config = *self.model.config();
        let buffers = core::mem::take(&mut self.buffers);
        let (width, attended, isa) = (config.query_width(), &buffers.attended, self.isa);
        let unit = Unit { rms: 1, exponent: FRACTION as i32 };
        self.fill((rows.len() / config.width, width), |token, terms| {
            element::widen(isa, &attended[token * width..][..width], terms);
            unit
        });
        self.buffers = buffers;
        self.finish(layer, Kind::AttentionOutput, Block::Attention, rows);
    }

    fn mlp(&mut self, layer: usize, rows: &mut [i32]) {
        let model = self.model.clone();
        let (config, tables) = (model.config(), model.layer(layer));
        let count = rows.len() / config.width;
        self.normed(rows, count, &tables.mlp_norm);
        let mut buffers = core::mem::take(&mut self.buffers);
        let (gate, up) = (model.matrix(Kind::Gate, layer), model.matrix(Kind::Up, layer));
        self.multiply([(gate, &mut buffers.gate), (up, &mut buffers.up)], FRACTION);
        let (hidden, stride) = (config.hidden, config.hidden.next_multiple_of(32));
        let (isa, activation) = (self.isa, config.activation);
        let (gate, up) = (&buffers.gate, &buffers.up);
        let unit = Unit { rms: 1, exponent: 2 * FRACTION as i32 };
        self.fill((count, hidden), |token, terms| {
            let row = token * stride..token * stride + hidden;
            element::gated(isa, activation, &gate[row.clone()], &up[row], terms);
            unit
        });
        self.buffers = buffers;
        self.finish(layer, Kind::Down, Block::Mlp, rows);
    }

    /// Projects a block's result and adds it to the residual, normed first where the family does so.
    fn finish(&mut self, layer: usize, kind: Kind, block: Block, rows: &mut [i32]) {
        let model = self.model.clone();
        let config = model.config();
        let norms = model.layer(layer).post_norms.as_ref();
        let fraction = if norms.is_some() { POST_NORM_FRACTION } else { config.residual_fraction };
        let mut output = core::mem::take(&mut self.buffers.output);
        self.multiply([(model.matrix(kind, layer), &mut output)], fraction);
        let (width, isa) = (config.width, self.isa);
        let stride = width.next_multiple_of(32);
        let norm = norms.map(|norms| &norms[block as usize]);
        let exponent = (POST_NORM_FRACTION - config.residual_fraction) as i32;
        let count = rows.len() / width;
        let buffers = (Rows::new(rows, width), Rows::new(&mut output, stride));
        for_each(&mut self.pool, count, buffers, &mut self.terms, |_, (row, output), terms| {
            let output = &mut output[..width];
            if let Some(norm) = norm {
                let terms = room(terms, width);
                let sum = element::norm_terms(isa, output, &norm.elements, terms);
                let rms =
                    attention::root_mean_square(sum, width, POST_NORM_FRACTION, config.epsilon);
                let inverse = attention::inverse(rms);
                element::rescale(isa, terms, inverse, norm.exponent + exponent, output);
            }
            element::add(isa, row, output);
        });
        self.buffers.output = output;
    }

    /// Norms and quantises residual rows.
    fn normed(&mut self, rows: &[i32], count: usize, norm: &Vector) {
        let model = self.model.clone();
        let config = model.config();
        let (isa, width, fraction) = (self.isa, config.width, config.residual_fraction);
        self.fill((count, width), |token, terms| {
            let row = &rows[token * width..][..width];
            let sum = element::norm_terms(isa, row, &norm.elements, terms);
            let rms = attention::root_mean_square(sum, width, fraction, config.epsilon);
            Unit { rms, exponent: fraction as i32 + norm.exponent - 28 }
        });
    }

    fn fill(&mut self, shape: (usize, usize), terms: impl Fn(usize, &mut [i64]) -> Unit + Sync) {
        let bulk = matmul::unfolds(self.isa, shape.0);
        let (isa, pool) = (self.isa, &mut self.pool);
        self.activations.fill((isa, pool), &mut self.terms, shape, bulk, terms);
    }

    fn multiply<const N: usize>(
        &mut self,
        products: [(crate::artifact::matrix::Matrix<'_>, &mut [i32]); N],
        fraction: u32,
    ) {
        let product = |(matrix, out)| Product { matrix, fraction: fraction as i32, out };
        let products = products.into_iter().map(product).collect();
        let (isa, pool) = (self.isa, &mut self.pool);
        matmul::multiply(isa, pool, &mut self.unfolded, &self.activations, products);
    }

    fn bias(&mut self, rows: &mut [i32], stride: usize, bias: &[i32]) {
        for row in rows.chunks_exact_mut(stride) {
            element::add(self.isa, &mut row[..bias.len()], bias);
        }
    }
}
