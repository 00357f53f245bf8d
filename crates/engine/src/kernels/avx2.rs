//! Kernels for x86-64 with AVX2.
//!
//! Lanes are output rows, or positions in attention scores, eight at a time.
//!
//! Not here: what is computed (`scalar` says it).
#![expect(unsafe_code, reason = "vector loads and stores through pointers")]

use core::arch::x86_64::*;
use core::ops::Range;

use super::activations::{Activations, TILE};
use super::ahead::{self, SIZE4, SIZE8};
use super::matmul::Epilogue;
use crate::artifact::matrix::{BLOCK, Bits, GROUP, Group};

/// Blocks that sums in 32 bits surely hold; the arithmetic is that of the AVX-512 kernels.
const RUN4: usize = 128;
const RUN8: usize = 16;

/// The 4 bytes at `pointer` in every lane.
#[inline(always)]
unsafe fn broadcast<T>(pointer: *const T) -> __m256i {
    // SAFETY: the caller's pointer has 4 readable bytes.
    unsafe { _mm256_set1_epi32(pointer.cast::<i32>().read_unaligned()) }
}

/// Adds eight 32-bit lanes, times 2^shift, to eight 64-bit sums.
#[inline]
#[target_feature(enable = "avx2")]
fn widen_add(sums: &mut [i64], lanes: __m256i, shift: i32) {
    let shift = _mm_cvtsi32_si128(shift);
    let low = _mm256_cvtepi32_epi64(_mm256_castsi256_si128(lanes));
    let high = _mm256_cvtepi32_epi64(_mm256_extracti128_si256::<1>(lanes));
    assert!(sums.len() >= 8, "room for eight sums");
    // SAFETY: the slice has room for two vectors of four.
    unsafe {
        let pointer = sums.as_mut_ptr().cast::<__m256i>();
        let first = _mm256_loadu_si256(pointer);
        let second = _mm256_loadu_si256(pointer.add(1));
        _mm256_storeu_si256(pointer, _mm256_add_epi64(first, _mm256_sll_epi64(low, shift)));
        _mm256_storeu_si256(
            pointer.add(1),
            _mm256_add_epi64(second, _mm256_sll_epi64(high, shift)),
        );
    }
}

#[target_feature(enable = "avx2")]
pub(super) fn epilogue(
    sums: &[i64; GROUP],
    scales: &[u8],
    epilogue: Epilogue,
    out: &mut [i32; GROUP],
) {
    super::scalar::epilogue(sums, scales, epilogue, out);
}

/// `G` groups, one after the other in the matrix, by one token; they are read side by side.
#[target_feature(enable = "avx2")]
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
                Bits::Four => planes4(groups, activations, token, part, sums),
                Bits::Eight => planes8(groups, activations, token, part, sums),
            }
        }
    }
}

/// The eight sub-scales of a half group, in both halves of each lane.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn block_scale(weights: &Group<'_>, block: usize, half: usize) -> __m256i {
    // SAFETY: the block lies inside the group.
    let bytes =
        unsafe { _mm_loadl_epi64(weights.scales.as_ptr().add(block * 16 + half * 8).cast()) };
    let scale = _mm256_cvtepu8_epi32(bytes);
    _mm256_or_si256(scale, _mm256_slli_epi32::<16>(scale))
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn planes4<const G: usize>(
    groups: &[Group<'_>; G],
    activations: &Activations,
    token: usize,
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; G],
) {
    let zero = _mm256_setzero_si256();
    let mask = _mm256_set1_epi8(15);
    let at = token * activations.blocks * BLOCK;
    let ahead = ahead::groups::<G>(&groups[0]);
    // Of each half of each group.
    let (mut high, mut low) = ([[zero; G]; 2], [[zero; G]; 2]);
    // SAFETY: the token is one of the activations'.
    let totals = unsafe { activations.sums.as_ptr().add(at / 16) };
    // SAFETY: blocks from..to lie inside the groups and the activations; prefetches may miss.
    unsafe {
        let planes = (activations.high.as_ptr().add(at), activations.low.as_ptr().add(at));
        for block in from..to {
            for group in groups {
                ahead::ask::<64>(group, ahead, block * SIZE4..(block + 1) * SIZE4);
            }
            for half in 0..2 {
                let (mut h, mut l) = ([zero; G], [zero; G]);
                for i in 0..4 {
                    let at = block * BLOCK + i * 4;
                    let x = [planes.0.add(at), planes.1.add(at)]
                        .map(|plane| (broadcast(plane), broadcast(plane.add(16))));
                    for g in 0..G {
                        let pair = groups[g].quants.as_ptr().add(block * 256 + half * 32 + i * 64);
                        let pair = _mm256_loadu_si256(pair.cast());
                        let first = _mm256_and_si256(pair, mask);
                        let second = _mm256_and_si256(_mm256_srli_epi16::<4>(pair), mask);
                        // A product of a nibble and a plane is below 15 * 127; eight fit 16 bits.
                        let [high, low] = x.map(|x| {
                            _mm256_add_epi16(
                                _mm256_maddubs_epi16(first, x.0),
                                _mm256_maddubs_epi16(second, x.1),
                            )
                        });
                        h[g] = _mm256_add_epi16(h[g], high);
                        l[g] = _mm256_add_epi16(l[g], low);
                    }
                }
                for g in 0..G {
                    let scale = block_scale(&groups[g], block, half);
                    let product = _mm256_madd_epi16(h[g], scale);
                    high[half][g] = _mm256_add_epi32(high[half][g], product);
                    let product = _mm256_madd_epi16(l[g], scale);
                    low[half][g] = _mm256_add_epi32(low[half][g], product);
                }
            }
        }
    }
    for half in 0..2 {
        for g in 0..G {
            // SAFETY: as above; runs begin and end at even blocks.
            let offset = unsafe { offsets4(&groups[g], half, totals, from / 2..to / 2) };
            let sums = &mut sums[g][half * 8..];
            widen_add(sums, high[half][g], 7);
            widen_add(sums, low[half][g], 0);
            widen_add(sums, offset.0, 10);
            widen_add(sums, offset.1, 0);
        }
    }
}

/// Products of a half group's offsets with the sums of the planes, for pairs of blocks.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn offsets4(
    weights: &Group<'_>,
    half: usize,
    totals: *const i16,
    pairs: Range<usize>,
) -> (__m256i, __m256i) {
    let (mut high, mut low) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for pair in pairs {
        // SAFETY: the caller's group and totals have these pairs.
        unsafe {
            let offset = weights.offsets.as_ptr().add(pair * 64 + half * 32);
            let offset = _mm256_loadu_si256(offset.cast());
            let total = totals.add(pair * 4);
            high = _mm256_add_epi32(high, _mm256_madd_epi16(offset, broadcast(total)));
            low = _mm256_add_epi32(low, _mm256_madd_epi16(offset, broadcast(total.add(2))));
        }
    }
    (high, low)
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn planes8<const G: usize>(
    groups: &[Group<'_>; G],
    activations: &Activations,
    token: usize,
    (from, to): (usize, usize),
    sums: &mut [[i64; GROUP]; G],
) {
    let zero = _mm256_setzero_si256();
    let bias = _mm256_set1_epi8(-128);
    let at = token * activations.blocks * BLOCK;
    let ahead = ahead::groups::<G>(&groups[0]);
    // Of each half of each group.
    let (mut high, mut low) = ([[zero; G]; 2], [[zero; G]; 2]);
    // SAFETY: blocks from..to lie inside the groups and the activations; prefetches may miss.
    unsafe {
        let planes = (activations.high.as_ptr().add(at), activations.low.as_ptr().add(at));
        for block in from..to {
            for group in groups {
                ahead::ask::<64>(group, ahead, block * SIZE8..(block + 1) * SIZE8);
            }
            for half in 0..2 {
                let scales = groups.map(|group| block_scale(&group, block, half));
                let (mut h, mut l) = (high[half], low[half]);
                for i in 0..8 {
                    let at = block * BLOCK + i * 4;
                    let x = [planes.0.add(at), planes.1.add(at)].map(|plane| broadcast(plane));
                    for g in 0..G {
                        let quant = groups[g].quants.as_ptr().add(block * 512 + half * 32 + i * 64);
                        let quant = _mm256_xor_si256(_mm256_loadu_si256(quant.cast()), bias);
                        let magnitude = _mm256_abs_epi8(quant);
                        // 2 * 127 * 127 fits 16 bits; quants of -128 do not exist.
                        let [high, low] = x.map(|x| {
                            let signed = _mm256_sign_epi8(x, quant);
                            _mm256_madd_epi16(_mm256_maddubs_epi16(magnitude, signed), scales[g])
                        });
                        h[g] = _mm256_add_epi32(h[g], high);
                        l[g] = _mm256_add_epi32(l[g], low);
                    }
                }
                (high[half], low[half]) = (h, l);
            }
        }
    }
    for half in 0..2 {
        for g in 0..G {
            let sums = &mut sums[g][half * 8..];
            widen_add(sums, high[half][g], 7);
            widen_add(sums, low[half][g], 0);
        }
    }
}

/// Unfolds blocks of a group's weights to 16 bits, in the layout of the AVX-512 kernel.
#[target_feature(enable = "avx2")]
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
            for quarter in 0..2 {
                let out = out.as_mut_ptr().add(block * 16 * 64 + half * 32 + quarter * 16);
                let scale = block_scale(weights, block, quarter);
                let packed = weights.quants.as_ptr().add(block * bits.quant_size() + quarter * 32);
                match bits {
                    Bits::Four => {
                        let offset = block_offset(weights, block, quarter);
                        unfold4(packed, scale, offset, out);
                    }
                    Bits::Eight => unfold8(packed, scale, out),
                }
            }
        }
    }
}

/// A block's offset in both halves of each row's lane.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn block_offset(weights: &Group<'_>, block: usize, half: usize) -> __m256i {
    // SAFETY: the pair of blocks lies inside the group.
    let pair = unsafe {
        _mm256_loadu_si256(weights.offsets.as_ptr().add(block / 2 * 64 + half * 32).cast())
    };
    if block.is_multiple_of(2) {
        let low = _mm256_and_si256(pair, _mm256_set1_epi32(0xffff));
        _mm256_or_si256(low, _mm256_slli_epi32::<16>(pair))
    } else {
        let high = _mm256_andnot_si256(_mm256_set1_epi32(0xffff), pair);
        _mm256_or_si256(high, _mm256_srli_epi32::<16>(pair))
    }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn unfold4(packed: *const u8, scale: __m256i, offset: __m256i, out: *mut i16) {
    let mask = _mm256_set1_epi16(15);
    for i in 0..4 {
        // SAFETY: the block has four half vectors of quants, and `out` sixteen of pairs.
        unsafe {
            let quants = _mm256_loadu_si256(packed.add(i * 64).cast());
            let nibbles = [
                _mm256_and_si256(quants, mask),
                _mm256_and_si256(_mm256_srli_epi16::<4>(quants), mask),
                _mm256_and_si256(_mm256_srli_epi16::<8>(quants), mask),
                _mm256_srli_epi16::<12>(quants),
            ];
            for (j, nibble) in nibbles.into_iter().enumerate() {
                let weight = _mm256_add_epi16(_mm256_mullo_epi16(nibble, scale), offset);
                _mm256_storeu_si256(out.add((i * 4 + j) * 64).cast(), weight);
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
unsafe fn unfold8(packed: *const u8, scale: __m256i, out: *mut i16) {
    let bias = _mm256_set1_epi8(-128);
    for i in 0..8 {
        // SAFETY: the block has eight half vectors of quants, and `out` sixteen of pairs.
        unsafe {
            let quants = _mm256_xor_si256(_mm256_loadu_si256(packed.add(i * 64).cast()), bias);
            let even = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(quants));
            let odd = _mm256_srai_epi16::<8>(quants);
            let at = i % 4 * 4 + i / 4;
            _mm256_storeu_si256(out.add(at * 64).cast(), _mm256_mullo_epi16(even, scale));
            _mm256_storeu_si256(out.add((at + 2) * 64).cast(), _mm256_mullo_epi16(odd, scale));
        }
    }
}

/// Adds 32 rows of unfolded weights by 8 tokens to `sums`, sixteen rows by four tokens at a time.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn bulk(
    unfolded: &[i16],
    tile: &[u32],
    chunk: usize,
    sums: &mut [[[i64; GROUP]; TILE]; 2],
) {
    let pairs = tile.len() / TILE;
    for (half, sums) in sums.iter_mut().enumerate() {
        for (part, sums) in sums.chunks_exact_mut(4).enumerate() {
            let zero = [_mm256_setzero_si256(); 4];
            let (mut first, mut second) = (zero, zero);
            let (mut first_carries, mut second_carries) = (zero, zero);
            for from in (0..pairs).step_by(chunk) {
                let to = pairs.min(from + chunk);
                for pair in from..to {
                    // SAFETY: the caller's buffers hold `pairs` pairs of 32 rows and of 8 tokens.
                    unsafe {
                        let rows = unfolded.as_ptr().add(pair * 64 + half * 32);
                        let upper = _mm256_loadu_si256(rows.cast());
                        let lower = _mm256_loadu_si256(rows.add(16).cast());
                        let x = tile.as_ptr().add(pair * TILE + part * 4);
                        for t in 0..4 {
                            let x = broadcast(x.add(t));
                            first[t] = _mm256_add_epi32(first[t], _mm256_madd_epi16(upper, x));
                            second[t] = _mm256_add_epi32(second[t], _mm256_madd_epi16(lower, x));
                        }
                    }
                }
                if to < pairs {
                    carry(&mut first, &mut first_carries);
                    carry(&mut second, &mut second_carries);
                }
            }
            for (t, sums) in sums.iter_mut().enumerate() {
                let (upper, lower) = sums.split_at_mut(8);
                widen_add(upper, first[t], 0);
                widen_add(lower, second[t], 0);
                if pairs > chunk {
                    widen_add(upper, first_carries[t], 16);
                    widen_add(lower, second_carries[t], 16);
                }
            }
        }
    }
}

/// Takes the bits from 16 up out of sums in 32 bits, so that as much again fits.
#[inline]
#[target_feature(enable = "avx2")]
fn carry(low: &mut [__m256i; 4], carries: &mut [__m256i; 4]) {
    let mask = _mm256_set1_epi32(0xffff);
    for (low, carry) in low.iter_mut().zip(carries) {
        *carry = _mm256_add_epi32(*carry, _mm256_srai_epi32::<16>(*low));
        *low = _mm256_and_si256(*low, mask);
    }
}

/// Scores of `R` query rows against the keys of `pages`; see the AVX-512 kernel.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn scores<const R: usize>(
    queries: *const i16,
    head_size: usize,
    (keys, page_stride): (*const i16, usize),
    pages: &[u32],
    (out, out_stride): (*mut i32, usize),
) {
    for (index, &page) in pages.iter().enumerate() {
        let zero = _mm256_setzero_si256();
        let (mut first, mut second) = ([zero; R], [zero; R]);
        // SAFETY: the caller's pointers hold R query rows, every page named, and R rows of scores.
        unsafe {
            let page = keys.add(page as usize * page_stride);
            for pair in 0..head_size / 2 {
                let upper = _mm256_loadu_si256(page.add(pair * 32).cast());
                let lower = _mm256_loadu_si256(page.add(pair * 32 + 16).cast());
                for row in 0..R {
                    let query = broadcast(queries.add(row * head_size + pair * 2));
                    first[row] = _mm256_add_epi32(first[row], _mm256_madd_epi16(upper, query));
                    second[row] = _mm256_add_epi32(second[row], _mm256_madd_epi16(lower, query));
                }
            }
            for row in 0..R {
                let out = out.add(row * out_stride + index * 16);
                _mm256_storeu_si256(out.cast(), first[row]);
                _mm256_storeu_si256(out.add(8).cast(), second[row]);
            }
        }
    }
}

/// Sums of the values of `pages` times the weights of `R` rows; see the AVX-512 kernel.
#[target_feature(enable = "avx2")]
pub(super) unsafe fn weighted<const R: usize>(
    (weights, weight_stride): (*const i16, usize),
    (values, page_stride): (*const i8, usize),
    head_size: usize,
    pages: &[u32],
    (out, out_stride): (*mut i64, usize),
) {
    let zero = _mm256_setzero_si256();
    let (mut first, mut second) = ([zero; R], [zero; R]);
    for (index, &page) in pages.iter().enumerate() {
        // SAFETY: the caller's pointers hold R rows of weights, and every page named.
        unsafe {
            let page = values.add(page as usize * page_stride);
            let weights = weights.add(index * 16);
            for pair in 0..8 {
                let values = page.add(pair * head_size * 2);
                let upper = _mm256_cvtepi8_epi16(_mm_loadu_si128(values.cast()));
                let lower = _mm256_cvtepi8_epi16(_mm_loadu_si128(values.add(16).cast()));
                for row in 0..R {
                    let weight = broadcast(weights.add(row * weight_stride + pair * 2));
                    first[row] = _mm256_add_epi32(first[row], _mm256_madd_epi16(upper, weight));
                    second[row] = _mm256_add_epi32(second[row], _mm256_madd_epi16(lower, weight));
                }
            }
        }
    }
    for row in 0..R {
        // SAFETY: the caller's output has 16 sums for each row.
        let out = unsafe { &mut *out.add(row * out_stride).cast::<[i64; 16]>() };
        let (upper, lower) = out.split_at_mut(8);
        widen_add(upper, first[row], 0);
        widen_add(lower, second[row], 0);
    }
}
