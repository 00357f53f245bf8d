//! Sums of products with numbers of 61 bits, as the light audit takes modulo 2^61 - 1.
//!
//! Such a product has over 64 bits, and machines multiply 32 by 32 of them side by side: each factor is
//! taken in two parts, and what their products add up to is put together by whoever asked.
//!
//! Invariants:
//! - Within the lengths and ranges named, no sum overflows.
//!
//! Not here: the prime (`audit::light`).
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls the body compiled for the instruction set that was detected"
    )
)]

use super::per_isa;

/// Wide products in one sum, at most: each part of one is below 2^54 in magnitude.
pub const WIDE_MAX: usize = 512;
/// Short products in one sum, at most: each part of one is below 2^52 in magnitude.
pub const SHORT_MAX: usize = 1 << 10;
/// Narrow products in one sum, at most: each part of one is below 2^46 in magnitude.
pub const NARROW_MAX: usize = 1 << 16;

const LOW_31: u64 = (1 << 31) - 1;
const LOW_20: u64 = (1 << 20) - 1;
const LOW_23: i64 = (1 << 23) - 1;

per_isa! {
    /// The largest magnitude.
    pub fn largest = largest_body(values: &[i64]) -> u64
}

#[inline(always)]
fn largest_body(values: &[i64]) -> u64 {
    let mut largest = 0;
    for &value in values {
        let magnitude = value.unsigned_abs();
        largest = if magnitude > largest { magnitude } else { largest };
    }
    largest
}

per_isa! {
    /// The sums of products of numbers below 2^61 and values below 2^46 in magnitude, in four parts:
    /// times 2^54, 2^31, 2^23 and 1.
    pub fn wide = wide_body(numbers: &[u64], values: &[i64]) -> [i64; 4]
}

#[inline(always)]
fn wide_body(numbers: &[u64], values: &[i64]) -> [i64; 4] {
    let (mut hh, mut hl, mut lh, mut ll) = (0i64, 0i64, 0i64, 0i64);
    for (&number, &value) in numbers.iter().zip(values) {
        let (high, low) = ((number >> 31) as i32, (number & LOW_31) as i32);
        let (above, below) = ((value >> 23) as i32, (value & LOW_23) as i32);
        hh += i64::from(high) * i64::from(above);
        hl += i64::from(high) * i64::from(below);
        lh += i64::from(low) * i64::from(above);
        ll += i64::from(low) * i64::from(below);
    }
    [hh, hl, lh, ll]
}

per_isa! {
    /// The sums of products of numbers below 2^61 and values of 32 bits, in three parts: times 2^40, 2^20
    /// and 1.
    pub fn short = short_body(numbers: &[u64], values: &[i32]) -> [i64; 3]
}

#[inline(always)]
fn short_body(numbers: &[u64], values: &[i32]) -> [i64; 3] {
    let (mut high, mut middle, mut low) = (0i64, 0i64, 0i64);
    for (&number, &value) in numbers.iter().zip(values) {
        let value = i64::from(value);
        high += i64::from((number >> 40) as i32) * value;
        middle += i64::from((number >> 20 & LOW_20) as i32) * value;
        low += i64::from((number & LOW_20) as i32) * value;
    }
    [high, middle, low]
}

per_isa! {
    /// The sums of products of numbers below 2^61 and values of 16 bits, in two parts: times 2^31 and 1.
    pub fn narrow = narrow_body(numbers: &[u64], values: &[i16]) -> [i64; 2]
}

#[inline(always)]
fn narrow_body(numbers: &[u64], values: &[i16]) -> [i64; 2] {
    let (mut above, mut below) = (0i64, 0i64);
    for (&number, &value) in numbers.iter().zip(values) {
        let value = i32::from(value);
        above += i64::from((number >> 31) as i32) * i64::from(value);
        below += i64::from((number & LOW_31) as i32) * i64::from(value);
    }
    [above, below]
}

#[cfg(test)]
mod tests;
