//! The source model in floating point, to measure an artifact against.
//!
//! Weights are the source's own numbers in f32, and so are all activations; sums run in 16 lanes. It
//! is no part of any result that two machines must agree on.
//!
//! Not here: the comparison (`measure`).
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls the body compiled for the instruction set that was detected"
    )
)]

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::assemble::{Parts, Source, source_row};
use super::family::Shape;
use super::{ImportError, dequantise};
use crate::artifact::config::Family;
use crate::artifact::{Kind, SectionId};
use crate::kernels::rows::{Rows, for_each};
use crate::kernels::{Isa, Pool, per_isa, per_thread};
use crate::model::shape as matrix_shape;

/// Rows of a matrix that one item computes.
const ITEM_ROWS: usize = 16;

/// Runs a source model in f32.
#[derive(Debug)]
pub struct Reference<'a> {
    parts: &'a Parts<'a>,
    isa: Isa,
    pool: Pool,
}

/// Rows of one layer's attention.
struct Heads {
    query: Vec<f32>,
    key: Vec<f32>,
    value: Vec<f32>,
}

impl<'a> Reference<'a> {
    /// A reference for a model that was read.
    #[must_use]
    pub fn new(parts: &'a Parts<'a>, isa: Isa, threads: usize) -> Reference<'a> {
        Reference { parts, isa, pool: Pool::new(threads) }
    }

    /// The normed last rows of windows of `window` tokens, `[tokens][width]`.
    ///
    /// # Errors
    /// When a weight is not finite or a tensor is missing.
    pub fn rows(&mut self, tokens: &[u32], window: usize) -> Result<Vec<f32>, ImportError> {
        let shape = &self.parts.shape;
        let (width, layers) = (shape.width, shape.layers);
        let mut rows = self.embed(tokens)?;
        for layer in 0..layers as u32 {
            let normed = self.norm(&rows, width, Kind::AttentionNorm, layer)?;
            let attended = self.attention(&normed, layer, window)?;
            let output = self.product(&attended, Kind::AttentionOutput, layer)?;
            self.add(&mut rows, output, Kind::AttentionPostNorm, layer)?;
            let normed = self.norm(&rows, width, Kind::MlpNorm, layer)?;
            let mut gate = self.product(&normed, Kind::Gate, layer)?;
            let up = self.product(&normed, Kind::Up, layer)?;
            let gelu = self.parts.shape.family == Family::Gemma3;
            for (gate, up) in gate.iter_mut().zip(&up) {
                *gate = activation(*gate, gelu) * up;
            }
            let output = self.product(&gate, Kind::Down, layer)?;
            self.add(&mut rows, output, Kind::MlpPostNorm, layer)?;
        }
        self.norm(&rows, width, Kind::OutputNorm, 0)
    }

    /// Logits of rows that `rows` gave, `[rows][vocabulary]`.
    ///
    /// # Errors
    /// When a weight is not finite.
    pub fn logits(&mut self, rows: &[f32]) -> Result<Vec<f32>, ImportError> {
        let has_head = self.parts.tensors.iter().any(|(id, _)| id.kind == Kind::Head);
        self.product(rows, if has_head { Kind::Head } else { Kind::Embedding }, 0)
    }

    fn source(&self, kind: Kind, layer: u32) -> Option<Source<'a>> {
        let id = SectionId { kind, layer };
        self.parts.tensors.iter().find(|(known, _)| *known == id).map(|(_, source)| *source)
    }

    fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>, ImportError> {
        let width = self.parts.shape.width;
        let gemma = self.parts.shape.family == Family::Gemma3;
        let factor = if gemma { libm::sqrtf(width as f32) } else { 1.0 };
        let mut rows = vec![0f32; tokens.len() * width];
        if let Some(source) = self.source(Kind::Embedding, 0) {
            for (row, &token) in rows.chunks_exact_mut(width).zip(tokens) {
                dequantise::row(&source.tensor, token as usize, row)?;
                row.iter_mut().for_each(|value| *value *= factor);
            }
        }
        Ok(rows)
    }

    /// A vector section's numbers, or none where the family has no such section.
    fn vector(&self, kind: Kind, layer: u32) -> Result<Option<Vec<f32>>, ImportError> {
        let Some(source) = self.source(kind, layer) else { return Ok(None) };
        let mut values = vec![0f32; source.tensor.rows * source.tensor.columns];
        dequantise::row(&source.tensor, 0, &mut values)?;
        let ordered = (0..values.len()).map(|row| values[source_row(&source, row)] + source.plus);
        Ok(Some(ordered.collect()))
    }

    /// Norms rows of `size` numbers.
    fn norm(
        &self,
        rows: &[f32],
        size: usize,
        kind: Kind,
        layer: u32,
    ) -> Result<Vec<f32>, ImportError> {
        let Some(weights) = self.vector(kind, layer)? else { return Ok(rows.to_vec()) };
        let mut out = rows.to_vec();
        for row in out.chunks_exact_mut(size) {
            let squares: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
            let mean = squares / size as f64 + self.parts.shape.epsilon;
            let factor = (1.0 / libm::sqrt(mean)) as f32;
            row.iter_mut().zip(&weights).for_each(|(value, weight)| *value *= factor * weight);
        }
        Ok(out)
    }

    fn add(
        &self,
        rows: &mut [f32],
        output: Vec<f32>,
        kind: Kind,
        layer: u32,
    ) -> Result<(), ImportError> {
        let output = self.norm(&output, self.parts.shape.width, kind, layer)?;
        rows.iter_mut().zip(&output).for_each(|(row, output)| *row += output);
        Ok(())
    }

    /// Products of all rows with a matrix, `[rows][matrix rows]`.
    fn product(&mut self, rows: &[f32], kind: Kind, layer: u32) -> Result<Vec<f32>, ImportError> {
        let config = self.parts.shape.config().map_err(ImportError::Config)?;
        let (outputs, columns) = matrix_shape(&config, kind).unwrap_or((0, 1));
        let missing = || ImportError::Missing { name: alloc::format!("{kind:?} of layer {layer}") };
        let source = self.source(kind, layer).ok_or_else(missing)?;
        let count = rows.len() / columns;
        // Transposed, so that items own whole pieces; turned back below.
        let mut turned = vec![0f32; outputs * count];
        let mut scratch: Box<[(Vec<f32>, Option<ImportError>)]> =
            per_thread(&self.pool, Default::default);
        let isa = self.isa;
        let pieces = Rows::new(&mut turned, ITEM_ROWS * count);
        let items = outputs.div_ceil(ITEM_ROWS);
        for_each(&mut self.pool, items, pieces, &mut scratch, |item, piece, (weights, error)| {
            weights.resize(columns, 0.0);
            for (at, out) in piece.chunks_exact_mut(count.max(1)).enumerate() {
                let row = source_row(&source, item * ITEM_ROWS + at);
                if let Err(wrong) = dequantise::row(&source.tensor, row, weights) {
                    error.get_or_insert(wrong);
                }
                float_dots(isa, weights, rows, out);
            }
        });
        if let Some(error) = scratch.iter_mut().find_map(|(_, error)| error.take()) {
            return Err(error);
        }
        let mut out = vec![0f32; outputs * count];
        for (output, values) in turned.chunks_exact(count.max(1)).enumerate() {
            values.iter().enumerate().for_each(|(row, value)| out[row * outputs + output] = *value);
        }
        Ok(out)
    }

    fn attention(
        &mut self,
        rows: &[f32],
        layer: u32,
        window: usize,
    ) -> Result<Vec<f32>, ImportError> {
        let shape = self.parts.shape.clone();
        let config = shape.config().map_err(ImportError::Config)?;
        let mut heads = Heads {
            query: self.product(rows, Kind::Query, layer)?,
            key: self.product(rows, Kind::Key, layer)?,
            value: self.product(rows, Kind::Value, layer)?,
        };
        for (values, kind) in [
            (&mut heads.query, Kind::QueryBias),
            (&mut heads.key, Kind::KeyBias),
            (&mut heads.value, Kind::ValueBias),
        ] {
            if let Some(bias) = self.vector(kind, layer)? {
                for row in values.chunks_exact_mut(bias.len()) {
                    row.iter_mut().zip(&bias).for_each(|(value, bias)| *value += bias);
                }
            }
        }
        heads.query = self.norm(&heads.query, shape.head_size, Kind::QueryNorm, layer)?;
        heads.key = self.norm(&heads.key, shape.head_size, Kind::KeyNorm, layer)?;
        let seen = config.layer_window(layer as usize);
        rotate(&shape, seen.is_some(), &mut heads.query, shape.heads, window)?;
        rotate(&shape, seen.is_some(), &mut heads.key, shape.kv_heads, window)?;
        let (width, tokens) = (shape.heads * shape.head_size, rows.len() / shape.width);
        let mut out = vec![0f32; tokens * width];
        let pieces = Rows::new(&mut out, width);
        let mut scratch: Box<[Vec<f32>]> = per_thread(&self.pool, Vec::new);
        for_each(&mut self.pool, tokens, pieces, &mut scratch, |token, out, scores| {
            let first = token / window * window;
            let from = seen.map_or(first, |seen| first.max((token + 1).saturating_sub(seen)));
            for (head, out) in out.chunks_exact_mut(shape.head_size).enumerate() {
                attend(&shape, &heads, (token, head), from, scores, out);
            }
        });
        Ok(out)
    }
}

/// One head of one token.
fn attend(
    shape: &Shape,
    heads: &Heads,
    (token, head): (usize, usize),
    from: usize,
    scores: &mut Vec<f32>,
    out: &mut [f32],
) {
    let size = shape.head_size;
    let query = &heads.query[(token * shape.heads + head) * size..][..size];
    let kv_head = head * shape.kv_heads / shape.heads;
    let past = |position: usize| {
        let at = (position * shape.kv_heads + kv_head) * size;
        at..at + size
    };
    let factor = 1.0 / libm::sqrtf(shape.score_divisor as f32);
    scores.clear();
    for position in from..=token {
        let key = &heads.key[past(position)];
        scores.push(query.iter().zip(key).map(|(q, k)| q * k).sum::<f32>() * factor);
    }
    let most = scores.iter().copied().fold(f32::MIN, f32::max);
    scores.iter_mut().for_each(|score| *score = libm::expf(*score - most));
    let total: f32 = scores.iter().sum();
    out.fill(0.0);
    for (position, weight) in (from..=token).zip(scores.iter()) {
        let value = &heads.value[past(position)];
        out.iter_mut().zip(value).for_each(|(out, value)| *out += weight / total * value);
    }
}

/// Rotates every head by its position in its window of tokens.
fn rotate(
    shape: &Shape,
    windowed: bool,
    rows: &mut [f32],
    heads: usize,
    window: usize,
) -> Result<(), ImportError> {
    let steps = shape.rope_steps(windowed).map_err(ImportError::Config)?;
    let (size, half) = (shape.head_size, shape.head_size / 2);
    for (token, row) in rows.chunks_exact_mut(heads * size).enumerate() {
        let position = (token % window) as u64;
        for (index, step) in steps.iter().enumerate() {
            let turn = step.wrapping_mul(position) as f64 / 18_446_744_073_709_551_616.0;
            let angle = turn * core::f64::consts::TAU;
            let (cos, sin) = (libm::cos(angle) as f32, libm::sin(angle) as f32);
            for head in row.chunks_exact_mut(size) {
                let (a, b) = (head[index], head[index + half]);
                head[index] = a * cos - b * sin;
                head[index + half] = a * sin + b * cos;
            }
        }
    }
    Ok(())
}

fn activation(value: f32, gelu: bool) -> f32 {
    let argument = match gelu {
        true => 1.595_769 * (value + 0.044_715 * value * value * value),
        false => value,
    };
    value / (1.0 + libm::expf(-argument))
}

per_isa! {
    /// Dot products in f32 of one row with many, in 16 lanes: for measurements, no part of the
    /// profile.
    fn float_dots = float_dots_body(weights: &[f32], rows: &[f32], out: &mut [f32])
}

#[inline(always)]
fn float_dots_body(weights: &[f32], rows: &[f32], out: &mut [f32]) {
    let (weights, rest) = weights.as_chunks::<16>();
    let width = weights.len() * 16 + rest.len();
    for (out, row) in out.iter_mut().zip(rows.chunks_exact(width)) {
        let (row, row_rest) = row.as_chunks::<16>();
        let mut lanes = [0f32; 16];
        for (weights, row) in weights.iter().zip(row) {
            for ((lane, weight), value) in lanes.iter_mut().zip(weights).zip(row) {
                *lane += weight * value;
            }
        }
        let tail: f32 = rest.iter().zip(row_rest).map(|(weight, value)| weight * value).sum();
        *out = lanes.iter().sum::<f32>() + tail;
    }
}
