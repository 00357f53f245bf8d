//! Kernels for WebAssembly with 128-bit SIMD.
//!
//! Only the plain proposal: relaxed instructions may differ between tiers of one engine.
//!
//! Not here: what is computed (`scalar` says it).
#![expect(unsafe_code, reason = "vector loads through pointers")]

use core::arch::wasm32::*;

use crate::artifact::matrix::{BLOCK, Bits, GROUP, Group};

/// Sums of weight times x for the sixteen rows of a group; `quants` is unpacked by `scalar::unpack`.
pub(super) fn products(
    weights: &Group<'_>,
    bits: Bits,
    quants: &[i16],
    x: &[i16],
    sums: &mut [i64; GROUP],
) {
    let blocks = x.len() / BLOCK;
    for block in 0..blocks {
        let x = &x[block * BLOCK..][..BLOCK];
        let total = sum_of(i16x8_splat(1), x.as_ptr());
        for (lane, sum) in sums.iter_mut().enumerate() {
            let row = &quants[lane * blocks * BLOCK + block * BLOCK..][..BLOCK];
            let dot = dot(row.as_ptr(), x.as_ptr());
            *sum += i64::from(weights.scales[block * GROUP + lane]) * i64::from(dot);
            if bits == Bits::Four {
                let offset = super::scalar::offset(weights, block, lane);
                *sum += i64::from(offset) * i64::from(total);
            }
        }
    }
}

/// The product of two rows of 32; below 2^27 for quants and activations.
fn dot(a: *const i16, b: *const i16) -> i32 {
    let mut sum = i32x4_splat(0);
    for part in 0..BLOCK / 8 {
        // SAFETY: both rows have 32 elements.
        let (a, b) =
            unsafe { (v128_load(a.add(part * 8).cast()), v128_load(b.add(part * 8).cast())) };
        sum = i32x4_add(sum, i32x4_dot_i16x8(a, b));
    }
    horizontal(sum)
}

/// The sum of 32 elements times the lanes of `factor`.
fn sum_of(factor: v128, x: *const i16) -> i32 {
    let mut sum = i32x4_splat(0);
    for part in 0..BLOCK / 8 {
        // SAFETY: the row has 32 elements.
        let x = unsafe { v128_load(x.add(part * 8).cast()) };
        sum = i32x4_add(sum, i32x4_dot_i16x8(x, factor));
    }
    horizontal(sum)
}

fn horizontal(sum: v128) -> i32 {
    i32x4_extract_lane::<0>(sum)
        + i32x4_extract_lane::<1>(sum)
        + i32x4_extract_lane::<2>(sum)
        + i32x4_extract_lane::<3>(sum)
}
