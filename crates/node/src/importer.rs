//! Turns a model file of the store into an artifact in the store.
//!
//! Invariants:
//! - The artifact is in the store whole, under its own CID, or not at all.
//!
//! Not here: how weights become integers (`engine::import`).

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::import::assemble::{self, Parts};
use engine::import::gguf::Gguf;
use engine::import::{ImportError, Options, gguf_model};
use engine::model::Model;
use store::blobs::{Blobs, StoreError};
use store::cid::Cid;

use crate::models::ModelRecord;

/// Why a file did not become a model.
#[derive(Debug, thiserror::Error)]
pub enum ImporterError {
    /// The file's contents cannot be imported.
    #[error("{model} cannot be imported")]
    Import {
        /// Which model.
        model: String,
        /// Why.
        source: ImportError,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was made is not sound: a fault of this program.
    #[error("the artifact made of {model} is not sound: {what}")]
    Unsound {
        /// Which model.
        model: String,
        /// What is wrong.
        what: String,
    },
}

/// What an import says about the model besides the file.
#[derive(Clone, Debug, Default)]
pub struct Terms {
    /// The model's name.
    pub name: String,
    /// Licence, where the file does not say.
    pub licence: Option<String>,
    /// Where the licence's text is.
    pub licence_url: String,
}

/// Imports the GGUF file that the store has as `source`. `progress` is told bytes written and bytes in all.
///
/// # Errors
/// When the file cannot be read or imported, or the store fails.
pub fn import(
    blobs: &Blobs,
    source: &Cid,
    (terms, mut options): (Terms, Options),
    threads: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<ModelRecord, ImporterError> {
    options.name = Some(terms.name.clone());
    options.licence = terms.licence.clone().or(options.licence);
    options.source_cid = source.to_string();
    let mapped = blobs.map(source)?;
    let import = |source| ImporterError::Import { model: terms.name.clone(), source };
    let gguf = Gguf::parse(&mapped).map_err(|error| import(error.into()))?;
    let parts = gguf_model::read(&gguf, &options).map_err(import)?;
    let cid = write(blobs, &parts, &options, threads, progress).map_err(|error| match error {
        Written::Import(source) => import(source),
        Written::Store(error) => ImporterError::Store(error),
    })?;
    record(blobs, &cid, &terms, &options)
}

enum Written {
    Import(ImportError),
    Store(StoreError),
}

fn write(
    blobs: &Blobs,
    parts: &Parts<'_>,
    options: &Options,
    threads: usize,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Cid, Written> {
    let mut blob = blobs.begin().map_err(Written::Store)?;
    let mut sink = |bytes: &[u8]| blob.write_all(bytes).map_err(|error| error.to_string());
    assemble::write(parts, options, threads, &mut sink, progress).map_err(Written::Import)?;
    blob.commit().map_err(Written::Store)
}

/// Checks the new artifact as a stranger would, and describes it.
fn record(
    blobs: &Blobs,
    cid: &Cid,
    terms: &Terms,
    options: &Options,
) -> Result<ModelRecord, ImporterError> {
    let bytes = blobs.map(cid)?;
    let size = bytes.len() as u64;
    let unsound = |what: engine::artifact::ArtifactError| ImporterError::Unsound {
        model: terms.name.clone(),
        what: what.to_string(),
    };
    let model = Model::open(bytes).map_err(unsound)?;
    model.validate().map_err(unsound)?;
    let text = |key: &str| model.strings().get(key).cloned().unwrap_or_default();
    Ok(ModelRecord {
        name: terms.name.clone(),
        artifact: cid.to_string(),
        artifact_size: size,
        source: options.source_cid.clone(),
        family: model.config().family.name().to_owned(),
        bits: options.precision.name().to_owned(),
        licence: text(engine::artifact::strings::LICENCE),
        licence_url: terms.licence_url.clone(),
        added: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
    })
}
