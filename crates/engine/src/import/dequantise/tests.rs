//! Numbers of stored blocks, against the reference implementation in Python.

use super::*;
use crate::import::gguf_build::random;

const FIXTURES: [(Encoding, &str); 11] = [
    (Encoding::F32, include_str!("../../../../../fixtures/dequantise/F32.hex")),
    (Encoding::F16, include_str!("../../../../../fixtures/dequantise/F16.hex")),
    (Encoding::Bf16, include_str!("../../../../../fixtures/dequantise/BF16.hex")),
    (Encoding::Q4_0, include_str!("../../../../../fixtures/dequantise/Q4_0.hex")),
    (Encoding::Q4_1, include_str!("../../../../../fixtures/dequantise/Q4_1.hex")),
    (Encoding::Q5_0, include_str!("../../../../../fixtures/dequantise/Q5_0.hex")),
    (Encoding::Q5_1, include_str!("../../../../../fixtures/dequantise/Q5_1.hex")),
    (Encoding::Q8_0, include_str!("../../../../../fixtures/dequantise/Q8_0.hex")),
    (Encoding::Q4K, include_str!("../../../../../fixtures/dequantise/Q4_K.hex")),
    (Encoding::Q5K, include_str!("../../../../../fixtures/dequantise/Q5_K.hex")),
    (Encoding::Q6K, include_str!("../../../../../fixtures/dequantise/Q6_K.hex")),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2).map(|pair| core::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// Rows of stored bytes, and the bits of their numbers.
fn fixture(table: &str) -> Vec<(Vec<u8>, Vec<u32>)> {
    let row = |line: &str| {
        let (stored, numbers) = line.split_once(' ').unwrap();
        let bits = |bytes: &[u8; 4]| u32::from_le_bytes(*bytes);
        (bytes(stored), bytes(numbers).as_chunks::<4>().0.iter().map(bits).collect())
    };
    table.lines().map(row).collect()
}

fn tensor(encoding: Encoding, columns: usize, data: &[u8]) -> Tensor<'_> {
    let rows = data.len() / encoding.row_size(columns).unwrap();
    Tensor { name: "t", rows, columns, encoding, data }
}

#[test]
fn every_encoding_gives_the_reference_bits() {
    for (encoding, table) in FIXTURES {
        let rows = fixture(table);
        assert_eq!(rows.len(), 6, "{encoding:?}");
        let data: Vec<u8> = rows.iter().flat_map(|(stored, _)| stored.clone()).collect();
        let columns = rows[0].1.len();
        let tensor = tensor(encoding, columns, &data);
        for (index, (_, expected)) in rows.iter().enumerate() {
            let mut out = alloc::vec![0f32; columns];
            row(&tensor, index, &mut out).unwrap();
            let bits: Vec<u32> = out.iter().map(|value| value.to_bits()).collect();
            assert_eq!(&bits, expected, "{encoding:?}, row {index}");
        }
    }
}

#[test]
fn every_binary16_number_has_its_value() {
    for bits in 0..=u16::MAX {
        let (exponent, mantissa) = (i32::from(bits >> 10 & 31), f64::from(bits & 0x3ff));
        let magnitude = match exponent {
            0 => mantissa * libm::exp2(-24.0),
            31 if mantissa == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            _ => (1024.0 + mantissa) * libm::exp2(f64::from(exponent - 25)),
        };
        let expected = if bits >> 15 == 1 { -magnitude } else { magnitude };
        let found = half(bits.to_le_bytes());
        let is_same = f64::from(found).to_bits() == expected.to_bits();
        assert!(is_same || found.is_nan() && expected.is_nan(), "{bits:#06x}: {found}");
    }
}

#[test]
fn a_row_outside_the_tensor_is_refused() {
    let data = [0u8; 64];
    let tensor = tensor(Encoding::F32, 8, &data);
    let mut out = [0f32; 8];
    assert!(row(&tensor, 2, &mut out).is_err());
    assert!(row(&tensor, 1, &mut out).is_ok());
    assert!(row(&tensor, 1, &mut out[..7]).is_err());
}

#[test]
fn a_number_beyond_the_limit_is_refused() {
    for (value, is_sound) in [(MAGNITUDE_MAX, true), (-MAGNITUDE_MAX * 1.001, false)] {
        let data = value.to_le_bytes();
        let found = row(&tensor(Encoding::F32, 1, &data), 0, &mut [0.0]);
        assert_eq!(found.is_ok(), is_sound, "{found:?}");
    }
}

#[test]
fn a_grid_holds_every_number_of_its_block() {
    let cases = [
        (Encoding::Q4_0, Bits::Four),
        (Encoding::Q4_1, Bits::Four),
        (Encoding::Q4K, Bits::Four),
        (Encoding::Q4_0, Bits::Eight),
        (Encoding::Q5_0, Bits::Eight),
        (Encoding::Q8_0, Bits::Eight),
    ];
    for (encoding, bits) in cases {
        let data = random::matrix_bytes(encoding, 4, 512, 3);
        let tensor = tensor(encoding, 512, &data);
        for index in 0..4 {
            let (mut values, mut found) = ([0f32; 512], Vec::new());
            row(&tensor, index, &mut values).unwrap();
            grids(&tensor, index, bits, &mut found);
            assert_eq!(found.len(), 16, "{encoding:?}");
            // A sub-scale of 0 has one point and no step.
            let blocks = found.iter().zip(values.chunks(32));
            for (grid, block) in blocks.filter(|(grid, _)| grid.step != 0.0) {
                for value in block {
                    let steps = (f64::from(*value) - f64::from(grid.base)) / f64::from(grid.step);
                    let distance = (steps - libm::rint(steps)).abs();
                    assert!(distance < 1.0e-3, "{encoding:?}: {value} is {steps} steps");
                    // The base of a 4-bit grid is its lowest point, or the grid is of no use.
                    let is_inside = bits == Bits::Eight || (-0.1..15.1).contains(&steps);
                    assert!(is_inside, "{encoding:?}: {value} is {steps} steps");
                }
            }
        }
    }
}
