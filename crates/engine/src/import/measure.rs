//! How far an artifact is from its source: divergence, agreement and perplexity on a text.
//!
//! Both run over the same windows of tokens. The Kullback-Leibler divergence is that of the engine's
//! next-token distribution from the source's, in nats a token.
//!
//! Not here: the float engine (`reference`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::ImportError;
use super::assemble::Parts;
use super::reference::Reference;
use crate::forward::Forward;
use crate::kernels::Isa;
use crate::kernels::attention::Segment;
use crate::kv::{KvPages, KvShape, PAGE};
use crate::model::Model;
use crate::trace::Observer;

/// Rows whose logits are compared at once: bounds memory to tens of megabytes.
const ROWS: usize = 32;

/// Distances over a text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Quality {
    /// Tokens compared.
    pub tokens: usize,
    /// Mean divergence, nats a token.
    pub mean_kl: f64,
    /// Divergence below which 99 of 100 tokens are.
    pub p99_kl: f64,
    /// Largest divergence.
    pub max_kl: f64,
    /// Share of tokens whose likeliest successor is the same.
    pub top1: f64,
    /// Perplexity of the source.
    pub perplexity_source: f64,
    /// Perplexity of the artifact.
    pub perplexity: f64,
}

/// Compares `model` with the source `parts` on `tokens`, in windows.
///
/// # Errors
/// When a weight of the source is not finite or a tensor is missing.
pub fn measure(
    parts: &Parts<'_>,
    model: &Arc<Model>,
    tokens: &[u32],
    window: usize,
    (isa, threads): (Isa, usize),
) -> Result<Quality, ImportError> {
    let width = model.config().width;
    let mut reference = Reference::new(parts, isa, threads);
    let source_rows = reference.rows(tokens, window)?;
    let mut forward = Forward::new(model.clone(), isa, threads);
    let own_rows = run(&mut forward, tokens, window);
    let (stride, vocabulary) = (forward.logits_stride(), model.vocabulary_size());
    let mut sums = Sums::default();
    let mut own = Vec::new();
    for from in (0..tokens.len()).step_by(ROWS) {
        let rows = from..tokens.len().min(from + ROWS);
        let range = rows.start * width..rows.end * width;
        let source = reference.logits(&source_rows[range.clone()])?;
        forward.logits(&own_rows[range], &mut own);
        let pairs = source.chunks_exact(model.config().vocabulary).zip(own.chunks_exact(stride));
        for (row, (source, own)) in rows.zip(pairs) {
            // The last token of a window has no successor in it.
            let last = (row + 1).is_multiple_of(window);
            let next = tokens.get(row + 1).filter(|_| !last).copied();
            sums.add(&source[..vocabulary], &own[..vocabulary], next);
        }
    }
    Ok(sums.finish())
}

/// The engine's last rows of every window.
fn run(forward: &mut Forward, tokens: &[u32], window: usize) -> Vec<i32> {
    let config = *forward.model().config();
    let pages: Vec<u32> = (0..window.div_ceil(PAGE) as u32).collect();
    let mut all = Vec::with_capacity(tokens.len() * config.width);
    for tokens in tokens.chunks(window) {
        let mut kv = KvPages::new(KvShape::of(&config), pages.len());
        let mut rows = Vec::new();
        forward.embed(tokens, &mut rows);
        let segments = [Segment { pages: &pages, position: 0, rows: 0..tokens.len() }];
        forward.layers(0..config.layers, &mut rows, &segments, &mut kv, &mut Observer::none());
        all.extend_from_slice(&rows);
    }
    all
}

#[derive(Default)]
struct Sums {
    divergences: Vec<f64>,
    agreed: usize,
    losses: (f64, f64),
    scored: usize,
}

impl Sums {
    fn add(&mut self, source: &[f32], own: &[i32], next: Option<u32>) {
        let source: Vec<f64> = source.iter().map(|&logit| f64::from(logit)).collect();
        let own: Vec<f64> = own.iter().map(|&logit| f64::from(logit) / 65_536.0).collect();
        let (p, q) = (log_total(&source), log_total(&own));
        let terms = source.iter().zip(&own).map(|(a, b)| {
            let log = a - p;
            libm::exp(log) * (log - (b - q))
        });
        self.divergences.push(terms.sum::<f64>().max(0.0));
        self.agreed += usize::from(best(&source) == best(&own));
        if let Some(next) = next {
            self.losses.0 += p - source[next as usize];
            self.losses.1 += q - own[next as usize];
            self.scored += 1;
        }
    }

    fn finish(mut self) -> Quality {
        self.divergences.sort_by(f64::total_cmp);
        let count = self.divergences.len().max(1);
        let at = |share: usize| self.divergences.get((count - 1) * share / 100).copied();
        let scored = self.scored.max(1) as f64;
        Quality {
            tokens: self.divergences.len(),
            mean_kl: self.divergences.iter().sum::<f64>() / count as f64,
            p99_kl: at(99).unwrap_or(0.0),
            max_kl: at(100).unwrap_or(0.0),
            top1: self.agreed as f64 / count as f64,
            perplexity_source: libm::exp(self.losses.0 / scored),
            perplexity: libm::exp(self.losses.1 / scored),
        }
    }
}

/// The logarithm of the sum of exponentials.
fn log_total(logits: &[f64]) -> f64 {
    let most = logits.iter().copied().fold(f64::MIN, f64::max);
    most + libm::log(logits.iter().map(|logit| libm::exp(logit - most)).sum())
}

fn best(logits: &[f64]) -> usize {
    let pick = |best: usize, at: usize| if logits[at] > logits[best] { at } else { best };
    (1..logits.len()).fold(0, pick)
}
