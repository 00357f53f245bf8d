//! The formulas of a position's steps, over rows of numbers.
//!
//! The engine's own element-wise bodies, put together as `docs/spec/int-1.md` says: `step` reads and
//! writes the bytes of results around them, and the light audit takes one after the other.
//!
//! Invariants:
//! - No numbers make them panic; rows of one call have the lengths that the shape gives them.
//!
//! Not here: sums of products, and attention over past positions (`step`, `light::attention`).

use alloc::vec::Vec;

use engine::artifact::config::Config;
use engine::artifact::matrix::Layout;
use engine::artifact::vector::Vector;
use engine::forward::{FRACTION, POST_NORM_FRACTION};
use engine::kernels::Isa;
use engine::kernels::activations::{Unit, row_scale};
use engine::kernels::attention::{HeadNorm, inverse, norm_head, root_mean_square};
use engine::kernels::element;
use engine::kernels::matmul::Epilogue;
use engine::kernels::rows::room;
use engine::numeric::{Scale, saturate};

use crate::graph::What;
use crate::step::{Quantised, Turns};

/// A token's embedding, from its row of the matrix and that row's scale.
pub(crate) fn embedded(config: &Config, weights: &[i32], exponent: i32, scale: i32) -> Vec<i32> {
    let shift = (exponent + 24 - config.residual_fraction as i32).clamp(1, 126) as u32;
    let scale = i128::from(scale) * i128::from(config.embedding_multiplier);
    let element = |weight: &i32| {
        let value = (i128::from(*weight) * scale + (1i128 << (shift - 1))) >> shift;
        saturate(value.clamp(i64::MIN.into(), i64::MAX.into()) as i64)
    };
    weights.iter().map(element).collect()
}

/// A residual row normed and quantised.
pub(crate) fn normed(
    config: &Config,
    norm: &Vector,
    row: &[i32],
    terms: &mut Vec<i64>,
    out: &mut Quantised,
) {
    let terms = room(terms, row.len());
    let sum = element::norm_terms(isa(), row, &norm.elements, terms);
    let fraction = config.residual_fraction;
    let rms = root_mean_square(sum, row.len(), fraction, config.epsilon);
    let exponent = fraction as i32 + norm.exponent - 28;
    quantise(terms, Unit { rms, exponent }, out);
}

/// How the exact sums of a product over a row of this scale become fixed point.
pub(crate) fn epilogue(
    config: &Config,
    what: What,
    (layout, exponent): (&Layout, i32),
    scale: Scale,
) -> Epilogue {
    let fraction = match what {
        What::AttentionOutput | What::Down if config.family.has_post_norms() => POST_NORM_FRACTION,
        What::AttentionOutput | What::Down => config.residual_fraction,
        _ => FRACTION,
    };
    let product_shift = layout.product_shift();
    let shift =
        i64::from(exponent) + i64::from(scale.exponent) - i64::from(product_shift + fraction + 31);
    Epilogue { product_shift, mantissa: scale.mantissa, shift: shift.clamp(1, 62) as u32 }
}

/// Norms, if the family does so, and rotates a query or key head.
pub(crate) fn turn(
    config: &Config,
    norm: Option<&Vector>,
    turns: &Turns,
    terms: &mut Vec<i64>,
    head: &mut [i32],
) {
    if let Some(norm) = norm {
        let norm =
            HeadNorm { weights: &norm.elements, exponent: norm.exponent, epsilon: config.epsilon };
        norm_head(isa(), norm, terms, head);
    }
    element::rotate(isa(), head, &turns.cos, &turns.sin);
}

/// The heads' results, which stand one after the other, quantised.
pub(crate) fn joined(results: &[i32], terms: &mut Vec<i64>, out: &mut Quantised) {
    let terms = room(terms, results.len());
    element::widen(isa(), results, terms);
    quantise(terms, Unit { rms: 1, exponent: FRACTION as i32 }, out);
}

/// The gated values quantised.
pub(crate) fn gated(
    config: &Config,
    [gate, up]: [&[i32]; 2],
    terms: &mut Vec<i64>,
    out: &mut Quantised,
) {
    let terms = room(terms, gate.len());
    element::gated(isa(), config.activation, gate, up, terms);
    quantise(terms, Unit { rms: 1, exponent: 2 * FRACTION as i32 }, out);
}

/// Adds a block's output to the residual row, normed first where the family does so.
pub(crate) fn add(
    config: &Config,
    norm: Option<&Vector>,
    output: &mut [i32],
    terms: &mut Vec<i64>,
    row: &mut [i32],
) {
    if let Some(norm) = norm {
        let terms = room(terms, output.len());
        let sum = element::norm_terms(isa(), output, &norm.elements, terms);
        let rms = root_mean_square(sum, output.len(), POST_NORM_FRACTION, config.epsilon);
        let exponent = norm.exponent + (POST_NORM_FRACTION - config.residual_fraction) as i32;
        element::rescale(isa(), terms, inverse(rms), exponent, output);
    }
    element::add(isa(), row, output);
}

fn quantise(terms: &[i64], unit: Unit, out: &mut Quantised) {
    out.x.resize(terms.len(), 0);
    let (largest, shift) = element::quantise(isa(), terms, &mut out.x);
    out.scale = row_scale(largest, shift, unit);
}

/// Every instruction set gives the same integers.
pub(crate) fn isa() -> Isa {
    Isa::best()
}
