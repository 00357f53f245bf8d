//! A tensor as a file describes it, and the encodings that can be read.
//!
//! Not here: the files (`gguf`, `safetensors`), and turning bytes into numbers (`dequantise`).

/// How a tensor's numbers are stored. Block formats are ggml's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// bfloat16.
    Bf16,
    /// 32 weights: scale, 4-bit quants around 8.
    Q4_0,
    /// 32 weights: scale, minimum, 4-bit quants.
    Q4_1,
    /// 32 weights: scale, 5-bit quants around 16.
    Q5_0,
    /// 32 weights: scale, minimum, 5-bit quants.
    Q5_1,
    /// 32 weights: scale, 8-bit quants.
    Q8_0,
    /// 256 weights: 8 blocks of 32 with 6-bit scales and minima, 4-bit quants.
    Q4K,
    /// 256 weights: as Q4K with 5-bit quants.
    Q5K,
    /// 256 weights: 16 blocks of 16 with 8-bit scales, 6-bit quants.
    Q6K,
}

impl Encoding {
    /// Weights in a block.
    #[must_use]
    pub const fn block_weights(self) -> usize {
        match self {
            Encoding::F32 | Encoding::F16 | Encoding::Bf16 => 1,
            Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q5_0 | Encoding::Q5_1 | Encoding::Q8_0 => {
                32
            }
            Encoding::Q4K | Encoding::Q5K | Encoding::Q6K => 256,
        }
    }

    /// Bytes in a block.
    #[must_use]
    pub const fn block_size(self) -> usize {
        match self {
            Encoding::F32 => 4,
            Encoding::F16 | Encoding::Bf16 => 2,
            Encoding::Q4_0 => 18,
            Encoding::Q4_1 => 20,
            Encoding::Q5_0 => 22,
            Encoding::Q5_1 => 24,
            Encoding::Q8_0 => 34,
            Encoding::Q4K => 144,
            Encoding::Q5K => 176,
            Encoding::Q6K => 210,
        }
    }

    /// The name that files and messages use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::F32 => "F32",
            Encoding::F16 => "F16",
            Encoding::Bf16 => "BF16",
            Encoding::Q4_0 => "Q4_0",
            Encoding::Q4_1 => "Q4_1",
            Encoding::Q5_0 => "Q5_0",
            Encoding::Q5_1 => "Q5_1",
            Encoding::Q8_0 => "Q8_0",
            Encoding::Q4K => "Q4_K",
            Encoding::Q5K => "Q5_K",
            Encoding::Q6K => "Q6_K",
        }
    }

    /// Whether each block of 32 weights lies on a grid of 16 values, so that 4 bits lose nothing.
    #[must_use]
    pub const fn has_four_bit_grid(self) -> bool {
        matches!(self, Encoding::Q4_0 | Encoding::Q4_1 | Encoding::Q4K)
    }

    /// Bytes of a row, or `None` where it is not a whole number of blocks or overflows.
    #[must_use]
    pub const fn row_size(self, columns: usize) -> Option<usize> {
        if columns.is_multiple_of(self.block_weights()) {
            (columns / self.block_weights()).checked_mul(self.block_size())
        } else {
            None
        }
    }
}

/// A tensor read in place.
#[derive(Clone, Copy, Debug)]
pub struct Tensor<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Rows: the product of all dimensions but the fastest.
    pub rows: usize,
    /// Numbers in a row.
    pub columns: usize,
    /// How they are stored.
    pub encoding: Encoding,
    /// All rows, one after the other.
    pub data: &'a [u8],
}

impl<'a> Tensor<'a> {
    /// Bytes of one row.
    #[must_use]
    pub fn row(&self, row: usize) -> &'a [u8] {
        let size = self.encoding.row_size(self.columns).unwrap_or(0);
        self.data.get(row * size..(row + 1) * size).unwrap_or(&[])
    }
}
