//! The model's shape and constants, as integers.
//!
//! Invariants:
//! - A `Config` that was read is within every limit named here, so that later size arithmetic fits
//!   64 bits and every bound of `docs/spec/int-1.md`, section 3, holds.
//!
//! Not here: which sections a family has (`model`).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Layers, at most.
pub const LAYERS_MAX: u64 = 512;
/// Columns of any matrix, at most: bounds every dot product below 2^46.
pub const COLUMNS_MAX: u64 = 65_536;
/// Size of one head, at most: a score of 512 products of 12-bit numbers fits 32 bits.
pub const HEAD_SIZE_MAX: u64 = 512;
/// Heads, at most.
pub const HEADS_MAX: u64 = 1_024;
/// Fraction bits of an encoder's rows, at most: 2^11 is left for a number, and normed ones are small.
pub const ENCODER_FRACTION_MAX: u64 = 20;
/// Positions in a context, at most: bounds the softmax's sums (`docs/spec/int-1.md`, section 7).
pub const CONTEXT_MAX: u64 = 131_072;
/// Tokens of a run, at most: 12 bytes for each position that a step's weights read, with all that proves
/// them, stay below the 1.5 MiB that a message of a dispute has (`docs/spec/audit.md`, section 8.2).
pub const RUN_MAX: u64 = 130_560;
/// Rows of the embedding, at most: 4 bytes for each logit that the choice of a token reads stay below
/// the same.
pub const VOCABULARY_MAX: u64 = 392_704;

const _: () = assert!(12 * RUN_MAX < (3 << 19) - 4096 && 4 * VOCABULARY_MAX < (3 << 19) - 1984);

/// Which graph the model computes. The numbers are part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Llama, SmolLM2, TinyLlama, Mistral.
    Llama = 1,
    /// Qwen 2 and 2.5: biases on query, key and value.
    Qwen2 = 2,
    /// Qwen 3: norms on query and key heads.
    Qwen3 = 3,
    /// Gemma 3: norms on query and key heads and after each block, sliding windows.
    Gemma3 = 4,
    /// BERT: an encoder, whose rows see the whole text (`encoder`).
    Bert = 5,
}

impl Family {
    /// The family's name as GGUF's `general.architecture` spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Family::Llama => "llama",
            Family::Qwen2 => "qwen2",
            Family::Qwen3 => "qwen3",
            Family::Gemma3 => "gemma3",
            Family::Bert => "bert",
        }
    }

    /// The family with this GGUF name, if it is supported.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Family> {
        [Family::Llama, Family::Qwen2, Family::Qwen3, Family::Gemma3, Family::Bert]
            .into_iter()
            .find(|family| family.name() == name)
    }

    /// Whether the model turns text into an embedding, and generates none.
    #[must_use]
    pub fn is_encoder(self) -> bool {
        self == Family::Bert
    }

    /// Whether query, key and value have biases.
    #[must_use]
    pub fn has_biases(self) -> bool {
        matches!(self, Family::Qwen2 | Family::Bert)
    }

    /// Whether each query and key head is normed.
    #[must_use]
    pub fn has_head_norms(self) -> bool {
        matches!(self, Family::Qwen3 | Family::Gemma3)
    }

    /// Whether each block's output is normed before it is added.
    #[must_use]
    pub fn has_post_norms(self) -> bool {
        self == Family::Gemma3
    }
}

/// The gate's activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x * logistic(x).
    Silu = 1,
    /// GELU, tanh form.
    Gelu = 2,
    /// GELU, exact form.
    GeluErf = 3,
}

/// The model's shape and constants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Which graph.
    pub family: Family,
    /// The gate's activation function.
    pub activation: Activation,
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
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Elements of one head, a multiple of 16.
    pub head_size: usize,
    /// Positions in the longest context.
    pub context_max: usize,
    /// Fraction bits of the residual, 4 to 12; of an encoder, whose rows are normed, to 20.
    pub residual_fraction: u32,
    /// Norm's epsilon, Q56.
    pub epsilon: u64,
    /// Multiplies the embedding's rows, Q24.
    pub embedding_multiplier: u64,
    /// Attention scale * log2(e) / 2047^2, Q60.
    pub score_scale: u64,
    /// Positions that a windowed layer sees, or 0.
    pub window: usize,
    /// Every n-th layer sees the whole context; 0 where all do.
    pub window_period: usize,
}

const FIELDS: usize = 16;

impl Config {
    /// Tokens of the longest run: the context, as far as a lie anywhere in it can be proved.
    #[must_use]
    pub fn run_max(&self) -> usize {
        self.context_max.min(RUN_MAX as usize)
    }

    /// Positions that layer `layer` sees: its window, or `None` for all before.
    #[must_use]
    pub fn layer_window(&self, layer: usize) -> Option<usize> {
        let windowed = self.window_period != 0 && !(layer + 1).is_multiple_of(self.window_period);
        windowed.then_some(self.window)
    }

    /// Elements of all query heads together.
    #[must_use]
    pub fn query_width(&self) -> usize {
        self.heads * self.head_size
    }

    /// Elements of all key heads together.
    #[must_use]
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head_size
    }

    /// The section's bytes: 16 words of 8 bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let words: [u64; FIELDS] = [
            self.family as u64,
            self.activation as u64,
            self.vocabulary as u64,
            self.layers as u64,
            self.width as u64,
            self.hidden as u64,
            self.heads as u64,
            self.kv_heads as u64,
            self.head_size as u64,
            self.context_max as u64,
            u64::from(self.residual_fraction),
            self.epsilon,
            self.embedding_multiplier,
            self.score_scale,
            self.window as u64,
            self.window_period as u64,
        ];
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Reads the section and checks every range.
    ///
    /// # Errors
    /// Names the first field out of range.
    pub fn from_bytes(bytes: &[u8]) -> Result<Config, String> {
        if bytes.len() != FIELDS * 8 {
            return Err("the configuration does not have 128 bytes".to_string());
        }
        let mut words = [0u64; FIELDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = super::read_u64(bytes, index * 8);
        }
        let family = match words[0] {
            1 => Family::Llama,
            2 => Family::Qwen2,
            3 => Family::Qwen3,
            4 => Family::Gemma3,
            5 => Family::Bert,
            other => return Err(alloc::format!("family number {other} is unknown")),
        };
        let activation = match words[1] {
            1 => Activation::Silu,
            2 => Activation::Gelu,
            3 => Activation::GeluErf,
            other => return Err(alloc::format!("activation number {other} is unknown")),
        };
        let fraction_max = if family.is_encoder() { ENCODER_FRACTION_MAX } else { 12 };
        let config = Config {
            family,
            activation,
            vocabulary: within("vocabulary", words[2], 1, VOCABULARY_MAX)?,
            layers: within("layers", words[3], 1, LAYERS_MAX)?,
            width: within("width", words[4], 1, COLUMNS_MAX)?,
            hidden: within("hidden", words[5], 1, COLUMNS_MAX)?,
            heads: within("heads", words[6], 1, HEADS_MAX)?,
            kv_heads: within("kv_heads", words[7], 1, words[6].min(HEADS_MAX))?,
            head_size: within("head_size", words[8], 16, HEAD_SIZE_MAX)?,
            context_max: within("context_max", words[9], 1, CONTEXT_MAX)?,
            residual_fraction: within("residual_fraction", words[10], 4, fraction_max)? as u32,
            epsilon: wide("epsilon", words[11], 1 << 56)?,
            embedding_multiplier: wide("embedding_multiplier", words[12], 1 << 34)?,
            score_scale: wide("score_scale", words[13], 1 << 45)?,
            window: within("window", words[14], 0, CONTEXT_MAX)?,
            window_period: within("window_period", words[15], 0, LAYERS_MAX)?,
        };
        config.check_relations()?;
        Ok(config)
    }

    fn check_relations(&self) -> Result<(), String> {
        let rules = [
            (self.heads.is_multiple_of(self.kv_heads), "kv_heads does not divide heads"),
            (self.head_size.is_multiple_of(16), "head_size is not a multiple of 16"),
            (self.query_width() as u64 <= COLUMNS_MAX, "heads * head_size is above the limit"),
            ((self.window == 0) == (self.window_period == 0), "window and period disagree"),
            (!self.family.is_encoder() || self.window == 0, "an encoder has no window"),
            (
                self.family.is_encoder() == (self.activation == Activation::GeluErf),
                "the exact form of GELU belongs to encoders",
            ),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, broken)) => Err((*broken).to_string()),
            None => Ok(()),
        }
    }
}

/// A count or size; every limit is below 2^32, so it fits the machine.
fn within(what: &str, value: u64, min: u64, max: u64) -> Result<usize, String> {
    if value < min || value > max {
        return Err(alloc::format!("{what} is {value}, outside {min}..={max}"));
    }
    Ok(value as usize)
}

/// A constant in fixed point, which may need more bits than a size has on a small machine.
fn wide(what: &str, value: u64, max: u64) -> Result<u64, String> {
    match (1..=max).contains(&value) {
        true => Ok(value),
        false => Err(alloc::format!("{what} is {value}, outside 1..={max}")),
    }
}
