//! A model opened from the store: for the engine, and for text.
//!
//! Not here: serving it (`service`).

use std::sync::Arc;

use engine::artifact::config::Config;
use engine::artifact::strings::{self, Strings};
use engine::encoder::{EncoderModel, is_encoder};
use engine::model::Model;
use engine::texts::Texts;
use engine::vocabulary::Vocabulary;
use gateway::backend::ServedModel;
use store::blobs::{Blobs, StoreError};
use store::cid::{Cid, CidRefusal};
use text::template::{Template, TemplateError};
use text::tokenizer::{Tokenizer, TokenizerError};

use crate::models::ModelRecord;

/// Why a model cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The record's CID is none.
    #[error(transparent)]
    Cid(#[from] CidRefusal),
    /// The blob is not in the store, or cannot be mapped.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blob is not an artifact.
    #[error(transparent)]
    Artifact(#[from] engine::artifact::ArtifactError),
    /// The vocabulary's rules are not known.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// The chat template cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

/// A model and its text side.
#[derive(Debug)]
pub struct Opened {
    /// For the engine.
    pub model: Arc<Model>,
    /// For text and for clients.
    pub served: ServedModel,
}

/// Opens the model of a record. The weights are mapped, not read.
///
/// # Errors
/// When the blob is missing or not an artifact, or its text rules are not known.
pub fn open(blobs: &Blobs, record: &ModelRecord) -> Result<Opened, OpenError> {
    let cid: Cid = record.artifact.parse()?;
    let model = Arc::new(Model::open(blobs.map(&cid)?)?);
    let served = serve(record, model.config(), &model.vocabulary(), model.strings())?;
    Ok(Opened { model, served })
}

/// What is served of a model whose weights are elsewhere.
///
/// # Errors
/// When its text rules are not known.
pub fn open_texts(record: &ModelRecord, texts: &Texts) -> Result<ServedModel, OpenError> {
    serve(record, texts.config(), &texts.vocabulary(), texts.strings())
}

fn serve(
    record: &ModelRecord,
    config: &Config,
    vocabulary: &Vocabulary<'_>,
    strings: &Strings,
) -> Result<ServedModel, OpenError> {
    let tokenizer = Tokenizer::new(vocabulary)?;
    let text = |key: &str| strings.get(key);
    let template = text(strings::CHAT_TEMPLATE).map(|source| Template::new(source)).transpose()?;
    let name = |id: Option<u32>| id.and_then(|id| tokenizer.name(id)).unwrap_or_default();
    Ok(ServedModel {
        name: record.name.clone(),
        aliases: text(strings::NAME)
            .filter(|name| **name != record.name)
            .into_iter()
            .cloned()
            .collect(),
        cid: record.artifact.clone(),
        profile: engine::artifact::PROFILE_NAME,
        created: record.added,
        context_max: config.run_max() as u32,
        licence: Some(record.licence.clone()).filter(|licence| !licence.is_empty()),
        owner: "mashaa".to_owned(),
        begin_text: name(tokenizer.begin()),
        end_text: name(tokenizer.ends().first().copied()),
        template,
        tokenizer,
    })
}

/// The configuration of a record's model, whatever its family.
///
/// # Errors
/// When the blob is missing or not an artifact.
pub fn config(blobs: &Blobs, record: &ModelRecord) -> Result<Config, OpenError> {
    let cid: Cid = record.artifact.parse()?;
    let bytes = blobs.map(&cid)?;
    match is_encoder(&bytes)? {
        true => Ok(*EncoderModel::open(bytes)?.config()),
        false => Ok(*Model::open(bytes)?.config()),
    }
}
