//! Kernels for aarch64 with NEON, which every such processor has.
//!
//! Lanes are output rows, or positions in attention scores. Products of packed weights have two inner
//! loops: one of plain NEON, which no processor lacks, and one of `sdot` (sixteen products of bytes),
//! where it is there. Products of 16 bits take their second factor from a lane of a vector. All of it
//! was run on emulated processors only, so choices of one way over another rest on counts of
//! instructions.
//!
//! Invariants:
//! - Both inner loops give the same dot products.
//!
//! Not here: what is computed (`scalar` says it).
#![expect(unsafe_code, reason = "vector loads and stores through pointers, and `sdot`")]

use core::arch::aarch64::*;
use core::array::from_fn;

use super::activations::{Activations, TILE};
use super::matmul::TileSums;
use crate::artifact::matrix::{BAND, BLOCK, Bits, GROUP, Group};

/// Blocks whose sums are carried to 64 bits together. 32 bits surely hold four times as many with 4
/// bits and twice as many with 8 (see the AVX-512 kernels); these take 8 KiB of weights, which stay
/// in the first-level cache when the quarters of a group are taken one after the other.
const RUN4: usize = 32;
const RUN8: usize = 16;

/// Dot products of a block: for each token, quarter of a group and plane, those of four rows.
type Dots<const T: usize, const Q: usize> = [[[int32x4_t; 2]; Q]; T];

/// The 4 bytes at `pointer` in every lane.
#[inline(always)]
unsafe fn broadcast<T>(pointer: *const T) -> int32x4_t {
    // SAFETY: the caller's pointer has 4 readable bytes.
    unsafe { vdupq_n_s32(pointer.cast::<i32>().read_unaligned()) }
}

/// Adds four 32-bit lanes, times 2^SHIFT, to four 64-bit sums.
#[inline]
#[target_feature(enable = "neon")]
fn widen_add<const SHIFT: i32>(sums: &mut [i64], lanes: int32x4_t) {
    let low = vshll_n_s32::<SHIFT>(vget_low_s32(lanes));
    let high = vshll_high_n_s32::<SHIFT>(lanes);
    assert!(sums.len() >= 4, "room for four sums");
    // SAFETY: the slice has room for two vectors of two.
    unsafe {
        let pointer = sums.as_mut_ptr();
        vst1q_s64(pointer, vaddq_s64(vld1q_s64(pointer), low));
        vst1q_s64(pointer.add(2), vaddq_s64(vld1q_s64(pointer.add(2)), high));
    }
}

/// The same for a group's sixteen lanes.
#[inline]
#[target_feature(enable = "neon")]
fn widen_add_group(sums: &mut [i64; GROUP], lanes: [int32x4_t; 4]) {
    for (sums, lanes) in sums.chunks_exact_mut(4).zip(lanes) {
        widen_add::<0>(sums, lanes);
    }
}

/// Whether the processor multiplies and adds four bytes a lane in one instruction.
pub(super) fn has_dot() -> bool {
    #[cfg(feature = "std")]
    let has_dot = std::arch::is_aarch64_feature_detected!("dotprod");
    #[cfg(not(feature = "std"))]
    let has_dot = cfg!(target_feature = "dotprod");
    has_dot
}

/// One group by `T` tokens from the packed weights and the two planes of the activations.
#[target_feature(enable = "neon")]
pub(super) unsafe fn planes<const T: usize>(
    weights: &Group<'_>,
    bits: Bits,
    activations: &Activations,
    token: usize,
    sums: &mut [[i64; GROUP]; T],
) {
    // SAFETY: passed on from the caller; the processor was asked for `sdot`.
    unsafe {
        if has_dot() {
            planes_by_dot(weights, bits, activations, token, sums);
        } else {
            planes_by::<T, false>(weights, bits, activations, token, sums);
        }
    }
}

#[target_feature(enable = "neon,dotprod")]
unsafe fn planes_by_dot<const T: usize>(
    weights: &Group<'_>,
    bits: Bits,
    activations: &Activations,
    token: usize,
    sums: &mut [[i64; GROUP]; T],
) {
    // SAFETY: passed on from the caller.
    unsafe { planes_by::<T, true>(weights, bits, activations, token, sums) };
}

/// Takes four pairs of a token and a quarter of the group at a time, whose sums registers hold.
#[inline(always)]
unsafe fn planes_by<const T: usize, const DOT: bool>(
    weights: &Group<'_>,
    bits: Bits,
    activations: &Activations,
    token: usize,
    sums: &mut [[i64; GROUP]; T],
) {
    // SAFETY: passed on from the caller.
    unsafe {
        match T {
            1 => quarters::<T, 4, DOT>(weights, bits, activations, token, sums),
            2 => quarters::<T, 2, DOT>(weights, bits, activations, token, sums),
            _ => quarters::<T, 1, DOT>(weights, bits, activations, token, sums),
        }
    }
}

#[inline(always)]
unsafe fn quarters<const T: usize, const Q: usize, const DOT: bool>(
    weights: &Group<'_>,
    bits: Bits,
    activations: &Activations,
    token: usize,
    sums: &mut [[i64; GROUP]; T],
) {
    let blocks = activations.blocks;
    let run = if bits == Bits::Four { RUN4 } else { RUN8 };
    for from in (0..blocks).step_by(run) {
        let run = (from, blocks.min(from + run));
        for quarter in (0..4).step_by(Q) {
            let at = (token, quarter);
            // SAFETY: the caller's group and activations have `blocks` blocks and `T` tokens, and a
            // run begins and ends at an even one.
            unsafe {
                match bits {
                    Bits::Four => {
                        products::<T, Q, DOT, true>(weights, activations, at, run, sums);
                        offsets::<T, Q>(weights, activations, at, run, sums);
                    }
                    Bits::Eight => {
                        products::<T, Q, DOT, false>(weights, activations, at, run, sums)
                    }
                }
            }
        }
    }
}

/// Where a block's planes of `T` tokens begin, high and low.
#[inline(always)]
unsafe fn planes_at<const T: usize>(
    activations: &Activations,
    token: usize,
    block: usize,
) -> [[*const i8; 2]; T] {
    let (high, low) = (activations.high.as_ptr(), activations.low.as_ptr());
    let mut planes = [[high, low]; T];
    for (t, planes) in planes.iter_mut().enumerate() {
        let at = ((token + t) * activations.blocks + block) * BLOCK;
        // SAFETY: the block lies inside the activations.
        *planes = unsafe { [high.add(at), low.add(at)] };
    }
    planes
}

/// Adds a block's dot products times its sub-scales to the sums of a run.
#[inline(always)]
unsafe fn scale_add<const T: usize, const Q: usize>(
    total: &mut Dots<T, Q>,
    dots: Dots<T, Q>,
    scales: *const u8,
) {
    for q in 0..Q {
        // SAFETY: the caller's pointer has a sub-scale for each lane of the quarters.
        unsafe {
            let scales = scales.add(q * 4).cast::<u32>().read_unaligned();
            let scales = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(scales)));
            let scales = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(scales)));
            for t in 0..T {
                for plane in 0..2 {
                    total[t][q][plane] = vmlaq_s32(total[t][q][plane], dots[t][q][plane], scales);
                }
            }
        }
    }
}

/// Adds a run's sums of both planes, x being 128 h + l.
#[inline(always)]
unsafe fn carry<const T: usize, const Q: usize>(
    total: Dots<T, Q>,
    quarter: usize,
    sums: &mut [[i64; GROUP]; T],
) {
    for t in 0..T {
        for q in 0..Q {
            let sums = &mut sums[t][(quarter + q) * 4..];
            // SAFETY: every aarch64 processor has NEON.
            unsafe {
                widen_add::<7>(sums, total[t][q][0]);
                widen_add::<0>(sums, total[t][q][1]);
            }
        }
    }
}

/// Adds the quants of a run's blocks, of 4 bits or else of 8, times their sub-scales and the planes.
#[inline(always)]
unsafe fn products<const T: usize, const Q: usize, const DOT: bool, const FOUR: bool>(
    weights: &Group<'_>,
    activations: &Activations,
    (token, quarter): (usize, usize),
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; T],
) {
    let size = if FOUR { Bits::Four.quant_size() } else { Bits::Eight.quant_size() };
    // SAFETY: blocks from..to lie inside the group and the activations; `DOT` only if it is here.
    unsafe {
        let mut total = [[[vdupq_n_s32(0); 2]; Q]; T];
        for block in from..to {
            let quants = weights.quants.as_ptr().add(block * size + quarter * 16);
            let planes = planes_at::<T>(activations, token, block);
            let dots = match (FOUR, DOT) {
                (true, true) => dots4_by_dot(quants, planes),
                (true, false) => dots4(quants, planes),
                (false, true) => dots8_by_dot(quants, planes),
                (false, false) => dots8(quants, planes),
            };
            let scales = weights.scales.as_ptr().add(block * GROUP + quarter * 4);
            scale_add(&mut total, dots, scales);
        }
        carry(total, quarter, sums);
    }
}

/// Adds the offsets of a run's blocks times the sums of the activations.
#[inline(always)]
unsafe fn offsets<const T: usize, const Q: usize>(
    weights: &Group<'_>,
    activations: &Activations,
    (token, quarter): (usize, usize),
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; T],
) {
    // SAFETY: the pairs of blocks from..to lie inside the group and the activations.
    unsafe {
        // High and low bits, each two vectors of two rows by two blocks. A product is below
        // 7,936 * 1,024, so 32 bits hold a run of them.
        let mut total = [[[[vdupq_n_s32(0); 2]; 2]; Q]; T];
        for pair in from / 2..to / 2 {
            let offsets = weights.offsets.as_ptr().add(pair * 64 + quarter * 16);
            for (t, total) in total.iter_mut().enumerate() {
                let at = (token + t) * activations.blocks * 2 + pair * 4;
                let x = activations.sums.as_ptr().add(at);
                let (high, low) = (broadcast(x), broadcast(x.add(2)));
                for (q, total) in total.iter_mut().enumerate() {
                    let offset = vreinterpretq_s16_u8(vld1q_u8(offsets.add(q * 16)));
                    for (total, x) in total.iter_mut().zip([high, low]) {
                        let x = vreinterpretq_s16_s32(x);
                        total[0] = vmlal_s16(total[0], vget_low_s16(offset), vget_low_s16(x));
                        total[1] = vmlal_high_s16(total[1], offset, x);
                    }
                }
            }
        }
        for t in 0..T {
            for q in 0..Q {
                let sums = &mut sums[t][(quarter + q) * 4..];
                let [high, low] = total[t][q];
                widen_add::<10>(sums, vpaddq_s32(high[0], high[1]));
                widen_add::<0>(sums, vpaddq_s32(low[0], low[1]));
            }
        }
    }
}

/// The low and the high nibbles of sixteen bytes.
#[inline(always)]
unsafe fn nibbles(packed: *const u8) -> [int8x16_t; 2] {
    // SAFETY: the caller's pointer has 16 readable bytes.
    unsafe {
        let packed = vld1q_u8(packed);
        let (low, high) = (vandq_u8(packed, vdupq_n_u8(15)), vshrq_n_u8::<4>(packed));
        [vreinterpretq_s8_u8(low), vreinterpretq_s8_u8(high)]
    }
}

/// Sixteen 8-bit quants without their bias.
#[inline(always)]
unsafe fn quants8(packed: *const u8) -> int8x16_t {
    // SAFETY: the caller's pointer has 16 readable bytes.
    unsafe { vreinterpretq_s8_u8(veorq_u8(vld1q_u8(packed), vdupq_n_u8(128))) }
}

/// Dot products of a block's 4-bit quants with plain NEON.
#[inline(always)]
unsafe fn dots4<const T: usize, const Q: usize>(
    quants: *const u8,
    planes: [[*const i8; 2]; T],
) -> Dots<T, Q> {
    // SAFETY: the caller's block has four times 64 bytes of quants, and 32 of each plane.
    unsafe {
        // Each product of a nibble and a plane is at most 15 * 127; eight of them, and then eight
        // more of the neighbouring column, fit 16 bits.
        let mut low = [[[vdupq_n_s16(0); 2]; Q]; T];
        let mut high = low;
        for part in 0..4 {
            for q in 0..Q {
                let [first, second] = nibbles(quants.add(part * 64 + q * 16));
                for t in 0..T {
                    for plane in 0..2 {
                        let x = planes[t][plane].add(part * 4);
                        let (x, next) = (broadcast(x), broadcast(x.add(16)));
                        let (x, next) = (vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(next));
                        let sum = vmlal_s8(low[t][q][plane], vget_low_s8(first), vget_low_s8(x));
                        low[t][q][plane] = vmlal_s8(sum, vget_low_s8(second), vget_low_s8(next));
                        let sum = vmlal_high_s8(high[t][q][plane], first, x);
                        high[t][q][plane] = vmlal_high_s8(sum, second, next);
                    }
                }
            }
        }
        let mut dots = [[[vdupq_n_s32(0); 2]; Q]; T];
        for t in 0..T {
            for q in 0..Q {
                for plane in 0..2 {
                    let sum = vpaddq_s16(low[t][q][plane], high[t][q][plane]);
                    dots[t][q][plane] = vpaddlq_s16(sum);
                }
            }
        }
        dots
    }
}

/// Dot products of a block's 8-bit quants with plain NEON.
#[inline(always)]
unsafe fn dots8<const T: usize, const Q: usize>(
    quants: *const u8,
    planes: [[*const i8; 2]; T],
) -> Dots<T, Q> {
    // SAFETY: the caller's block has eight times 64 bytes of quants, and 32 of each plane.
    unsafe {
        let mut low = [[[vdupq_n_s32(0); 2]; Q]; T];
        let mut high = low;
        for part in (0..8).step_by(2) {
            for q in 0..Q {
                let quants = quants.add(part * 64 + q * 16);
                let (first, second) = (quants8(quants), quants8(quants.add(64)));
                for t in 0..T {
                    for plane in 0..2 {
                        let x = planes[t][plane].add(part * 4);
                        let (x, next) = (broadcast(x), broadcast(x.add(4)));
                        let (x, next) = (vreinterpretq_s8_s32(x), vreinterpretq_s8_s32(next));
                        // 2 * 127 * 127 fits 16 bits; quants of -128 do not exist.
                        let sum = vmull_s8(vget_low_s8(first), vget_low_s8(x));
                        let sum = vmlal_s8(sum, vget_low_s8(second), vget_low_s8(next));
                        low[t][q][plane] = vpadalq_s16(low[t][q][plane], sum);
                        let sum = vmlal_high_s8(vmull_high_s8(first, x), second, next);
                        high[t][q][plane] = vpadalq_s16(high[t][q][plane], sum);
                    }
                }
            }
        }
        for t in 0..T {
            for q in 0..Q {
                for plane in 0..2 {
                    low[t][q][plane] = vpaddq_s32(low[t][q][plane], high[t][q][plane]);
                }
            }
        }
        low
    }
}

/// Adds to each lane the four products of a row's quants with bytes 4 LANE to 4 LANE + 3 of `x`.
#[inline(always)]
unsafe fn dot<const LANE: i32>(sum: int32x4_t, quants: int8x16_t, x: int8x16_t) -> int32x4_t {
    let mut sum = sum;
    // SAFETY: the caller's caller asked the processor for `sdot`, which only reads and writes these
    // registers. The intrinsic `vdotq_laneq_s32` is not stable yet.
    unsafe {
        core::arch::asm!(
            "sdot {sum:v}.4s, {quants:v}.16b, {x:v}.4b[{lane}]",
            sum = inout(vreg) sum,
            quants = in(vreg) quants,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}

/// Adds the products of columns 4 LANE to 4 LANE + 3 and of those 16 further.
#[inline(always)]
unsafe fn dot_part4<const LANE: i32, const T: usize, const Q: usize>(
    dots: &mut Dots<T, Q>,
    quants: *const u8,
    (first, second): (&[[int8x16_t; 2]; T], &[[int8x16_t; 2]; T]),
) {
    for q in 0..Q {
        // SAFETY: the caller's pointer has sixteen bytes for each quarter; the rest is passed on.
        unsafe {
            let nibbles = nibbles(quants.add(q * 16));
            for t in 0..T {
                for plane in 0..2 {
                    let sum = dot::<LANE>(dots[t][q][plane], nibbles[0], first[t][plane]);
                    dots[t][q][plane] = dot::<LANE>(sum, nibbles[1], second[t][plane]);
                }
            }
        }
    }
}

/// Adds the products of columns 4 LANE to 4 LANE + 3 of half a block.
#[inline(always)]
unsafe fn dot_part8<const LANE: i32, const T: usize, const Q: usize>(
    dots: &mut Dots<T, Q>,
    quants: *const u8,
    x: &[[int8x16_t; 2]; T],
) {
    for q in 0..Q {
        // SAFETY: the caller's pointer has sixteen bytes for each quarter; the rest is passed on.
        unsafe {
            let quants = quants8(quants.add(q * 16));
            for t in 0..T {
                for plane in 0..2 {
                    dots[t][q][plane] = dot::<LANE>(dots[t][q][plane], quants, x[t][plane]);
                }
            }
        }
    }
}

/// Sixteen columns of the planes.
#[inline(always)]
unsafe fn columns<const T: usize>(planes: [[*const i8; 2]; T], at: usize) -> [[int8x16_t; 2]; T] {
    // SAFETY: the caller's planes have 32 columns, and `at` is 0 or 16.
    unsafe {
        let mut columns = [[vdupq_n_s8(0); 2]; T];
        for (columns, [high, low]) in columns.iter_mut().zip(planes) {
            *columns = [vld1q_s8(high.add(at)), vld1q_s8(low.add(at))];
        }
        columns
    }
}

/// Dot products of a block's 4-bit quants with `sdot`.
#[inline(always)]
unsafe fn dots4_by_dot<const T: usize, const Q: usize>(
    quants: *const u8,
    planes: [[*const i8; 2]; T],
) -> Dots<T, Q> {
    // SAFETY: the caller's block has four times 64 bytes of quants, and 32 of each plane.
    unsafe {
        let mut dots = [[[vdupq_n_s32(0); 2]; Q]; T];
        let x = (&columns(planes, 0), &columns(planes, 16));
        dot_part4::<0, T, Q>(&mut dots, quants, x);
        dot_part4::<1, T, Q>(&mut dots, quants.add(64), x);
        dot_part4::<2, T, Q>(&mut dots, quants.add(128), x);
        dot_part4::<3, T, Q>(&mut dots, quants.add(192), x);
        dots
    }
}

/// Dot products of a block's 8-bit quants with `sdot`.
#[inline(always)]
unsafe fn dots8_by_dot<const T: usize, const Q: usize>(
    quants: *const u8,
    planes: [[*const i8; 2]; T],
) -> Dots<T, Q> {
    // SAFETY: the caller's block has eight times 64 bytes of quants, and 32 of each plane.
    unsafe {
        let mut dots = [[[vdupq_n_s32(0); 2]; Q]; T];
        for half in 0..2 {
            let x = columns(planes, half * 16);
            let quants = quants.add(half * 256);
            dot_part8::<0, T, Q>(&mut dots, quants, &x);
            dot_part8::<1, T, Q>(&mut dots, quants.add(64), &x);
            dot_part8::<2, T, Q>(&mut dots, quants.add(128), &x);
            dot_part8::<3, T, Q>(&mut dots, quants.add(192), &x);
        }
        dots
    }
}

/// Unfolds blocks of a group's weights to 16 bits: half of a band's rows, `[blocks * 32 columns][32
/// rows]`, columns in the order of `activations::PAIRS`.
#[target_feature(enable = "neon")]
pub(super) unsafe fn unfold(
    weights: &Group<'_>,
    bits: Bits,
    blocks: usize,
    half: usize,
    out: &mut [i16],
) {
    // SAFETY: the caller's buffer holds a band of `blocks` blocks, and the group has as many.
    unsafe {
        for block in 0..blocks {
            let out = out.as_mut_ptr().add(block * BLOCK * BAND + half * GROUP);
            let scales = vld1q_u8(weights.scales.as_ptr().add(block * GROUP));
            let quants = weights.quants.as_ptr().add(block * bits.quant_size());
            match bits {
                Bits::Four => unfold4(quants, scales, block_offsets(weights, block), out),
                Bits::Eight => unfold8(quants, scales, out),
            }
        }
    }
}

/// A block's offsets, modulo 2^16.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn block_offsets(weights: &Group<'_>, block: usize) -> [uint16x8_t; 2] {
    [0, 32].map(|at| {
        // SAFETY: the pair of blocks lies inside the group.
        let (first, second) = unsafe {
            let pair = weights.offsets.as_ptr().add(block / 2 * 64 + at);
            (vld1q_u8(pair), vld1q_u8(pair.add(16)))
        };
        let (first, second) = (vreinterpretq_u16_u8(first), vreinterpretq_u16_u8(second));
        match block.is_multiple_of(2) {
            true => vuzp1q_u16(first, second),
            false => vuzp2q_u16(first, second),
        }
    })
}

/// Where column `4 * part + e` of a block's first half stands in `activations::PAIRS`; the column
/// 16 further stands 2 further.
const fn place(part: usize, e: usize) -> usize {
    part * 8 + e % 2 * 4 + e / 2
}

/// Writes a column's sixteen weights: quants times scales plus base, modulo 2^16, which they fit.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn put(quants: uint8x16_t, scales: uint8x16_t, base: [uint16x8_t; 2], out: *mut i16) {
    let low = vmlal_u8(base[0], vget_low_u8(quants), vget_low_u8(scales));
    let high = vmlal_high_u8(base[1], quants, scales);
    // SAFETY: the caller's pointer has room for sixteen weights.
    unsafe {
        vst1q_u16(out.cast(), low);
        vst1q_u16(out.add(8).cast(), high);
    }
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn unfold4(quants: *const u8, scales: uint8x16_t, base: [uint16x8_t; 2], out: *mut i16) {
    for part in 0..4 {
        // SAFETY: the block has four times 64 bytes of quants, and `out` 32 rows for each column.
        unsafe {
            let uint8x16x4_t(first, second, third, fourth) = vld4q_u8(quants.add(part * 64));
            for (e, packed) in [first, second, third, fourth].into_iter().enumerate() {
                let out = out.add(place(part, e) * BAND);
                put(vandq_u8(packed, vdupq_n_u8(15)), scales, base, out);
                put(vshrq_n_u8::<4>(packed), scales, base, out.add(2 * BAND));
            }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
unsafe fn unfold8(quants: *const u8, scales: uint8x16_t, out: *mut i16) {
    let low = vshll_n_u8::<7>(vget_low_u8(scales));
    let base = [low, vshll_high_n_u8::<7>(scales)].map(|bias| vsubq_u16(vdupq_n_u16(0), bias));
    for part in 0..8 {
        // SAFETY: the block has eight times 64 bytes of quants, and `out` 32 rows for each column.
        unsafe {
            let uint8x16x4_t(first, second, third, fourth) = vld4q_u8(quants.add(part * 64));
            for (e, quants) in [first, second, third, fourth].into_iter().enumerate() {
                let place = place(part % 4, e) + part / 4 * 2;
                put(quants, scales, base, out.add(place * BAND));
            }
        }
    }
}

/// The largest of 32 rows' sums of squared weights in each unfolded block of a band.
pub(super) fn band_norms(weights: &[i16], norms: &mut [u64]) {
    for (norm, block) in norms.iter_mut().zip(weights.as_chunks::<{ BLOCK * BAND }>().0) {
        let mut totals = [0u64; BAND];
        // Sixteen squares of weights of at most 16,129 fit 32 bits.
        for half in block.as_chunks::<{ BLOCK * BAND / 2 }>().0 {
            let mut sums = [0u32; BAND];
            for column in half.as_chunks::<BAND>().0 {
                for (sum, &weight) in sums.iter_mut().zip(column) {
                    *sum += (i32::from(weight) * i32::from(weight)) as u32;
                }
            }
            totals.iter_mut().zip(sums).for_each(|(total, sum)| *total += u64::from(sum));
        }
        *norm = totals.into_iter().max().unwrap_or(0);
    }
}

/// Adds sixteen numbers, times lane `LANE` of `x`, to sixteen sums.
#[inline]
#[target_feature(enable = "neon")]
fn add<const LANE: i32>(sums: &mut [int32x4_t; 4], numbers: [int16x8_t; 2], x: int16x8_t) {
    sums[0] = vmlal_laneq_s16::<LANE>(sums[0], vget_low_s16(numbers[0]), x);
    sums[1] = vmlal_high_laneq_s16::<LANE>(sums[1], numbers[0], x);
    sums[2] = vmlal_laneq_s16::<LANE>(sums[2], vget_low_s16(numbers[1]), x);
    sums[3] = vmlal_high_laneq_s16::<LANE>(sums[3], numbers[1], x);
}

/// Sixteen numbers.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn sixteen(pointer: *const i16) -> [int16x8_t; 2] {
    // SAFETY: the caller's pointer has sixteen numbers.
    unsafe { [vld1q_s16(pointer), vld1q_s16(pointer.add(8))] }
}

/// Adds 32 rows of unfolded weights by 8 tokens to `sums`, sixteen rows by four tokens at a time.
#[target_feature(enable = "neon")]
pub(super) unsafe fn bulk(unfolded: &[i16], tile: &[u32], chunk: usize, sums: &mut TileSums) {
    let pairs = tile.len() / TILE;
    for from in (0..pairs).step_by(chunk) {
        let to = pairs.min(from + chunk);
        for (half, sums) in sums.iter_mut().enumerate() {
            for (part, sums) in sums.as_chunks_mut::<4>().0.iter_mut().enumerate() {
                let mut total = [[vdupq_n_s32(0); 4]; 4];
                for pair in from..to {
                    // SAFETY: the caller's buffers hold `pairs` pairs of 32 rows and of 8 tokens.
                    let (first, second, x) = unsafe {
                        let rows = unfolded.as_ptr().add(pair * 2 * BAND + half * GROUP);
                        let x = tile.as_ptr().add(pair * TILE + part * 4);
                        (sixteen(rows), sixteen(rows.add(BAND)), vld1q_s16(x.cast()))
                    };
                    add::<0>(&mut total[0], first, x);
                    add::<1>(&mut total[0], second, x);
                    add::<2>(&mut total[1], first, x);
                    add::<3>(&mut total[1], second, x);
                    add::<4>(&mut total[2], first, x);
                    add::<5>(&mut total[2], second, x);
                    add::<6>(&mut total[3], first, x);
                    add::<7>(&mut total[3], second, x);
                }
                for (sums, total) in sums.iter_mut().zip(total) {
                    widen_add_group(sums, total);
                }
            }
        }
    }
}

/// Adds two times sixteen numbers, times lanes `A` and `B` of each row's `x`, to each row's sums.
#[inline]
#[target_feature(enable = "neon")]
fn add_pair<const A: i32, const B: i32, const R: usize>(
    sums: &mut [[int32x4_t; 4]; R],
    (first, second): ([int16x8_t; 2], [int16x8_t; 2]),
    x: &[int16x8_t; R],
) {
    for (sums, &x) in sums.iter_mut().zip(x) {
        add::<A>(sums, first, x);
        add::<B>(sums, second, x);
    }
}

/// Two elements of sixteen positions' keys.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn keys_pair(keys: *const i16) -> ([int16x8_t; 2], [int16x8_t; 2]) {
    // SAFETY: the caller's pointer has sixteen pairs.
    let (upper, lower) = unsafe { (vld2q_s16(keys), vld2q_s16(keys.add(16))) };
    ([upper.0, lower.0], [upper.1, lower.1])
}

/// Scores of `R` query rows against the keys of `pages`; see the AVX-512 kernel.
#[target_feature(enable = "neon")]
pub(super) unsafe fn scores<const R: usize>(
    queries: *const i16,
    head_size: usize,
    (keys, page_stride): (*const i16, usize),
    pages: &[u32],
    (out, out_stride): (*mut i32, usize),
) {
    for (index, &page) in pages.iter().enumerate() {
        let mut sums = [[vdupq_n_s32(0); 4]; R];
        // SAFETY: the caller's pointers hold R query rows, every page named, and R rows of scores;
        // the head's size is a multiple of eight.
        unsafe {
            let page = keys.add(page as usize * page_stride);
            for element in (0..head_size).step_by(8) {
                let x: [int16x8_t; R] =
                    from_fn(|row| vld1q_s16(queries.add(row * head_size + element)));
                let keys = page.add(element * 16);
                add_pair::<0, 1, R>(&mut sums, keys_pair(keys), &x);
                add_pair::<2, 3, R>(&mut sums, keys_pair(keys.add(32)), &x);
                add_pair::<4, 5, R>(&mut sums, keys_pair(keys.add(64)), &x);
                add_pair::<6, 7, R>(&mut sums, keys_pair(keys.add(96)), &x);
            }
            for (row, sums) in sums.into_iter().enumerate() {
                for (part, sums) in sums.into_iter().enumerate() {
                    vst1q_s32(out.add(row * out_stride + index * 16 + part * 4), sums);
                }
            }
        }
    }
}

/// Sixteen elements of two positions' values.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn values_pair(values: *const i8) -> ([int16x8_t; 2], [int16x8_t; 2]) {
    let widen = |values: int8x16_t| [vmovl_s8(vget_low_s8(values)), vmovl_high_s8(values)];
    // SAFETY: the caller's pointer has sixteen pairs.
    let pairs = unsafe { vld2q_s8(values) };
    (widen(pairs.0), widen(pairs.1))
}

/// Sums of the values of `pages` times the weights of `R` rows; see the AVX-512 kernel.
#[target_feature(enable = "neon")]
pub(super) unsafe fn weighted<const R: usize>(
    (weights, weight_stride): (*const i16, usize),
    (values, page_stride): (*const i8, usize),
    head_size: usize,
    pages: &[u32],
    (out, out_stride): (*mut i64, usize),
) {
    let mut sums = [[vdupq_n_s32(0); 4]; R];
    for (index, &page) in pages.iter().enumerate() {
        for half in 0..2 {
            // SAFETY: the caller's pointers hold R rows of weights, and every page named.
            unsafe {
                let at = index * 16 + half * 8;
                let x: [int16x8_t; R] =
                    from_fn(|row| vld1q_s16(weights.add(row * weight_stride + at)));
                let stride = 2 * head_size;
                let values = values.add(page as usize * page_stride + half * 4 * stride);
                add_pair::<0, 1, R>(&mut sums, values_pair(values), &x);
                add_pair::<2, 3, R>(&mut sums, values_pair(values.add(stride)), &x);
                add_pair::<4, 5, R>(&mut sums, values_pair(values.add(2 * stride)), &x);
                add_pair::<6, 7, R>(&mut sums, values_pair(values.add(3 * stride)), &x);
            }
        }
    }
    for (row, sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller's output has 16 sums for each row.
        let out = unsafe { &mut *out.add(row * out_stride).cast::<[i64; GROUP]>() };
        widen_add_group(out, sums);
    }
}
