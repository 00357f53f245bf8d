//! Turn texts into embeddings: a BERT-type encoder, exactly.
//!
//! Rows of whole texts pass the layers together; each row sees every position of its own text. What
//! shares a step changes no bit. Specified in `docs/spec/int-1.md`, sections 3.1, 4.5 and 8.1.
//!
//! Invariants:
//! - Every value is computed by the rules of `numeric` and exact sums, in fixed point; no float.
//! - An embedding depends on the artifact and the text's tokens, and on nothing else.
//!
//! Not here: text to tokens (the `text` crate), floats for clients (`gateway`).

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use crate::artifact::Kind;
use crate::artifact::matrix::Matrix;
use crate::forward::FRACTION;
use crate::kernels::activations::{Activations, Unit};
use crate::kernels::attention::{
    self, AttentionMemory, AttentionScratch, Layer, Projected, Segment,
};
use crate::kernels::matmul::{self, Product, Unfolded};
use crate::kernels::rows::{Rows, for_each, room};
use crate::kernels::{Isa, Pool, element, per_thread};
use crate::kv::{KvPages, KvShape, PAGE};
use crate::numeric::{bit_length, round_shift, saturate};

mod artifact;

use artifact::Norm;
pub use artifact::{EncoderModel, LAYER_MATRICES, is_encoder};

/// Fraction bits of an embedding's elements.
pub const EMBEDDING_FRACTION: u32 = 30;
/// Rows of one step, about: texts are put together up to so many, so that a step's memory is bounded.
/// One text of the longest context is a step of its own.
const STEP_ROWS: usize = 1_024;
/// One in Q30: the cosine of no turn.
const ONE_Q30: i32 = 1 << 30;

/// A text cannot be embedded: a mistake of the caller, who knows the model's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EmbedError {
    /// A text has no tokens, or more than there are positions.
    #[error("text {text} has {tokens} tokens, outside 1 to {max}")]
    Length {
        /// Which text, from 0.
        text: usize,
        /// How many tokens it has.
        tokens: usize,
        /// Positions.
        max: usize,
    },
    /// A token is none.
    #[error("text {text} has the token {token}, and there are {count}")]
    Token {
        /// Which text, from 0.
        text: usize,
        /// The token.
        token: u32,
        /// Rows of the embedding.
        count: usize,
    },
}

/// Computes embeddings with one encoder.
#[derive(Debug)]
pub struct Encoder {
    model: Arc<EncoderModel>,
    isa: Isa,
    pool: Pool,
    terms: Box<[Vec<i64>]>,
    unfolded: Box<[Unfolded]>,
    attention_scratch: Box<[AttentionScratch]>,
    attention_memory: AttentionMemory,
    activations: Activations,
    /// Keys and values of one layer; each layer writes them anew.
    kv: KvPages,
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
    up: Vec<i32>,
    /// Positions are learned, so heads are not turned.
    rotation: (Vec<i32>, Vec<i32>),
}

impl Encoder {
    /// Prepares `threads` threads and their memory.
    ///
    /// # Panics
    /// When the machine does not have `isa`.
    #[must_use]
    pub fn new(model: Arc<EncoderModel>, isa: Isa, threads: usize) -> Encoder {
        assert!(isa.is_available(), "the instruction set was checked before");
        let pool = Pool::new(threads);
        let config = model.config();
        let shape = KvShape { layers: 1, heads: config.kv_heads, head_size: config.head_size };
        Encoder {
            kv: KvPages::new(shape, 0),
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

    /// The model.
    #[must_use]
    pub fn model(&self) -> &Arc<EncoderModel> {
        &self.model
    }

    /// The embedding of each text, `width` elements in Q30 of length one. `texts` are tokens, those
    /// that begin and end a text among them.
    ///
    /// # Errors
    /// When a text is empty or longer than the positions, or a token is none; then nothing is computed.
    pub fn embed(&mut self, texts: &[&[u32]]) -> Result<Vec<Vec<i32>>, EmbedError> {
        self.check(texts)?;
        let mut embeddings = Vec::with_capacity(texts.len());
        let mut rest = texts;
        while !rest.is_empty() {
            let (step, after) = rest.split_at(step_size(rest));
            self.step(step, &mut embeddings);
            rest = after;
        }
        Ok(embeddings)
    }

    fn check(&self, texts: &[&[u32]]) -> Result<(), EmbedError> {
        let config = self.model.config();
        let (max, count) = (config.context_max, config.vocabulary);
        for (text, tokens) in texts.iter().enumerate() {
            if tokens.is_empty() || tokens.len() > max {
                return Err(EmbedError::Length { text, tokens: tokens.len(), max });
            }
            if let Some(&token) = tokens.iter().find(|&&token| token as usize >= count) {
                return Err(EmbedError::Token { text, token, count });
            }
        }
        Ok(())
    }

    /// Embeds texts together.
    fn step(&mut self, texts: &[&[u32]], embeddings: &mut Vec<Vec<i32>>) {
        let model = self.model.clone();
        let (places, pages) = places(texts);
        let needed = pages.last().map_or(0, |range| range.end);
        if self.kv.count() < needed {
            self.kv = KvPages::new(self.kv.shape, needed);
        }
        let pages: Vec<Vec<u32>> = pages
            .into_iter()
            .map(|range| (range.start as u32..range.end as u32).collect())
            .collect();
        let segment =
            |(rows, pages): (&Range<usize>, _)| Segment { pages, position: 0, rows: rows.clone() };
        let segments: Vec<Segment<'_>> =
            places.iter().zip(pages.iter().map(Vec::as_slice)).map(segment).collect();
        let width = model.config().width;
        let mut rows = self.embedding(texts);
        self.resize(rows.len() / width);
        for layer in 0..model.config().layers {
            self.attention(layer, &mut rows, &segments);
            self.mlp(layer, &mut rows);
        }
        embeddings.extend(places.into_iter().map(|place| {
            let rows = &rows[place.start * width..place.end * width];
            unit(&pool_rows(rows, width))
        }));
    }

    /// Rows of tokens: token, position and type added, and normed (section 3.1).
    fn embedding(&mut self, texts: &[&[u32]]) -> Vec<i32> {
        let model = self.model.clone();
        let width = model.config().width;
        let (tokens, positions) =
            (model.matrix(Kind::Embedding, 0), model.matrix(Kind::Positions, 0));
        let mut rows = Vec::new();
        for text in texts {
            for (position, &token) in text.iter().enumerate() {
                let pairs = (0..width).zip(&model.token_type);
                rows.extend(pairs.map(|(column, &kind)| {
                    let token = self.plain(&tokens, token as usize, column);
                    let position = self.plain(&positions, position, column);
                    saturate(i64::from(token) + i64::from(position) + i64::from(kind))
                }));
            }
        }
        self.norm(&mut rows, None, &model.norm);
        rows
    }

    /// A weight in the fraction of rows (section 3).
    fn plain(&self, matrix: &Matrix<'_>, row: usize, column: usize) -> i32 {
        let fraction = self.model.config().residual_fraction as i32;
        // The weight takes 15 bits and the scale 31, so the product fits 64 bits at any shift up to 62.
        let shift = (matrix.exponent - fraction).clamp(1, 62) as u32;
        let product = i64::from(matrix.weight(row, column)) * i64::from(matrix.row_scale(row));
        saturate(round_shift(product, shift))
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
        buffers.up.resize(padded(config.hidden), 0);
        buffers.rotation.0.resize(count * config.head_size / 2, ONE_Q30);
        buffers.rotation.1.resize(count * config.head_size / 2, 0);
    }

    fn attention(&mut self, layer: usize, rows: &mut [i32], segments: &[Segment<'_>]) {
        let model = self.model.clone();
        let (config, tables) = (model.config(), &model.layers[layer]);
        self.quantise(rows);
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
        let [query, key, value] = &tables.projections;
        self.bias(&mut buffers.query, strides.0, query);
        self.bias(&mut buffers.key, strides.1, key);
        self.bias(&mut buffers.value, strides.1, value);
        let context = Layer {
            layer: 0,
            heads: config.heads,
            window: None,
            whole: true,
            score_scale: config.score_scale,
            head_norms: None,
            rotation: (&buffers.rotation.0, &buffers.rotation.1),
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
            &mut self.kv,
            &context,
            segments,
            projected,
        );
        let (width, attended, isa) = (config.query_width(), &buffers.attended, self.isa);
        let count = rows.len() / config.width;
        self.fill((count, width), |token, terms| {
            element::widen(isa, &attended[token * width..][..width], terms);
            FRACTION
        });
        self.buffers = buffers;
        self.finish(layer, Kind::AttentionOutput, (&tables.outputs[0], &tables.norms[0]), rows);
    }

    fn mlp(&mut self, layer: usize, rows: &mut [i32]) {
        let model = self.model.clone();
        let (config, tables) = (model.config(), &model.layers[layer]);
        self.quantise(rows);
        let mut up = core::mem::take(&mut self.buffers.up);
        self.multiply([(model.matrix(Kind::Up, layer), &mut up)], FRACTION);
        let (hidden, stride) = (config.hidden, config.hidden.next_multiple_of(32));
        let (isa, read) = (self.isa, &up);
        self.fill((rows.len() / config.width, hidden), |token, terms| {
            element::gelu_terms(isa, &read[token * stride..][..hidden], &tables.up, terms);
            FRACTION
        });
        self.buffers.up = up;
        self.finish(layer, Kind::Down, (&tables.outputs[1], &tables.norms[1]), rows);
    }

    /// Projects a block's result, adds its bias and the rows, and norms the sum.
    fn finish(
        &mut self,
        layer: usize,
        kind: Kind,
        (bias, norm): (&[i32], &Norm),
        rows: &mut [i32],
    ) {
        let model = self.model.clone();
        let config = model.config();
        let mut output = core::mem::take(&mut self.buffers.output);
        self.multiply([(model.matrix(kind, layer), &mut output)], config.residual_fraction);
        self.norm(rows, Some((&mut output, bias)), norm);
        self.buffers.output = output;
    }

    /// Norms rows in place (section 4.5), after adding a block's output and its bias if there is one.
    fn norm(&mut self, rows: &mut [i32], added: Option<(&mut [i32], &[i32])>, norm: &Norm) {
        let config = self.model.config();
        let (isa, width, fraction) = (self.isa, config.width, config.residual_fraction);
        let (epsilon, count) = (config.epsilon, rows.len() / width);
        let (output, bias) = added.unwrap_or_default();
        let buffers = (Rows::new(rows, width), Rows::new(output, width.next_multiple_of(32)));
        for_each(&mut self.pool, count, buffers, &mut self.terms, |_, (row, output), terms| {
            if !bias.is_empty() {
                element::add(isa, &mut output[..width], bias);
                element::add(isa, row, &output[..width]);
            }
            element::centre(isa, row);
            let terms = room(terms, width);
            let sum = element::norm_terms(isa, row, &norm.weights.elements, terms);
            let rms = attention::root_mean_square(sum, width, fraction, epsilon);
            element::rescale(isa, terms, attention::inverse(rms), norm.weights.exponent, row);
            element::add(isa, row, &norm.bias);
        });
    }

    fn bias(&mut self, rows: &mut [i32], stride: usize, bias: &[i32]) {
        let (isa, count) = (self.isa, rows.len() / stride);
        let buffer = Rows::new(rows, stride);
        for_each(&mut self.pool, count, buffer, &mut self.terms, |_, row, _| {
            element::add(isa, &mut row[..bias.len()], bias);
        });
    }

    /// Quantises rows as they are.
    fn quantise(&mut self, rows: &[i32]) {
        let model = self.model.clone();
        let (width, fraction) = (model.config().width, model.config().residual_fraction);
        let isa = self.isa;
        self.fill((rows.len() / width, width), |token, terms| {
            element::widen(isa, &rows[token * width..][..width], terms);
            fraction
        });
    }

    /// Quantises rows of terms, whose fraction bits `terms` returns.
    fn fill(&mut self, shape: (usize, usize), terms: impl Fn(usize, &mut [i64]) -> u32 + Sync) {
        let bulk = matmul::unfolds(self.isa, shape.0);
        let (isa, pool) = (self.isa, &mut self.pool);
        self.activations.fill((isa, pool), &mut self.terms, shape, bulk, |token, out| Unit {
            rms: 1,
            exponent: terms(token, out) as i32,
        });
    }

    fn multiply<const N: usize>(&mut self, products: [(Matrix<'_>, &mut [i32]); N], fraction: u32) {
        let product = |(matrix, out)| Product { matrix, fraction: fraction as i32, out };
        let products = products.into_iter().map(product).collect();
        let (isa, pool) = (self.isa, &mut self.pool);
        matmul::multiply(isa, pool, &mut self.unfolded, &self.activations, products);
    }
}

/// How many of the texts, at least one, make the next step.
fn step_size(texts: &[&[u32]]) -> usize {
    let mut rows = 0;
    let fits = |text: &&&[u32]| {
        rows += text.len();
        rows <= STEP_ROWS
    };
    texts.iter().take_while(fits).count().max(1)
}

/// The rows of each text in a step, and its pages.
fn places(texts: &[&[u32]]) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let (mut row, mut page) = (0, 0);
    let place = |text: &&[u32]| {
        let (rows, pages) = (row..row + text.len(), page..page + text.len().div_ceil(PAGE));
        (row, page) = (rows.end, pages.end);
        (rows, pages)
    };
    texts.iter().map(place).unzip()
}

/// The sum of a text's rows: their mean, but for its length (section 8.1).
fn pool_rows(rows: &[i32], width: usize) -> Vec<i64> {
    let mut sums = vec![0i64; width];
    for row in rows.chunks_exact(width) {
        sums.iter_mut().zip(row).for_each(|(sum, &element)| *sum += i64::from(element));
    }
    sums
}

/// Numbers below 2^62 in magnitude, divided by their length, Q30 (section 8.1). All zero where all are.
#[must_use]
pub fn unit(numbers: &[i64]) -> Vec<i32> {
    let largest = numbers.iter().map(|number| number.unsigned_abs()).max().unwrap_or(0);
    let length = bit_length(largest);
    let scaled = numbers.iter().map(|&number| match length {
        ..=30 => number << (30 - length),
        _ => round_shift(number, (length - 30).min(62)),
    });
    let scaled: Vec<i64> = scaled.collect();
    // |scaled| <= 2^30, so 65,536 squares stay below 2^76.
    let squares: u128 = scaled.iter().map(|&it| u128::from(it.unsigned_abs()).pow(2)).sum();
    let norm = squares.isqrt() as i64;
    let part = |&number: &i64| match norm {
        0 => 0,
        _ => saturate(((number << (EMBEDDING_FRACTION + 1)) + norm).div_euclid(2 * norm)),
    };
    scaled.iter().map(part).collect()
}

#[cfg(test)]
mod tests;
