//! Matrix products: quantised rows times weights, to fixed point.
//!
//! Every product is the exact integer sum over k of weight (n, k) times x (t, k), then one rounding
//! epilogue (`docs/spec/int-1.md`, section 5). Short inputs take the two int8 planes of x against the
//! packed weights; long ones unfold the weights once to 16 bits and take plain 16-bit products, 32
//! rows by 8 tokens, where a Cauchy-Schwarz bound shows that 32-bit sums cannot overflow. Processors
//! that multiply bytes faster than that (`unfolds`) take planes for long ones too.
//!
//! Invariants:
//! - Which path computes an element never changes it.
//!
//! Not here: what the products mean.
#![expect(unsafe_code, reason = "threads write disjoint columns of one output")]

use alloc::vec::Vec;
use core::ops::Range;

use super::activations::{Activations, TILE};
use super::rows::Rows;
use super::{Isa, Pool, element, scalar};
#[cfg(target_arch = "x86_64")]
use crate::artifact::matrix::Bits;
use crate::artifact::matrix::{BAND, BLOCK, GROUP, Matrix};
use crate::numeric::{round_shift, saturate};

/// Tokens for which weights are unfolded once: enough that unfolding, which costs as much as the
/// products of about four tokens, is small beside them, and few enough that their sums take a small
/// part of the second-level cache.
const BULK_TOKENS: usize = 256;
/// Blocks of columns that are unfolded at a time, an even number: 16 KiB of a band's weights, which
/// stay in the first-level cache while all tokens pass.
const SPAN: usize = 8;
/// Fewest tokens for which unfolding pays.
const BULK_MIN: usize = 16;
/// Bytes of weights that one item of a short product reads, about: small enough that threads end
/// together, large enough to outweigh taking an item.
const ITEM_SIZE: usize = 32 * 1024;
/// Fewest bands of such an item: the groups that are read side by side.
const BANDS_MIN: usize = 2;

/// A sum below this fits 32 bits together with the 16 low bits of the sum before it.
const SUM_MAX: u128 = (1 << 31) - (1 << 16);
/// Most blocks of an 8-bit matrix whose groups AVX-512 reads one after the other: on Zen 4 one stream
/// of such was read at 21 to 25 GB/s and four at 17 to 20, and of wider ones at 17 to 22 and 20 to 27.
#[cfg(target_arch = "x86_64")]
const NARROW: usize = 28;

/// One product of the activations with a matrix.
#[derive(Debug)]
pub struct Product<'a> {
    /// The weights.
    pub matrix: Matrix<'a>,
    /// Fraction bits of the result.
    pub fraction: i32,
    /// The result, `[tokens][rows_padded]`.
    pub out: &'a mut [i32],
}

/// Memory of one thread: a span of a band's weights, unfolded, and the band's sums.
#[derive(Debug, Default)]
pub struct Unfolded {
    /// Weights, in the order of the instruction set's kernel.
    pub weights: Vec<i16>,
    /// With AVX-512, each block's sums of products of neighbouring column pairs, modulo 2^32,
    /// `[blocks][32 rows]`.
    pub products: Vec<i32>,
    /// The weights' largest sum of squares of a row in each block, if a tile has asked for them.
    norms: Option<[u64; SPAN]>,
    /// The sums of each tile.
    sums: Vec<TileSums>,
}

/// Sums of a band's two groups by a tile.
pub type TileSums = [[[i64; GROUP]; TILE]; 2];

/// The epilogue of one row of activations: how an exact sum becomes fixed point.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue {
    /// Shift that makes the sum fit 31 bits.
    pub product_shift: u32,
    /// The activation row's scale.
    pub mantissa: i32,
    /// Last shift, 1 to 62.
    pub shift: u32,
}

impl Epilogue {
    fn new(product: &Target<'_>, activations: &Activations, token: usize) -> Epilogue {
        let scale = activations.scales[token];
        let product_shift = product.matrix.layout.product_shift();
        let shift =
            product.matrix.exponent + scale.exponent - product_shift as i32 - product.fraction - 31;
        Epilogue { product_shift, mantissa: scale.mantissa, shift: shift.clamp(1, 62) as u32 }
    }

    /// The fixed-point value of an exact sum.
    #[inline(always)]
    #[must_use]
    pub fn apply(&self, sum: i64, row_scale: i32) -> i32 {
        let narrow = round_shift(sum, self.product_shift) as i32;
        let scaled = round_shift(i64::from(narrow) * i64::from(row_scale), 31) as i32;
        saturate(round_shift(i64::from(scaled) * i64::from(self.mantissa), self.shift))
    }
}

/// A product whose output several threads write, each its own rows.
struct Target<'a> {
    matrix: Matrix<'a>,
    fraction: i32,
    out: Rows<'a, i32>,
}

/// Bands of one product for a run of tokens.
#[derive(Clone, Copy)]
struct Item {
    product: usize,
    band: usize,
    bands: usize,
    token: usize,
    tokens: usize,
}

/// Whether products of so many rows take unfolded weights, for which activations have tiles.
///
/// With NEON's `sdot` none do: two of it multiply sixteen packed weights by both planes, which takes
/// four instructions where both factors have 16 bits.
#[must_use]
pub fn unfolds(isa: Isa, tokens: usize) -> bool {
    #[cfg(target_arch = "aarch64")]
    if isa == Isa::Neon && super::neon::has_dot() {
        return false;
    }
    let _ = isa;
    tokens >= BULK_MIN
}

/// Computes products of the same activations.
///
/// # Panics
/// When an output is too small for its product: the caller's own mistake.
pub fn multiply(
    isa: Isa,
    pool: &mut Pool,
    scratch: &mut [Unfolded],
    activations: &Activations,
    products: Vec<Product<'_>>,
) {
    assert!(isa.is_available(), "the engine chose an instruction set that is here");
    let mut targets = Vec::with_capacity(products.len());
    for product in products {
        let layout = product.matrix.layout;
        assert!(
            product.out.len() >= activations.tokens * layout.rows_padded(),
            "room for every row"
        );
        assert!(layout.blocks() == activations.blocks, "the matrix takes rows of this width");
        let out = Rows::new(product.out, layout.rows_padded());
        targets.push(Target { matrix: product.matrix, fraction: product.fraction, out });
    }
    let items = items(isa, &targets, activations.tokens, pool.threads());
    let scratch = Rows::new(scratch, 1);
    pool.run(items.len(), &|index, thread| {
        use super::rows::Disjoint;
        // SAFETY: the pool never runs two items at one time on one thread.
        let scratch = unsafe { scratch.piece(thread) };
        if let ([unfolded], Some(&item)) = (scratch, items.get(index)) {
            run_item(isa, &targets[item.product], activations, item, unfolded);
        }
    });
}

fn items(isa: Isa, targets: &[Target<'_>], tokens: usize, threads: usize) -> Vec<Item> {
    let mut items = Vec::new();
    for (product, target) in targets.iter().enumerate() {
        let layout = target.matrix.layout;
        let count = layout.rows_padded() / BAND;
        let bands = if unfolds(isa, tokens) {
            // Neighbouring bands' results share cache lines, so a thread takes several.
            (count / (4 * threads)).max(1)
        } else if threads == 1 {
            count
        } else {
            let bands = (ITEM_SIZE / (2 * layout.group_size())).max(BANDS_MIN);
            bands / BANDS_MIN * BANDS_MIN
        };
        for token in (0..tokens).step_by(BULK_TOKENS) {
            let tokens = BULK_TOKENS.min(tokens - token);
            for band in (0..count).step_by(bands) {
                items.push(Item { product, band, bands: bands.min(count - band), token, tokens });
            }
        }
    }
    items
}

fn run_item(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    item: Item,
    unfolded: &mut Unfolded,
) {
    let end = item.token + item.tokens;
    // Whole tiles go through the bulk kernel; the tail, and all of a short input, through planes.
    let is_bulk = unfolds(isa, activations.tokens);
    let bulk_end = if is_bulk { end / TILE * TILE } else { item.token };
    let step = if is_bulk { 1 } else { item.bands };
    for band in (item.band..item.band + item.bands).step_by(step) {
        let groups = 2 * band..2 * (band + step);
        if isa == Isa::Scalar || isa == Isa::Simd128 {
            groups.into_iter().for_each(|group| {
                scalar_group(isa, target, activations, group, (item.token, end), unfolded)
            });
            continue;
        }
        if bulk_end > item.token {
            bulk(isa, target, activations, band, item.token..bulk_end, unfolded);
        }
        if bulk_end < end {
            planes(isa, target, activations, groups, (bulk_end, end));
        }
    }
}

/// Blocks of a span whose sums surely fit 32 bits together, for any row of the band and any token of
/// the tile: |y| <= ||w|| * ||x|| (Cauchy 1821, Schwarz 1888). None where that shows it for no single
/// block.
fn blocks_in_32_bits(
    isa: Isa,
    matrix: &Matrix<'_>,
    activations: &Activations,
    (band, tile): (usize, usize),
    span: Range<usize>,
    unfolded: &mut Unfolded,
) -> Option<usize> {
    let fits = |norm: u64, squares: u64| u128::from(norm) * u128::from(squares) < SUM_MAX * SUM_MAX;
    let run = matrix.layout.bits.chunk_blocks();
    let squares = activations.tile_squares(tile, run);
    let mut chunks = span.start / run..span.end.div_ceil(run);
    if chunks.all(|chunk| fits(matrix.norm(band, chunk), squares[chunk])) {
        return Some(run.min(SPAN));
    }
    let Unfolded { weights, norms, .. } = unfolded;
    let norms = norms.get_or_insert_with(|| {
        let mut norms = [0; SPAN];
        match isa {
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => super::neon::band_norms(weights, &mut norms),
            _ => element::band_norms(isa, weights, &mut norms),
        }
        norms
    });
    let squares = &activations.tile_squares(tile, 1)[span];
    [SPAN, SPAN / 2, SPAN / 4, 1].into_iter().find(|&run| {
        let mut runs = norms.chunks(run).zip(squares.chunks(run));
        runs.all(|(norms, squares)| fits(norms.iter().sum(), squares.iter().sum()))
    })
}

/// Writes the epilogue of sixteen rows' sums.
fn store(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    (group, token): (usize, usize),
    sums: &[i64; GROUP],
) {
    let epilogue = Epilogue::new(target, activations, token);
    let scales = target.matrix.group_row_scales(group);
    let stride = target.matrix.layout.rows_padded();
    // SAFETY: token and group are inside the product's shape, and `multiply` checked that the output
    // has room for it; this item alone writes this group's rows.
    let out = unsafe {
        &mut *target.out.start().add(token * stride + group * GROUP).cast::<[i32; GROUP]>()
    };
    match isa {
        // SAFETY: `multiply` checked that the instruction set is here.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe { super::avx512::epilogue(sums, scales, epilogue, out) },
        // SAFETY: `multiply` checked that the instruction set is here.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { super::avx2::epilogue(sums, scales, epilogue, out) },
        _ => scalar::epilogue(sums, scales, epilogue, out),
    }
}

fn scalar_group(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    group: usize,
    (from, to): (usize, usize),
    unfolded: &mut Unfolded,
) {
    let weights = target.matrix.group(group);
    let bits = target.matrix.layout.bits;
    let stride = activations.blocks * BLOCK;
    let unfolded = &mut unfolded.weights;
    scalar::unpack(&weights, bits, activations.blocks, unfolded);
    for token in from..to {
        let x = &activations.x[token * stride..][..stride];
        let mut sums = [0i64; GROUP];
        match isa {
            #[cfg(target_arch = "wasm32")]
            Isa::Simd128 => super::wasm::products(&weights, bits, unfolded, x, &mut sums),
            _ => scalar::products(&weights, bits, unfolded, x, &mut sums),
        }
        store(isa, target, activations, (group, token), &sums);
    }
}

fn unfold(isa: Isa, matrix: &Matrix<'_>, band: usize, span: Range<usize>, unfolded: &mut Unfolded) {
    let (bits, blocks) = (matrix.layout.bits, span.len());
    unfolded.weights.resize(blocks * BLOCK * BAND, 0);
    unfolded.products.resize(blocks * BAND, 0);
    unfolded.norms = None;
    for half in [0, 1] {
        let weights = matrix.group(2 * band + half).part(span.clone(), bits);
        match isa {
            // SAFETY: `multiply` checked that the instruction set is here, and the buffers have a span.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe {
                let unfolded = (&mut unfolded.weights[..], &mut unfolded.products[..]);
                super::avx512::unfold(&weights, bits, blocks, half, unfolded);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe {
                let unfolded = &mut unfolded.weights;
                super::avx2::unfold(&weights, bits, blocks, half, unfolded);
            },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => unsafe {
                let unfolded = &mut unfolded.weights;
                super::neon::unfold(&weights, bits, blocks, half, unfolded);
            },
            _ => no_kernel(isa, "unfolding", (weights, half, &mut *unfolded)),
        }
    }
}

/// Stands where an instruction set has no such kernel, which `multiply` never asks for. It takes what
/// the kernel would, so that nothing is unused where no instruction set has one.
#[cold]
fn no_kernel<T>(isa: Isa, kernel: &str, _arguments: T) {
    unreachable!("{} has no {kernel} kernel", isa.name());
}

/// One band by whole tiles of eight tokens, a span of columns at a time.
fn bulk(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    band: usize,
    tokens: Range<usize>,
    unfolded: &mut Unfolded,
) {
    let tiles = tokens.start / TILE..tokens.end / TILE;
    let mut sums = core::mem::take(&mut unfolded.sums);
    sums.clear();
    sums.resize(tiles.len(), TileSums::default());
    for from in (0..activations.blocks).step_by(SPAN) {
        let span = from..activations.blocks.min(from + SPAN);
        unfold(isa, &target.matrix, band, span.clone(), unfolded);
        for (tile, sums) in tiles.clone().zip(&mut sums) {
            bulk_tile(isa, target, activations, (band, tile), span.clone(), (unfolded, sums));
        }
    }
    for (tile, sums) in tiles.zip(&sums) {
        store_tile(isa, target, activations, (band, tile), sums);
    }
    unfolded.sums = sums;
}

/// Adds a span's products with one tile to the tile's sums.
fn bulk_tile(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    (band, tile): (usize, usize),
    span: Range<usize>,
    (unfolded, sums): (&mut Unfolded, &mut TileSums),
) {
    let run =
        blocks_in_32_bits(isa, &target.matrix, activations, (band, tile), span.clone(), unfolded);
    // Pairs of columns whose sums 32 bits hold together.
    let chunk = run.map_or(target.matrix.layout.bits.sure_pairs(), |run| run * BLOCK / 2);
    let of_tile = |size: usize| {
        let from = tile * activations.blocks;
        (from + span.start) * size..(from + span.end) * size
    };
    let x = &activations.tiles[of_tile(BLOCK / 2 * TILE)];
    let weights = &unfolded.weights;
    match isa {
        // SAFETY: `multiply` checked the instruction set; the buffers hold a span and its tile.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe {
            if run.is_some() && super::avx512::adds_beside_products() {
                let x = (x, &activations.tile_products[of_tile(TILE)]);
                super::avx512::bulk_halved((weights, &unfolded.products), x, chunk, sums);
            } else {
                super::avx512::bulk(weights, x, chunk, sums);
            }
        },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { super::avx2::bulk(weights, x, chunk, sums) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => unsafe { super::neon::bulk(weights, x, chunk, sums) },
        _ => no_kernel(isa, "bulk", (weights, x, chunk, sums)),
    }
}

/// Writes the epilogue of a band's sums for a tile.
fn store_tile(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    (band, tile): (usize, usize),
    sums: &TileSums,
) {
    let token = tile * TILE;
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx512 {
        let stride = target.matrix.layout.rows_padded();
        let epilogues: [Epilogue; TILE] =
            core::array::from_fn(|row| Epilogue::new(target, activations, token + row));
        let scales = [0, 1].map(|half| target.matrix.group_row_scales(2 * band + half));
        // SAFETY: token and band are inside the product's shape, and `multiply` checked that the
        // output has room for them and that the instruction set is here; this item alone writes
        // these rows.
        unsafe {
            let out = target.out.start().add(token * stride + band * BAND);
            super::avx512::epilogue_tile(sums, scales, &epilogues, (out, stride));
        }
        return;
    }
    for (half, sums) in sums.iter().enumerate() {
        for (row, sums) in sums.iter().enumerate() {
            store(isa, target, activations, (2 * band + half, token + row), sums);
        }
    }
}

/// Groups by the tokens of a range, from the packed weights. What one token waits for is memory, so its
/// groups are read side by side; several tokens share a group's weights, with AVX2 from the cache.
fn planes(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    groups: Range<usize>,
    (from, to): (usize, usize),
) {
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx2 || isa == Isa::Avx512 && to - from == 1 {
        let is_narrow = target.matrix.layout.bits == Bits::Eight && activations.blocks <= NARROW;
        let is_one_stream = to - from > 1 || isa == Isa::Avx512 && is_narrow;
        let most = if is_one_stream { 1 } else { 4 };
        let mut group = groups.start;
        while group < groups.end {
            let at = (group, from..to);
            group += match most.min(groups.end - group) {
                4.. => side_by_side::<4>(isa, target, activations, at),
                2 | 3 => side_by_side::<2>(isa, target, activations, at),
                _ => side_by_side::<1>(isa, target, activations, at),
            };
        }
        return;
    }
    for group in groups {
        let mut token = from;
        while token < to {
            token += match to - token {
                1 => planes_of::<1>(isa, target, activations, group, token),
                2 | 3 => planes_of::<2>(isa, target, activations, group, token),
                _ => planes_of::<4>(isa, target, activations, group, token),
            };
        }
    }
}

/// `G` groups from `group` on, read side by side for each of the tokens; returns `G`.
#[cfg(target_arch = "x86_64")]
fn side_by_side<const G: usize>(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    (group, tokens): (usize, Range<usize>),
) -> usize {
    let weights: [_; G] = core::array::from_fn(|index| target.matrix.group(group + index));
    let bits = target.matrix.layout.bits;
    for token in tokens {
        let mut sums = [[0i64; GROUP]; G];
        // SAFETY: `multiply` checked the instruction set and the widths.
        unsafe {
            if isa == Isa::Avx512 {
                super::avx512::side_by_side(&weights, bits, activations, token, &mut sums);
            } else {
                super::avx2::side_by_side(&weights, bits, activations, token, &mut sums);
            }
        }
        for (index, sums) in sums.iter().enumerate() {
            store(isa, target, activations, (group + index, token), sums);
        }
    }
    G
}

/// One group by `T` tokens from `token` on; returns `T`.
fn planes_of<const T: usize>(
    isa: Isa,
    target: &Target<'_>,
    activations: &Activations,
    group: usize,
    token: usize,
) -> usize {
    let weights = target.matrix.group(group);
    let bits = target.matrix.layout.bits;
    let mut sums = [[0i64; GROUP]; T];
    match isa {
        // SAFETY: `multiply` checked the instruction set and the widths.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => unsafe {
            super::avx512::planes(&weights, bits, activations, token, &mut sums);
        },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Isa::Neon => unsafe { super::neon::planes(&weights, bits, activations, token, &mut sums) },
        _ => no_kernel(isa, "plane", (weights, bits, activations, token, &mut sums)),
    }
    for (row, sums) in sums.iter().enumerate() {
        store(isa, target, activations, (group, token + row), sums);
    }
    T
}

#[cfg(test)]
mod tests;
