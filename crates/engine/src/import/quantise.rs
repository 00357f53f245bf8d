//! Chooses the integers of one row: quants, sub-scales and offsets.
//!
//! A row's scale S is set by its largest block; each block of 32 then takes, of a few candidates, the
//! integers with the least squared error. Where the source has a grid of its own the candidates start
//! from it, so that little is lost twice.
//!
//! Invariants:
//! - Results are within the limits of `artifact::matrix`, whatever the finite input.
//! - All arithmetic is IEEE f32 and f64 in the order written: the same integers on every machine.
//!
//! Not here: the format's layout (`artifact::pack`).
#![cfg_attr(
    target_arch = "x86_64",
    expect(
        unsafe_code,
        reason = "calls the body compiled for the instruction set that was detected"
    )
)]

use crate::artifact::matrix::{BLOCK, OFFSET_MAX, WEIGHT4_MAX, WEIGHT8_MAX};
use crate::artifact::pack::BandRow;
use crate::kernels::per_isa;

/// The scale of a row without weights: small enough to vanish beside any other.
const SCALE_MIN: f64 = 1.0e-30;
/// Adding and subtracting 1.5 * 2^23 rounds an f32 below 2^22 in magnitude to an integer, ties to even.
const ROUND: f32 = 12_582_912.0;

type Block = [f32; BLOCK];

#[inline(always)]
fn each(block: &Block, function: impl Fn(f32) -> f32) -> Block {
    let mut out = [0f32; BLOCK];
    for (out, &value) in out.iter_mut().zip(block) {
        *out = function(value);
    }
    out
}

#[inline(always)]
fn round(value: f32) -> f32 {
    (value + ROUND) - ROUND
}

/// A block's grid in the source: its values are `base + step * whole number`. `step` is 0 where the
/// source has no such grid.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Grid {
    /// Distance of two neighbours.
    pub step: f32,
    /// One point of the grid: the lowest of a 4-bit grid.
    pub base: f32,
}

per_isa! {
    /// Quantises a row to 4 bits; returns its scale. `values` is a whole number of blocks; `grids` has
    /// one entry a block, or none.
    pub fn row4 = row4_body(values: &[f32], grids: &[Grid], row: &mut BandRow<'_>) -> f64
}

#[inline(always)]
fn row4_body(values: &[f32], grids: &[Grid], row: &mut BandRow<'_>) -> f64 {
    let blocks = values.as_chunks::<BLOCK>().0;
    let grid = |index: usize, block: &Block| {
        let known = grids.get(index).copied().unwrap_or_default();
        let (min, max) = range(block);
        // A grid of more than sixteen points that are used is no help.
        let is_own = known.step > 0.0 && (max - known.base) < 15.5 * known.step;
        let other = Grid { step: (max - min) / 15.0, base: min };
        (if is_own { known } else { other }, is_own)
    };
    let mut spread = 0f32;
    for (index, block) in blocks.iter().enumerate() {
        // The weights themselves must stay within 4,095, sixteen times the largest sub-scale.
        spread = spread.max(grid(index, block).0.step).max(magnitude(block) / 16.0);
    }
    let scale = f64::from(spread) / 255.0;
    let scale = if scale > SCALE_MIN { scale } else { SCALE_MIN };
    let inverse = (1.0 / scale) as f32;
    for (index, block) in blocks.iter().enumerate() {
        let (grid, is_own) = grid(index, block);
        let scaled = each(block, |value| value * inverse);
        let grid = Grid { step: grid.step * inverse, base: grid.base * inverse };
        let best = best4(&scaled, grid, is_own);
        row.scales[index] = best.scale as u8;
        row.offsets[index] = best.offset as i16;
        let quants = &mut row.quants[index * BLOCK..][..BLOCK];
        quants.iter_mut().zip(&best.quants).for_each(|(out, &quant)| *out = quant as u8);
    }
    scale
}

#[derive(Clone, Copy)]
struct Choice4 {
    error: f32,
    scale: f32,
    offset: f32,
    quants: Block,
}

#[inline(always)]
fn range(block: &Block) -> (f32, f32) {
    let mut least = [f32::MAX; 8];
    let mut most = [f32::MIN; 8];
    for part in block.as_chunks::<8>().0 {
        for ((least, most), &value) in least.iter_mut().zip(&mut most).zip(part) {
            *least = if value < *least { value } else { *least };
            *most = if value > *most { value } else { *most };
        }
    }
    let (mut min, mut max) = (least[0], most[0]);
    for (&least, &most) in least.iter().zip(&most) {
        min = if least < min { least } else { min };
        max = if most > max { most } else { max };
    }
    (min, max)
}

/// The best integers for a block in units of the row's scale: with the sub-scale nearest to the grid's
/// step and, where the grid is not the source's own, its neighbours.
#[inline(always)]
fn best4(block: &Block, grid: Grid, is_own: bool) -> Choice4 {
    let centre = round(grid.step);
    let mut best = choice4(block, centre.clamp(1.0, 255.0), grid.base);
    let others: &[f32] = if is_own { &[] } else { &[-1.0, 1.0] };
    for delta in others {
        let scale = centre + delta;
        if (1.0..=255.0).contains(&scale) {
            let other = choice4(block, scale, grid.base);
            if other.error < best.error {
                best = other;
            }
        }
    }
    best
}

/// Quants and offset for one sub-scale: two rounds of least squares from `offset`.
#[inline(always)]
fn choice4(block: &Block, scale: f32, offset: f32) -> Choice4 {
    let inverse = 1.0 / scale;
    let mut offset = limit_offset(round(offset), scale);
    let mut quants = assign4(block, inverse, offset);
    let mean: f32 = sum(block) * (1.0 / 32.0);
    for _ in 0..2 {
        offset = limit_offset(round(mean - scale * sum(&quants) * (1.0 / 32.0)), scale);
        quants = assign4(block, inverse, offset);
    }
    let mut error = [0f32; BLOCK];
    for ((error, &quant), &value) in error.iter_mut().zip(&quants).zip(block) {
        let distance = scale * quant + offset - value;
        *error = distance * distance;
    }
    Choice4 { error: sum(&error), scale, offset, quants }
}

/// Keeps the offset and the weights of all sixteen quants within the format's limits.
#[inline(always)]
fn limit_offset(offset: f32, scale: f32) -> f32 {
    let weight = WEIGHT4_MAX as f32;
    let offset = offset.clamp(-weight, weight - 15.0 * scale);
    offset.clamp(-(OFFSET_MAX as f32), OFFSET_MAX as f32)
}

#[inline(always)]
fn assign4(block: &Block, inverse: f32, offset: f32) -> Block {
    each(block, |value| round((value - offset) * inverse).clamp(0.0, 15.0))
}

/// A sum of 32 in a fixed order: eight lanes, then a tree.
#[inline(always)]
fn sum(block: &Block) -> f32 {
    let mut lanes = [0f32; 8];
    for part in block.as_chunks::<8>().0 {
        for (lane, &value) in lanes.iter_mut().zip(part) {
            *lane += value;
        }
    }
    ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6]))
        + ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]))
}

per_isa! {
    /// Quantises a row to 8 bits; returns its scale. `values` is a whole number of blocks; `grids` has
    /// one entry a block, through zero, or none.
    pub fn row8 = row8_body(values: &[f32], grids: &[Grid], row: &mut BandRow<'_>) -> f64
}

#[inline(always)]
fn row8_body(values: &[f32], grids: &[Grid], row: &mut BandRow<'_>) -> f64 {
    let blocks = values.as_chunks::<BLOCK>().0;
    let mut largest = 0f32;
    for block in blocks {
        largest = largest.max(magnitude(block));
    }
    let scale = f64::from(largest) / f64::from(WEIGHT8_MAX);
    let scale = if scale > SCALE_MIN { scale } else { SCALE_MIN };
    let scale = scale * f64::from(grid_factor(blocks, grids, (1.0 / scale) as f32));
    let inverse = (1.0 / scale) as f32;
    for (index, block) in blocks.iter().enumerate() {
        let scaled = each(block, |value| value * inverse);
        let step = grids.get(index).map_or(0.0, |grid| grid.step) * inverse;
        let best = best8(&scaled, step);
        row.scales[index] = best.scale as u8;
        let quants = &mut row.quants[index * BLOCK..][..BLOCK];
        let stored = best.quants.iter().map(|&quant| (quant + 128.0) as u8);
        quants.iter_mut().zip(stored).for_each(|(out, quant)| *out = quant);
    }
    scale
}

/// How many factors of a row's scale are tried, and by how much each is larger than the one before.
const FACTORS: usize = 32;
const FACTOR_STEP: f32 = 1.0 / 96.0;

/// The factor, 1 to 1.32, by which a row's smallest possible scale is enlarged so that the steps of
/// the source's grids come nearest to whole multiples of it.
#[inline(always)]
fn grid_factor(blocks: &[Block], grids: &[Grid], inverse: f32) -> f32 {
    let mut factors = [1f32; FACTORS];
    for (index, factor) in factors.iter_mut().enumerate() {
        *factor += index as f32 * FACTOR_STEP;
    }
    let mut errors = [0f32; FACTORS];
    for (block, grid) in blocks.iter().zip(grids).filter(|(_, grid)| grid.step > 0.0) {
        let most = magnitude(block) * inverse;
        let step = grid.step * inverse / multiple(grid.step * inverse, most);
        // The block's largest quant: an error of the step counts as often.
        let quant = most / step;
        for (error, factor) in errors.iter_mut().zip(&factors) {
            let distance = (round(step / factor) * factor - step) * quant;
            *error += distance * distance;
        }
    }
    let mut best = 0;
    for (index, error) in errors.iter().enumerate() {
        best = if *error < errors[best] { index } else { best };
    }
    factors[best]
}

/// The largest whole multiple of a grid's quants that 8 bits hold.
#[inline(always)]
fn multiple(step: f32, magnitude: f32) -> f32 {
    let most = (127.0 * step / magnitude.max(step)).clamp(1.0, 16.0);
    round(most - 0.5).max(1.0)
}

#[inline(always)]
fn magnitude(block: &Block) -> f32 {
    let (min, max) = range(block);
    if -min > max { -min } else { max }
}

#[derive(Clone, Copy)]
struct Choice8 {
    error: f32,
    scale: f32,
    quants: Block,
}

/// The best integers for a block in units of the row's scale: with the coarsest sub-scale that holds
/// it, and either that which keeps a whole multiple of the source's own grid or the next three.
#[inline(always)]
fn best8(block: &Block, step: f32) -> Choice8 {
    let least = round(magnitude(block) / 127.0).clamp(1.0, 127.0);
    let mut best = choice8(block, least, 1.0 / least);
    if step > 0.0 {
        let multiple = multiple(step, magnitude(block));
        let scale = round(step / multiple).clamp(1.0, 127.0);
        // The quants are those of the source times the multiple; only the scale is rounded.
        let kept = choice8(block, scale, multiple / step);
        return if kept.error < best.error { kept } else { best };
    }
    for delta in [1.0, 2.0, 3.0] {
        let scale = (least + delta).min(127.0);
        let other = choice8(block, scale, 1.0 / scale);
        if other.error < best.error {
            best = other;
        }
    }
    best
}

#[inline(always)]
fn choice8(block: &Block, scale: f32, inverse: f32) -> Choice8 {
    let quants = each(block, |value| round(value * inverse).clamp(-127.0, 127.0));
    let mut error = [0f32; BLOCK];
    for ((error, &quant), &value) in error.iter_mut().zip(&quants).zip(block) {
        let distance = scale * quant - value;
        *error = distance * distance;
    }
    Choice8 { error: sum(&error), scale, quants }
}

#[cfg(test)]
mod tests;
