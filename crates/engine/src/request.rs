//! What is asked of the engine, and what it answers.
//!
//! Plain data between the engine and whoever drives it. One request is one sequence of tokens.
//!
//! Not here: text, models by name, money.

use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::sampling::Sampling;

/// Alternatives reported for one position, at most.
pub const TOP_LOGPROBS_MAX: usize = 20;

/// One sequence to generate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The prompt's token ids, at least one.
    pub prompt: Vec<u32>,
    /// Tokens of the answer that another run has generated already: they count as generated in every
    /// way, and are not reported again. Empty for a new answer.
    pub said: Vec<u32>,
    /// How the next token is chosen.
    pub sampling: Sampling,
    /// Tokens of the answer, at most, what was said among them; 0 only computes the prompt.
    pub tokens_max: u32,
    /// Tokens that end the answer. The ending token is reported as the last `Output::Token`.
    pub end_tokens: Vec<u32>,
    /// Whether to report log-probabilities, and how many alternatives a position.
    pub logprobs: Option<u8>,
    /// Whether to report the log-probabilities of the prompt's own tokens as well.
    pub prompt_logprobs: bool,
    /// The grammar that the answer follows, if it follows one. The engine does not read it: it takes
    /// such a request only with a guide that does.
    pub grammar: Option<Arc<str>>,
}

/// A sequence inside one engine, unique for the engine's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Something that happened to a sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// The prompt is computed.
    Prompt {
        /// Prompt tokens that were found in the prefix cache.
        cached: u32,
        /// For each prompt token after the first, its log-probability; empty unless asked for.
        logprobs: Vec<Logprobs>,
    },
    /// One more token.
    Token {
        /// The token.
        token: u32,
        /// Its log-probability, if asked for.
        logprobs: Option<Logprobs>,
    },
    /// The sequence ended; nothing follows.
    Finished(Finish),
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// One of the request's end tokens came.
    EndToken,
    /// `tokens_max` tokens were generated, or the context is full.
    Length,
}

/// One position's distribution, as integers: before temperature, penalties and bias.
///
/// The natural log-probability of a token with logit `l` is
/// `(l - max) / 2^16 - ln(total / 2^30)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logprobs {
    /// The largest logit, Q16.
    pub max: i32,
    /// Sum over the vocabulary of e^(logit - max), Q30; at least 2^30.
    pub total: u64,
    /// The token that stands at this position, and its logit, Q16.
    pub chosen: (u32, i32),
    /// The likeliest tokens and their logits, likeliest first, ties by lowest id.
    pub top: Vec<(u32, i32)>,
}
