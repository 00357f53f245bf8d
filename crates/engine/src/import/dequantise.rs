//! Turns stored blocks into numbers, exactly as their formats say.
//!
//! The formats are ggml's, the library beneath GGUF. Every product is one IEEE operation in f32, in
//! the order written, so the numbers are the same on every machine.
//!
//! Invariants:
//! - A row that holds NaN, an infinity or a number beyond `MAGNITUDE_MAX` is refused.
//!
//! Not here: integers of the artifact (`quantise`).

use alloc::string::ToString;
use alloc::vec::Vec;

use super::ImportError;
use super::quantise::Grid;
use super::tensor::{Encoding, Tensor};
use crate::artifact::matrix::Bits;

/// Largest magnitude of a number: 2^64. Trained weights are far below, and up to it row
/// scales and norms fit the exponents that the artifact allows.
pub const MAGNITUDE_MAX: f32 = 18_446_744_073_709_551_616.0;

/// Writes row `row` of a tensor to `out`, which has its number of columns.
///
/// # Errors
/// When a number is not finite or too large, or the row is not there.
pub fn row(tensor: &Tensor<'_>, row: usize, out: &mut [f32]) -> Result<(), ImportError> {
    let data = tensor.row(row);
    if data.is_empty() || out.len() < tensor.columns {
        return Err(ImportError::NotFinite { tensor: tensor.name.to_string(), row });
    }
    let out = &mut out[..tensor.columns];
    match tensor.encoding {
        Encoding::F32 => each::<4, 1>(data, out, |block, out| out[0] = f32::from_le_bytes(*block)),
        Encoding::F16 => each::<2, 1>(data, out, |block, out| out[0] = half(*block)),
        Encoding::Bf16 => each::<2, 1>(data, out, |block, out| {
            out[0] = f32::from_bits(u32::from(u16::from_le_bytes(*block)) << 16);
        }),
        Encoding::Q4_0 => each::<18, 32>(data, out, q4_0),
        Encoding::Q4_1 => each::<20, 32>(data, out, q4_1),
        Encoding::Q5_0 => each::<22, 32>(data, out, q5_0),
        Encoding::Q5_1 => each::<24, 32>(data, out, q5_1),
        Encoding::Q8_0 => each::<34, 32>(data, out, q8_0),
        Encoding::Q4K => each::<144, 256>(data, out, q4_k),
        Encoding::Q5K => each::<176, 256>(data, out, q5_k),
        Encoding::Q6K => each::<210, 256>(data, out, q6_k),
    }
    // False for NaN too; no early exit, so that the comparison is done eight numbers at a time.
    let is_sound = out.iter().fold(true, |sound, value| sound & (value.abs() <= MAGNITUDE_MAX));
    if is_sound { Ok(()) } else { Err(refusal(tensor, row, out)) }
}

fn refusal(tensor: &Tensor<'_>, row: usize, values: &[f32]) -> ImportError {
    let tensor = tensor.name.to_string();
    match values.iter().all(|value| value.is_finite()) {
        true => ImportError::TooLarge { tensor, row, max: MAGNITUDE_MAX },
        false => ImportError::NotFinite { tensor, row },
    }
}

fn each<const SIZE: usize, const WEIGHTS: usize>(
    data: &[u8],
    out: &mut [f32],
    block: impl Fn(&[u8; SIZE], &mut [f32; WEIGHTS]),
) {
    let blocks = data.as_chunks::<SIZE>().0;
    for (data, out) in blocks.iter().zip(out.as_chunks_mut::<WEIGHTS>().0) {
        block(data, out);
    }
}

/// The grid on which each block of 32 of a row lies in the source, where it helps to quantise to
/// `bits`: none is written where it does not.
pub fn grids(tensor: &Tensor<'_>, row: usize, bits: Bits, out: &mut Vec<Grid>) {
    out.clear();
    let data = tensor.row(row);
    let first = |block: &[u8]| half([block[0], block[1]]);
    match (tensor.encoding, bits) {
        (Encoding::Q4_0, Bits::Four) => {
            // Quants are -8 to 7. A negative scale, as half of them are, turns that to -7 to 8.
            let lowest = |scale: f32| if scale < 0.0 { 7.0 * scale } else { -8.0 * scale };
            let grid =
                |block: &[u8; 18]| Grid { step: first(block).abs(), base: lowest(first(block)) };
            out.extend(data.as_chunks::<18>().0.iter().map(grid));
        }
        (Encoding::Q4_1, Bits::Four) => {
            let grid = |block: &[u8; 20]| Grid { step: first(block), base: first(&block[2..]) };
            out.extend(data.as_chunks::<20>().0.iter().map(grid));
        }
        (Encoding::Q4K, Bits::Four) => {
            for block in data.as_chunks::<144>().0 {
                out.extend((0..8).map(|index| {
                    let (scale, minimum) = scale_and_minimum(&block[4..16], index);
                    let step = first(block) * f32::from(scale);
                    Grid { step, base: -(first(&block[2..]) * f32::from(minimum)) }
                }));
            }
        }
        (Encoding::Q4_0 | Encoding::Q5_0 | Encoding::Q8_0, Bits::Eight) => {
            let blocks = data.chunks_exact(tensor.encoding.block_size());
            out.extend(blocks.map(|block| Grid { step: first(block).abs(), base: 0.0 }));
        }
        _ => {}
    }
}

/// The value of a binary16 number.
pub(super) fn half(bytes: [u8; 2]) -> f32 {
    let bits = u32::from(u16::from_le_bytes(bytes));
    let (sign, magnitude) = ((bits & 0x8000) << 16, bits & 0x7fff);
    if magnitude >= 0x7c00 {
        return f32::from_bits(sign | 0x7f80_0000 | (magnitude & 0x3ff) << 13);
    }
    // The bits as a binary32 with too small an exponent; the product with 2^112 is exact.
    let value = f32::from_bits(magnitude << 13) * f32::from_bits(0x7780_0000);
    f32::from_bits(value.to_bits() | sign)
}

fn q4_0(block: &[u8; 18], out: &mut [f32; 32]) {
    let d = half([block[0], block[1]]);
    for i in 0..16 {
        let byte = block[2 + i];
        out[i] = d * (f32::from(byte & 15) - 8.0);
        out[i + 16] = d * (f32::from(byte >> 4) - 8.0);
    }
}

fn q4_1(block: &[u8; 20], out: &mut [f32; 32]) {
    let (d, m) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for i in 0..16 {
        let byte = block[4 + i];
        out[i] = d * f32::from(byte & 15) + m;
        out[i + 16] = d * f32::from(byte >> 4) + m;
    }
}

/// The fifth bits of a block's quants 0..16 and 16..32.
fn fifth(high: [u8; 4], i: usize) -> (u8, u8) {
    let high = u32::from_le_bytes(high);
    ((high >> i & 1) as u8, (high >> (i + 16) & 1) as u8)
}

fn q5_0(block: &[u8; 22], out: &mut [f32; 32]) {
    let d = half([block[0], block[1]]);
    for i in 0..16 {
        let (low, high) = fifth([block[2], block[3], block[4], block[5]], i);
        let byte = block[6 + i];
        out[i] = d * (f32::from(byte & 15 | low << 4) - 16.0);
        out[i + 16] = d * (f32::from(byte >> 4 | high << 4) - 16.0);
    }
}

fn q5_1(block: &[u8; 24], out: &mut [f32; 32]) {
    let (d, m) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for i in 0..16 {
        let (low, high) = fifth([block[4], block[5], block[6], block[7]], i);
        let byte = block[8 + i];
        out[i] = d * f32::from(byte & 15 | low << 4) + m;
        out[i + 16] = d * f32::from(byte >> 4 | high << 4) + m;
    }
}

fn q8_0(block: &[u8; 34], out: &mut [f32; 32]) {
    let d = half([block[0], block[1]]);
    for (out, &quant) in out.iter_mut().zip(&block[2..]) {
        *out = d * f32::from(quant as i8);
    }
}

/// The 6-bit scale and minimum of block `index` of 8, from 12 packed bytes.
pub(super) fn scale_and_minimum(packed: &[u8], index: usize) -> (u8, u8) {
    if index < 4 {
        (packed[index] & 63, packed[index + 4] & 63)
    } else {
        let low = packed[index + 4];
        let scale = low & 15 | packed[index - 4] >> 6 << 4;
        let minimum = low >> 4 | packed[index] >> 6 << 4;
        (scale, minimum)
    }
}

fn q4_k(block: &[u8; 144], out: &mut [f32; 256]) {
    let (d, m) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (index, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], index);
        let (d, m) = (d * f32::from(scale), m * f32::from(minimum));
        let shift = index % 2 * 4;
        for (out, &byte) in out.iter_mut().zip(&block[16 + index / 2 * 32..]) {
            *out = d * f32::from(byte >> shift & 15) - m;
        }
    }
}

fn q5_k(block: &[u8; 176], out: &mut [f32; 256]) {
    let (d, m) = (half([block[0], block[1]]), half([block[2], block[3]]));
    for (index, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, minimum) = scale_and_minimum(&block[4..16], index);
        let (d, m) = (d * f32::from(scale), m * f32::from(minimum));
        let shift = index % 2 * 4;
        let quants = block[48 + index / 2 * 32..].iter().zip(&block[16..48]);
        for (out, (&byte, &high)) in out.iter_mut().zip(quants) {
            *out = d * f32::from(byte >> shift & 15 | (high >> index & 1) << 4) - m;
        }
    }
}

fn q6_k(block: &[u8; 210], out: &mut [f32; 256]) {
    let d = half([block[208], block[209]]);
    for (i, out) in out.iter_mut().enumerate() {
        let (part, at) = (i / 128, i % 128);
        let low = block[part * 64 + at % 64] >> (at / 64 * 4) & 15;
        let high = block[128 + part * 32 + at % 32] >> (at / 32 * 2) & 3;
        let scale = f32::from(block[192 + i / 16] as i8);
        *out = d * scale * (f32::from(low | high << 4) - 32.0);
    }
}

#[cfg(test)]
mod tests;
