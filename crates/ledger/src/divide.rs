//! Dividing an amount in proportion, to the last millionth.
//!
//! The method of the largest remainder (Hamilton 1792): each gets its part rounded down, and what is
//! left over goes, one millionth each, to those whose remainders are largest; among equals, to the
//! one that comes first.
//!
//! Invariants: the parts sum to the amount.
//!
//! Not here: in what order parties stand.

use types::amount::Amount;

/// The largest weight: with an amount under 2^53, no product leaves 128 bits.
pub const WEIGHT_MAX: u128 = 1 << 74;

/// The parts of the amount in proportion to the weights; none if the weights sum to zero, or one is
/// over `WEIGHT_MAX`.
#[must_use]
pub fn divide(amount: Amount, weights: &[u128]) -> Option<Vec<Amount>> {
    let sum = weights.iter().try_fold(0_u128, |sum, weight| sum.checked_add(*weight))?;
    if sum == 0 || weights.iter().any(|weight| *weight > WEIGHT_MAX) {
        return None;
    }
    let mut parts = vec![];
    for (index, weight) in weights.iter().enumerate() {
        let product = u128::from(amount.millionths()).checked_mul(*weight)?;
        let part = u64::try_from(product.checked_div(sum)?).ok()?;
        parts.push((product.checked_rem(sum)?, index, part));
    }
    let given = parts.iter().try_fold(0_u64, |sum, (_, _, part)| sum.checked_add(*part))?;
    let left = usize::try_from(amount.millionths().checked_sub(given)?).ok()?;
    parts.sort_by(|(left, i, _), (right, j, _)| right.cmp(left).then(i.cmp(j)));
    parts.iter_mut().take(left).for_each(|(_, _, part)| *part = part.saturating_add(1));
    parts.sort_by_key(|(_, index, _)| *index);
    parts.into_iter().map(|(_, _, part)| Amount::new(part)).collect()
}

#[cfg(test)]
mod tests;
