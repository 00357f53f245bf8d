//! Vectors of an artifact: norm weights, biases, rotary steps.
//!
//! A vector section is a 64-byte header (count, exponent, width of one element) and the elements.
//!
//! Invariants:
//! - Norm weights are below 2^23 in magnitude, so a product with a residual fits 55 bits.
//!
//! Not here: matrices.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::{read_u32, read_u64};

/// Largest magnitude of a norm weight's mantissa.
pub const NORM_WEIGHT_MAX: i32 = (1 << 23) - 1;

const HEADER_SIZE: usize = 64;

/// A vector of 32-bit integers with a common exponent: value = element * 2^-exponent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vector {
    /// The elements.
    pub elements: Vec<i32>,
    /// Power of two that divides, -64 to 64.
    pub exponent: i32,
}

impl Vector {
    /// The section's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = header(self.elements.len(), self.exponent, 4);
        self.elements.iter().for_each(|element| out.extend_from_slice(&element.to_le_bytes()));
        out
    }

    /// Reads a section of `count` elements, each at most `max` in magnitude.
    ///
    /// # Errors
    /// When the size, the exponent or an element is out of range.
    pub fn from_bytes(bytes: &[u8], count: usize, max: i32) -> Result<Vector, String> {
        let exponent = check(bytes, count, 4)?;
        let elements: Vec<i32> =
            (0..count).map(|i| read_u32(bytes, HEADER_SIZE + 4 * i) as i32).collect();
        match elements.iter().position(|element| element.unsigned_abs() > max.unsigned_abs()) {
            Some(at) => Err(alloc::format!("element {at} is above {max}")),
            None => Ok(Vector { elements, exponent }),
        }
    }
}

/// The bytes of a section of rotary steps: turns per position in units of 2^-64.
#[must_use]
pub fn steps_to_bytes(steps: &[u64]) -> Vec<u8> {
    let mut out = header(steps.len(), 64, 8);
    steps.iter().for_each(|step| out.extend_from_slice(&step.to_le_bytes()));
    out
}

/// Reads a section of `count` rotary steps.
///
/// # Errors
/// When the size is wrong.
pub fn steps_from_bytes(bytes: &[u8], count: usize) -> Result<Vec<u64>, String> {
    check(bytes, count, 8)?;
    Ok((0..count).map(|i| read_u64(bytes, HEADER_SIZE + 8 * i)).collect())
}

fn header(count: usize, exponent: i32, width: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_SIZE + count * width as usize);
    out.extend_from_slice(&(count as u32).to_le_bytes());
    out.extend_from_slice(&exponent.to_le_bytes());
    out.extend_from_slice(&width.to_le_bytes());
    out.resize(HEADER_SIZE, 0);
    out
}

fn check(bytes: &[u8], count: usize, width: u32) -> Result<i32, String> {
    if bytes.len() != HEADER_SIZE + count * width as usize {
        return Err(alloc::format!("{} bytes do not hold {count} elements", bytes.len()));
    }
    if read_u32(bytes, 0) as usize != count || read_u32(bytes, 8) != width {
        return Err("the header's count or width is not that of the section".to_string());
    }
    if bytes[12..HEADER_SIZE].iter().any(|&byte| byte != 0) {
        return Err("reserved bytes are not zero".to_string());
    }
    let exponent = read_u32(bytes, 4) as i32;
    if (-64..=64).contains(&exponent) {
        Ok(exponent)
    } else {
        Err("exponent out of range".to_string())
    }
}
