//! Turns a model file into an artifact, the same bytes on every machine.
//!
//! Readers take untrusted files (`gguf`, `safetensors`); a family says which tensor is what; weights
//! become integers once, here, and nowhere else. This is the only part of the crate with floats:
//! their order and rounding are fixed.
//!
//! Not here: computing with the result.

use alloc::string::String;

pub mod assemble;
mod bert;
pub mod dequantise;
pub mod equalise;
pub mod family;
pub mod gguf;
pub mod gguf_build;
pub mod gguf_model;
pub mod hugging_face;
mod json;
pub mod measure;
pub mod quantise;
pub mod reference;
pub mod safetensors;
pub mod tensor;

/// Which matrices get how many bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// 4 bits where the source's own grid has 4, else 8.
    #[default]
    BySource,
    /// 8 bits for all.
    AllEight,
    /// 4 bits for all.
    AllFour,
}

impl Precision {
    /// The rule's name, as the artifact carries it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Precision::BySource => "by-source",
            Precision::AllEight => "8",
            Precision::AllFour => "4",
        }
    }
}

/// Choices of an import; part of what the artifact's bytes depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Which matrices get how many bits.
    pub precision: Precision,
    /// CID of the source file, recorded in the artifact.
    pub source_cid: String,
    /// Overrides the model's name.
    pub name: Option<String>,
    /// Overrides the licence.
    pub licence: Option<String>,
}

/// Why a model could not be imported.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ImportError {
    /// The file is not a sound GGUF file.
    #[error(transparent)]
    Gguf(#[from] gguf::GgufError),
    /// The file is not a sound safetensors file.
    #[error(transparent)]
    Safetensors(#[from] safetensors::SafetensorsError),
    /// A file beside the weights does not say what it should.
    #[error("{file}: {what}")]
    HuggingFace {
        /// Which file.
        file: &'static str,
        /// What is wrong.
        what: String,
    },
    /// The model's family is not one that the engine computes.
    #[error(
        "models of family {family:?} are not supported; supported are llama, qwen2, qwen3 and gemma3, and bert to make embeddings"
    )]
    Family {
        /// The family's name in the file.
        family: String,
    },
    /// The model uses something that the engine does not compute.
    #[error("the model needs {what}, which is not supported")]
    Unsupported {
        /// What it needs.
        what: String,
    },
    /// The configuration is out of range.
    #[error("configuration: {0}")]
    Config(String),
    /// The vocabulary is not usable.
    #[error(transparent)]
    Vocabulary(#[from] crate::vocabulary::VocabularyError),
    /// A tensor is missing.
    #[error("the file has no tensor {name:?}")]
    Missing {
        /// Its name.
        name: String,
    },
    /// A tensor has another shape than the configuration says.
    #[error("tensor {tensor:?} is {found:?}, the configuration says {expected:?} (rows, columns)")]
    Shape {
        /// Its name.
        tensor: String,
        /// Rows and columns in the file.
        found: (usize, usize),
        /// Rows and columns that it should have.
        expected: (usize, usize),
    },
    /// A weight is NaN or infinite.
    #[error("tensor {tensor:?}, row {row}: a weight is not a finite number")]
    NotFinite {
        /// Its name.
        tensor: String,
        /// The row.
        row: usize,
    },
    /// A weight is larger than the artifact can hold.
    #[error("tensor {tensor:?}, row {row}: a number is beyond {max}")]
    TooLarge {
        /// Its name.
        tensor: String,
        /// The row.
        row: usize,
        /// Largest magnitude allowed.
        max: f32,
    },
    /// The artifact's bytes could not be kept.
    #[error("the artifact could not be written: {0}")]
    Sink(String),
}
