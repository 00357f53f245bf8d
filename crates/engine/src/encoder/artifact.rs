//! An encoder opened for computation: its configuration, small tables, and weights in place.
//!
//! Invariants:
//! - Every section that the graph needs is there and has its shape, so lookups of matrices cannot
//!   fail; no other section is.
//!
//! Not here: checking every weight (`validate` does it once, when a model is added).

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::artifact::config::Config;
use crate::artifact::matrix::Matrix;
use crate::artifact::strings::{self, Strings};
use crate::artifact::vector::{NORM_WEIGHT_MAX, Vector};
use crate::artifact::{ArtifactError, Directory, Kind};
use crate::forward::FRACTION;
use crate::model::{Bytes, Reader, check_vocabulary, shape};
use crate::vocabulary::Vocabulary;

/// A layer's matrices, in the order of the format.
pub const LAYER_MATRICES: [Kind; 6] =
    [Kind::Query, Kind::Key, Kind::Value, Kind::AttentionOutput, Kind::Up, Kind::Down];
/// Sections of a layer: its matrices, the biases of each, and two norms with a bias.
const LAYER_SECTIONS: usize = 2 * LAYER_MATRICES.len() + 4;
/// Sections that stand once: configuration, texts, vocabulary, tokens, positions, type, norm, its bias.
const GLOBAL_SECTIONS: usize = 8;

/// Whether an artifact is an encoder's.
///
/// # Errors
/// When the bytes are not an artifact.
pub fn is_encoder(data: &[u8]) -> Result<bool, ArtifactError> {
    let directory = Directory::read(data)?;
    let config = Reader { data, directory: &directory }.get(Kind::Config, 0, Config::from_bytes)?;
    Ok(config.family.is_encoder())
}

/// An encoder opened for computation.
pub struct EncoderModel {
    bytes: Bytes,
    directory: Directory,
    config: Config,
    strings: Strings,
    /// What the type of the only text adds to each row, in the fraction of rows.
    pub(super) token_type: Vec<i32>,
    /// Norm of the embedding.
    pub(super) norm: Norm,
    pub(super) layers: Vec<LayerTables>,
}

/// A norm that takes the mean away and adds a bias.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) weights: Vector,
    /// In the fraction of rows.
    pub(super) bias: Vec<i32>,
}

/// A layer's small tables.
#[derive(Debug)]
pub(super) struct LayerTables {
    /// Biases of query, key and value, Q16.
    pub(super) projections: [Vec<i32>; 3],
    /// Bias of `Up`, Q16.
    pub(super) up: Vec<i32>,
    /// Biases of the attention's and the network's output, in the fraction of rows.
    pub(super) outputs: [Vec<i32>; 2],
    /// Norms after attention and after the network.
    pub(super) norms: [Norm; 2],
}

impl core::fmt::Debug for EncoderModel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("EncoderModel").field("config", &self.config).finish_non_exhaustive()
    }
}

impl EncoderModel {
    /// Opens an artifact. Time does not grow with the weights: they are not read.
    ///
    /// # Errors
    /// When the bytes are not an encoder's artifact, or a section is missing or not of its shape.
    pub fn open(bytes: Bytes) -> Result<EncoderModel, ArtifactError> {
        let data: &[u8] = (*bytes).as_ref();
        let directory = Directory::read(data)?;
        let reader = Reader { data, directory: &directory };
        let config = reader.get(Kind::Config, 0, |bytes| {
            let config = Config::from_bytes(bytes)?;
            match config.family.is_encoder() {
                true => Ok(config),
                false => Err("the model generates text, and is no encoder".to_string()),
            }
        })?;
        let strings = reader.get(Kind::Strings, 0, strings::from_bytes)?;
        reader.get(Kind::Vocabulary, 0, |bytes| {
            let vocabulary = Vocabulary::new(bytes).map_err(|error| error.to_string())?;
            check_vocabulary(&vocabulary, &config)
        })?;
        let tables = Tables { reader, config: &config };
        tables.check_matrices()?;
        let token_type = tables.bias(Kind::TokenType, 0, config.width, config.residual_fraction)?;
        let norm = tables.norm(Kind::EmbeddingNorm, Kind::EmbeddingNormBias, 0)?;
        let layers = (0..config.layers as u32).map(|layer| tables.layer(layer));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let known = GLOBAL_SECTIONS + config.layers * LAYER_SECTIONS;
        if known != directory.sections().len() {
            let what = "a section is there that the family does not use";
            return Err(ArtifactError::Table { entry: known, what });
        }
        Ok(EncoderModel { bytes, directory, config, strings, token_type, norm, layers })
    }

    /// The model's shape and constants.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name, licence and other texts.
    #[must_use]
    pub fn strings(&self) -> &Strings {
        &self.strings
    }

    /// The vocabulary, read in place.
    ///
    /// # Panics
    /// Never: the section was checked when the model was opened.
    #[must_use]
    pub fn vocabulary(&self) -> Vocabulary<'_> {
        let section = self.section(Kind::Vocabulary, 0);
        Vocabulary::new(section).expect("the vocabulary was checked when the model was opened")
    }

    /// Checks every weight against the limits on which exactness rests. Time is linear in the
    /// artifact's size; done once, when a model is added.
    ///
    /// # Errors
    /// Names the section and the row.
    pub fn validate(&self) -> Result<(), ArtifactError> {
        for section in self.directory.sections() {
            let (kind, layer) = (section.id.kind, section.id.layer);
            if shape(&self.config, kind).is_some() {
                let checked = self.matrix(kind, layer as usize).validate();
                checked.map_err(|what| ArtifactError::Section { kind, layer, what })?;
            }
        }
        Ok(())
    }

    /// A matrix, whose section was checked when the model was opened.
    pub(super) fn matrix(&self, kind: Kind, layer: usize) -> Matrix<'_> {
        let (rows, columns) = shape(&self.config, kind).expect("the kind is a matrix");
        let section = self.section(kind, layer as u32);
        Matrix::read(section, rows, columns).expect("matrices were checked at opening")
    }

    fn section(&self, kind: Kind, layer: u32) -> &[u8] {
        let section = self.directory.find(kind, layer).expect("the section was there at opening");
        &(*self.bytes).as_ref()[section.offset..][..section.size]
    }
}

/// Reads an encoder's sections.
struct Tables<'a> {
    reader: Reader<'a>,
    config: &'a Config,
}

impl Tables<'_> {
    fn check_matrices(&self) -> Result<(), ArtifactError> {
        let check = |kind, layer| {
            let (rows, columns) = shape(self.config, kind).expect("the kind is a matrix");
            self.reader.get(kind, layer, |bytes| Matrix::read(bytes, rows, columns).map(|_| ()))
        };
        check(Kind::Embedding, 0)?;
        check(Kind::Positions, 0)?;
        for layer in 0..self.config.layers as u32 {
            LAYER_MATRICES.into_iter().try_for_each(|kind| check(kind, layer))?;
        }
        Ok(())
    }

    fn layer(&self, layer: u32) -> Result<LayerTables, ArtifactError> {
        let config = self.config;
        let fraction = config.residual_fraction;
        let narrow = |kind, count| self.bias(kind, layer, count, FRACTION);
        Ok(LayerTables {
            projections: [
                narrow(Kind::QueryBias, config.query_width())?,
                narrow(Kind::KeyBias, config.kv_width())?,
                narrow(Kind::ValueBias, config.kv_width())?,
            ],
            up: narrow(Kind::UpBias, config.hidden)?,
            outputs: [
                self.bias(Kind::AttentionOutputBias, layer, config.width, fraction)?,
                self.bias(Kind::DownBias, layer, config.width, fraction)?,
            ],
            norms: [
                self.norm(Kind::AttentionNorm, Kind::AttentionNormBias, layer)?,
                self.norm(Kind::MlpNorm, Kind::MlpNormBias, layer)?,
            ],
        })
    }

    fn norm(&self, weights: Kind, bias: Kind, layer: u32) -> Result<Norm, ArtifactError> {
        let count = self.config.width;
        let read = |bytes: &[u8]| Vector::from_bytes(bytes, count, NORM_WEIGHT_MAX);
        let weights = self.reader.get(weights, layer, read)?;
        Ok(Norm { weights, bias: self.bias(bias, layer, count, self.config.residual_fraction)? })
    }

    fn bias(
        &self,
        kind: Kind,
        layer: u32,
        count: usize,
        fraction: u32,
    ) -> Result<Vec<i32>, ArtifactError> {
        self.reader.get(kind, layer, |bytes| {
            let vector = Vector::from_bytes(bytes, count, i32::MAX)?;
            match vector.exponent == fraction as i32 {
                true => Ok(vector.elements),
                false => Err(wrong_exponent(vector.exponent, fraction)),
            }
        })
    }
}

fn wrong_exponent(found: i32, fraction: u32) -> String {
    alloc::format!("the exponent is {found}, not {fraction}")
}
