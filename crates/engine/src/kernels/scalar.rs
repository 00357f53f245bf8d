//! The reference kernels: what every other instruction set must equal.
//!
//! Plain loops over exact integers. They are what a machine without vector kernels runs, and what a
//! reader compares the specification with.
//!
//! Not here: speed.

use super::matmul::Epilogue;
use crate::artifact::matrix::{BLOCK, Bits, GROUP, Group};

/// Takes the quants of a group out of their interleaving: `[16 rows][blocks * 32]`.
pub(super) fn unpack(
    weights: &Group<'_>,
    bits: Bits,
    blocks: usize,
    out: &mut alloc::vec::Vec<i16>,
) {
    let stride = blocks * BLOCK;
    out.resize(GROUP * stride, 0);
    for block in 0..blocks {
        let quants = &weights.quants[block * bits.quant_size()..][..bits.quant_size()];
        for lane in 0..GROUP {
            let row = &mut out[lane * stride + block * BLOCK..][..BLOCK];
            for (at, quant) in row.iter_mut().enumerate() {
                *quant = match bits {
                    Bits::Four => {
                        let byte = quants[at % 16 / 4 * 64 + lane * 4 + at % 4];
                        i16::from(if at < 16 { byte & 15 } else { byte >> 4 })
                    }
                    Bits::Eight => i16::from(quants[at / 4 * 64 + lane * 4 + at % 4]) - 128,
                };
            }
        }
    }
}

/// Sums of weight times x for the sixteen rows of a group: for each block, `c` times the sum of
/// quant times x, plus `mu` times the sum of x.
pub(super) fn products(
    weights: &Group<'_>,
    bits: Bits,
    quants: &[i16],
    x: &[i16],
    sums: &mut [i64; GROUP],
) {
    for (lane, sum) in sums.iter_mut().enumerate() {
        let row = &quants[lane * x.len()..][..x.len()];
        for (block, (quants, x)) in row.chunks_exact(BLOCK).zip(x.chunks_exact(BLOCK)).enumerate() {
            // |quant| <= 127 and |x| <= 16,256: 32 products stay below 2^27.
            let mut dot = 0i32;
            let mut total = 0i32;
            for (&quant, &x) in quants.iter().zip(x) {
                dot += i32::from(quant) * i32::from(x);
                total += i32::from(x);
            }
            let scale = i64::from(weights.scales[block * GROUP + lane]);
            *sum += scale * i64::from(dot);
            if bits == Bits::Four {
                *sum += i64::from(offset(weights, block, lane)) * i64::from(total);
            }
        }
    }
}

/// The offset `mu` of a block of a lane.
pub(super) fn offset(weights: &Group<'_>, block: usize, lane: usize) -> i16 {
    let at = (block / 2 * 32 + lane * 2 + block % 2) * 2;
    i16::from_le_bytes([weights.offsets[at], weights.offsets[at + 1]])
}

/// Sixteen rows' sums to fixed point. `scales` holds their row scales, little endian.
#[inline(always)]
pub(super) fn epilogue(
    sums: &[i64; GROUP],
    scales: &[u8],
    epilogue: Epilogue,
    out: &mut [i32; GROUP],
) {
    for ((out, &sum), scale) in out.iter_mut().zip(sums).zip(scales.chunks_exact(4)) {
        let scale = i32::from_le_bytes([scale[0], scale[1], scale[2], scale[3]]);
        *out = epilogue.apply(sum, scale);
    }
}

/// Scores of one query row against the keys of one page: `[head_size / 2][16 positions][2]`.
pub(super) fn scores(query: &[i16], page: &[i16], out: &mut [i32]) {
    for (position, out) in out.iter_mut().enumerate() {
        let mut sum = 0i32;
        for (element, &query) in query.iter().enumerate() {
            let key = page[element / 2 * 32 + position * 2 + element % 2];
            sum += i32::from(query) * i32::from(key);
        }
        *out = sum;
    }
}

/// Adds the values of one page, `[8 pairs of positions][head_size][2]`, times their weights.
pub(super) fn weighted(weights: &[i16], page: &[i8], sums: &mut [i64]) {
    let stride = 2 * sums.len();
    for (position, &weight) in weights.iter().enumerate() {
        for (element, sum) in sums.iter_mut().enumerate() {
            let value = page[position / 2 * stride + element * 2 + position % 2];
            *sum += i64::from(weight) * i64::from(value);
        }
    }
}
