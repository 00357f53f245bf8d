//! Raises columns that are much smaller than the others, without changing what the model computes.
//!
//! The 32 columns of a block share a sub-scale, so a column a hundred times smaller than its
//! neighbours would keep one bit. Models have such columns where the norm's weight (or the row of
//! `up`) before them is as much larger. The column is multiplied by a power of two, and what feeds
//! it divided by the same. Specified in `docs/spec/artifact.md`, section 7.
//!
//! Invariants:
//! - Only powers of two are used, so every product of the source's numbers is exact: the same
//!   function, and the same bytes on every machine and for any number of threads.
//! - A column is never raised above the median column, so nothing grows beyond the source's numbers.
//!
//! Not here: writing the integers (`assemble`).

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::assemble::{Parts, Source, check_matrix, vector_numbers};
use super::tensor::Encoding;
use super::{ImportError, dequantise};
use crate::artifact::config::Config;
use crate::artifact::{Kind, SectionId};
use crate::kernels::rows::{Rows, for_each};
use crate::kernels::{Pool, per_thread};
use crate::model::shape;

/// The least power of two that is worth a change: columns at least 8 times below the median.
const EXPONENT_MIN: u32 = 3;
/// The largest power of two: what a column 1,024 times below the median needs.
const EXPONENT_MAX: u32 = 10;
/// A norm's weight is not divided to less than its vector's median by more than this. A small column
/// whose weight is small too carries nothing, and is no outlier: it stays. So the vector's common
/// exponent leaves a divided weight at most 3 bits less than the median weight.
const BELOW_MEDIAN_MAX: f64 = 8.0;
/// Rows whose columns one item of a job looks at.
const ITEM_ROWS: usize = 64;

/// What feeds columns, and the matrices that read it. `Up` comes first: its rows are divided before
/// the columns of the matrices beside it are compared.
const LINKS: [(Kind, &[Kind]); 4] = [
    (Kind::Up, &[Kind::Down]),
    (Kind::AttentionNorm, &[Kind::Query, Kind::Key, Kind::Value]),
    (Kind::MlpNorm, &[Kind::Gate, Kind::Up]),
    (Kind::OutputNorm, &[Kind::Head]),
];

/// The powers of two of a model.
#[derive(Debug, Default)]
pub struct Powers {
    /// By what feeds the columns: one power for each, 1 where nothing changes.
    by_feeder: BTreeMap<SectionId, Vec<f32>>,
}

impl Powers {
    /// Compares the columns of a model's matrices.
    ///
    /// # Errors
    /// When a tensor has not its shape, or holds a number that is not finite.
    pub fn of(parts: &Parts<'_>, config: &Config, pool: &mut Pool) -> Result<Powers, ImportError> {
        let sources: BTreeMap<SectionId, Source<'_>> = parts.tensors.iter().copied().collect();
        let mut powers = Powers::default();
        // An encoder norms sums that go on to the next block, and puts GELU between `up` and `down`:
        // nothing there can be divided without changing the function.
        if config.family.is_encoder() {
            return Ok(powers);
        }
        for (feeder, readers) in LINKS {
            for (&id, source) in sources.iter().filter(|(id, _)| id.kind == feeder) {
                let reader = |&kind: &Kind| {
                    let id = SectionId { kind, layer: id.layer };
                    sources.get(&id).map(|source| (id, *source))
                };
                // A norm before an embedding that serves as the head has no reader of its own: the
                // embedding's columns are the model's input too.
                let readers: Option<Vec<_>> = readers.iter().map(reader).collect();
                let Some(readers) = readers.filter(|readers| readers.iter().all(is_fine)) else {
                    continue;
                };
                let largest = powers.largest(&readers, config, pool)?;
                let mut chosen = choose(&largest);
                if feeder != Kind::Up {
                    limit(&mut chosen, &vector_numbers(source, config.width)?);
                }
                if chosen.iter().any(|&power| power != 1.0) {
                    powers.by_feeder.insert(id, chosen);
                }
            }
        }
        Ok(powers)
    }

    /// What the elements of a norm, or the rows of `up`, are divided by; empty for nothing.
    #[must_use]
    pub fn of_feeder(&self, id: SectionId) -> &[f32] {
        self.by_feeder.get(&id).map_or(&[], Vec::as_slice)
    }

    /// What a matrix's columns are multiplied by; empty for nothing.
    #[must_use]
    pub fn of_columns(&self, id: SectionId) -> &[f32] {
        let link = LINKS.iter().find(|(_, readers)| readers.contains(&id.kind));
        link.map_or(&[], |&(kind, _)| self.of_feeder(SectionId { kind, layer: id.layer }))
    }

    /// Columns that are raised, each once however many matrices read it.
    #[must_use]
    pub fn count(&self) -> usize {
        self.by_feeder.values().flatten().filter(|&&power| power != 1.0).count()
    }

    /// Each column's largest magnitude over all its readers.
    fn largest(
        &self,
        readers: &[(SectionId, Source<'_>)],
        config: &Config,
        pool: &mut Pool,
    ) -> Result<Vec<f32>, ImportError> {
        let mut largest = Vec::new();
        for (id, source) in readers {
            let expected = shape(config, id.kind).expect("every reader is a matrix");
            check_matrix(&source.tensor, expected)?;
            largest.resize(expected.1, 0.0);
            add_columns(source, self.of_feeder(*id), &mut largest, pool)?;
        }
        Ok(largest)
    }
}

/// Whether a matrix's numbers are stored one by one. Where they are stored in blocks, columns share
/// a step in the source already: a small column has nothing left to be kept, and the artifact
/// follows the source's own grid, which raising a column would leave.
fn is_fine((_, source): &(SectionId, Source<'_>)) -> bool {
    matches!(source.tensor.encoding, Encoding::F32 | Encoding::F16 | Encoding::Bf16)
}

/// Raises `largest` to the magnitudes of a matrix whose rows are divided by `powers`.
fn add_columns(
    source: &Source<'_>,
    powers: &[f32],
    largest: &mut [f32],
    pool: &mut Pool,
) -> Result<(), ImportError> {
    #[derive(Default)]
    struct Scratch {
        values: Vec<f32>,
        largest: Vec<f32>,
        error: Option<ImportError>,
    }
    let tensor = &source.tensor;
    let mut scratch = per_thread(pool, Scratch::default);
    let none: Rows<'_, u8> = Rows::new(&mut [], 0);
    for_each(pool, tensor.rows.div_ceil(ITEM_ROWS), none, &mut scratch, |item, _, scratch| {
        scratch.values.resize(tensor.columns, 0.0);
        scratch.largest.resize(tensor.columns, 0.0);
        let first = item * ITEM_ROWS;
        for row in first..tensor.rows.min(first + ITEM_ROWS) {
            if let Err(error) = dequantise::row(tensor, row, &mut scratch.values) {
                scratch.error.get_or_insert(error);
                return;
            }
            // A power of two, so its inverse is exact and so are the products.
            let inverse = 1.0 / powers.get(row).copied().unwrap_or(1.0);
            raise(&mut scratch.largest, scratch.values.iter().map(|value| value.abs() * inverse));
        }
    });
    if let Some(error) = scratch.iter_mut().find_map(|scratch| scratch.error.take()) {
        return Err(error);
    }
    for scratch in scratch {
        raise(largest, scratch.largest.into_iter());
    }
    Ok(())
}

fn raise(largest: &mut [f32], values: impl Iterator<Item = f32>) {
    for (largest, value) in largest.iter_mut().zip(values) {
        *largest = if value > *largest { value } else { *largest };
    }
}

/// For each column the largest power of two that does not raise it above the median, and 1 where
/// that is less than the least worth a change. A column of zeros stays.
fn choose(largest: &[f32]) -> Vec<f32> {
    let median = median(largest.iter().copied().map(f64::from));
    let exponent = |&most: &f32| {
        let fits = |exponent: &u32| f64::from(most * power(*exponent)) <= median;
        (EXPONENT_MIN..=EXPONENT_MAX).take_while(fits).last().filter(|_| most > 0.0)
    };
    largest.iter().map(|most| exponent(most).map_or(1.0, power)).collect()
}

/// Lowers powers to what the norm's weights justify.
fn limit(powers: &mut [f32], weights: &[f64]) {
    let least = median(weights.iter().map(|weight| weight.abs())) / BELOW_MEDIAN_MAX;
    for (power, weight) in powers.iter_mut().zip(weights) {
        let weight = weight.abs();
        while *power > 1.0 && (weight == 0.0 || weight / f64::from(*power) < least) {
            *power /= 2.0;
        }
        if *power < self::power(EXPONENT_MIN) {
            *power = 1.0;
        }
    }
}

/// The number in the middle, of two the lower one; 0 where there is none.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut ordered: Vec<f64> = numbers.collect();
    ordered.sort_unstable_by(f64::total_cmp);
    ordered.get(ordered.len().saturating_sub(1) / 2).copied().unwrap_or(0.0)
}

fn power(exponent: u32) -> f32 {
    (1u32 << exponent) as f32
}

#[cfg(test)]
mod tests;
