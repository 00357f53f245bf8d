//! The exact sums of a product, as an opening has them.
//!
//! Nearly all fit 32 bits, and an auditor reads half the memory where all of a product do.
//!
//! Invariants:
//! - Sums that fit 32 bits are held so: equal sums are equal values.
//!
//! Not here: their bytes in files (`bytes`).

use alloc::vec::Vec;

/// The sums of one product, a row of the matrix each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sums(pub(super) Held);

/// Sums of the least width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// All fit 32 bits.
    Short(Vec<i32>),
    /// Some do not.
    Wide(Vec<i64>),
}

impl Sums {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        match &self.0 {
            Held::Short(sums) => sums.len(),
            Held::Wide(sums) => sums.len(),
        }
    }

    /// All of them.
    #[must_use]
    pub fn to_vec(&self) -> Vec<i64> {
        match &self.0 {
            Held::Short(sums) => sums.iter().map(|&sum| i64::from(sum)).collect(),
            Held::Wide(sums) => sums.clone(),
        }
    }
}

impl From<Vec<i64>> for Sums {
    fn from(sums: Vec<i64>) -> Sums {
        let short: Option<Vec<i32>> = sums.iter().map(|&sum| sum.try_into().ok()).collect();
        Sums(short.map_or(Held::Wide(sums), Held::Short))
    }
}
