//! Element-wise steps: one integer body each, compiled once for every instruction set.
//!
//! Each body is a rule of `docs/spec/int-1.md` (the section is named at each function).
//!
//! Not here: which step follows which (`forward`).
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls the body compiled for the instruction set that was detected"
    )
)]

use super::activations::{PAIRS, TILE};
use super::matmul::Epilogue;
use super::per_isa;
use crate::artifact::config::Activation;
use crate::artifact::matrix::{BAND, BLOCK};
use crate::numeric::{
    ACTIVATION_MAX, EXP2_Q30, Scale, WEIGHT_MAX, bit_length, exp2_q16, gelu_erf_q16, gelu_q16,
    round_shift, saturate, silu_q16,
};

per_isa! {
    /// Products of a residual row with norm weights, and the row's sum of squares after a shift
    /// (section 4.1): returns (sum, shift), the true sum being about `sum * 2^(2 * shift)`.
    pub fn norm_terms = norm_terms_body(x: &[i32], weights: &[i32], terms: &mut [i64]) -> (u64, u32)
}

#[inline(always)]
fn norm_terms_body(x: &[i32], weights: &[i32], terms: &mut [i64]) -> (u64, u32) {
    let mut largest = 0u32;
    for ((term, &x), &weight) in terms.iter_mut().zip(x).zip(weights) {
        *term = i64::from(x) * i64::from(weight);
        largest = largest.max(x.unsigned_abs());
    }
    // |x| >> shift is below 2^23, so 65,536 squares stay below 2^62.
    let shift = bit_length(u64::from(largest)).saturating_sub(23);
    let mut sum = 0i64;
    for &x in x {
        let u = x >> shift;
        sum += i64::from(u) * i64::from(u);
    }
    (sum as u64, shift)
}

per_isa! {
    /// Widens a row to terms (section 4.2).
    pub fn widen = widen_body(x: &[i32], terms: &mut [i64])
}

#[inline(always)]
fn widen_body(x: &[i32], terms: &mut [i64]) {
    for (term, &x) in terms.iter_mut().zip(x) {
        *term = i64::from(x);
    }
}

per_isa! {
    /// Activation of the gate times the up row (section 4.2), Q32.
    pub fn gated = gated_body(activation: Activation, gate: &[i32], up: &[i32], terms: &mut [i64])
}

#[inline(always)]
fn gated_body(activation: Activation, gate: &[i32], up: &[i32], terms: &mut [i64]) {
    match activation {
        Activation::Silu => {
            for ((term, &gate), &up) in terms.iter_mut().zip(gate).zip(up) {
                *term = i64::from(silu_q16(gate)) * i64::from(up);
            }
        }
        Activation::GeluErf => {
            for ((term, &gate), &up) in terms.iter_mut().zip(gate).zip(up) {
                *term = i64::from(gelu_erf_q16(gate)) * i64::from(up);
            }
        }
        Activation::Gelu => {
            for ((term, &gate), &up) in terms.iter_mut().zip(gate).zip(up) {
                *term = i64::from(gelu_q16(gate)) * i64::from(up);
            }
        }
    }
}

per_isa! {
    /// Quantises terms to 15 bits (section 4.3): returns the largest shifted magnitude and the shift.
    pub fn quantise = quantise_body(terms: &[i64], x: &mut [i16]) -> (u64, u32)
}

#[inline(always)]
fn quantise_body(terms: &[i64], x: &mut [i16]) -> (u64, u32) {
    let mut largest = 1i64;
    for &term in terms {
        let magnitude = if term < 0 { -term } else { term };
        largest = if magnitude > largest { magnitude } else { largest };
    }
    let shift = bit_length(largest as u64).saturating_sub(30);
    let half = (1i64 << shift) >> 1;
    let largest = ((largest + half) >> shift) as u64;
    // 16,256 < 2^14, so the reciprocal is below 2^31 and a product with a shifted term below 2^61.
    let scale = 16 + bit_length(largest);
    let reciprocal = (((ACTIVATION_MAX as u64) << scale) / largest) as i32;
    let scale_half = 1i64 << (scale - 1);
    for (x, &term) in x.iter_mut().zip(terms) {
        let shifted = ((term + half) >> shift) as i32;
        *x = ((i64::from(shifted) * i64::from(reciprocal) + scale_half) >> scale) as i16;
    }
    (largest, shift)
}

per_isa! {
    /// Splits a quantised row into planes and sums.
    pub fn split = split_body(
        x: &[i16],
        high: &mut [i8],
        low: &mut [i8],
        sums: &mut [i16],
        corrections: &mut [i32],
    )
}

#[inline(always)]
fn split_body(
    x: &[i16],
    high: &mut [i8],
    low: &mut [i8],
    sums: &mut [i16],
    corrections: &mut [i32],
) {
    for ((&x, high), low) in x.iter().zip(high.iter_mut()).zip(low.iter_mut()) {
        let plane = (x + 64) >> 7;
        *high = plane as i8;
        *low = (x - (plane << 7)) as i8;
    }
    let mut totals = [0i32; 2];
    for (block, x) in x.chunks_exact(BLOCK).enumerate() {
        let (mut total, mut total_high) = (0i32, 0i32);
        for &x in x {
            total += i32::from(x);
            total_high += (i32::from(x) + 64) >> 7;
        }
        corrections[2 * block] = -128 * total_high;
        corrections[2 * block + 1] = -128 * (total - 128 * total_high);
        totals[block % 2] = total;
        if block % 2 == 1 {
            let pair = &mut sums[block / 2 * 4..][..4];
            pair[0] = (totals[0] >> 10) as i16;
            pair[1] = (totals[1] >> 10) as i16;
            pair[2] = (totals[0] & 1023) as i16;
            pair[3] = (totals[1] & 1023) as i16;
        }
    }
}

per_isa! {
    /// Lays eight quantised rows side by side, in pairs of columns. Sums each row's products of
    /// neighbouring pairs and its squares over each block.
    pub fn tile = tile_body(
        x: &[i16],
        stride: usize,
        tiles: &mut [u32],
        products: &mut [i32],
        squares: &mut [u64],
    )
}

#[inline(always)]
fn tile_body(
    x: &[i16],
    stride: usize,
    tiles: &mut [u32],
    products: &mut [i32],
    squares: &mut [u64],
) {
    let sums = products.chunks_exact_mut(TILE).zip(squares.chunks_exact_mut(TILE));
    for ((block, out), (products, squares)) in
        tiles.chunks_exact_mut(16 * TILE).enumerate().zip(sums)
    {
        let mut ordered = [[0u32; 16]; TILE];
        for (token, ordered) in ordered.iter_mut().enumerate() {
            let x = &x[token * stride + block * BLOCK..][..BLOCK];
            for (pair, &(first, second)) in ordered.iter_mut().zip(&PAIRS) {
                *pair = u32::from(x[first] as u16) | u32::from(x[second] as u16) << 16;
            }
            (products[token], squares[token]) = row_sums(x);
        }
        for (pair, out) in out.chunks_exact_mut(TILE).enumerate() {
            for (out, ordered) in out.iter_mut().zip(&ordered) {
                *out = ordered[pair];
            }
        }
    }
}

/// A block's products of neighbouring pairs, which hold columns 16 apart, modulo 2^32, and its sum of
/// squares.
#[inline(always)]
fn row_sums(x: &[i16]) -> (i32, u64) {
    let (mut product, mut squares) = (0i32, [0u32; 8]);
    let (low, high) = x.split_at(BLOCK / 2);
    for (index, (&low, &high)) in low.iter().zip(high).enumerate() {
        let (low, high) = (i32::from(low), i32::from(high));
        product = product.wrapping_add(low * high);
        // Each of the eight takes four squares below 2^28.
        squares[index % 8] += (low * low) as u32 + (high * high) as u32;
    }
    (product, squares.iter().map(|&part| u64::from(part)).sum())
}

per_isa! {
    /// The largest of 32 rows' sums of squared weights in each block of a band, unfolded as
    /// `[blocks * 16 pairs][32 rows][2]`.
    pub fn band_norms = band_norms_body(weights: &[i16], norms: &mut [u64])
}

#[inline(always)]
fn band_norms_body(weights: &[i16], norms: &mut [u64]) {
    for (norm, block) in norms.iter_mut().zip(weights.chunks_exact(BLOCK * BAND)) {
        let mut totals = [0u64; BAND];
        // Sixteen squares of weights of at most 16,129 fit 32 bits.
        for half in block.chunks_exact(BLOCK * BAND / 2) {
            let mut sums = [0u32; BAND];
            for pairs in half.as_chunks::<{ 2 * BAND }>().0 {
                for (sum, pair) in sums.iter_mut().zip(pairs.as_chunks::<2>().0) {
                    let [first, second] = pair.map(i32::from);
                    *sum += (first * first) as u32 + (second * second) as u32;
                }
            }
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += u64::from(sum));
        }
        *norm = totals.into_iter().max().unwrap_or(0);
    }
}

per_isa! {
    /// Adds a block's output to the residual, saturating (section 3).
    pub fn add = add_body(residual: &mut [i32], output: &[i32])
}

#[inline(always)]
fn add_body(residual: &mut [i32], output: &[i32]) {
    for (residual, &output) in residual.iter_mut().zip(output) {
        *residual = residual.saturating_add(output);
    }
}

per_isa! {
    /// The exact form of GELU of a row with its bias added (section 3.1), Q16.
    pub fn gelu_terms = gelu_terms_body(x: &[i32], bias: &[i32], terms: &mut [i64])
}

#[inline(always)]
fn gelu_terms_body(x: &[i32], bias: &[i32], terms: &mut [i64]) {
    for ((term, &x), &bias) in terms.iter_mut().zip(x).zip(bias) {
        *term = i64::from(gelu_erf_q16(x.saturating_add(bias)));
    }
}

per_isa! {
    /// Takes a row's mean from each of its elements (section 4.5).
    pub fn centre = centre_body(row: &mut [i32])
}

#[inline(always)]
fn centre_body(row: &mut [i32]) {
    let count = row.len() as i64;
    let mut sum = 0i64;
    for &element in row.iter() {
        sum += i64::from(element);
    }
    // The sum of 65,536 numbers of 32 bits is below 2^47.
    let mean = (2 * sum + count).div_euclid(2 * count);
    for element in row.iter_mut() {
        *element = saturate(i64::from(*element) - mean);
    }
}

per_isa! {
    /// Divides normed terms by their root mean square (section 4.4): multiplies by `inverse` and by
    /// 2^-exponent, saturating.
    pub fn rescale = rescale_body(terms: &[i64], inverse: Scale, exponent: i32, out: &mut [i32])
}

#[inline(always)]
fn rescale_body(terms: &[i64], inverse: Scale, exponent: i32, out: &mut [i32]) {
    let mut largest = 0i64;
    for &term in terms {
        let magnitude = if term < 0 { -term } else { term };
        largest = if magnitude > largest { magnitude } else { largest };
    }
    let down = bit_length(largest as u64).saturating_sub(30);
    let half = (1i64 << down) >> 1;
    let shift = (inverse.exponent - down as i32 + exponent).clamp(1, 62) as u32;
    let (mantissa, shift_half) = (i64::from(inverse.mantissa), 1i64 << (shift - 1));
    for (out, &term) in out.iter_mut().zip(terms) {
        let shifted = i64::from(((term + half) >> down) as i32);
        *out = saturate((shifted * mantissa + shift_half) >> shift);
    }
}

per_isa! {
    /// Rotates one head in place (section 6.1); `cos` and `sin` are Q30, half a head each.
    pub fn rotate = rotate_body(head: &mut [i32], cos: &[i32], sin: &[i32])
}

#[inline(always)]
fn rotate_body(head: &mut [i32], cos: &[i32], sin: &[i32]) {
    let half = head.len() / 2;
    let (first, second) = head.split_at_mut(half);
    for (((a, b), &cos), &sin) in first.iter_mut().zip(second).zip(cos).zip(sin) {
        let (x, y) = (i64::from(*a), i64::from(*b));
        let (cos, sin) = (i64::from(cos), i64::from(sin));
        // |x|, |y| <= 2^31 and |cos|, |sin| <= 2^30: each product is at most 2^61.
        *a = saturate(round_shift(x * cos - y * sin, 30));
        *b = saturate(round_shift(x * sin + y * cos, 30));
    }
}

per_isa! {
    /// Quantises one head to magnitude `limit` of `limit_bits` bits (section 6.2); returns its
    /// largest magnitude.
    pub fn quantise_head = quantise_head_body(
        head: &[i32],
        limit: i32,
        limit_bits: u32,
        out: &mut [i16],
    ) -> i32
}

#[inline(always)]
fn quantise_head_body(head: &[i32], limit: i32, limit_bits: u32, out: &mut [i16]) -> i32 {
    let mut largest = 1u32;
    for &value in head {
        largest = largest.max(value.unsigned_abs());
    }
    let largest = u64::from(largest.min(i32::MAX as u32));
    let scale = bit_length(largest) + 30 - limit_bits;
    let reciprocal = (((limit as u64) << scale) / largest) as i32;
    let half = 1i64 << (scale - 1);
    for (out, &value) in out.iter_mut().zip(head) {
        let quantised = (i64::from(value) * i64::from(reciprocal) + half) >> scale;
        *out = quantised as i16;
    }
    largest as i32
}

/// What one query row needs to turn scores into weights.
#[derive(Clone, Copy, Debug)]
pub struct SoftmaxRow {
    /// First position that the row sees.
    pub from: usize,
    /// One past the last position that the row sees.
    pub to: usize,
    /// 16-bit mantissa of the query's share of the score scale.
    pub mantissa: i32,
    /// Its exponent, 1 to 62.
    pub exponent: u32,
}

per_isa! {
    /// Turns scores of positions into 15-bit weights with the value scales folded in (section 7.2).
    /// Entries outside `from..to` get weight 0. Returns the sum of the unfolded weights and the bit
    /// length of the largest value scale.
    pub fn softmax = softmax_body(
        row: SoftmaxRow,
        scores: &mut [i32],
        key_scales: &[i32],
        value_scales: &[i32],
        weights: &mut [i16],
    ) -> (u64, u32)
}

#[inline(always)]
fn softmax_body(
    row: SoftmaxRow,
    scores: &mut [i32],
    key_scales: &[i32],
    value_scales: &[i32],
    weights: &mut [i16],
) -> (u64, u32) {
    const LIMIT: i64 = 1 << 29;
    let (mantissa, half) = (i64::from(row.mantissa), 1i64 << (row.exponent - 1));
    let seen = row.from..row.to;
    weights[..row.from].fill(0);
    weights[row.to..].fill(0);
    let scores = &mut scores[seen.clone()];
    let key_scales = &key_scales[seen.clone()];
    let value_scales = &value_scales[seen.clone()];
    let weights = &mut weights[seen];
    let mut top = i32::MIN;
    let mut largest = 0i32;
    for ((score, &key), &value) in scores.iter_mut().zip(key_scales).zip(value_scales) {
        let product = (i64::from(*score) * i64::from(key) + 32_768) >> 16;
        let scaled = (product * mantissa + half) >> row.exponent;
        let scaled = if scaled > LIMIT { LIMIT } else { scaled };
        *score = (if scaled < -LIMIT { -LIMIT } else { scaled }) as i32;
        top = if *score > top { *score } else { top };
        largest = if value > largest { value } else { largest };
    }
    let length = bit_length(largest as u64).max(15);
    let fold = length - 15;
    let mut total = 0u64;
    // 16,384 weights of 15 bits fit 32 bits, so a run of that many may be summed in i32.
    for run in 0..scores.len().div_ceil(16_384) {
        let run = run * 16_384..scores.len().min((run + 1) * 16_384);
        let mut sum = 0i32;
        let pairs = scores[run.clone()].iter().zip(&value_scales[run.clone()]);
        for ((&score, &value), weight) in pairs.zip(&mut weights[run]) {
            let e = (exp2_q16(top - score) + 1) >> 1;
            let e = if e > WEIGHT_MAX { WEIGHT_MAX } else { e };
            sum += e;
            *weight = ((e * (value >> fold) + 16_384) >> 15) as i16;
        }
        total += sum as u64;
    }
    (total, length)
}

per_isa! {
    /// Fixed-point values of a row's exact sums, one row scale each, little endian (section 5).
    pub fn scale_sums = scale_sums_body(
        epilogue: Epilogue,
        sums: &[i64],
        scales: &[[u8; 4]],
        out: &mut [i32],
    )
}

#[inline(always)]
fn scale_sums_body(epilogue: Epilogue, sums: &[i64], scales: &[[u8; 4]], out: &mut [i32]) {
    for ((out, &sum), scale) in out.iter_mut().zip(sums).zip(scales) {
        *out = epilogue.apply(sum, i32::from_le_bytes(*scale));
    }
}

per_isa! {
    /// The same of sums of 32 bits.
    pub fn scale_short_sums = scale_short_sums_body(
        epilogue: Epilogue,
        sums: &[i32],
        scales: &[[u8; 4]],
        out: &mut [i32],
    )
}

#[inline(always)]
fn scale_short_sums_body(epilogue: Epilogue, sums: &[i32], scales: &[[u8; 4]], out: &mut [i32]) {
    for ((out, &sum), scale) in out.iter_mut().zip(sums).zip(scales) {
        *out = epilogue.apply(i64::from(sum), i32::from_le_bytes(*scale));
    }
}

per_isa! {
    /// The largest of some logits.
    pub fn largest = largest_body(logits: &[i64]) -> i64
}

#[inline(always)]
fn largest_body(logits: &[i64]) -> i64 {
    let mut largest = i64::MIN;
    for &logit in logits {
        largest = if logit > largest { logit } else { largest };
    }
    largest
}

per_isa! {
    /// How far logits are below the largest, at most `limit`.
    pub fn distances = distances_body(logits: &[i64], largest: i64, limit: u32, out: &mut [u32])
}

#[inline(always)]
fn distances_body(logits: &[i64], largest: i64, limit: u32, out: &mut [u32]) {
    for (out, &logit) in out.iter_mut().zip(logits) {
        // The difference of two numbers with a sign fits one without.
        let distance = largest.wrapping_sub(logit) as u64;
        *out = if distance > u64::from(limit) { limit } else { distance as u32 };
    }
}

per_isa! {
    /// The smallest of some distances; the largest number where there are none.
    pub fn smallest = smallest_body(distances: &[u32]) -> u32
}

#[inline(always)]
fn smallest_body(distances: &[u32]) -> u32 {
    let mut smallest = u32::MAX;
    for &distance in distances {
        smallest = if distance < smallest { distance } else { smallest };
    }
    smallest
}

per_isa! {
    /// Takes the weights of tokens from `first` on that rank after `last`, distance before token, and of
    /// those that weigh less than `least` / 2^16.
    pub fn keep = keep_body(
        distances: &[u32],
        first: u32,
        last: u64,
        least: u64,
        weights: &mut [u32],
    )
}

#[inline(always)]
fn keep_body(distances: &[u32], first: u32, last: u64, least: u64, weights: &mut [u32]) {
    let mut token = first;
    for (weight, &distance) in weights.iter_mut().zip(distances) {
        let rank = u64::from(distance) << 32 | u64::from(token);
        let is_kept = rank <= last && u64::from(*weight) << 16 >= least;
        *weight = if is_kept { *weight } else { 0 };
        token = token.wrapping_add(1);
    }
}

per_isa! {
    /// The weights 2^-(distance * slope / 2^48) of tokens whose logits are so far below the largest
    /// (section 9.2), Q30. `distance * slope` is below 2^54.
    pub fn weigh = weigh_body(distances: &[u32], slope: u64, weights: &mut [u32])
}

#[inline(always)]
fn weigh_body(distances: &[u32], slope: u64, weights: &mut [u32]) {
    for (weight, &distance) in weights.iter_mut().zip(distances) {
        let exponent = (u64::from(distance) * slope) >> 24;
        let whole = (exponent >> 24) as u32;
        let f = ((exponent as u32) & 0xff_ffff) << 6;
        // Each coefficient is larger than what is taken from it, and both factors are below 2^31.
        let mut sum = 0u32;
        for &coefficient in EXP2_Q30.iter().rev() {
            sum = (coefficient as u32).wrapping_sub(((u64::from(sum) * u64::from(f)) >> 30) as u32);
        }
        *weight = sum >> (if whole > 31 { 31 } else { whole });
    }
}

per_isa! {
    /// Scores of a quantised query with keys that stand one after the other (section 7.1).
    pub fn scores = scores_body(query: &[i16], keys: &[i16], out: &mut [i32])
}

#[inline(always)]
fn scores_body(query: &[i16], keys: &[i16], out: &mut [i32]) {
    for (out, key) in out.iter_mut().zip(keys.chunks_exact(query.len().max(1))) {
        // At most 512 products of numbers up to 2,047.
        let mut sum = 0;
        for (&query, &key) in query.iter().zip(key) {
            sum += i32::from(query) * i32::from(key);
        }
        *out = sum;
    }
}

/// Positions whose weighted values fit 32 bits: 32,767 * 127 * 512 < 2^31.
const RUN: usize = 512;

per_isa! {
    /// Sums of values that stand one after the other, each times its position's weight (section 7.3).
    pub fn weighted = weighted_body(weights: &[i16], values: &[i16], sums: &mut [i64])
}

#[inline(always)]
fn weighted_body(weights: &[i16], values: &[i16], sums: &mut [i64]) {
    let size = sums.len().max(1);
    let mut run = [0i32; 32];
    for (part, sums) in sums.chunks_mut(run.len()).enumerate() {
        let from = part * run.len();
        sums.fill(0);
        for (weights, values) in weights.chunks(RUN).zip(values.chunks(RUN * size)) {
            run.fill(0);
            for (&weight, values) in weights.iter().zip(values.chunks_exact(size)) {
                for (run, &value) in run.iter_mut().zip(&values[from..]) {
                    *run += i32::from(weight) * i32::from(value);
                }
            }
            sums.iter_mut().zip(&run).for_each(|(sum, run)| *sum += i64::from(*run));
        }
    }
}

per_isa! {
    /// Divides a head's weighted sums by the sum of weights (section 7.3), Q16.
    pub fn finish_head = finish_head_body(sums: &[i64], total: u64, length: u32, out: &mut [i32])
}

#[inline(always)]
fn finish_head_body(sums: &[i64], total: u64, length: u32, out: &mut [i32]) {
    let divisor = 127 * total;
    let scale = 23 + bit_length(divisor);
    let reciprocal = ((1u128 << scale) / u128::from(divisor)) as i64;
    let shift = scale - length;
    let half = 1i64 << (shift - 1);
    for (out, &sum) in out.iter_mut().zip(sums) {
        *out = saturate((sum * reciprocal + half) >> shift);
    }
}

#[cfg(test)]
mod tests;
