//! Every instruction set's products equal the reference's, whichever way they take.

use alloc::vec;
use alloc::vec::Vec;

use super::{Product, Unfolded, multiply};
use crate::artifact::matrix::{BAND, BLOCK, Bits, HEADER_SIZE, Layout, Matrix};
use crate::artifact::pack::BandRows;
use crate::kernels::activations::{Activations, Unit};
use crate::kernels::{Isa, Pool, per_thread};

/// Numbers without a pattern: the middle square of a Weyl sequence (Widynski 2017).
struct Noise(u64, u64);

impl Noise {
    fn below(&mut self, limit: i64) -> i64 {
        self.1 = self.1.wrapping_add(0xb5ad_4ece_da1c_e2a9);
        self.0 = self.0.wrapping_mul(self.0).wrapping_add(self.1).rotate_left(32);
        (self.0 % limit as u64) as i64
    }
}

/// How large a matrix's weights are.
#[derive(Clone, Copy, Debug)]
enum Weights {
    /// All the largest, so that no block surely fits 32 bits.
    Largest,
    /// Evenly spread, so that some blocks do and no longer run.
    Spread,
    /// A hundredth, so that every run does.
    Small,
    /// All the same, so that a run's sum is a fifth too large where the activations are largest.
    Edge,
    /// Spread in the first span, then small for half a span, then the largest.
    Rising,
}

/// A matrix's section.
fn section(layout: Layout, weights: Weights, noise: &mut Noise) -> Vec<u8> {
    let mut bytes = vec![0; layout.size()];
    bytes[..HEADER_SIZE].copy_from_slice(&Matrix::header(layout, 40));
    for row in 0..layout.rows {
        let scale = i32::MAX - noise.below(1 << 20) as i32;
        bytes[HEADER_SIZE + 4 * row..][..4].copy_from_slice(&scale.to_le_bytes());
    }
    let (from, size) = (layout.group_offset(0), 2 * layout.group_size());
    for band in 0..layout.rows_padded() / BAND {
        let mut rows = BandRows::new(layout);
        for row in 0..BAND.min(layout.rows - band * BAND) {
            fill(rows.row(row), layout, weights, noise);
        }
        let mut norms = vec![0; layout.chunks() * 8];
        rows.write(&mut bytes[from + band * size..][..size], &mut norms);
        let at = layout.norms_offset() + band * norms.len();
        bytes[at..at + norms.len()].copy_from_slice(&norms);
    }
    bytes
}

fn fill(
    row: crate::artifact::pack::BandRow<'_>,
    layout: Layout,
    weights: Weights,
    noise: &mut Noise,
) {
    let is_four = layout.bits == Bits::Four;
    for block in 0..layout.columns.div_ceil(BLOCK) {
        let columns = block * BLOCK..layout.columns.min((block + 1) * BLOCK);
        let weights = match weights {
            Weights::Rising if block < 8 => Weights::Spread,
            Weights::Rising if block < 12 => Weights::Small,
            Weights::Rising => Weights::Largest,
            other => other,
        };
        let (scale, from, size) = match (weights, is_four) {
            (Weights::Largest | Weights::Rising, true) => (200, 15, 1),
            (Weights::Largest | Weights::Rising, false) => (127, 255, 1),
            (Weights::Spread, true) => (200, 0, 16),
            (Weights::Spread, false) => (40, 1, 255),
            (Weights::Small, true) => (20, 0, 3),
            (Weights::Small, false) => (20, 126, 4),
            (Weights::Edge, true) => (31, 10, 1),
            (Weights::Edge, false) => (124, 138, 1),
        };
        row.scales[block] = scale;
        row.quants[columns.clone()].fill_with(|| (from + noise.below(size)) as u8);
        if is_four && matches!(weights, Weights::Spread) && columns.len() == BLOCK {
            row.offsets[block] = -1_500;
        }
    }
}

/// Rows of activations: the same everywhere, noise, or one large among small ones.
fn activations(isa: Isa, threads: usize, tokens: usize, columns: usize) -> Activations {
    let mut pool = Pool::new(threads);
    let mut scratch = per_thread(&pool, Vec::new);
    let mut activations = Activations::default();
    let terms = |token: usize, out: &mut [i64]| {
        let mut noise = Noise(token as u64, 7);
        for (column, out) in out.iter_mut().enumerate() {
            *out = match token / 8 % 3 {
                0 => 1 << 20,
                1 => noise.below(1 << 21) - (1 << 20),
                _ if column == token => 1 << 20,
                _ => noise.below(1 << 12) - (1 << 11),
            };
        }
        Unit { rms: 1, exponent: 16 }
    };
    let bulk = super::unfolds(isa, tokens);
    activations.fill((isa, &mut pool), &mut scratch, (tokens, columns), bulk, terms);
    activations
}

fn product(isa: Isa, threads: usize, matrix: Matrix<'_>, tokens: usize) -> Vec<i32> {
    let activations = activations(isa, threads, tokens, matrix.layout.columns);
    let mut out = vec![0; tokens * matrix.layout.rows_padded()];
    let mut pool = Pool::new(threads);
    let mut scratch = per_thread(&pool, Unfolded::default);
    // The last shift is then 31, so that the largest sum fits and its low bits show.
    let scale = activations.scales[0].exponent;
    let fraction = matrix.exponent + scale - matrix.layout.product_shift() as i32 - 31 - 31;
    let products = vec![Product { matrix, fraction, out: &mut out }];
    multiply(isa, &mut pool, &mut scratch, &activations, products);
    out
}

#[test]
fn every_instruction_set_gives_the_references_products() {
    let fast = [Isa::Neon, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available());
    let fast = fast.collect::<Vec<_>>();
    for bits in [Bits::Four, Bits::Eight] {
        // Columns of less than a span, of one, of a little more, and of several chunks.
        for (rows, columns) in [(40, 33), (64, 256), (33, 288), (96, 1100)] {
            let layout = Layout { rows, columns, bits };
            use Weights::{Edge, Largest, Rising, Small, Spread};
            for weights in [Largest, Spread, Small, Edge, Rising] {
                let bytes = section(layout, weights, &mut Noise(1, 1));
                let matrix = Matrix::read(&bytes, rows, columns).expect("a section of this shape");
                assert_eq!(matrix.validate(), Ok(()), "{layout:?}, {weights:?}");
                for tokens in [1, 3, 16, 31, 270] {
                    let expected = product(Isa::Scalar, 1, matrix, tokens);
                    let told_apart = expected.iter().any(|value| value.unsigned_abs() > 1 << 12);
                    assert!(told_apart, "the results have bits to compare");
                    for (&isa, threads) in fast.iter().zip([1, 2]) {
                        let found = product(isa, threads, matrix, tokens);
                        assert!(found == expected, "{isa:?}, {layout:?}, {weights:?}, {tokens}");
                    }
                }
            }
        }
    }
}
