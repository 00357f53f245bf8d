//! A model opened for computation: its configuration, small tables, and weights in place.
//!
//! The weights stay in the bytes that were given (a mapped file, shared between processes); only
//! norms, biases and rotary steps are copied.
//!
//! Invariants:
//! - Every section that the family's graph needs is there and has its shape, so lookups of matrices
//!   cannot fail.
//!
//! Not here: checking every weight (`validate` does it once, when a model is added).

use alloc::format;
use alloc::string::{String, ToString};
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::artifact::config::Config;
use crate::artifact::matrix::Matrix;
use crate::artifact::strings::{self, Strings};
use crate::artifact::vector::{self, NORM_WEIGHT_MAX, Vector};
use crate::artifact::{ArtifactError, Directory, Kind, Section};
use crate::vocabulary::Vocabulary;

/// An artifact's bytes, wherever they live.
pub type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// A model opened for computation.
pub struct Model {
    bytes: Bytes,
    directory: Directory,
    config: Config,
    strings: Strings,
    vocabulary_size: usize,
    layers: Vec<LayerTables>,
    output_norm: Vector,
    rope_global: Vec<u64>,
    rope_local: Option<Vec<u64>>,
}

/// A layer's small tables.
#[derive(Debug)]
pub struct LayerTables {
    /// Norm before attention.
    pub attention_norm: Vector,
    /// Norm before the feed-forward network.
    pub mlp_norm: Vector,
    /// Biases of query, key and value, Q16.
    pub biases: Option<[Vec<i32>; 3]>,
    /// Norms of query and key heads.
    pub head_norms: Option<[Vector; 2]>,
    /// Norms of the attention's and the feed-forward network's outputs.
    pub post_norms: Option<[Vector; 2]>,
}

impl core::fmt::Debug for Model {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Model").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Model {
    /// Opens an artifact. Time does not grow with the weights: they are not read.
    ///
    /// # Errors
    /// When the bytes are not an artifact, or a section is missing or not of its shape.
    pub fn open(bytes: Bytes) -> Result<Model, ArtifactError> {
        let data: &[u8] = (*bytes).as_ref();
        let directory = Directory::read(data)?;
        let reader = Reader { data, directory: &directory };
        let config = reader.get(Kind::Config, 0, Config::from_bytes)?;
        check_generates(&config)?;
        let strings = reader.get(Kind::Strings, 0, strings::from_bytes)?;
        let vocabulary_size = reader.get(Kind::Vocabulary, 0, |bytes| {
            let vocabulary = Vocabulary::new(bytes).map_err(|error| error.to_string())?;
            check_vocabulary(&vocabulary, &config).map(|()| vocabulary.len())
        })?;
        let steps = |bytes: &[u8]| vector::steps_from_bytes(bytes, config.head_size / 2);
        let rope_global = reader.get(Kind::RopeGlobal, 0, steps)?;
        let windowed = config.window_period != 0;
        let rope_local = if windowed { Some(reader.get(Kind::RopeLocal, 0, steps)?) } else { None };
        let norm = |count| move |bytes: &[u8]| Vector::from_bytes(bytes, count, NORM_WEIGHT_MAX);
        let output_norm = reader.get(Kind::OutputNorm, 0, norm(config.width))?;
        reader.check_matrices(&config)?;
        let layers = (0..config.layers as u32).map(|layer| reader.layer(&config, layer));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        reader.check_count(&config)?;
        Ok(Model {
            bytes,
            directory,
            config,
            strings,
            vocabulary_size,
            layers,
            output_norm,
            rope_global,
            rope_local,
        })
    }

    /// The model's shape and constants.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Name, licence, chat template and other texts.
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

    /// Tokens in the vocabulary: at most the embedding's rows.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// A layer's small tables; `layer` is below `config().layers`.
    #[must_use]
    pub fn layer(&self, layer: usize) -> &LayerTables {
        &self.layers[layer]
    }

    /// Norm before the head.
    #[must_use]
    pub fn output_norm(&self) -> &Vector {
        &self.output_norm
    }

    /// Rotary steps, turns per position in units of 2^-64, of windowed layers or of the others.
    #[must_use]
    pub fn rope(&self, windowed: bool) -> &[u64] {
        match &self.rope_local {
            Some(local) if windowed => local,
            _ => &self.rope_global,
        }
    }

    /// A layer's matrix.
    ///
    /// # Panics
    /// When the kind is not a layer's matrix.
    #[must_use]
    pub fn matrix(&self, kind: Kind, layer: usize) -> Matrix<'_> {
        let shape = shape(&self.config, kind).expect("the kind is a matrix");
        let section = self.section(kind, layer as u32);
        Matrix::read(section, shape.0, shape.1).expect("matrices were checked at opening")
    }

    /// The matrix of the output head: its own, or the embedding.
    #[must_use]
    pub fn head(&self) -> Matrix<'_> {
        let own = self.directory.find(Kind::Head, 0).is_some();
        self.matrix(if own { Kind::Head } else { Kind::Embedding }, 0)
    }

    /// Bytes of weights that one token's computation reads.
    #[must_use]
    pub fn bytes_per_token(&self) -> usize {
        let matrices = |section: &&Section| shape(&self.config, section.id.kind).is_some();
        let all: usize = self.directory.sections().iter().filter(matrices).map(|s| s.size).sum();
        let embedding = self.directory.find(Kind::Embedding, 0).map_or(0, |section| section.size);
        if self.directory.find(Kind::Head, 0).is_some() { all - embedding } else { all }
    }

    /// Products of a weight and an activation that one token's layers take, the head's apart.
    #[must_use]
    pub fn products_per_token(&self) -> usize {
        let of = |kind| shape(&self.config, kind).map_or(0, |(rows, columns)| rows * columns);
        self.config.layers * LAYER_MATRICES.into_iter().map(of).sum::<usize>()
    }

    /// The artifact's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        (*self.bytes).as_ref()
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
                self.matrix(kind, layer as usize)
                    .validate()
                    .map_err(|what| ArtifactError::Section { kind, layer, what })?;
            }
        }
        Ok(())
    }

    /// The bytes of a section; none where the artifact has no such section.
    #[must_use]
    pub fn section_bytes(&self, kind: Kind, layer: u32) -> Option<&[u8]> {
        let section = self.directory.find(kind, layer)?;
        Some(&(*self.bytes).as_ref()[section.offset..][..section.size])
    }

    fn section(&self, kind: Kind, layer: u32) -> &[u8] {
        let section = self.directory.find(kind, layer).expect("the section was there at opening");
        &(*self.bytes).as_ref()[section.offset..][..section.size]
    }
}

/// Rows and columns of a matrix of this kind; `None` for other kinds.
#[must_use]
pub fn shape(config: &Config, kind: Kind) -> Option<(usize, usize)> {
    Some(match kind {
        Kind::Embedding | Kind::Head => (config.vocabulary, config.width),
        Kind::Positions => (config.context_max, config.width),
        Kind::Query => (config.query_width(), config.width),
        Kind::Key | Kind::Value => (config.kv_width(), config.width),
        Kind::AttentionOutput => (config.width, config.query_width()),
        Kind::Gate | Kind::Up => (config.hidden, config.width),
        Kind::Down => (config.width, config.hidden),
        _ => return None,
    })
}

/// Kinds of a layer's matrices, in the order of the format.
pub const LAYER_MATRICES: [Kind; 7] =
    [Kind::Query, Kind::Key, Kind::Value, Kind::AttentionOutput, Kind::Gate, Kind::Up, Kind::Down];

/// Refuses encoders.
pub(crate) fn check_generates(config: &Config) -> Result<(), ArtifactError> {
    if !config.family.is_encoder() {
        return Ok(());
    }
    let what = "an encoder makes embeddings, and generates no text".to_string();
    Err(ArtifactError::Section { kind: Kind::Config, layer: 0, what })
}

pub(crate) fn check_vocabulary(vocabulary: &Vocabulary<'_>, config: &Config) -> Result<(), String> {
    if vocabulary.len() > config.vocabulary {
        let (tokens, rows) = (vocabulary.len(), config.vocabulary);
        return Err(format!("{tokens} tokens do not fit {rows} rows of the embedding"));
    }
    Ok(())
}

/// Reads an artifact's sections, and says which is missing or not of its shape.
pub(crate) struct Reader<'a> {
    pub(crate) data: &'a [u8],
    pub(crate) directory: &'a Directory,
}

impl<'a> Reader<'a> {
    pub(crate) fn get<T>(
        &self,
        kind: Kind,
        layer: u32,
        read: impl FnOnce(&'a [u8]) -> Result<T, String>,
    ) -> Result<T, ArtifactError> {
        let section = self.directory.need(kind, layer)?;
        read(&self.data[section.offset..][..section.size]).map_err(|what| ArtifactError::Section {
            kind,
            layer,
            what,
        })
    }

    fn check_matrices(&self, config: &Config) -> Result<(), ArtifactError> {
        let check = |kind, layer| {
            let (rows, columns) = shape(config, kind).expect("the kind is a matrix");
            self.get(kind, layer, |bytes| Matrix::read(bytes, rows, columns).map(|_| ()))
        };
        check(Kind::Embedding, 0)?;
        if self.directory.find(Kind::Head, 0).is_some() {
            check(Kind::Head, 0)?;
        }
        for layer in 0..config.layers as u32 {
            LAYER_MATRICES.into_iter().try_for_each(|kind| check(kind, layer))?;
        }
        Ok(())
    }

    fn layer(&self, config: &Config, layer: u32) -> Result<LayerTables, ArtifactError> {
        let vector =
            |kind, count, max| self.get(kind, layer, |bytes| Vector::from_bytes(bytes, count, max));
        let norm = |kind, count| vector(kind, count, NORM_WEIGHT_MAX);
        let bias = |kind, count| vector(kind, count, i32::MAX).map(|vector| vector.elements);
        let family = config.family;
        Ok(LayerTables {
            attention_norm: norm(Kind::AttentionNorm, config.width)?,
            mlp_norm: norm(Kind::MlpNorm, config.width)?,
            biases: match family.has_biases() {
                true => Some([
                    bias(Kind::QueryBias, config.query_width())?,
                    bias(Kind::KeyBias, config.kv_width())?,
                    bias(Kind::ValueBias, config.kv_width())?,
                ]),
                false => None,
            },
            head_norms: match family.has_head_norms() {
                true => Some([
                    norm(Kind::QueryNorm, config.head_size)?,
                    norm(Kind::KeyNorm, config.head_size)?,
                ]),
                false => None,
            },
            post_norms: match family.has_post_norms() {
                true => Some([
                    norm(Kind::AttentionPostNorm, config.width)?,
                    norm(Kind::MlpPostNorm, config.width)?,
                ]),
                false => None,
            },
        })
    }

    /// Refuses sections that the family does not use.
    fn check_count(&self, config: &Config) -> Result<(), ArtifactError> {
        let family = config.family;
        let per_layer = 2
            + LAYER_MATRICES.len()
            + 3 * usize::from(family.has_biases())
            + 2 * usize::from(family.has_head_norms())
            + 2 * usize::from(family.has_post_norms());
        let head = usize::from(self.directory.find(Kind::Head, 0).is_some());
        let windows = usize::from(config.window_period != 0);
        let known = 6 + head + windows + config.layers * per_layer;
        if known == self.directory.sections().len() {
            return Ok(());
        }
        let what = "a section is there that the family does not use";
        Err(ArtifactError::Table { entry: known, what })
    }
}
