//! Integers of a configuration.

use super::*;

fn shape(family: Family) -> Shape {
    Shape {
        family,
        vocabulary: 100,
        layers: 2,
        width: 1_152,
        hidden: 64,
        heads: 2,
        kv_heads: 1,
        head_size: 64,
        context_max: 1 << 20,
        epsilon: 1.0e-5,
        rope_base: 10_000.0,
        rope_factors: Vec::new(),
        rope_linear: 1.0,
        window: 512,
        score_divisor: 64.0,
    }
}

#[test]
fn numbers_become_their_nearest_integers() {
    let config = shape(Family::Llama).config().unwrap();
    // 1e-5 * 2^56.
    assert_eq!(config.epsilon, 720_575_940_379);
    assert_eq!(config.embedding_multiplier, 1 << 24);
    // log2(e) / 8 / 2047^2 * 2^60.
    assert_eq!(config.score_scale, 49_619_068_441);
    assert_eq!((config.window, config.window_period), (0, 0));
    let gemma = shape(Family::Gemma3).config().unwrap();
    // sqrt(1152) * 2^24.
    assert_eq!(gemma.embedding_multiplier, 569_437_594);
    assert_eq!((gemma.window, gemma.window_period), (512, 6));
}

#[test]
fn a_context_longer_than_the_format_is_cut() {
    assert_eq!(shape(Family::Qwen3).config().unwrap().context_max, 131_072);
}

#[test]
fn a_setting_out_of_range_is_refused_by_name() {
    let sound = || shape(Family::Llama);
    for (shape, what) in [
        (Shape { heads: 0, ..sound() }, "heads"),
        (Shape { kv_heads: 3, ..sound() }, "kv_heads"),
        (Shape { layers: 513, ..sound() }, "layers"),
        (Shape { width: 65_537, ..sound() }, "width"),
        (Shape { head_size: 0, ..sound() }, "head_size"),
        (Shape { epsilon: 0.0, ..sound() }, "epsilon"),
        (Shape { epsilon: f64::NAN, ..sound() }, "epsilon"),
        (Shape { score_divisor: 0.0, ..sound() }, "score_scale"),
        (Shape { score_divisor: -1.0, ..sound() }, "score_scale"),
    ] {
        let message = shape.config().unwrap_err();
        assert!(message.contains(what), "{what}: {message}");
    }
}

#[test]
fn rotary_steps_are_turns_of_a_position() {
    let steps = shape(Family::Llama).rope_steps(false).unwrap();
    assert_eq!(steps.len(), 32);
    // The first pair turns one radian a position: 2^64 / (2 pi), to the precision of f64.
    let turn = 2_935_890_503_282_001_226u64;
    assert!(steps[0].abs_diff(turn) < 2_048, "{}", steps[0]);
    assert!(steps.is_sorted_by(|left, right| left > right));
    let linear = Shape { rope_linear: 8.0, ..shape(Family::Gemma3) };
    assert_eq!(linear.rope_steps(false).unwrap()[0], steps[0] / 8);
    assert_eq!(linear.rope_steps(true).unwrap(), steps, "windowed layers are not stretched");
}

#[test]
fn rotary_settings_that_are_no_turns_are_refused() {
    let sound = || shape(Family::Llama);
    for shape in [
        Shape { rope_base: 0.0, ..sound() },
        Shape { rope_base: -2.0, ..sound() },
        Shape { rope_base: f64::NAN, ..sound() },
        Shape { rope_base: f64::INFINITY, ..sound() },
        Shape { rope_linear: 0.0, ..sound() },
        Shape { rope_linear: f64::NAN, ..sound() },
        Shape { rope_factors: alloc::vec![1.0; 31], ..sound() },
        Shape { rope_factors: alloc::vec![-1.0; 32], ..sound() },
    ] {
        assert!(shape.rope_steps(false).is_err(), "{shape:?}");
    }
}

#[test]
fn llama_3_keeps_short_wavelengths_and_stretches_long_ones() {
    // Llama 3.2 1B: base 500000, heads of 64, factor 32, bands 1 and 4, context 8192.
    let factors = llama3_factors((500_000.0, 64), 32.0, (1.0, 4.0), 8_192.0);
    assert_eq!(factors.len(), 32);
    assert!(factors[..15].iter().all(|&factor| factor == 1.0), "{factors:?}");
    assert!(factors[18..].iter().all(|&factor| factor == 32.0), "{factors:?}");
    assert!(factors.is_sorted());
}
