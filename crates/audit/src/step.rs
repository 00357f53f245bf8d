//! What each step computes: one cell from proven inputs.
//!
//! The one definition of a run's steps outside the engine: the trace is made with it, the referee
//! judges with it, and the light audit checks with it. The formulas are the engine's own.
//! Specified in `docs/spec/audit.md`, section 5, and `docs/spec/int-1.md`.
//!
//! Invariants:
//! - No input makes it panic: what is not of its step's form gives no cell.
//!
//! Not here: where inputs come from, and who stands behind them.

use alloc::vec::Vec;
use core::ops::Range;

use engine::artifact::Kind;
use engine::artifact::matrix::{BLOCK, Bits, GROUP, Layout};
use engine::artifact::vector::{NORM_WEIGHT_MAX, Vector, steps_from_bytes};
use engine::kernels::element::{self, SoftmaxRow};
use engine::model::shape;
use engine::numeric::{KEY_MAX, Scale, VALUE_MAX, cos_sin_q30};
use engine::sampler::{Context, Sampler};

use crate::formulas::{self, isa};
use crate::graph::{Graph, Place, RUN, Shape, What};
use crate::replay::Run;

/// Bytes of a matrix section's head, before its row scales.
pub(crate) const HEAD: usize = 64;

/// Where a step's inputs come from. Each gives nothing where it is not there or not proven.
pub trait Inputs {
    /// The whole result of an earlier step.
    fn step(&self, place: Place) -> Option<&[u8]>;

    /// One cell of an earlier step, or an earlier cell of the same one.
    fn cell(&self, place: Place, cell: usize) -> Option<&[u8]>;

    /// Bytes of a section of the artifact.
    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]>;

    /// The run's tokens and its sampling.
    fn run(&self) -> Option<Run<'_>>;

    /// The sums of a group of sixteen rows of a matrix over an input, a quantised row's bytes.
    fn sums(
        &self,
        (kind, layer): (Kind, usize),
        layout: &Layout,
        group: usize,
        input: &[u8],
    ) -> Option<[i64; GROUP]> {
        let from = layout.group_offset(group);
        let bytes = self.section(kind, layer, from..from + layout.group_size())?;
        group_sums(layout, bytes, &Quantised::read(input)?.x)
    }
}

/// The cosines and sines by which a position's heads are rotated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    pub(crate) cos: Vec<i32>,
    pub(crate) sin: Vec<i32>,
}

/// A quantised row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Quantised {
    /// The values.
    pub x: Vec<i16>,
    /// Their scale.
    pub scale: Scale,
}

/// Computes one cell of a step. None where an input is missing or not of its form.
#[must_use]
pub fn compute(graph: &Graph, inputs: &impl Inputs, place: Place, cell: usize) -> Option<Vec<u8>> {
    let it = Step { graph, inputs, place };
    if cell >= graph.cells(place).0 {
        return None;
    }
    let width = graph.config.width;
    match place.what {
        What::Embed => it.embed(),
        What::AttentionNorm => it.normed(it.residual(), Kind::AttentionNorm, place.layer),
        What::Query
        | What::Key
        | What::Value
        | What::AttentionOutput
        | What::Gate
        | What::Up
        | What::Down
        | What::Logits => it.product(cell),
        What::QueryHeads | What::KeyHeads => {
            let turns = it.turns()?;
            it.turned(&turns, cell)
        }
        What::ValueHeads => it.value_head(cell),
        What::Scores(head) => it.scores(head.into(), cell),
        What::Weights(head) => it.weights(head),
        What::Sums(head) => it.sums(head, cell),
        What::Result(head) => it.result(head),
        What::AttentionInput => it.attention_input(),
        What::AttentionResidual => {
            it.added(it.residual(), What::AttentionOutput, Kind::AttentionPostNorm)
        }
        What::MlpNorm => it.normed(it.at(What::AttentionResidual), Kind::MlpNorm, place.layer),
        What::MlpInput => it.gated(),
        What::MlpResidual => {
            it.added(it.at(What::AttentionResidual), What::Down, Kind::MlpPostNorm)
        }
        What::HeadInput => it.normed(it.residual(), Kind::OutputNorm, 0),
        What::Sample => it.sample(),
    }
    .filter(|bytes| width > 0 && !bytes.is_empty())
}

/// Computes all cells of a step, one after the other.
#[must_use]
pub fn whole(graph: &Graph, inputs: &impl Inputs, place: Place) -> Option<Vec<u8>> {
    let (count, size) = graph.cells(place);
    if count == 1 {
        return compute(graph, inputs, place, 0);
    }
    let mut out = Vec::with_capacity(graph.size(place));
    if matches!(place.what, What::QueryHeads | What::KeyHeads) {
        let it = Step { graph, inputs, place };
        let turns = it.turns()?;
        for head in 0..count {
            out.extend_from_slice(&it.turned(&turns, head)?);
        }
        return Some(out);
    }
    for cell in 0..count {
        let own = Own { inputs, place, size, result: &out };
        let bytes = compute(graph, &own, place, cell)?;
        out.extend_from_slice(&bytes);
    }
    Some(out)
}

/// One cell of a result, each but the last of `size` bytes.
#[must_use]
pub fn piece(result: &[u8], size: usize, cell: usize) -> Option<&[u8]> {
    let from = cell.checked_mul(size)?;
    let to = result.len().min(from.checked_add(size)?);
    result.get(from..to).filter(|bytes| !bytes.is_empty())
}

/// Inputs of a step of which some cells are computed.
struct Own<'a, I> {
    inputs: &'a I,
    place: Place,
    size: usize,
    result: &'a [u8],
}

impl<I: Inputs> Inputs for Own<'_, I> {
    fn step(&self, place: Place) -> Option<&[u8]> {
        self.inputs.step(place)
    }

    fn cell(&self, place: Place, cell: usize) -> Option<&[u8]> {
        match place == self.place {
            true => piece(self.result, self.size, cell),
            false => self.inputs.cell(place, cell),
        }
    }

    fn section(&self, kind: Kind, layer: usize, range: Range<usize>) -> Option<&[u8]> {
        self.inputs.section(kind, layer, range)
    }

    fn run(&self) -> Option<Run<'_>> {
        self.inputs.run()
    }

    fn sums(
        &self,
        matrix: (Kind, usize),
        layout: &Layout,
        group: usize,
        input: &[u8],
    ) -> Option<[i64; GROUP]> {
        self.inputs.sums(matrix, layout, group, input)
    }
}

/// The exact sums of a group of rows.
#[must_use]
pub fn group_sums(layout: &Layout, group: &[u8], x: &[i16]) -> Option<[i64; GROUP]> {
    let (blocks, bits) = (layout.blocks(), layout.bits);
    let (quants, rest) = group.split_at_checked(blocks * bits.quant_size())?;
    let (scales, offsets) = rest.split_at_checked(layout.scales_size())?;
    if group.len() != layout.group_size() || x.len() > blocks * BLOCK {
        return None;
    }
    let mut sums = [0i64; GROUP];
    for (block, x) in x.chunks(BLOCK).enumerate() {
        let mut row = [0; BLOCK];
        row[..x.len()].copy_from_slice(x);
        let dots = dots(bits, &quants[block * bits.quant_size()..][..bits.quant_size()], &row);
        let total: i64 = x.iter().map(|&x| i64::from(x)).sum();
        for (lane, (sum, dot)) in sums.iter_mut().zip(dots).enumerate() {
            *sum += i64::from(scales[block * GROUP + lane]) * i64::from(dot);
            if bits == Bits::Four {
                *sum += i64::from(offset(offsets, block, lane)) * total;
            }
        }
    }
    Some(sums)
}

/// Each lane's products of a block's quants and a row, which are below 2^27 together: the bytes in their
/// order, so that the lanes are computed side by side.
fn dots(bits: Bits, quants: &[u8], x: &[i16; BLOCK]) -> [i32; GROUP] {
    let mut dots = [0i32; GROUP];
    let (low, high) = x.split_at(BLOCK / 2);
    let columns = low.as_chunks::<4>().0.iter().zip(high.as_chunks::<4>().0);
    let fours = x.as_chunks::<4>().0;
    match bits {
        Bits::Four => {
            for (quants, (low, high)) in quants.as_chunks::<64>().0.iter().zip(columns) {
                for (dot, bytes) in dots.iter_mut().zip(quants.as_chunks::<4>().0) {
                    for ((&byte, &low), &high) in bytes.iter().zip(low).zip(high) {
                        *dot += i32::from(byte & 15) * i32::from(low);
                        *dot += i32::from(byte >> 4) * i32::from(high);
                    }
                }
            }
        }
        Bits::Eight => {
            for (quants, x) in quants.as_chunks::<64>().0.iter().zip(fours) {
                for (dot, bytes) in dots.iter_mut().zip(quants.as_chunks::<4>().0) {
                    for (&byte, &x) in bytes.iter().zip(x) {
                        *dot += (i32::from(byte) - 128) * i32::from(x);
                    }
                }
            }
        }
    }
    dots
}

/// A block's quant of a lane and column.
fn quant(bits: Bits, quants: &[u8], lane: usize, at: usize) -> i32 {
    match bits {
        Bits::Four => {
            let byte = quants[at % 16 / 4 * 64 + lane * 4 + at % 4];
            i32::from(if at < 16 { byte & 15 } else { byte >> 4 })
        }
        Bits::Eight => i32::from(quants[at / 4 * 64 + lane * 4 + at % 4]) - 128,
    }
}

fn offset(offsets: &[u8], block: usize, lane: usize) -> i16 {
    let at = (block / 2 * 32 + lane * 2 + block % 2) * 2;
    i16::from_le_bytes([offsets[at], offsets[at + 1]])
}

/// One lane's weights, a column each.
pub(crate) fn lane_weights(layout: &Layout, group: &[u8], lane: usize) -> Option<Vec<i32>> {
    let (blocks, bits) = (layout.blocks(), layout.bits);
    let (quants, rest) = group.split_at_checked(blocks * bits.quant_size())?;
    let (scales, offsets) = rest.split_at_checked(layout.scales_size())?;
    if group.len() != layout.group_size() {
        return None;
    }
    let weight = |column: usize| {
        let (block, at) = (column / BLOCK, column % BLOCK);
        let quants = &quants[block * bits.quant_size()..][..bits.quant_size()];
        let mu = if bits == Bits::Four { i32::from(offset(offsets, block, lane)) } else { 0 };
        i32::from(scales[block * GROUP + lane]) * quant(bits, quants, lane, at) + mu
    };
    Some((0..layout.columns).map(weight).collect())
}

struct Step<'a, I> {
    graph: &'a Graph,
    inputs: &'a I,
    place: Place,
}

impl<I: Inputs> Step<'_, I> {
    fn at(&self, what: What) -> Place {
        Place { what, ..self.place }
    }

    /// The residual row that the layer begins with, or the last one.
    fn residual(&self) -> Place {
        match self.place.layer.checked_sub(1) {
            None => self.at(What::Embed),
            Some(layer) => Place { layer, ..self.at(What::MlpResidual) },
        }
    }

    fn row(&self, place: Place, count: usize) -> Option<Vec<i32>> {
        i32s(self.inputs.step(place)?).filter(|row| row.len() == count)
    }

    fn vector(&self, kind: Kind, layer: usize, count: usize, max: i32) -> Option<Vector> {
        let bytes = self.inputs.section(kind, layer, 0..HEAD + 4 * count)?;
        Vector::from_bytes(bytes, count, max).ok()
    }

    fn matrix(&self, kind: Kind, layer: usize) -> Option<(Layout, i32)> {
        let head = self.inputs.section(kind, layer, 0..HEAD)?;
        matrix_head(self.graph, kind, head)
    }

    /// Bytes of one number for each of some rows.
    fn section_words(&self, kind: Kind, layer: usize, rows: Range<usize>) -> Option<&[u8]> {
        self.inputs.section(kind, layer, HEAD + 4 * rows.start..HEAD + 4 * rows.end)
    }

    fn row_scales(&self, kind: Kind, layer: usize, rows: Range<usize>) -> Option<Vec<i32>> {
        let scales = i32s(self.section_words(kind, layer, rows)?)?;
        scales.iter().all(|scale| *scale >= 0).then_some(scales)
    }

    fn embed(&self) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let run = self.inputs.run()?;
        let position = self.place.position;
        let token = run.prompt.iter().chain(run.output).nth(position)?;
        let row = *token as usize;
        let (layout, exponent) = self.matrix(Kind::Embedding, 0)?;
        let from = layout.group_offset(row / GROUP);
        let range = from..from + layout.group_size();
        let group = self.inputs.section(Kind::Embedding, 0, range)?;
        let weights = lane_weights(&layout, group, row % GROUP)?;
        let scale = *self.row_scales(Kind::Embedding, 0, row..row + 1)?.first()?;
        Some(bytes32(&formulas::embedded(config, &weights, exponent, scale)))
    }

    fn normed(&self, from: Place, kind: Kind, layer: usize) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let row = self.row(from, config.width)?;
        let norm = self.vector(kind, layer, config.width, NORM_WEIGHT_MAX)?;
        let mut out = Quantised::default();
        formulas::normed(config, &norm, &row, &mut Vec::new(), &mut out);
        Some(out.bytes())
    }

    fn product(&self, cell: usize) -> Option<Vec<u8>> {
        let (matrix, from) = factors(self.graph, self.place)?;
        let (layout, _) = self.matrix(matrix.0, matrix.1)?;
        let sums = self.inputs.sums(matrix, &layout, cell, self.inputs.step(from)?)?;
        self.values(cell * GROUP..layout.rows.min((cell + 1) * GROUP), &sums)
    }

    /// The fixed-point values of rows of a product, their biases added.
    fn values(&self, rows: Range<usize>, sums: &[i64]) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let ((kind, layer), from) = factors(self.graph, self.place)?;
        let (layout, exponent) = self.matrix(kind, layer)?;
        let scale = Quantised::read_scale(self.inputs.step(from)?, layout.columns)?;
        let epilogue = formulas::epilogue(config, self.place.what, (&layout, exponent), scale);
        let scales = self.section_words(kind, layer, rows.clone())?.as_chunks::<4>().0;
        if scales.iter().any(|scale| i32::from_le_bytes(*scale) < 0) {
            return None;
        }
        let mut values = alloc::vec![0; rows.len()];
        element::scale_sums(isa(), epilogue, sums, scales, &mut values);
        if let Some(bias) = bias_of(self.graph, self.place.what) {
            element::add(isa(), &mut values, &i32s(self.section_words(bias, layer, rows)?)?);
        }
        Some(bytes32(&values))
    }

    /// The turns of the layer's heads.
    fn turns(&self) -> Option<Turns> {
        let is_windowed = self.graph.config.layer_window(self.place.layer).is_some();
        let range = 0..HEAD + 8 * (self.graph.config.head_size / 2);
        let steps = self.inputs.section(rope(is_windowed), 0, range)?;
        turns_of(self.graph, steps, self.place.position)
    }

    /// Norms, rotates and quantises a query or key head.
    fn turned(&self, turns: &Turns, cell: usize) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let (from, norm) = match self.place.what {
            What::QueryHeads => (What::Query, Kind::QueryNorm),
            _ => (What::Key, Kind::KeyNorm),
        };
        let mut head = self.head_of(from, cell)?;
        let norm = match config.family.has_head_norms() {
            true => Some(self.vector(norm, self.place.layer, config.head_size, NORM_WEIGHT_MAX)?),
            false => None,
        };
        formulas::turn(config, norm.as_ref(), turns, &mut Vec::new(), &mut head);
        Some(quantised_head(&head, KEY_MAX, 11))
    }

    fn value_head(&self, cell: usize) -> Option<Vec<u8>> {
        Some(quantised_head(&self.head_of(What::Value, cell)?, VALUE_MAX, 7))
    }

    fn head_of(&self, from: What, cell: usize) -> Option<Vec<i32>> {
        let size = self.graph.config.head_size;
        let row = self.inputs.step(self.at(from))?;
        i32s(row.get(4 * cell * size..4 * (cell + 1) * size)?)
    }

    /// Positions of one run of those that the row sees.
    fn run_of(&self, cell: usize) -> Range<usize> {
        let from = self.graph.first_seen(self.place) + cell * RUN;
        from..(from + RUN).min(self.place.position + 1)
    }

    fn cached(&self, what: What, position: usize, head: usize) -> Option<(Vec<i16>, i32)> {
        let config = &self.graph.config;
        let place = Place { position, ..self.at(what) };
        let bytes = self.inputs.cell(place, head * config.kv_heads / config.heads)?;
        read_head(bytes, config.head_size)
    }

    fn scores(&self, head: usize, cell: usize) -> Option<Vec<u8>> {
        let query = self.inputs.cell(self.at(What::QueryHeads), head)?;
        let (query, _) = read_head(query, self.graph.config.head_size)?;
        let mut out = Vec::with_capacity(12 * RUN);
        for position in self.run_of(cell) {
            let (key, key_scale) = self.cached(What::KeyHeads, position, head)?;
            let (_, value_scale) = self.cached(What::ValueHeads, position, head)?;
            let pairs = query.iter().zip(&key);
            // At most 512 products of 12-bit numbers; what is larger is no head.
            let score: i64 = pairs.map(|(&q, &k)| i64::from(q) * i64::from(k)).sum();
            let score = i32::try_from(score).ok()?;
            out.extend_from_slice(&bytes32(&[score, key_scale, value_scale]));
        }
        Some(out)
    }

    fn weights(&self, head: u16) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let query = self.inputs.cell(self.at(What::QueryHeads), head.into())?;
        let (_, query_scale) = read_head(query, config.head_size)?;
        let rows = i32s(self.inputs.step(self.at(What::Scores(head)))?)?;
        let column = |at: usize| rows.chunks_exact(3).map(move |row| row[at]).collect::<Vec<i32>>();
        let (mut scores, keys, values) = (column(0), column(1), column(2));
        let seen = self.graph.cells(self.place).1.checked_sub(12)? / 2;
        let are_scales = keys.iter().chain(&values).all(|scale| *scale > 0);
        if scores.len() != seen || !are_scales || query_scale <= 0 {
            return None;
        }
        let product = query_scale as u128 * u128::from(config.score_scale);
        let scale = Scale::new(product, 60, 16);
        let exponent = scale.exponent.clamp(1, 62) as u32;
        let row = SoftmaxRow { from: 0, to: seen, mantissa: scale.mantissa, exponent };
        let mut weights = alloc::vec![0i16; seen];
        let (total, length) =
            element::softmax(isa(), row, &mut scores, &keys, &values, &mut weights);
        let mut out = bytes16(&weights);
        out.extend_from_slice(&total.to_le_bytes());
        out.extend_from_slice(&length.to_le_bytes());
        Some(out)
    }

    fn read_weights(&self, head: u16) -> Option<(Vec<i16>, u64, u32)> {
        let bytes = self.inputs.step(self.at(What::Weights(head)))?;
        let (weights, ends) = bytes.split_at_checked(bytes.len().checked_sub(12)?)?;
        let (total, length) = ends.split_first_chunk::<8>()?;
        let (total, length) = (u64::from_le_bytes(*total), word(length, 0)?);
        let is_sound = (1..1 << 32).contains(&total) && (15..=31).contains(&length);
        is_sound.then_some((i16s(weights)?, total, length))
    }

    fn sums(&self, head: u16, cell: usize) -> Option<Vec<u8>> {
        let size = self.graph.config.head_size;
        let mut sums = match cell.checked_sub(1) {
            None => alloc::vec![0; size],
            Some(before) => i64s(self.inputs.cell(self.place, before)?)?,
        };
        if sums.len() != size {
            return None;
        }
        let (weights, ..) = self.read_weights(head)?;
        let positions = self.run_of(cell);
        for (position, weight) in positions.zip(weights.get(cell * RUN..)?) {
            let (value, _) = self.cached(What::ValueHeads, position, head.into())?;
            for (sum, value) in sums.iter_mut().zip(value) {
                *sum = sum.wrapping_add(i64::from(*weight) * i64::from(value));
            }
        }
        Some(sums.iter().flat_map(|sum| sum.to_le_bytes()).collect())
    }

    fn result(&self, head: u16) -> Option<Vec<u8>> {
        let size = self.graph.config.head_size;
        let place = self.at(What::Sums(head));
        let last = self.graph.cells(place).0.checked_sub(1)?;
        let sums = i64s(self.inputs.cell(place, last)?)?;
        let (_, total, length) = self.read_weights(head)?;
        // |sum| <= 127 * total, or the product below could leave 64 bits.
        let is_sound = sums.iter().all(|sum| sum.unsigned_abs() <= 127 * total);
        if sums.len() != size || !is_sound {
            return None;
        }
        let mut out = alloc::vec![0; size];
        element::finish_head(isa(), &sums, total, length, &mut out);
        Some(bytes32(&out))
    }

    fn attention_input(&self) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let mut results = Vec::with_capacity(config.query_width());
        for head in 0..config.heads as u16 {
            results.extend(self.row(self.at(What::Result(head)), config.head_size)?);
        }
        let mut out = Quantised::default();
        formulas::joined(&results, &mut Vec::new(), &mut out);
        Some(out.bytes())
    }

    fn gated(&self) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let gate = self.row(self.at(What::Gate), config.hidden)?;
        let up = self.row(self.at(What::Up), config.hidden)?;
        let mut out = Quantised::default();
        formulas::gated(config, [&gate, &up], &mut Vec::new(), &mut out);
        Some(out.bytes())
    }

    /// The residual row and a block's output, normed first where the family does so.
    fn added(&self, residual: Place, output: What, norm: Kind) -> Option<Vec<u8>> {
        let config = &self.graph.config;
        let mut row = self.row(residual, config.width)?;
        let mut output = self.row(self.at(output), config.width)?;
        let norm = match config.family.has_post_norms() {
            true => Some(self.vector(norm, self.place.layer, config.width, NORM_WEIGHT_MAX)?),
            false => None,
        };
        formulas::add(config, norm.as_ref(), &mut output, &mut Vec::new(), &mut row);
        Some(bytes32(&row))
    }

    fn sample(&self) -> Option<Vec<u8>> {
        let run = self.inputs.run()?;
        let shape = Shape { prompt: run.prompt.len(), output: run.output.len() };
        let generated = run.output.get(..shape.answer_after(self.place.position)?)?;
        let logits = self.row(self.at(What::Logits), self.graph.config.vocabulary)?;
        let logits = logits.get(..self.graph.vocabulary).filter(|logits| !logits.is_empty())?;
        run.sampling.check().ok()?;
        let context = Context { prompt: run.prompt, generated };
        let token = Sampler::default().choose(logits, run.sampling, context);
        Some(token.to_le_bytes().to_vec())
    }
}

impl Quantised {
    /// Values, then mantissa and exponent.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = bytes16(&self.x);
        out.extend_from_slice(&bytes32(&[self.scale.mantissa, self.scale.exponent]));
        out
    }

    /// Reads the scale of a row of so many columns.
    fn read_scale(bytes: &[u8], columns: usize) -> Option<Scale> {
        let scale = bytes.get(2 * columns..)?;
        let [mantissa, exponent] = i32s(scale)?[..] else { return None };
        (mantissa >= 0).then_some(Scale { mantissa, exponent })
    }

    /// Reads one. None where a value is larger than any quantised one.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Quantised> {
        let (x, scale) = bytes.split_at_checked(bytes.len().checked_sub(8)?)?;
        let [mantissa, exponent] = i32s(scale)?[..] else { return None };
        let x = i16s(x)?;
        let most = engine::numeric::ACTIVATION_MAX as u16;
        let is_sound =
            x.iter().fold(0u16, |max, x| max.max(x.unsigned_abs())) <= most && mantissa >= 0;
        is_sound.then_some(Quantised { x, scale: Scale { mantissa, exponent } })
    }
}

/// The section whose numbers are added to a product; none for most.
pub(crate) fn bias_of(graph: &Graph, what: What) -> Option<Kind> {
    let bias = match what {
        What::Query => Kind::QueryBias,
        What::Key => Kind::KeyBias,
        What::Value => Kind::ValueBias,
        _ => return None,
    };
    graph.config.family.has_biases().then_some(bias)
}

/// The section with the rotary steps of layers with a window, or of those without.
#[must_use]
pub fn rope(is_windowed: bool) -> Kind {
    if is_windowed { Kind::RopeLocal } else { Kind::RopeGlobal }
}

/// The turns of a position, from the section of rotary steps.
#[must_use]
pub fn turns_of(graph: &Graph, steps: &[u8], position: usize) -> Option<Turns> {
    let steps = steps_from_bytes(steps, graph.config.head_size / 2).ok()?;
    let turns = steps.iter().map(|step| cos_sin_q30(step.wrapping_mul(position as u64)));
    let (cos, sin) = turns.unzip();
    Some(Turns { cos, sin })
}

/// The matrix that a step multiplies by, and the step whose result it takes; none for other steps.
#[must_use]
pub fn factors(graph: &Graph, place: Place) -> Option<((Kind, usize), Place)> {
    let (kind, from) = match place.what {
        What::Query => (Kind::Query, What::AttentionNorm),
        What::Key => (Kind::Key, What::AttentionNorm),
        What::Value => (Kind::Value, What::AttentionNorm),
        What::AttentionOutput => (Kind::AttentionOutput, What::AttentionInput),
        What::Gate => (Kind::Gate, What::MlpNorm),
        What::Up => (Kind::Up, What::MlpNorm),
        What::Down => (Kind::Down, What::MlpInput),
        What::Logits => (graph.head, What::HeadInput),
        _ => return None,
    };
    let layer = if place.what == What::Logits { 0 } else { place.layer };
    Some(((kind, layer), Place { what: from, ..place }))
}

/// The layout and exponent of a matrix, from the first 64 bytes of its section.
#[must_use]
pub fn matrix_head(graph: &Graph, kind: Kind, head: &[u8]) -> Option<(Layout, i32)> {
    let (rows, columns) = shape(&graph.config, kind)?;
    let bits = match word(head, 8)? {
        4 => Bits::Four,
        8 => Bits::Eight,
        _ => return None,
    };
    let exponent = word(head, 12)? as i32;
    let is_sound = (-64..=127).contains(&exponent);
    is_sound.then_some((Layout { rows, columns, bits }, exponent))
}

fn quantised_head(head: &[i32], limit: i32, bits: u32) -> Vec<u8> {
    let mut out = alloc::vec![0; head.len()];
    let largest = element::quantise_head(isa(), head, limit, bits, &mut out);
    let mut bytes = bytes16(&out);
    bytes.extend_from_slice(&largest.to_le_bytes());
    bytes
}

pub(crate) fn read_head(bytes: &[u8], size: usize) -> Option<(Vec<i16>, i32)> {
    let (head, scale) = bytes.split_at_checked(2 * size)?;
    let [scale] = i32s(scale)?[..] else { return None };
    Some((i16s(head)?, scale))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk::<4>()?;
    Some(u32::from_le_bytes(*bytes))
}

fn bytes16(values: &[i16]) -> Vec<u8> {
    let mut out = alloc::vec![0; 2 * values.len()];
    let pairs = out.as_chunks_mut().0.iter_mut().zip(values);
    pairs.for_each(|(bytes, value)| *bytes = value.to_le_bytes());
    out
}

pub(crate) fn bytes32(values: &[i32]) -> Vec<u8> {
    let mut out = alloc::vec![0; 4 * values.len()];
    let pairs = out.as_chunks_mut().0.iter_mut().zip(values);
    pairs.for_each(|(bytes, value)| *bytes = value.to_le_bytes());
    out
}

fn i16s(bytes: &[u8]) -> Option<Vec<i16>> {
    let (values, rest) = bytes.as_chunks::<2>();
    rest.is_empty().then(|| values.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect())
}

pub(crate) fn i32s(bytes: &[u8]) -> Option<Vec<i32>> {
    let (values, rest) = bytes.as_chunks::<4>();
    rest.is_empty().then(|| values.iter().map(|bytes| i32::from_le_bytes(*bytes)).collect())
}

fn i64s(bytes: &[u8]) -> Option<Vec<i64>> {
    let (values, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| values.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
}
