//! What the families share and where they differ, as the importer needs it.
//!
//! A `Shape` is a model's configuration in the terms of its source file, decimals included. From it
//! come the artifact's integers, by operations whose rounding IEEE 754 fixes (and `libm::pow`, which
//! is plain Rust and the same everywhere).
//!
//! Not here: reading a particular file format (`gguf_model`, `hugging_face`).

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::artifact::config::{Activation, Config, ENCODER_FRACTION_MAX, Family};
use crate::numeric::KEY_MAX;

/// log2(e).
const LOG2_E: f64 = core::f64::consts::LOG2_E;
/// Fraction bits of the residual: 19 integer bits, twenty times the largest value seen in SmolLM2.
const RESIDUAL_FRACTION: u32 = 12;
/// The same for Gemma 3, whose residual starts sqrt(width) times larger.
const RESIDUAL_FRACTION_GEMMA: u32 = 10;
/// Rotary base of Gemma 3's windowed layers (Gemma 3 technical report, 2025).
const LOCAL_BASE: f64 = 10_000.0;
/// Every sixth layer of Gemma 3 sees the whole context (same report).
const GEMMA_PERIOD: usize = 6;

/// A model's configuration in the terms of its source.
#[derive(Clone, Debug, PartialEq)]
pub struct Shape {
    /// Which graph.
    pub family: Family,
    /// Rows of the embedding.
    pub vocabulary: usize,
    /// Layers.
    pub layers: usize,
    /// Elements of the residual row.
    pub width: usize,
    /// Elements of the feed-forward network's inner row.
    pub hidden: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_size: usize,
    /// Positions in the longest context.
    pub context_max: usize,
    /// Norm's epsilon.
    pub epsilon: f64,
    /// Rotary base.
    pub rope_base: f64,
    /// Each rotary frequency is divided by its factor; empty for none.
    pub rope_factors: Vec<f64>,
    /// All positions of full layers are divided by this.
    pub rope_linear: f64,
    /// Positions that a windowed layer sees; 0 for none.
    pub window: usize,
    /// The number whose root divides attention scores.
    pub score_divisor: f64,
}

impl Shape {
    /// The artifact's configuration.
    ///
    /// # Errors
    /// Names the first field outside the format's range.
    pub fn config(&self) -> Result<Config, String> {
        let gemma = self.family == Family::Gemma3;
        let windowed = gemma && self.window > 0;
        let key = f64::from(KEY_MAX);
        let score = LOG2_E / libm::sqrt(self.score_divisor) / (key * key);
        let embedding = if gemma { libm::sqrt(self.width as f64) } else { 1.0 };
        let config = Config {
            family: self.family,
            activation: match self.family {
                Family::Gemma3 => Activation::Gelu,
                Family::Bert => Activation::GeluErf,
                _ => Activation::Silu,
            },
            vocabulary: self.vocabulary,
            layers: self.layers,
            width: self.width,
            hidden: self.hidden,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_size: self.head_size,
            context_max: self.context_max.min(crate::artifact::config::CONTEXT_MAX as usize),
            residual_fraction: match self.family {
                Family::Gemma3 => RESIDUAL_FRACTION_GEMMA,
                Family::Bert => ENCODER_FRACTION_MAX as u32,
                _ => RESIDUAL_FRACTION,
            },
            epsilon: fixed(self.epsilon, 56),
            embedding_multiplier: fixed(embedding, 24),
            score_scale: fixed(score, 60),
            window: if windowed { self.window } else { 0 },
            window_period: if windowed { GEMMA_PERIOD } else { 0 },
        };
        // Reading checks every range, so what is written can be read.
        Config::from_bytes(&config.to_bytes())
    }

    /// Rotary steps of full layers (`windowed` false) or of windowed ones: turns per position in
    /// units of 2^-64, rounded down.
    ///
    /// # Errors
    /// When a base or a factor is not a positive number, or there are too few factors.
    pub fn rope_steps(&self, windowed: bool) -> Result<Vec<u64>, String> {
        let half = self.head_size / 2;
        if !self.rope_factors.is_empty() && self.rope_factors.len() != half {
            let count = self.rope_factors.len();
            return Err(format!("{count} rotary factors for {half} frequencies"));
        }
        let base = if windowed { LOCAL_BASE } else { self.rope_base };
        let step = |index: usize| {
            let exponent = -2.0 * index as f64 / self.head_size as f64;
            let factor = self.rope_factors.get(index).copied().unwrap_or(1.0);
            let linear = if windowed { 1.0 } else { self.rope_linear };
            let turns = libm::pow(base, exponent) / core::f64::consts::TAU / factor / linear;
            match turns > 0.0 && turns < 1.0 {
                true => Ok((turns * 18_446_744_073_709_551_616.0) as u64),
                false => Err(format!("rotary frequency {index} is {turns} turns a position")),
            }
        };
        (0..half).map(step).collect()
    }
}

/// A positive number in fixed point, rounded to nearest, ties to even; 0 where it is not positive.
fn fixed(value: f64, fraction: i32) -> u64 {
    libm::rint(libm::scalbn(value, fraction)) as u64
}

/// The factors of Llama 3's rotary scaling: long wavelengths are stretched by `factor`, short ones
/// kept, those between blended (Llama 3.1 model card and reference code).
#[must_use]
pub fn llama3_factors(
    (base, head_size): (f64, usize),
    factor: f64,
    (low, high): (f64, f64),
    original_context: f64,
) -> Vec<f64> {
    let blend = |index: usize| {
        let exponent = 2.0 * index as f64 / head_size as f64;
        let wavelength = core::f64::consts::TAU * libm::pow(base, exponent);
        if wavelength < original_context / high {
            1.0
        } else if wavelength > original_context / low {
            factor
        } else {
            let smooth = (original_context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    };
    (0..head_size / 2).map(blend).collect()
}

#[cfg(test)]
mod tests;
