//! Chooses the next token from logits, in integers.
//!
//! The choice is a function of the logits, the sampling parameters, the tokens so far and the
//! position. Specified in `docs/spec/int-1.md`, section 9.
//!
//! Invariants:
//! - Ties go to the lowest token id, and no step depends on how the logits were computed.
//!
//! Not here: the parameters' ranges (`sampling`).

use alloc::vec::Vec;

use crate::kernels::{Isa, element};
use crate::numeric::{exp2_q30, round_shift};
use crate::request::Logprobs;
use crate::sampling::{ONE, Sampling, TEMPERATURE_MAX};

/// log2(e) in Q48, rounded down.
const LOG2_E_Q48: u64 = 406_082_553_034_799;

/// The logit of a token that may not be chosen: below every other, since penalties and biases move
/// a logit of 32 bits by less than 2^52.
const MASKED: i64 = i64::MIN;

/// Logits that are looked at together: what is made of them stays in the first-level cache.
const BLOCK: usize = 1024;
/// Candidates that are weighed one by one, instead of the vocabulary block by block.
const FEW: usize = 256;
/// Marks of tokens that are passed over together where none is set.
const MARKS: usize = 64;

// What a guide allows is read in words, so that no word is of two blocks.
const _: () = assert!(BLOCK.is_multiple_of(32));

// A distance of which the weight is not 0 is below 2^28, and fits a candidate.
const _: () = assert!((31 << 48) / (LOG2_E_Q48 / TEMPERATURE_MAX as u64) < 1 << 28);

/// Memory that choices need, kept between them.
#[derive(Debug, Default)]
pub struct Sampler {
    /// Distance from the largest logit in the upper half, token in the lower: likelier is smaller, and
    /// ties go to the lowest id.
    candidates: Vec<u64>,
    block: Block,
    /// The sum of the weights of each block.
    sums: Vec<u64>,
    moved: Moved,
}

/// The logits that penalties and biases move (section 9.1), and the memory that finding them needs.
#[derive(Debug, Default)]
struct Moved {
    /// How often each token was generated; `IN_PROMPT` where the prompt has it, `IS_BIASED` where it has
    /// a bias. A table, since a context may be as long as half of the vocabulary.
    counts: Vec<u32>,
    /// Ascending by token.
    logits: Vec<(u32, i64)>,
}

const IN_PROMPT: u32 = 1 << 31;
const IS_BIASED: u32 = 1 << 30;

/// Memory for one block.
#[derive(Debug, Default)]
struct Block {
    logits: Vec<i64>,
    distances: Vec<u32>,
    weights: Vec<u32>,
}

/// The logits that the choice is made from, without a copy of them.
struct Shaped<'a> {
    logits: &'a [i32],
    /// Those that penalties and biases have moved, ascending by token.
    moved: &'a [(u32, i64)],
    allowed: Option<&'a [u32]>,
}

/// Which tokens are kept, and what they weigh.
#[derive(Clone, Copy, Debug)]
struct Weighing {
    max: i64,
    /// log2(e) / temperature, Q32.
    slope: u64,
    /// From this distance on every weight is 0.
    limit: u32,
    /// The least weight, Q46.
    least: u64,
    /// The last candidate that is kept.
    last: u64,
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
        self.moved.take(logits, sampling, context);
        let moved = core::mem::take(&mut self.moved.logits);
        let shaped = Shaped { logits, moved: &moved, allowed };
        let token = self.choose_shaped(&shaped, sampling, context);
        self.moved.logits = moved;
        token
    }

    fn choose_shaped(
        &mut self,
        shaped: &Shaped<'_>,
        sampling: &Sampling,
        context: Context<'_>,
    ) -> u32 {
        let (best, max) = shaped.best(&mut self.block);
        if sampling.temperature == 0 || max == MASKED {
            return best;
        }
        let mut weighing = Weighing::new(sampling, max);
        let position = (context.prompt.len() + context.generated.len()) as u64;
        let random = sampling.seed.draw(position);
        if sampling.top_k > 0 || sampling.top_p < ONE {
            match sampling.top_k as usize {
                k @ 1..=FEW => self.gather_top_k(shaped, &weighing, k),
                k => {
                    self.gather(shaped, &weighing);
                    self.keep_top_k(k);
                }
            }
            self.keep_top_p(sampling.top_p, &weighing);
            if self.candidates.len() <= FEW {
                return self.draw_candidate(&weighing, random).unwrap_or(best);
            }
            weighing.last = self.candidates.iter().copied().max().unwrap_or(0);
        }
        self.draw(shaped, &weighing, random).unwrap_or(best)
    }

    /// Gathers the `k` likeliest tokens, ties by lowest id, but those whose weight rounds to 0.
    fn gather_top_k(&mut self, shaped: &Shaped<'_>, weighing: &Weighing, k: usize) {
        self.candidates.clear();
        // No token is looked at that is as far away as the last of `k` nearer ones: it comes after it.
        let mut nearer_than = weighing.limit;
        for from in shaped.blocks() {
            weighing.measure(shaped, from, &mut self.block);
            let distances = &self.block.distances;
            if element::smallest(Isa::best(), distances) >= nearer_than {
                continue;
            }
            let near = distances.iter().enumerate().filter(|(_, it)| **it < nearer_than);
            self.candidates.extend(near.map(|(at, distance)| rank(*distance, from + at)));
            if self.candidates.len() >= k {
                self.keep_top_k(k);
                let last = self.candidates.iter().max().map_or(0, |last| (last >> 32) as u32);
                nearer_than = nearer_than.min(last);
            }
        }
        // The further, the lighter.
        let slope = weighing.slope;
        self.candidates.retain(|candidate| weight((candidate >> 32) as i64, slope) > 0);
    }

    /// Gathers the tokens whose weight does not round to 0.
    fn gather(&mut self, shaped: &Shaped<'_>, weighing: &Weighing) {
        self.candidates.clear();
        self.candidates.reserve(shaped.logits.len());
        for from in shaped.blocks() {
            weighing.weigh(shaped, from, &mut self.block);
            let pairs = self.block.distances.iter().zip(&self.block.weights).enumerate();
            let heavy = pairs.filter(|(_, (_, weight))| **weight > 0);
            self.candidates.extend(heavy.map(|(at, (distance, _))| rank(*distance, from + at)));
        }
    }

    /// Keeps the k likeliest; ties by lowest id.
    fn keep_top_k(&mut self, k: usize) {
        if k == 0 || k >= self.candidates.len() {
            return;
        }
        self.candidates.select_nth_unstable(k - 1);
        self.candidates.truncate(k);
    }

    /// Keeps the likeliest until their share reaches `top_p`: halves the part in which the last of
    /// them is, by selection instead of sorting.
    fn keep_top_p(&mut self, top_p: u32, weighing: &Weighing) {
        if top_p >= ONE {
            return;
        }
        let enough = u128::from(self.total(0, self.candidates.len(), weighing)) * u128::from(top_p);
        let (mut low, mut high, mut below) = (0, self.candidates.len(), 0u64);
        while high - low > 1 {
            let middle = (low + high) / 2;
            self.candidates[low..high].select_nth_unstable(middle - low);
            let sum = below + self.total(low, middle, weighing);
            if u128::from(sum) << 16 >= enough {
                high = middle;
            } else {
                (low, below) = (middle, sum);
            }
        }
        self.candidates.truncate(high);
    }

    /// The weights of candidates together: below 2^30 * 2^20.
    fn total(&mut self, from: usize, to: usize, weighing: &Weighing) -> u64 {
        let Block { distances, weights, .. } = &mut self.block;
        let mut total = 0;
        for candidates in self.candidates[from..to].chunks(BLOCK) {
            distances.clear();
            distances.extend(candidates.iter().map(|candidate| (candidate >> 32) as u32));
            weights.resize(distances.len(), 0);
            element::weigh(Isa::best(), distances, weighing.slope, weights);
            total += weights.iter().copied().map(u64::from).sum::<u64>();
        }
        total
    }

    /// The candidate under a random fraction of the total weight, in order of ids.
    fn draw_candidate(&mut self, weighing: &Weighing, random: u64) -> Option<u32> {
        // A candidate's lower half is its token.
        self.candidates.sort_unstable_by_key(|candidate| *candidate as u32);
        let weigh = |candidate: &u64| {
            let weight = weight((candidate >> 32) as i64, weighing.slope);
            if weight << 16 >= weighing.least { weight } else { 0 }
        };
        let total: u64 = self.candidates.iter().map(weigh).sum();
        let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        let chosen = self.candidates.iter().find(|candidate| is_under(&mut left, weigh(candidate)));
        chosen.map(|candidate| *candidate as u32)
    }

    /// The token under a random fraction of the total weight, in order of ids.
    fn draw(&mut self, shaped: &Shaped<'_>, weighing: &Weighing, random: u64) -> Option<u32> {
        self.sums.clear();
        for from in shaped.blocks() {
            weighing.keep(shaped, from, &mut self.block);
            self.sums.push(self.block.weights.iter().copied().map(u64::from).sum());
        }
        // The total is below 2^30 * 2^20.
        let total: u64 = self.sums.iter().sum();
        let mut left = ((u128::from(random) * u128::from(total)) >> 64) as u64;
        let block = self.sums.iter().position(|sum| is_under(&mut left, *sum))?;
        let from = block * BLOCK;
        weighing.keep(shaped, from, &mut self.block);
        let mut weights = self.block.weights.iter().copied().map(u64::from);
        let at = weights.position(|weight| is_under(&mut left, weight))?;
        Some((from + at) as u32)
    }
}

impl Moved {
    fn take(&mut self, logits: &[i32], sampling: &Sampling, context: Context<'_>) {
        self.logits.clear();
        let repeats = sampling.repetition_penalty != ONE;
        let counts = sampling.presence_penalty != 0 || sampling.frequency_penalty != 0;
        if !repeats && !counts && sampling.logit_bias.is_empty() {
            return;
        }
        self.counts.clear();
        self.counts.resize(logits.len(), 0);
        let mut mark = |token: u32, change: fn(u32) -> u32| {
            if let Some(count) = self.counts.get_mut(token as usize) {
                *count = change(*count);
            }
        };
        if repeats {
            context.prompt.iter().for_each(|&token| mark(token, |count| count | IN_PROMPT));
        }
        if repeats || counts {
            context.generated.iter().for_each(|&token| mark(token, |count| count + 1));
        }
        sampling.logit_bias.iter().for_each(|it| mark(it.0, |count| count | IS_BIASED));
        for (from, counts) in (0..).step_by(MARKS).zip(self.counts.chunks(MARKS)) {
            if counts.iter().fold(0, |any, count| any | count) == 0 {
                continue;
            }
            let marked = (from..).zip(counts).filter(|(_, count)| **count != 0);
            let moved = marked.filter_map(|(token, count)| {
                let logit = logits.get(token as usize)?;
                Some((token, penalised(*logit, *count, sampling)))
            });
            self.logits.extend(moved);
        }
        for &(token, bias) in &sampling.logit_bias {
            if let Ok(at) = self.logits.binary_search_by_key(&token, |it| it.0) {
                self.logits[at].1 += i64::from(bias);
            }
        }
    }
}

/// A logit after its penalties.
fn penalised(logit: i32, mark: u32, sampling: &Sampling) -> i64 {
    let mut logit = i64::from(logit);
    let count = i64::from(mark & !(IN_PROMPT | IS_BIASED));
    let repetition = i64::from(sampling.repetition_penalty);
    if repetition != i64::from(ONE) && mark & !IS_BIASED != 0 {
        logit = match logit > 0 {
            true => (logit << 16) / repetition,
            false => round_shift(logit * repetition, 16),
        };
    }
    if count > 0 {
        logit -= i64::from(sampling.presence_penalty);
        logit -= count * i64::from(sampling.frequency_penalty);
    }
    logit
}

impl Shaped<'_> {
    /// First tokens of the blocks.
    fn blocks(&self) -> impl Iterator<Item = usize> + use<> {
        (0..self.logits.len()).step_by(BLOCK)
    }

    /// The logits of the block that begins with a token.
    fn read(&self, from: usize, out: &mut Vec<i64>) {
        let logits = &self.logits[from..self.logits.len().min(from + BLOCK)];
        out.resize(logits.len(), 0);
        element::widen(Isa::best(), logits, out);
        let first = self.moved.partition_point(|(token, _)| (*token as usize) < from);
        let moved = self.moved[first..].iter().map(|(token, logit)| (*token as usize, *logit));
        for (token, logit) in moved.take_while(|(token, _)| *token < from + logits.len()) {
            out[token - from] = logit;
        }
        if let Some(allowed) = self.allowed {
            let words = allowed.iter().skip(from / 32).copied().chain(core::iter::repeat(0));
            out.chunks_mut(32).zip(words).for_each(|(logits, word)| mask(logits, word));
        }
    }

    /// Whether a token of the block that begins with one may come. Under a grammar most blocks have
    /// none, and need not be read.
    fn has_any(&self, from: usize) -> bool {
        let words = |allowed: &[u32]| {
            let end = allowed.len().min((from + BLOCK) / 32);
            allowed.get(from / 32..end).is_some_and(|words| words.iter().any(|word| *word != 0))
        };
        self.allowed.is_none_or(words)
    }

    /// The largest logit's token, ties by lowest id.
    fn best(&self, block: &mut Block) -> (u32, i64) {
        let mut best = (0, MASKED);
        for from in self.blocks().filter(|from| self.has_any(*from)) {
            self.read(from, &mut block.logits);
            let largest = element::largest(Isa::best(), &block.logits);
            if largest > best.1 {
                let at = block.logits.iter().position(|logit| *logit == largest);
                best = ((from + at.unwrap_or(0)) as u32, largest);
            }
        }
        best
    }
}

impl Weighing {
    fn new(sampling: &Sampling, max: i64) -> Weighing {
        let slope = LOG2_E_Q48 / u64::from(sampling.temperature);
        // Below 2^28: asserted above.
        let limit = (31u64 << 48).div_ceil(slope) as u32;
        let least = u64::from(sampling.min_p) << 30;
        Weighing { max, slope, limit, least, last: u64::MAX }
    }

    /// Gives every token of a block its weight 2^-(distance to the largest * log2(e) / temperature),
    /// Q30.
    fn weigh(&self, shaped: &Shaped<'_>, from: usize, block: &mut Block) {
        self.measure(shaped, from, block);
        let Block { distances, weights, .. } = block;
        weights.resize(distances.len(), 0);
        element::weigh(Isa::best(), distances, self.slope, weights);
    }

    /// How far every token of a block is below the largest logit, at most `limit`.
    fn measure(&self, shaped: &Shaped<'_>, from: usize, block: &mut Block) {
        let Block { logits, distances, .. } = block;
        if !shaped.has_any(from) {
            distances.clear();
            distances.resize(shaped.logits.len().min(from + BLOCK) - from, self.limit);
            return;
        }
        shaped.read(from, logits);
        distances.resize(logits.len(), 0);
        element::distances(Isa::best(), logits, self.max, self.limit, distances);
    }

    /// The same, and 0 for tokens that are not kept: those after the last candidate, and those with
    /// less than `min_p` of the likeliest one's weight, which is one.
    fn keep(&self, shaped: &Shaped<'_>, from: usize, block: &mut Block) {
        self.weigh(shaped, from, block);
        if self.last == u64::MAX && self.least == 0 {
            return;
        }
        let Block { distances, weights, .. } = block;
        // Tokens have 32 bits.
        element::keep(Isa::best(), distances, from as u32, self.last, self.least, weights);
    }
}

/// Takes out of 32 logits those whose bits are not set.
fn mask(logits: &mut [i64], word: u32) {
    match word {
        u32::MAX => {}
        0 => logits.fill(MASKED),
        _ => {
            for (bit, logit) in logits.iter_mut().enumerate() {
                if word >> bit & 1 == 0 {
                    *logit = MASKED;
                }
            }
        }
    }
}

/// Likelier first, ties by lowest id.
fn rank(distance: u32, token: usize) -> u64 {
    u64::from(distance) << 32 | token as u64
}

/// Whether a number is below a weight; it is taken from the number otherwise.
fn is_under(left: &mut u64, weight: u64) -> bool {
    if *left < weight {
        return true;
    }
    *left -= weight;
    false
}

/// The weight of a token whose logit is `distance` (Q16) below the largest, Q30.
fn weight(distance: i64, slope: u64) -> u64 {
    let exponent = (u128::from(distance as u64) * u128::from(slope)) >> 24;
    u64::try_from(exponent).map_or(0, exp2_q30)
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
