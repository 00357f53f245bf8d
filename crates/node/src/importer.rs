//! Turns a model file of the store into an artifact in the store.
//!
//! Invariants:
//! - The artifact is in the store whole, under its own CID, or not at all.
//!
//! Not here: how weights become integers (`engine::import`).

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use engine::artifact::ArtifactError;
use engine::artifact::config::Family;
use engine::artifact::strings::{self, Strings};
use engine::encoder::EncoderModel;
use engine::import::assemble;
use engine::import::{ImportError, Options};
use engine::model::Model;
use store::blobs::{Blobs, StoreError};
use store::cid::Cid;

use crate::models::ModelRecord;
use crate::source::{Source, SourceError};

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
    /// The source cannot be opened.
    #[error(transparent)]
    Source(#[from] SourceError),
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

/// Imports the source that the store has as `source`. `progress` is told bytes written and bytes in all.
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
    let import = |source| ImporterError::Import { model: terms.name.clone(), source };
    let mut blob = blobs.begin()?;
    let mut sink = |bytes: &[u8]| blob.write_all(bytes).map_err(|error| error.to_string());
    Source::open(blobs, source)?
        .read(&options, |parts| assemble::write(parts, &options, threads, &mut sink, progress))
        .map_err(import)?;
    let cid = blob.commit()?;
    record(blobs, &cid, &terms, &options)
}

/// Describes an artifact that was made elsewhere, after checking it as any other. `name` is what it
/// is to be called; without one, what it calls itself.
///
/// # Errors
/// When it is no artifact that can be run here.
pub fn adopt(blobs: &Blobs, cid: &Cid, name: Option<&str>) -> Result<ModelRecord, ImporterError> {
    let terms = Terms { name: name.unwrap_or_default().to_owned(), ..Terms::default() };
    let mut record = record(blobs, cid, &terms, &Options::default())?;
    let texts = describe(blobs, cid)?.map_err(|what| ImporterError::Unsound {
        model: cid.to_string(),
        what: what.to_string(),
    })?;
    let text = |key: &str| texts.1.get(key).cloned().unwrap_or_default();
    if record.name.is_empty() {
        record.name = text(strings::NAME);
    }
    record.source = text(strings::SOURCE);
    record.bits = text(strings::BITS);
    Ok(record)
}

/// Checks the new artifact as a stranger would, and describes it.
fn record(
    blobs: &Blobs,
    cid: &Cid,
    terms: &Terms,
    options: &Options,
) -> Result<ModelRecord, ImporterError> {
    let size = blobs.map(cid)?.len() as u64;
    let unsound = |what: engine::artifact::ArtifactError| ImporterError::Unsound {
        model: terms.name.clone(),
        what: what.to_string(),
    };
    let (family, texts) = describe(blobs, cid)?.map_err(unsound)?;
    let text = |key: &str| texts.get(key).cloned().unwrap_or_default();
    Ok(ModelRecord {
        name: terms.name.clone(),
        artifact: cid.to_string(),
        artifact_size: size,
        source: options.source_cid.clone(),
        family: family.name().to_owned(),
        bits: options.precision.name().to_owned(),
        licence: text(strings::LICENCE),
        licence_url: terms.licence_url.clone(),
        added: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
    })
}

/// The family and the texts of an artifact whose every weight was checked.
fn describe(
    blobs: &Blobs,
    cid: &Cid,
) -> Result<Result<(Family, Strings), ArtifactError>, StoreError> {
    let bytes = blobs.map(cid)?;
    let read = || -> Result<(Family, Strings), ArtifactError> {
        if engine::encoder::is_encoder(&bytes)? {
            let model = EncoderModel::open(bytes.clone())?;
            model.validate()?;
            return Ok((model.config().family, model.strings().clone()));
        }
        let model = Model::open(bytes.clone())?;
        model.validate()?;
        Ok((model.config().family, model.strings().clone()))
    };
    Ok(read())
}
