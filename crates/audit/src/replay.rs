//! Computes an answer again: one pass over prompt and answer, every token chosen again.
//!
//! A replay gives the same root as the run that it repeats, on any machine, or says which token the
//! rules would not have chosen. A spot replay computes one row, after one layer.
//! Specified in `docs/spec/audit.md`, section 4.
//!
//! Invariants:
//! - The engine's own queue is used, so that a replay computes what a worker computes.
//!
//! Not here: what follows from a difference (`dispute`).

use alloc::sync::Arc;
use alloc::vec::Vec;

use engine::batch::{Engine, Refused};
use engine::forward::Forward;
use engine::kernels::Isa;
use engine::kernels::attention::Segment;
use engine::kv::{KvPages, KvShape, PAGE};
use engine::model::Model;
use engine::request::{Output, Request, SequenceId};
use engine::sampler::{Context, Sampler};
use engine::sampling::Sampling;
use engine::trace::{Answered, Interest, Observe, Observer};

use crate::commitment::{Committer, Leaves};

/// Rows that a spot replay computes at a time: enough for the products of many rows at once.
const CHUNK: usize = 256;

/// What was asked and answered, in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run<'a> {
    /// The prompt's tokens.
    pub prompt: &'a [u32],
    /// The answer's tokens.
    pub output: &'a [u32],
    /// Tokens of the answer that the worker was given; the choice of the others is its own.
    pub said: usize,
    /// How the next token is chosen.
    pub sampling: &'a Sampling,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// The leaves of the answer, computed again.
    pub leaves: Leaves,
    /// The first token, from `said` on, that the rules do not choose.
    pub wrong: Option<WrongToken>,
}

/// A token that the rules do not choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongToken {
    /// Which token of the answer, from 0.
    pub index: usize,
    /// The one that stands there.
    pub found: u32,
    /// The one that the rules choose.
    pub right: u32,
}

/// Why nothing was replayed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReplayed {
    /// The engine does not take such a request.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The engine ended without having computed every row.
    #[error("the engine computed {rows} of {tokens} rows")]
    Incomplete {
        /// Rows computed.
        rows: usize,
        /// Tokens of the answer.
        tokens: usize,
    },
    /// There is no such layer or position.
    #[error("layer {layer} and position {position} are not in this run")]
    NoSuchCell {
        /// The layer.
        layer: usize,
        /// The position.
        position: usize,
    },
}

/// One row of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cell {
    /// The layer, from 0.
    pub layer: usize,
    /// The position, from 0, the prompt's first token at 0.
    pub position: usize,
}

/// Computes a run again. The engine should hold no other sequences: what they say meanwhile is lost.
///
/// # Errors
/// When the engine does not take the request; says nothing of the answer.
pub fn replay(engine: &mut Engine, run: &Run<'_>) -> Result<Replayed, NotReplayed> {
    if run.output.is_empty() {
        return Ok(Replayed { leaves: Leaves::default(), wrong: None });
    }
    let id = engine.submit(Request {
        prompt: run.prompt.to_vec(),
        said: run.output.to_vec(),
        sampling: run.sampling.clone(),
        // A number of tokens is below the context's length.
        tokens_max: run.output.len() as u32,
        end_tokens: Vec::new(),
        logprobs: None,
        prompt_logprobs: false,
        grammar: None,
    })?;
    let mut watch = Watch::new(run, id);
    watch.committer.follow(id);
    let mut has_ended = false;
    while !has_ended && !engine.is_idle() {
        let outputs = engine.step(&mut Observer::new(&mut watch));
        has_ended = outputs
            .iter()
            .any(|(sequence, output)| *sequence == id && matches!(output, Output::Finished(_)));
    }
    engine.cancel(id);
    let leaves = watch.committer.take(id).unwrap_or_default();
    let (rows, tokens) = (leaves.as_slice().len(), run.output.len());
    if rows != tokens {
        return Err(NotReplayed::Incomplete { rows, tokens });
    }
    Ok(Replayed { leaves, wrong: watch.wrong })
}

/// Computes the residual row of one cell from the run's tokens alone.
///
/// # Errors
/// When the run has no such cell.
pub fn spot(
    model: &Arc<Model>,
    (isa, threads): (Isa, usize),
    tokens: &[u32],
    cell: Cell,
) -> Result<Vec<i32>, NotReplayed> {
    let config = *model.config();
    let Cell { layer, position } = cell;
    let known = tokens.iter().all(|&token| (token as usize) < model.vocabulary_size());
    let count = position.saturating_add(1);
    if layer >= config.layers || count > tokens.len().min(config.context_max) || !known {
        return Err(NotReplayed::NoSuchCell { layer, position });
    }
    let mut forward = Forward::new(model.clone(), isa, threads);
    // At most `CONTEXT_MAX` positions.
    let pages: Vec<u32> = (0..count.div_ceil(PAGE) as u32).collect();
    let mut kv = KvPages::new(KvShape::of(&config), pages.len());
    let mut rows = Vec::new();
    for (index, tokens) in tokens[..count].chunks(CHUNK).enumerate() {
        rows.clear();
        forward.embed(tokens, &mut rows);
        let segment = Segment { pages: &pages, position: index * CHUNK, rows: 0..tokens.len() };
        let observer = &mut Observer::none();
        forward.layers(0..layer + 1, &mut rows, &[segment], &mut kv, observer);
    }
    Ok(rows.split_off(rows.len() - config.width))
}

/// Commits to a run, and chooses every token again.
struct Watch<'a> {
    run: &'a Run<'a>,
    id: SequenceId,
    committer: Committer,
    sampler: Sampler,
    wrong: Option<WrongToken>,
}

impl<'a> Watch<'a> {
    fn new(run: &'a Run<'a>, id: SequenceId) -> Watch<'a> {
        let (committer, sampler) = (Committer::default(), Sampler::default());
        Watch { run, id, committer, sampler, wrong: None }
    }
}

impl Observe for Watch<'_> {
    fn interest(&self) -> Interest {
        Interest::AnswerLogits
    }

    fn answered(&mut self, answered: Answered<'_>) {
        self.committer.answered(answered);
        let is_own = answered.row.sequence == self.id && answered.index >= self.run.said;
        let before = self.run.output.get(..answered.index);
        let (Some(logits), Some(generated), true) = (answered.logits, before, is_own) else {
            return;
        };
        if self.wrong.is_some() {
            return;
        }
        let context = Context { prompt: self.run.prompt, generated };
        let right = self.sampler.choose(logits, self.run.sampling, context);
        if right != answered.token {
            self.wrong = Some(WrongToken { index: answered.index, found: answered.token, right });
        }
    }
}
