//! The integer arithmetic of profile `int-1`: rounding, normalising, and the elementary functions.
//!
//! Every function here is a rule of `docs/spec/int-1.md`, section 2, written as the specification
//! says it. They are total: no input of their stated range overflows or panics.
//!
//! Invariants:
//! - No floats, no tables, no dependence on the machine.
//!
//! Not here: anything that sums over elements (`kernels`).

/// Largest magnitude of a quantised activation: 127 * 128, so that it splits into two int8 planes.
pub const ACTIVATION_MAX: i32 = 16_256;
/// Largest magnitude of a quantised query or key element: 12 bits.
pub const KEY_MAX: i32 = 2_047;
/// Largest magnitude of a quantised value element: 8 bits.
pub const VALUE_MAX: i32 = 127;
/// Largest softmax weight: 15 bits.
pub const WEIGHT_MAX: i32 = 32_767;

/// Shifts right by `shift` in 0..=62, rounding half up. The caller bounds |value| below 2^62.
#[inline(always)]
#[must_use]
pub const fn round_shift(value: i64, shift: u32) -> i64 {
    (value + ((1i64 << shift) >> 1)) >> shift
}

/// Clamps to 32 bits.
#[inline(always)]
#[must_use]
pub const fn saturate(value: i64) -> i32 {
    if value > i32::MAX as i64 {
        i32::MAX
    } else if value < i32::MIN as i64 {
        i32::MIN
    } else {
        value as i32
    }
}

/// How many bits a number needs; 0 for 0.
#[inline(always)]
#[must_use]
pub const fn bit_length(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// A positive scale: `mantissa * 2^-exponent`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scale {
    /// 0, or with its top bit set at the width that the rule asks for.
    pub mantissa: i32,
    /// Power of two that divides.
    pub exponent: i32,
}

impl Scale {
    /// The scale `value * 2^-exponent` with `bits` in 1..=31 significant bits, truncated.
    #[must_use]
    pub const fn new(value: u128, exponent: i32, bits: u32) -> Scale {
        if value == 0 {
            return Scale { mantissa: 0, exponent: 62 };
        }
        let length = 128 - value.leading_zeros();
        if length > bits {
            let drop = length - bits;
            Scale { mantissa: (value >> drop) as i32, exponent: exponent - drop as i32 }
        } else {
            let add = bits - length;
            Scale { mantissa: (value << add) as i32, exponent: exponent + add as i32 }
        }
    }
}

/// 2^-(d / 2^16) in Q16, for d >= 0. Error below 2^-14 absolute.
#[inline(always)]
#[must_use]
pub const fn exp2_q16(d: i32) -> i32 {
    let whole = d >> 16;
    let f = (d & 0xffff) >> 1;
    let p = 3_549 - ((481 * f + 16_384) >> 15);
    let p = 15_726 - ((p * f + 16_384) >> 15);
    let p = 45_426 - ((p * f + 16_384) >> 15);
    let r = 65_536 - ((p * f + 16_384) >> 15);
    let n = if whole > 20 { 20 } else { whole };
    (r + ((1 << n) >> 1)) >> n
}

/// Coefficients of 2^-f = sum over k of (-1)^k * c[k] * f^k in Q30: ln(2)^k / k!.
pub(crate) const EXP2_Q30: [i64; 12] = [
    1_073_741_824,
    744_261_118,
    257_941_248,
    59_597_083,
    10_327_387,
    1_431_680,
    165_394,
    16_377,
    1_419,
    109,
    8,
    0,
];

/// 2^-(d / 2^24) in Q30, for any d. Error below 2^-26 absolute.
#[must_use]
pub const fn exp2_q30(d: u64) -> u64 {
    let whole = d >> 24;
    if whole > 31 {
        return 0;
    }
    let f = ((d & 0xff_ffff) << 6) as i64;
    let mut sum = 0i64;
    let mut k = EXP2_Q30.len();
    while k > 0 {
        k -= 1;
        sum = EXP2_Q30[k] - ((sum * f) >> 30);
    }
    (sum as u64) >> whole
}

/// The logistic function of g / 2^16, in Q15, 0..=32768.
#[inline(always)]
#[must_use]
pub const fn sigmoid_q15(g: i32) -> i32 {
    const LIMIT: i32 = 22 << 16;
    let a = if g < 0 { g.wrapping_neg() } else { g };
    let a = if a < 0 || a > LIMIT { LIMIT } else { a };
    // 5909 / 2^12 is log2(e).
    let e = exp2_q16(((a >> 2) * 5_909) >> 10);
    // 1 / (1 + f) for f in Q15 by a cubic, then one Newton step.
    let f = e >> 1;
    let p = 22_148 - ((7_490 * f) >> 15);
    let p = 31_028 - ((p * f) >> 15);
    let r = 32_720 - ((p * f) >> 15);
    let t = ((1u32 << 31).wrapping_sub(((32_768 + f) * r) as u32) >> 15) as i32;
    let r = ((r as u32 * t as u32) >> 15) as i32;
    let s = ((e as u32 * r as u32 + 32_768) >> 16) as i32;
    if g < 0 { s } else { 32_768 - s }
}

/// SiLU of g / 2^16, in Q16.
#[inline(always)]
#[must_use]
pub const fn silu_q16(g: i32) -> i32 {
    ((g as i64 * sigmoid_q15(g) as i64 + 16_384) >> 15) as i32
}

/// GELU of g / 2^16 in its tanh form, in Q16: g * logistic(1.5957691 * (g + 0.044715 * g^3)).
#[inline(always)]
#[must_use]
pub const fn gelu_q16(g: i32) -> i32 {
    const LIMIT: i32 = 8 << 16;
    let c = if g > LIMIT {
        LIMIT
    } else if g < -LIMIT {
        -LIMIT
    } else {
        g
    } as i64;
    let square = (c * c) >> 16;
    let inner = 65_536 + ((square * 750_193 + (1 << 23)) >> 24);
    let z = (c * inner + 32_768) >> 16;
    let argument = ((z * 104_580 + 32_768) >> 16) as i32;
    ((g as i64 * sigmoid_q15(argument) as i64 + 16_384) >> 15) as i32
}

/// Coefficients of -log2 of the normal distribution's tail, a polynomial in Q24.
const TAIL_Q24: [i64; 6] = [16_777_848, 19_307_011, 7_717_403, 869_511, -118_856, 7_940];

/// GELU of g / 2^16 in its exact form, in Q16: max(g, 0) - |g| * tail(|g|), where tail(a) is the chance
/// that a normal number exceeds a. Error below 2^-14 absolute.
#[inline(always)]
#[must_use]
pub const fn gelu_erf_q16(g: i32) -> i32 {
    const LIMIT: i64 = 6 << 16;
    let magnitude = if g < 0 { -(g as i64) } else { g as i64 };
    let a = if magnitude > LIMIT { LIMIT } else { magnitude };
    let mut p = TAIL_Q24[5];
    p = TAIL_Q24[4] + ((p * a) >> 16);
    p = TAIL_Q24[3] + ((p * a) >> 16);
    p = TAIL_Q24[2] + ((p * a) >> 16);
    p = TAIL_Q24[1] + ((p * a) >> 16);
    p = TAIL_Q24[0] + ((p * a) >> 16);
    let tail = exp2_q16((p >> 8) as i32) as i64;
    let positive = if g > 0 { g } else { 0 };
    (positive as i64 - ((magnitude * tail + 32_768) >> 16)) as i32
}

/// Coefficients of sin(pi/2 * x) = x * sum over k of (-1)^k * c[k] * x^(2k) in Q30.
const SINE_Q30: [i64; 8] =
    [1_686_629_713, 693_598_668, 85_569_306, 5_026_995, 172_272, 3_864, 61, 1];

/// Cosine and sine, Q30, of an angle given as a fraction of a turn in units of 2^-64.
#[must_use]
pub const fn cos_sin_q30(turn: u64) -> (i32, i32) {
    const QUARTER: i64 = 1 << 30;
    let quadrant = turn >> 62;
    let x = ((turn << 2) >> 34) as i64;
    let (sine, cosine) = (quarter_sine(x), quarter_sine(QUARTER - x));
    match quadrant {
        0 => (cosine, sine),
        1 => (-sine, cosine),
        2 => (-cosine, -sine),
        _ => (sine, -cosine),
    }
}

/// sin(pi/2 * x) in Q30 for x in Q30, 0..=1.
const fn quarter_sine(x: i64) -> i32 {
    let square = (x * x) >> 30;
    let mut sum = 0i64;
    let mut k = SINE_Q30.len();
    while k > 0 {
        k -= 1;
        sum = SINE_Q30[k] - ((sum * square) >> 30);
    }
    let sine = (x * sum + (1 << 29)) >> 30;
    if sine > 1 << 30 { 1 << 30 } else { sine as i32 }
}

#[cfg(test)]
mod tests;
