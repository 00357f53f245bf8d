//! Weight matrices of an artifact: 4 or 8 bits a weight, interleaved by output row.
//!
//! Weight (n, k) is the plain integer `c * q + mu` of its block of 32 columns (4 bits: `q` 0 to 15,
//! `c` 1 to 255, `mu` 16 bits) or `c * q` (8 bits: `q` -127 to 127). Row n's weights share the scale
//! `s[n] * 2^-exponent`. Sixteen rows make a group, so that vector lanes are rows and no kernel needs
//! a horizontal sum. The byte table is in `docs/spec/artifact.md`, section 4.
//!
//! Invariants:
//! - A matrix that was read has exactly the bytes that its layout asks for.
//! - A matrix that was validated keeps every weight, scale and norm within the limits named here; the
//!   fast kernels need that to equal the reference.
//!
//! Not here: how weights are chosen (`import`), and products (`kernels`).

use alloc::string::{String, ToString};
use core::ops::Range;

use super::{read_u32, read_u64};

/// Columns that share `c` and `mu`.
pub const BLOCK: usize = 32;
/// Rows that are interleaved.
pub const GROUP: usize = 16;
/// Rows that share a norm: two groups.
pub const BAND: usize = 32;
/// Largest magnitude of a 4-bit matrix's weight.
pub const WEIGHT4_MAX: i32 = 4_095;
/// Largest magnitude of a 4-bit block's offset.
pub const OFFSET_MAX: i32 = 7_936;
/// Largest magnitude of an 8-bit matrix's weight: 127 * 127, so that its sum with an activation fits
/// 16 bits.
pub const WEIGHT8_MAX: i32 = 16_129;

pub(crate) const HEADER_SIZE: usize = 64;

/// Bits a weight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// 4 bits, with an offset a block: 4.75 bits a weight in all.
    Four,
    /// 8 bits: 8.25 bits a weight in all.
    Eight,
}

impl Bits {
    /// Bytes of one group's quants in one block.
    #[must_use]
    pub const fn quant_size(self) -> usize {
        match self {
            Bits::Four => GROUP * BLOCK / 2,
            Bits::Eight => GROUP * BLOCK,
        }
    }

    /// Blocks whose products a bulk kernel may sum in 32 bits under one norm.
    #[must_use]
    pub const fn chunk_blocks(self) -> usize {
        match self {
            Bits::Four => 16,
            Bits::Eight => 4,
        }
    }

    /// Pairs of columns whose sums 32 bits hold for any weights and activations, beside 16 bits more:
    /// 32 * 4,095 * 16,256 and 8 * 16,129 * 16,256 are below 2^31 - 2^16.
    #[must_use]
    pub const fn sure_pairs(self) -> usize {
        match self {
            Bits::Four => 16,
            Bits::Eight => 4,
        }
    }

    /// Largest magnitude of a weight.
    #[must_use]
    pub const fn weight_max(self) -> i32 {
        match self {
            Bits::Four => WEIGHT4_MAX,
            Bits::Eight => WEIGHT8_MAX,
        }
    }
}

/// Sizes and places inside a matrix section, all derived from its shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Output rows.
    pub rows: usize,
    /// Input columns.
    pub columns: usize,
    /// Bits a weight.
    pub bits: Bits,
}

impl Layout {
    /// Rows rounded up to whole bands; the added rows are zero.
    #[must_use]
    pub const fn rows_padded(&self) -> usize {
        self.rows.next_multiple_of(BAND)
    }

    /// Blocks of 32 columns, rounded up to an even count; the added columns are zero.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.columns.div_ceil(2 * BLOCK) * 2
    }

    /// Chunks of columns, each with its own norm.
    #[must_use]
    pub const fn chunks(&self) -> usize {
        self.blocks().div_ceil(self.bits.chunk_blocks())
    }

    /// Groups of 16 rows.
    #[must_use]
    pub const fn groups(&self) -> usize {
        self.rows_padded() / GROUP
    }

    /// Bytes of the norms, padded.
    #[must_use]
    pub const fn norms_size(&self) -> usize {
        (self.rows_padded() / BAND * self.chunks() * 8).next_multiple_of(64)
    }

    /// First byte of the norms.
    #[must_use]
    pub const fn norms_offset(&self) -> usize {
        HEADER_SIZE + self.rows_padded() * 4
    }

    /// Bytes of one group's sub-scales, padded.
    #[must_use]
    pub const fn scales_size(&self) -> usize {
        (self.blocks() * GROUP).next_multiple_of(64)
    }

    /// Bytes of one group.
    #[must_use]
    pub const fn group_size(&self) -> usize {
        let offsets = match self.bits {
            Bits::Four => self.blocks() * GROUP * 2,
            Bits::Eight => 0,
        };
        self.blocks() * self.bits.quant_size() + self.scales_size() + offsets
    }

    /// First byte of group `group`.
    #[must_use]
    pub const fn group_offset(&self, group: usize) -> usize {
        self.norms_offset() + self.norms_size() + group * self.group_size()
    }

    /// Bytes of the section.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.group_offset(self.groups())
    }

    /// How far a dot product is shifted right before the row scale, so that it fits 31 bits.
    #[must_use]
    pub const fn product_shift(&self) -> u32 {
        let bound = self.bits.weight_max() as u64
            * crate::numeric::ACTIVATION_MAX as u64
            * (self.blocks() * BLOCK) as u64;
        let length = crate::numeric::bit_length(bound);
        if length > 31 { length - 30 } else { 1 }
    }
}

/// A matrix read in place.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a> {
    /// Its shape.
    pub layout: Layout,
    /// Power of two that divides every row scale, -64 to 127.
    pub exponent: i32,
    bytes: &'a [u8],
}

impl<'a> Matrix<'a> {
    /// The 64-byte header of a section.
    #[must_use]
    pub fn header(layout: Layout, exponent: i32) -> [u8; HEADER_SIZE] {
        let mut out = [0u8; HEADER_SIZE];
        let bits = if layout.bits == Bits::Four { 4u32 } else { 8 };
        let words = [layout.rows as u32, layout.columns as u32, bits, exponent as u32];
        for (slot, word) in out.chunks_exact_mut(4).zip(words) {
            slot.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    /// Reads a section that should hold a matrix of this shape.
    ///
    /// # Errors
    /// When the shape, the size or the exponent is not what it should be.
    pub fn read(bytes: &'a [u8], rows: usize, columns: usize) -> Result<Matrix<'a>, String> {
        if bytes.len() < HEADER_SIZE {
            return Err("the section is shorter than its header".to_string());
        }
        let (found_rows, found_columns) =
            (read_u32(bytes, 0) as usize, read_u32(bytes, 4) as usize);
        if (found_rows, found_columns) != (rows, columns) {
            return Err(alloc::format!(
                "shape is {found_rows} x {found_columns}, should be {rows} x {columns}"
            ));
        }
        let bits = match read_u32(bytes, 8) {
            4 => Bits::Four,
            8 => Bits::Eight,
            other => return Err(alloc::format!("{other} bits a weight are not supported")),
        };
        if bytes[16..HEADER_SIZE].iter().any(|&byte| byte != 0) {
            return Err("reserved bytes are not zero".to_string());
        }
        let layout = Layout { rows, columns, bits };
        let exponent = read_u32(bytes, 12) as i32;
        if !(-64..=127).contains(&exponent) {
            return Err(alloc::format!("scale exponent {exponent} is outside -64..=127"));
        }
        if bytes.len() != layout.size() {
            return Err(alloc::format!("size is {}, should be {}", bytes.len(), layout.size()));
        }
        Ok(Matrix { layout, exponent, bytes })
    }

    /// The section's bytes.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Row `row`'s scale, 0 to 2^31 - 1.
    #[must_use]
    pub fn row_scale(&self, row: usize) -> i32 {
        read_u32(self.bytes, HEADER_SIZE + row * 4) as i32
    }

    /// The row scales of a group, 64 bytes.
    #[must_use]
    pub fn group_row_scales(&self, group: usize) -> &'a [u8] {
        &self.bytes[HEADER_SIZE + group * GROUP * 4..][..GROUP * 4]
    }

    /// Upper bound of the sum of squares of any row of band `band` in column chunk `chunk`.
    #[must_use]
    pub fn norm(&self, band: usize, chunk: usize) -> u64 {
        read_u64(self.bytes, self.layout.norms_offset() + (band * self.layout.chunks() + chunk) * 8)
    }

    /// A group's quants, sub-scales and offsets.
    #[must_use]
    pub fn group(&self, group: usize) -> Group<'a> {
        let layout = self.layout;
        let bytes = &self.bytes[layout.group_offset(group)..][..layout.group_size()];
        let (quants, rest) = bytes.split_at(layout.blocks() * layout.bits.quant_size());
        let (scales, offsets) = rest.split_at(layout.scales_size());
        Group { quants, scales, offsets }
    }

    /// Weight (row, column) as the plain integer that products are taken of.
    #[must_use]
    pub fn weight(&self, row: usize, column: usize) -> i32 {
        let group = self.group(row / GROUP);
        let (lane, block, at) = (row % GROUP, column / BLOCK, column % BLOCK);
        let scale = i32::from(group.scales[block * GROUP + lane]);
        match self.layout.bits {
            Bits::Four => {
                let inner = at % 16;
                let byte = group.quants[block * 256 + inner / 4 * 64 + lane * 4 + inner % 4];
                let quant = i32::from(if at < 16 { byte & 15 } else { byte >> 4 });
                scale * quant + group.offset(block, lane)
            }
            Bits::Eight => {
                let byte = group.quants[block * 512 + at / 4 * 64 + lane * 4 + at % 4];
                scale * (i32::from(byte) - 128)
            }
        }
    }

    /// Checks every weight, scale, norm and padding byte. Time is linear in the matrix's size.
    ///
    /// # Errors
    /// Names the first row, or the band and chunk, that breaks a limit.
    pub fn validate(&self) -> Result<(), String> {
        let layout = self.layout;
        for row in 0..layout.rows_padded() {
            let scale = self.row_scale(row);
            if scale < 0 || (row >= layout.rows && scale != 0) {
                return Err(alloc::format!("row {row}'s scale {scale} is out of range"));
            }
        }
        for band in 0..layout.rows_padded() / BAND {
            self.validate_band(band)?;
        }
        Ok(())
    }

    fn validate_band(&self, band: usize) -> Result<(), String> {
        let layout = self.layout;
        let per_chunk = layout.bits.chunk_blocks();
        let groups = [self.group(2 * band), self.group(2 * band + 1)];
        for chunk in 0..layout.chunks() {
            let blocks = chunk * per_chunk..layout.blocks().min((chunk + 1) * per_chunk);
            let mut most = 0u64;
            for (half, group) in groups.iter().enumerate() {
                let mut squares = [0u64; GROUP];
                for block in blocks.clone() {
                    let sums = group.squares(block, layout.bits);
                    let sums = sums.ok_or_else(|| self.refusal(2 * band + half, block))?;
                    squares.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
                }
                most = squares.into_iter().fold(most, u64::max);
            }
            let norm = self.norm(band, chunk);
            if norm != most {
                return Err(alloc::format!(
                    "band {band}'s norm {chunk} is {norm}, should be {most}"
                ));
            }
        }
        self.validate_padding(band)
    }

    /// Checks that weights past the matrix's rows and columns are zero.
    fn validate_padding(&self, band: usize) -> Result<(), String> {
        let layout = self.layout;
        for row in band * BAND..(band + 1) * BAND {
            let from = if row < layout.rows { layout.columns } else { 0 };
            for column in from..layout.blocks() * BLOCK {
                if self.weight(row, column) != 0 {
                    return Err(alloc::format!("weight ({row}, {column}) is padding and not zero"));
                }
            }
        }
        Ok(())
    }

    fn refusal(&self, group: usize, block: usize) -> String {
        let (row, column) = (group * GROUP, block * BLOCK);
        alloc::format!(
            "a weight, sub-scale or offset of rows {row} to {} and columns {column} to {} is out of range",
            row + GROUP - 1,
            column + BLOCK - 1
        )
    }
}

/// One group of 16 interleaved rows.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// 4 bits: byte `g * 64 + lane * 4 + e` of a block holds columns `4g + e` (low nibble) and
    /// `16 + 4g + e` (high). 8 bits: byte `g * 64 + lane * 4 + e` holds column `4g + e`, plus 128.
    pub quants: &'a [u8],
    /// Sub-scales `c`, 16 a block.
    pub scales: &'a [u8],
    /// Offsets `mu` of a 4-bit matrix, i16: for each pair of blocks, 16 lanes x 2 blocks.
    pub offsets: &'a [u8],
}

impl<'a> Group<'a> {
    /// Bytes of the group.
    #[inline(always)]
    #[must_use]
    pub const fn size(&self) -> usize {
        self.quants.len() + self.scales.len() + self.offsets.len()
    }

    /// The blocks of a range that begins at an even one.
    #[must_use]
    pub fn part(&self, blocks: Range<usize>, bits: Bits) -> Group<'a> {
        let part = |bytes: &'a [u8], size: usize| &bytes[blocks.start * size..];
        Group {
            quants: part(self.quants, bits.quant_size()),
            scales: part(self.scales, GROUP),
            offsets: if bits == Bits::Four { part(self.offsets, 2 * GROUP) } else { self.offsets },
        }
    }

    /// Each row's sum of squared weights of a block, or `None` where a limit is broken.
    fn squares(&self, block: usize, bits: Bits) -> Option<[u64; GROUP]> {
        let scales = &self.scales[block * GROUP..][..GROUP];
        let (mut scale, mut offset) = ([0i32; 64], [0i32; 64]);
        let mut is_sound = true;
        for lane in 0..GROUP {
            scale[lane * 4..][..4].fill(i32::from(scales[lane]));
            is_sound &= scales[lane] != 0;
            if bits == Bits::Four {
                let value = self.offset(block, lane);
                offset[lane * 4..][..4].fill(value);
                is_sound &= value.abs() <= OFFSET_MAX;
            } else {
                offset[lane * 4..][..4].fill(-128 * i32::from(scales[lane]));
            }
        }
        let mut sums = [0u32; 64];
        let mut largest = 0i32;
        // Eight squares of sound weights fit 32 bits; where those of others wrap, they are refused.
        let mut take = |at: usize, quant: u8| {
            let weight = scale[at] * i32::from(quant) + offset[at];
            let magnitude = if weight < 0 { -weight } else { weight };
            largest = if magnitude > largest { magnitude } else { largest };
            sums[at] = sums[at].wrapping_add((weight as u32).wrapping_mul(weight as u32));
        };
        let mut least = u8::MAX;
        for part in
            self.quants[block * bits.quant_size()..][..bits.quant_size()].as_chunks::<64>().0
        {
            for (at, &byte) in part.iter().enumerate() {
                match bits {
                    Bits::Four => {
                        take(at, byte & 15);
                        take(at, byte >> 4);
                    }
                    Bits::Eight => {
                        take(at, byte);
                        least = if byte < least { byte } else { least };
                    }
                }
            }
        }
        is_sound &= largest <= bits.weight_max() && least != 0;
        let row = |lane: usize| sums[lane * 4..][..4].iter().map(|&sum| u64::from(sum)).sum();
        is_sound.then(|| core::array::from_fn(row))
    }

    fn offset(&self, block: usize, lane: usize) -> i32 {
        let at = (block / 2 * 32 + lane * 2 + block % 2) * 2;
        i32::from(i16::from_le_bytes([self.offsets[at], self.offsets[at + 1]]))
    }
}
