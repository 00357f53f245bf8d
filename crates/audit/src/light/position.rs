//! A light audit in progress: the steps of one position, of which the products are taken from its
//! opening.
//!
//! Invariants:
//! - A product's sums are looked at before anything is made of them.
//!
//! Not here: the formulas (`formulas`, `attention`).

use alloc::vec::Vec;
use core::slice::Iter;

use engine::artifact::Kind;
use engine::artifact::matrix::GROUP;
use engine::artifact::vector::Vector;
use engine::kernels::element;
use engine::numeric::{KEY_MAX, VALUE_MAX};
use engine::sampler::{Context, Sampler};

use super::attention::{Attention, Heads};
use super::key::Key;
use super::sums::{Held, Sums};
use super::{Committed, Found, Opening};
use crate::commitment::Position;
use crate::formulas::{self, isa};
use crate::graph::{Place, Shape, What};
use crate::replay::Run;
use crate::step::{self, HEAD, Quantised, Turns, bias_of, lane_weights, matrix_head};

/// A position that is checked.
#[derive(Debug)]
pub(super) struct Checked<'a> {
    pub(super) key: &'a Key,
    pub(super) opening: &'a Opening,
    pub(super) run: &'a Run<'a>,
    /// Those that are still to be taken.
    pub(super) sums: Iter<'a, Sums>,
}

/// Rows of the position, the memory of one layer used again for the next.
#[derive(Debug, Default)]
struct Rows {
    residual: Vec<i32>,
    /// What products multiply.
    x: Quantised,
    terms: Vec<i64>,
    /// Queries, keys and values, and the same quantised.
    projected: [Vec<i32>; 3],
    heads: [Heads; 3],
    attention: Attention,
    results: Vec<i32>,
    gate: Vec<i32>,
    up: Vec<i32>,
    output: Vec<i32>,
    logits: Vec<i32>,
}

impl<'a> Checked<'a> {
    /// Checks all of it.
    pub(super) fn check(
        mut self,
        shape: &Shape,
        committed: Option<Committed<'_>>,
    ) -> Result<(), Found> {
        self.check_embedding()?;
        let past = self.take_past()?;
        let turns = [false, true].map(|is_windowed| self.turns(is_windowed));
        let mut rows = Rows { residual: self.embed().ok_or(Found::Form)?, ..Rows::default() };
        let config = &self.key.graph.config;
        for (layer, past) in past.into_iter().enumerate() {
            let turns = &turns[usize::from(config.layer_window(layer).is_some())];
            self.attend(layer, past, turns.as_ref().ok_or(Found::Form)?, &mut rows)?;
            self.gate(layer, &mut rows)?;
        }
        let mut chosen = None;
        if let Some(index) = shape.answer_after(self.opening.position) {
            let norm = self.norm(Kind::OutputNorm, 0)?;
            formulas::normed(config, norm, &rows.residual, &mut rows.terms, &mut rows.x);
            self.product(config.layers, What::Logits, &rows.x, &mut rows.logits)?;
            chosen = Some((index, self.choose(index, &rows.logits).ok_or(Found::Form)?));
        }
        match (self.sums.next(), chosen) {
            (Some(_), _) => Err(Found::Form),
            (None, None) => Ok(()),
            (None, Some(chosen)) => self.check_end(shape, chosen, rows.x, committed),
        }
    }

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

    /// The turns of the layers that see everything, or of those with a window; none where the model has
    /// no such layers.
    fn turns(&self, is_windowed: bool) -> Option<Turns> {
        let steps = self.key.sections.get(&(step::rope(is_windowed), 0))?;
        step::turns_of(&self.key.graph, steps, self.opening.position)
    }

    fn embed(&self) -> Option<Vec<i32>> {
        let (graph, row) = (&self.key.graph, self.token().ok()? as usize);
        let section = self.key.sections.get(&(Kind::Embedding, 0))?;
        let (layout, exponent) = matrix_head(graph, Kind::Embedding, section)?;
        let weights = lane_weights(&layout, &self.opening.embedding, row % GROUP)?;
        let scale = section.get(HEAD + 4 * row..)?.first_chunk::<4>()?;
        let scale = Some(i32::from_le_bytes(*scale)).filter(|scale| *scale >= 0)?;
        Some(formulas::embedded(&graph.config, &weights, exponent, scale))
    }

    fn norm(&self, kind: Kind, layer: usize) -> Result<&'a Vector, Found> {
        self.key.norms.get(&(kind, layer)).ok_or(Found::Form)
    }

    /// A norm that some families have.
    fn norm_if(
        &self,
        is_there: bool,
        kind: Kind,
        layer: usize,
    ) -> Result<Option<&'a Vector>, Found> {
        if is_there { self.norm(kind, layer).map(Some) } else { Ok(None) }
    }

    /// Checks the next sums, and makes a product's values of them.
    fn product(
        &mut self,
        layer: usize,
        what: What,
        x: &Quantised,
        out: &mut Vec<i32>,
    ) -> Result<(), Found> {
        let (key, position) = (self.key, self.opening.position);
        let place = Place { position, layer, what };
        let (id, _) = step::factors(&key.graph, place).ok_or(Found::Form)?;
        let factor = key.factors.get(&id).ok_or(Found::Form)?;
        let sums = self.sums.next().ok_or(Found::Form)?;
        if !factor.holds(&x.x, sums) {
            return Err(Found::Product { layer, what });
        }
        let words = |kind| Some(key.sections.get(&(kind, id.1))?.get(HEAD..)?.as_chunks::<4>().0);
        let scales = words(id.0).ok_or(Found::Form)?;
        let matrix = (&factor.layout, factor.exponent);
        let epilogue = formulas::epilogue(&key.graph.config, what, matrix, x.scale);
        out.resize(sums.count(), 0);
        match &sums.0 {
            Held::Short(sums) => element::scale_short_sums(isa(), epilogue, sums, scales, out),
            Held::Wide(sums) => element::scale_sums(isa(), epilogue, sums, scales, out),
        }
        if let Some(bias) = bias_of(&key.graph, what) {
            for (out, bias) in out.iter_mut().zip(words(bias).ok_or(Found::Form)?) {
                *out = out.saturating_add(i32::from_le_bytes(*bias));
            }
        }
        Ok(())
    }

    /// The first half of a layer.
    fn attend(
        &mut self,
        layer: usize,
        past: &[Vec<u8>],
        turns: &Turns,
        rows: &mut Rows,
    ) -> Result<(), Found> {
        let config = &self.key.graph.config;
        let norm = self.norm(Kind::AttentionNorm, layer)?;
        formulas::normed(config, norm, &rows.residual, &mut rows.terms, &mut rows.x);
        for (what, out) in
            [What::Query, What::Key, What::Value].into_iter().zip(&mut rows.projected)
        {
            self.product(layer, what, &rows.x, out)?;
        }
        let size = config.head_size;
        for (projected, kind) in rows.projected.iter_mut().zip([Kind::QueryNorm, Kind::KeyNorm]) {
            let norm = self.norm_if(config.family.has_head_norms(), kind, layer)?;
            for head in projected.chunks_exact_mut(size) {
                formulas::turn(config, norm, turns, &mut rows.terms, head);
            }
        }
        let limits = [(KEY_MAX, 11), (KEY_MAX, 11), (VALUE_MAX, 7)];
        for ((projected, heads), limit) in rows.projected.iter().zip(&mut rows.heads).zip(limits) {
            heads.quantise(projected, size, limit);
        }
        rows.results.resize(config.query_width(), 0);
        let attended = rows.attention.attend(config, past, &rows.heads, &mut rows.results);
        attended.ok_or(Found::Form)?;
        formulas::joined(&rows.results, &mut rows.terms, &mut rows.x);
        self.product(layer, What::AttentionOutput, &rows.x, &mut rows.output)?;
        self.add(layer, Kind::AttentionPostNorm, rows)
    }

    /// The second half.
    fn gate(&mut self, layer: usize, rows: &mut Rows) -> Result<(), Found> {
        let config = &self.key.graph.config;
        let norm = self.norm(Kind::MlpNorm, layer)?;
        formulas::normed(config, norm, &rows.residual, &mut rows.terms, &mut rows.x);
        self.product(layer, What::Gate, &rows.x, &mut rows.gate)?;
        self.product(layer, What::Up, &rows.x, &mut rows.up)?;
        formulas::gated(config, [&rows.gate, &rows.up], &mut rows.terms, &mut rows.x);
        self.product(layer, What::Down, &rows.x, &mut rows.output)?;
        self.add(layer, Kind::MlpPostNorm, rows)
    }

    fn add(&self, layer: usize, norm: Kind, rows: &mut Rows) -> Result<(), Found> {
        let config = &self.key.graph.config;
        let norm = self.norm_if(config.family.has_post_norms(), norm, layer)?;
        formulas::add(config, norm, &mut rows.output, &mut rows.terms, &mut rows.residual);
        Ok(())
    }

    /// The token that the rules choose, the answer's with this index.
    fn choose(&self, index: usize, logits: &[i32]) -> Option<u32> {
        let (run, count) = (self.run, self.key.graph.vocabulary);
        let logits = logits.get(..count).filter(|logits| !logits.is_empty())?;
        run.sampling.check().ok()?;
        let context = Context { prompt: run.prompt, generated: run.output.get(..index)? };
        Some(Sampler::default().choose(logits, run.sampling, context))
    }

    /// Compares what was computed with what was answered and committed to.
    fn check_end(
        &self,
        shape: &Shape,
        (index, right): (usize, u32),
        row: Quantised,
        committed: Option<Committed<'_>>,
    ) -> Result<(), Found> {
        let found = *self.run.output.get(index).ok_or(Found::Form)?;
        if right != found && index >= self.run.said {
            return Err(Found::Token { found, right });
        }
        let Some(committed) = committed else { return Ok(()) };
        let (position, hidden) = (self.opening.position as u64 + 1, &row.x);
        let leaf = Position { position, hidden, scale: row.scale, token: found };
        let is_it = committed.opening.index as usize == index
            && committed.opening.count as usize == shape.output
            && committed.opening.leads_to(leaf.leaf(), committed.prompt, committed.root);
        is_it.then_some(()).ok_or(Found::Root)
    }
}
