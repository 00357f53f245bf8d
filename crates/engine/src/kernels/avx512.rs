//! Kernels for x86-64 with AVX-512 and VNNI.
//!
//! Lanes are output rows, or positions in attention scores, so no sum crosses lanes.
//!
//! Not here: what is computed (`scalar` says it).
#![expect(unsafe_code, reason = "vector loads and stores through pointers")]

use core::arch::x86_64::*;
use core::sync::atomic::{AtomicU8, Ordering};

use super::activations::{Activations, TILE};
use super::ahead::{self, SIZE4, SIZE8};
use super::matmul::{Epilogue, TileSums};
use crate::artifact::matrix::{BLOCK, Bits, GROUP, Group};

/// Blocks that sums in 32 bits surely hold: 128 * 32 * 15 * 127 * 255 < 2^31 for 4 bits, and
/// 32 * 32 * 127 * 16,129 < 2^31 for 8.
const RUN4: usize = 128;
const RUN8: usize = 32;

/// The 4 bytes at `pointer` in every lane.
#[inline(always)]
unsafe fn broadcast<T>(pointer: *const T) -> __m512i {
    // SAFETY: the caller's pointer has 4 readable bytes.
    unsafe { _mm512_set1_epi32(pointer.cast::<i32>().read_unaligned()) }
}

/// Adds sixteen 32-bit lanes, shifted left, to sixteen 64-bit sums.
#[inline]
#[target_feature(enable = "avx512f")]
fn widen_add(sums: &mut [i64; GROUP], lanes: __m512i, shift: u32) {
    let shift = _mm_cvtsi64_si128(i64::from(shift));
    let low = _mm512_cvtepi32_epi64(_mm512_castsi512_si256(lanes));
    let high = _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64::<1>(lanes));
    // SAFETY: the array has room for two vectors of eight.
    unsafe {
        let pointer = sums.as_mut_ptr().cast::<__m512i>();
        let first = _mm512_loadu_si512(pointer);
        let second = _mm512_loadu_si512(pointer.add(1));
        _mm512_storeu_si512(pointer, _mm512_add_epi64(first, _mm512_sll_epi64(low, shift)));
        _mm512_storeu_si512(
            pointer.add(1),
            _mm512_add_epi64(second, _mm512_sll_epi64(high, shift)),
        );
    }
}

/// Sixteen rows' sums to fixed point. `scales` holds their row scales, little endian.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) fn epilogue(
    sums: &[i64; GROUP],
    scales: &[u8],
    epilogue: Epilogue,
    out: &mut [i32; GROUP],
) {
    let scales = row_scales(scales);
    // SAFETY: `out` has sixteen elements.
    unsafe { epilogue_row(sums, scales, epilogue, out.as_mut_ptr()) };
}

/// The same for the two groups of a band and the eight rows of a tile; `out` is the first row's
/// first element, and the distance from row to row.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn epilogue_tile(
    sums: &TileSums,
    scales: [&[u8]; 2],
    epilogues: &[Epilogue; TILE],
    (out, stride): (*mut i32, usize),
) {
    for (half, (sums, scales)) in sums.iter().zip(scales).enumerate() {
        let scales = row_scales(scales);
        for (row, (sums, &epilogue)) in sums.iter().zip(epilogues).enumerate() {
            // SAFETY: the caller's output has eight rows of 32 elements, `stride` apart.
            unsafe { epilogue_row(sums, scales, epilogue, out.add(row * stride + half * GROUP)) };
        }
    }
}

/// Sixteen row scales as 64-bit lanes.
#[inline]
#[target_feature(enable = "avx512f")]
fn row_scales(scales: &[u8]) -> [__m512i; 2] {
    assert!(scales.len() >= GROUP * 4, "a group has sixteen row scales");
    [0, 32].map(|at| {
        // SAFETY: just checked to have 64 bytes.
        let half = unsafe { _mm256_loadu_si256(scales.as_ptr().add(at).cast()) };
        _mm512_cvtepi32_epi64(half)
    })
}

/// `Epilogue::apply` of sixteen sums; `out` has room for as many.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn epilogue_row(
    sums: &[i64; GROUP],
    scales: [__m512i; 2],
    epilogue: Epilogue,
    out: *mut i32,
) {
    let half = |shift: u32| _mm512_set1_epi64((1i64 << shift) >> 1);
    let count = |shift: u32| _mm_cvtsi64_si128(i64::from(shift));
    let mantissa = _mm512_set1_epi64(i64::from(epilogue.mantissa));
    for (part, scales) in scales.into_iter().enumerate() {
        // SAFETY: sums and out have sixteen elements each.
        unsafe {
            let sums = _mm512_loadu_si512(sums.as_ptr().add(part * 8).cast());
            let sums = _mm512_add_epi64(sums, half(epilogue.product_shift));
            let narrow = _mm512_sra_epi64(sums, count(epilogue.product_shift));
            let scaled = _mm512_add_epi64(_mm512_mul_epi32(narrow, scales), half(31));
            let scaled = _mm512_mul_epi32(_mm512_srai_epi64::<31>(scaled), mantissa);
            let product = _mm512_add_epi64(scaled, half(epilogue.shift));
            let product = _mm512_sra_epi64(product, count(epilogue.shift));
            _mm256_storeu_si256(out.add(part * 8).cast(), _mm512_cvtsepi64_epi32(product));
        }
    }
}

/// One group by `T` tokens from the packed weights and the two planes of the activations.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn planes<const T: usize>(
    weights: &Group<'_>,
    bits: Bits,
    activations: &Activations,
    token: usize,
    sums: &mut [[i64; GROUP]; T],
) {
    let blocks = activations.blocks;
    let run = if bits == Bits::Four { RUN4 } else { RUN8 };
    for from in (0..blocks).step_by(run) {
        let to = blocks.min(from + run);
        // SAFETY: the caller's group and activations have `blocks` blocks and `T` tokens.
        unsafe {
            match bits {
                Bits::Four => planes4(weights, activations, token, (from, to), sums),
                Bits::Eight => planes8(weights, activations, token, (from, to), sums),
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
unsafe fn planes4<const T: usize>(
    weights: &Group<'_>,
    activations: &Activations,
    token: usize,
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; T],
) {
    let zero = _mm512_setzero_si512();
    let mask = _mm512_set1_epi8(15);
    let stride = activations.blocks * BLOCK;
    let (mut high, mut low) = ([zero; T], [zero; T]);
    let (mut offset_high, mut offset_low) = ([zero; T], [zero; T]);
    // SAFETY: blocks from..to lie inside the group and the activations; prefetches may miss.
    unsafe {
        let quants = weights.quants.as_ptr();
        let scales = weights.scales.as_ptr();
        let offsets = weights.offsets.as_ptr();
        let planes = (
            activations.high.as_ptr().add(token * stride),
            activations.low.as_ptr().add(token * stride),
        );
        let totals = activations.sums.as_ptr().add(token * stride / 16);
        for block in from..to {
            let packed = quants.add(block * 256);
            ahead::ask_lines::<5>(quants.wrapping_add(block * SIZE4));
            let mut unpacked = [zero; 8];
            for i in 0..4 {
                let pair = _mm512_loadu_si512(packed.add(i * 64).cast());
                unpacked[i] = _mm512_and_si512(pair, mask);
                unpacked[i + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(pair), mask);
            }
            let scale = _mm512_cvtepu8_epi32(_mm_loadu_si128(scales.add(block * 16).cast()));
            for t in 0..T {
                let at = t * stride + block * BLOCK;
                let (mut h, mut l) = (zero, zero);
                for (i, &quants) in unpacked.iter().enumerate() {
                    h = _mm512_dpbusd_epi32(h, quants, broadcast(planes.0.add(at + i * 4)));
                    l = _mm512_dpbusd_epi32(l, quants, broadcast(planes.1.add(at + i * 4)));
                }
                high[t] = _mm512_add_epi32(high[t], _mm512_mullo_epi32(h, scale));
                low[t] = _mm512_add_epi32(low[t], _mm512_mullo_epi32(l, scale));
            }
            if block % 2 == 1 {
                let offset = _mm512_loadu_si512(offsets.add(block / 2 * 64).cast());
                for t in 0..T {
                    let total = totals.add(t * stride / 16 + block / 2 * 4);
                    offset_high[t] = _mm512_dpwssd_epi32(offset_high[t], offset, broadcast(total));
                    offset_low[t] =
                        _mm512_dpwssd_epi32(offset_low[t], offset, broadcast(total.add(2)));
                }
            }
        }
    }
    for t in 0..T {
        widen_add(&mut sums[t], high[t], 7);
        widen_add(&mut sums[t], low[t], 0);
        widen_add(&mut sums[t], offset_high[t], 10);
        widen_add(&mut sums[t], offset_low[t], 0);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
unsafe fn planes8<const T: usize>(
    weights: &Group<'_>,
    activations: &Activations,
    token: usize,
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; T],
) {
    let zero = _mm512_setzero_si512();
    let stride = activations.blocks * BLOCK;
    let (mut high, mut low) = ([zero; T], [zero; T]);
    // SAFETY: blocks from..to lie inside the group and the activations; prefetches may miss.
    unsafe {
        let quants = weights.quants.as_ptr();
        let scales = weights.scales.as_ptr();
        let planes = (
            activations.high.as_ptr().add(token * stride),
            activations.low.as_ptr().add(token * stride),
        );
        let corrections = activations.corrections.as_ptr().add(token * stride / 16);
        for block in from..to {
            let packed = quants.add(block * 512);
            ahead::ask_lines::<9>(quants.wrapping_add(block * SIZE8));
            let mut unpacked = [zero; 8];
            for (i, quants) in unpacked.iter_mut().enumerate() {
                *quants = _mm512_loadu_si512(packed.add(i * 64).cast());
            }
            let scale = _mm512_cvtepu8_epi32(_mm_loadu_si128(scales.add(block * 16).cast()));
            for t in 0..T {
                let at = t * stride + block * BLOCK;
                // The stored quants are 128 too large; the corrections take that out.
                let correction = corrections.add(t * stride / 16 + block * 2);
                let (mut h, mut l) = (broadcast(correction), broadcast(correction.add(1)));
                for (i, &quants) in unpacked.iter().enumerate() {
                    h = _mm512_dpbusd_epi32(h, quants, broadcast(planes.0.add(at + i * 4)));
                    l = _mm512_dpbusd_epi32(l, quants, broadcast(planes.1.add(at + i * 4)));
                }
                high[t] = _mm512_add_epi32(high[t], _mm512_mullo_epi32(h, scale));
                low[t] = _mm512_add_epi32(low[t], _mm512_mullo_epi32(l, scale));
            }
        }
    }
    for t in 0..T {
        widen_add(&mut sums[t], high[t], 7);
        widen_add(&mut sums[t], low[t], 0);
    }
}

/// `G` groups, one after the other in the matrix, by one token; they are read side by side.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn side_by_side<const G: usize>(
    groups: &[Group<'_>; G],
    bits: Bits,
    activations: &Activations,
    token: usize,
    sums: &mut [[i64; GROUP]; G],
) {
    let blocks = activations.blocks;
    let run = if bits == Bits::Four { RUN4 } else { RUN8 };
    for from in (0..blocks).step_by(run) {
        let part = (from, blocks.min(from + run));
        // SAFETY: the caller's groups and activations have `blocks` blocks, and the token is one.
        unsafe {
            match bits {
                Bits::Four => side_by_side4(groups, activations, token, part, sums),
                Bits::Eight => side_by_side8(groups, activations, token, part, sums),
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
unsafe fn side_by_side4<const G: usize>(
    groups: &[Group<'_>; G],
    activations: &Activations,
    token: usize,
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; G],
) {
    let zero = [_mm512_setzero_si512(); G];
    let mask = _mm512_set1_epi8(15);
    let at = token * activations.blocks * BLOCK;
    let ahead = ahead::groups::<G>(&groups[0]);
    let (mut high, mut low, mut offset_high, mut offset_low) = (zero, zero, zero, zero);
    // SAFETY: blocks from..to lie inside the groups and the activations; prefetches may miss.
    unsafe {
        let planes = (activations.high.as_ptr().add(at), activations.low.as_ptr().add(at));
        let totals = activations.sums.as_ptr().add(at / 16);
        for block in from..to {
            for group in groups {
                ahead::ask::<64>(group, ahead, block * SIZE4..(block + 1) * SIZE4);
            }
            let (mut h, mut l) = (zero, zero);
            for i in 0..4 {
                let at = block * BLOCK + i * 4;
                let x = [planes.0.add(at), planes.1.add(at)]
                    .map(|plane| (broadcast(plane), broadcast(plane.add(16))));
                for g in 0..G {
                    let pair = groups[g].quants.as_ptr().add(block * 256 + i * 64);
                    let pair = _mm512_loadu_si512(pair.cast());
                    let first = _mm512_and_si512(pair, mask);
                    let second = _mm512_and_si512(_mm512_srli_epi16::<4>(pair), mask);
                    h[g] = _mm512_dpbusd_epi32(h[g], first, x[0].0);
                    l[g] = _mm512_dpbusd_epi32(l[g], first, x[1].0);
                    h[g] = _mm512_dpbusd_epi32(h[g], second, x[0].1);
                    l[g] = _mm512_dpbusd_epi32(l[g], second, x[1].1);
                }
            }
            for g in 0..G {
                let scale = block_scale(&groups[g], block);
                high[g] = _mm512_add_epi32(high[g], _mm512_mullo_epi32(h[g], scale));
                low[g] = _mm512_add_epi32(low[g], _mm512_mullo_epi32(l[g], scale));
                if block % 2 == 1 {
                    let offset = groups[g].offsets.as_ptr().add(block / 2 * 64);
                    let offset = _mm512_loadu_si512(offset.cast());
                    let total = totals.add(block / 2 * 4);
                    offset_high[g] = _mm512_dpwssd_epi32(offset_high[g], offset, broadcast(total));
                    offset_low[g] =
                        _mm512_dpwssd_epi32(offset_low[g], offset, broadcast(total.add(2)));
                }
            }
        }
    }
    for (g, sums) in sums.iter_mut().enumerate() {
        widen_add(sums, high[g], 7);
        widen_add(sums, low[g], 0);
        widen_add(sums, offset_high[g], 10);
        widen_add(sums, offset_low[g], 0);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
unsafe fn side_by_side8<const G: usize>(
    groups: &[Group<'_>; G],
    activations: &Activations,
    token: usize,
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; G],
) {
    let zero = [_mm512_setzero_si512(); G];
    let at = token * activations.blocks * BLOCK;
    let ahead = ahead::groups::<G>(&groups[0]);
    let (mut high, mut low) = (zero, zero);
    // SAFETY: blocks from..to lie inside the groups and the activations; prefetches may miss.
    unsafe {
        let planes = (activations.high.as_ptr().add(at), activations.low.as_ptr().add(at));
        let corrections = activations.corrections.as_ptr().add(at / 16);
        for block in from..to {
            for group in groups {
                ahead::ask::<256>(group, ahead, block * SIZE8..(block + 1) * SIZE8);
            }
            // The stored quants are 128 too large; the corrections take that out.
            let correction = corrections.add(block * 2);
            let (mut h, mut l) = ([broadcast(correction); G], [broadcast(correction.add(1)); G]);
            for i in 0..8 {
                let at = block * BLOCK + i * 4;
                let x = (broadcast(planes.0.add(at)), broadcast(planes.1.add(at)));
                for g in 0..G {
                    let quants = groups[g].quants.as_ptr().add(block * 512 + i * 64);
                    let quants = _mm512_loadu_si512(quants.cast());
                    h[g] = _mm512_dpbusd_epi32(h[g], quants, x.0);
                    l[g] = _mm512_dpbusd_epi32(l[g], quants, x.1);
                }
            }
            for g in 0..G {
                let scale = block_scale(&groups[g], block);
                high[g] = _mm512_add_epi32(high[g], _mm512_mullo_epi32(h[g], scale));
                low[g] = _mm512_add_epi32(low[g], _mm512_mullo_epi32(l[g], scale));
            }
        }
    }
    for (g, sums) in sums.iter_mut().enumerate() {
        widen_add(sums, high[g], 7);
        widen_add(sums, low[g], 0);
    }
}

/// A block's sub-scales, one a lane.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block_scale(group: &Group<'_>, block: usize) -> __m512i {
    // SAFETY: the caller's block lies inside the group.
    unsafe {
        _mm512_cvtepu8_epi32(_mm_loadu_si128(group.scales.as_ptr().add(block * GROUP).cast()))
    }
}

/// Unfolds blocks of a group's weights to 16 bits: `[blocks * 16 pairs][2 halves][16 rows][2]`, this
/// group being half `half`, pairs in the order of `PAIRS`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn unfold(
    weights: &Group<'_>,
    bits: Bits,
    blocks: usize,
    half: usize,
    (out, sums): (&mut [i16], &mut [i32]),
) {
    // SAFETY: the caller's buffers hold a band of `blocks` blocks, and the group has as many.
    unsafe {
        let sums = sums.as_mut_ptr().add(half * 16);
        let out = out.as_mut_ptr().add(half * 32);
        for block in 0..blocks {
            let scale = block_scale(weights, block);
            let scale = _mm512_or_si512(scale, _mm512_slli_epi32::<16>(scale));
            let out = out.add(block * 16 * 64);
            let packed = weights.quants.as_ptr().add(block * bits.quant_size());
            let products = match bits {
                Bits::Four => {
                    let offset = block_offset(weights.offsets.as_ptr(), block);
                    unfold4(packed, scale, offset, out)
                }
                Bits::Eight => unfold8(packed, scale, out),
            };
            _mm512_storeu_si512(sums.add(block * 32).cast(), products);
        }
    }
}

/// A block's offset in both halves of each row's lane.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block_offset(offsets: *const u8, block: usize) -> __m512i {
    // SAFETY: the pair of blocks lies inside the group.
    let pair = unsafe { _mm512_loadu_si512(offsets.add(block / 2 * 64).cast()) };
    if block.is_multiple_of(2) {
        let low = _mm512_and_si512(pair, _mm512_set1_epi32(0xffff));
        _mm512_or_si512(low, _mm512_slli_epi32::<16>(pair))
    } else {
        let high = _mm512_andnot_si512(_mm512_set1_epi32(0xffff), pair);
        _mm512_or_si512(high, _mm512_srli_epi32::<16>(pair))
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn unfold4(packed: *const u8, scale: __m512i, offset: __m512i, out: *mut i16) -> __m512i {
    let mut products = _mm512_setzero_si512();
    let mask = _mm512_set1_epi16(15);
    for i in 0..4 {
        // SAFETY: the block has four vectors of quants, and `out` sixteen of pairs.
        unsafe {
            let quants = _mm512_loadu_si512(packed.add(i * 64).cast());
            let nibbles = [
                _mm512_and_si512(quants, mask),
                _mm512_and_si512(_mm512_srli_epi16::<4>(quants), mask),
                _mm512_and_si512(_mm512_srli_epi16::<8>(quants), mask),
                _mm512_srli_epi16::<12>(quants),
            ];
            let weights =
                nibbles.map(|nibble| _mm512_add_epi16(_mm512_mullo_epi16(nibble, scale), offset));
            for (j, weights) in weights.into_iter().enumerate() {
                _mm512_storeu_si512(out.add((i * 4 + j) * 64).cast(), weights);
            }
            products = _mm512_dpwssd_epi32(products, weights[0], weights[1]);
            products = _mm512_dpwssd_epi32(products, weights[2], weights[3]);
        }
    }
    products
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn unfold8(packed: *const u8, scale: __m512i, out: *mut i16) -> __m512i {
    let mut products = _mm512_setzero_si512();
    let bias = _mm512_set1_epi8(-128);
    for i in 0..4 {
        // SAFETY: the block has eight vectors of quants, and `out` sixteen of pairs.
        unsafe {
            let low = _mm512_xor_si512(_mm512_loadu_si512(packed.add(i * 64).cast()), bias);
            let high = _mm512_loadu_si512(packed.add((i + 4) * 64).cast());
            let high = _mm512_xor_si512(high, bias);
            let even = [_mm512_slli_epi16::<8>(low), _mm512_slli_epi16::<8>(high)];
            for (j, [low, high]) in [even, [low, high]].into_iter().enumerate() {
                let low = _mm512_mullo_epi16(_mm512_srai_epi16::<8>(low), scale);
                let high = _mm512_mullo_epi16(_mm512_srai_epi16::<8>(high), scale);
                let out = out.add((i * 4 + j * 2) * 64);
                _mm512_storeu_si512(out.cast(), low);
                _mm512_storeu_si512(out.add(64).cast(), high);
                products = _mm512_dpwssd_epi32(products, low, high);
            }
        }
    }
    products
}

/// Adds 32 rows of unfolded weights by 8 tokens to `sums`; sums in 32 bits are carried on after each
/// `chunk` pairs of columns.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn bulk(unfolded: &[i16], tile: &[u32], chunk: usize, sums: &mut TileSums) {
    let pairs = tile.len() / TILE;
    let zero = [_mm512_setzero_si512(); TILE];
    let (mut first, mut second, mut carries) = (zero, zero, [zero; 2]);
    for from in (0..pairs).step_by(chunk) {
        let to = pairs.min(from + chunk);
        for pair in from..to {
            // SAFETY: the caller's buffers hold `pairs` pairs of 32 rows and of 8 tokens.
            unsafe {
                let rows = unfolded.as_ptr().add(pair * 64);
                let (upper, lower) =
                    (_mm512_loadu_si512(rows.cast()), _mm512_loadu_si512(rows.add(32).cast()));
                let x = tile.as_ptr().add(pair * TILE);
                for t in 0..TILE {
                    let x = broadcast(x.add(t));
                    first[t] = _mm512_dpwssd_epi32(first[t], upper, x);
                    second[t] = _mm512_dpwssd_epi32(second[t], lower, x);
                }
            }
        }
        if to < pairs {
            carry(&mut first, &mut carries[0]);
            carry(&mut second, &mut carries[1]);
        }
    }
    add_tile(sums, [&first, &second], 0);
    if pairs > chunk {
        add_tile(sums, carries.each_ref(), 16);
    }
}

/// Takes the bits from 16 up out of sums in 32 bits, so that as much again fits.
#[inline]
#[target_feature(enable = "avx512f")]
fn carry(low: &mut [__m512i; TILE], carries: &mut [__m512i; TILE]) {
    for (low, carry) in low.iter_mut().zip(carries) {
        *carry = _mm512_add_epi32(*carry, _mm512_srai_epi32::<16>(*low));
        *low = _mm512_and_si512(*low, _mm512_set1_epi32(0xffff));
    }
}

/// Adds sums in 32 bits, shifted left.
#[inline]
#[target_feature(enable = "avx512f")]
fn add_tile(sums: &mut TileSums, lanes: [&[__m512i; TILE]; 2], shift: u32) {
    for (sums, lanes) in sums.iter_mut().zip(lanes) {
        sums.iter_mut().zip(lanes).for_each(|(sums, &lanes)| widen_add(sums, lanes, shift));
    }
}

/// Whether this machine adds 16-bit lanes beside its products rather than instead of them, so that
/// `bulk_halved` pays: AMD's cores have two pipes that multiply and four that add; Intel's server
/// cores do both on the same two.
pub(super) fn adds_beside_products() -> bool {
    static KNOWN: AtomicU8 = AtomicU8::new(0);
    if KNOWN.load(Ordering::Relaxed) == 0 {
        let vendor = __cpuid(0);
        let is_amd =
            [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat() == *b"AuthenticAMD";
        KNOWN.store(1 + u8::from(is_amd), Ordering::Relaxed);
    }
    KNOWN.load(Ordering::Relaxed) == 2
}

/// `bulk` with half the products (Winograd 1968, "A new algorithm for inner
/// product"): for neighbouring pairs of columns with weights u, v and activations x, y,
/// (u + y)(v + x) = ux + vy + uv + xy, and the sums of uv and of xy are known. All is modulo 2^32,
/// which the sum of ux + vy fits. |u + y| <= 16,129 + 16,256 fits 16 bits.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn bulk_halved(
    (weights, products): (&[i16], &[i32]),
    (tile, tile_products): (&[u32], &[i32]),
    chunk: usize,
    sums: &mut TileSums,
) {
    if tile.len() / TILE <= chunk {
        // SAFETY: passed on from the caller.
        unsafe { halved::<true>((weights, products), (tile, tile_products), chunk, sums) };
    } else {
        // SAFETY: passed on from the caller.
        unsafe { halved::<false>((weights, products), (tile, tile_products), chunk, sums) };
    }
}

/// `bulk_halved`, `ONCE` where there is one chunk.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
unsafe fn halved<const ONCE: bool>(
    (weights, products): (&[i16], &[i32]),
    (tile, tile_products): (&[u32], &[i32]),
    chunk: usize,
    sums: &mut TileSums,
) {
    let pairs = tile.len() / TILE;
    let zero = [_mm512_setzero_si512(); TILE];
    let (mut first, mut second, mut carries) = (zero, zero, [zero; 2]);
    let mut from = 0;
    loop {
        let to = if ONCE { pairs } else { pairs.min(from + chunk) };
        let mut known = [0i32; TILE];
        let (mut upper, mut lower) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for block in from / 16..to / 16 {
            let more = &tile_products[block * TILE..][..TILE];
            known.iter_mut().zip(more).for_each(|(sum, &more)| *sum = sum.wrapping_sub(more));
            // SAFETY: the caller's products are those of `pairs / 16` blocks of 32 rows.
            unsafe {
                let products = products.as_ptr().add(block * 32);
                upper = _mm512_add_epi32(upper, _mm512_loadu_si512(products.cast()));
                lower = _mm512_add_epi32(lower, _mm512_loadu_si512(products.add(16).cast()));
            }
        }
        for t in 0..TILE {
            let known = _mm512_set1_epi32(known[t]);
            first[t] = _mm512_add_epi32(first[t], _mm512_sub_epi32(known, upper));
            second[t] = _mm512_add_epi32(second[t], _mm512_sub_epi32(known, lower));
        }
        // SAFETY: the caller's buffers hold `pairs` pairs, an even number, of 32 rows and of 8 tokens.
        unsafe {
            for pair in (from..to).step_by(2) {
                let rows = weights.as_ptr().add(pair * 64);
                let [u0, l0, u1, l1] =
                    [0, 32, 64, 96].map(|at| _mm512_loadu_si512(rows.add(at).cast()));
                let x = tile.as_ptr().add(pair * TILE);
                for t in 0..TILE {
                    let (x0, x1) = (broadcast(x.add(t)), broadcast(x.add(TILE + t)));
                    let (a, b) = (_mm512_add_epi16(u0, x1), _mm512_add_epi16(u1, x0));
                    first[t] = _mm512_dpwssd_epi32(first[t], a, b);
                    let (a, b) = (_mm512_add_epi16(l0, x1), _mm512_add_epi16(l1, x0));
                    second[t] = _mm512_dpwssd_epi32(second[t], a, b);
                }
            }
        }
        from = to;
        if ONCE || from == pairs {
            break;
        }
        carry(&mut first, &mut carries[0]);
        carry(&mut second, &mut carries[1]);
    }
    add_tile(sums, [&first, &second], 0);
    if !ONCE {
        add_tile(sums, carries.each_ref(), 16);
    }
}

/// Scores of `R` query rows, `[R][head_size]`, against the keys of `pages`, sixteen positions a page.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn scores<const R: usize>(
    queries: *const i16,
    head_size: usize,
    (keys, page_stride): (*const i16, usize),
    pages: &[u32],
    (out, out_stride): (*mut i32, usize),
) {
    for (index, &page) in pages.iter().enumerate() {
        let mut sums = [_mm512_setzero_si512(); R];
        // SAFETY: the caller's pointers hold R query rows, every page named, and R rows of scores.
        unsafe {
            let page = keys.add(page as usize * page_stride);
            for pair in 0..head_size / 2 {
                let keys = _mm512_loadu_si512(page.add(pair * 32).cast());
                for (row, sum) in sums.iter_mut().enumerate() {
                    let query = broadcast(queries.add(row * head_size + pair * 2));
                    *sum = _mm512_dpwssd_epi32(*sum, keys, query);
                }
            }
            for (row, sum) in sums.into_iter().enumerate() {
                _mm512_storeu_si512(out.add(row * out_stride + index * 16).cast(), sum);
            }
        }
    }
}

/// Sums of the values of `pages` times the weights of `R` rows, for 16 elements of the head. At most
/// 32 pages, so that 32 bits hold the sums.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2")]
pub(super) unsafe fn weighted<const R: usize>(
    (weights, weight_stride): (*const i16, usize),
    (values, page_stride): (*const i8, usize),
    head_size: usize,
    pages: &[u32],
    (out, out_stride): (*mut i64, usize),
) {
    let mut sums = [_mm512_setzero_si512(); R];
    for (index, &page) in pages.iter().enumerate() {
        // SAFETY: the caller's pointers hold R rows of weights, and every page named.
        unsafe {
            let page = values.add(page as usize * page_stride);
            let weights = weights.add(index * 16);
            for pair in 0..8 {
                let values = _mm256_loadu_si256(page.add(pair * head_size * 2).cast());
                let values = _mm512_cvtepi8_epi16(values);
                for (row, sum) in sums.iter_mut().enumerate() {
                    let weight = broadcast(weights.add(row * weight_stride + pair * 2));
                    *sum = _mm512_dpwssd_epi32(*sum, values, weight);
                }
            }
        }
    }
    for (row, sum) in sums.into_iter().enumerate() {
        // SAFETY: the caller's output has 16 sums for each row.
        let out = unsafe { &mut *out.add(row * out_stride).cast::<[i64; 16]>() };
        widen_add(out, sum, 0);
    }
}
