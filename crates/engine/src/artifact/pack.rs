//! Interleaves quantised rows into the bands of a matrix section.
//!
//! Invariants:
//! - The bands may be packed in any order and on any thread; the bytes are the same.
//!
//! Not here: choosing the quants (`import`).

use alloc::vec;
use alloc::vec::Vec;

use super::matrix::{BAND, BLOCK, Bits, GROUP, Layout};

/// Quantised rows of one band, before interleaving. Rows and columns past the matrix are zero.
#[derive(Clone, Debug)]
pub struct BandRows {
    layout: Layout,
    /// Quants as stored: 0 to 15, or 8-bit quants plus 128. `[32][blocks * 32]`.
    quants: Vec<u8>,
    /// Sub-scales, `[32][blocks]`.
    scales: Vec<u8>,
    /// Offsets, `[32][blocks]`; zero for 8-bit matrices.
    offsets: Vec<i16>,
}

/// One row to fill in.
#[derive(Debug)]
pub struct BandRow<'a> {
    /// Quants as stored, one a column, padding included.
    pub quants: &'a mut [u8],
    /// Sub-scales, one a block.
    pub scales: &'a mut [u8],
    /// Offsets, one a block.
    pub offsets: &'a mut [i16],
}

impl BandRows {
    /// A band of zero rows.
    #[must_use]
    pub fn new(layout: Layout) -> BandRows {
        let blocks = layout.blocks();
        let zero = if layout.bits == Bits::Four { 0 } else { 128 };
        BandRows {
            layout,
            quants: vec![zero; BAND * blocks * BLOCK],
            scales: vec![1; BAND * blocks],
            offsets: vec![0; BAND * blocks],
        }
    }

    /// Row `row` of the band, 0 to 31.
    pub fn row(&mut self, row: usize) -> BandRow<'_> {
        let blocks = self.layout.blocks();
        BandRow {
            quants: &mut self.quants[row * blocks * BLOCK..][..blocks * BLOCK],
            scales: &mut self.scales[row * blocks..][..blocks],
            offsets: &mut self.offsets[row * blocks..][..blocks],
        }
    }

    /// Writes the band's two groups and its norms.
    ///
    /// # Panics
    /// When a slice is not of the layout's size: the importer's own mistake.
    pub fn write(&self, groups: &mut [u8], norms: &mut [u8]) {
        let layout = self.layout;
        assert!(groups.len() == 2 * layout.group_size(), "two groups");
        assert!(norms.len() == layout.chunks() * 8, "a norm for each chunk");
        for (half, group) in groups.chunks_exact_mut(layout.group_size()).enumerate() {
            let (quants, rest) = group.split_at_mut(layout.blocks() * layout.bits.quant_size());
            let (scales, offsets) = rest.split_at_mut(layout.scales_size());
            for lane in 0..GROUP {
                self.write_lane(half * GROUP + lane, lane, quants, scales, offsets);
            }
        }
        self.write_norms(norms);
    }

    fn write_lane(
        &self,
        row: usize,
        lane: usize,
        quants: &mut [u8],
        scales: &mut [u8],
        offsets: &mut [u8],
    ) {
        let (blocks, bits) = (self.layout.blocks(), self.layout.bits);
        let source = &self.quants[row * blocks * BLOCK..][..blocks * BLOCK];
        let packed = quants.chunks_exact_mut(bits.quant_size());
        for (source, packed) in source.chunks_exact(BLOCK).zip(packed) {
            match bits {
                Bits::Four => {
                    for part in 0..4 {
                        for e in 0..4 {
                            let (low, high) = (source[part * 4 + e], source[16 + part * 4 + e]);
                            packed[part * 64 + lane * 4 + e] = low | high << 4;
                        }
                    }
                }
                Bits::Eight => {
                    for (part, source) in source.chunks_exact(4).enumerate() {
                        packed[part * 64 + lane * 4..][..4].copy_from_slice(source);
                    }
                }
            }
        }
        for block in 0..blocks {
            scales[block * GROUP + lane] = self.scales[row * blocks + block];
            if bits == Bits::Four {
                let at = (block / 2 * 32 + lane * 2 + block % 2) * 2;
                let offset = self.offsets[row * blocks + block];
                offsets[at..at + 2].copy_from_slice(&offset.to_le_bytes());
            }
        }
    }

    /// The largest sum of squares of any row, for each chunk of columns.
    fn write_norms(&self, norms: &mut [u8]) {
        let layout = self.layout;
        let blocks = layout.blocks();
        let per_chunk = layout.bits.chunk_blocks();
        for (chunk, norm) in norms.chunks_exact_mut(8).enumerate() {
            let range = chunk * per_chunk..blocks.min((chunk + 1) * per_chunk);
            let row =
                |row: usize| range.clone().map(move |block| self.squares(row * blocks + block));
            let most = (0..BAND).map(|index| row(index).sum::<u64>()).max().unwrap_or(0);
            norm.copy_from_slice(&most.to_le_bytes());
        }
    }

    /// Sum of squares of a block's weights.
    fn squares(&self, block: usize) -> u64 {
        let bias = if self.layout.bits == Bits::Four { 0 } else { 128 };
        let (scale, offset) = (i32::from(self.scales[block]), i32::from(self.offsets[block]));
        let quants = &self.quants[block * BLOCK..][..BLOCK];
        let mut sum = 0u64;
        for &quant in quants {
            // At most 16,129 in magnitude: a square fits 31 bits.
            let weight = scale * (i32::from(quant) - bias) + offset;
            sum += u64::from((weight * weight) as u32);
        }
        sum
    }
}
