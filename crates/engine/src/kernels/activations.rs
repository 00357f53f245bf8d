//! Quantised activations: one row of 15-bit integers and one scale a token, in the forms that the
//! product kernels read.
//!
//! `x` is what the specification names; everything else is derived from it and changes no bit: two
//! int8 planes (x = 128 h + l), block sums, and, for whole tiles of eight tokens, pairs of columns
//! with the tokens side by side.
//!
//! Invariants:
//! - |x| <= 16,256, and columns past the matrix's width are zero.
//!
//! Not here: the products (`matmul`).

use alloc::vec::Vec;

use super::rows::{Rows, for_each, room};
use super::{Isa, Pool, element};
use crate::artifact::matrix::{BLOCK, Bits};
use crate::numeric::{ACTIVATION_MAX, Scale};

/// Tokens in a tile of the bulk kernels.
pub const TILE: usize = 8;
/// Blocks of columns over which `tile_squares` is summed: the chunks whose norms matrices have, and
/// single blocks.
pub const RUNS: [usize; 3] = [Bits::Four.chunk_blocks(), Bits::Eight.chunk_blocks(), 1];
/// The order of a block's column pairs in tiles: the order in which packed weights unfold.
pub const PAIRS: [(usize, usize); 16] = [
    (0, 2),
    (16, 18),
    (1, 3),
    (17, 19),
    (4, 6),
    (20, 22),
    (5, 7),
    (21, 23),
    (8, 10),
    (24, 26),
    (9, 11),
    (25, 27),
    (12, 14),
    (28, 30),
    (13, 15),
    (29, 31),
];

/// What turns a row's quantised values back into real ones, apart from the row's own maximum.
#[derive(Clone, Copy, Debug)]
pub struct Unit {
    /// Root mean square of the row, Q28, or 1 where the row is not normed.
    pub rms: u64,
    /// Fraction bits of the terms.
    pub exponent: i32,
}

/// Quantised rows.
#[derive(Debug, Default)]
pub struct Activations {
    /// Rows.
    pub tokens: usize,
    /// Blocks of 32 columns, even.
    pub blocks: usize,
    /// The quantised values, `[tokens][blocks * 32]`.
    pub x: Vec<i16>,
    /// High planes, like `x`: (x + 64) >> 7.
    pub high: Vec<i8>,
    /// Low planes, like `x`: x - 128 * high, -64 to 63.
    pub low: Vec<i8>,
    /// For each pair of blocks, their sums' bits from 10 up, then their low 10 bits.
    pub sums: Vec<i16>,
    /// For each block, -128 times the sums of the high and the low plane.
    pub corrections: Vec<i32>,
    /// Column pairs of whole tiles, `[tile][blocks * 16][8 tokens]`, 2 x i16 each.
    pub tiles: Vec<u32>,
    /// Sums of products of neighbouring column pairs, modulo 2^32, `[tile][blocks][8 tokens]`.
    pub tile_products: Vec<i32>,
    /// Sums of squares, `[tile][blocks][8 tokens]`.
    squares: Vec<u64>,
    /// For each tile and each of `RUNS`, the largest sum of squares of its rows in each run of blocks.
    tile_squares: Vec<u64>,
    /// Each row's scale, 31 bits.
    pub scales: Vec<Scale>,
}

impl Activations {
    /// A row's quantised values, padding included, and its scale.
    #[must_use]
    pub fn row(&self, row: usize) -> (&[i16], Scale) {
        let stride = self.blocks * BLOCK;
        (&self.x[row * stride..][..stride], self.scales[row])
    }

    /// Quantises `tokens` rows of `columns` terms. `terms(token, out)` writes a row's terms, below
    /// 2^62 in magnitude, and says their unit. `bulk` also makes tiles.
    pub fn fill(
        &mut self,
        (isa, pool): (Isa, &mut Pool),
        scratch: &mut [Vec<i64>],
        (tokens, columns): (usize, usize),
        bulk: bool,
        terms: impl Fn(usize, &mut [i64]) -> Unit + Sync,
    ) {
        let blocks = columns.div_ceil(2 * BLOCK) * 2;
        let (stride, whole) = (blocks * BLOCK, tokens / TILE * TILE);
        let runs = runs_of(blocks).iter().sum();
        (self.tokens, self.blocks) = (tokens, blocks);
        let planes = (
            Rows::new(room(&mut self.x, tokens * stride), TILE * stride),
            Rows::new(room(&mut self.high, tokens * stride), TILE * stride),
            Rows::new(room(&mut self.low, tokens * stride), TILE * stride),
            Rows::new(room(&mut self.sums, tokens * blocks * 2), TILE * blocks * 2),
            Rows::new(room(&mut self.corrections, tokens * blocks * 2), TILE * blocks * 2),
        );
        let tiles = (
            Rows::new(room(&mut self.tiles, whole * stride / 2), TILE * stride / 2),
            Rows::new(room(&mut self.tile_products, whole * blocks), TILE * blocks),
            Rows::new(room(&mut self.squares, whole * blocks), TILE * blocks),
            Rows::new(room(&mut self.tile_squares, whole / TILE * runs), runs),
        );
        let buffers = (planes, tiles, Rows::new(room(&mut self.scales, tokens), TILE));
        for_each(pool, tokens.div_ceil(TILE), buffers, scratch, |tile, piece, scratch| {
            let (planes, (tiles, products, squares, tile_squares), scales) = piece;
            let (x, high, low, sums, corrections) = planes;
            let scratch = room(scratch, columns);
            let count = scales.len();
            for (row, scale) in scales.iter_mut().enumerate() {
                let unit = terms(tile * TILE + row, scratch);
                let x = &mut x[row * stride..][..stride];
                let (largest, shift) = element::quantise(isa, scratch, &mut x[..columns]);
                x[columns..].fill(0);
                *scale = row_scale(largest, shift, unit);
                if !bulk || count < TILE {
                    let planes = (row * stride, row * stride / 16);
                    element::split(
                        isa,
                        x,
                        &mut high[planes.0..][..stride],
                        &mut low[planes.0..][..stride],
                        &mut sums[planes.1..][..stride / 16],
                        &mut corrections[planes.1..][..stride / 16],
                    );
                }
            }
            if bulk && count == TILE {
                element::tile(isa, x, stride, tiles, products, squares);
                raise(squares, blocks, tile_squares);
            }
        });
    }

    /// The largest sum of squares of a tile's rows in each run of `run` blocks, one of `RUNS`.
    #[must_use]
    pub fn tile_squares(&self, tile: usize, run: usize) -> &[u64] {
        let counts = runs_of(self.blocks);
        let at = RUNS.iter().position(|&known| known == run).unwrap_or(RUNS.len() - 1);
        let from = tile * counts.iter().sum::<usize>() + counts[..at].iter().sum::<usize>();
        &self.tile_squares[from..][..counts[at]]
    }
}

/// How many runs of each length of `RUNS` there are.
fn runs_of(blocks: usize) -> [usize; RUNS.len()] {
    RUNS.map(|run| blocks.div_ceil(run))
}

/// The largest of eight rows' sums of squares in each run of blocks.
fn raise(squares: &[u64], blocks: usize, mut out: &mut [u64]) {
    for (run, count) in RUNS.into_iter().zip(runs_of(blocks)) {
        let (most, rest) = core::mem::take(&mut out).split_at_mut(count);
        for (most, squares) in most.iter_mut().zip(squares.as_chunks::<TILE>().0.chunks(run)) {
            let mut sums = [0u64; TILE];
            for squares in squares {
                sums.iter_mut().zip(squares).for_each(|(sum, &square)| *sum += square);
            }
            *most = sums.into_iter().max().unwrap_or(0);
        }
        out = rest;
    }
}

/// The scale of a row whose largest term is `largest * 2^shift` (section 4.3).
#[must_use]
pub fn row_scale(largest: u64, shift: u32, unit: Unit) -> Scale {
    let value = (u128::from(largest) << 64) / (ACTIVATION_MAX as u128 * u128::from(unit.rms));
    Scale::new(value, 64 - shift as i32 + unit.exponent, 31)
}
