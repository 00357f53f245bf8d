//! The numbers of the check: modulo 2^61 - 1, of which 2^61 is 1.
//!
//! Invariants:
//! - A sum of products is reduced once, at its end: what is added up before fits its 128 or 64 bits.
//!
//! Not here: what is multiplied by what (`light`).

use alloc::vec::Vec;

use engine::artifact::Kind;
use engine::artifact::matrix::{GROUP, Layout};
use engine::kernels::{Isa, field};
use merkle::Digest;

use super::SUM_MAX;
use crate::digest::tagged;
use crate::step::lane_weights;

/// The field of the check: a Mersenne prime.
pub const PRIME: u64 = (1 << 61) - 1;

const ROW_TAG: &str = "mashaa/audit/freivalds/v1";

/// r: a number below the prime for each row, four from each hash.
pub(super) fn random_rows(beacon: &Digest, (kind, layer): (Kind, usize), count: usize) -> Vec<u64> {
    let mut out = Vec::with_capacity(count + 3);
    for block in 0..count.div_ceil(4) {
        let id = [kind as u32, layer as u32, block as u32].map(u32::to_le_bytes).concat();
        let hash = tagged(ROW_TAG, &[beacon, &id]);
        out.extend(hash.as_chunks::<8>().0.iter().map(|bytes| u64::from_le_bytes(*bytes) % PRIME));
    }
    out.truncate(count);
    out
}

/// v: the rows of a matrix, each times its number, added up.
pub(super) fn combined(layout: &Layout, bytes: &[u8], random: &[u64]) -> Option<Vec<u64>> {
    // A weight is below 2^14 and there are at most 2^20 rows: less than 2^95.
    let mut columns = alloc::vec![0i128; layout.columns];
    for (row, &random) in random.iter().enumerate() {
        let from = layout.group_offset(row / GROUP);
        let group = bytes.get(from..from + layout.group_size())?;
        let weights = lane_weights(layout, group, row % GROUP)?;
        for (column, weight) in columns.iter_mut().zip(weights) {
            *column += i128::from(random as i64) * i128::from(weight);
        }
    }
    Some(columns.into_iter().map(reduce).collect())
}

/// The sum of numbers below the prime times sums of 32 bits, modulo the prime.
pub(super) fn dot_short(numbers: &[u64], sums: &[i32]) -> u64 {
    let isa = Isa::best();
    let mut total = 0i128;
    for (numbers, sums) in numbers.chunks(field::SHORT_MAX).zip(sums.chunks(field::SHORT_MAX)) {
        let [high, middle, low] = field::short(isa, numbers, sums).map(i128::from);
        total += (high << 40) + (middle << 20) + low;
    }
    reduce(total)
}

/// The sum of numbers below the prime times sums, modulo the prime. None where a sum is not below
/// `SUM_MAX` in magnitude.
pub(super) fn dot_sums(numbers: &[u64], sums: &[i64]) -> Option<u64> {
    let isa = Isa::best();
    let mut total = 0i128;
    for (numbers, sums) in numbers.chunks(field::WIDE_MAX).zip(sums.chunks(field::WIDE_MAX)) {
        if field::largest(isa, sums) >= SUM_MAX {
            return None;
        }
        let [hh, hl, lh, ll] = field::wide(isa, numbers, sums).map(i128::from);
        // Less than 2^107 for each product, of which there are at most 2^20.
        total += (hh << 54) + (hl << 31) + (lh << 23) + ll;
    }
    Some(reduce(total))
}

/// The sum of numbers below the prime times a quantised row, modulo the prime.
pub(super) fn dot_row(numbers: &[u64], x: &[i16]) -> u64 {
    let (isa, mut total) = (Isa::best(), 0i128);
    for (numbers, x) in numbers.chunks(field::NARROW_MAX).zip(x.chunks(field::NARROW_MAX)) {
        let [above, below] = field::narrow(isa, numbers, x).map(i128::from);
        total += (above << 31) + below;
    }
    reduce(total)
}

/// Modulo the prime.
fn reduce(value: i128) -> u64 {
    let magnitude = value.unsigned_abs();
    let once = (magnitude & u128::from(PRIME)) + (magnitude >> 61);
    let twice = ((once & u128::from(PRIME)) + (once >> 61)) as u64;
    let rest = twice % PRIME;
    if value < 0 && rest > 0 { PRIME - rest } else { rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_products_are_those_that_are_reduced_each_time() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            state >> 3
        };
        let slow = |numbers: &[u64], values: &[i64]| {
            numbers.iter().zip(values).fold(0u64, |sum, (&number, &value)| {
                let value = i128::from(value).rem_euclid(i128::from(PRIME)) as u128;
                ((u128::from(sum) + u128::from(number) * value) % u128::from(PRIME)) as u64
            })
        };
        let most = [(PRIME - 1, (1i64 << 46) - 1), (PRIME - 1, 1 - (1 << 46)), (0, 5), (7, 0)];
        for length in [1usize, 3, 1_000, 70_000] {
            let mut numbers: Vec<u64> = (0..length).map(|_| next() % PRIME).collect();
            let mut sums: Vec<i64> =
                (0..length).map(|_| (next() as i64 >> 14) - (1 << 46)).collect();
            let mut x: Vec<i16> = (0..length).map(|_| next() as i16).collect();
            assert_eq!(dot_sums(&numbers, &sums), Some(slow(&numbers, &sums)));
            let wide: Vec<i64> = x.iter().map(|&x| i64::from(x)).collect();
            assert_eq!(dot_row(&numbers, &x), slow(&numbers, &wide));
            let mut short: Vec<i32> = sums.iter().map(|&sum| sum as i32).collect();
            let wide: Vec<i64> = short.iter().map(|&sum| i64::from(sum)).collect();
            assert_eq!(dot_short(&numbers, &short), slow(&numbers, &wide));
            for sum in [SUM_MAX as i64, -(SUM_MAX as i64), i64::MIN, i64::MAX] {
                let mut sums = sums.clone();
                sums[length / 2] = sum;
                assert_eq!(dot_sums(&numbers, &sums), None);
            }
            for (number, sum) in most {
                numbers.fill(number);
                sums.fill(sum);
                assert_eq!(dot_sums(&numbers, &sums), Some(slow(&numbers, &sums)));
                for value in [i16::MIN, i16::MAX] {
                    x.fill(value);
                    let wide = alloc::vec![i64::from(value); length];
                    assert_eq!(dot_row(&numbers, &x), slow(&numbers, &wide));
                }
                for value in [i32::MIN, i32::MAX] {
                    short.fill(value);
                    let wide = alloc::vec![i64::from(value); length];
                    assert_eq!(dot_short(&numbers, &short), slow(&numbers, &wide));
                }
            }
        }
    }
}
