//! Chooses the next token from logits, in integers.
//!
//! The choice is a function of the logits, the sampling parameters, the tokens so far and the
//! position. Specified in `docs/spec/int-1.md`, section 9.
//!
//! Invariants:
//! - Ties go to the lowest token id, and no step depends on how the logits were computed.
//!
//! Not here: the parameters' ranges (`sampling`).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use crate::guide::allows;
use crate::numeric::{exp2_q30, round_shift};
use crate::request::Logprobs;
use crate::sampling::{ONE, Sampling};

/// log2(e) in Q48, rounded down.
const LOG2_E_Q48: u64 = 406_082_553_034_799;

/// The logit of a token that may not be chosen: below every other, since penalties and biases move
/// a logit of 32 bits by less than 2^52.
const MASKED: i64 = i64::MIN;

/// Memory that choices need, kept between them.
#[derive(Debug, Default)]
pub struct Sampler {
    logits: Vec<i64>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    token: u32,
    logit: i64,
    weight: u64,
}

/// The tokens before the position, as penalties see them.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The prompt's tokens.
    pub prompt: &'a [u32],
    /// The tokens generated so far.
    pub generated: &'a [u32],
}

impl Sampler {
    /// Chooses a token. `logits` is Q16, one for each token, at least one.
    pub fn choose(&mut self, logits: &[i32], sampling: &Sampling, context: Context<'_>) -> u32 {
        self.choose_among(logits, None, sampling, context)
    }

    /// Chooses a token among those that a guide allows, if there is one (section 9.4).
    pub fn choose_among(
        &mut self,
        logits: &[i32],
        allowed: Option<&[u32]>,
        sampling: &Sampling,
        context: Context<'_>,
    ) -> u32 {
        self.logits.clear();
        self.logits.extend(logits.iter().map(|&logit| i64::from(logit)));
        penalise(&mut self.logits, sampling, context);
        if let Some(allowed) = allowed {
            mask(&mut self.logits, allowed);
        }
        let (best, max) = best(&self.logits);
        if sampling.temperature == 0 {
            return best;
        }
        self.weigh(sampling, max);
        self.keep_top_k(sampling.top_k as usize);
        self.keep_top_p(sampling.top_p);
        self.keep_min_p(sampling.min_p);
        let position = (context.prompt.len() + context.generated.len()) as u64;
        self.draw(sampling.seed.draw(position)).unwrap_or(best)
    }

    /// Gives every token its weight 2^-(distance to the largest * log2(e) / temperature), Q30, and
    /// drops those that round to 0.
    fn weigh(&mut self, sampling: &Sampling, max: i64) {
        let slope = LOG2_E_Q48 / u64::from(sampling.temperature);
        self.candidates.clear();
        for (token, &logit) in self.logits.iter().enumerate() {
            let weight = if logit == MASKED { 0 } else { weight(max - logit, slope) };
            if weight > 0 {
                self.candidates.push(Candidate { token: token as u32, logit, weight });
            }
        }
    }

    /// Keeps the k likeliest; ties by lowest id.
    fn keep_top_k(&mut self, k: usize) {
        if k == 0 || k >= self.candidates.len() {
            return;
        }
        self.candidates.select_nth_unstable_by_key(k - 1, rank);
        self.candidates.truncate(k);
    }

    /// Keeps the likeliest until their share reaches `top_p`.
    fn keep_top_p(&mut self, top_p: u32) {
        if top_p >= ONE {
            return;
        }
        self.candidates.sort_unstable_by_key(rank);
        let enough = self.total() * u128::from(top_p);
        let mut sum = 0u128;
        let kept = self.candidates.iter().position(|candidate| {
            sum += u128::from(candidate.weight);
            sum << 16 >= enough
        });
        self.candidates.truncate(kept.map_or(self.candidates.len(), |index| index + 1));
    }

    /// Drops tokens with less than `min_p` of the likeliest one's weight, which is one.
    fn keep_min_p(&mut self, min_p: u32) {
        let least = u64::from(min_p) << 30;
        self.candidates.retain(|candidate| candidate.weight << 16 >= least);
    }

    /// The token under a random fraction of the total weight, in order of ids.
    fn draw(&mut self, random: u64) -> Option<u32> {
        self.candidates.sort_unstable_by_key(|candidate| candidate.token);
        // The total is below 2^30 * 2^20, so the product is below 2^114.
        let mut left = (u128::from(random) * self.total()) >> 64;
        let chosen = self.candidates.iter().find(|candidate| {
            let weight = u128::from(candidate.weight);
            let found = left < weight;
            left = left.saturating_sub(weight);
            found
        });
        chosen.map(|candidate| candidate.token)
    }

    fn total(&self) -> u128 {
        self.candidates.iter().map(|candidate| u128::from(candidate.weight)).sum()
    }
}

/// Likelier first, ties by lowest id.
fn rank(candidate: &Candidate) -> (core::cmp::Reverse<i64>, u32) {
    (core::cmp::Reverse(candidate.logit), candidate.token)
}

/// The weight of a token whose logit is `distance` (Q16) below the largest, Q30.
fn weight(distance: i64, slope: u64) -> u64 {
    let exponent = (u128::from(distance as u64) * u128::from(slope)) >> 24;
    u64::try_from(exponent).map_or(0, exp2_q30)
}

/// Applies penalties and biases (section 9.1).
fn penalise(logits: &mut [i64], sampling: &Sampling, context: Context<'_>) {
    let repetition = i64::from(sampling.repetition_penalty);
    if repetition != i64::from(ONE) {
        let seen: BTreeSet<u32> = context.prompt.iter().chain(context.generated).copied().collect();
        for token in seen {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = match *logit > 0 {
                    true => (*logit << 16) / repetition,
                    false => round_shift(*logit * repetition, 16),
                };
            }
        }
    }
    if sampling.presence_penalty != 0 || sampling.frequency_penalty != 0 {
        let mut counts = BTreeMap::<u32, i64>::new();
        context.generated.iter().for_each(|&token| *counts.entry(token).or_default() += 1);
        for (token, count) in counts {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit -= i64::from(sampling.presence_penalty);
                *logit -= count * i64::from(sampling.frequency_penalty);
            }
        }
    }
    for &(token, bias) in &sampling.logit_bias {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit += i64::from(bias);
        }
    }
}

/// Takes the tokens out that may not be chosen.
fn mask(logits: &mut [i64], allowed: &[u32]) {
    for (token, logit) in logits.iter_mut().enumerate() {
        if !allows(allowed, token as u32) {
            *logit = MASKED;
        }
    }
}

/// The largest logit's token, ties by lowest id.
fn best(logits: &[i64]) -> (u32, i64) {
    let mut best = (0, i64::MIN);
    for (token, &logit) in logits.iter().enumerate() {
        if logit > best.1 {
            best = (token as u32, logit);
        }
    }
    best
}

/// The distribution at a position, from raw logits; `count` likeliest alternatives.
#[must_use]
pub fn logprobs(logits: &[i32], chosen: u32, count: usize) -> Logprobs {
    let max = logits.iter().copied().max().unwrap_or(0);
    let slope = LOG2_E_Q48 / u64::from(ONE);
    let total = logits.iter().map(|&logit| weight(i64::from(max) - i64::from(logit), slope)).sum();
    let order = |&(token, logit): &(u32, i32)| (core::cmp::Reverse(logit), token);
    let mut top: Vec<(u32, i32)> = Vec::with_capacity(count + 1);
    for (token, &logit) in logits.iter().enumerate() {
        let entry = (token as u32, logit);
        if top.len() < count || top.last().is_some_and(|last| order(&entry) < order(last)) {
            let at = top.partition_point(|other| order(other) < order(&entry));
            top.insert(at, entry);
            top.truncate(count);
        }
    }
    let logit = logits.get(chosen as usize).copied().unwrap_or(i32::MIN);
    Logprobs { max, total, chosen: (chosen, logit), top }
}

#[cfg(test)]
mod tests;
