use super::*;

/// Largest error of an integer function against the real one over a range of inputs.
fn worst(inputs: impl Iterator<Item = i64>, error: impl Fn(i64) -> f64) -> f64 {
    inputs.map(error).fold(0.0, f64::max)
}

#[test]
fn exp2_stays_within_its_stated_error() {
    let error =
        |d: i64| (f64::from(exp2_q16(d as i32)) / 65_536.0 - (-d as f64 / 65_536.0).exp2()).abs();
    assert!(worst((0..1 << 21).step_by(7), error) < 1.0 / 16_384.0);
    let error = |d: i64| {
        (exp2_q30(d as u64) as f64 / f64::from(1 << 30) - (-d as f64 / f64::from(1 << 24)).exp2())
            .abs()
    };
    assert!(worst((0..1 << 30).step_by(10_007), error) < 1.0 / f64::from(1 << 26));
    assert_eq!(exp2_q30(u64::MAX), 0);
    assert_eq!(exp2_q16(i32::MAX), 0);
}

#[test]
fn sigmoid_and_the_activations_stay_close_to_the_real_functions() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let inputs = || (-40 * 65_536..40 * 65_536).step_by(101);
    let real = |g: i64| g as f64 / 65_536.0;
    let error = |g: i64| (f64::from(sigmoid_q15(g as i32)) / 32_768.0 - sigmoid(real(g))).abs();
    assert!(worst(inputs(), error) < 1.0e-4);
    let error = |g: i64| {
        let x = real(g);
        (f64::from(silu_q16(g as i32)) / 65_536.0 - x * sigmoid(x)).abs() / (1.0 + x.abs())
    };
    assert!(worst(inputs(), error) < 1.0e-4);
    let error = |g: i64| {
        let x = real(g);
        let gelu = x * sigmoid((8.0 / core::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x));
        (f64::from(gelu_q16(g as i32)) / 65_536.0 - gelu).abs() / (1.0 + x.abs())
    };
    assert!(worst(inputs(), error) < 1.0e-4);
    for g in [i32::MIN, i32::MAX] {
        assert_eq!(silu_q16(g), g.max(0));
        assert_eq!(gelu_q16(g), g.max(0));
    }
}

#[test]
fn cosine_and_sine_lie_on_the_circle() {
    let unit = f64::from(1 << 30);
    for i in 0..100_000u64 {
        let turn = i.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let angle = turn as f64 / 2f64.powi(64) * core::f64::consts::TAU;
        let (cosine, sine) = cos_sin_q30(turn);
        assert!((f64::from(cosine) - angle.cos() * unit).abs() < 5.0, "turn {turn}");
        assert!((f64::from(sine) - angle.sin() * unit).abs() < 5.0, "turn {turn}");
    }
}

#[test]
fn a_scale_keeps_the_value_to_its_width() {
    for (value, exponent, bits) in
        [(1u128, 0, 31), (u128::MAX, 100, 31), (12_345, -7, 16), (1 << 40, 3, 16)]
    {
        let scale = Scale::new(value, exponent, bits);
        assert_eq!(bit_length(scale.mantissa as u64), bits);
        let kept = f64::from(scale.mantissa) * 2f64.powi(-scale.exponent);
        let real = value as f64 * 2f64.powi(-exponent);
        assert!((kept / real - 1.0).abs() < 2f64.powi(1 - bits as i32));
    }
    assert_eq!(Scale::new(0, 5, 31).mantissa, 0);
}

#[test]
fn rounding_goes_half_up() {
    let rounded: Vec<i64> = [-3, -2, -1, 0, 1, 2, 3].iter().map(|&v| round_shift(v, 1)).collect();
    assert_eq!(rounded, [-1, -1, 0, 0, 1, 1, 2]);
    assert_eq!(round_shift(7, 0), 7);
}

#[test]
fn the_exact_form_of_gelu_follows_the_integral() {
    for (g, expected) in [
        (0, 0),
        (65_536, 55_138),
        (-65_536, -10_398),
        (131_072, 128_090),
        (-131_072, -2_982),
        (-400_000, 0),
        (i32::MAX, i32::MAX),
        (i32::MIN, 0),
    ] {
        let found = gelu_erf_q16(g);
        assert!((i64::from(found) - expected as i64).abs() <= 4, "{g}: {found}, not {expected}");
    }
}
